import gzip
import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from service.adapters.sources import SnapshotBook, deliveries
from tests.reading import bill, iso, read, write_csv, write_ndjson

NOW = datetime(2024, 11, 1, tzinfo=UTC)


def hours(result):
    return sorted(event.charge_period_start.hour for event in result.events)


def test_a_folder_is_walked_in_order_and_what_is_not_a_bill_is_skipped_with_a_line(tmp_path):
    write_csv(tmp_path / "b" / "1.csv", [bill(1)])
    write_ndjson(tmp_path / "a.jsonl", [bill(2)])
    write_csv(tmp_path / ".hidden.csv", [bill(3)])
    write_csv(tmp_path / "_tmp" / "4.csv", [bill(4)])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "people.csv").write_text("name,age\nada,36\n")
    result = read(tmp_path)
    assert hours(result) == [1, 2]
    assert result.rejected == []
    assert [note.split(": ", 1)[1] for note in result.notes] == [
        "not .csv, .parquet, .ndjson, .jsonl, .json, .prom, nor one of these gzipped: skipped",
        "of no known format: skipped",
    ]


@pytest.mark.parametrize("names", [[], ["notes.txt"], [".hidden.csv"]])
def test_a_folder_without_anything_to_read_is_one_clear_line(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("hello")
    assert read(tmp_path).reasons == ["holds nothing to read"]


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path):
    missing = tmp_path / "missing.csv"
    result = read(missing, write_csv(tmp_path / "b.csv", [bill(1)]))
    assert [(item.file, item.reason) for item in result.rejected] == [
        (str(missing), "cannot be read: No such file or directory")
    ]
    assert hours(result) == [1]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\udcff"], ids=["long", "nul", "bytes"])
def test_a_name_that_no_file_can_have_is_one_clear_line(tmp_path, name):
    result = read(tmp_path / name)
    assert len(result.rejected) == 1
    assert result.rejected[0].file.encode()


def test_a_name_that_is_not_utf_8_is_read_like_any_other(tmp_path):
    path = write_csv(tmp_path / os.fsdecode(b"caf\xe9.csv"), [bill(1)])
    for place in (path, tmp_path):
        assert hours(read(place)) == [1]


def test_what_is_not_a_file_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    assert read(pipe).reasons == ["is not a regular file"]
    assert read(tmp_path).reasons == ["holds nothing to read"]


@pytest.mark.parametrize(
    "names",
    [
        ["part-0001.csv", "part-0002.csv"],
        ["part_0_0001.csv", "part_1_0001.csv"],
        ["focus-00001.csv", "focus-00002.csv"],
        ["focus_00001.csv", "focus_00002.csv"],
        ["000000000000.csv", "000000000001.csv"],
    ],
)
@pytest.mark.parametrize("by_name", [False, True])
def test_parts_are_one_delivery(tmp_path, names, by_name):
    files = [
        write_csv(tmp_path / "bill" / name, [bill(1, cost=str(n)), bill(2, resource=name)])
        for n, name in enumerate(names)
    ]
    result = read(*files) if by_name else read(tmp_path)
    assert hours(result) == [1, 1, 2, 2]
    assert {event.x_revision for event in result.events} == {0}


def test_dates_are_not_part_numbers(tmp_path):
    write_csv(tmp_path / "export_20240901.csv", [bill(1, "1")])
    write_csv(tmp_path / "export_20240902.csv", [bill(1, "2")])
    assert sorted(event.x_revision for event in read(tmp_path).events) == [0, 1]


def test_a_part_that_is_cut_makes_the_whole_delivery_change_nothing(tmp_path):
    write_csv(tmp_path / "part-1.csv", [bill(1)])
    cut = write_csv(tmp_path / "part-2.csv.gz", [bill(2)])
    cut.write_bytes(gzip.compress(cut.read_bytes())[:-4])
    cut.rename(tmp_path / "part-2.csv")
    result = read(tmp_path)
    assert (result.events, len(result.rejected)) == ([], 1)


def aws(folder, month, names, *, manifest=True, run="9b2c"):
    """Lay out an AWS data export: data files under data/, their manifest under metadata/."""
    prefix = f"finops/bills/data/BILLING_PERIOD={month}"
    if manifest:
        path = folder / "metadata" / f"BILLING_PERIOD={month}" / "bills-Manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = [f"s3://bucket/{prefix}/{name}" for name in names]
        path.write_text(json.dumps({"executionId": run, "dataFiles": keys}))
    return folder / "data" / f"BILLING_PERIOD={month}"


def test_pitfall_2_files_are_read_through_their_manifest_and_not_before_it(tmp_path):
    names = ["bills-00001.csv", "bills-00002.csv"]
    data = aws(tmp_path, "2024-09", names)
    write_csv(data / names[0], [bill(1)])
    result = read(tmp_path)
    assert result.events == []
    assert "bills-00002.csv', which is not there: incomplete, changes nothing" in result.reasons[0]
    write_csv(data / names[1], [bill(2)])
    assert hours(read(tmp_path)) == [1, 2]
    write_csv(aws(tmp_path, "2024-10", names, manifest=False) / names[0], [bill(3)])
    result = read(tmp_path)
    assert hours(result) == [1, 2]
    assert "no manifest" in result.notes[0]


def test_a_manifest_can_be_named_itself(tmp_path):
    write_csv(aws(tmp_path, "2024-09", ["a.csv"]) / "a.csv", [bill(1)])
    path = tmp_path / "metadata" / "BILLING_PERIOD=2024-09" / "bills-Manifest.json"
    assert hours(read(path)) == [1]


def azure(folder, run, submitted, rows):
    """Lay out an Azure export that keeps every run."""
    place = folder / "20240901-20240930" / run
    write_csv(place / "part_0_0001.csv", rows)
    blob = f"exports/focus/20240901-20240930/{run}/part_0_0001.csv"
    manifest = {
        "runInfo": {"runId": run, "submittedTime": submitted},
        "blobs": [{"blobName": blob, "byteCount": 1}],
    }
    (place / "manifest.json").write_text(json.dumps(manifest))


def test_pitfall_1_a_month_that_azure_delivers_every_day_counts_once(tmp_path):
    rows = [bill(1, "1"), bill(2, "2")]
    azure(tmp_path, "c-first", "2024-09-02T01:00:00.1234567Z", rows)
    azure(tmp_path, "b-second", "2024-09-03T01:00:00Z", [*rows, bill(3, "3")])
    azure(tmp_path, "a-third", "2024-09-04T01:00:00Z", [bill(1, "5"), bill(2, "2"), bill(3, "3")])
    result = read(tmp_path)
    told = [(e.charge_period_start.hour, int(e.billed_cost), e.x_revision) for e in result.events]
    assert sorted(told) == [(1, 1, 0), (1, 5, 1), (2, 2, 0), (3, 3, 0)]
    total = result.reader.totals["focus", "USD", "Usage"]
    assert (total.rows, total.billed_cost) == (8, 1 + 2 + 1 + 2 + 3 + 5 + 2 + 3)


def test_in_live_rows_arrive_when_their_manifest_was_made(tmp_path):
    azure(tmp_path, "run", "2024-09-02T01:00:00Z", [bill(1)])
    arrival = read(tmp_path, mode="live").arrivals[0]
    assert iso(arrival.arrived_at) == "2024-09-02T01:00:00Z"


def test_in_live_rows_arrive_when_their_file_changed_and_never_in_the_future(tmp_path):
    path = write_csv(tmp_path / "a.csv", [bill(1)])
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    assert read(path, mode="live").arrivals[0].arrived_at == NOW
    early = NOW - timedelta(days=1)
    assert read(path, mode="live", now=lambda: early).arrivals[0].arrived_at == early


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"dataFiles": 3}', '{"dataFiles": [3, "", "a\\u0000b"]}']
)
def test_a_manifest_that_names_nothing_is_skipped_with_a_line(tmp_path, text):
    (tmp_path / "x-Manifest.json").write_text(text)
    write_csv(tmp_path / "a.csv", [bill(1)])
    result = read(tmp_path)
    assert hours(result) == [1]
    assert "not a manifest that names data files: skipped" in result.notes[0]


@pytest.mark.parametrize("key", ["../outside.csv", "s3://bucket/../../outside.csv", "/outside.csv"])
def test_a_manifest_reaches_nothing_outside_its_folder(tmp_path, key):
    write_csv(tmp_path / "outside.csv", [bill(1)])
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "manifest.json").write_text(json.dumps({"blobs": [{"blobName": key}]}))
    result = read(inside)
    assert (result.events, len(result.rejected)) == ([], 1)


def found(folder, book, now=NOW):
    notes = []
    return deliveries(folder, book=book, now=now, note=notes.append), notes


def age(path, seconds=60):
    at = NOW.timestamp() - seconds
    os.utime(path, (at, at))
    return path


def test_a_delivery_is_new_until_it_is_acknowledged_and_again_when_its_content_changes(tmp_path):
    folder = tmp_path / "bills"
    with SnapshotBook(tmp_path / "book") as book:
        for cost, events in [("1", 1), ("2", 1), ("1", 1)]:
            age(write_csv(folder / "bill.csv", [bill(1, cost)]), seconds=60 + int(cost))
            [delivery], _ = found(folder, book)
            assert found(folder, book)[0] == [delivery]
            result = read(delivery, book=book, mode="live")
            assert len(result.events) == events
            result.reader.acknowledge()
            assert found(folder, book)[0] == []
    with SnapshotBook(tmp_path / "book") as book:
        assert found(folder, book)[0] == []


def test_a_delivery_has_the_same_id_wherever_it_lies(tmp_path):
    ids = set()
    for place in ("a", "b"):
        age(write_csv(tmp_path / place / "bill.csv", [bill(1)]))
        with SnapshotBook(tmp_path / f"book-{place}") as book:
            [delivery], _ = found(tmp_path / place, book)
            ids.add(delivery.delivery_id)
    assert len(ids) == 1


def test_half_written_deliveries_are_left_alone(tmp_path):
    folder = tmp_path / "bills"
    age(write_csv(folder / "whole.csv", [bill(1)]))
    age(write_csv(folder / "fresh.csv", [bill(2)]), seconds=1)
    cut = write_csv(folder / "cut.csv.gz", [bill(3)])
    cut.write_bytes(gzip.compress(cut.read_bytes())[:-4])
    age(cut)
    parquet = folder / "cut.parquet"
    parquet.write_bytes(b"PAR1" + b"\0" * 100)
    age(parquet)
    with SnapshotBook(tmp_path / "book") as book:
        ready, notes = found(folder, book)
        assert [delivery.name for delivery in ready] == ["whole.csv"]
        assert len(notes) == 3
        ready, _ = found(folder, book, NOW + timedelta(minutes=1))
        assert [delivery.name for delivery in ready] == ["fresh.csv", "whole.csv"]


def test_a_manifest_without_its_files_is_left_alone(tmp_path):
    folder = tmp_path / "bills"
    data = aws(folder, "2024-09", ["a-00001.csv", "a-00002.csv"])
    age(write_csv(data / "a-00001.csv", [bill(1)]))
    with SnapshotBook(tmp_path / "book") as book:
        ready, notes = found(folder, book)
        assert (ready, len(notes)) == ([], 1)
        age(write_csv(data / "a-00002.csv", [bill(2)]))
        [delivery], _ = found(folder, book)
        assert hours(read(delivery, book=book, mode="live")) == [1, 2]
