"""What a cost detector is: the words that points, scores and both forms share.

A detector judges one charge period of one series at a time, in order of time, and scores a period
before it learns it. It exists in two forms that hold the same state in the same dtypes: the scalar
form (River's interface, one object per series) is the reference; the column form (numpy arrays, one
row per series) is what the service runs.

Time is counted in steps: whole hours since 1970-01-01T00:00Z for hourly series, whole days for
daily ones.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

HOUR = 1
DAY = 24
DAYS_PER_MONTH = 30.4375
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def step_of(at: datetime, step_hours: int) -> int:
    """Return the step that holds `at`, an aware time."""
    since = at - EPOCH
    return (since.days * DAY + since.seconds // 3600) // step_hours


def start_of(step: int, step_hours: int) -> datetime:
    """Return when a step begins, in UTC."""
    return EPOCH + timedelta(hours=step * step_hours)


class Score(NamedTuple):
    """A detector's calibrated surprise at one point, before it learns that point.

    `surprise` is -log10 of the probability that a normal period of this series is at least this
    odd: 0 when there is nothing to say, comparable between series and between detectors. `expected`
    and the range `low` to `high` are in the currency of the point. `since` is the step at which the
    odd stretch seems to have begun, the point's own step for a detector without memory.
    """

    surprise: float
    expected: float
    low: float
    high: float
    since: int


class Scores(NamedTuple):
    """`Score` for many points at once: arrays of one length."""

    surprise: F64
    expected: F64
    low: F64
    high: F64
    since: I64

    def at(self, index: int) -> Score:
        """Return one point's score."""
        return Score(
            float(self.surprise[index]),
            float(self.expected[index]),
            float(self.low[index]),
            float(self.high[index]),
            int(self.since[index]),
        )


class Evidence(NamedTuple):
    """What a finding's sentence may speak of: its latest odd period, and the stretch so far."""

    start: datetime
    step_hours: int
    actual: float
    expected: float
    low: float
    high: float
    periods: int
    since: datetime
    impact: float
    currency: str


class Detector(Protocol):
    """The column form of one detector: one row per series, all rows of a batch in array operations.

    `kind` names what it finds. `on_close` is true for a detector that may only judge a period that
    the watermark has closed, because a late row would look like what it looks for. `remembers` is
    true for one that judges a period together with those before it, and so stays surprised for a
    while after they are over.
    """

    kind: ClassVar[str]
    on_close: ClassVar[bool]
    remembers: ClassVar[bool]

    def resize(self, rows: int) -> None:
        """Make room for `rows` series; the state of those already known stays."""
        ...

    def score(self, rows: I64, steps: I64, costs: F64) -> Scores:
        """Judge each point against what was learnt and recorded of its series before its step.

        A row may occur several times with different steps. Changes nothing.
        """
        ...

    def learn(self, rows: I64, steps: I64, costs: F64) -> None:
        """Take in closed points; a row occurs once."""
        ...

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the state itself, by name: what is saved, and filled again on restore."""
        ...

    def reason(self, evidence: Evidence) -> str:
        """Say in one plain sentence, with numbers a person can check, why this is odd."""
        ...


def money(amount: float, currency: str) -> str:
    """Write an amount for a sentence: three figures are enough for a person.

    >>> money(1234.5, "USD"), money(0.0123, "EUR"), money(-41.2, "USD")
    ('$1,234', '0.0123 EUR', '-$41.20')
    """
    size = abs(amount)
    digits = 0 if size >= 1000 else 2 if size >= 0.1 or size == 0 else 4
    text = f"{size:,.{digits}f}"
    sign = "-" if amount < 0 else ""
    return f"{sign}${text}" if currency == "USD" else f"{sign}{text} {currency}"


def as_columns(points: Sequence[tuple[int, int, float]]) -> tuple[I64, I64, F64]:
    """Turn (row, step, cost) triples into the three arrays that a column form takes."""
    rows = np.array([p[0] for p in points], dtype=np.int64)
    steps = np.array([p[1] for p in points], dtype=np.int64)
    return rows, steps, np.array([p[2] for p in points], dtype=np.float64)
