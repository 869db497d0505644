"""`spendwatch replay` as a user runs it: files in, files out, one line on what is wrong."""

import gzip
import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SPENDWATCH = Path(sys.executable).with_name("spendwatch")
FOUR = ["findings.ndjson", "incidents.ndjson", "notices.ndjson", "summary.json"]


def stamp(at):
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def event(series, hour, cost, revision=0, arrived=None, **more):
    start = T0 + hour * HOUR
    return {
        "BilledCost": f"{cost:.6f}", "EffectiveCost": f"{cost:.6f}", "BillingCurrency": "USD",
        "BillingAccountId": "0001", "ChargePeriodStart": stamp(start),
        "ChargePeriodEnd": stamp(start + HOUR), "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based", "ServiceName": "Compute", "SubAccountId": "000123",
        "RegionId": "eu-west-1", "ResourceId": f"vm-{series}", "SkuId": "S",
        "Tags": {"team": f"team-{series % 2}"}, "x_EventId": f"{series}-{hour}-{revision}",
        "x_Revision": revision, "x_ArrivedAt": stamp(arrived or start + HOUR),
    } | more  # fmt: skip


@pytest.fixture(scope="module")
def events():
    """Three weeks of four machines: a spike, a restated hour, a late row."""
    noise = random.Random(5)  # noqa: S311 - not a secret
    found = []
    for hour in range(21 * 24):
        for series in range(4):
            cost = 8 + 2 * ((hour % 24) / 24) + noise.gauss(0, 0.05)
            if series == 1 and hour in range(400, 404):
                cost += 30
            if series == 2 and hour == 430:
                found.append(event(series, hour, cost, 1, arrived=T0 + 460 * HOUR))
                cost += 25
            found.append(event(series, hour, cost))
    found.append(event(3, 200, 1.5, arrived=T0 + 300 * HOUR, x_EventId="late"))
    return sorted(found, key=lambda e: e["x_ArrivedAt"])


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def replay(*inputs, out, rc=0, options=()):
    command = [SPENDWATCH, "replay", *map(str, inputs), "--out", str(out), *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert run.returncode == rc, run.stderr
    assert "Traceback" not in run.stderr
    return run


def read(out, name):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def summary(out):
    return json.loads((out / "summary.json").read_text())


def content(out):
    """What must be the same between two replays: all but the two speed figures."""
    figures = summary(out)
    del figures["seconds"], figures["events_per_second"]
    return [figures, *[(out / name).read_bytes() for name in FOUR[:3]]]


@pytest.fixture(scope="module")
def first(events, tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    (folder / "events.ndjson").write_text(lines(events))
    replay(folder / "events.ndjson", out=folder / "out")
    return folder


def test_the_four_files_hold_what_the_contract_says(first, events):
    out = first / "out"
    assert sorted(path.name for path in out.iterdir()) == FOUR
    findings = read(out, "findings.ndjson")
    spike = next(f for f in findings if f["resource_id"] == "vm-1" and f["kind"] == "spike")
    assert spike["status"] == "confirmed"
    assert spike["owner"] == "team-1"
    assert spike["charge_period_start"] == stamp(T0 + 400 * HOUR)
    assert spike["charge_period_end"] == stamp(T0 + 404 * HOUR)
    assert spike["detected_at"] == stamp(T0 + 401 * HOUR)
    assert Decimal(spike["impact"]) == Decimal(spike["actual"]) - Decimal(spike["expected"])
    assert 115 < Decimal(spike["impact"]) < 125
    assert [f["status"] for f in findings if f["resource_id"] == "vm-2"] == ["retracted"]
    assert {f["resource_id"] for f in findings} == {"vm-1", "vm-2"}
    incidents = read(out, "incidents.ndjson")
    assert {i["owner"]: i["state"] for i in incidents}["team-1"] == "resolved"
    notices = read(out, "notices.ndjson")
    assert [n["action"] for n in notices].count("post") == len({n["incident_id"] for n in notices})
    figures = summary(out)
    assert figures["events"] == len(events)
    assert (figures["rejected"], figures["series"], figures["late"]) == (0, 4, 1)
    (total,) = figures["totals"]
    assert total["rows"] == len(events)
    assert Decimal(total["effective_cost"]) == sum(Decimal(e["EffectiveCost"]) for e in events)


def test_two_replays_are_byte_identical(first, tmp_path):
    replay(first / "events.ndjson", out=tmp_path)
    assert content(tmp_path) == content(first / "out")


def test_a_bill_that_came_days_late_is_told_as_over_in_one_post(events, tmp_path):
    whole = T0 + 18 * 24 * HOUR
    late = [
        e | {"x_ArrivedAt": stamp(whole)}
        if T0 + 16 * 24 * HOUR < datetime.fromisoformat(e["x_ArrivedAt"]) <= whole
        else e
        for e in events
    ]
    (tmp_path / "events.ndjson").write_text(lines(late))
    replay(tmp_path / "events.ndjson", out=tmp_path / "out")
    (incident,) = [i for i in read(tmp_path / "out", "incidents.ndjson") if i["owner"] == "team-1"]
    told = [n for n in read(tmp_path / "out", "notices.ndjson")
            if n["incident_id"] == incident["incident_id"]]  # fmt: skip
    assert (told[0]["action"], told[0]["at"]) == ("post", stamp(whole))
    assert "the bill for it arrived 28 h after it ended" in told[0]["text"]
    assert {n["action"] for n in told[1:]} <= {"edit"}


def test_a_file_of_intents_is_followed_as_it_was_then(first, tmp_path):
    incident = next(i for i in read(first / "out", "incidents.ndjson") if i["owner"] == "team-1")
    intent = {
        "x_Intent": "feedback", "at": stamp(T0 + 403 * HOUR), "who": "ana", "via": "slack",
        "why": "load test", "verdict": "expected", "incident_id": incident["incident_id"],
    }  # fmt: skip
    unknown = intent | {"incident_id": "nobody"}
    (tmp_path / "intents.ndjson").write_text(lines([intent, unknown, {"x_Intent": "feedback"}]))
    run = replay(first / "events.ndjson", tmp_path / "intents.ndjson", out=tmp_path / "out")
    assert "not followed: there is no such incident" in run.stderr
    assert "intents.ndjson:3" in run.stderr
    told = [n for n in read(tmp_path / "out", "notices.ndjson")
            if n["incident_id"] == incident["incident_id"]]  # fmt: skip
    (said,) = [n for n in told if n["reason"] == "feedback" and n["action"] == "thread"]
    assert "Marked as expected by ana (load test)" in said["text"]
    assert said["at"] == intent["at"]
    assert {n["action"] for n in told if n["at"] > said["at"]} <= {"edit"}
    assert (tmp_path / "out" / "findings.ndjson").read_bytes() == (
        first / "out" / "findings.ndjson"
    ).read_bytes()


def test_order_repetition_and_files_do_not_show(first, events, tmp_path):
    mixed = random.Random(9)  # noqa: S311 - not a secret
    more = events + mixed.sample(events, 200)
    mixed.shuffle(more)
    (tmp_path / "in").mkdir()
    for part in range(3):
        text = lines(more[part::3]).encode()
        if part == 1:
            (tmp_path / "in" / "b.ndjson.gz").write_bytes(gzip.compress(text))
        else:
            (tmp_path / "in" / f"{part}.ndjson").write_bytes(text)
    replay(tmp_path / "in", out=tmp_path / "out")
    for name in FOUR[:3]:
        assert (tmp_path / "out" / name).read_bytes() == (first / "out" / name).read_bytes()
    assert summary(tmp_path / "out")["duplicates"] == 200


def test_bad_rows_are_set_aside_with_a_reason_and_the_rest_counts(events, tmp_path):
    good = events[:300]
    bad = [
        b"not json", b'{"BilledCost": NaN}', b"[" * 5000, b"\xff\xfe\x00",
        lines([event(0, 1, 1, BilledCost="1e999")]).encode(),
        lines([event(0, 1, 1, ChargePeriodStart="2026-03-01T00:00:00")]).encode(),
        lines([event(0, 1, 1, Tags={"a": {"b": 1}})]).encode(),
        b'{"x": "' + b"a" * 2_000_000 + b'"}',
    ]  # fmt: skip
    rows = lines(good).encode() + b"".join(row.rstrip(b"\n") + b"\n" for row in bad)
    (tmp_path / "events.ndjson").write_bytes(rows)
    run = replay(tmp_path / "events.ndjson", out=tmp_path / "out", options=["--source", "events"])
    figures = summary(tmp_path / "out")
    assert (figures["events"], figures["rejected"]) == (300, len(bad))
    letters = read(tmp_path / "out", "dead_letters.ndjson")
    assert [letter["row"] for letter in letters] == list(range(301, 301 + len(bad)))
    assert all(letter["reason"] and "\n" not in letter["reason"] for letter in letters)
    assert f"events.ndjson:{letters[0]['row']}: {letters[0]['reason']}" in run.stderr


def test_when_more_than_half_is_bad_the_replay_goes_to_the_end_and_exits_3(events, tmp_path):
    (tmp_path / "events.ndjson").write_text(lines(events[:10]) + "rubbish\n" * 30)
    run = replay(tmp_path / "events.ndjson", out=tmp_path / "out", rc=3)
    assert summary(tmp_path / "out")["events"] == 10
    assert "more than half" in run.stderr


def test_a_broken_gzip_gives_what_came_before_the_break(events, tmp_path):
    whole = gzip.compress(lines(events[:500]).encode())
    (tmp_path / "events.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    run = replay(tmp_path / "events.ndjson.gz", out=tmp_path / "out", rc=3)
    assert 0 < summary(tmp_path / "out")["events"] < 500
    assert "events.ndjson.gz" in run.stderr
    assert "1 of 1 files could not be read to the end" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "rc", "said"),
    [
        (["nowhere.ndjson", "--out", "out"], 2, "nowhere.ndjson: there is no such file or folder"),
        (["empty.ndjson", "--out", "empty.ndjson"], 1, "empty.ndjson"),
        (["empty.ndjson", "--out", "/proc/self"], 1, "/proc/self"),
        (["empty.ndjson", "--out", "out"], 3, "empty.ndjson"),
        (["empty.ndjson", "--out", "out", "--source", "excel"], 2, "no source 'excel'"),
        (["empty.ndjson", "--out", "out", "--config", "nowhere.toml"], 2, "nowhere.toml"),
        (["empty.ndjson"], 2, "--out"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, arguments, rc, said):
    (tmp_path / "empty.ndjson").touch()
    run = subprocess.run(
        [SPENDWATCH, "replay", *arguments], capture_output=True, text=True, cwd=tmp_path,
        timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == rc
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert rc == 3 or sorted(path.name for path in tmp_path.iterdir()) == ["empty.ndjson"]


def test_refused_rows_are_not_kept_in_memory(tmp_path):
    with (tmp_path / "rubbish.ndjson").open("w") as file:
        file.writelines(f'{{"BilledCost": "much", "x": "{n:0190}"}}\n' for n in range(100_000))
    program = f"""
import resource
from pathlib import Path
from service.config import Settings
from service.entrypoints.replay import Replay
from service.bootstrap import build_pipeline
build_pipeline(Settings(), {{}}, tells_history=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run = Replay(Settings(), lambda _: None)
run.run([Path("{tmp_path}/rubbish.ndjson")], Path("{tmp_path}/out"), "events")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(run.rejected), run.letters)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=110
    )
    kibibytes, shown, letters = map(int, run.stdout.split())
    assert (shown, letters) == (10, 100_000)
    assert len(read(tmp_path / "out", "dead_letters.ndjson")) == 100_000
    assert kibibytes < 20_000
