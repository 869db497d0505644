"""Explore spend: by any dimension, over any window, and who moved it since the one before."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from service.core import money
from service.core.moves import Move, Moves
from service.core.slices import BY_TAG, DIMENSIONS, Cut, Grain, Sliced, SpendLine, check_dimension
from service.web.layout import Frame, render, render_part

SPANS: Final[Mapping[str, str]] = {
    "1": "1 day", "7": "7 days", "14": "14 days", "30": "30 days", "90": "90 days", "365": "1 year",
}  # fmt: skip
USUAL: Final = "14"
BY_HOUR_UP_TO: Final = timedelta(days=3)
LONGEST: Final = timedelta(days=400)
# A day of any other year is a slip, and days before the first or after the last cannot be told.
YEARS: Final = range(2000, 2200)
STACKED: Final = 8
STACKED_BY_DAY: Final = 4
LINES: Final = 50
MOVES: Final = 15
MOVES_ASKED: Final = 500
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY: Final = timedelta(days=1)


class View(NamedTuple):
    """What to show: `since` to before `until` by one dimension, beside what began at `before`."""

    by: str
    since: datetime
    until: datetime
    before: datetime
    span: str
    where: Mapping[str, str]
    currency: str

    @classmethod
    def of(cls, query: Mapping[str, str], now: datetime) -> "View":
        """Read an address; what it does not know is as though it were not there."""
        # Whoever asks within the same minutes asks the same, and is answered the same.
        now = now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0)
        span = query.get("days", USUAL)
        span = span if span in SPANS else USUAL
        until = min(_day_of(query.get("until"), now + _DAY), now + _DAY)
        until = now if "until" not in query else until + _DAY
        since = _day_of(query.get("since"), _begin(until, int(span)))
        if not timedelta(0) < until - since <= LONGEST:
            since = _begin(until, int(span))
        latest = since - (until - since)
        before = min(_day_of(query.get("before"), latest), latest)
        where = {}
        for name, value in query.items():
            known = _dimension(name)
            if known is not None and len(value) < 500:
                where[known] = value
        by = _dimension(query.get("by", "")) or "service_name"
        own = "" if "since" in query or "until" in query else span
        return cls(by, since, until, before, own, where, query.get("currency", "")[:12])

    @property
    def grain(self) -> Grain:
        """Return how long a bar is."""
        return "hour" if self.until - self.since <= BY_HOUR_UP_TO else "day"

    def cut(self, owners: frozenset[str] | None) -> Cut:
        """Return what to ask for the lines."""
        return Cut(self.since, self.until, (self.by,), self._passing(), owners)

    def both(self, owners: frozenset[str] | None) -> Cut:
        """Return what to ask for the moves."""
        return Cut(self.before, self.until, (self.by,), self._passing(), owners)

    def _passing(self) -> dict[str, frozenset[str]]:
        return {name: frozenset({value}) for name, value in self.where.items()}


class Line(NamedTuple):
    """One value of the dimension; `href` shows it alone, `change` is against the window before."""

    name: str
    href: str | None
    cost: Decimal
    share: int
    costs: Sequence[Decimal | None]
    move: Move | None


class Bars(NamedTuple):
    """What a chart of stacked bars is drawn from: its columns, and rows of start and amounts."""

    names: Sequence[str]
    rows: Sequence[tuple[datetime, Sequence[Decimal | None], bool]]


def waiting_page(frame: Frame, view: View) -> str:
    """Render the page while what it is about is still being added up; it asks again by itself."""
    return render(
        "spend.html", frame, is_waiting=True, currencies=[], currency="", **_asked(view, frame)
    )


def spend_page(frame: Frame, view: View, sliced: Sliced, moves: Moves) -> str:
    """Render the page."""
    currencies = [total.billing_currency for total in sliced.totals]
    currency = _chosen(view, sliced)
    found = [line for line in sliced.lines if line.billing_currency == currency]
    others = [line for line in sliced.others if line.billing_currency == currency]
    total = next((one for one in sliced.totals if one.billing_currency == currency), None)
    whole = None if total is None else total.cost
    moved = {
        one.labels.get(view.by, ""): one for one in moves.items if one.billing_currency == currency
    }
    return render(
        "spend.html",
        frame,
        is_waiting=False,
        currency=currency,
        currencies=currencies,
        total=total,
        whole=next((one for one in moves.totals if one.billing_currency == currency), None),
        lines=[_line(one, view, frame, whole, moved) for one in found],
        moves=[_mover(one, view, frame) for one in list(moved.values())[:MOVES]],
        left_out=sliced.lines_left_out,
        bars=_bars(found, others, view, sliced),
        **_asked(view, frame),
    )


def _asked(view: View, frame: Frame) -> dict[str, Any]:
    """Return what the form is made from."""
    return {
        "view": view,
        "dimensions": DIMENSIONS,
        "spans": SPANS,
        "until_day": view.until - timedelta(microseconds=1),
        "filters": [
            (name, value, frame.link(**{name: None})) for name, value in view.where.items()
        ],
    }


def days_part(sliced: Sliced) -> str:
    """Render what was spent by day, for the overview."""
    currency = _largest(sliced)
    found = [line for line in sliced.lines if line.billing_currency == currency]
    others = [line for line in sliced.others if line.billing_currency == currency]
    view = View.of({}, sliced.as_of)
    return render_part("days.html", bars=_bars(found, others, view, sliced), currency=currency)


def _bars(
    lines: Sequence[SpendLine], others: Sequence[SpendLine], view: View, sliced: Sliced
) -> Bars:
    """Stack the largest, and the rest on top."""
    columns = [(_named(line.labels.get(view.by, ""), view.by), line) for line in lines[:STACKED]]
    rest = [*lines[STACKED:], *others]
    names = [name for name, _ in columns] + (["The rest"] if rest else [])
    rows = []
    for place, start in enumerate(sliced.starts):
        costs: list[Decimal | None] = [line.costs[place] for _, line in columns]
        more = [line.costs[place] for line in rest]
        if rest:
            costs.append(money.total(cost for cost in more if cost is not None))
        changes = any(line.provisional[place] for line in (*lines, *others))
        rows.append((start, costs, changes))
    return Bars(names, rows)


def _line(
    line: SpendLine,
    view: View,
    frame: Frame,
    whole: Decimal | None,
    moved: Mapping[str, Move],
) -> Line:
    value = line.labels.get(view.by, "")
    share = round(float(line.cost / whole) * 100) if whole else 0
    return Line(
        _named(value, view.by), _into(view, frame, value), line.cost, share, line.costs,
        moved.get(value),
    )  # fmt: skip


def _mover(move: Move, view: View, frame: Frame) -> tuple[str, str | None, Move]:
    value = move.labels.get(view.by, "")
    return _named(value, view.by), _into(view, frame, value), move


def _into(view: View, frame: Frame, value: str) -> str | None:
    """Return where a value is shown alone, by what is asked next."""
    if view.by in view.where:
        return None
    further = "resource_id" if view.by != "resource_id" else "sku_id"
    return frame.link(**{view.by: value or None, "by": further}) if value else None


def _chosen(view: View, sliced: Sliced) -> str:
    known = {total.billing_currency for total in sliced.totals}
    return view.currency if view.currency in known else _largest(sliced)


def _largest(sliced: Sliced) -> str:
    return max(sliced.totals, key=lambda one: one.cost).billing_currency if sliced.totals else "USD"


def _named(value: str, by: str) -> str:
    return value or ("untagged" if by.startswith(BY_TAG) else "none")


def _dimension(name: str) -> str | None:
    try:
        return check_dimension(name)
    except ValueError:
        return None


def _begin(until: datetime, days: int) -> datetime:
    """Return when so many days up to a moment begin: whole days of UTC, but for a single one."""
    if days == 1:
        return until - _DAY
    last = until - timedelta(microseconds=1)
    return datetime.combine(last.date(), time(), UTC) - timedelta(days=days - 1)


def _day_of(text: str | None, otherwise: datetime) -> datetime:
    if text is None or _DATE.fullmatch(text) is None:
        return otherwise
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return otherwise
    return datetime.combine(day, time(), UTC) if day.year in YEARS else otherwise
