"""`spendwatch run` on one machine: history learnt, a spike told once across kill -9."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.adapters.embedded_store import EmbeddedStore
from service.entrypoints.local_slack import build_app, serve
from tests.ports import free_port

ADMIN = "an-admin-token-of-the-tests"

SPENDWATCH = Path(sys.executable).with_name("spendwatch")
HOUR = timedelta(hours=1)


@pytest.fixture
def slack():
    app = build_app(channels=["spend"], rate_limit=False, processing_seconds=0.0)
    with serve(app) as url:
        yield url, app.state.slack


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def config(tmp_path, slack, port):
    (tmp_path / "exports").mkdir()
    (tmp_path / "token").write_text("xoxb-test")
    path = tmp_path / "spendwatch.toml"
    path.write_text(f"""
data_dir = "{tmp_path / "var"}"
save_every_minutes = 0.05
[sources.cloud]
path = "{tmp_path / "exports"}"
[route]
receiver = "team"
min_impact = "20"
[receivers]
team = ["slack:#spend"]
[notifiers.slack]
token_file = "token"
base_url = "{slack[0]}/api/"
[api]
port = {port}
admin_token = "{ADMIN}"
""")
    return path


@pytest.fixture
def start(config):
    running = []

    def start():
        process = subprocess.Popen([SPENDWATCH, "run", "--config", str(config)])
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
    with EmbeddedStore(config.parent / "var" / "store"):
        pass  # ends a server that a killed run left behind


def wait_for(check, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"never came true: {check}")


def get(port, path, token=ADMIN):
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    return urllib.request.urlopen(request, timeout=5)  # noqa: S310 - of this machine


def ask(port, path):
    try:
        with get(port, path) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return None


def counted(port, outcome):
    """Return how many events of the feed this process has counted with that outcome."""
    with get(port, "/metrics") as answer:
        text = answer.read().decode()
    name = f'spendwatch_events_processed_total{{outcome="{outcome}",source="cloud"}}'
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def write(folder, name, rows):
    """Put a file there as an exporter does: written elsewhere, then moved; older than a moment."""
    part = folder.parent / f"{name}.part"
    part.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = time.time() - 60
    os.utime(part, (before, before))
    part.rename(folder / "exports" / name)


def rows(first, last, cost, revision=0):
    """Rows of one machine for the hours `first` to `last` before now."""
    now = datetime.now(tz=UTC).replace(minute=0, second=0, microsecond=0)
    noise = random.Random(3)  # noqa: S311 - not a secret
    for ago in range(first, last - 1, -1):
        start = now - ago * HOUR
        yield {
            "BilledCost": f"{cost + noise.gauss(0, 0.05):.4f}", "BillingCurrency": "USD",
            "ChargePeriodStart": start.isoformat(), "ChargePeriodEnd": (start + HOUR).isoformat(),
            "ChargeCategory": "Usage", "ServiceName": "Compute", "SubAccountId": "1",
            "ResourceId": "vm-1", "SkuId": "S", "Tags": {"team": "search"},
            "x_EventId": f"{start:%Y%m%d%H}", "x_Revision": revision,
        }  # fmt: skip


def said(workspace):
    return [m for m in workspace.channel("spend").messages if m.get("thread_ts") in (None, m["ts"])]


@pytest.mark.timeout(300)
def test_history_is_learnt_a_spike_is_told_once_and_withdrawn_when_restated(
    config, start, slack, port
):
    folder, workspace = config.parent, slack[1]
    write(folder, "history.ndjson", rows(21 * 24, 4, 10))
    process = start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("sources"))
    wait_for(lambda: ask(port, "/v1/status")["sources"][0]["events"] == 21 * 24 - 3)
    assert said(workspace) == []

    write(folder, "today.ndjson", rows(3, 2, 60))
    wait_for(lambda: said(workspace))
    process.send_signal(signal.SIGKILL)
    process.wait()

    process = start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("state") == "ok")
    write(folder, "restated.ndjson", rows(3, 2, 10, revision=1))
    wait_for(lambda: (ask(port, "/v1/findings") or {"items": []})["items"])
    wait_for(lambda: {f["status"] for f in ask(port, "/v1/findings")["items"]} == {"retracted"})
    wait_for(lambda: "Withdrawn" in json.dumps(said(workspace)[0]))
    assert len(said(workspace)) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@pytest.mark.timeout(300)
def test_a_bill_a_day_and_more_late_is_told_although_its_spike_is_over(config, start, slack, port):
    folder, workspace = config.parent, slack[1]
    with config.open("a") as text:  # others may find, by the hour of day, that something is left
        text.write("[detection.detectors.spike]\n")
    write(folder, "history.ndjson", rows(21 * 24, 36, 10))
    start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("sources"))
    wait_for(lambda: ask(port, "/v1/status")["sources"][0]["events"] == 21 * 24 - 35)
    late = [*rows(35, 34, 60), *rows(33, 9, 10)]
    write(folder, "late.ndjson", late)
    (post,) = wait_for(lambda: said(workspace))
    assert "Ended: $1" in post["text"]
    assert (
        "over before it could be told: the bill for it arrived 33 h after it ended"
        in json.dumps(post)
    )
    (incident,) = incidents(port)
    assert (incident["state"], incident["came_late"]) == ("resolved", True)
    assert len(workspace.channel("spend").messages) == 1


def state_of(folder):
    """Return what is saved: the log's first and last batch, and the offsets of the checkpoints."""
    with closing(sqlite3.connect(folder / "var" / "log.sqlite")) as log:
        begin, end = log.execute("SELECT min(offset), max(offset) FROM log").fetchone()
    found = (folder / "var" / "state").glob("manifest-*.json")
    return begin, end, sorted(json.loads(f.read_bytes().splitlines()[1])["offset"] for f in found)


@pytest.fixture
def told(config, start, slack, port):
    """A run that has learnt three weeks, told a spike, trimmed its log, and was killed."""
    folder, workspace = config.parent, slack[1]
    write(folder, "history.ndjson", rows(21 * 24, 4, 10))
    process = start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("sources"))
    wait_for(lambda: state_of(folder)[2])
    write(folder, "today.ndjson", rows(3, 2, 60))
    wait_for(lambda: said(workspace))
    # The next tick of the log's clock is minutes away: a row moves it on.
    write(folder, "more.ndjson", rows(1, 1, 10))
    wait_for(lambda: state_of(folder)[0] > 1)
    process.kill()
    process.wait()
    return folder, workspace


def incidents(port):
    return (ask(port, "/v1/incidents") or {"items": []})["items"]


def test_a_restart_goes_on_from_the_saved_state_and_not_from_the_whole_log(told, start, port):
    folder, workspace = told
    begin, end, offsets = state_of(folder)
    assert 1 < begin <= offsets[0] + 1 <= end + 1
    process = start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("state") == "ok")
    write(folder, "restated.ndjson", rows(3, 2, 10, revision=1))
    wait_for(lambda: "Withdrawn" in json.dumps(said(workspace)[0]))
    assert len(said(workspace)) == 1
    assert len(incidents(port)) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_a_damaged_newest_state_is_said_and_the_one_before_is_used(told, start, port):
    folder, workspace = told
    newest = max((folder / "var" / "state").glob("segment-*.bin"))
    newest.write_bytes(b"x" + newest.read_bytes()[1:])
    start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("state") in ("ok", "degraded"))
    write(folder, "restated.ndjson", rows(3, 2, 10, revision=1))
    wait_for(lambda: "Withdrawn" in json.dumps(said(workspace)[0]))
    assert len(said(workspace)) == 1


def test_when_all_saved_state_is_damaged_it_says_so_ends_what_is_open_and_repeats_nothing(
    told, start, slack, port
):
    folder, workspace = told
    for manifest in (folder / "var" / "state").glob("manifest-*.json"):
        manifest.write_text("rubbish")
    start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("state") == "degraded")
    reasons = " ".join(ask(port, "/v1/status")["reasons"])
    assert "is lost" in reasons
    wait_for(lambda: {i["state"] for i in incidents(port)} == {"resolved"})
    write(folder, "more2.ndjson", rows(0, 0, 10))
    wait_for(lambda: ask(port, "/v1/status")["sources"][0]["events"] >= 1)
    assert len(said(workspace)) == 1


def test_a_store_that_lost_everything_is_filled_again_and_nothing_is_said_twice(told, start, port):
    folder, workspace = told
    with EmbeddedStore(folder / "var" / "store"):
        pass  # ends the server that the killed run left behind
    shutil.rmtree(folder / "var" / "store")
    start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("state") == "ok")
    assert len(incidents(port)) == 1
    write(folder, "restated.ndjson", rows(3, 2, 10, revision=1))
    wait_for(lambda: "Withdrawn" in json.dumps(said(workspace)[0]))
    assert len(said(workspace)) == 1


def spendwatch(*arguments):
    run = subprocess.run(
        [SPENDWATCH, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in run.stderr
    return run


def test_feedback_acts_at_once_outlives_a_kill_and_is_taken_back(told, start, port, config):
    _folder, workspace = told
    process = start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("state") == "ok")
    (incident,) = incidents(port)
    name = incident["incident_id"]
    why = ("--why", "load test *until* Friday", "--who", "ana", "--config", config)
    run = spendwatch("feedback", name[:12], "expected", *why)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip().endswith(": expected")
    (said_now,) = ask(port, f"/v1/incidents/{name}")["feedback"]
    assert (said_now["who"], said_now["via"], said_now["verdict"]) == ("ana", "cli", "expected")
    thread = lambda: json.dumps(workspace.channel("spend").messages)  # noqa: E731
    wait_for(lambda: "Marked as expected by ana" in thread())
    process.kill()
    process.wait()

    start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("state") == "ok")
    assert ask(port, f"/v1/incidents/{name}")["state"] == "expected"
    assert spendwatch("feedback", name[:12], "undo", *why).stdout.strip().endswith(": firing")
    wait_for(lambda: "ana took that back" in thread())
    refused = spendwatch("feedback", name[:12], "undo", *why)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "nothing to take back" in refused.stderr
    assert spendwatch("feedback", name[:12], "fine", *why).returncode == 2
    assert len(said(workspace)) == 1


def test_a_rejected_row_is_kept_counted_and_stops_nothing(config, start, port):
    folder = config.parent
    write(folder, "mixed.ndjson", [*rows(50, 40, 10), {"BilledCost": "much"}, *rows(39, 30, 10)])
    process = start()
    source = wait_for(lambda: (ask(port, "/v1/status") or {}).get("sources"))[0]
    wait_for(lambda: ask(port, "/v1/status")["sources"][0]["rejected"] == 1)
    assert source["events"] == 21
    assert counted(port, "new") == 21
    letter = json.loads((folder / "var" / "dead_letters.ndjson").read_text())
    assert (letter["row"], "BilledCost" in letter["reason"]) == (12, True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    segments = sorted((folder / "var" / "history").rglob("*.parquet"))
    shutil.rmtree(folder / "var" / "store")
    process = start()
    wait_for(lambda: (ask(port, "/v1/status") or {}).get("state", "rebuilding") != "rebuilding")
    assert ask(port, "/v1/status")["sources"][0]["rejected"] == 1
    write(folder, "good.ndjson", rows(29, 29, 10))
    wait_for(lambda: ask(port, "/v1/status")["sources"][0]["events"] == 22)
    assert (counted(port, "new"), counted(port, "rejected")) == (1, 0)
    assert ask(port, "/v1/status")["sources"][0]["rejected"] == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert segments
    assert len(sorted((folder / "var" / "history").rglob("*.parquet"))) == len(segments) + 1


def test_a_feed_that_is_not_there_is_one_line(tmp_path):
    (tmp_path / "c.toml").write_text('[sources.a]\npath = "nowhere"')
    run = subprocess.run(
        [SPENDWATCH, "run", "--config", tmp_path / "c.toml"], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.strip() == "spendwatch: sources.a.path: nowhere is not there"


@pytest.mark.timeout(530)  # a whole replay, however busy the machine
def test_the_demo_runs_to_its_end_and_delivers_everything(port):
    run = subprocess.run(
        [SPENDWATCH, "demo", "--once", "--port", str(port)], capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "0 failed" in run.stdout
    assert run.stdout.count("[notice]") >= 8
    assert "batch-embed" in run.stdout
    assert "Withdrawn" in run.stdout


def test_tokens_are_made_used_and_revoked_on_this_machine(start, port, config):
    here = ("--config", config)
    config.write_text(config.read_text().replace(f'admin_token = "{ADMIN}"\n', ""))
    start()
    kept = config.parent / "var" / "admin-token"
    wait_for(lambda: kept.exists() and kept.stat().st_size)
    assert kept.stat().st_mode & 0o777 == 0o600
    wait_for(lambda: spendwatch("tokens", "list", *here).returncode == 0)
    made = spendwatch("tokens", "create", "ana", "--team", "search", *here)
    with get(port, "/v1/status", made.stdout.strip()) as answer:
        assert answer.status == 200
    listed = spendwatch("tokens", "list", *here).stdout
    assert listed.splitlines()[3].split()[:4] == ["ana", "viewer", "search", "never"]
    assert made.stdout.strip() not in listed
    assert spendwatch("tokens", "revoke", "ana", *here).stdout == "ana is revoked\n"
    again = spendwatch("tokens", "revoke", "ana", *here)
    assert (again.returncode, "There is no token 'ana'." in again.stderr) == (1, True)
    time.sleep(1.1)
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(port, "/v1/status", made.stdout.strip())
    assert refused.value.code == 401
    refused.value.close()
    none = spendwatch("tokens", "create", "bo", *here)
    assert (none.returncode, "--team" in none.stderr) == (2, True)


def post(port, rows):
    body = "\n".join(json.dumps(row) for row in rows).encode()
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/x-ndjson"}
    url = f"http://127.0.0.1:{port}/v1/events"
    request = urllib.request.Request(url, body, headers, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - of this machine
        return json.load(answer)


def test_what_was_acknowledged_is_counted_once_whoever_is_killed(config, start, port):
    folder = config.parent / "pushed"
    with config.open("a") as file:
        file.write(f'[sources.pushed]\nkind = "events"\nposted = true\npath = "{folder}"\n')
    first = datetime.now(tz=UTC).replace(minute=0, second=0, microsecond=0) - 5 * HOUR
    rows = [
        {
            "ChargePeriodStart": (first + hour * HOUR).isoformat(),
            "ChargePeriodEnd": (first + (hour + 1) * HOUR).isoformat(),
            "ChargeCategory": "Usage", "BilledCost": "2", "BillingCurrency": "USD",
            "SubAccountId": "prod", "ServiceName": "EC2", "ResourceId": "i-1",
            "x_EventId": f"e{hour}",
        }
        for hour in range(4)
    ]  # fmt: skip

    def seen():
        status = ask(port, "/v1/status") or {"sources": []}
        found = [one for one in status["sources"] if one["source"] == "pushed"]
        return found[0] if found else {"events": 0, "rejected": 0}

    run = start()
    wait_for(lambda: ask(port, "/v1/status"))
    told = post(port, [*rows, {"BilledCost": 1}])
    assert (told["accepted"], told["rejected"]) == (4, 1)
    run.kill()
    run.wait()
    start()
    wait_for(lambda: seen()["events"] == 4)
    assert post(port, [*rows, {"BilledCost": 1}])["accepted"] == 4
    wait_for(lambda: seen()["duplicates"] == 4 and seen()["rejected"] >= 1)
    assert seen()["events"] >= 4
    wait_for(lambda: not list(folder.iterdir()))
    series = ask(port, "/v1/series/pushed/prod/i-1/USD/hour")
    assert [one["cost"] for one in series["periods"]] == ["2"] * 4
    letters = (config.parent / "var" / "dead_letters.ndjson").read_text().splitlines()
    assert len(letters) == 2
