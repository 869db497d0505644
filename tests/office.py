"""A desk for tests: one clock, findings that are made up, and all that was said."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from service.core.budget_findings import Budgets
from service.core.deliveries import Deliveries
from service.core.drivers import Member
from service.core.findings import OddPoint
from service.core.incidents import Incidents, SeverityLimits
from service.core.owners import Owners
from service.core.routing import Route, Router
from service.core.standing import Things
from service.core.state import Saved, Streams
from service.desk import Desk, Parts
from tests.factories import make_finding

T0 = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
RECEIVERS = {"everyone": ["slack:#spend"], "ml": ["slack:#ml"]}
ROUTES = Route(
    receiver="everyone",
    routes=[Route(receiver="ml", matchers=["owner=ml"], continue_=True), Route()],
)


class Office:
    """A desk with one clock, its findings and what it said."""

    def __init__(self, routes=ROUTES, receivers=RECEIVERS, rates=None, **more):
        self.wired = (routes, receivers, rates, more)
        self.desk = self.build()
        self.incidents, self.notices, self.offset = {}, [], 0

    def build(self):
        routes, receivers, rates, more = self.wired
        limits = SeverityLimits(Decimal(100), Decimal(1000))
        deliveries = Deliveries(Router(routes, receivers, **more), rates)
        parts = Parts(Incidents(limits), deliveries, Things(), Budgets([], Owners([], {})))
        return Desk(parts, lambda _: None)

    def restart(self):
        """Go on with a desk that knows only what was saved."""
        kept = {}
        for chunk in self.desk.save(Streams(), lambda _: None):
            kept.setdefault(chunk.stream, []).append(memoryview(chunk.data))
        self.desk = self.build()
        self.desk.restore(Saved(kept, kept.__getitem__), lambda _: None, lambda _: True)

    def tell(self, at, *members):
        self.offset += 1
        changes = self.desk.tell(members, at, self.offset, [])
        self.incidents |= {i.incident_id: i for i in changes.incidents}
        self.notices += changes.notices
        self.changes = changes
        return [(n.destination, n.action, n.reason) for n in changes.notices]

    def do(self, intent):
        self.desk.catch_up(intent.at)
        refused = self.desk.refusal(intent)
        if refused is None:
            self.desk.follow(intent)
        self.said = self.tell(intent.at)
        return refused

    def posts(self, destination="slack:#spend"):
        found = [n for n in self.notices if n.destination == destination]
        return [n for n in found if n.action in ("post", "digest")]

    @property
    def incident(self):
        (found,) = self.incidents.values()
        return found


def odd(rate=240, hours=3, excess=None, **values):
    points = {
        step: OddPoint(Decimal(rate) / 24 + 2, Decimal(2), Decimal(1), Decimal(3), 5.0)
        for step in range(100, 100 + hours)
    }
    values = {
        "charge_period_start": T0,
        "charge_period_end": T0 + HOUR,
        "detected_at": T0 + HOUR,
        "impact": Decimal(rate) / 24 * hours,
        "run_rate_per_day": Decimal(rate),
        "owner": "unowned",
        "owner_source": "no owner tag",
        "series": f"aws/acc/{values.get('resource_id', 'i-1')}/USD/hour",
        "resource_id": "i-1",
        "sub_account_id": "acc",
    } | values
    return Member(make_finding(**values), points, 1, list(points), max(points))
