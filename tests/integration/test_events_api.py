"""Events over HTTP: read as they come, refused line by line, saved before they are acknowledged."""

import json

import httpx
import pytest

from service.adapters.posted_files import PostedFiles
from service.entrypoints.api import build_app, serve
from service.entrypoints.api.access import Local, digest
from service.entrypoints.api.limits import LARGEST_BODY, LARGEST_STREAM
from service.telemetry import Metrics
from tests.factories import NOW

NDJSON = {"Content-Type": "application/x-ndjson"}
ROW = {
    "ChargePeriodStart": "2026-03-11T10:00:00Z", "ChargePeriodEnd": "2026-03-11T11:00:00Z",
    "ChargeCategory": "Usage", "BilledCost": "1.50", "BillingCurrency": "USD",
    "SubAccountId": "prod", "ServiceName": "EC2", "ResourceId": "i-1", "x_EventId": "e1",
}  # fmt: skip
ADMIN = "a" * 40


def lines(*rows):
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


@pytest.fixture
def place(tmp_path):
    return tmp_path


@pytest.fixture
def api(store, place):
    posting = PostedFiles(
        {"pushed": place / "pushed"}, place / "dead.ndjson", lambda *told: TOLD.append(told)
    )
    TOLD.clear()
    app = build_app(
        store=store, history=None, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
        local=Local(None, digest(ADMIN)), posting=posting,
    )  # fmt: skip
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with serve(app) as url, httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        yield client


TOLD = []


def saved(place):
    return [
        json.loads(line)
        for file in sorted((place / "pushed").iterdir())
        for line in file.read_bytes().splitlines()
    ]


def test_good_lines_are_saved_and_bad_ones_told_and_kept(api, place):
    nan, custom = {"x_EventId": "e2", "BilledCost": "NaN"}, {"x_EventId": "e3", "Custom": [1, 2]}
    body = lines(ROW, b"{nonsense", ROW | nan, b"", ROW | custom, ROW | {"x_SnapshotId": "s"})
    answer = api.post("/v1/events", content=body, headers=NDJSON)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert (told["feed"], told["accepted"], told["rejected"]) == ("pushed", 2, 3)
    assert [one["line"] for one in told["rejected_lines"]] == [2, 3, 6]
    assert "not JSON" in told["rejected_lines"][0]["reason"]
    assert "hand it over as a file" in told["rejected_lines"][2]["reason"]
    assert [row["x_EventId"] for row in saved(place)] == ["e1", "e3"]
    letters = [json.loads(line) for line in (place / "dead.ndjson").read_bytes().splitlines()]
    assert [one["row"] for one in letters] == [2, 3, 6]
    assert letters[0]["raw"] == "{nonsense"
    assert [told[:2] for told in TOLD] == [("pushed", 3)]


def test_rows_without_a_name_get_the_same_one_each_time(api, place):
    nameless = {name: value for name, value in ROW.items() if name != "x_EventId"}
    for _ in range(2):
        api.post("/v1/events", content=lines(nameless, nameless), headers=NDJSON)
    names = [row["x_EventId"] for row in saved(place)]
    assert len(names) == 4
    assert names[:2] == names[2:]
    assert names[0] != names[1]


def test_an_array_is_a_batch_too(api, place):
    answer = api.post("/v1/events?feed=pushed", json=[ROW, {"BilledCost": 1}, 7])
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (202, 1, 2)
    assert len(saved(place)) == 1
    assert api.post("/v1/events", json={"a": 1}).status_code == 422
    assert api.post("/v1/events", json=[ROW] * 5000).status_code == 413


def test_a_stream_is_taken_whatever_its_chunks_and_a_line_too_long_is_one_refusal(api, place):
    rows = [ROW | {"x_EventId": f"e{n}"} for n in range(300)]
    long = b'{"ChargeDescription": "' + b"x" * (3 * LARGEST_BODY) + b'"}'
    body = lines(*rows[:150], long, *rows[150:]) + b"\n"

    def drip():
        for at in range(0, len(body), 70_001):
            yield body[at : at + 70_001]

    told = api.post("/v1/events", content=drip(), headers=NDJSON).json()
    assert (told["accepted"], told["rejected"]) == (300, 1)
    assert told["rejected_lines"][0]["line"] == 151
    assert "longer than" in told["rejected_lines"][0]["reason"]
    assert [row["x_EventId"] for row in saved(place)] == [f"e{n}" for n in range(300)]


def test_nothing_is_left_of_a_batch_that_was_too_large_or_that_nobody_ended(api, place):
    row = lines(ROW) + b"\n"

    def endless():
        for _ in range(LARGEST_STREAM // 65536 + 2):
            yield row * (65536 // len(row) + 1)

    answer = api.post("/v1/events", content=endless(), headers=NDJSON)
    assert (answer.status_code, answer.json()["detail"]) == (413, "A body holds at most 16 MiB.")

    def torn():
        yield row * 100
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        api.post("/v1/events", content=torn(), headers=NDJSON)
    assert api.post("/v1/events", content=row, headers=NDJSON).status_code == 202
    assert len(saved(place)) == 1
    assert [path.name[0] for path in (place / "pushed").iterdir()] == ["p"]


def test_what_is_no_batch_is_refused(api, store):
    assert api.post("/v1/events", content=b"x").status_code == 415
    form = api.post("/v1/events", data={"a": "b"})
    assert form.status_code == 415
    gzipped = api.post("/v1/events", content=b"x", headers=NDJSON | {"Content-Encoding": "gzip"})
    assert gzipped.status_code == 415
    other = api.post("/v1/events?feed=other", content=b"", headers=NDJSON)
    assert (other.status_code, "pushed" in other.json()["detail"]) == (422, True)
    none = build_app(
        store=store, history=None, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
        local=Local(None, digest(ADMIN)),
    )  # fmt: skip
    with serve(none) as url:
        headers = NDJSON | {"Authorization": f"Bearer {ADMIN}"}
        assert httpx.post(f"{url}/v1/events", content=b"", headers=headers).status_code == 501
