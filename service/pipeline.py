"""The pipeline: what one batch of events does, ledger to notices. Pure: values in, values out."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from service.core.about import About
from service.core.allocation import Allocation
from service.core.budgets import KIND as BUDGET
from service.core.budgets import Budget
from service.core.drivers import Member
from service.core.estimates import Estimates, Gap
from service.core.events import (
    EARLIEST,
    GROUP_MARK,
    NEW_MARK,
    UNIT_FEED,
    Arrival,
    SeriesKey,
)
from service.core.experiments import Experiments, RunBill
from service.core.feedback import Feedbacks
from service.core.findings import OddPoint, Stretch
from service.core.gone import Gone
from service.core.gpu_findings import GpuFindings
from service.core.gpu_hosts import GpuHost
from service.core.group_scoring import GroupScoring
from service.core.groups import Change, Groups
from service.core.holds import IDLE
from service.core.incidents import Incident
from service.core.intake import Intake, Takers
from service.core.intents import Drop, Feedback, Intent, Order, Put
from service.core.ledger import STEP_HOURS, Expected, Ledger, LedgerRow
from service.core.looks import Look
from service.core.machines import Word
from service.core.new_spend import NewSpend
from service.core.notices import Chart
from service.core.owners import Owners
from service.core.partials import CellLevels, CellPart, LevelPart, Partials
from service.core.ports import Changes, SourceStatus
from service.core.purchases import Purchases
from service.core.recording import Recording
from service.core.rollups import Rollups
from service.core.scoring import Point, Scoring, is_closed
from service.core.spend import Spend, Spent
from service.core.state import (
    ENCODE,
    VERSION,
    Chunk,
    Saved,
    Sign,
    StateError,
    Streams,
    digest,
    keep_all,
)
from service.core.statements import member_of
from service.core.stretches import Stretches
from service.core.token_bills import ESTIMATED, TokenBills
from service.core.told import Told
from service.core.unit_costs import UnitBill
from service.core.unit_series import UnitSeries
from service.core.untagged import Unallocated
from service.desk import Desk
from service.desk import Parts as DeskParts

GRAIN_HOURS: Final[Mapping[str, int]] = {
    grain: hours for grain, hours in STEP_HOURS.items() if grain != "other"
}
# Minutes; the least time between two reports of what was spent.
REPORTS_EVERY: Final = 5


class Found(NamedTuple):
    """What one batch changed before anybody is told: findings as an incident needs them.

    `spent` is what budgets are judged by, `gpus` the hosts that changed.
    """

    members: list[Member]
    ledger_rows: list[LedgerRow]
    too_late: list[Arrival]
    spent: list[Spent]
    gpus: Mapping[str, GpuHost | None]


class Outcome(NamedTuple):
    """What one batch changed: state to save, and ledger rows for the history."""

    changes: Changes
    ledger_rows: list[LedgerRow]
    too_late: list[Arrival]


class Parts(NamedTuple):
    """The wired parts of a pipeline, in the order in which data meets them."""

    ledger: Ledger
    scorings: Mapping[int, Scoring]
    stretches: Stretches
    new_spend: NewSpend
    groups: Groups
    rollups: Rollups
    spend: Spend
    told: Told
    group_scorings: Mapping[int, GroupScoring]
    about: About
    purchases: Purchases
    gpus: GpuFindings
    experiments: Experiments
    estimates: Estimates
    token_bills: TokenBills
    allocation: Allocation
    units: UnitSeries
    unit_scoring: Scoring
    owners: Owners
    desk: DeskParts
    # Of a part of all series: what it adds to sums that are judged elsewhere, as is new spend.
    partials: Partials | None = None
    levels: Mapping[int, CellLevels] = {}


class Pipeline:
    """Feeds batches through the parts, in order of arrival.

    `contacts` is filled with when each source was met first, before which its past is not told;
    None tells everything. `remembers` is how old a period may be and still change.
    Without `keeps_history` no ledger rows are handed out.
    """

    def __init__(
        self,
        parts: Parts,
        contacts: dict[str, datetime] | None,
        remembers: timedelta,
        *,
        keeps_history: bool = True,
    ) -> None:
        self._recording: Recording | None = None
        if keeps_history:
            self._recording = Recording(parts.ledger, parts.owners, self._covers)
        for scoring in parts.scorings.values():
            scoring.notes_expected = keeps_history
        self._parts = parts
        self._contacts = contacts
        self._intake = Intake(
            Takers(
                ledger=parts.ledger,
                stretches=parts.stretches,
                new_spend=parts.new_spend if parts.partials is None else None,
                groups=parts.groups,
                spend=parts.spend,
                purchases=parts.purchases,
                gpus=parts.gpus,
                experiments=parts.experiments,
                estimates=parts.estimates,
                token_bills=parts.token_bills if parts.partials is None else None,
            ),
            contacts,
        )
        self._desk = Desk(parts.desk, self._chart)
        self._remembers = remembers
        self._forgot_at: datetime | None = None
        self._estimated: set[str] = set()
        self._lapsed: list[Member] = []
        self._looked_at: datetime | None = None
        self._look: Look | None = None
        self._seen = b""
        self._reported_at: datetime | None = None
        self._feedback = Feedbacks(
            parts.stretches,
            parts.scorings,
            parts.group_scorings if parts.partials is None else parts.levels,
            parts.told.shares,
            parts.unit_scoring,
        )
        self._gone = Gone(
            ledger=parts.ledger,
            stretches=parts.stretches,
            scorings=parts.scorings,
            new_spend=parts.new_spend,
            groups=parts.groups,
            rollups=parts.rollups,
            group_scorings=parts.group_scorings,
            told=parts.told,
            about=parts.about,
            purchases=parts.purchases,
            spend=parts.spend,
        )

    @property
    def series(self) -> int:
        """Return how many series were met; one that was gone and came back counts again."""
        return self._parts.ledger.met

    @property
    def statuses(self) -> Mapping[str, SourceStatus]:
        """Return what is known of each source."""
        return self._intake.statuses

    def describe(self, now: datetime) -> None:
        """Bring up to now what the statuses say of how much came."""
        self._intake.describe(now)

    def step(
        self,
        batch: Sequence[Arrival],
        now: datetime,
        offset: int,
        ends_backfill: str | None = None,
    ) -> Outcome:
        """Take in one batch that arrived by `now`, let time pass to `now`, and tell.

        `offset` is the log's position after the batch. `ends_backfill` names a source whose past
        has now been read: it is summed up in one notice.
        """
        found = self.find(batch, now, offset)
        changes = self._tell(found.members, now, offset, found.spent, ends_backfill)
        changes.gpus = found.gpus
        return Outcome(changes, found.ledger_rows, found.too_late)

    def find(self, batch: Sequence[Arrival], now: datetime, offset: int) -> Found:
        """Do all of a step but tell, which is then another's: of many pipelines one desk.

        The order within a batch does not matter.
        """
        parts = self._parts
        self._forget(now)
        is_due = self._is_due(now)
        spent = parts.spend.report(now) if is_due else []
        self._look_over(now, is_due=is_due)
        moved = parts.groups.settle(lambda series, step: is_closed(series, step, now), now)
        parts.told.note_moved(moved)
        changes, charged, too_late = self._intake.take(batch, now)
        if parts.partials is None:
            parts.new_spend.judge(changes, now)
        points = [Point(*key, change.arrived_at) for key, change in changes.items()]
        self._score(parts.scorings, points, now)
        parts.told.note_moved(parts.groups.apply(changes))
        parts.allocation.observe(changes, now)
        parts.allocation.observe_charges(charged)
        parts.units.observe(changes)
        if parts.partials is None:
            self._score_groups(now)
        else:
            parts.told.note(parts.stretches.changed())
            parts.partials.note(parts.stretches.changed())
        self._look_at(changes)
        parts.purchases.judge()
        parts.spend.apply(now)
        rows: list[LedgerRow] = []
        if self._recording is not None:
            expected: dict[tuple[SeriesKey, int], Expected] = {}
            for scoring in parts.scorings.values():
                expected |= scoring.expected()
            rows = self._recording.rows(charged, expected, offset)
        members = self._members(now)
        return Found(
            members, rows, too_late, spent, parts.gpus.hosts(now, parts.owners) if is_due else {}
        )

    def refusal(self, intent: Intent) -> str | None:
        """Say in one line why an intent cannot be followed, or None."""
        refused = self._desk.refusal(intent)
        if refused is None and isinstance(intent, Feedback):
            return self._feedback.refusal(self._desk.order(intent))
        return refused

    def intent(self, intent: Intent, now: datetime, offset: int) -> Outcome:
        """Let a person's intent act at once; one that is refused changes nothing.

        It stands in the log like a batch, so that whoever runs the log again follows it too.
        """
        self._desk.catch_up(now)
        spent: list[Spent] = []
        if self.refusal(intent) is None:
            if isinstance(intent, Feedback):
                self._feedback.apply(self._desk.order(intent))
            spent = self.follow_budget(intent, now)
        return Outcome(self._tell(self._members(now), now, offset, spent), [], [])

    def follow_budget(self, intent: Intent, now: datetime) -> list[Spent]:
        """Put an intent into effect, of which no more than a budget asks anything of the sums.

        Returns what counts to it; it is for a desk to refuse.
        """
        self._desk.follow(intent)
        if isinstance(intent, Put) and isinstance(intent.thing, Budget):
            self._parts.spend.put(intent.thing, now)
            return self._parts.spend.report(now)
        if isinstance(intent, Drop) and intent.kind == BUDGET:
            self._parts.spend.drop(intent.name)
        return []

    def obey(self, order: Order, now: datetime) -> list[Member]:
        """Do what a desk elsewhere asks of the detectors, as far as it can be done.

        Returns the findings that changed.
        """
        if self._feedback.refusal(order) is None:
            self._feedback.apply(order)
        return self._members(now)

    @property
    def contacts(self) -> Mapping[str, datetime]:
        """Return when each source was met first, as far as that matters."""
        return self._contacts or {}

    @property
    def due_partials(self) -> int:
        """Return how many sums of cells changed since `partials` were asked for."""
        return 0 if self._parts.partials is None else len(self._parts.partials)

    def partials(self, now: datetime) -> list[CellPart]:
        """Return what this part of all series adds to sums, as far as that changed."""
        return [] if self._parts.partials is None else self._parts.partials.drain(now)

    def look(self) -> Look | None:
        """Return what this part of all series saw of allocation since this was asked, if it did."""
        seen, self._look = self._look, None
        return seen

    def hear(self, word: Word, now: datetime) -> list[Member]:
        """Take in what this part of all series is told of machines; return what changed."""
        self._lapsed += self._parts.allocation.hear(word)
        return self._members(now)

    def asked_levels(self) -> list[LevelPart]:
        """Return what feedback asks of the levels of groups that are judged elsewhere."""
        return [] if self._parts.partials is None else self._parts.partials.levels()

    def gaps(self) -> list[Gap]:
        """Return what was estimated beside what was billed then, by service."""
        return [*self._parts.estimates.gaps(), *self._parts.token_bills.gaps()]

    def unit_bills(self, now: datetime) -> list[UnitBill]:
        """Return what units cost by day, by the name that the config gives them."""
        return self._parts.units.bills(now)

    def unallocated(self, now: datetime) -> Unallocated:
        """Return what of the last 30 days' spend cannot be allocated, the dearest first."""
        return self._parts.allocation.unallocated(now)

    def runs(self, now: datetime) -> list[RunBill]:
        """Return what the runs of experiments cost until `now`."""
        return self._parts.experiments.bills(now, self._parts.owners)

    def note_rejected(self, source: str, count: int, last_reason: str | None) -> None:
        """Count input that was refused before it became an event."""
        status = self._intake.status(source)
        status.rejected += count
        if count:
            status.last_error = last_reason

    @property
    def offset(self) -> int:
        """Return the log's position that the state stands for."""
        return self._desk.offset

    def save(self, streams: Streams) -> Iterator[Chunk]:
        """Yield what changed since the last save; take all of it before the next step."""
        parts = self._parts
        yield from parts.ledger.save(streams, "ledger")
        for hours, scoring in parts.scorings.items():
            yield from scoring.save(streams, f"steps{hours}")
        yield from parts.stretches.save(streams, "stretches")
        yield from parts.groups.save(streams, "groups", self._sign)
        yield from parts.rollups.save(streams, "rollups")
        if parts.partials is not None:
            yield from parts.partials.save(streams, "partials")
        yield from parts.spend.save(streams, "spend", self._sign)
        for hours, sums in parts.group_scorings.items():
            yield from sums.save(streams, f"group_steps{hours}")
        yield from parts.new_spend.save(streams, "new_spend")
        yield from parts.told.save(streams, "told")
        yield from parts.about.save(streams, "about")
        yield from parts.purchases.save(streams, "purchases")
        yield from parts.gpus.save(streams, "gpus")
        yield from parts.experiments.save(streams, "experiments")
        yield from parts.estimates.save(streams, "estimates")
        yield from parts.token_bills.save(streams, "token_bills")
        yield from parts.allocation.save(streams, "allocation", self._sign)
        yield from parts.units.save(streams, "units")
        yield from parts.unit_scoring.save(streams, "unit_steps")
        yield from self._feedback.save(streams, "feedback")
        yield from self._desk.save(streams, self._periods)
        yield from self._intake.save(streams)
        rest = _Rest(
            VERSION,
            self._contacts,
            self._forgot_at,
            self._reported_at,
            sorted(self._estimated),
            self._looked_at,
            self._look,
            self._seen,
        )
        yield from streams.values("pipeline", [("", rest)])

    def restore(self, saved: Saved, keep: Callable[[SeriesKey], bool] | None = None) -> list[str]:
        """Take over, into a pipeline that has done nothing yet, what was saved.

        `keep` tells which series are wanted: the rest of a partition that moved is another's.
        Returns what could not be used, in plain sentences. StateError when nothing can; the
        pipeline is then spoilt.
        """
        parts, keeps = self._parts, keep or keep_all
        try:
            (rest,) = saved.values("pipeline", _Rest).values()
            if rest.version != VERSION:
                raise StateError(f"it is of version {rest.version}, not {VERSION}")
            self._forgot_at, self._reported_at = rest.forgot_at, rest.reported_at
            self._looked_at, self._look, self._seen = rest.looked_at, rest.look, rest.seen
            self._estimated = set(rest.estimated)
            if self._contacts is not None and rest.contacts is not None:
                self._contacts.update(rest.contacts)
            parts.ledger.restore(saved, "ledger", keeps)
            flaws = {
                flaw
                for hours, scoring in parts.scorings.items()
                for flaw in scoring.restore(saved, f"steps{hours}", keeps)
            }
            parts.stretches.restore(saved, "stretches", keeps)
            flaws |= self._restore_sums(saved, keep)
            parts.purchases.restore(saved, "purchases", keeps)
            parts.gpus.restore(saved, "gpus", keeps)
            parts.experiments.restore(saved, "experiments", keeps)
            parts.estimates.restore(saved, "estimates", keeps)
            parts.token_bills.restore(saved, "token_bills", keeps)
            parts.allocation.restore(saved, "allocation", is_part=keep is not None)
            parts.units.restore(saved, "units")
            flaws |= parts.unit_scoring.restore(saved, "unit_steps", keep_all)
            self._feedback.restore(saved, "feedback")
            self._desk.restore(saved, self._periods, keeps)
            budgets = self._desk.budgets()
            parts.spend.restore(saved, "spend", budgets, is_part=keep is not None)
            self._intake.restore(saved)
        except (ValueError, LookupError, msgspec.MsgspecError) as error:
            raise StateError(f"saved state does not fit: {error}") from error
        return sorted(flaws)

    @property
    def _sign(self) -> Sign:
        return next(iter(self._parts.scorings.values())).sign

    def _restore_sums(self, saved: Saved, keep: Callable[[SeriesKey], bool] | None) -> set[str]:
        """Restore what is known of many series together; sums of a part of them are its own."""
        parts, keeps = self._parts, keep or keep_all
        parts.groups.restore(saved, "groups", keeps)
        if keep is None:
            parts.rollups.restore(saved, "rollups")
            if self._forgot_at is not None:
                parts.rollups.forget(self._forgot_at - self._remembers)
        else:
            parts.groups.add_up()
        flaws = {
            flaw
            for hours, scoring in parts.group_scorings.items()
            for flaw in scoring.restore(saved, f"group_steps{hours}", keeps)
        }
        parts.new_spend.restore(saved, "new_spend", keeps)
        parts.told.restore(saved, "told")
        parts.about.restore(saved, "about")
        if parts.partials is not None:
            parts.partials.restore(saved, "partials")
        return flaws

    @property
    def due(self) -> datetime | None:
        """Return when time alone has something told next."""
        return self._desk.due()

    def knows(self, incident_id: str) -> bool:
        """Tell whether an incident may still change."""
        return self._desk.knows(incident_id)

    def everything(self) -> Changes:
        """Return all that is known, for a store that has lost it; see `Desk.everything`."""
        changes = self._desk.everything(self._forgot_at or EARLIEST, self.statuses.values())
        changes.gpus = self._parts.gpus.all_hosts()
        return changes

    def _periods(self, finding_id: str) -> Mapping[int, OddPoint] | None:
        stretch = self._parts.stretches.get(finding_id)
        return None if stretch is None else stretch.points

    def _score(
        self, scorings: Mapping[int, Scoring], points: Collection[Point], now: datetime
    ) -> None:
        for hours, scoring in scorings.items():
            mine = [p for p in points if GRAIN_HOURS.get(p.series.grain) == hours]
            scoring.judge(mine, now)
            scoring.close(now)

    def _look_over(self, now: datetime, *, is_due: bool) -> None:
        """Look once an hour, before a batch so that its cut does not show, at what no row says."""
        mark = now.replace(minute=0, second=0, microsecond=0)
        is_hour = self._looked_at is None or mark > self._looked_at
        if is_hour:
            parts, self._looked_at = self._parts, mark
            self._lapsed += parts.allocation.judge(mark)
            if parts.partials is None:
                parts.unit_scoring.judge(parts.units.advance(mark), mark)
                parts.unit_scoring.close(mark)
        if is_due and self._parts.partials is not None:
            self._see(mark if is_hour else None)

    def _see(self, hour: datetime | None) -> None:
        """Look at what others judge of allocation; what is as it was is not told again."""
        parts, at = self._parts, self._reported_at
        assert at is not None  # noqa: S101 - it was due
        tags, dearest = parts.allocation.tagged(at)
        lapses = parts.allocation.standing()
        seen = digest(ENCODE((tags, dearest, lapses)))
        machines, asks = ([], []) if hour is None else parts.allocation.news(hour)
        look = Look(at=at, units=parts.units.drain(), machines=machines, asks=asks)
        if seen != self._seen:
            self._seen = seen
            look = msgspec.structs.replace(look, tags=tags, dearest=dearest, lapses=lapses)
        self._look = look.after(self._look)

    def _score_groups(self, now: datetime) -> None:
        """Judge the sums that changed, of two series or more, after what is told of the series."""
        parts = self._parts
        parts.told.note(parts.stretches.changed())
        sums = [
            Point(group, step, arrived_at)
            for (group, step), arrived_at in parts.groups.changed().items()
            if parts.rollups.widest(group) > 1
        ]
        self._score(parts.group_scorings, sums, now)
        parts.told.note(parts.stretches.changed())

    def _is_estimated(self, stretch: Stretch) -> bool:
        """Tell whether a finding says what no bill says yet, of its series or of a sum's member."""
        if stretch.series.source == UNIT_FEED:
            return False
        parts, odd, name = self._parts, stretch.series, str(stretch.series)
        if not odd.resource.startswith((GROUP_MARK, NEW_MARK)):
            if parts.partials is not None:  # whose usage of models no bill settles
                return (parts.ledger.about(odd).tags or {}).get(ESTIMATED) is True
            return any(self._covers(odd, step) for step in stretch.points)
        hours = stretch.step_hours
        covered = chain(parts.estimates.covered(), parts.token_bills.covered())
        inside: dict[SeriesKey, bool] = {}
        for series, step in covered:
            if step * STEP_HOURS[series.grain] // hours in stretch.points:
                if series not in inside:
                    inside[series] = name in parts.about.groups(series)
                if inside[series]:
                    return True
        return False

    def _covers(self, series: SeriesKey, step: int) -> bool:
        """Tell whether what a series costs in a step is an estimate."""
        parts = self._parts
        return parts.estimates.covers(series, step) or parts.token_bills.covers(series, step)

    def _forget(self, now: datetime) -> None:
        """Let go, once a day, of what is too old to change."""
        # By the date, so that how arrivals are cut into batches does not show.
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        if self._forgot_at is not None and today <= self._forgot_at:
            return
        self._forgot_at = today
        edge = today - self._remembers
        self._gone.forget(edge, today)
        self._parts.gpus.forget(edge)
        self._parts.experiments.forget(edge)
        self._parts.estimates.forget(today)
        self._parts.token_bills.forget(edge, today)
        self._parts.allocation.forget(edge, today)
        self._parts.units.forget(today)
        if self._recording is not None:
            self._recording.forget()
        self._parts.spend.forget(today)
        self._feedback.forget()
        self._desk.forget(edge)

    def _look_at(self, changes: Mapping[tuple[SeriesKey, int], Change]) -> None:
        """Let GPUs and experiments know what they cost."""
        parts, priced = self._parts, []
        for (series, step), change in changes.items():
            about = parts.ledger.about(series)
            parts.experiments.observe_cost(series, about)
            if series.grain == "hour" and parts.gpus.wants_cost(series, about):
                priced.append((series, step, change.after))
        for series, step, cost in sorted(priced, key=itemgetter(0, 1)):
            if cost is not None and not self._covers(series, step):
                kept, about = parts.ledger.kept(series, step), parts.ledger.about(series)
                parts.gpus.observe_cost(series, step, cost, kept, about)

    def _members(self, now: datetime) -> list[Member]:
        parts = self._parts
        parts.stretches.advance(now, self._intake.known_until)
        told = {stretch.finding_id: stretch for stretch in parts.stretches.drain()}
        # A bill that says what was estimated changes no figure, but that it was an estimate.
        for finding_id in sorted(self._estimated - told.keys()):
            stretch = parts.stretches.get(finding_id)
            if stretch is None:
                self._estimated.discard(finding_id)
            elif not self._is_estimated(stretch):
                told[finding_id] = stretch
        members = [self._member(stretch, now) for stretch in told.values()]
        members += parts.gpus.advance(now, parts.owners)
        members += self._lapsed
        self._lapsed = []
        return members + parts.experiments.advance(now, parts.owners)

    def _tell(
        self,
        members: Sequence[Member],
        now: datetime,
        offset: int,
        spent: Sequence[Spent],
        ends_backfill: str | None = None,
    ) -> Changes:
        self._intake.describe(now)
        self._desk.note_spent(spent)
        return self._desk.tell(members, now, offset, self.statuses.values(), ends_backfill)

    def _is_due(self, now: datetime) -> bool:
        """Tell whether to report sums now: at moments that do not hang on how arrivals are cut."""
        mark = now.replace(
            minute=now.minute // REPORTS_EVERY * REPORTS_EVERY, second=0, microsecond=0
        )
        if self._reported_at is not None and mark <= self._reported_at:
            return False
        self._reported_at = mark
        return True

    def _member(self, stretch: Stretch, now: datetime) -> Member:
        if stretch.series.source == UNIT_FEED:
            return self._parts.units.member(
                stretch, self._parts.stretches.settled_until(stretch, now)
            )
        parts, estimated = self._parts, self._is_estimated(stretch)
        (self._estimated.add if estimated else self._estimated.discard)(stretch.finding_id)
        member = member_of(stretch, parts.about, parts.stretches, now, estimated=estimated)
        return member._replace(groups=[*member.groups, *parts.units.of(stretch.series)])

    def _chart(self, incident: Incident) -> Chart | None:
        """Chart the series that drives an incident most."""
        if incident.kind == IDLE:
            return self._parts.gpus.chart(incident)
        lead = incident.drivers[0].series
        known = (self._parts.stretches.get(finding_id) for finding_id in incident.finding_ids)
        mine = [s for s in known if s is not None and str(s.series) == lead]
        if not mine:
            return None
        most = max(mine, key=lambda stretch: abs(stretch.sums.excess))
        return self._chart_of(most, mine)

    def chart(self, finding_id: str) -> Chart | None:
        """Chart the series of a finding; None for what has none."""
        stretch = self._parts.stretches.get(finding_id)
        if stretch is None:
            return None
        every = self._parts.stretches.of(stretch.series)
        return self._chart_of(stretch, [s for s in every if s.status != "retracted"])

    def _chart_of(self, stretch: Stretch, odd: Iterable[Stretch]) -> Chart | None:
        parts, of_odd = self._parts, set().union(*(one.odd for one in odd))
        if stretch.series.source == UNIT_FEED:
            chart = parts.unit_scoring.chart(stretch, of_odd)
            return parts.units.charted(chart, stretch.series)
        sums = parts.about.is_sum(stretch.series)
        scoring = (parts.group_scorings if sums else parts.scorings).get(stretch.step_hours)
        if scoring is None or not scoring.knows(stretch):
            return None
        return scoring.chart(stretch, of_odd)


class _Rest(msgspec.Struct, array_like=True):
    """What is saved of the pipeline itself."""

    version: int
    contacts: dict[str, datetime] | None
    forgot_at: datetime | None
    reported_at: datetime | None
    estimated: list[str] = []
    looked_at: datetime | None = None
    look: Look | None = None
    seen: bytes = b""
