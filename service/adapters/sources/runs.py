"""Runs of experiments, as trackers export them: what is alike in all of them."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from service.adapters.sources.base import Flaw, Row, first_bytes
from service.adapters.sources.documents import records
from service.core.events import Run, flaw_of

# A metric of such a name is better when it is smaller.
_SMALLER: Final = ("loss", "error", "err", "perplexity", "ppl", "rmse", "mse", "mae", "latency")
# An improvement that is smaller than this part is none: metrics tremble.
LEAST: Final = 0.001

_T = TypeVar("_T")


class Measured(NamedTuple):
    """A metric's value at a time."""

    at: datetime
    value: float


def read_runs(
    path: Path, decode: Callable[[bytes], _T], run_of: Callable[[_T], Run]
) -> Iterator[Row | Flaw]:
    """Read a file of runs; BrokenFileError where it ends early or cannot be read."""
    for number, raw, found in records(path, decode):
        if isinstance(found, Flaw):
            yield found
            continue
        try:
            run = run_of(found)
        except (ValueError, OverflowError) as error:
            yield Flaw(number, "type", str(error), first_bytes(raw))
            continue
        why = flaw_of(run)
        yield Row(number, run) if why is None else Flaw(number, "range", why, first_bytes(raw))


def best_of(metric: str | None, history: Iterable[Measured]) -> Measured | None:
    """Return when a metric last improved, by at least a thousandth; None without a value.

    >>> at = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3)]
    >>> best_of("val_loss", map(Measured, at, (1.0, 0.5, 0.4999))).value
    0.5
    >>> best_of("accuracy", map(Measured, at, (0.7, 0.9, 0.8))).at.day
    2
    """
    name = (metric or "").lower()
    sign = -1 if any(word in name for word in _SMALLER) else 1
    best: Measured | None = None
    for one in sorted(history):
        if isnan(one.value):
            continue
        if best is None or sign * (one.value - best.value) > LEAST * abs(best.value):
            best = one
    return best


def moment_of(seconds: float) -> datetime:
    """Turn seconds since 1970 into a time; ValueError or OverflowError when it is none."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except OSError as error:
        raise ValueError("a time is out of range") from error
