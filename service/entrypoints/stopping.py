"""Stopping: how a signal ends a command that owns servers and threads."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
INSISTS_EVERY_SECONDS: Final = 1.0


class Interrupted(BaseException):
    """A signal came in the middle of work. `exit_code` is what a shell expects of it.

    Like KeyboardInterrupt, it is nothing that an `except Exception` may take.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Stop(threading.Event):
    """Set by SIGTERM, Ctrl-C or a closed terminal; only the main thread may make one.

    Inside `interruptible` the signal ends the work at once with `Interrupted`; elsewhere whoever
    waits or loops looks at the event. A second signal ends whatever still waits, by `Interrupted`
    too: what was opened is closed on the way out, without patience.
    """

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._may_interrupt = False
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup: stay when it closes
                signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        again, self._number = self.is_set(), number
        self.set()
        if self._may_interrupt:
            self._insist()
        if again or self._may_interrupt:
            raise Interrupted(number)

    def _insist(self) -> None:
        """Raise again until the work has ended: what is raised where C calls Python may be lost."""
        signal.signal(signal.SIGALRM, self._hear_again)
        signal.setitimer(signal.ITIMER_REAL, INSISTS_EVERY_SECONDS, INSISTS_EVERY_SECONDS)

    def _hear_again(self, _number: int, _frame: FrameType | None) -> None:
        if self._may_interrupt:
            raise Interrupted(self._number)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Do work that may be cut off anywhere, since its result is then not used."""
        self._may_interrupt = True
        complain, sys.unraisablehook = sys.unraisablehook, _but_for_signals(sys.unraisablehook)
        try:
            self.check()
            yield
            self.check()  # the signal was lost, and the work ended before it was raised again
        finally:
            self._may_interrupt = False
            if self.is_set():
                signal.setitimer(signal.ITIMER_REAL, 0)
            sys.unraisablehook = complain

    def check(self) -> None:
        """Raise Interrupted when the signal has come."""
        if self.is_set():
            raise Interrupted(self._number)


def _but_for_signals(complain: Callable[["sys.UnraisableHookArgs"], object]) -> Callable[..., None]:
    """Return a hook that is silent of signals that came where nothing can be raised."""

    def hook(what: "sys.UnraisableHookArgs") -> None:
        if not isinstance(what.exc_value, Interrupted):
            complain(what)

    return hook
