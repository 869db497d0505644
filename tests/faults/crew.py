"""The distributed service's processes, any of which may be killed, paused or join at any time."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

SPENDWATCH = Path(sys.executable).with_name("spendwatch")
USUAL = ("worker-1", "worker-2", "rollups-1", "router-1", "notifier-1", "api-1")


class Crew:
    """Keeps the named processes up, as a supervisor does: what ends is started again.

    A name is a command and a number. `ended` are last words of what ended by itself. With
    `has_clocks` every process has a clock of its own, which can be put forward and back. With
    `wired`, a config, those of number 1 have that one.
    """

    def __init__(self, config, folder, wired=None, *, has_clocks=False):
        self._config, self._folder, self._wired = config, folder, wired or config
        self._has_clocks = has_clocks
        self._running = {}
        self._paused = set()
        self.kills = 0
        self.ended = []

    @property
    def names(self):
        """What is up, or paused."""
        return sorted(self._running)

    def start(self, name, *, most_file_bytes=None):
        """Start one; with `most_file_bytes` the disk is full for files larger than that."""
        command = name.partition("-")[0]
        limit = [] if most_file_bytes is None else ["prlimit", f"--fsize={most_file_bytes}"]
        config = self._wired if name.endswith("-1") else self._config
        stands = subprocess.DEVNULL if limit else (self._folder / f"{name}.log").open("ab")
        self._running[name] = subprocess.Popen(
            [*limit, SPENDWATCH, command, "--config", config],
            stdin=subprocess.DEVNULL, stdout=stands, stderr=stands, env=self._env(name),
        )  # fmt: skip
        if not limit:
            stands.close()

    def kill(self, name):
        """End one with SIGKILL, if it is up, and forget it until it is started again."""
        run = self._running.pop(name, None)
        if run is None:
            return
        self._paused.discard(name)
        run.kill()
        run.wait()
        self.kills += 1

    def pause(self, name):
        self._running[name].send_signal(signal.SIGSTOP)
        self._paused.add(name)

    def resume(self):
        """Let all that is paused go on."""
        for name in self._paused:
            self._running[name].send_signal(signal.SIGCONT)
        self._paused.clear()

    def tend(self):
        """Start again what ended by itself."""
        for name, run in list(self._running.items()):
            if run.poll() is not None:
                log = self._folder / f"{name}.log"
                words = log.read_text()[-300:] if log.exists() else "?"
                self.ended.append(f"{name}, {run.returncode}: {words}")
                self.start(name)

    def put_clock(self, name, seconds):
        """Put a process's clock so many seconds ahead, for whenever it is started again, too."""
        new = self._folder / f"{name}.clock.new"
        new.write_text(f"{seconds:+d}")
        new.rename(self._folder / f"{name}.clock")

    def _env(self, name):
        if not self._has_clocks:
            return None
        (library,) = find_spec("libfaketime").submodule_search_locations
        if not (self._folder / f"{name}.clock").exists():
            self.put_clock(name, 0)
        return os.environ | {
            "LD_PRELOAD": f"{library}/vendor/libfaketime/src/libfaketime.so.1",
            "FAKETIME_TIMESTAMP_FILE": str(self._folder / f"{name}.clock"),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
        }

    def stop(self, command):
        """End all that run a command, in peace."""
        names = [name for name in self._running if name.startswith(f"{command}-")]
        for name in names:
            self._running[name].terminate()
        for name in names:
            self._running.pop(name).wait(30)

    def end(self):
        self.resume()
        for run in self._running.values():
            run.kill()
        for run in self._running.values():
            run.wait()
        self._running.clear()

    @property
    def logs(self):
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-2000:]}" for path in self._folder.glob("*.log")
        )
