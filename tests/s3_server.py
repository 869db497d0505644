"""A real S3 server on loopback: moto's, over HTTP. It can go away and come back, empty."""

import urllib.request

from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from tests.ports import free_port


class S3Server:
    def __init__(self, port=None):
        port = port or free_port()
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"

    def stop(self):
        self._server.stop()

    def bucket(self, name):
        """Make an empty bucket and return it."""
        self._ask("POST", "/moto-api/reset")
        self._ask("PUT", f"/{name}")
        return S3Store(
            name,
            endpoint=self.url,
            region="us-east-1",
            access_key_id="test",
            secret_access_key="test",
            client_options={"allow_http": True},
        )

    def _ask(self, method, path):
        request = urllib.request.Request(self.url + path, method=method)  # noqa: S310 - http, ours
        with urllib.request.urlopen(request):  # noqa: S310
            pass
