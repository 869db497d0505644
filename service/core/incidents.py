"""Incidents: findings that belong together, with a life."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from service.core import money
from service.core.budget_figures import Exhausts, Figures
from service.core.budgets import KIND as BUDGET
from service.core.drivers import Driver, Level, Member, Pool, SavedPool, lead_of, level_of, rank
from service.core.events import SeriesKey, content_hash
from service.core.findings import Finding, OddPoint, Sums
from service.core.intents import Feedback, Mark, mutes
from service.core.marks import (
    Marked,
    assignee_of,
    in_effect,
    snoozed_until,
    standing,
    state_of,
    woken,
)
from service.core.phrases import duration
from service.core.rates import Rates
from service.core.severity import SEVERITIES, Severity
from service.core.state import Chunk, Saved, Streams

State = Literal["firing", "acknowledged", "snoozed", "expected", "resolved"]
IncidentStatus = Literal["provisional", "confirmed", "retracted"]
_Exhausts = Callable[[Finding, Decimal | None, timedelta, datetime], Exhausts | None]
_GroupKey = tuple[str, str, str, bool]  # group, owner, cause, and whether about the group itself

# Detectors that see one cause from different sides tell one incident.
CAUSES: Final[Mapping[str, str]] = {
    "spike": "more",
    "shift": "more",
    "creep": "more",
    "drop": "less",
    "gone": "less",
}
# Kinds whose severity does not follow from a run rate; `gone` may be lost data and is not here.
ONCE: Final = "purchase"
FIRST: Final = "new_spend"
PRICE_CHANGE: Final = "price_change"
RUNAWAY: Final = "runaway_run"
UNTAGGED: Final = "tag_policy"
ORPHANED: Final = "orphaned_storage"
UNUSED: Final = "unused_commitment"
LAPSES: Final = (UNTAGGED, ORPHANED, UNUSED)
SAVES: Final = ("drop", PRICE_CHANGE)
# What sums up the past of a source.
HISTORY: Final = "backfill"
# What is wrong with the service itself; no spend.
TROUBLE: Final = "trouble"
JOINS_WITHIN: Final = timedelta(hours=48)
# What a sum shows, its members show at the same time; later ones have a cause of their own.
JOINS_GROUP_WITHIN: Final = timedelta(hours=24)
# What begins later than this after an incident is another: one that never ends would grow for ever.
LONGEST: Final = timedelta(days=92)
REOPENS_WITHIN: Final = timedelta(hours=24)
DRIVERS_TOLD: Final = 10


class Incident(msgspec.Struct, kw_only=True):
    """Findings of one owner, account and cause, told as one thing.

    `odd_until` is the end of the newest odd period; up to `settled_until` the figures are final.
    `ending` says how it ended, where more is known than that it did, `avoidable_per_day` what can
    be saved of the run rate, where that is another figure. `budget` is what an incident about a
    budget says of it, `exhausts` the budget that another would use up alone. `marks` are what
    people did about it; `quiet` says why somebody who would hear of it does not; `level` is the
    narrowest thing that it is about. The row that first raised it was of a period up to
    `period_end`, and came at `arrived_at`; `came_late` tells that it was over by then. `moved_at`
    is when what is said of it last came to another figure.
    """

    incident_id: str
    fingerprint: str
    owner: str
    owner_source: str
    state: State
    severity: Severity
    starts_at: datetime
    ends_at: datetime | None
    impact: Decimal | None
    run_rate_per_day: Decimal | None
    billing_currency: str
    finding_ids: list[str]
    drivers: list[Driver]
    opened_at: datetime
    updated_at: datetime
    # Beyond the contract: what a notice and a page need to name it.
    title: str
    kind: str
    status: IncidentStatus
    sub_account_id: str
    service_name: str | None
    region_id: str | None
    actual: Decimal
    expected: Decimal
    expected_low: Decimal
    expected_high: Decimal
    confidence: str
    odd_until: datetime
    settled_until: datetime | None = None
    backfill: bool = False
    is_new_level: bool = False
    estimated: bool = False
    is_inhibited: bool = False
    feedback: list[Feedback] = []
    ending: str = ""
    avoidable_per_day: Decimal | None = None
    budget: Figures | None = None
    exhausts: Exhausts | None = None
    marks: list[Marked] = []
    assignee: str | None = None
    quiet: str = ""
    level: Level | None = None
    period_end: datetime | None = None
    arrived_at: datetime | None = None
    came_late: bool = False
    moved_at: datetime | None = None


class SeverityLimits(NamedTuple):
    """Money per day from which an incident is medium, and high."""

    medium: Decimal
    high: Decimal
    rates: Rates = Rates()

    def of(self, lead: Finding, run_rate: Decimal | None, impact: Decimal | None) -> Severity:
        """Return the severity of a run rate; an unknown one is medium, for someone should look.

        What was bought once is judged by its whole amount. Spending less is low: it costs nothing
        to wait; so are tags. That nothing is spent at all is not, as data may have been lost.
        """
        if lead.budget is not None:
            return lead.budget.severity
        if lead.kind == ONCE:
            run_rate = impact
        elif lead.kind in (*SAVES, UNTAGGED):
            return "low"
        if run_rate is None:
            return "medium"
        if self._reaches(abs(run_rate), lead, self.high):
            return "high"
        return "medium" if self._reaches(abs(run_rate), lead, self.medium) else "low"

    def _reaches(self, amount: Decimal, lead: Finding, limit: Decimal) -> bool:
        return self.rates.reaches(amount, lead.billing_currency, lead.detected_at, limit)


class Incidents:
    """All incidents that may still change. `update` is a pure step: findings in, incidents out.

    `exhausts` returns the budget that a lead's rate a day, which lasted so long, would use up: that
    is high severity.
    """

    def __init__(
        self,
        severity: SeverityLimits,
        exhausts: _Exhausts = lambda *_: None,
    ) -> None:
        self._severity = severity
        self._exhausts = exhausts
        self._pools: dict[str, dict[str, Pool]] = {}
        self._incident_of: dict[str, str] = {}
        self._newest: dict[str, str] = {}
        self._of_group: dict[_GroupKey, str] = {}
        self._incidents: dict[str, Incident] = {}
        self._said: dict[str, list[Feedback]] = {}
        self._marked: dict[str, list[Marked]] = {}
        self._wakes: dict[str, datetime] = {}
        self._owned: set[str] = set()

    def mark(self, mark: Mark) -> None:
        """Note what a person does about an incident; the next `update` returns it."""
        known = self._incidents[mark.incident_id]
        rate = known.run_rate_per_day or money.ZERO
        done = Marked(mark=mark, rate=rate, severity=known.severity)
        self._marked.setdefault(mark.incident_id, list(known.marks)).append(done)

    def refusal(self, mark: Mark) -> str | None:
        """Say why a mark cannot be followed, or None."""
        incident = self._incidents.get(mark.incident_id)
        if incident is None:
            return "there is no such incident that may still change"
        if any(one.mark == mark for one in incident.marks):
            return "this was done before"
        if mark.act == "undo" and not in_effect(incident.marks):
            return "there is nothing to take back"
        if mark.act in ("acknowledge", "snooze", "resolve") and incident.state == "resolved":
            return "it is over"
        if mark.act == "unacknowledge" and incident.state not in ("acknowledged", "snoozed"):
            return "nobody has acknowledged it"
        return None

    def findings_of(self, incident_id: str) -> list[Finding]:
        """Return the findings of one incident."""
        pools = self._pools.get(incident_id, {}).values()
        return [member.finding for pool in pools for member in pool.members.values()]

    def reown(self, owner_of: Callable[[Finding], tuple[str, str] | None]) -> None:
        """Let the next `update` return those that are now said to be somebody's."""
        for incident_id, pools in self._pools.items():
            for pool in pools.values():
                if pool.reown(owner_of):
                    self._owned.add(incident_id)

    def due(self) -> datetime | None:
        """Return when a snooze ends next."""
        return min(self._wakes.values(), default=None)

    def say(self, feedback: Feedback) -> None:
        """Note what a person says of an incident; the next `update` returns it."""
        known = self._incidents[feedback.incident_id].feedback
        self._said.setdefault(feedback.incident_id, list(known)).append(feedback)

    def update(self, members: Iterable[Member], now: datetime) -> list[Incident]:
        """Take in changed findings and return the incidents that changed, in a fixed order."""
        touched: dict[str, None] = {}
        for member in members:
            finding = member.finding
            incident_id = self._incident_of.get(finding.finding_id) or self._place(member)
            self._pools[incident_id].setdefault(finding.series, Pool()).take(member)
            touched[incident_id] = None
        woken = (incident_id for incident_id, at in self._wakes.items() if at <= now)
        touched |= dict.fromkeys([*self._said, *self._marked, *sorted(self._owned), *woken])
        self._owned.clear()
        return [self._tell(incident_id, now) for incident_id in touched]

    def get(self, incident_id: str) -> Incident | None:
        """Return an incident that may still change."""
        return self._incidents.get(incident_id)

    def all(self) -> list[Incident]:
        """Return every incident that may still change."""
        return list(self._incidents.values())

    def findings(self) -> list[Finding]:
        """Return their findings."""
        return [
            member.finding
            for pools in self._pools.values()
            for pool in pools.values()
            for member in pool.members.values()
        ]

    def forget(self, before: datetime) -> list[Incident]:
        """Let go of incidents that ended before a time, and return them."""
        forgotten = []
        for incident_id, incident in list(self._incidents.items()):
            if incident.ends_at is not None and incident.ends_at < before:
                for pool in self._pools.pop(incident_id).values():
                    for finding_id in pool.members:
                        del self._incident_of[finding_id]
                del self._incidents[incident_id]
                self._wakes.pop(incident_id, None)
                if self._newest.get(incident.fingerprint) == incident_id:
                    del self._newest[incident.fingerprint]
                forgotten.append(incident)
        self._of_group = {k: v for k, v in self._of_group.items() if v in self._incidents}
        return forgotten

    def save(
        self,
        streams: Streams,
        name: str,
        knows: Callable[[str], Mapping[int, OddPoint] | None],
    ) -> Iterator[Chunk]:
        """Yield what changed since the last save; `knows` returns a finding's live periods."""
        groups: dict[str, list[_GroupKey]] = {}
        for key, incident_id in self._of_group.items():
            groups.setdefault(incident_id, []).append(key)
        packed = (
            (
                incident_id,
                _Saved(
                    incident=incident,
                    pools=[(s, p.pack(knows)) for s, p in self._pools[incident_id].items()],
                    is_newest=self._newest.get(incident.fingerprint) == incident_id,
                    groups=groups.get(incident_id, []),
                ),
            )
            for incident_id, incident in self._incidents.items()
        )
        yield from streams.values(name, packed)

    def restore(
        self,
        saved: Saved,
        name: str,
        knows: Callable[[str], Mapping[int, OddPoint] | None],
        keep: Callable[[SeriesKey], bool],
    ) -> None:
        """Take over what was saved, with the findings of the series that are kept."""
        for incident_id, packed in saved.values(name, _Saved).items():
            mine = [(s, pool) for s, pool in packed.pools if keep(SeriesKey.parse(s))]
            pools = {series: Pool.unpack(pool, knows) for series, pool in mine}
            if not pools:
                continue
            self._incidents[incident_id] = packed.incident
            self._note_wake(packed.incident)
            self._pools[incident_id] = pools
            if packed.is_newest:
                self._newest[packed.incident.fingerprint] = incident_id
            self._of_group |= dict.fromkeys(packed.groups, incident_id)
            for pool in pools.values():
                self._incident_of |= dict.fromkeys(pool.members, incident_id)

    def _place(self, member: Member) -> str:
        """Find the incident a new finding belongs to, or name a new one."""
        finding = member.finding
        fingerprint = fingerprint_of(finding)
        for incident_id, within in self._candidates(fingerprint, member):
            known, pools = self._incidents.get(incident_id), self._pools.get(incident_id)
            if pools is not None and _takes(known, pools, finding, within):
                break
        else:
            incident_id = content_hash(
                {"fingerprint": fingerprint, "first": finding.charge_period_start}
            )
            self._newest[fingerprint] = incident_id
            self._pools.setdefault(incident_id, {})
        self._incident_of[finding.finding_id] = incident_id
        for key in _group_keys(member, of_group=member.is_group):
            self._of_group[key] = incident_id
        return incident_id

    def _candidates(self, fingerprint: str, member: Member) -> Iterator[tuple[str, timedelta]]:
        """Yield what a finding may join, and how soon: its own kind, its group's, its members'."""
        if fingerprint in self._newest:
            yield self._newest[fingerprint], JOINS_WITHIN
        for key in _group_keys(member, of_group=not member.is_group):
            if key in self._of_group:
                yield self._of_group[key], JOINS_GROUP_WITHIN

    def _tell(self, incident_id: str, now: datetime) -> Incident:
        """Build the incident as its findings stand now."""
        known = self._incidents.get(incident_id)
        pools = list(self._pools[incident_id].values())
        members = sorted(
            (member for pool in pools for member in pool.members.values()),
            key=lambda m: (m.finding.detected_at, m.finding.finding_id),
        )
        standing = [m for m in members if m.stands] or members
        live_pools = [p for p in pools if any(m.stands for m in p.members.values())] or pools
        paid, of_units = _by_unit(live_pools)
        drivers = rank(pool.driver() for pool in paid)
        sums = _total(pool.totals() for pool in paid)
        rates = [d.run_rate_per_day for d in drivers if d.run_rate_per_day is not None]
        run_rate = money.total(rates) if rates else None
        impacts = [d.impact for d in drivers if d.impact is not None]
        impact = money.total(impacts) if impacts else None
        ends = [m.finding.ended_at for m in standing]
        over = all(end is not None for end in ends)
        retracted = all(m.finding.status == "retracted" for m in members)
        leads = [lead_of(pool.standing()) for pool in paid]
        lead = lead_of(member for pool in paid for member in pool.standing())
        level = level_of(drivers, leads)
        feedback = self._said.pop(incident_id, None) or (known.feedback if known else [])
        goes_on = not over and not retracted and not lead.backfill
        starts_at = min(m.finding.charge_period_start for m in standing)
        odd_until = max(m.finding.charge_period_end for m in standing)
        lasted = odd_until - starts_at
        exhausts = self._exhausts(lead, run_rate, lasted, now) if goes_on else None
        marks = self._marked.pop(incident_id, None) or (known.marks if known else [])
        severity = "high" if exhausts else self._severity.of(lead, run_rate, impact)
        if known is not None:
            # What it was at its worst: an incident that fades has not become less important.
            severity = max(known.severity, severity, key=SEVERITIES.index)
        newest = max(m.finding.detected_at for m in standing)
        marks = woken(marks, run_rate or money.ZERO, severity, newest, now)
        is_over = over or retracted
        incident = Incident(
            incident_id=incident_id,
            fingerprint=known.fingerprint if known else fingerprint_of(members[0].finding),
            owner=lead.owner,
            owner_source=lead.owner_source,
            state=_state(feedback, marks, over=is_over),
            severity=severity,
            starts_at=starts_at,
            ends_at=max(end for end in ends if end is not None) if over else _resolved_at(marks),
            impact=money.ZERO if retracted else impact,
            run_rate_per_day=money.ZERO if over or retracted else run_rate,
            billing_currency=lead.billing_currency,
            finding_ids=[m.finding.finding_id for m in members],
            drivers=[*drivers[:1], *of_units, *drivers[1:]][:DRIVERS_TOLD],
            opened_at=known.opened_at if known else now,
            updated_at=now,
            title=_title(lead, len(drivers), level),
            kind=lead.kind,
            status=_status(members),
            sub_account_id=lead.sub_account_id,
            service_name=lead.service_name,
            region_id=lead.region_id,
            actual=sums.actual,
            expected=sums.expected,
            expected_low=sums.low,
            expected_high=sums.high,
            confidence=_confidence(standing),
            odd_until=odd_until,
            settled_until=_settled_until(standing),
            backfill=all(m.finding.backfill for m in members),
            ending=_ending(standing) if over else "",
            avoidable_per_day=_avoidable(standing),
            is_new_level=over and any(m.finding.is_new_level for m in standing),
            estimated=any(m.finding.estimated for m in standing),
            feedback=feedback,
            budget=lead.budget,
            exhausts=exhausts,
            marks=marks,
            assignee=assignee_of(marks),
            level=level,
            period_end=known.period_end if known else lead.charge_period_end,
            arrived_at=known.arrived_at if known else lead.detected_at,
            came_late=known.came_late if known else over and not retracted,
        )
        incident.moved_at = now if known is None or _moved(known, incident) else known.moved_at
        self._incidents[incident_id] = incident
        self._note_wake(incident)
        return incident

    def _note_wake(self, incident: Incident) -> None:
        until = snoozed_until(incident.marks)
        if until is None:
            self._wakes.pop(incident.incident_id, None)
        else:
            self._wakes[incident.incident_id] = until


class _Saved(msgspec.Struct, kw_only=True):
    incident: Incident
    pools: list[tuple[str, SavedPool]]
    is_newest: bool
    groups: list[_GroupKey]


def fingerprint_of(finding: Finding) -> str:
    """Name what an incident is about: owner, account, service, currency and cause.

    Each period of a budget is an incident of its own.
    """
    if finding.kind == BUDGET:
        return content_hash({"budget": finding.finding_id})
    return content_hash(
        {
            "owner": finding.owner,
            "sub_account_id": finding.sub_account_id,
            "service_name": finding.service_name,
            "billing_currency": finding.billing_currency,
            "cause": CAUSES.get(finding.kind, finding.kind),
        }
    )


def _group_keys(member: Member, *, of_group: bool) -> list[_GroupKey]:
    """Name the groups of a finding, its owner and its cause.

    Only findings of one owner join over a group: what one team is told must not name another's.
    """
    cause = CAUSES.get(member.finding.kind, member.finding.kind)
    return [(group, member.finding.owner, cause, of_group) for group in member.groups]


def _takes(
    known: Incident | None, pools: Mapping[str, Pool], finding: Finding, within: timedelta
) -> bool:
    """Tell whether an incident goes on with this finding: it is not over, or was a moment ago.

    A series that was no part of it joins only soon after the one before: what begins days later in
    a long incident has a cause of its own, and must not drown in it. Nor may it drown in one of
    which no more is said.
    """
    members = [m.finding for pool in pools.values() for m in pool.members.values()]
    if not members or all(m.backfill for m in members) != finding.backfill:
        return False
    begins = finding.charge_period_start
    if known is not None and known.ends_at is not None and begins > known.ends_at + REOPENS_WITHIN:
        return False
    if known is not None and mutes(known.feedback) and finding.series not in pools:
        return False
    if begins > min(member.charge_period_start for member in members) + LONGEST:
        return False
    newest = max(member.charge_period_start for member in members)
    return finding.series in pools or begins <= newest + within


def _state(feedback: Sequence[Feedback], marks: Sequence[Marked], *, over: bool) -> State:
    if over:
        return "resolved"
    return "expected" if mutes(feedback) else state_of(marks)


def _moved(before: Incident, after: Incident) -> bool:
    """Tell whether what was found says another figure than it did."""
    return any(
        getattr(before, name) != getattr(after, name)
        for name in ("finding_ids", "actual", "expected", "impact", "odd_until")
    )


def _resolved_at(marks: Sequence[Marked]) -> datetime | None:
    """Return when a person said that it is over, which it is until something new is found."""
    last = standing(marks)
    return last.mark.at if last is not None and state_of(marks) == "resolved" else None


def _total(sums: Iterable[Sums]) -> Sums:
    columns = zip(*sums, strict=True)
    return Sums(*(money.total(column) for column in columns))


def _by_unit(pools: Sequence[Pool]) -> tuple[list[Pool], list[Driver]]:
    """Part the series that cost money from what units of their spend cost: that is no more money.

    Where nothing but a unit cost is odd, it has the money.
    """
    of_units = [pool for pool in pools if pool.of_units]
    paid = [pool for pool in pools if not pool.of_units]
    if not paid:
        return list(pools), []
    none = {"impact": None, "run_rate_per_day": None}
    return paid, [msgspec.structs.replace(pool.driver(), **none) for pool in of_units]


def _status(members: list[Member]) -> IncidentStatus:
    states = {m.finding.status for m in members}
    if states == {"retracted"}:
        return "retracted"
    return "provisional" if "provisional" in states else "confirmed"


def _ending(members: list[Member]) -> str:
    """Say how it ended: of several ways the one that leaves a doubt, else the last."""
    endings = [m.finding.ending for m in members]
    return "silent" if "silent" in endings else endings[-1]


def _avoidable(members: list[Member]) -> Decimal | None:
    going_on = [m.finding.avoidable_per_day for m in members if m.finding.ended_at is None]
    known = [amount for amount in going_on if amount is not None]
    return money.total(known) if known and len(known) == len(going_on) else None


def _settled_until(members: list[Member]) -> datetime | None:
    known = [m.finding.settled_until for m in members if m.finding.status == "provisional"]
    return min((until for until in known if until is not None), default=None)


def _title(lead: Finding, drivers: int, level: Level) -> str:
    name = lead.resource_name or lead.resource_id
    if lead.kind == BUDGET:
        return f"budget {name}"
    if name is not None and lead.resource_id is None and lead.service_name is None:
        return name if lead.kind != UNTAGGED else f"tag policy {name}"
    if level.by != "resource":
        return f"{level.name} · {drivers} resources"
    what = lead.service_name or lead.series.split("/", 1)[0]
    if lead.kind == PRICE_CHANGE:
        what = f"unit price of {what}"
    if name is not None:
        more = f" and {drivers - 1} more" if drivers > 1 else ""
        return f"{what} · {name}{more}"
    return what


def _confidence(members: list[Member]) -> str:
    """Say how sure it is, in words with the count behind them."""
    if lead_of(members).kind in (ONCE, RUNAWAY, BUDGET, *LAPSES):
        return ""
    if all(not m.points for m in members):
        longest = max(m.finding.charge_period_end - m.finding.charge_period_start for m in members)
        return f"High: nothing but idleness seen for {duration(longest)}"
    odd = max((len(m.points) for m in members), default=0)
    score = max(m.finding.score for m in members)
    if lead_of(members).kind == FIRST:
        word = "High" if score >= 3 else "Medium"
        return f"{word}: a start like this is expected once in {_one_in(score)} days"
    word = "High" if score >= 6 or odd >= 6 else "Medium" if odd >= 2 or score >= 4.5 else "Low"
    unit = "hour" if members[0].step_hours == 1 else "day"
    periods = f"{odd} odd {unit}s" if odd > 1 else f"one odd {unit}"
    return f"{word}: {periods}, at most one normal {unit} in {_one_in(score)} looks like this"


def _one_in(score: float) -> str:
    """Write the odds with two figures, as far as they can be believed."""
    if score >= 6:
        return "a million"
    return f"{float(f'{10**score:.2g}'):,.0f}"
