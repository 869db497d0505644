"""Commands over the API: a real server, a real store, and a desk that follows what is said."""

import itertools
import json
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from service.core.ports import Changes, SourceStatus
from service.core.rates import Rates
from service.core.routing import Router
from service.entrypoints.api import serve
from service.entrypoints.api.access import Local
from service.entrypoints.api.app import build_app
from service.entrypoints.api.spend_table import Hearing
from service.entrypoints.cli import app as command
from service.telemetry import Metrics
from tests.office import RECEIVERS, ROUTES, T0, Office, odd


class Desk:
    """An office behind a served API, and commands that ask it."""

    def __init__(self, store, config):
        self.store, self.config, self.office = store, config, Office()
        self.tell = lambda *members: self.keep(self.office.tell(T0, *members))

    def keep(self, _):
        assert self.store.save(self.office.changes) == "saved"

    def follow(self, intent, _):
        refused = self.office.do(intent)
        self.keep(None)
        return refused

    def run(self, *arguments):
        done = CliRunner().invoke(command, [*arguments, "--config", str(self.config)])
        return done.exit_code, done.stdout, done.stderr

    @property
    def incident(self):
        return self.store.incident(self.office.incident.incident_id)


@pytest.fixture
def desk(store, tmp_path):
    config = tmp_path / "spendwatch.toml"
    made = Desk(store, config)
    ticks = itertools.count()  # no two things are done at one moment
    app = build_app(
        store=store,
        history=None,
        metrics=Metrics("0"),
        started_at=T0,
        now=lambda: T0 + timedelta(hours=3, seconds=next(ticks)),
        local=Local("admin"),
        follow=made.follow,
        hearing=Hearing(Router(ROUTES, RECEIVERS), Rates()),
    )
    with serve(app) as url:
        config.write_text(f"[api]\nport = {urlsplit(url).port}\n")
        yield made


def test_incidents_are_listed_shown_and_checked(desk):
    code, out, _ = desk.run("incidents")
    assert (code, out) == (0, "there are none\n")
    assert desk.run("incidents", "--check")[0] == 0
    desk.tell(odd())
    code, out, _ = desk.run("incidents", "--state", "firing", "--check")
    assert code == 4
    assert desk.office.incident.incident_id[:12] in out
    code, out, _ = desk.run("incidents", "--json")
    assert json.loads(out)[0]["incident_id"] == desk.office.incident.incident_id
    code, out, _ = desk.run("incidents", desk.office.incident.incident_id[:8])
    assert code == 0
    assert "owner: unowned (no owner tag)" in out
    assert desk.run("incidents", "abc")[0] == 2


def test_what_people_do_by_command_acts_and_is_taken_back(desk):
    desk.tell(odd())
    name = desk.office.incident.incident_id[:10]
    for arguments, state in (
        (["ack", "--why", "looking"], "acknowledged"),
        (["assign", "ada"], "acknowledged"),
        (["comment", "asked the vendor"], "acknowledged"),
        (["snooze", "--for", "4h"], "snoozed"),
        (["undo"], "acknowledged"),
        (["expected", "--why", "load test"], "expected"),
        (["undo"], "acknowledged"),
        (["not-an-issue", "--why", "tiny"], "expected"),
        (["undo"], "acknowledged"),
        (["resolve", "--why", "deleted"], "resolved"),
        (["undo"], "acknowledged"),
    ):
        code, out, err = desk.run(arguments[0], name, *arguments[1:])
        assert (code, err) == (0, "")
        assert out.endswith(f": {state}\n")
        assert desk.incident.state == state
    assert desk.incident.assignee == "ada"
    _, out, _ = desk.run("incidents", name)
    assert "assign ada" in out
    assert "comment: asked the vendor" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["snooze", "0123456789"], 2, "either --for or --growth"),
        (["snooze", "0123456789", "--for", "soon"], 2, "neither a duration"),
        (["ack", "0123456789"], 1, "no such incident"),
        (["why", "0123456789"], 1, "no such incident"),
        (["silence", "add", "bogus", "--for", "1h", "--comment", "x"], 1, "not a matcher"),
        (["silence", "expire", "nothing"], 1, "There is no silence"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(desk, arguments, code, said):
    found, out, err = desk.run(*arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert said in err


def test_why_says_what_came_of_it_and_its_code_whether_anybody_was_told(desk):
    desk.tell(odd())
    for name in ("f1", desk.office.incident.incident_id[:8]):
        code, out, _ = desk.run("why", name)
        assert code == 4
        assert out.startswith("On its way: it waits to be sent to slack:#spend.\n")
    code, out, _ = desk.run("why", "f1", "--json")
    assert json.loads(out)["told"] is False


def test_a_silence_is_added_listed_and_ended(desk):
    code, name, _ = desk.run(
        "silence", "add", "owner=search", "--for", "2h", "--comment", "load test"
    )
    assert code == 0
    _, out, _ = desk.run("silence", "list")
    assert name.strip() in out
    assert "load test" in out
    _, out, _ = desk.run("silence", "list", "--json")
    assert json.loads(out)[0]["matchers"] == ["owner=search"]
    assert desk.run("silence", "expire", name.strip())[0] == 0
    assert desk.run("silence", "list")[1] == "there are none\n"


def test_status_is_a_table_and_a_code_that_cron_can_use(desk, store):
    code, out, _ = desk.run("status")
    assert (code, out.splitlines()[0][:5]) == (0, "ok, a")
    desk.tell(odd())
    offset = desk.office.offset
    late = SourceStatus(source="aws", events=3, last_error="cut off")
    store.save(Changes(previous=offset, offset=offset + 1, sources=[late]))
    code, out, _ = desk.run("status")
    assert code == 4
    assert "Source aws: cut off" in out
    assert "slack:#spend" in out
    code, out, _ = desk.run("status", "--json")
    assert (code, json.loads(out)["state"]) == (4, "degraded")


def test_without_a_service_it_says_so(tmp_path):
    config = tmp_path / "spendwatch.toml"
    config.write_text("[api]\nport = 1\n")
    done = CliRunner().invoke(command, ["status", "--config", str(config)])
    assert done.exit_code == 1
    assert "does not answer at http://127.0.0.1:1" in done.stderr
