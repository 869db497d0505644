"""Series as pages show them: rows of a table that a chart is drawn from, and small pictures."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from service.core.notices import Chart

SPARK_POINTS: Final = 168
SPARK_WIDTH: Final = 160
SPARK_HEIGHT: Final = 40
_EDGE: Final = 2


class Point(NamedTuple):
    """One period of a series. What is not `settled` may change; None is not known."""

    at: datetime
    actual: float | None
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    is_odd: bool = False
    is_settled: bool = True


class Line(NamedTuple):
    """A series in a chart: its periods of `step_hours`, and what it is a series of."""

    series: str
    currency: str
    step_hours: int
    points: Sequence[Point]


class Spark(NamedTuple):
    """A small picture of a series, as paths of SVG."""

    width: int
    height: int
    band: str
    line: str
    odd: str


def line_of(chart: Chart, settled_until: datetime | None) -> Line:
    """Return what was last told of a series, point by point."""
    step = timedelta(hours=chart.step_hours)
    points = [
        Point(
            at=at,
            actual=chart.actual[place],
            expected=chart.expected[place],
            low=chart.low[place],
            high=chart.high[place],
            is_odd=chart.odd[place],
            is_settled=settled_until is None or at + step <= settled_until,
        )
        for place, at in enumerate(chart.starts)
    ]
    return Line(chart.series, chart.currency, chart.step_hours, points)


def spark_of(chart: Chart) -> Spark:
    """Draw the newest week of hours, or half a year of days, of a chart."""
    actual, odd = chart.actual[-SPARK_POINTS:], chart.odd[-SPARK_POINTS:]
    low, high = chart.low[-SPARK_POINTS:], chart.high[-SPARK_POINTS:]
    known = [value for column in (actual, high) for value in column if value is not None]
    top = max([0.0, *known]) or 1.0
    step = SPARK_WIDTH / max(len(actual) - 1, 1)
    room = SPARK_HEIGHT - 2 * _EDGE

    def place(index: int, value: float) -> str:
        return f"{index * step:.1f} {SPARK_HEIGHT - _EDGE - room * max(value, 0) / top:.1f}"

    upper = [place(i, v) for i, v in enumerate(high) if v is not None]
    lower = [place(i, v) for i, v in enumerate(low) if v is not None]
    return Spark(
        SPARK_WIDTH,
        SPARK_HEIGHT,
        f"M{'L'.join(upper + lower[::-1])}Z" if upper and lower else "",
        _path([None if v is None else place(i, v) for i, v in enumerate(actual)]),
        _path(
            [
                None if v is None or not (is_odd or odd[max(i - 1, 0)]) else place(i, v)
                for i, (v, is_odd) in enumerate(zip(actual, odd, strict=True))
            ]
        ),
    )


def _path(places: Sequence[str | None]) -> str:
    """Join places by lines; where there is none is a gap."""
    drawn, is_on = [], False
    for place in places:
        if place is not None:
            drawn.append(f"{'L' if is_on else 'M'}{place}")
        is_on = place is not None
    return "".join(drawn)
