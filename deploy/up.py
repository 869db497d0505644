"""The services of docker-compose.yml on this machine, without Docker: `make up`.

What compose would start is read from its file, so that there is one process layout: our own
commands run as they stand there, with files and addresses of this machine; Kafka, Valkey and the
mail server are started from the jars, the wheel and aiosmtpd; Prometheus and Grafana are left out.
Everything lives in one folder, and ends with this process.
"""  # noqa: INP001 - a script

import argparse
import contextlib
import fcntl
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import yaml

from service.adapters.embedded_store import find_program
from service.core.ports import StoreUnavailableError
from service.entrypoints.stopping import Stop
from service.entrypoints.terminal import complain, say

TOP: Final = Path(__file__).parents[1]
DEPLOY: Final = TOP / "deploy"
LOCK: Final = TOP / "var" / "up.lock"
CONFIG: Final = "/etc/spendwatch/spendwatch.toml"
DATA: Final = "/var/lib/spendwatch"
HISTORY: Final = "/var/lib/history"
SECRETS: Final = "/run/secrets"
HEALTH: Final = 9464
IMAGE: Final = "spendwatch:"
LEFT_OUT: Final = ("prometheus", "grafana")
# What others call by name, and the port at which they do.
PORTS: Final = {"kafka": 9092, "valkey": 6379, "mailpit": 1025, "slack": 8322, "api": 8321}
PUBLIC: Final = ("slack", "api")
FREE: Final = range(12_000, 32_000)  # below Linux's ip_local_port_range
ENDS_WITHIN_SECONDS: Final = 20.0
STARTS_AGAIN: Final = 5
Service = Mapping[str, Any]


class Place:
    """Where things are on this machine instead of in containers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {n: free_port(at if n in PUBLIC else None) for n, at in PORTS.items()}
        subprocess.run([DEPLOY / "secrets.sh", folder / "secrets"], check=True)  # noqa: S603

    def here(self, text: str, name: str, health: int) -> str:
        """Say in files and addresses of this machine what is said in those of a container."""
        text = text.replace(SECRETS, str(self.folder / "secrets"))
        text = text.replace(CONFIG, str(self.folder / f"{name}.toml"))
        text = text.replace(f"{DATA}/exports", str(self.folder / "exports"))
        text = text.replace(HISTORY, str(self.folder / "history"))
        service = name.partition("-")[0]  # its processes share a volume
        text = text.replace(DATA, str(self.folder / f"{service}-data"))
        text = text.replace("dir /data", "dir .")
        text = re.sub(rf"\b({'|'.join(PORTS)})(?=:\d)|\bmailpit\b|0\.0\.0\.0", "127.0.0.1", text)
        for server, port in {**PORTS, "health": HEALTH}.items():
            text = re.sub(rf"\b{port}\b", str(self.ports.get(server, health)), text)
        return text

    def secret(self, name: str) -> str:
        """Return one of the secrets."""
        return (self.folder / "secrets" / name).read_text("ascii")


class Process:
    """One container's worth."""

    def __init__(self, place: Place, name: str, service: Service, number: int) -> None:
        self.service, self._place = service, place
        self.name = name if number == 1 else f"{name}-{number}"
        self._health = free_port()
        self._command = self._made(name)
        self._running: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def _made(self, name: str) -> list[str]:
        place, python = self._place, sys.executable
        port = str(place.ports.get(name, 0))
        folder = place.folder / self.name
        folder.mkdir(exist_ok=True)
        if name == "kafka":
            return [str(DEPLOY / "kafka" / "start.sh"), str(folder), port, str(free_port())]
        if name == "mailpit":
            return [python, "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{port}"]
        if name == "valkey":
            config = (DEPLOY / "valkey" / "valkey.conf").read_text("utf-8")
            (folder / "valkey.conf").write_text(self._here(config), "utf-8")
            return [find_program(), "valkey.conf", "--bind", "127.0.0.1"]
        config = (DEPLOY / "distributed.toml").read_text("utf-8")
        (place.folder / f"{self.name}.toml").write_text(self._here(config), "utf-8")
        start = self.service.get("entrypoint", [str(Path(python).with_name("spendwatch"))])
        start = [python if word == "python" else word for word in start]
        return [*start, *(self._here(str(word)) for word in self.service["command"])]

    def _here(self, text: str) -> str:
        return self._place.here(text, self.name, self._health)

    @property
    def log(self) -> Path:
        """Return the file with what it prints."""
        return self._place.folder / f"{self.name}.log"

    @property
    def ended(self) -> int | None:
        """Return its exit code, None before it has one."""
        return None if self._running is None else self._running.poll()

    @property
    def is_well(self) -> bool:
        """Whether it runs and does what its health check asks for; a server of others, listens."""
        if self._running is None or self.ended is not None:
            return False
        if not self.service["image"].startswith(IMAGE):
            return listens(self._place.ports[self.name])
        check = self.service.get("healthcheck", {}).get("test", [""])[-1]
        try:
            urllib.request.urlopen(self._here(check), timeout=2).close()  # noqa: S310
        except (OSError, ValueError):
            return False
        return True

    def start(self) -> None:
        """Start it, once more if it has ended."""
        self.starts += 1
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(  # noqa: S603 - our own commands
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self._place.folder / self.name,
                start_new_session=True,  # Ctrl-C is for us; they end in order
            )  # fmt: skip

    def signal(self, number: int) -> None:
        """Send a signal to what runs."""
        if self._running is not None and self.ended is None:
            self._running.send_signal(number)

    def end(self, deadline: float) -> None:
        """Wait for the end, and bring it about once it is time."""
        if self._running is None:
            return
        try:
            self._running.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()


class Layout:
    """All services, each started once those that it needs are as far as it needs them."""

    def __init__(self, place: Place, exports: Path | None) -> None:
        services = yaml.safe_load((TOP / "docker-compose.yml").read_text("utf-8"))["services"]
        if exports is not None:
            services["ingest"]["command"][1] = str(exports)
            del services["sample"], services["ingest"]["depends_on"]["sample"]
        self.processes = {
            name: [
                Process(place, name, service, number)
                for number in range(1, service.get("deploy", {}).get("replicas", 1) + 1)
            ]
            for name, service in services.items()
            if name not in LEFT_OUT
        }

    @property
    def all(self) -> list[Process]:
        """Every process, servers first."""
        return [one for group in self.processes.values() for one in group]

    def look(self) -> None:
        """Start what can be started, and again what should run; OSError when that is no use."""
        for one in self.all:
            if one.starts and one.ended is not None and self._starts_again(one):
                if one.starts > STARTS_AGAIN:
                    tail = one.log.read_text("utf-8", "replace").strip().splitlines()[-1:]
                    raise OSError(f"{one.name} ended {one.starts} times: {''.join(tail)}")
                complain(f"{one.name} ended with {one.ended}; starting it again")
                one.start()
            elif not one.starts and self._may_start(one):
                one.start()

    def _starts_again(self, one: Process) -> bool:
        restart = one.service["restart"]
        return restart == "unless-stopped" or (restart == "on-failure" and one.ended != 0)

    def _may_start(self, one: Process) -> bool:
        needs = one.service.get("depends_on", {})
        return all(self._is(name, need["condition"]) for name, need in needs.items())

    def _is(self, name: str, condition: str) -> bool:
        group = self.processes[name]
        if condition == "service_completed_successfully":
            return all(one.starts and one.ended == 0 for one in group)
        return all(one.is_well if condition == "service_healthy" else one.starts for one in group)

    def end(self) -> None:
        """End everything: what uses the servers first."""
        for is_ours in (True, False):
            some = [one for one in self.all if one.service["image"].startswith(IMAGE) == is_ours]
            for one in some:
                one.signal(signal.SIGTERM)
            deadline = time.monotonic() + ENDS_WITHIN_SECONDS
            for one in some:
                one.end(deadline)


def free_port(wanted: int | None = None) -> int:
    """Return the wanted port, or any free one if that is taken.

    One that the system gives out may be another's before a broker has started: it is below those.
    """
    others = random.SystemRandom().sample(FREE, 100)
    for port in others if wanted is None else (wanted, *others):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free on 127.0.0.1")


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def only_one() -> Iterator[IO[str]]:
    """Hold the lock of this checkout, and say in it who does."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError("it is up already; end it with: make down") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock


def down() -> None:
    """End what runs from this checkout, and wait for that."""
    if not LOCK.exists():
        return
    with LOCK.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.kill(int(lock.read()), signal.SIGTERM)
            fcntl.flock(lock, fcntl.LOCK_SH)


def up(folder: Path, exports: Path | None) -> None:
    """Run until Ctrl-C or `make down`; OSError when a service does not stay up."""
    for program, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            raise OSError(f"Apache Kafka needs {program}: apt install {package}")
    stop = Stop()
    subprocess.run([DEPLOY / "kafka" / "start.sh", "fetch"], check=True)  # noqa: S603
    place = Place(folder)
    layout = Layout(place, exports)
    (ingest,) = layout.processes["ingest"]
    say(f"logs          {folder}")
    try:
        is_told = is_in = False
        while not stop.is_set():
            layout.look()
            if not is_told and all(one.is_well for one in layout.all if one is not ingest
                                   and one.name != "sample"):  # fmt: skip
                token, api = place.secret("admin-token"), f"127.0.0.1:{place.ports['api']}"
                say(f"page          http://{api}/sign-in#token={token}")
                say(f"local Slack   http://127.0.0.1:{place.ports['slack']}")
                say(f"mail          {layout.processes['mailpit'][0].log}")
                say(f"admin token   {token}")
                say("Everything is up. Ctrl-C, or make down, ends it.")
                is_told = True
            if not is_in and ingest.ended == 0:
                say(ingest.log.read_text("utf-8").strip().splitlines()[-1])
                is_in = True
            stop.wait(0.3)
    finally:
        say("Ending ...")
        layout.end()


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--down", action="store_true", help="end what runs from this checkout")
    parser.add_argument("--folder", type=Path, help="keep logs and data here; else nowhere")
    parser.add_argument("--exports", type=Path, help="ingest this instead of the sample")
    asked = parser.parse_args()
    try:
        if asked.down:
            down()
            return
        with only_one(), contextlib.ExitStack() as stack:
            if asked.folder is not None:
                asked.folder.mkdir(parents=True, exist_ok=True)
            folder = asked.folder or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="spendwatch-up-"))
            )
            up(folder.resolve(), asked.exports and asked.exports.resolve())
    except (OSError, StoreUnavailableError, subprocess.CalledProcessError) as error:
        complain(f"up: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
