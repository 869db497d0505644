"""A real Apache Kafka broker for tests: started on free ports, ended by its process id."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.ports import free_port

START = Path(__file__).parents[1] / "deploy" / "kafka" / "start.sh"
STARTS_WITHIN_SECONDS = 90  # the first start on a machine fetches the jars
# Half the time to start, for a little speed later.
JAVA_OPTS = "-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"


class KafkaServer:
    """One broker over one folder. It may be killed and started again: same port, same data."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self._controller = free_port()
        self._log = folder / "broker.log"
        self._process = None

    @property
    def is_fetched(self):
        where = subprocess.run([START, "where"], capture_output=True, text=True, check=True)
        return Path(where.stdout.strip()).is_dir()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self._process.pid

    @property
    def last_words(self):
        """Return the end of what it has logged."""
        return self._log.read_text()[-2000:]

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [START, self.folder, str(self.port), str(self._controller)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"JAVA_OPTS": JAVA_OPTS},
            )
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(self.last_words)
            time.sleep(0.1)
        return self

    def listen_behind(self, port, seen_at):
        """Listen on one more port, as which clients are told `seen_at`; from the next start on."""
        own = f"CLIENT://127.0.0.1:{self.port}"
        (self.folder / "extra.properties").write_text(f"""
listeners={own},CONTROLLER://127.0.0.1:{self._controller},BEHIND://127.0.0.1:{port}
advertised.listeners={own},BEHIND://127.0.0.1:{seen_at}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,BEHIND:PLAINTEXT
""")

    def kill(self):
        """End it as a power cut would, but for the page cache."""
        self._process.kill()
        self._process.wait()

    def lose(self):
        """Lose the disk, too."""
        self.kill()
        shutil.rmtree(self.folder / "data")
        self.start()

    def pause(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()

    def _answers(self):
        # The broker listens once it is ready.
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
