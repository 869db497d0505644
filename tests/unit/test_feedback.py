"""Feedback: it acts at once, and what is taken back leaves no trace."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival, SeriesKey
from service.core.intents import Feedback
from service.core.overrides import FADES_DAYS, Bars, Level
from service.core.state import Streams
from tests.arriving import Disk
from tests.factories import make_event

pytestmark = pytest.mark.slow  # weeks through the whole pipeline

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SPIKES, STEP, END, JOINED = (480, 530, 580), 640, 760, 432
MET = SPIKES[0] + 5


@cache
def hours():
    """Three smooth machines: one has the same spike three times, one steps up for good."""
    random = np.random.default_rng(11)
    found = []
    for hour in range(END):
        start, batch = T0 + hour * HOUR, []
        for number in range(3):
            cost = 10 + 2 * np.sin(hour / 24 * 2 * np.pi) + random.normal(0, 0.1)
            cost += 12 * (number == 0 and any(0 <= hour - at < 2 for at in SPIKES))
            cost += 15 * (number == 1 and hour >= STEP)
            event = make_event(
                charge_period_start=start, charge_period_end=start + HOUR,
                effective_cost=Decimal(f"{cost:.4f}"), resource_id=f"i-{number}",
                x_event_id=f"{number}-{hour}", tags={"team": "search"},
                service_name=f"Service {number}",
            )  # fmt: skip
            batch.append(Arrival(start + HOUR, "events", event))
        found.append((start + HOUR, batch))
    return found


class Run:
    """A pipeline with what it has said."""

    def __init__(self, hours=hours):
        self.hours = hours
        self.pipeline = build_pipeline(
            Settings(), {"events": "effective"}, tells_history=True, keeps_history=False
        )
        self.hour = self.offset = 0
        self.findings, self.incidents, self.notices = {}, {}, []

    @classmethod
    def at(cls, hour, hours=hours):
        """Return a run that is there already: run through once, and restored for each who asks."""
        before, disk = past(hour, hours)
        run = cls(hours)
        assert run.pipeline.restore(disk.saved()) == []
        run.hour, run.offset = before.hour, before.offset
        run.findings, run.incidents = deepcopy(before.findings), deepcopy(before.incidents)
        run.notices = list(before.notices)
        return run

    def until(self, hour):
        for now, batch in self.hours()[self.hour : hour]:
            self.offset += 1
            self._note(self.pipeline.step(batch, now, self.offset))
        self.hour = max(self.hour, hour)
        return self

    def say(self, verdict, resource, hour=None):
        """Say something of the newest incident of a machine."""
        intent = self.intent(verdict, resource)
        assert self.pipeline.refusal(intent) is None
        self.offset += 1
        self._note(self.pipeline.intent(intent, self.now, self.offset))
        return self.incidents[intent.incident_id]

    def intent(self, verdict, resource, why="planned load test"):
        mine = [i for i in self.incidents.values() if resource in i.drivers[0].series]
        newest = max(mine, key=lambda i: i.opened_at)
        return Feedback(
            at=self.now, incident_id=newest.incident_id, verdict=verdict, who="ana", via="cli",
            why=why,
        )  # fmt: skip

    @property
    def now(self):
        return self.hours()[self.hour - 1][0]

    def _note(self, outcome):
        changes = outcome.changes
        self.findings |= {f.finding_id: f for f in changes.findings}
        self.incidents |= {i.incident_id: i for i in changes.incidents}
        self.notices += changes.notices

    def of(self, resource):
        return [f for f in self.findings.values() if f.resource_id == resource]

    def state(self):
        """Return all that decides what comes next, but for what was said and the log's offset."""
        disk = Disk()
        disk.write(self.pipeline.save(Streams()))
        return {
            name: parts
            for name, parts in disk.kept.items()
            if name not in ("pipeline", "desk", "incidents", "deliveries", "feedback/orders")
        }


@cache
def past(hour, hours):
    run = Run.at(MET, hours) if hour > MET else Run(hours)
    run.until(hour)
    disk = Disk()
    disk.write(run.pipeline.save(Streams()))
    return run, disk


def never(hour):
    return past(hour, hours)[0]


def test_expected_ends_what_is_said_and_shows_who_said_so():
    run = Run.at(STEP + 4)
    posts = len(run.notices)
    incident = run.say("expected", "i-1")
    assert incident.state == "expected"
    (said,) = incident.feedback
    assert (said.who, said.via, said.why, said.verdict) == (
        "ana", "cli", "planned load test", "expected",
    )  # fmt: skip
    told = run.notices[posts:]
    assert [n.action for n in told] == ["edit", "thread"]
    assert "Marked as expected by ana (planned load test)" in told[-1].text
    count = len(run.notices)
    run.until(END)
    assert [n for n in run.notices[count:] if n.incident_id == incident.incident_id] == []
    assert run.incidents[incident.incident_id].state == "expected"
    assert {f.finding_id for f in run.of("i-1")} == {f.finding_id for f in never(END).of("i-1")}, (
        "what is found does not change"
    )


def test_a_new_level_ends_it_and_is_normal_at_once():
    run = Run.at(STEP + 30)
    incident = run.say("new_level", "i-1")
    assert incident.state == "resolved"
    assert incident.is_new_level
    found = len(run.of("i-1"))
    run.until(END)
    assert len(run.of("i-1")) == found
    assert never(END).incidents[incident.incident_id].state == "firing", "it would have gone on"


def test_what_is_no_issue_must_be_odder_the_next_time():
    run = Run.at(MET)
    assert len(run.of("i-0")) == 1
    run.say("not_an_issue", "i-0")
    run.until(SPIKES[2] + 40)
    assert len(run.of("i-0")) < len(never(SPIKES[2] + 40).of("i-0"))
    run = Run.at(MET)
    run.say("not_an_issue", "i-0")
    run.say("undo", "i-0")
    run.until(SPIKES[2] + 40)
    assert len(run.of("i-0")) == len(never(SPIKES[2] + 40).of("i-0"))


def unsaid(incidents):
    """Write incidents without what people said of them, and when."""
    plain = {"feedback": [], "updated_at": T0}
    return msgspec.json.encode(
        {id_: msgspec.structs.replace(i, **plain) for id_, i in incidents.items()}
    )


@settings(max_examples=5, deadline=None)
@given(
    st.sampled_from(
        [
            ("expected", "i-1"),
            ("new_level", "i-1"),
            ("not_an_issue", "i-1"),
            ("not_an_issue", "i-0"),
        ]
    ),
    st.integers(STEP + 2, STEP + 60),
)
def test_feedback_that_is_taken_back_at_once_never_was(said, hour):
    verdict, resource = said
    run = Run.at(STEP + 2).until(hour)
    run.say(verdict, resource)
    run.say("undo", resource)
    run.until(END)
    plain = never(END)
    assert msgspec.json.encode(run.findings) == msgspec.json.encode(plain.findings)
    assert unsaid(run.incidents) == unsaid(plain.incidents)
    mine, theirs = run.state(), plain.state()
    assert {n for n in mine if mine[n] != theirs.get(n) and "/history/" not in n} <= {
        n for n in mine if verdict == "new_level" and n.startswith(("steps1/", "group_steps1/"))
    }


def rows_of(run):
    scoring = run.pipeline._parts.scorings[1]
    return {
        name: [column[row].tobytes() for row in range(3)]
        for name, column in scoring._fleet.columns().items()
    }


@pytest.mark.parametrize("hours_between", [1, 40])
def test_a_level_that_is_taken_back_later_leaves_the_detectors_as_though_it_had_never_been(
    hours_between,
):
    run = Run.at(STEP + 20)
    run.say("new_level", "i-1")
    assert rows_of(run) != rows_of(never(STEP + 20))
    run.until(STEP + 20 + hours_between)
    run.say("undo", "i-1")
    run.until(END)
    assert rows_of(run) == rows_of(never(END))


def test_feedback_lives_in_saved_state():
    run = Run.at(STEP + 20)
    run.say("new_level", "i-1")
    run.say("not_an_issue", "i-0")
    disk, again = Disk(), Run()
    disk.write(run.pipeline.save(Streams()))
    again.pipeline.restore(disk.saved())
    again.hour, again.offset, again.incidents = run.hour, run.offset, dict(run.incidents)
    for one in (run, again):
        one.until(STEP + 30)
        one.say("undo", "i-1")
        one.until(END)
    assert rows_of(run) == rows_of(again) == rows_of(never(END))
    assert run.state() == again.state()


@pytest.mark.parametrize(
    ("verdicts", "verdict", "why"),
    [
        ([], "undo", "nothing to take back"),
        (["expected", "undo"], "undo", "nothing to take back"),
        (["new_level"], "new_level", "no level|has a level"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_changes_nothing(verdicts, verdict, why):
    run = Run.at(STEP + 20)
    for said in verdicts:
        run.say(said, "i-1")
    before = run.state()
    intent = run.intent(verdict, "i-1", why="again")
    refused = run.pipeline.refusal(intent)
    assert refused is not None
    assert any(part in refused for part in why.split("|"))
    run.pipeline.intent(intent, run.now, run.offset + 1)
    assert run.state() == before


def test_an_unknown_incident_is_refused():
    run = Run().until(3)
    intent = Feedback(at=T0, incident_id="none", verdict="expected", who="a", via="cli", why="w")
    assert "no such incident" in run.pipeline.refusal(intent)


def test_a_bar_is_bounded_and_fades():
    series = SeriesKey("s", "a", "r", "USD", "hour")
    for over, asked in ((0.2, 1.0), (2.2, 2.2), (9.0, 3.0)):
        bars = Bars(24)
        bars.put("x", series, "spike", 1000, over)
        assert bars.above(series, "spike", 1000) == asked
        assert bars.above(series, "spike", 1000 + FADES_DAYS * 12) == pytest.approx(asked / 2)
        assert bars.above(series, "spike", 1000 + FADES_DAYS * 24) == 0
        assert bars.above(series, "shift", 1000) == 0
        bars.drop("x")
        assert bars.all() == []


@given(st.floats(-5, 50), st.floats(0, 4), st.floats(-20, 20))
def test_a_restated_past_is_never_below_nothing_unless_it_was(cost, times, more):
    level = Level(100, times, more)
    assert level.restated(100, cost) == cost
    past = level.restated(99, cost)
    assert past >= 0 or past == cost


@cache
def swarm():
    """Machines of one team; twelve more come at once, which no machine's own past shows."""
    random = np.random.default_rng(5)
    found = []
    for hour in range(JOINED + 72):
        batch = []
        for number in range(20 if hour >= JOINED else 8):
            cost = 5 * np.exp(random.normal(0, 0.15))
            event = make_event(
                charge_period_start=T0 + hour * HOUR, charge_period_end=T0 + (hour + 1) * HOUR,
                effective_cost=Decimal(f"{cost:.4f}"), resource_id=f"i-{number}",
                x_event_id=f"{number}-{hour}", tags={"team": "search"},
            )  # fmt: skip
            batch.append(Arrival(T0 + (hour + 1) * HOUR, "events", event))
        if hour >= JOINED:
            event = make_event(
                charge_period_start=T0 + hour * HOUR, charge_period_end=T0 + (hour + 1) * HOUR,
                effective_cost=Decimal(30), resource_id="i-new", x_event_id=f"new-{hour}",
                tags={"team": "ml"}, region_id="eu-north-1",
            )  # fmt: skip
            batch.append(Arrival(T0 + (hour + 1) * HOUR, "events", event))
        found.append((T0 + (hour + 1) * HOUR, batch))
    return found


def of_groups(run):
    return {f.finding_id for f in run.findings.values() if "~group~" in f.series}


def test_a_new_level_of_a_group_is_normal_at_once_and_can_be_taken_back():
    plain, run = Run.at(JOINED + 24, swarm), Run.at(JOINED + 24, swarm)
    found = of_groups(run)
    assert found
    assert run.say("new_level", "~group~").state == "resolved"
    run.until(JOINED + 72)
    assert of_groups(run) == found
    assert not any(run.findings[one].ended_at is None for one in found)
    run.say("undo", "~group~")
    groups, others = (
        one.pipeline._parts.group_scorings[1] for one in (run, plain.until(JOINED + 72))
    )
    for name, column in others._fleet.columns().items():
        mine = groups._fleet.columns()[name]
        assert mine[: len(column)].tobytes() == column.tobytes(), name


def test_a_new_level_of_a_member_is_no_news_to_its_groups():
    run = Run.at(STEP + 30)
    before = len(of_groups(run))
    run.say("new_level", "i-1")
    run.until(END)
    assert len(of_groups(run)) == before
    levels = run.pipeline._parts.group_scorings[1]._levels.all()
    assert levels
    assert all(taken.level.more == pytest.approx(15, rel=0.1) for taken in levels)


def test_first_spend_has_no_level_and_no_detector_and_says_so():
    run = Run.at(JOINED + 24, swarm)
    for verdict, why in (("new_level", "no past"), ("not_an_issue", "no detector")):
        refused = run.pipeline.refusal(run.intent(verdict, "~new~"))
        assert refused is not None
        assert why in refused
    assert run.say("expected", "~new~").state == "expected"


@cache
def dearer():
    """Three noisy machines of one team, of which one costs a quarter more for some days."""
    random = np.random.default_rng(11)
    return [
        (
            T0 + (hour + 1) * HOUR,
            [
                Arrival(
                    T0 + (hour + 1) * HOUR, "events",
                    make_event(
                        charge_period_start=T0 + hour * HOUR,
                        charge_period_end=T0 + (hour + 1) * HOUR,
                        effective_cost=Decimal(f"{random.normal(10, 0.5) + more:.4f}"),
                        resource_id=f"i-{number}", x_event_id=f"{number}-{hour}",
                        tags={"team": "search"},
                    ),
                )
                for number in range(3)
                for more in (2.5 * (number == 0 and hour >= SPIKES[0]),)
            ],
        )
        for hour in range(SPIKES[0] + 72)
    ]  # fmt: skip


def test_what_a_bar_keeps_from_being_found_of_a_member_is_not_told_of_its_groups():
    plain, run = Run.at(SPIKES[0], dearer), Run.at(SPIKES[0], dearer)
    scoring = run.pipeline._parts.scorings[1]
    series = SeriesKey("events", "000123", "i-0", "USD", "hour")
    begin = int(run.now.timestamp()) // 3600
    for name in scoring._fleet.detectors:
        scoring._bars.put("said", series, name, begin, 3.0)
    run.until(SPIKES[0] + 72)
    assert plain.until(SPIKES[0] + 72).of("i-0")
    assert not run.of("i-0")
    assert not of_groups(run)
    assert [*scoring.barred(begin + 60)]
    scoring.lower_bars("said")
    assert not [*scoring.barred(begin + 60)]
