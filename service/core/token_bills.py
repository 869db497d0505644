"""Token bills: what the usage of models costs before its bill comes, and what of it was billed.

Usage says by the hour what each key used, at a price: an estimate. A bill says by the day what
projects and models cost. Once a day is over and billed, its bill is shared out over the usage that
it is of, in proportion to the estimates; what no usage explains stays with the bill's own lines. So
a day costs what was billed, once, and every key keeps its hours.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from detectors.base import DAY, start_of, step_of
from service.core import money
from service.core.estimates import COMPARED_HOURS, Ahead, Gap
from service.core.events import CostEvent, SeriesKey
from service.core.ledger import STEP_HOURS, Change, Ledger, Metric
from service.core.state import ENCODE, Chunk, Saved, Streams, digest
from service.core.token_matches import Part, cost_of, matched, rates_of, scaled, shared

ESTIMATED: Final = "estimated"
SERVICE_CATEGORY: Final = "AI and Machine Learning"
# How long after a day its bill is taken to be whole: until then it is still being added up.
WHOLE_AFTER: Final = timedelta(hours=6)
# A bill of more than so many times what usage costs at list is of usage that was not told of.
MOST_TIMES: Final = 2
# A bill of less is of a free day, and says nothing of what the next will cost.
LEAST_RATE: Final = Decimal("0.1")
_SPLIT: Final = "\0"

Kind = Literal["usage", "lines"]
_Step = tuple[SeriesKey, int]
_Changed = dict[_Step, datetime]


class Told(NamedTuple):
    """A row that the ledger is to take in, its feed, and when what it says came."""

    source: str
    event: CostEvent
    at: datetime


class _Costs(NamedTuple):
    """What a part is to cost, and whether that is an estimate."""

    part: Part
    cost: Decimal
    estimated: bool


class _Said(msgspec.Struct, array_like=True):
    """What was said of a step last: the how-manieth time, what, and whether it was an estimate."""

    revision: int
    what: bytes
    estimated: bool


class _Compared(msgspec.Struct, array_like=True):
    service: str
    currency: str
    hours: int
    estimated: Decimal
    billed: Decimal


class _Day(msgspec.Struct):
    """One day of a bill: the steps of its usage and of its lines."""

    usage: set[_Step] = msgspec.field(default_factory=set)
    lines: set[_Step] = msgspec.field(default_factory=set)
    compared: list[_Compared] | None = None  # once it was settled


class TokenBills:
    """Follows the usage of models and what it is billed at; see the module.

    `metrics` names each feed's cost metric: where that is the billed cost nothing is estimated.
    `ahead` says by feed of usage which feed bills it; without, a feed's usage and bill are one's.
    """

    def __init__(self, metrics: Mapping[str, Metric], ahead: Mapping[str, Ahead]) -> None:
        self._metrics = metrics
        self._ahead = ahead
        self._bills = {one.bill for one in ahead.values()}
        self._books: dict[Kind, Ledger] = {
            "usage": Ledger({}),
            "lines": Ledger({}, otherwise="billed"),
        }
        self._rows: dict[SeriesKey, dict[str, CostEvent]] = {}  # the newest of each SKU
        self._said: dict[SeriesKey, dict[int, _Said]] = {}
        self._days: dict[tuple[str, int], _Day] = {}
        self._rates: dict[tuple[str, str], dict[int, Decimal]] = {}  # by bill, model and day
        self._dirty: dict[tuple[str, int], _Changed] = {}
        self._due: set[tuple[str, int]] = set()

    def wants(self, source: str, event: CostEvent) -> bool:
        """Tell whether a row is usage of models that is estimated, or a line of their bill."""
        if event.service_category != SERVICE_CATEGORY or not event.is_scored:
            return False
        if self._metrics.get(source, "effective") != "effective":
            return False
        if _is_usage(event):
            return True
        is_model = source in self._bills and "model" in (event.tags or {})
        return event.effective_cost is None or is_model

    def take(self, source: str, event: CostEvent, at: datetime) -> Change:
        """Take in one row that is wanted; `advance` says what it comes to."""
        kind: Kind = "usage" if _is_usage(event) else "lines"
        if kind == "lines" and event.effective_cost is not None:
            event = msgspec.structs.replace(event, billed_cost=event.effective_cost)
        change = self._books[kind].take(source, event)
        if change.taken == "new":
            rows, sku = self._rows.setdefault(change.series, {}), event.sku_id or ""
            if sku not in rows or _rank(event) > _rank(rows[sku]):
                rows[sku] = event
            step = change.series, change.step
            changed = self._dirty.setdefault(self._enter(kind, step), {})
            changed[step] = max(at, changed.get(step, at))
        return change

    def advance(self, now: datetime) -> Iterator[Told]:
        """Yield what changed until now, in a fixed order: from what came, and of due days."""
        for key in [key for key in self._due if _whole_at(key) <= now]:
            self._due.discard(key)
            self._dirty.setdefault(key, {})
        while self._dirty:
            key = min(self._dirty)
            yield from self._advance(key, self._dirty.pop(key), now)

    def covers(self, series: SeriesKey, step: int) -> bool:
        """Tell whether what a series costs in a step is an estimate."""
        steps = self._said.get(series) if self._said else None
        said = None if steps is None else steps.get(step)
        return said is not None and said.estimated

    def covered(self) -> Iterator[tuple[SeriesKey, int]]:
        """Yield the steps that are estimated now, with their series."""
        for series, steps in self._said.items():
            for step, said in steps.items():
                if said.estimated:
                    yield series, step

    def knows(self, series: SeriesKey) -> bool:
        """Tell whether a series is of usage, or of a bill, that is followed here."""
        return series in self._said

    def gaps(self) -> list[Gap]:
        """Compare what was estimated with what was billed, by service, in a fixed order."""
        found: dict[tuple[str, str], Gap] = {}
        for one in (one for day in self._days.values() for one in day.compared or ()):
            gap = found.setdefault(
                (one.service, one.currency),
                Gap(service_name=one.service or None, billing_currency=one.currency, hours=0,
                    estimated=money.ZERO, billed=money.ZERO),
            )  # fmt: skip
            gap.hours += one.hours
            gap.estimated = money.add(gap.estimated, one.estimated)
            gap.billed = money.add(gap.billed, one.billed)
        return [found[key] for key in sorted(found)]

    def forget(self, before: datetime, now: datetime) -> None:
        """Let go of what began before a time, and of what is compared for longer than a week."""
        for book in self._books.values():
            book.drop(book.forget(before))
        kept = {series for book in self._books.values() for series in book.series()}
        self._rows = {series: rows for series, rows in self._rows.items() if series in kept}
        for series in [*self._said]:
            hours, steps = STEP_HOURS[series.grain], self._said.pop(series)
            steps = {at: said for at, said in steps.items() if start_of(at, hours) >= before}
            if steps:
                self._said[series] = steps
        first, edge = step_of(before, DAY), step_of(now, 1) - COMPARED_HOURS
        self._days = {key: day for key, day in self._days.items() if key[1] >= first}
        self._due &= self._days.keys()
        for (_, at), day in self._days.items():
            if day.compared and at * DAY < edge:
                day.compared = []
        for rates in self._rates.values():
            for at in [at for at in rates if at < first and at != max(rates)]:
                del rates[at]

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        for kind, book in self._books.items():
            yield from book.save(streams, f"{name}/{kind}")
        yield from streams.values(f"{name}/rows", _by_text(self._rows))
        yield from streams.values(f"{name}/said", _by_text(self._said))
        rates = ((_SPLIT.join(key), rate) for key, rate in self._rates.items())
        yield from streams.values(f"{name}/rates", rates)
        days = ((f"{bill}{_SPLIT}{at}", day.compared) for (bill, at), day in self._days.items())
        yield from streams.values(f"{name}/compared", ((k, v) for k, v in days if v is not None))

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved of the series that are kept."""
        for kind, book in self._books.items():
            book.restore(saved, f"{name}/{kind}", keep)
            for series in book.series():
                for step in book.steps(series):
                    self._enter(kind, (series, step))
        rows = saved.values(f"{name}/rows", dict[str, CostEvent]).items()
        self._rows = {key: one for text, one in rows if keep(key := SeriesKey.parse(text))}
        said = saved.values(f"{name}/said", dict[int, _Said]).items()
        self._said = {key: one for text, one in said if keep(key := SeriesKey.parse(text))}
        for text, rate in saved.values(f"{name}/rates", dict[int, Decimal]).items():
            bill, _, model = text.partition(_SPLIT)
            self._rates[bill, model] = rate
        for text, compared in saved.values(f"{name}/compared", list[_Compared]).items():
            bill, _, at = text.partition(_SPLIT)
            if (day := self._days.get((bill, int(at)))) is not None:
                day.compared = compared
        self._due = {key for key, day in self._days.items() if day.lines and day.compared is None}

    def _enter(self, kind: Kind, step: _Step) -> tuple[str, int]:
        """Note that a step has usage, or lines; return of which bill and day they are."""
        series, at = step
        ahead = self._ahead.get(series.source) if kind == "usage" else None
        key = ahead.bill if ahead else series.source, at * STEP_HOURS[series.grain] // DAY
        day = self._days.setdefault(key, _Day())
        (day.usage if kind == "usage" else day.lines).add(step)
        return key

    def _advance(self, key: tuple[str, int], changed: _Changed, now: datetime) -> Iterator[Told]:
        day, whole_at = self._days[key], _whole_at(key)
        if not day.lines:
            usage = self._parts("usage", changed)
            rates = self._rates_of(key, usage)
            says = [_Costs(part, cost, True) for part, cost in scaled(usage, rates)]
            yield from self._say(says, changed, now)
            return
        is_whole = whole_at <= now
        if not is_whole:
            self._due.add(key)
        says = self._judge(key, is_whole=is_whole)
        # A day that is settled because it is due was settled then, whenever that was noticed.
        yield from self._say(says, changed, max(changed.values(), default=whole_at))

    def _judge(self, key: tuple[str, int], *, is_whole: bool) -> list[_Costs]:
        """Say what every part of a day with a bill costs."""
        day = self._days[key]
        usage, lines = self._parts("usage", day.usage), self._parts("lines", day.lines)
        rates = self._rates_of(key, usage)
        says: list[_Costs] = []
        compared: list[_Compared] = []
        learnt: list[tuple[Part, Decimal]] = []
        for match in matched(usage, lines):
            told, billed = scaled(match.usage, rates), cost_of(match.lines)
            listed, expected = cost_of(match.usage), money.total(cost for _, cost in told)
            settles, rest = is_whole and bool(match.lines), billed
            if listed and match.lines:
                given = expected
                if is_whole and billed <= MOST_TIMES * listed:
                    given = max(billed, money.ZERO)
                    told = list(zip(match.usage, shared(match.usage, given), strict=True))
                    learnt += told
                rest = money.subtract(billed, given) if is_whole else money.ZERO
                if is_whole:
                    compared.append(_comparison(match.usage, match.lines, expected, billed))
            says += (_Costs(part, cost, not settles) for part, cost in told)
            rests = shared(match.lines, rest)
            says += (_Costs(*one, False) for one in zip(match.lines, rests, strict=True))
        if is_whole:
            day.compared = compared
            self._learn(key, rates_of(learnt))
        return says

    def _rates_of(self, key: tuple[str, int], usage: Iterable[Part]) -> dict[str, Decimal]:
        """Return what share of its price each model was billed at last before a day."""
        found: dict[str, Decimal] = {}
        for part in usage:
            if part.model not in found:
                ahead = self._ahead.get(part.series.source)
                known = self._rates.get((key[0], part.model), {})
                newest = max((at for at in known if at < key[1]), default=None)
                listed = 1 - (ahead.discount if ahead else money.ZERO)
                found[part.model] = listed if newest is None else known[newest]
        return found

    def _learn(self, key: tuple[str, int], rates: Mapping[str, Decimal]) -> None:
        """Note what share of its price a day was billed at: the days after it are estimated so."""
        bill, at = key
        learnt = {model: rate for model, rate in rates.items() if rate >= LEAST_RATE}
        models = {model for known, model in self._rates if known == bill} | learnt.keys()
        for model in models:
            known = self._rates.setdefault((bill, model), {})
            if known.get(at) != learnt.get(model):
                known.pop(at, None)
                later = min((one for one in known if one > at), default=None)
                if model in learnt:
                    known[at] = learnt[model]
                self._tell_again(key, later)

    def _tell_again(self, key: tuple[str, int], until: int | None) -> None:
        """Have the days after one told again, up to the next that says what it was billed at."""
        for other, day in self._days.items():
            if other[0] == key[0] and key[1] < other[1] and (until is None or other[1] <= until):
                changed = dict.fromkeys(day.usage, _whole_at(key))
                self._dirty[other] = changed | self._dirty.get(other, {})

    def _parts(self, kind: Kind, steps: Iterable[_Step]) -> list[Part]:
        """Return what steps hold, by SKU and charge period, in a fixed order."""
        found: list[Part] = []
        for series, step in sorted(steps):
            sums: dict[tuple[datetime, datetime, str], tuple[Decimal, Decimal]] = {}
            for row in self._books[kind].rows(series, step, 0):
                name = row.charge_period_start, row.charge_period_end, row.sku_id
                cost, quantity = sums.get(name, (money.ZERO, money.ZERO))
                sums[name] = money.add(cost, row.cost), money.add(quantity, row.quantity)
            for (start, end, sku), (cost, quantity) in sums.items():
                newest = self._rows[series][sku]
                found.append(Part(series, step, start, end, cost, quantity, newest))
        return found

    def _say(self, says: Iterable[_Costs], changed: _Changed, at: datetime) -> Iterator[Told]:
        """Yield the rows of the steps of which something else is to be said than was."""
        steps: dict[_Step, list[_Costs]] = {}
        for one in says:
            steps.setdefault((one.part.series, one.part.step), []).append(one)
        for (series, step), costs in sorted(steps.items()):
            estimated = any(one.estimated for one in costs)
            rows = [(p.start, p.end, p.row.sku_id, cost, p.quantity) for p, cost, _ in costs]
            what = digest(ENCODE((estimated, rows)))
            said = self._said.setdefault(series, {})
            known = said.get(step)
            if known is not None and known.what == what:
                continue
            revision = 0 if known is None else known.revision + 1
            said[step] = _Said(revision, what, estimated)
            when = changed.get((series, step), at)
            for one in costs:
                yield Told(series.source, _event(one, revision), when)


def _event(says: _Costs, revision: int) -> CostEvent:
    part, row = says.part, says.part.row
    tags = {name: value for name, value in (row.tags or {}).items() if name != ESTIMATED}
    is_settled = _is_usage(row) and not says.estimated
    return msgspec.structs.replace(
        row,
        charge_period_start=part.start,
        charge_period_end=part.end,
        effective_cost=says.cost,
        list_cost=None,
        pricing_quantity=part.quantity,
        consumed_quantity=part.quantity,
        charge_description="settled by the bill" if is_settled else row.charge_description,
        tags=tags | ({ESTIMATED: True} if says.estimated else {}),
        x_event_id="",
        x_revision=revision,
    )


def _comparison(
    usage: list[Part], lines: list[Part], estimated: Decimal, billed: Decimal
) -> _Compared:
    hours = {
        (part.step * STEP_HOURS[part.series.grain], STEP_HOURS[part.series.grain]) for part in usage
    }
    service, currency = lines[0].row.service_name or "", lines[0].series.billing_currency
    return _Compared(service, currency, sum(length for _, length in hours), estimated, billed)


def _is_usage(event: CostEvent) -> bool:
    return (event.tags or {}).get(ESTIMATED) is True


def _rank(event: CostEvent) -> tuple[datetime, int, str]:
    return event.charge_period_start, event.x_revision, event.x_event_id


def _whole_at(key: tuple[str, int]) -> datetime:
    """Return when the bill of a day is taken to be whole."""
    return start_of(key[1] + 1, DAY) + WHOLE_AFTER


def _by_text(found: Mapping[SeriesKey, object]) -> Iterator[tuple[str, object]]:
    return ((str(series), one) for series, one in found.items())
