"""Asking the store for as long as it is away."""

from collections.abc import Callable
from typing import TypeVar

import structlog

from service.core.ports import StoreUnavailableError
from service.entrypoints.notifier import STORE_PAUSE_SECONDS

_T = TypeVar("_T")


def insist(
    ask: Callable[[], _T],
    is_stopped: Callable[[], bool],
    rest: Callable[[float], object],
    name: str,
) -> _T:
    """Ask until the store answers: whoever asks has moved on and cannot step back.

    StoreUnavailableError once it is stopped. `rest` waits some seconds; `name` is whose log says
    so.
    """
    while True:
        try:
            return ask()
        except StoreUnavailableError as error:
            if is_stopped():
                raise
            structlog.get_logger(name).warning(
                "store", error=str(error), waiting_seconds=STORE_PAUSE_SECONDS
            )
            rest(STORE_PAUSE_SECONDS)
