"""The distributed service's processes, as a person starts them, and a Slack on this machine."""

import subprocess
import sys
import time
from pathlib import Path

SPENDWATCH = Path(sys.executable).with_name("spendwatch")


class Processes:
    """Runs commands of the console script with one config; all of them end with the test."""

    def __init__(self, config, folder):
        self._config, self._folder = config, folder
        self.running = []

    def start(self, command, *args):
        log = self._folder / f"{command}.log"
        with log.open("ab") as file:
            run = subprocess.Popen(
                [SPENDWATCH, command, "--config", self._config, *args], stdout=file, stderr=file
            )
        self.running.append(run)
        return run

    def kill(self, run):
        self.running.remove(run)
        run.kill()
        run.wait()

    def log(self, command):
        path = self._folder / f"{command}.log"
        return path.read_text() if path.exists() else ""

    @property
    def logs(self):
        return "\n".join(path.read_text()[-3000:] for path in self._folder.glob("*.log"))

    def until(self, condition, seconds=60):
        """Wait for something to be so."""
        deadline = time.monotonic() + seconds
        while not condition():
            ended = [run.args for run in self.running if run.poll() is not None]
            assert not ended, f"{ended} ended\n{self.logs}"
            assert time.monotonic() < deadline, self.logs
            time.sleep(0.1)
