"""The adder: sums over all series, judged from what the parts of them say. Pure: values in and out.

It is the half of the pipeline that looks at groups and at new spend, over cells that stand for
series that are elsewhere. Of the same rows it finds what one pipeline over all of them would.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from service.core.cell_book import CellBook
from service.core.drivers import Member
from service.core.events import UNIT_FEED, SeriesKey
from service.core.feedback import Feedbacks
from service.core.findings import Stretch, is_history
from service.core.group_scoring import GroupScoring
from service.core.intents import Order
from service.core.ledger import STEP_HOURS
from service.core.looks import Look, Looks
from service.core.machines import Word
from service.core.new_spend import NewSpend
from service.core.notices import Chart
from service.core.overrides import Level
from service.core.partials import CellPart, LevelPart
from service.core.rollups import Rollups
from service.core.scoring import Point, Scoring
from service.core.state import VERSION, Chunk, Saved, StateError, Streams, keep_all
from service.core.statements import member_of
from service.core.stretches import Stretches
from service.core.sum_about import SumAbout
from service.core.told import Told
from service.core.unit_costs import UnitBill
from service.core.untagged import Unallocated

# A history that is read in one go has no pause so long.
PAST_IS_OVER: Final = timedelta(minutes=15)


class Parts(NamedTuple):
    """The wired parts, in the order in which data meets them; `contacts` are of each source."""

    book: CellBook
    contacts: dict[str, datetime]
    stretches: Stretches
    new_spend: NewSpend
    rollups: Rollups
    told: Told
    scorings: Mapping[int, GroupScoring]
    unit_scoring: Scoring
    looks: Looks
    about: SumAbout


class Adder:
    """Takes what parts say, and finds what is odd in the sums. `remembers` is as the pipeline's."""

    def __init__(self, parts: Parts, remembers: timedelta) -> None:
        self._parts = parts
        self._remembers = remembers
        self._forgot_at: datetime | None = None
        # Of sources whose past is not summed up: when something of it was said last.
        self._past: dict[str, datetime] = {}
        self._summed: dict[str, None] = {}
        # Under which names groups took the levels that an intent asked for.
        self._levels: dict[str, dict[str, None]] = {}
        self._feedback = Feedbacks(
            parts.stretches, {}, parts.scorings, parts.told.shares, parts.unit_scoring
        )

    def meet(self, contacts: Mapping[str, datetime]) -> None:
        """Note when a part met sources first."""
        known = self._parts.contacts
        for source, at in contacts.items():
            known[source] = min(known.get(source, at), at)
            if source not in self._summed:
                self._past.setdefault(source, at)

    def end_of_past(self, now: datetime) -> str | None:
        """Name a source of whose past nothing more came for a while, each once."""
        for source, at in self._past.items():
            if now - at >= PAST_IS_OVER:
                self._summed[source] = None
                del self._past[source]
                return source
        return None

    def find(
        self,
        said: Iterable[tuple[str, CellPart]],
        now: datetime,
        looks: Iterable[tuple[str, Look]] = (),
    ) -> list[Member]:
        """Take in all that parts said of the time up to `now`; return the findings that changed."""
        parts = self._parts
        self._forget(now)
        for part, look in looks:
            parts.looks.put(part, look)
        lapsed = parts.looks.judge()
        news = parts.book.put(said)
        for cell, step in news.costs:
            day = step * STEP_HOURS[cell.grain] // 24
            parts.new_spend.note(cell, day, parts.book.things(cell))
            contact = parts.contacts.get(cell.source)
            if cell.source in self._past and is_history(step, STEP_HOURS[cell.grain], contact):
                self._past[cell.source] = now
        parts.new_spend.judge(news.costs, now)
        changed = parts.book.add_up(news)
        parts.told.note(parts.stretches.changed(), news.told)
        sums = [
            Point(group, step, arrived_at)
            for (group, step), arrived_at in changed.items()
            if parts.rollups.widest(group) > 1
        ]
        for hours, scoring in parts.scorings.items():
            scoring.judge([p for p in sums if STEP_HOURS[p.series.grain] == hours], now)
            scoring.close(now)
        parts.told.note(parts.stretches.changed())
        found = self._members(now)
        parts.book.close()
        return [*found, *lapsed]

    def take_levels(self, asked: Iterable[LevelPart], now: datetime) -> None:
        """Do what feedback on single series asks of the levels of their groups, by a sum.

        A level that another was laid on since is not taken back.
        """
        levels: dict[tuple[str, int, SeriesKey], Level] = {}
        for one in asked:
            if one.cell is None or one.level is None:
                self._end_levels(one.intent_id, is_settled=one.is_settled)
                continue
            hours = STEP_HOURS[one.cell.grain]
            for group in self._parts.book.groups(one.cell):
                known = levels.get((one.intent_id, hours, group), Level(one.level.since, 1.0, 0.0))
                since, more = min(known.since, one.level.since), known.more + one.level.more
                levels[one.intent_id, hours, group] = Level(since, 1.0, more)
        for (intent_id, hours, group), level in levels.items():
            if self._parts.scorings[hours].has(group):
                name = f"{intent_id}@{now:%Y%m%dT%H%M%S}"
                self._levels.setdefault(intent_id, {})[name] = None
                self._parts.scorings[hours].take_level(name, group, level)

    def _end_levels(self, intent_id: str, *, is_settled: bool) -> None:
        for name in reversed(self._levels.pop(intent_id, {})):
            scorings = self._parts.scorings.values()
            if is_settled or not all(scoring.may_give_back(name) for scoring in scorings):
                for scoring in scorings:
                    scoring.settle_level(name)
            else:
                for scoring in scorings:
                    scoring.give_back_level(name)

    def obey(self, order: Order, now: datetime) -> list[Member]:
        """Do what a desk elsewhere asks of the detectors, as far as it can be done."""
        if self._feedback.refusal(order) is None:
            self._feedback.apply(order)
        return self._members(now)

    @property
    def looked_at(self) -> datetime | None:
        """Return the moment up to which all parts have looked at allocation."""
        return self._parts.looks.at

    def allocated(self) -> tuple[Unallocated, list[UnitBill]]:
        """Return what of spend could not be allocated, and what units cost, when all looked."""
        return self._parts.looks.unallocated(), self._parts.looks.bills()

    def words(self) -> list[tuple[str, Word]]:
        """Return what parts are to be told of machines since this was asked."""
        return self._parts.looks.words()

    def chart(self, finding_id: str) -> Chart | None:
        """Chart the group of a finding; None for what has none."""
        parts = self._parts
        stretch = parts.stretches.get(finding_id)
        if stretch is not None and stretch.series.source == UNIT_FEED:
            return parts.looks.chart(stretch, self._odd(stretch))
        scoring = None if stretch is None else parts.scorings.get(stretch.step_hours)
        if stretch is None or scoring is None or not scoring.knows(stretch):
            return None
        return scoring.chart(stretch, self._odd(stretch))

    def save(self, streams: Streams) -> Iterator[Chunk]:
        """Yield what changed since the last save; take all of it before the next step."""
        parts = self._parts
        yield from parts.book.save(streams, "book")
        yield from parts.stretches.save(streams, "stretches")
        yield from parts.rollups.save(streams, "rollups")
        for hours, scoring in parts.scorings.items():
            yield from scoring.save(streams, f"group_steps{hours}")
        yield from parts.new_spend.save(streams, "new_spend")
        yield from parts.told.save(streams, "told")
        yield from parts.about.save(streams, "about")
        yield from parts.looks.save(streams, "looks")
        yield from self._feedback.save(streams, "feedback")
        rest = _Rest(
            version=VERSION,
            contacts=parts.contacts,
            forgot_at=self._forgot_at,
            past=self._past,
            summed=list(self._summed),
            levels=[(intent_id, list(names)) for intent_id, names in self._levels.items()],
        )
        yield from streams.values("adder", [("", rest)])

    def restore(self, saved: Saved) -> list[str]:
        """Take over what was saved, into one that has done nothing yet; see `Pipeline.restore`."""
        parts = self._parts
        try:
            (rest,) = saved.values("adder", _Rest).values()
            if rest.version != VERSION:
                raise StateError(f"it is of version {rest.version}, not {VERSION}")
            self._forgot_at = rest.forgot_at
            self._past, self._summed = rest.past, dict.fromkeys(rest.summed)
            self._levels = {one: dict.fromkeys(names) for one, names in rest.levels}
            parts.contacts.update(rest.contacts)
            parts.book.restore(saved, "book")
            parts.stretches.restore(saved, "stretches", keep_all)
            parts.rollups.restore(saved, "rollups")
            if self._forgot_at is not None:
                parts.rollups.forget(self._forgot_at - self._remembers)
                parts.book.forget(self._forgot_at - self._remembers)
            flaws = {
                flaw
                for hours, scoring in parts.scorings.items()
                for flaw in scoring.restore(saved, f"group_steps{hours}", keep_all)
            }
            parts.new_spend.restore(saved, "new_spend", keep_all)
            parts.told.restore(saved, "told")
            parts.about.restore(saved, "about")
            flaws |= parts.looks.restore(saved, "looks")
            self._feedback.restore(saved, "feedback")
        except (ValueError, KeyError, msgspec.MsgspecError) as error:
            raise StateError(f"saved state does not fit: {error}") from error
        return sorted(flaws)

    def _members(self, now: datetime) -> list[Member]:
        parts = self._parts
        parts.stretches.advance(now)
        return [self._member(stretch, now) for stretch in parts.stretches.drain()]

    def _member(self, stretch: Stretch, now: datetime) -> Member:
        parts = self._parts
        if stretch.series.source == UNIT_FEED:
            return parts.looks.member(stretch, parts.stretches.settled_until(stretch, now))
        return member_of(stretch, parts.about, parts.stretches, now)

    def _odd(self, stretch: Stretch) -> set[int]:
        every = self._parts.stretches.of(stretch.series)
        return set().union(*(one.odd for one in every if one.status != "retracted"))

    def _forget(self, now: datetime) -> None:
        """Let go, once a day, of what is too old to change; see core/gone.py."""
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        if self._forgot_at is not None and today <= self._forgot_at:
            return
        self._forgot_at = today
        parts, edge = self._parts, today - self._remembers
        ended, empty = parts.book.forget(edge), parts.rollups.forget(edge)
        for scoring in parts.scorings.values():
            scoring.forget(edge)
        gone = [cell for cell in ended if not parts.new_spend.holds(cell)]
        parts.new_spend.drop(gone)
        parts.book.drop(gone)
        over = [group for group in empty if not self._is_held(group)]
        for scoring in parts.scorings.values():
            scoring.drop(over)
        parts.rollups.drop(over)
        parts.new_spend.forget(edge, today)
        parts.told.forget()
        parts.about.forget(parts.stretches)
        parts.looks.forget(edge, today)
        self._feedback.forget()

    def _is_held(self, group: SeriesKey) -> bool:
        parts = self._parts
        return bool(parts.book.members(group) or parts.stretches.of(group)) or any(
            scoring.holds(group) for scoring in parts.scorings.values()
        )


class _Rest(msgspec.Struct, kw_only=True):
    version: int
    contacts: dict[str, datetime]
    forgot_at: datetime | None
    past: dict[str, datetime]
    summed: list[str]
    levels: list[tuple[str, list[str]]]
