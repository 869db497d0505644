"""A real Valkey for tests on a port of its own: killed, emptied, full, started again."""

import resource
import shutil
import signal
import subprocess
import time

import redis

from service.adapters.embedded_store import find_program
from tests.ports import free_port

STARTS_WITHIN_SECONDS = 30


class StoreServer:
    """One server over one folder, with an append-only file. Same port, same data when restarted."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self._process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "--port": str(self.port), "--bind": "127.0.0.1", "--dir": str(self.folder),
            "--appendonly": "yes", "--appendfsync": "always", "--save": "",
            "--maxmemory-policy": "noeviction",
        }  # fmt: skip
        # What it cannot write is an error to it, as on a full disk, and not its end.
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self._process = subprocess.Popen(
            [find_program(), *(word for option in options.items() for word in option)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            restore_signals=False,
        )  # fmt: skip
        signal.signal(signal.SIGXFSZ, before)
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while True:
            try:
                with self._client() as client:
                    client.ping()
            except redis.RedisError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return self

    def kill(self):
        self._process.kill()
        self._process.wait()

    def restart(self):
        self.kill()
        self.start()

    def tear(self):
        """End as by a power cut: what was being written is there in part."""
        self.kill()
        files = self.folder.glob("appendonlydir/*.incr.aof")
        last = max(files, key=lambda path: path.stat().st_mtime)
        with last.open("ab") as file:
            file.write(b"*3\r\n$3\r\nSET\r\n$1\r\nx")
        self.start()

    def fill_disk(self, *, full):
        """Let the disk be full, or have room again.

        It answers only when the disk has it, so that it ends by itself when it cannot write; once
        there is room whoever supervises it has it up again.
        """
        if self._process.poll() is not None:
            self.start()
            return
        size = max(path.stat().st_size for path in self.folder.glob("appendonlydir/*"))
        limit = size if full else resource.RLIM_INFINITY
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def wipe(self):
        """Lose the disk, too."""
        self.kill()
        shutil.rmtree(self.folder)
        self.start()

    def empty(self):
        """Forget everything, and go on."""
        with self._client() as client:
            client.flushall()

    def offset(self):
        """Return how far the router has saved, as it stands in the store."""
        with self._client() as client:
            return client.get("spendwatch:offset")

    def limit(self, memory):
        """Take no more writes once so many bytes are used; 0 is no limit."""
        with self._client() as client:
            client.config_set("maxmemory", memory)

    def _client(self):
        return redis.Redis(port=self.port, socket_timeout=5)
