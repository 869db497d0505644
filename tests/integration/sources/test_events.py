import gzip
import json
from decimal import Decimal

import pytest

from tests.reading import bill, iso, read, write_ndjson


def test_pitfall_3_rows_without_a_name_are_named_by_their_content_and_turn(tmp_path):
    rows = [bill(1), bill(1), bill(2)]
    first = read(write_ndjson(tmp_path / "a.ndjson", rows))
    again = read(write_ndjson(tmp_path / "b.ndjson", rows))
    names = [event.x_event_id for event in first.events]
    assert len(set(names)) == 3
    assert names == [event.x_event_id for event in again.events]


def test_the_order_of_keys_and_the_time_of_arrival_are_no_part_of_an_identity(tmp_path):
    row = bill(1)
    turned = dict(reversed(row.items()))
    rows = [row, turned | {"x_ArrivedAt": "2024-09-03T00:00:00Z"}]
    names = [
        read(write_ndjson(tmp_path / f"{n}.ndjson", [row])).events[0].x_event_id
        for n, row in enumerate(rows)
    ]
    assert names[0] == names[1]


def test_amounts_that_differ_in_the_last_digit_are_different_rows(tmp_path):
    rows = [bill(1, "0.10000000000000000001"), bill(1, "0.10000000000000000002")]
    path = tmp_path / "a.ndjson"
    path.write_text("".join(json.dumps(row).replace('"0.1', "0.1").replace('1", "E', '1, "E')
                            .replace('2", "E', '2, "E').replace('1", "B', '1, "B')
                            .replace('2", "B', '2, "B') + "\n" for row in rows))  # fmt: skip
    result = read(path)
    assert result.rejected == []
    assert {event.x_event_id.split("-")[1] for event in result.events} == {"0"}
    assert [event.billed_cost for event in result.events] == [
        Decimal("0.10000000000000000001"), Decimal("0.10000000000000000002"),
    ]  # fmt: skip


def test_a_name_a_revision_and_an_arrival_of_its_own_are_kept(tmp_path):
    row = bill(x_EventId="e", x_Revision=3, x_ArrivedAt="2024-09-02T03:00:00+02:00")
    arrival = read(write_ndjson(tmp_path / "a.ndjson", [row])).arrivals[0]
    assert (arrival.event.x_event_id, arrival.event.x_revision) == ("e", 3)
    assert iso(arrival.arrived_at) == "2024-09-02T01:00:00Z"


def test_in_replay_a_row_arrives_when_its_charge_period_ends(tmp_path):
    arrival = read(write_ndjson(tmp_path / "a.ndjson", [bill(5)])).arrivals[0]
    assert arrival.arrived_at == arrival.event.charge_period_end


BASE = json.dumps(bill())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "is not JSON"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "Object missing required field `ChargePeriodStart`"),
        (BASE[:-1], "is not JSON"),
        (BASE.replace('"1"', "NaN"), "is not JSON"),
        (BASE.replace('"1"', '"NaN"'), "BilledCost is not finite"),
        (BASE.replace('"1"', "1e999"), "BilledCost is out of range"),
        (BASE.replace('"1"', "9" * 6000), "BilledCost is out of range"),
        (BASE.replace('"1"', "true"), "Expected `decimal`, got `bool`"),
        (BASE.replace("00Z", "00", 1), "Expected `datetime` with a timezone component"),
        (BASE.replace("2024", "1024"), "ChargePeriodStart is outside 2000 to 2199"),
        (BASE.replace("2024-09-01T00:00:00Z", "0001-01-01T00:00:00+23:00"), "ChargePeriod"),
        (BASE[:-1] + ', "Tags": {"a": {"b": 1}}}', "Expected `bool | int | float | str | null`"),
        (BASE[:-1] + ', "Tags": {"a": 1e999}}', "Number out of range"),
        (BASE[:-1] + ', "x_Revision": -1}', "Expected `int` >= 0"),
        (BASE[:-1] + ', "x_Revision": 9007199254740993}', "Expected `int` <="),
        (BASE[:-1] + ', "deep": ' + "[" * 100_000 + "]" * 100_000 + "}", "is nested too deeply"),
        (BASE.replace("i-1", "\\ud800"), "is not JSON"),
        (BASE.replace("i-1", "x" * 5000), "Expected `str` of length <= 4096"),
        (BASE.replace("i-1", "x" * 10_000_000), "longer than 1048576 bytes"),
        (BASE.replace("i-1", "a\0b"), "is not JSON"),
    ],
)  # fmt: skip
def test_s19_a_bad_line_is_set_aside_with_its_place_and_the_rest_is_read(tmp_path, line, reason):
    path = tmp_path / "a.ndjson"
    path.write_text(json.dumps(bill(1)) + "\n" + line + "\n" + json.dumps(bill(2)) + "\n")
    result = read(path)
    assert [(item.file, item.row) for item in result.rejected] == [(str(path), 2)]
    assert reason in result.reasons[0]
    assert "\n" not in result.reasons[0]
    assert result.rejected[0].raw == line.encode()[:200]
    assert len(result.events) == 2


def test_bytes_that_are_not_utf_8_are_set_aside(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(BASE.encode() + b"\n" + BASE.encode().replace(b"i-1", b"\xff") + b"\n")
    result = read(path)
    assert result.reasons == ["is not UTF-8"]
    assert len(result.events) == 1


def test_of_a_key_that_is_there_twice_the_last_counts(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text(BASE[:-1] + ', "BilledCost": "7"}\n')
    assert read(path).events[0].billed_cost == 7


def test_a_first_line_in_damage_does_not_hide_what_the_file_is(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text("{half\n\n\n" + BASE + "\n")
    result = read(path)
    assert (len(result.events), len(result.rejected)) == (1, 1)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert len(read(path).events) == 1


def test_of_a_half_written_gzip_the_rows_before_the_break_count(tmp_path):
    path = tmp_path / "a.ndjson.gz"
    rows = "".join(json.dumps(bill(hour, str(hour))) + "\n" for hour in range(3000))
    path.write_bytes(gzip.compress(rows.encode())[:-3000])
    result = read(path)
    assert len(result.rejected) == 1
    assert "cut or damaged" in result.reasons[0]
    assert result.rejected[0].row == result.reader.read == len(result.events) > 100


def snapshot(name, *rows):
    return [row | {"x_SnapshotId": name} for row in rows]


def done(name, rows):
    return {"x_SnapshotId": name, "complete": True, "rows": rows}


def test_a_later_snapshot_supersedes_the_earlier_one_as_a_whole(tmp_path):
    rows = [
        *snapshot("1", bill(1, "1"), bill(2, "2"), bill(3, "3")), done("1", 3),
        *snapshot("2", bill(2, "5"), bill(4, "4")), done("2", 2),
    ]  # fmt: skip
    result = read(write_ndjson(tmp_path / "a.ndjson", rows))
    assert result.rejected == []
    last = {}
    for event in sorted(result.events, key=lambda event: event.x_revision):
        last[event.charge_period_start.hour] = (event.billed_cost, event.x_revision)
    assert last == {1: (0, 1), 2: (5, 1), 3: (0, 1), 4: (4, 0)}


def test_a_snapshot_whose_rows_are_not_all_there_changes_nothing(tmp_path):
    rows = [*snapshot("1", bill(1)), done("1", 1), *snapshot("2", bill(1, "9")), done("2", 2)]
    result = read(write_ndjson(tmp_path / "a.ndjson", rows))
    assert result.reasons == ["snapshot '2' has 1 of 2 rows: incomplete, changes nothing"]
    assert [event.billed_cost for event in result.events] == [1]
    assert result.reader.read == 2


def test_a_snapshot_ends_with_its_file_unless_the_file_is_cut(tmp_path):
    path = write_ndjson(tmp_path / "a.ndjson", snapshot("1", bill(1)))
    assert len(read(path).events) == 1
    path.write_bytes(gzip.compress(path.read_bytes())[:-6])
    assert read(path).events == []


def test_a_snapshot_that_was_completed_before_the_break_counts(tmp_path):
    rows = [*snapshot("1", bill(1)), done("1", 1)]
    filler = snapshot("2", *(bill(hour, str(hour)) for hour in range(1, 3000)))
    path = write_ndjson(tmp_path / "a.ndjson", rows + filler)
    path.write_bytes(gzip.compress(path.read_bytes())[:-2000])
    assert [event.billed_cost for event in read(path).events] == [1]


def test_an_empty_name_is_no_name(tmp_path):
    row = bill(ResourceId="", SubAccountId="", RegionId="", SkuId="S")
    (event,) = read(write_ndjson(tmp_path / "a.ndjson", [row])).events
    assert (event.resource_id, event.sub_account_id, event.region_id) == (None, None, None)
    assert event.sku_id == "S"
