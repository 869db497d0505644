import gzip
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters.sources import SOURCES
from service.core.events import series_of
from tests.reading import bill, read, write_csv


def one(path, **options):
    result = read(path, **options)
    assert result.rejected == []
    assert len(result.events) == 1
    return result.events[0]


def test_the_header_may_have_a_mark_blanks_other_case_and_underscores(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufeffcharge period start,CHARGE_PERIOD_END, ChargeCategory ,billedcost,x_eventid\n"
        "2024-09-18T22:00:00Z,2024-09-18T23:00:00Z,Usage,1,e1\n"
    )
    event = one(path)
    assert event.billed_cost == 1
    assert event.x_event_id == "e1"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_the_one_that_the_header_uses(tmp_path, delimiter):
    path = tmp_path / "a.csv"
    row = bill()
    path.write_text(delimiter.join(row) + "\n" + delimiter.join(row.values()) + "\n")
    assert one(path).resource_id == "i-1"


def test_a_header_that_names_a_column_twice_refuses_the_file_in_one_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "BilledCost,billed cost,ChargePeriodStart,ChargePeriodEnd,ChargeCategory\n1,2\n"
    )
    result = read(path)
    assert result.reasons == ["the header names 'billedcost' twice"]
    assert result.rejected[0].file == str(path)


def test_a_header_without_a_mandatory_column_refuses_the_file_in_one_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("ChargePeriodStart,ChargePeriodEnd,ChargeCategory\na,b,c\nd,e,f\n")
    assert read(path).reasons == ["the header has no BilledCost"]


def test_unknown_columns_are_dropped_and_versions_1_0_to_1_4_are_told_apart_by_nothing(tmp_path):
    rows = [
        bill(ProviderName="AWS", PublisherName="AWS", Id="11472"),
        bill(
            resource="i-2", ServiceProviderName="AWS", HostProviderName="AWS", InvoiceDetailId="7"
        ),
    ]
    for number, row in enumerate(rows):
        assert one(write_csv(tmp_path / f"{number}.csv", [row])).billed_cost == 1


@pytest.mark.parametrize("null", ["", "NULL", "null"])
def test_null_is_written_in_three_ways(tmp_path, null):
    event = one(write_csv(tmp_path / "a.csv", [bill(RegionId=null, EffectiveCost=null, Tags=null)]))
    assert (event.region_id, event.effective_cost, event.tags) == (None, None, None)


def test_pitfall_11_naive_times_are_utc(tmp_path):
    row = bill(ChargePeriodStart="2024-09-18 22:00:00", ChargePeriodEnd="2024-09-18T23:00Z")
    event = one(write_csv(tmp_path / "a.csv", [row]))
    assert event.charge_period_start == datetime(2024, 9, 18, 22, tzinfo=UTC)
    assert event.grain == "hour"


def test_pitfall_18_decimals_are_exact_down_to_the_last_digit(tmp_path):
    row = bill(BilledCost="0.00000000001", EffectiveCost="35.2E-7", ListCost="$10,000.00 ")
    event = one(write_csv(tmp_path / "a.csv", [row]))
    assert event.billed_cost == Decimal("1E-11")
    assert event.effective_cost == Decimal("0.00000352")
    assert event.list_cost == Decimal(10000)


def test_pitfall_19_ids_that_look_like_numbers_keep_their_zeros(tmp_path):
    row = bill(BillingAccountId="000123", SubAccountId="0042", ResourceId="007", SkuId="1e5")
    event = one(write_csv(tmp_path / "a.csv", [row]))
    assert (event.billing_account_id, event.sub_account_id) == ("000123", "0042")
    assert (event.resource_id, event.sku_id) == ("007", "1e5")


def test_pitfall_13_rows_without_a_resource_do_not_share_one_series(tmp_path):
    rows = [
        bill(resource="", ServiceName="S3", SkuId="a"),
        bill(resource="", ServiceName="S3", SkuId="b"),
    ]
    events = read(write_csv(tmp_path / "a.csv", rows)).events
    assert len({series_of("focus", event) for event in events}) == 2


def test_pitfall_14_many_rows_of_one_resource_all_count(tmp_path):
    rows = [bill(cost=cost, SkuId=sku) for cost, sku in [("1", "vm"), ("2", "disk"), ("2", "disk")]]
    result = read(write_csv(tmp_path / "a.csv", rows))
    assert sum(event.billed_cost for event in result.events) == 5
    assert len({event.x_event_id for event in result.events}) == 3


def test_pitfall_17_a_bill_without_currency_is_of_no_currency(tmp_path):
    row = bill()
    del row["BillingCurrency"]
    assert one(write_csv(tmp_path / "a.csv", [row])).billing_currency == "XXX"


def test_pitfall_7_negative_usage_is_usage(tmp_path):
    assert one(write_csv(tmp_path / "a.csv", [bill(cost="-2.5")])).billed_cost == Decimal("-2.5")


def test_tags_that_cannot_be_read_do_not_cost_the_row(tmp_path):
    event = one(write_csv(tmp_path / "a.csv", [bill(Tags='{"owner": "sea')]))
    assert event.tags == {"unreadable": '{"owner": "sea'}


def test_a_description_that_is_too_long_is_cut(tmp_path):
    assert (
        len(
            one(
                write_csv(tmp_path / "a.csv", [bill(ChargeDescription="x" * 9000)])
            ).charge_description
        )
        == 4096
    )


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"BilledCost": "NaN"}, "BilledCost is not finite"),
        ({"BilledCost": "1e999"}, "BilledCost is out of range"),
        ({"BilledCost": "9" * 400}, "BilledCost is out of range"),
        ({"BilledCost": "about 3"}, "BilledCost 'about 3' is not an amount"),
        ({"BilledCost": ""}, "BilledCost is missing"),
        ({"ChargePeriodStart": "soon"}, "ChargePeriodStart 'soon' is not a time"),
        ({"ChargePeriodEnd": ""}, "ChargePeriodEnd is missing"),
        ({"ChargePeriodEnd": "2024-08-01"}, "ChargePeriodEnd is not after ChargePeriodStart"),
        ({"ResourceId": "x" * 5000}, "Expected `str` of length <= 4096 - at `$.ResourceId`"),
        ({"ChargeCategory": "a\0b"}, "holds a NUL byte"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_place_and_the_rest_is_read(tmp_path, columns, reason):
    path = write_csv(tmp_path / "a.csv", [bill(1), bill(2, **columns), bill(3)])
    result = read(path)
    assert [(item.file, item.row, item.reason) for item in result.rejected] == [
        (str(path), 3, reason)
    ]
    assert result.rejected[0].raw
    assert len(result.events) == 2


def lines_of(path, change):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))
    return path


def test_bytes_that_are_not_utf_8_cost_their_row_only(tmp_path):
    path = write_csv(tmp_path / "a.csv", [bill(1), bill(2), bill(3)])
    lines_of(path, lambda lines: [*lines[:2], lines[2].replace(b"i-1", b"\xff\xfe"), lines[3]])
    result = read(path)
    assert [(item.row, item.reason) for item in result.rejected] == [(3, "is not UTF-8")]
    assert len(result.events) == 2


def test_a_quote_that_is_never_closed_costs_its_row_only(tmp_path):
    path = write_csv(tmp_path / "a.csv", [bill(hour) for hour in range(300)])
    lines_of(path, lambda lines: [*lines[:7], b'"' + lines[7], *lines[8:]])
    result = read(path)
    assert [item.row for item in result.rejected] == [8]
    assert len(result.events) == 299


def test_a_line_of_ten_megabytes_costs_its_row_only(tmp_path):
    path = write_csv(tmp_path / "a.csv", [bill(1), bill(2)])
    lines_of(path, lambda lines: [lines[0], b"x" * 10_000_000 + b"\n", *lines[1:]])
    result = read(path)
    assert [(item.row, len(item.raw)) for item in result.rejected] == [(2, 200)]
    assert len(result.events) == 2


def test_a_row_with_too_few_cells_is_set_aside_and_blank_rows_are_nothing(tmp_path):
    path = write_csv(tmp_path / "a.csv", [bill(1), bill(2)])
    width = path.read_bytes().splitlines()[0].count(b",")
    lines_of(path, lambda lines: [*lines[:2], b"a,b\n", b"\n", b"," * width + b"\n", lines[2]])
    result = read(path)
    assert result.reasons == ["2 cells where the header has 10"]
    assert len(result.events) == 2


def test_an_empty_file_is_one_clear_line(tmp_path):
    path = tmp_path / "a.csv"
    path.touch()
    assert read(path).reasons == ["the file is empty"]


def test_a_header_alone_is_a_bill_of_nothing(tmp_path):
    path = write_csv(tmp_path / "a.csv", [bill()])
    lines_of(path, lambda lines: lines[:1])
    assert read(path).reasons == ["holds nothing to read"]


def test_a_file_of_no_known_format_is_one_clear_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("name,age\nada,36\n")
    (reason,) = read(path).reasons
    known = "; ".join(f"{name} has {source.needs}" for name, source in SOURCES.items())
    assert reason == f"of no known format: {known}"[:500]


def test_an_override_names_the_source_whatever_the_content_says(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("name,age\nada,36\n")
    assert read(path, source="focus").reasons == ["the header has no ChargePeriodStart"]
    with pytest.raises(ValueError, match="no source 'focsu'; there are focus, "):
        read(path, source="focsu")


def test_the_content_decides_not_the_name(tmp_path):
    path = write_csv(tmp_path / "bill.dat", [bill()])
    assert one(path).billed_cost == 1
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert one(path).billed_cost == 1


def test_a_half_written_gzip_is_read_to_the_break_and_changes_nothing(tmp_path):
    path = write_csv(tmp_path / "a.csv", [bill(hour, str(hour)) for hour in range(2000)])
    data = gzip.compress(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    result = read(path)
    assert len(result.rejected) == 1
    assert result.reader.read > 100
    assert result.rejected[0].row == result.reader.read + 1
    assert "cut or damaged" in result.reasons[0]
    assert result.reasons[0].endswith("incomplete, changes nothing")
    assert result.events == []


def test_a_plain_file_that_ends_in_a_row_changes_nothing(tmp_path):
    path = write_csv(tmp_path / "a.csv", [bill(1), bill(2)])
    path.write_bytes(path.read_bytes()[:-40])
    result = read(path)
    assert result.reasons == ["the file ends in the middle of a row: incomplete, changes nothing"]
    assert result.events == []


def test_s18_a_gzip_bomb_is_stopped_early(tmp_path):
    path = write_csv(tmp_path / "a.csv.gz", [bill(1)])
    packer = zlib.compressobj(9, wbits=31)
    with path.open("r+b") as file:
        start = packer.compress(file.read())
        file.seek(0)
        file.write(start)
        for _ in range(300):
            file.write(packer.compress(b"x" * 1_000_000))
        file.write(packer.compress(b"\n") + packer.flush())
    result = read(path)
    assert result.reasons == [
        "longer than 1048576 bytes",
        "gzip that expands more than 200-fold is not read: incomplete, changes nothing",
    ]
    assert (result.reader.read, result.events) == (1, [])


def write_parquet(path, select):
    path.parent.mkdir(parents=True, exist_ok=True)
    duckdb.connect().execute(f"COPY ({select}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    return path


PARQUET_ROW = """
    SELECT TIMESTAMPTZ '2024-09-18 22:00:00+00' AS ChargePeriodStart,
    TIMESTAMP '2024-09-18 23:00:00' AS ChargePeriodEnd, 'Usage' AS ChargeCategory,
    0.1::DECIMAL(38, 17) AS BilledCost, 0.1::DOUBLE AS EffectiveCost, 0.1::FLOAT AS ListCost,
    1e-7::DOUBLE AS ContractedCost, 'USD' AS BillingCurrency,
    MAP {'owner': 'search', 'a"b': 'c'} AS Tags, 42 AS SubAccountId, NULL::VARCHAR AS RegionId,
    '007'::BLOB AS ResourceId, [1, 2] AS x_Unknown
"""


def test_parquet_is_read_exactly_whatever_types_it_has(tmp_path):
    event = one(write_parquet(tmp_path / "BILLING_PERIOD=2024-09" / "a[1]*.parquet", PARQUET_ROW))
    assert event.charge_period_start == datetime(2024, 9, 18, 22, tzinfo=UTC)
    assert event.charge_period_end == datetime(2024, 9, 18, 23, tzinfo=UTC)
    assert event.billed_cost == event.effective_cost == event.list_cost == Decimal("0.1")
    assert event.contracted_cost == Decimal("1E-7")
    assert event.tags == {"owner": "search", 'a"b': "c"}
    assert (event.sub_account_id, event.region_id, event.resource_id) == ("42", None, "007")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(min_value=-1e12, max_value=1e12), min_size=1, max_size=50))
def test_a_double_in_parquet_is_the_number_that_python_writes(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("double") / "a.parquet"
    rows = PARQUET_ROW.replace("0.1::DOUBLE", "value").replace("42 AS", "place AS")
    with duckdb.connect() as db:
        db.execute(
            "CREATE TABLE v AS SELECT unnest(?) AS value, unnest(?) AS place",
            [values, list(range(len(values)))],
        )
        db.execute(f"COPY ({rows} FROM v) TO '{path}' (FORMAT parquet)")
    result = read(path)
    told = {int(event.sub_account_id): event.effective_cost for event in result.events}
    refused = {item.row - 1 for item in result.rejected}
    for index, value in enumerate(values):
        assert told.get(index) == Decimal(repr(value)) or index in refused
    assert all(value and abs(value) < 1e-13 for i, value in enumerate(values) if i in refused)


def test_a_parquet_file_cut_in_two_is_one_clear_line(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", PARQUET_ROW)
    path.write_bytes(path.read_bytes()[:-20])
    result = read(path)
    assert len(result.rejected) == 1
    assert result.reasons[0].startswith("not a sound Parquet file:")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_mangled_parquet_file_raises_nothing(tmp_path_factory, data):
    path = write_parquet(tmp_path_factory.mktemp("p") / "a.parquet", PARQUET_ROW + "FROM range(9)")
    mangled = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        mangled[data.draw(st.integers(4, len(mangled) - 9))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(mangled))
    result = read(path)
    assert result.reader.read + len(result.rejected) > 0
    assert all(reason.isprintable() for reason in result.reasons)


def test_s18_a_parquet_bomb_is_stopped_early(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", PARQUET_ROW + "FROM range(200_000)")
    result = read(path)
    assert result.reasons == [
        "Parquet with more rows than bytes is not read: incomplete, changes nothing"
    ]
    assert result.reader.read < 20_000
    assert result.events == []


MEASURED = """
import resource, sys
from pathlib import Path
from service.adapters.sources import SOURCES
from service.adapters.sources.base import Flaw
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
flaws = [item for item in SOURCES["focus"].read(Path(sys.argv[1])) if isinstance(item, Flaw)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(flaws), flaws[0].reason)
"""


def test_s18_wide_cells_of_a_small_parquet_file_take_no_memory_and_are_refused(tmp_path):
    few = PARQUET_ROW.replace("'007'::BLOB AS ResourceId", "repeat('x', 1_000_000) AS ResourceId")
    path = write_parquet(tmp_path / "a.parquet", few + "FROM range(1000)")
    assert path.stat().st_size < 50_000
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True
    )
    kibibytes, flaws, reason = run.stdout.strip().split(maxsplit=2)
    assert (flaws, reason) == ("1000", "longer than 65536 bytes")
    assert int(kibibytes) < 200_000
