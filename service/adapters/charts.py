"""Charts: a series around its odd stretch, as a PNG that is readable at the size Slack shows."""

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog

from detectors.base import F64
from service.core.holds import IDLE
from service.core.notices import Chart, Notice
from service.core.phrases import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_log = structlog.get_logger(__name__)

INCHES: Final = (6.4, 2.8)
DOTS_PER_INCH: Final = 200
MARKED_UP_TO: Final = 45

_ACTUAL, _ODD, _EXPECTED, _BAND, _INK = "#1f4e9c", "#d92d20", "#667085", "#b9c8e6", "#344054"
_FAINT: Final = "#d0d5dd"
# Of years, months, days, hours, minutes, seconds; then of the first of each.
_DATES: Final = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
_FIRST_DATES: Final = ["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]


def png(chart: Chart, *, title: str, odd: str = "Odd") -> bytes:
    """Draw actual, expected and the expected range in UTC, with the odd periods marked.

    `odd` names what is marked; what nothing is known of is not in the legend. A gap stays a gap.
    The same chart gives the same bytes with the same version of matplotlib. Safe to call from
    several threads. The first call takes a second or two to load matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  slow to load
    from matplotlib.figure import Figure  # noqa: PLC0415  slow to load

    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.14, 0.87, 0.66))
    _draw(axes, chart, odd)
    _dress(axes, chart)
    figure.text(
        0.012, 0.93, _drawable(title, 68), fontsize=10.5, color=_INK, weight="bold",
        parse_math=False,
    )  # fmt: skip
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def picture_of(notice: Notice) -> bytes | None:
    """Draw a notice's chart; None when it has none, or when it cannot be drawn.

    No chart is worth losing a notice for: what matplotlib cannot do is logged and left out.
    """
    if notice.chart is None:
        return None
    title = notice.incident.drivers[0].resource if notice.incident.drivers else ""
    try:
        odd = "Idle" if notice.incident.kind == IDLE else "Odd"
        return png(notice.chart, title=title, odd=odd)
    except (ValueError, ArithmeticError, LookupError, RuntimeError, OSError) as error:
        _log.warning("chart_failed", delivery_id=notice.delivery_id, error=type(error).__name__)
        return None


def _draw(axes: "Axes", chart: Chart, odd_name: str) -> None:
    at = _times(chart)
    actual, expected = _floats(chart.actual), _floats(chart.expected)
    low, high = _floats(chart.low), _floats(chart.high)
    odd = np.array(chart.odd, dtype=bool) & np.isfinite(actual)
    known = np.isfinite(low) & np.isfinite(high)
    if known.any():
        axes.fill_between(
            at, low, high, where=list(known), color=_BAND, alpha=0.7, linewidth=0,
            label="Normal range",
        )  # fmt: skip
    if np.isfinite(expected).any():
        axes.plot(
            at, expected, color=_EXPECTED, linewidth=1.3, linestyle=(0, (4, 2)), label="Expected"
        )
    marker = "." if len(at) <= MARKED_UP_TO else ""
    axes.plot(at, actual, color=_ACTUAL, linewidth=1.7, marker=marker, label="Actual")
    axes.plot(
        at, np.where(odd, actual, np.nan), color=_ODD, linewidth=1.7, marker="o", markersize=3.4,
        label=odd_name,
    )  # fmt: skip


def _dress(axes: "Axes", chart: Chart) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415  slow
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415  slow

    locator = AutoDateLocator(minticks=4, maxticks=7)  # type: ignore[no-untyped-call]  # untyped
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
            locator, formats=_DATES, zero_formats=_FIRST_DATES, show_offset=False
        )
    )
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    unit = "$" if chart.currency == "USD" else ""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, unit)))
    _frame(axes, chart)
    axes.tick_params(labelsize=9, labelcolor=_INK, color=_FAINT)
    axes.grid(axis="y", color="#eaecf0", linewidth=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(_FAINT)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.01, 0.985), ncols=4, fontsize=8.5, frameon=False,
        handlelength=1.4, columnspacing=1.1, labelcolor=_INK, borderpad=0.2,
    )  # fmt: skip
    currency = "" if chart.currency == "XXX" else f"{_drawable(chart.currency, 12)} "
    axes.text(
        -0.105, 1.04, f"{currency}per {'hour' if chart.step_hours == 1 else 'day'}, UTC",
        transform=axes.transAxes, fontsize=8.5, color=_EXPECTED, parse_math=False,
    )  # fmt: skip


def _frame(axes: "Axes", chart: Chart) -> None:
    """Show zero, so that twice as high is twice as much, and all of the time that is told of."""
    amounts = [0.0, *(v for v in (*chart.actual, *chart.expected, *chart.high) if v is not None)]
    bottom, top = min(amounts), max(amounts)
    room = (top - bottom) * 0.06
    axes.set_ylim(bottom - room if bottom < 0 else 0, top + room if room else 1)
    if chart.starts:
        step = np.timedelta64(chart.step_hours, "h")
        at = _times(chart)
        axes.set_xlim(at[0] - step, at[-1] + step)


def _times(chart: Chart) -> Any:
    """Return the starts as matplotlib takes them: without a zone, in UTC."""
    return np.array([start.replace(tzinfo=None) for start in chart.starts], "datetime64[s]")


def _tick(value: float, unit: str) -> str:
    """Write an amount at the axis.

    >>> [_tick(value, "$") for value in (0, 0.25, 1500, -15000, 2.5e6)]
    ['$0', '$0.25', '$1,500', '-$15k', '$2.5M']
    """
    size = abs(value)
    scale, suffix = (1e6, "M") if size >= 1e6 else (1e3, "k") if size >= 1e4 else (1, "")
    return f"{'-' if value < 0 else ''}{unit}{size / scale:,.4g}{suffix}"


def _floats(values: "Sequence[float | None]") -> F64:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _drawable(text: str, limit: int) -> str:
    """Leave out what the font cannot draw, such as emoji."""
    from matplotlib.font_manager import findfont, get_font  # noqa: PLC0415  slow to load

    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return clean("".join(char for char in text if ord(char) in known), limit)
