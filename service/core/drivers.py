"""Drivers: what each series adds to an incident; its dollars count once, whoever found them."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from service.core import money
from service.core.events import UNIT_FEED
from service.core.findings import Finding, OddPoint, Sums, run_rate_per_day
from service.core.state import StateError

MOST_OF_IT: Final = Decimal("0.8")
_By = Literal["service", "region", "sub_account"]
_LEVELS: Final[Mapping[_By, Callable[[Finding], str]]] = {
    "service": lambda finding: finding.service_name or "",
    "region": lambda finding: finding.region_id or "",
    "sub_account": lambda finding: finding.sub_account_id,
}
# Of detectors that saw the same at the same time, the one whose sentence says most.
PLAINEST: Final = ("spike", "shift", "creep")


class Driver(msgspec.Struct, kw_only=True):
    """One series' part in an incident; in a bundle, one incident's, with its `state`."""

    series: str
    resource: str
    impact: Decimal | None
    run_rate_per_day: Decimal | None
    share: float
    kind: str
    reason: str
    # How much of the impact is the price and how much the quantity; they add up to it.
    price_effect: Decimal | None = None
    quantity_effect: Decimal | None = None
    state: str | None = None


class Level(msgspec.Struct, kw_only=True, frozen=True):
    """The narrowest of resource, service, region, sub-account, owner that is most of an incident.

    `share` is how much of the money it explains: 0.8 or more, unless it is the owner.
    """

    by: Literal["resource", "service", "region", "sub_account", "owner"]
    name: str
    share: float


class Member(NamedTuple):
    """A finding as its incident needs it, with its periods (none for what is not a cost).

    `points` may be live; `dirty` names the steps that changed since the member was handed over
    last, and `last_step` is its newest odd one. `groups` are the group series that its series
    belongs to, for a finding about a group its own.
    """

    finding: Finding
    points: Mapping[int, OddPoint]
    step_hours: int
    dirty: Collection[int] = ()
    last_step: int = 0
    groups: Collection[str] = ()
    is_group: bool = False

    @property
    def stands(self) -> bool:
        """Tell whether the finding still says something."""
        return self.finding.status != "retracted"


class Pool:
    """One series in one incident: its findings, and their periods joined.

    Of two findings on one period the larger excess counts, so that two detectors on one oddity do
    not double its cost.
    """

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.sums = Sums()
        self._points: dict[int, OddPoint] = {}

    def take(self, member: Member) -> None:
        """Take in a new or changed finding."""
        known = self.members.get(member.finding.finding_id)
        self.members[member.finding.finding_id] = member
        same = known is not None and known.stands == member.stands
        for step in member.dirty if same else list(member.points):
            self._settle(step)

    def reown(self, owner_of: Callable[[Finding], tuple[str, str] | None]) -> bool:
        """Give the findings to who owns them now; tell whether that was someone else."""
        changed = False
        for name, member in self.members.items():
            owned = owner_of(member.finding)
            if owned is not None and owned != (member.finding.owner, member.finding.owner_source):
                finding = msgspec.structs.replace(
                    member.finding, owner=owned[0], owner_source=owned[1]
                )
                self.members[name] = member._replace(finding=finding)
                changed = True
        return changed

    @property
    def of_units(self) -> bool:
        """Tell whether it is what units cost, of spend that others have."""
        return any(m.finding.series.startswith(f"{UNIT_FEED}/") for m in self.members.values())

    def standing(self) -> list[Member]:
        """Return the findings that still say something; all of them when none does."""
        every = list(self.members.values())
        return [member for member in every if member.stands] or every

    def driver(self) -> Driver:
        """Tell what the series adds."""
        standing = self.standing()
        lead = lead_of(standing)
        live = any(member.finding.ended_at is None for member in standing)
        rate = lead.run_rate_per_day
        if self._points and rate is not None:
            newest = max(member.last_step for member in standing)
            rate = run_rate_per_day(self._points, standing[0].step_hours, newest)
        impact = self.sums.excess if self._points else lead.impact
        price, quantity = _effects(lead, impact)
        return Driver(
            series=lead.series,
            resource=lead.resource_name or lead.resource_id or lead.series,
            impact=impact,
            run_rate_per_day=rate if live or rate is None else money.ZERO,
            share=0.0,
            kind=lead.kind,
            reason=lead.reason,
            price_effect=price,
            quantity_effect=quantity,
        )

    def totals(self) -> Sums:
        """Return what the odd periods cost and should have cost."""
        if self._points:
            return self.sums
        lead = lead_of(self.standing())
        return Sums(lead.actual, lead.expected, lead.expected_low, lead.expected_high)

    def pack(self, knows: Callable[[str], Mapping[int, OddPoint] | None]) -> "SavedPool":
        """Return what is saved; `knows` returns the live periods of a finding, which are not."""
        members = [
            _SavedMember(
                finding=member.finding,
                points=None if knows(finding_id) is not None else dict(member.points),
                step_hours=member.step_hours,
                last_step=member.last_step,
            )
            for finding_id, member in self.members.items()
        ]
        return SavedPool(members, self.sums, self._points)

    @classmethod
    def unpack(
        cls, saved: "SavedPool", knows: Callable[[str], Mapping[int, OddPoint] | None]
    ) -> "Pool":
        """Return the pool that was saved."""
        pool = cls()
        pool.sums, pool._points = saved.sums, saved.points
        for packed in saved.members:
            finding = packed.finding
            points = knows(finding.finding_id) if packed.points is None else packed.points
            if points is None:
                raise StateError(f"an incident lacks the periods of {finding.finding_id}")
            member = Member(finding, points, packed.step_hours, (), packed.last_step)
            pool.members[finding.finding_id] = member
        return pool

    def _settle(self, step: int) -> None:
        found = [m.points[step] for m in self.members.values() if m.stands and step in m.points]
        old = self._points.pop(step, None)
        new = max(found, key=lambda point: (abs(point.excess), point), default=None)
        self.sums = self.sums.replace(old, new)
        if new is not None:
            self._points[step] = new


def _effects(lead: Finding, impact: Decimal | None) -> tuple[Decimal | None, Decimal | None]:
    """Carry the split of the finding that speaks over to the money of all."""
    if lead.price_effect is None or not lead.impact or not impact:
        return None, None
    price = lead.price_effect
    if impact != lead.impact:
        price = money.cents(float(price) / float(lead.impact) * float(impact))
    return price, money.subtract(impact, price)


class _SavedMember(msgspec.Struct, kw_only=True):
    finding: Finding
    points: dict[int, OddPoint] | None
    step_hours: int
    last_step: int


class SavedPool(msgspec.Struct, array_like=True):
    """A pool as it is saved."""

    members: list[_SavedMember]
    sums: Sums
    points: dict[int, OddPoint]


def rank(drivers: Iterable[Driver]) -> list[Driver]:
    """Put the drivers with most money first, and give each its share."""
    ranked = sorted(drivers, key=lambda d: (-abs(d.impact or money.ZERO), d.series))
    whole = money.total(abs(d.impact) for d in ranked if d.impact is not None)
    for driver in ranked:
        if whole and driver.impact is not None:
            driver.share = round(float(abs(driver.impact) / whole), 4)
    return ranked


def level_of(drivers: Sequence[Driver], leads: Iterable[Finding]) -> Level:
    """Return the narrowest thing that explains MOST_OF_IT of the money of ranked drivers.

    `leads` are the findings that speak for the drivers' series.
    """
    by_series = {lead.series: lead for lead in leads}
    first = by_series[drivers[0].series]
    whole = money.total(abs(d.impact or money.ZERO) for d in drivers)
    share = abs(drivers[0].impact or money.ZERO) / whole if whole else Decimal(1)
    if share >= MOST_OF_IT or len(drivers) == 1:
        return Level(by="resource", name=drivers[0].resource, share=_rounded(share))
    for by, name_of in _LEVELS.items():
        found: dict[str, Decimal] = {}
        for driver in drivers:
            name = name_of(by_series[driver.series])
            found[name] = money.add(found.get(name, money.ZERO), abs(driver.impact or money.ZERO))
        name, most = max(found.items(), key=lambda item: (item[1], item[0]))
        if name and most >= MOST_OF_IT * whole:
            return Level(by=by, name=name, share=_rounded(most / whole))
    return Level(by="owner", name=first.owner, share=1.0)


def _rounded(share: Decimal) -> float:
    return round(float(share), 4)


def lead_of(members: Iterable[Member]) -> Finding:
    """Return the finding that speaks for the rest: the first of those with most of the money."""
    found = [member.finding for member in members]
    most = max(abs(finding.impact or money.ZERO) for finding in found)
    main = [f for f in found if abs(f.impact or money.ZERO) >= MOST_OF_IT * most]
    return min(main, key=lambda f: (f.detected_at, _rank(f.kind), f.finding_id))


def _rank(kind: str) -> int:
    return PLAINEST.index(kind) if kind in PLAINEST else len(PLAINEST)
