"""Experiments: what training runs cost, and which of them cost far more than they should.

A run is joined to the bill by a tag of its rows, which names it, else by its machine and the time
it ran: of every period of the machine it has the part that it ran for, shared evenly with others
that ran there at once. Never is more handed out than was billed.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Context, Decimal
from statistics import median
from typing import Final, Literal, NamedTuple

import msgspec

from detectors.base import money as written
from detectors.base import start_of, step_of
from service.core import money
from service.core.drivers import Member
from service.core.events import UNSCORED, CostEvent, Run, SeriesKey
from service.core.findings import HISTORY_AGE, Finding, finding_id_of
from service.core.incidents import RUNAWAY
from service.core.ledger import STEP_HOURS, Ledger
from service.core.owners import Owner, Owners, plain_key
from service.core.state import Chunk, Saved, Streams

KIND: Final = RUNAWAY
TAG_KEYS: Final = frozenset(
    map(plain_key, ("mlflow.runId", "mlflow_run_id", "wandb_run_id", "run_id"))
)
# A run that costs this many times what the experiment's others usually do has run away.
TIMES: Final = 3
LEAST_RUNS: Final = 3
# So has one that spent this part of its money, over at least a day, since its metric improved.
STALE_SHARE: Final = Decimal("0.5")
STALE_AFTER: Final = timedelta(hours=24)
SETTLES_AFTER: Final = timedelta(hours=72)
# Nobody knows what became of a run that its tracker has not spoken of for so long.
UNHEARD: Final = timedelta(hours=24)

_PARTS: Final = Context(prec=50, rounding=ROUND_DOWN)
_FINEST: Final = Decimal("1E-9")
Why = Literal["dear", "stale"]


class RunCost(NamedTuple):
    """What a run cost until now; `since_best` of it after its metric improved last, if known.

    `usual` is the median of the experiment's other runs that are over, None with fewer than three.
    """

    run: Run
    cost: Decimal
    since_best: Decimal | None
    usual: Decimal | None
    currency: str
    series: SeriesKey | None


class _Told(msgspec.Struct, array_like=True):
    """What a finding froze when it was raised."""

    why: Why
    detected_at: datetime
    usual: Decimal
    backfill: bool = False
    is_over: bool = False


class _Share(NamedTuple):
    cost: Decimal
    since_best: Decimal
    series: SeriesKey


class Experiments:
    """Knows the runs, finds the series that they ran on, and tells which have run away."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._runs: dict[str, Run] = {}
        self._tagged: dict[str, set[SeriesKey]] = {}
        self._series: dict[str, set[SeriesKey]] = {}
        self._told: dict[str, _Told] = {}
        self._contact: datetime | None = None
        self._changed = False

    def observe(self, run: Run, contact: datetime | None = None) -> None:
        """Take in what a tracker says of a run; what it said last counts.

        Of what was over long before its source was met first, at `contact`, nobody is told.
        """
        if contact is not None:
            self._contact = min(contact, self._contact or contact)
        known = self._runs.get(run.run_id)
        if known is not None and _rank(known) >= _rank(run):
            return
        self._runs[run.run_id] = run
        place = _place(run)
        if place and place not in self._series:
            self._series[place] = set(self._ledger.of_resource(place))
        self._changed = True

    def observe_cost(self, series: SeriesKey, about: CostEvent) -> None:
        """Take note of a series whose cost changed."""
        if series.resource in self._series:
            self._series[series.resource].add(series)
            self._changed = True
        for key, value in (about.tags or {}).items():
            if plain_key(key) in TAG_KEYS and isinstance(value, str):
                self._tagged.setdefault(value, set()).add(series)
                self._changed = True

    def costs(self, now: datetime) -> list[RunCost]:
        """Return what every run cost until `now`, but those without a bill, in a fixed order."""
        shares = self._shares(now)
        over: dict[str, list[tuple[str, Decimal]]] = {}
        for run_id, share in shares.items():
            run = self._runs[run_id]
            if run.ended_at is not None and run.ended_at <= now:
                over.setdefault(run.experiment, []).append((run_id, share.cost))
        found = []
        for run_id, share in sorted(shares.items()):
            run = self._runs[run_id]
            others = [
                cost for name, cost in over.get(run.experiment, ()) if name != run_id and cost
            ]
            usual = median(others) if len(others) >= LEAST_RUNS else None
            since = None if run.best_at is None else share.since_best
            currency = share.series.billing_currency
            found.append(RunCost(run, share.cost, since, usual, currency, share.series))
        return found

    def bills(self, now: datetime, owners: Owners) -> list["RunBill"]:
        """Return what every run cost, as it is shown, with whose spend it is."""
        found = []
        for one in self.costs(now):
            about = self._ledger.about(one.series) if one.series else None
            found.append(RunBill.of(one, _owner(one.run, owners, about).name))
        return found

    def advance(self, now: datetime, owners: Owners) -> list[Member]:
        """Return the findings that are new or changed, in a fixed order."""
        if not self._changed and not any(self._settles(name, now) for name in self._told):
            return []
        self._changed = False
        members = []
        for one in self.costs(now):
            told = self._told.get(one.run.run_id)
            why = _runaway(one, now)
            if told is None and why is not None:
                usual = one.usual if why == "dear" and one.usual is not None else money.ZERO
                past = self._contact is not None and (
                    _until(one.run, now) <= self._contact - HISTORY_AGE
                )
                told = self._told[one.run.run_id] = _Told(why, now, usual, past)
            if told is not None:
                about = self._ledger.about(one.series) if one.series else None
                members.append(Member(_finding(one, told, now, owners, about), {}, 1))
                told.is_over = told.is_over or self._settles(one.run.run_id, now)
        return members

    def _settles(self, run_id: str, now: datetime) -> bool:
        """Tell whether it is time to say that a run's costs are final."""
        ended, told = self._runs[run_id].ended_at, self._told[run_id]
        return not told.is_over and ended is not None and now >= ended + SETTLES_AFTER

    def forget(self, edge: datetime) -> None:
        """Let go of runs that were over before `edge`."""
        for run_id in [name for name, run in self._runs.items() if run.timestamp < edge]:
            del self._runs[run_id]
            self._told.pop(run_id, None)
            self._tagged.pop(run_id, None)
        places = {_place(run) for run in self._runs.values()}
        self._series, self._tagged = (
            {name: {one for one in known if one in self._ledger} for name, known in index.items()}
            for index in (self._series, self._tagged)
        )
        self._series = {name: known for name, known in self._series.items() if name in places}
        self._tagged = {name: known for name, known in self._tagged.items() if known}

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(f"{name}/runs", self._runs.items())
        contact = [] if self._contact is None else [("", self._contact)]
        yield from streams.values(f"{name}/contact", contact)
        yield from streams.values(f"{name}/told", self._told.items())
        for what, index in (("tagged", self._tagged), ("series", self._series)):
            values = ((key, sorted(known)) for key, known in index.items())
            yield from streams.values(f"{name}/{what}", values)

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved, of the series that are kept."""
        self._runs = saved.values(f"{name}/runs", Run)
        self._contact = saved.values(f"{name}/contact", datetime).get("")
        self._told = saved.values(f"{name}/told", _Told)
        self._tagged, self._series = (
            {
                key: set(filter(keep, known))
                for key, known in saved.values(f"{name}/{what}", list[SeriesKey]).items()
            }
            for what in ("tagged", "series")
        )

    def _shares(self, now: datetime) -> dict[str, _Share]:
        tagged = {series for known in self._tagged.values() for series in known}
        found: dict[str, _Share] = {}
        places: dict[str, list[Run]] = {}
        for run in self._runs.values():
            mine = self._tagged.get(run.run_id)
            if mine:
                for series in sorted(mine):
                    _add(found, run, self._whole(run, series))
            else:
                places.setdefault(_place(run), []).append(run)
        for place, runs in places.items():
            for series in sorted(self._series.get(place, set()) - tagged):
                for run, share in self._split(series, runs, now):
                    _add(found, run, share)
        return found

    def _whole(self, run: Run, series: SeriesKey) -> _Share:
        """Return all that a series cost: its rows name the run."""
        cost = since = money.ZERO
        for step in self._ledger.steps(series):
            paid = self._ledger.point(series, step) or money.ZERO
            cost = money.add(cost, paid)
            if run.best_at is not None and start_of(step, STEP_HOURS[series.grain]) >= run.best_at:
                since = money.add(since, paid)
        return _Share(cost, since, series)

    def _split(
        self, series: SeriesKey, runs: Collection[Run], now: datetime
    ) -> Iterator[tuple[Run, _Share]]:
        """Share a machine's periods among the runs on it, each by how long it ran in them."""
        hours = STEP_HOURS[series.grain]
        if series.grain == UNSCORED:
            return
        spans = {run.run_id: (run.started_at, _until(run, now)) for run in runs}
        for run in runs:
            start, end = spans[run.run_id]
            cost = since = money.ZERO
            billed = False
            for step in range(step_of(start, hours), step_of(end, hours) + 1):
                paid = self._ledger.point(series, step)
                if paid is None:
                    continue
                billed = True
                whole = sum(_overlap(step, hours, span) for span in spans.values())
                base = max(whole, 3600 * hours)
                cost = money.add(cost, _part(paid, _overlap(step, hours, (start, end)), base))
                if run.best_at is not None:
                    late = _overlap(step, hours, (max(start, run.best_at), end))
                    since = money.add(since, _part(paid, late, base))
            if billed:
                yield run, _Share(cost, since, series)


def _add(found: dict[str, _Share], run: Run, share: _Share) -> None:
    known = found.get(run.run_id)
    if known is not None and known.series.billing_currency == share.series.billing_currency:
        cost = money.add(known.cost, share.cost)
        since = money.add(known.since_best, share.since_best)
        share = _Share(cost, since, known.series)
    elif known is not None:
        return  # what is billed in another currency cannot be added
    found[run.run_id] = share


def _rank(run: Run) -> tuple[datetime, bool, bytes]:
    return run.timestamp, run.ended_at is not None, msgspec.msgpack.encode(run)


def _place(run: Run) -> str:
    return run.resource_id or run.hostname or ""


def _until(run: Run, now: datetime) -> datetime:
    """Return until when a run is known to run: one that is not over runs on, for a while."""
    return max(run.started_at, min(now, run.ended_at or run.timestamp + UNHEARD))


def _overlap(step: int, hours: int, span: tuple[datetime, datetime]) -> int:
    """Return for how many seconds of a step something went on."""
    begin = start_of(step, hours)
    end = begin + timedelta(hours=hours)
    return max(0, int((min(end, span[1]) - max(begin, span[0])).total_seconds()))


def _part(paid: Decimal, seconds: int, whole: int) -> Decimal:
    """Return a part of an amount, rounded down: the parts never add up to more."""
    part = _PARTS.divide(_PARTS.multiply(paid, Decimal(seconds)), Decimal(whole))
    return part.quantize(_FINEST, context=_PARTS)


def _runaway(one: RunCost, now: datetime) -> Why | None:
    if one.usual is not None and one.cost > TIMES * one.usual:
        return "dear"
    run = one.run
    is_going_on = _until(run, now) >= now
    if one.since_best is None or run.best_at is None or not is_going_on:
        return None
    is_long = now - run.best_at >= STALE_AFTER
    return "stale" if is_long and one.since_best > STALE_SHARE * one.cost else None


def _finding(
    one: RunCost, told: _Told, now: datetime, owners: Owners, about: CostEvent | None
) -> Finding:
    run = one.run
    owner = _owner(run, owners, about)
    series = SeriesKey("experiments", "", run.run_id, one.currency, "hour")
    still = told.why == "stale" or one.cost > TIMES * told.usual
    wasted = one.since_best if told.why == "stale" and one.since_best is not None else None
    impact = money.subtract(one.cost, told.usual) if wasted is None else wasted
    until = _until(run, now)
    hours = max(Decimal(1), Decimal(int((until - run.started_at).total_seconds())) / 3600)
    ended = run.ended_at is not None and run.ended_at <= now
    settled = ended and now >= until + SETTLES_AFTER
    return Finding(
        finding_id=finding_id_of(str(series), f"{KIND}:{told.why}", run.started_at),
        detector=KIND,
        kind=KIND,
        status="retracted" if not still else "confirmed" if settled else "provisional",
        series=str(series),
        resource_id=about.resource_id if about else None,
        sub_account_id=(about.sub_account_id if about else None) or "",
        service_name=about.service_name if about else None,
        region_id=about.region_id if about else None,
        owner=owner.name,
        charge_period_start=run.started_at,
        charge_period_end=max(until, run.started_at + timedelta(seconds=1)),
        detected_at=told.detected_at,
        score=float(one.cost / told.usual) if told.usual else 0.0,
        actual=one.cost,
        expected=money.subtract(one.cost, impact),
        expected_low=money.ZERO,
        expected_high=money.subtract(one.cost, impact),
        impact=impact,
        billing_currency=one.currency,
        reason=_reason(one, told, ended=ended),
        owner_source=owner.source,
        run_rate_per_day=None if ended else money.cents(float(one.cost / hours) * 24),
        # Until then its costs come in.
        ended_at=run.ended_at if settled else None,
        ending="run" if settled else "",
        resource_name=run.name or run.run_id,
        backfill=told.backfill,
    )


def _owner(run: Run, owners: Owners, about: CostEvent | None) -> Owner:
    """Return whose spend a run is: as its own tags say, else as the bill does."""
    tags = (about.tags if about else None) or {}
    return owners.of({**tags, **(run.tags or {})}, about.sub_account_id if about else None)


def _reason(one: RunCost, told: _Told, *, ended: bool) -> str:
    run, cost = one.run, written(float(one.cost), one.currency)
    what = f"Run {run.name or run.run_id} of {run.experiment}"
    by = f", started by {run.owner}," if run.owner else ""
    said = f"{what}{by}{' cost' if ended else ' has cost'} {cost}"
    if told.why == "dear":
        times = float(one.cost / told.usual) if told.usual else 0.0
        usual = written(float(told.usual), one.currency)
        return f"{said}, {times:.1f} times the {usual} that a run of it usually costs."
    since = written(float(one.since_best or 0), one.currency)
    best = f"{run.best_at:%-d %b %H:%M} UTC" if run.best_at else "it began"
    return f"{said}, {since} of it since {run.metric or 'its metric'} last improved, on {best}."


class RunBill(msgspec.Struct, kw_only=True):
    """What a run cost, as it is shown. `cost_since_best` is spent since `metric` last improved."""

    run_id: str
    experiment: str
    name: str | None
    owner: str | None
    team: str
    started_at: datetime
    ended_at: datetime | None
    cost: Decimal
    billing_currency: str
    usual_cost: Decimal | None
    metric: str | None
    best: float | None
    best_at: datetime | None
    cost_since_best: Decimal | None
    resource_id: str | None

    @classmethod
    def of(cls, one: RunCost, team: str) -> "RunBill":
        """Show a run and its cost; `owner` started it, `team` is whose spend it is."""
        run = one.run
        return cls(
            run_id=run.run_id,
            experiment=run.experiment,
            name=run.name,
            owner=run.owner,
            team=team,
            started_at=run.started_at,
            ended_at=run.ended_at,
            cost=one.cost,
            billing_currency=one.currency,
            usual_cost=one.usual,
            metric=run.metric,
            best=run.best,
            best_at=run.best_at,
            cost_since_best=one.since_best,
            resource_id=one.series.resource if one.series else None,
        )


def by_experiment(bills: Iterable[RunBill]) -> Mapping[tuple[str, str], tuple[int, Decimal]]:
    """Add up runs: how many, and what they cost, by experiment and currency."""
    found: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for one in bills:
        key = one.experiment, one.billing_currency
        count, cost = found.get(key, (0, money.ZERO))
        found[key] = count + 1, money.add(cost, one.cost)
    return found
