"""Budgets: told once for each threshold, taken back when rows are, and heard the same day."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from service.bootstrap import build_desk_parts, build_pipeline
from service.config import ConfigError, OwnerSettings, Settings
from service.config_file import checked
from service.core.budgets import (
    Budget,
    Period,
    Terms,
    day_of,
    number_of,
    start_of_day,
)
from service.core.burn import burn
from service.core.events import Arrival
from service.core.intents import Drop, Put
from service.core.state import Streams
from tests.arriving import Disk
from tests.factories import make_event

pytestmark = pytest.mark.slow  # months through the whole pipeline

T0 = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
JULY = 30
SAID = {"at": T0, "who": "ana", "via": "cli", "why": "first set-up"}


def hourly(hour, cost, name="i-1", **more):
    start = T0 + hour * HOUR
    values = {
        "charge_period_start": start, "charge_period_end": start + HOUR, "resource_id": name,
        "effective_cost": Decimal(str(cost)), "x_event_id": f"{name}-{hour}",
        "tags": {"team": "ml"},
    }  # fmt: skip
    return make_event(**(values | more))


def usual(days, cost=10.0, until=None, **more):
    """Hours of one resource, as they arrive: half as much at night."""
    hours = range(days * 24) if until is None else range(until, days * 24)
    return [(h + 1, hourly(h, cost * (1.0 if 8 <= h % 24 < 20 else 0.5), **more)) for h in hours]


class Run:
    """A pipeline that rows arrive at; keeps what was said of budgets, and the newest figures."""

    def __init__(self, *rows, **budgets):
        self.settings = Settings(
            budgets={name: Terms(**terms) for name, terms in budgets.items()},
            owners=OwnerSettings(sub_accounts={"lab": "ml"}),
        )
        self.pipeline = build_pipeline(self.settings, {"e": "effective"}, tells_history=True)
        self.offset, self.notices, self.findings, self.incidents = 0, [], {}, {}
        self.budgets = {}
        self.arrive(*rows)

    def arrive(self, *rows):
        by_hour = {}
        for hour, event in (row for part in rows for row in part):
            by_hour.setdefault(hour, []).append(Arrival(T0 + hour * HOUR, "e", event))
        for hour in sorted(by_hour):
            self.step(T0 + hour * HOUR, by_hour[hour])
        if by_hour:
            self.step(T0 + max(by_hour) * HOUR + timedelta(minutes=20), [])
        return self

    def step(self, now, batch):
        self.offset += 1
        self.note(self.pipeline.step(batch, now, self.offset).changes)

    def follow(self, intent, now):
        self.offset += 1
        assert self.pipeline.refusal(intent) is None
        self.note(self.pipeline.intent(intent, now, self.offset).changes)

    def note(self, changes):
        self.notices += [n for n in changes.notices if n.incident.kind == "budget"]
        self.findings |= {f.finding_id: f for f in changes.findings}
        self.incidents |= {i.incident_id: i for i in changes.incidents}
        self.budgets |= changes.budgets

    def said(self, action="thread"):
        return [(n.reason, n.text) for n in self.notices if n.action == action]

    @property
    def figures(self):
        (status,) = self.budgets.values()
        return status.figures


ML = {"owner": "ml"}


def test_each_threshold_is_told_once_in_one_conversation():
    run = Run(usual(30), ml=ML | {"amount": Decimal(6000), "forecast_thresholds": []})
    ((reason, first),) = run.said("post")
    assert reason == "first"
    assert first.startswith("🔵 50 % of $6,000 · budget ml\nml has spent $3,000 of $6,000 with ")
    threads = [text.partition(":")[0] for reason, text in run.said() if reason == "threshold"]
    assert threads == ["80 % spent"]
    assert len({n.incident_id for n in run.notices}) == 1
    (finding,) = (f for f in run.findings.values() if f.kind == "budget")
    assert (finding.actual, finding.expected, finding.resource_id) == (5400, 6000, None)


def test_what_counts_is_usage_fees_and_purchases_and_the_rest_is_beside_it():
    month = {"charge_period_start": T0, "charge_period_end": T0 + timedelta(days=30)}
    beside = [
        (1, hourly(0, cost, name, charge_category=category, **month))
        for name, category, cost in (
            ("fee", "Purchase", 40), ("vat", "Tax", 7), ("promo", "Credit", -5),
            ("licence", "Usage", 3), ("rounding", "Adjustment", Decimal("0.5")),
        )
    ]  # fmt: skip
    euros = [(2, hourly(1, 99, "eu", billing_currency="EUR"))]
    others = [(2, hourly(1, 99, "other", tags={"team": "web"}))]
    run = Run([(1, hourly(0, 10))], beside, euros, others, ml=ML | {"amount": Decimal(1000)})
    figures = run.figures
    assert (figures.spent, figures.tax, figures.credit) == (Decimal("53.5"), 7, -5)
    assert figures.not_counted == ["EUR"]


@pytest.mark.parametrize(
    "scope",
    [
        {"owner": "ml"}, {"service": "EKS"}, {"tag": "user:Env= Prod "}, {"sub_account": "lab"},
        {"owner": "ml", "service": "EKS"},
    ],
)  # fmt: skip
def test_a_budget_takes_what_its_scope_names(scope):
    mine = hourly(0, 10, sub_account_id="lab", service_name="EKS", tags={"env": "prod"})
    other = hourly(0, 10, "i-2", sub_account_id="web", service_name="EC2", tags={"team": "web"})
    run = Run([(1, mine), (1, other)], one=scope | {"amount": Decimal(1000)})
    assert run.figures.spent == 10


def test_a_resource_that_changes_hands_takes_its_month_with_it():
    rows = usual(4, name="i-1") + usual(4, name="i-2")
    moved = [(97, hourly(96, 10, "i-2", tags={"team": "web"}))]
    run = Run(rows, moved, ml=ML | {"amount": Decimal(10_000)})
    assert run.figures.spent == 4 * 180


def test_a_crossing_that_rows_take_back_is_withdrawn_in_the_same_message():
    spike = [(241, hourly(240, 900))]
    fixed = [(250, hourly(240, 5, x_revision=1))]
    terms = {"amount": Decimal(5000), "forecast_thresholds": [], "burn_rate": False}
    run = Run(usual(10), spike, usual(11, until=241), fixed, ml=ML | terms)
    assert run.notices[0].action == "post"
    last = run.notices[-1]
    assert (last.action, last.reason) == ("thread", "retracted")
    assert last.text.startswith("Withdrawn: the provider restated these figures. It was not so:")
    assert len({(n.incident_id, n.destination) for n in run.notices}) == 1


def test_a_burst_that_would_blow_the_month_is_heard_the_same_day():
    amount = {"amount": Decimal(6000)}
    calm = Run(usual(11), ml=ML | amount)
    assert calm.said("post") == []
    burst = [(h + 1, hourly(h, 60, "train")) for h in range(240, 264)]
    run = Run(usual(11), burst, ml=ML | amount)
    first = run.notices[0]
    assert first.at - (T0 + 240 * HOUR) <= timedelta(hours=12)
    assert "times as fast as would last" in first.text
    assert "mostly train (" in first.text
    assert first.incident.severity == "high"


def test_a_forecast_above_the_amount_is_told_with_its_range_before_it_is_spent():
    run = Run(usual(14), ml=ML | {"amount": Decimal(4000), "thresholds": [100]})
    first = run.notices[0]
    assert first.at < T0 + timedelta(days=10)
    assert "at this rate $5,400 ($" in first.text
    assert "Crossed: 100 % expected" in first.text
    assert [one.what for one in first.incident.budget.crossed] == ["forecast 100 %"]


def test_the_last_month_tells_what_drives_this_one():
    grew = [(h + 1, hourly(h, 20, "train-7")) for h in range(JULY * 24, JULY * 24 + 200)]
    terms = ML | {"amount": Decimal(4000), "forecast_thresholds": [], "burn_rate": False}
    run = Run(usual(39), grew, ml=terms)
    july = [n for n in run.notices if n.incident.starts_at >= T0 + timedelta(days=30)]
    assert "; mostly train-7 (+$" in july[0].text
    assert "More than in the same days before:\n- +$" in july[0].text


def test_who_hears_of_a_service_is_told_of_no_other_teams_resources():
    rows = usual(6) + usual(6, name="secret-1", cost=99.0, tags={"team": "web"})
    terms = {"service": "Amazon EC2", "belongs_to": "ml", "amount": Decimal(20_000)}
    run = Run(rows, ec2=terms)
    (first, *_) = run.notices
    assert "secret-1" not in first.text
    assert "i-1" in first.text
    assert first.incident.owner == "ml"


def test_an_amount_that_is_raised_holds_at_once_and_its_thresholds_are_new():
    run = Run(usual(20))
    put = Put(thing=Budget(name="ml", owner="ml", amount=Decimal(4000), burn_rate=False), **SAID)
    run.follow(put, T0 + timedelta(days=20, minutes=30))
    assert run.figures.spent == 20 * 180
    assert run.incidents[run.notices[-1].incident_id].severity == "high"
    raised = msgspec.structs.replace(put.thing, amount=Decimal(9000))
    later = T0 + timedelta(days=20, minutes=40)
    run.follow(Put(thing=raised, **SAID | {"at": later}), later)
    assert run.notices[-1].text.startswith("Within the budget again: ml has spent $3,600 of $9,000")
    assert "the budget was $4,000 until 21 Jun" in run.notices[-1].text
    assert run.figures.crossed == []
    run.arrive(usual(29, until=20 * 24 + 1))
    assert run.said()[-1][1].startswith("50 % spent: ml has spent $4,5")


def test_a_budget_that_is_dropped_ends_what_was_told_of_it():
    run = Run(usual(20))
    put = Put(thing=Budget(name="ml", owner="ml", amount=Decimal(4000)), **SAID)
    run.follow(put, T0 + timedelta(days=20, minutes=30))
    run.follow(Drop(kind="budget", name="ml", **SAID), T0 + timedelta(days=20, minutes=40))
    assert run.budgets == {"ml": None}
    (incident,) = (i for i in run.incidents.values() if i.kind == "budget")
    assert incident.state == "resolved"


def test_a_budget_of_the_config_is_changed_there():
    run = Run(ml=ML | {"amount": Decimal(4000)})
    put = Put(thing=Budget(name="ml", amount=Decimal(1)), **SAID)
    assert "set in the config" in run.pipeline.refusal(put)


def test_of_a_feed_that_went_silent_nothing_is_forecast():
    run = Run(usual(40), ml=ML | {"amount": Decimal(9000)})
    assert run.figures.forecast is not None
    run.step(T0 + timedelta(days=43), [])
    assert run.figures.forecast > 5000
    run.step(T0 + timedelta(days=52), [])
    assert run.figures.forecast is None
    assert run.figures.spent == 10 * 180


def test_a_period_that_is_over_is_summed_up_when_it_has_settled():
    run = Run(usual(34), ml=ML | {"amount": Decimal(5000), "forecast_thresholds": []})
    june = [n for n in run.notices if n.incident.starts_at == T0]
    assert (june[-1].action, june[-1].reason) == ("thread", "resolved")
    assert june[-1].text == "ml spent $5,400 of $5,000 by 30 Jun."
    assert june[-1].incident.status == "confirmed"
    assert june[-1].at >= T0 + timedelta(days=33)


def test_what_a_late_bill_brings_to_a_month_that_is_over_is_told_by_the_amount_of_then():
    run = Run()
    was = Budget(name="ml", owner="ml", amount=Decimal(8000), thresholds=[100.0],
                 forecast_thresholds=[], burn_rate=False)  # fmt: skip
    run.follow(Put(thing=was, **SAID | {"at": T0}), T0)
    run.arrive(usual(35))
    late = 35 * 24 + 1
    now = T0 + timedelta(hours=late)
    lower = msgspec.structs.replace(was, amount=Decimal(4900))
    run.follow(Put(thing=lower, **SAID | {"at": now}), now)
    assert run.notices == []
    run.arrive([(late, hourly(29 * 24, 5000, name="i-9"))])
    (post,) = run.notices
    assert (post.action, post.reason, post.incident.state) == ("post", "first", "resolved")
    assert post.text.startswith("✅ 130 % of $8,000")
    run.arrive([(43 * 24, hourly(29 * 24 + 1, 50_000, name="i-9"))])
    assert len(run.notices) == 2
    run.arrive([(50 * 24, hourly(29 * 24 + 2, 50_000, name="i-9"))])
    assert len(run.notices) == 2


def test_an_incident_that_would_use_up_its_owners_budget_is_high_and_says_so():
    burst = [(h + 1, hourly(h, 15)) for h in range(23 * 24, 23 * 24 + 30)]
    low = Run(usual(23), burst, ml=ML | {"amount": Decimal(50_000)})
    high = Run(usual(23), burst, ml=ML | {"amount": Decimal(5_000)})

    def spike(run):
        return next(i for i in run.incidents.values() if i.kind in ("spike", "shift"))

    assert spike(low).exhausts is None
    assert spike(low).severity != "high"
    assert spike(high).severity == "high"
    assert spike(high).exhausts.budget == "ml"


@pytest.mark.parametrize("seed", range(3))
def test_neither_order_nor_batches_show(seed):
    rows = usual(20) + usual(20, name="i-2", cost=7.0) + [(300, hourly(100, 40, x_revision=1))]
    terms = ML | {"amount": Decimal(7000)}
    mixed = rows[:]
    random.Random(seed).shuffle(mixed)  # noqa: S311
    first, second = Run(rows, ml=terms), Run(mixed, ml=terms)
    assert msgspec.json.encode(second.notices) == msgspec.json.encode(first.notices)
    cut = Run(ml=terms)
    for hour in range(482):
        now = T0 + hour * HOUR
        mine = [Arrival(now, "e", event) for at, event in mixed if at == hour]
        for part in (mine[::2], mine[1::2]):
            if part:
                cut.step(now, part)
    cut.step(T0 + 480 * HOUR + timedelta(minutes=20), [])
    assert [n.text for n in cut.notices] == [n.text for n in first.notices]


def test_a_config_that_names_another_amount_holds_after_a_restart():
    run = Run(usual(15), ml=ML | {"amount": Decimal(5000)})
    disk = Disk()
    disk.write(run.pipeline.save(Streams()))
    again = Run(ml=ML | {"amount": Decimal(2000)}, web={"owner": "web", "amount": Decimal(5)})
    assert again.pipeline.restore(disk.saved()) == []
    again.step(T0 + timedelta(days=15, hours=1), [])
    assert again.budgets["ml"].figures.spent == run.figures.spent
    assert again.budgets["ml"].figures.amount == 2000
    assert again.budgets["ml"].figures.amount_before == 5000
    assert again.budgets["ml"].state == "over"
    gone = Run()
    assert gone.pipeline.restore(disk.saved()) == []
    gone.step(T0 + timedelta(days=15, hours=1), [])
    assert gone.budgets == {"ml": None}


@pytest.mark.parametrize(
    ("terms", "day", "period"),
    [
        ({}, date(2026, 2, 28), (date(2026, 2, 1), date(2026, 3, 1))),
        ({"period": "quarter"}, date(2026, 12, 31), (date(2026, 10, 1), date(2027, 1, 1))),
        ({"period": "year"}, date(2028, 2, 29), (date(2028, 1, 1), date(2029, 1, 1))),
        (
            {"period": "days", "starts": date(2026, 1, 5), "days": 14},
            date(2026, 2, 2),
            (date(2026, 2, 2), date(2026, 2, 16)),
        ),
    ],
)
def test_periods_begin_and_end_on_days_of_utc(terms, day, period):
    budget = Terms(amount=Decimal(1), **terms)
    assert budget.period_of(number_of(day)) == Period(*map(number_of, period))


def test_there_is_no_period_before_the_first():
    budget = Terms(amount=Decimal(1), period="days", starts=date(2026, 1, 5), days=14)
    assert budget.period_of(number_of(date(2026, 1, 4))) is None
    assert day_of(start_of_day(20_000)) == 20_000


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"amount": "0"}, "amount is 0"),
        ({"amount": "-1"}, "below 0"),
        ({"amount": "1", "period": "days"}, "go together"),
        ({"amount": "1", "days": 3}, "go together"),
        ({"amount": "1", "ower": "ml"}, "did you mean 'owner'"),
        ({"amount": "1", "currency": "usd"}, "currency"),
        ({}, "amount"),
    ],
)
def test_what_is_no_budget_is_refused_in_one_line(table, why):
    with pytest.raises(ConfigError, match=why):
        checked({"budgets": {"ml": table}}, Settings, "the config")


def test_a_burn_rate_is_seen_in_hours_and_in_days_that_are_known_whole():
    spent = {hour: Decimal(1) for hour in range(100)}
    assert burn(spent, {}, 1.0, goes_on=False) is None
    fast = spent | {hour: Decimal(9) for hour in range(96, 100)}
    assert burn(fast, {}, 1.0, goes_on=False).hours == 6
    days = {day: Decimal(24 * 3) for day in range(10)}
    assert burn({}, days, 1.0, goes_on=False) == (3.0, 24, 3.0)
    assert burn({}, {}, 1.0, goes_on=True) is None


def test_what_two_parts_know_of_a_budget_adds_up_at_one_desk():
    whole = Run(usual(20), usual(20, name="i-2"), ml=ML | {"amount": Decimal(8000)})
    desk = build_desk_parts(whole.settings).budgets
    for name in ("i-1", "i-2"):
        part = build_pipeline(whole.settings, {"e": "effective"}, tells_history=True)
        for hour, event in [*usual(20, name=name), (481, None)]:
            now = T0 + hour * HOUR
            batch = [] if event is None else [Arrival(now, "e", event)]
            desk.take(part.find(batch, now, hour).spent, name)
    desk.judge(T0 + timedelta(days=20, minutes=20))
    figures = desk.changed()["ml"].figures
    assert figures.spent == whole.figures.spent == 40 * 180
    assert figures.forecast == whole.figures.forecast
    assert {mover.name for mover in figures.movers} == {"i-1", "i-2"}
