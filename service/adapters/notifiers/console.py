"""The console: notices on the terminal, as they would look in Slack; plain lines when piped."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import msgspec
from rich.console import Console as Terminal
from rich.console import ConsoleOptions, Group, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.core.notices import Chart, Notice
from service.core.phrases import clean
from service.core.ports import Outcome, Refused, Retry, Sent
from service.core.wording import Words, footer, plain_text, words

WIDTH: Final = 100
CHART_WIDTH: Final = 72
_BARS: Final = " ▁▂▃▄▅▆▇█"
_CALLED: Final = {"post": "notice", "edit": "edited"}
_EDGES: Final = {"high": "red", "medium": "yellow", "low": "blue"}


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The console needs no settings."""


class Console:
    """Serves the destination `console:`; what follows the colon is shown as the channel."""

    Settings: ClassVar = ConsoleSettings

    def __init__(self, settings: ConsoleSettings) -> None:  # noqa: ARG002  as every notifier
        self._terminal = Terminal(soft_wrap=not sys.stdout.isatty(), highlight=False)

    @staticmethod
    def reaches(target: str) -> bool:
        """Take any name that can be shown."""
        return target == clean(target, 80)

    async def send(self, notice: Notice, ref: Mapping[str, str] | None) -> Outcome:
        """Print a notice; an edit says that it is one."""
        try:
            if self._terminal.is_terminal:
                self._terminal.print(shown(notice))
            else:
                self._terminal.print(Text(_lines(notice)))
        except OSError as error:
            return Retry(f"cannot print ({type(error).__name__})")
        except UnicodeError:
            return Refused("the output takes no Unicode: set PYTHONUTF8=1")
        return Sent(dict(ref or {"delivery_id": notice.delivery_id}))

    async def find(self, notice: Notice, ref: Mapping[str, str] | None = None) -> Outcome:  # noqa: ARG002  a port
        """Ask for it to be printed again: a terminal does not remember."""
        return Retry("a terminal cannot be asked what it showed")

    async def close(self) -> None:
        """Do nothing: the terminal is not ours to close."""


def shown(notice: Notice) -> Panel | Padding:
    """Return a notice as rich shows it: a post in a frame, a line of a thread beneath."""
    if notice.action == "thread":
        return Padding(Text.assemble(("↳ ", "dim"), _beneath(notice)), (0, 0, 0, 4))
    said = words(notice.incident)
    parts: list[Text | Table | Group | _Drawn] = [Text(said.lead, style="bold")]
    if said.status:
        parts.append(Text(said.status, style="italic dim"))
    parts += [Text(), _fields(said)]
    if notice.chart is not None:
        parts += [Text(), _Drawn(notice.chart)]
    if said.drivers:
        parts += [Text(), _drivers(said)]
    parts += [Text(), Text(" · ".join(footer(notice)), style="dim")]
    firing = notice.incident.state == "firing"
    return Panel(
        Group(*parts),
        title=Text(clean(said.headline, WIDTH - 10), style="bold"),
        title_align="left",
        subtitle=Text(_where(notice), style="dim"),
        subtitle_align="right",
        border_style=_EDGES[notice.incident.severity] if firing else "green",
        width=WIDTH,
        padding=(1, 2),
    )


def _where(notice: Notice) -> str:
    channel = clean(notice.destination.partition(":")[2], 60)
    return " · ".join(
        part for part in (channel, "edited" if notice.action == "edit" else "") if part
    )


def _lines(notice: Notice) -> str:
    if notice.action == "thread":
        return f"[thread] {_beneath(notice)}\n"
    return f"[{_CALLED.get(notice.action, notice.action)}] {plain_text(notice)}\n"


def _beneath(notice: Notice) -> str:
    return f"{clean(notice.incident.title, 100)}: {clean(notice.text, 1000)}"


def _fields(said: Words) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for field in said.fields:
        table.add_row(field.label, Text(field.value))
    return table


def _drivers(said: Words) -> Group:
    lines = [Text(said.drivers_title, style="bold")]
    for driver in said.drivers:
        begin = f"{driver.rate} " if driver.rate else ""
        lines.append(
            Text.assemble("• ", (begin, "bold"), (driver.resource, "cyan"), f"  {driver.reason}")
        )
    return Group(*lines)


class _Drawn:
    """A chart that is as wide as the place it is given, and no wider than CHART_WIDTH."""

    def __init__(self, chart: Chart) -> None:
        self._chart = chart

    def __rich_console__(self, _: Terminal, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - len("expected ")
        yield _chart(self._chart, min(max(room, 1), CHART_WIDTH))


def _chart(chart: Chart, width: int) -> Group:
    """Draw actual over expected as two rows of bars of one scale; odd periods are red."""
    columns = _columns(len(chart.starts), width)
    known = [v for v in (*chart.actual, *chart.expected) if v is not None]
    top = max(known, default=0.0)
    actual = Text.assemble(("actual   ", "dim"))
    for column in columns:
        bar = _bar([chart.actual[at] for at in column], top)
        actual.append(bar, style="red" if any(chart.odd[at] for at in column) else "blue")
    if all(value is None for value in chart.expected):
        return Group(actual)
    expected = Text.assemble(("expected ", "dim"))
    for column in columns:
        expected.append(_bar([chart.expected[at] for at in column], top), style="white")
    return Group(actual, expected)


def _columns(periods: int, width: int) -> list[range]:
    """Share the periods out among at most `width` columns."""
    size = max(math.ceil(periods / width), 1)
    return [range(at, min(at + size, periods)) for at in range(0, periods, size)]


def _bar(values: Sequence[float | None], top: float) -> str:
    known = [value for value in values if value is not None]
    if not known or top <= 0:
        return " "
    share = max(sum(known) / len(known), 0) / top
    return _BARS[max(round(share * 8), 1)]
