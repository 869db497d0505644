"""New spend: the first money ever for a thing that an account never spent on, told at once.

What is new has no history that it could be held against; the account has. Told is what is rarer
than it may be: the rate at which this account starts things at least as costly, known from those it
started before (a Gamma prior over a Poisson rate, thinned by size with a Pareto tail), against the
rate of false findings that the user can bear.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final, Protocol

from detectors.base import DAY, DAYS_PER_MONTH, Score, start_of, step_of
from service.core import money
from service.core.events import CostEvent, SeriesKey
from service.core.findings import OddPoint, Stretch, is_history
from service.core.groups import Change
from service.core.ledger import STEP_HOURS
from service.core.phrases import duration
from service.core.phrases import money as amount_text
from service.core.starts import (
    NEW_DAYS,
    REMEMBERED_DAYS,
    Account,
    SavedAccount,
    SavedSpend,
    Spend,
)
from service.core.state import Chunk, Saved, Streams
from service.core.stretches import Stretches
from service.core.things import DIMENSIONS, Thing, account_of, principal_of, things_of

DETECTOR: Final = "new_spend"
# New things may raise as many false findings an account as five series may.
ACCOUNT_SHARE: Final = 5.0
# A thing that is this much the same money as what was told already is not told again.
SAME: Final = 0.8


class Past(Protocol):
    """What series cost: a ledger of theirs, or of cells that stand for them."""

    def point(self, series: SeriesKey, step: int) -> Decimal | None:
        """Return what one costs in a step; None when the step has no row."""
        ...

    def steps(self, series: SeriesKey) -> Sequence[int]:
        """Return the steps of which anything is known, in order."""
        ...


class NewSpend:
    """Watches every account for things that it never spent on.

    `least_per_day` is the money a day, by currency, below which nothing new is told (None: never),
    `tolerated` the false findings that 1,000 series may raise in a month.
    """

    def __init__(
        self,
        least_per_day: Callable[[str], Decimal | None],
        tolerated: float,
        principal_tags: Sequence[str],
        ledger: Past,
        stretches: Stretches,
        first_contact: Callable[[str], datetime | None],
    ) -> None:
        self._least_per_day = least_per_day
        self._threshold = -math.log10(ACCOUNT_SHARE * tolerated / 1000.0 / DAYS_PER_MONTH)
        self._principal_tags = principal_tags
        self._ledger = ledger
        self._stretches = stretches
        self._first_contact = first_contact
        self._accounts: dict[SeriesKey, Account] = {}
        self._things_of: dict[SeriesKey, dict[Thing, None]] = {}
        self._account_of: dict[SeriesKey, Account] = {}
        self._seen: dict[tuple[SeriesKey, str | None], tuple[int, tuple[object, ...]]] = {}
        self._joined: dict[tuple[Thing, SeriesKey], None] = {}
        self._young: dict[Thing, None] = {}
        self._told: dict[SeriesKey, Thing] = {}

    def take(self, series: SeriesKey, step: int, event: CostEvent) -> None:
        """Note what a row of plain usage is spent on."""
        about = (event.tags, event.region_id, event.service_name, event.charge_description)
        day = step * STEP_HOURS[series.grain] // 24
        if self._seen.get((series, event.sku_id)) == (day, about):
            return
        self._seen[series, event.sku_id] = day, about
        principal = principal_of(event.tags, self._principal_tags)
        self.note(series, day, things_of(series, event, principal))

    def note(self, series: SeriesKey, day: int, things: Iterable[Thing]) -> None:
        """Note what a series is spent on, as its rows of a day said."""
        account = self._account(series)
        for thing in things:
            spend = account.things.setdefault(thing, Spend())
            spend.last_day = max(spend.last_day, day)
            if not spend.is_known and series not in spend.series:
                spend.series[series] = None
                self._joined[thing, series] = None
                self._young[thing] = None
                self._things_of.setdefault(series, {})[thing] = None

    def members(self, series: SeriesKey) -> Collection[SeriesKey]:
        """Return the series that a finding about new spend sums up."""
        thing = self._told.get(series)
        if thing is None:
            return ()
        return self._spend(thing).series.keys()

    def is_told(self, series: SeriesKey) -> bool:
        """Tell whether the money of a series is told as new spend now."""
        for thing in self._things_of.get(series, ()):
            spend = self._spend(thing)
            if spend.stretch is not None and not spend.is_known:
                return True
        return False

    def judge(
        self,
        changes: Mapping[tuple[SeriesKey, int], Change],
        now: datetime,
    ) -> None:
        """Raise, extend or retract."""
        touched: dict[Thing, tuple[int, datetime]] = {}
        for (series, step), (old, new, arrived_at) in changes.items():
            self._account(series).add(series, step, old, new)
            for thing in self._things_of.get(series, ()):
                if (thing, series) not in self._joined:
                    self._spend(thing).add(step, old, new)
                known = touched.get(thing, (step, arrived_at))
                touched[thing] = max(known[0], step), max(known[1], arrived_at)
        for thing, series in self._joined:
            self._add_up(self._spend(thing), [series])
        self._joined.clear()
        for thing in sorted(touched, key=lambda t: (DIMENSIONS.index(t.dimension), t)):
            self._judge(thing, *touched[thing])
        self._grow_old(now)

    def reason(self, stretch: Stretch) -> str:
        """Say what was never spent on before, by whom, and how often that happens."""
        thing = self._told[stretch.series]
        account = self._accounts[thing.account]
        spend = account.things[thing]
        first = stretch.since_step
        hours = STEP_HOURS[thing.account.grain]
        length = timedelta(hours=hours * (stretch.last_step + 1 - first))
        known_days = account.known_days(first, 24 // hours)
        others = len(account.others(thing, first, 24 // hours))
        ever = "ever" if known_days < REMEMBERED_DAYS else "in half a year"
        amount = amount_text(stretch.sums.actual, thing.account.billing_currency)
        account_id = thing.account.sub_account_id
        by = f"account {account_id}" if account_id else "an account without a name"
        return (
            f"First spend {ever} {_phrase(thing)} by {by}: {amount} in {duration(length)} on"
            f" {self._named(spend.series)}; in the {known_days} days before, this account"
            f" started {_count(others, thing.dimension)}."
        )

    def name(self, series: SeriesKey) -> str:
        """Name what a finding about new spend is about."""
        thing = self._told[series]
        return f"first spend {_phrase(thing)}"

    def holds(self, series: SeriesKey) -> bool:
        """Tell whether the money of a series is part of what may still be told as new spend."""
        return any(
            self._spend(thing).stretch is not None for thing in self._things_of.get(series, ())
        )

    def drop(self, gone: Iterable[SeriesKey]) -> None:
        """Let go of series that nothing holds; what their accounts spent on stays known."""
        for series in gone:
            self._account_of.pop(series, None)
            for thing in self._things_of.pop(series, ()):
                del self._spend(thing).series[series]

    def forget(self, before: datetime, now: datetime) -> None:
        """Let go of what can be of no use any more."""
        for series, thing in list(self._told.items()):
            if not self._stretches.of(series):
                del self._told[series]
                spend = self._spend(thing)
                spend.stretch = None
                self._let_go(thing, spend)
        self._seen.clear()
        edge, oldest = step_of(before, DAY), step_of(now, DAY) - REMEMBERED_DAYS
        for key, account in list(self._accounts.items()):
            account.forget(edge)
            for thing in [t for t, spend in account.things.items() if spend.is_gone(oldest)]:
                del account.things[thing]
                self._young.pop(thing, None)
            for spend in account.things.values():
                if spend.first is None:
                    spend.forget(edge * DAY // STEP_HOURS[key.grain])
            if not account.things and max(account.days, default=edge - 1) < edge:
                del self._accounts[key]
                self._account_of.clear()

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        accounts = ((str(key), account.pack(key)) for key, account in self._accounts.items())
        yield from streams.values(f"{name}/accounts", accounts)
        things = (
            (f"{key}\0{thing.dimension}\0{thing.value}", spend.pack(thing))
            for key, account in self._accounts.items()
            for thing, spend in account.things.items()
        )
        yield from streams.values(f"{name}/things", things)

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved, once the ledger and the stretches have been.

        Accounts stay known as wholes; what is spent on a thing that is new is that of the series
        that are kept.
        """
        for account in saved.values(f"{name}/accounts", SavedAccount).values():
            self._accounts[account.key] = Account.unpack(account)
        for packed in saved.values(f"{name}/things", SavedSpend).values():
            thing, spend = packed.thing, Spend.unpack(packed)
            self._accounts[thing.account].things[thing] = spend
            if not spend.is_known:
                self._young[thing] = None
            for series in packed.series:
                if keep(series):
                    self._things_of.setdefault(series, {})[thing] = None
                else:
                    del spend.series[series]
            if len(spend.series) < len(packed.series):
                spend.sums.clear()
                self._add_up(spend, spend.series)
            if packed.finding_id is not None:
                spend.stretch = self._stretches.get(packed.finding_id)
                if spend.stretch is not None:
                    self._told[thing.series] = thing

    def _named(self, every: Collection[SeriesKey]) -> str:
        """Name a resource that has always been alone; one that joined may be another team's."""
        name = next(iter(every)).resource
        if len(every) == 1 and not name.startswith("~"):
            return name
        paid = sum(
            any(map(partial(self._ledger.point, one), self._ledger.steps(one))) for one in every
        )
        return "one resource" if paid == 1 else f"{paid} resources"

    def _told_of(self, series: SeriesKey, step: int) -> Decimal:
        """Return what else tells of the money of a series: it is silent while it is told here."""
        del series, step
        return money.ZERO

    def _left(self, spend: Spend, step: int, cost: Decimal) -> Decimal:
        """Return what nobody else tells of what was spent on a thing in a step."""
        del spend, step
        return cost

    def _spend(self, thing: Thing) -> Spend:
        return self._accounts[thing.account].things[thing]

    def _add_up(self, spend: Spend, every: Iterable[SeriesKey]) -> None:
        for series in every:
            for step in self._ledger.steps(series):
                spend.add(step, None, self._ledger.point(series, step))

    def _account(self, series: SeriesKey) -> Account:
        account = self._account_of.get(series)
        if account is None:
            account = self._accounts.setdefault(account_of(series), Account())
            self._account_of[series] = account
        return account

    def _judge(self, thing: Thing, step: int, arrived_at: datetime) -> None:
        account = self._accounts[thing.account]
        spend = account.things[thing]
        per_day = 24 // STEP_HOURS[thing.account.grain]
        if spend.is_known and spend.stretch is None:
            return
        first = spend.first if spend.stretch is not None else None
        spend.measure(per_day)
        if spend.stretch is not None:
            spend.first = first
            self._extend(spend)
            return
        if spend.first is None or account.first is None:
            return
        least = self._least_per_day(thing.account.billing_currency)
        if spend.first < account.known_since(per_day) or least is None or spend.most < least:
            return
        surprise = -math.log10(min(1.0, account.rate(thing, spend.first, spend.most, per_day)))
        if surprise >= self._threshold and not self._is_same(account, thing, spend):
            self._raise(thing, spend, surprise, step, arrived_at)

    def _is_same(self, account: Account, thing: Thing, spend: Spend) -> bool:
        """Tell whether most of this money is told already: as another new thing, or otherwise."""
        told = {
            one
            for other, known in account.things.items()
            if other != thing and known.stretch is not None and not known.is_known
            for one in known.series
        }
        whole = money.total(spend.sums.values())
        same = money.total(
            (self._ledger.point(one, step) or money.ZERO)
            if one in told
            else self._told_of(one, step)
            for one in spend.series
            for step in spend.sums
        )
        return float(same) >= SAME * float(whole)

    def _raise(
        self, thing: Thing, spend: Spend, surprise: float, step: int, arrived_at: datetime
    ) -> None:
        hours = STEP_HOURS[thing.account.grain]
        first = spend.first if spend.first is not None else step
        fresh = Stretch(thing.series, DETECTOR, DETECTOR, hours, self._threshold)
        contact = self._first_contact(thing.account.source)
        fresh.backfill = is_history(step, hours, contact)
        score = Score(surprise, 0.0, 0.0, 0.0, first)
        spend.stretch = self._stretches.raise_or_extend(fresh, step, score, arrived_at)
        self._told[thing.series] = thing
        self._extend(spend, surprise)

    def _extend(self, spend: Spend, surprise: float | None = None) -> None:
        """Bring the finding up to the sums of the days in which the thing is new."""
        stretch = spend.stretch
        if stretch is None:
            return
        odd = self._threshold if surprise is None else surprise
        last = stretch.since_step + NEW_DAYS * 24 // stretch.step_hours
        for step, whole in sorted(spend.sums.items()):
            known = stretch.points.get(step)
            if not stretch.since_step <= step < last:
                continue
            cost = self._left(spend, step, whole)
            if known is None and (spend.is_known or not cost):
                continue
            if known is None and cost > 0:
                stretch.ended_at = None  # it paused, and its series are silent for it
            kept = odd if known is None else known.surprise
            zero = money.ZERO
            point = OddPoint(cost, zero, zero, zero, kept if cost > 0 else 0.0)
            self._stretches.put(stretch, step, point)
            contact = self._first_contact(stretch.series.source)
            stretch.backfill &= is_history(step, stretch.step_hours, contact)
            stretch.hot_step = max(stretch.hot_step, step)

    def _grow_old(self, now: datetime) -> None:
        """Take as known what was seen for a week, or belongs to what an account began with."""
        for thing in list(self._young):
            account = self._accounts[thing.account]
            spend = account.things[thing]
            if spend.first is None or account.first is None:
                continue
            hours = STEP_HOURS[thing.account.grain]
            base = spend.first < account.known_since(24 // hours)
            if base or now >= start_of(spend.first, hours) + timedelta(days=NEW_DAYS, hours=hours):
                spend.is_known = True
                del self._young[thing]
                stretch = spend.stretch
                if stretch is None:
                    self._let_go(thing, spend)
                elif stretch.ended_at is None:
                    per_day = 24 // hours
                    went_on = stretch.last_step >= spend.first + (NEW_DAYS - 1) * per_day
                    stretch.kept_level = 1 if went_on else -1
                    self._stretches.end(stretch)

    def _let_go(self, thing: Thing, spend: Spend) -> None:
        for series in spend.series:
            things = self._things_of[series]
            del things[thing]
            if not things:
                del self._things_of[series]
        spend.series.clear()
        spend.sums.clear()


def _phrase(thing: Thing) -> str:
    return {
        "region": f"in region {thing.value}",
        "service": f"on {thing.value}",
        "family": f"on {thing.value} (instances or models)",
        "principal": f"by {thing.value}",
    }[thing.dimension]


def _count(others: int, dimension: str) -> str:
    plural = {"family": "families"}.get(dimension, f"{dimension}s")
    if not others:
        return f"no other new {dimension}"
    return f"one other new {dimension}" if others == 1 else f"{others} other new {plural}"
