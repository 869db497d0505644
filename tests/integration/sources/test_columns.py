"""What is read in columns is what is read row by row, to the last line number and reason."""

import csv
import io
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.adapters.sources import SOURCES, blocks, tables
from service.adapters.sources.base import BrokenFileError, Flaw, Row
from service.adapters.sources.gcp_lines import Line
from service.adapters.sources.plan import Plan
from tests.golden import DATA, sample_of
from tests.reading import write_csv

TABLES = ("focus", "aws_cur", "azure", "oci")
CELLS = st.sampled_from([
    "", "NULL", "null", "0", "-0", "1.50", "35.2E-7", "1e999", "NaN", "$10,000.00 ", "(3)", "abc",
    "0." + "1" * 31, "9" * 16, "1" * 15 + "." + "1" * 30, "0E+400", " Usage ", "usage", "Usage",
    "correction", "usd", " USD", "XXX", "2026-03-04T10:00:00Z", "2026-03-04 10:00:00+02:00",
    "9999-12-31", "1999-01-01", "03/05/2026", "{", "x" * 5000,
    '{"owner": "a", " b": [1]}', '"a": "b"',
    "i-ü", "\N{LINE SEPARATOR}", "a\nb", 'say "no"', "RIFee", "Fee", "Refund", "Tax",
    "SavingsPlanCoveredUsage", "SavingsPlanRecurringFee", "USE1-Nova2.0Lite-input-tokens",
    "1K tokens", "100 Hours", "gpt 4.1 mini Inp glbl Tokens", "UnusedReservation", "true",
])  # fmt: skip


def found(source, path):
    items, reason = [], None
    try:
        items.extend(SOURCES[source].read(path))
    except BrokenFileError as error:
        reason = error.flaw
    return items, reason


def found_singly(source, path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "events", lambda *_: None)
        patch.setattr(tables, "parsed", lambda *_: None)
        return found(source, path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("columns") / "bill.csv"


@pytest.mark.parametrize("source", TABLES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_columns_say_what_rows_say(source, data, path):
    with sample_of(source).open(newline="", encoding="utf-8-sig") as file:
        header, *rows = csv.reader(file)
    rows = rows[:6]
    for _ in range(data.draw(st.integers(0, 4))):
        row = data.draw(st.integers(0, len(rows) - 1))
        rows[row] = list(rows[row])
        rows[row][data.draw(st.integers(0, len(header) - 1))] = data.draw(CELLS)
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    path.write_text(text.getvalue(), newline="")
    assert found(source, path) == found_singly(source, path)


PIECES = st.sampled_from([
    '"', '""', ",", "\n", "\r\n", "\r", "\0", " ", "2026-03-04", "2026-03-05", "Usage", "1", "é",
    '"1"', '",', ',"', '"\n', "\n\n", ";", "2026-03-04,2026-03-05,Usage,1\n",
])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(PIECES, max_size=40), size=st.sampled_from([40, 64, 1 << 20]))
@example(pieces=['2026-03-04,2026-03-05,"Us', "\n", 'age",1'], size=40)
def test_whatever_quotes_and_line_ends_a_file_has_its_rows_are_the_same(pieces, size, path):
    path.write_bytes(
        ("ChargePeriodStart,ChargePeriodEnd,ChargeCategory,BilledCost\n" + "".join(pieces)).encode()
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", size)
        assert found("focus", path) == found_singly("focus", path)


def test_a_bad_row_among_many_blocks_is_refused_alone_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4096)
    good = {
        "ChargePeriodStart": "2026-03-04",
        "ChargePeriodEnd": "2026-03-05",
        "ChargeCategory": "Usage",
        "BilledCost": "1",
    }
    rows = [good | {"BilledCost": "much" if at == 700 else str(at)} for at in range(1000)]
    items, _ = found("focus", write_csv(tmp_path / "bill.csv", rows))
    [flaw] = [item for item in items if isinstance(item, Flaw)]
    assert (flaw.number, flaw.reason) == (702, "BilledCost 'much' is not an amount")
    assert [item.number for item in items if isinstance(item, Row)] == [
        at + 2 for at in range(1000) if at != 700
    ]


HEADER = b"ChargePeriodStart,ChargePeriodEnd,ChargeCategory,BilledCost,ResourceId\n"
GOOD = b"2026-03-04,2026-03-05,Usage,1,"
ODD = {
    "quoted": (b'%s"a, ""b"""\n' % GOOD, ['a, "b"'], []),
    "a quote within a cell": (b'%sa"b\n' % GOOD, ['a"b'], []),
    "a quote that is never closed": (b'%s"a\n%sb\n' % (GOOD, GOOD), [f"a\n{GOOD.decode()}b\n"], []),
    "a cell of two lines": (b'%s"a\nb"\n%sc\n' % (GOOD, GOOD), ["a\nb", "c"], []),
    "empty lines": (b"\n%sa\n\n\n%sb\n" % (GOOD, GOOD), ["a", "b"], []),
    "cells that are all empty": (b"%sa\n,,,,\n%sb\n" % (GOOD, GOOD), ["a", "b"], []),
    "a carriage return alone": (b"%sa\r%sb\n" % (GOOD, GOOD), [], [2]),
    "lines of Windows": (b"%sa\r\n%sb\r\n" % (GOOD, GOOD), ["a", "b"], []),
    "a NUL": (b"%sa\0\n%sb\n" % (GOOD, GOOD), ["b"], [2]),
    "not UTF-8": (b"%s\xff\n%sb\n" % (GOOD, GOOD), ["b"], [2]),
    "too few cells": (b"2026-03-04,2026-03-05\n%sb\n" % GOOD, ["b"], [2]),
    "too many cells": (b"%sa,b\n%sb\n" % (GOOD, GOOD), ["b"], [2]),
    "empty cells too many": (b"%sa,,\n%sb\n" % (GOOD, GOOD), ["a", "b"], []),
    "no end of the last line": (b"%sa\n%sb" % (GOOD, GOOD), ["a", "b"], []),
    "a bad amount": (b"%sa\n%sb\n" % (GOOD.replace(b",1,", b",x,"), GOOD), ["b"], [2]),
}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("odd", ODD)
def test_what_readers_of_csv_disagree_on_is_read_the_same_way_in_columns(odd, mark, tmp_path):
    body, resources, refused = ODD[odd]
    path = tmp_path / "bill.csv"
    path.write_bytes(mark + HEADER + body)
    items, reason = found("focus", path)
    assert (items, reason) == found_singly("focus", path)
    assert reason is None
    events = [item.event for item in items if isinstance(item, Row)]
    assert [event.resource_id for event in events] == resources
    assert [item.number for item in items if isinstance(item, Flaw)] == refused


def test_a_header_that_names_a_column_twice_is_refused(tmp_path):
    path = tmp_path / "bill.csv"
    path.write_bytes(HEADER.replace(b"ResourceId", b"Billed_Cost") + GOOD + b"2\n")
    items, reason = found("focus", path)
    assert (items, reason.reason) == ([], "the header names 'billedcost' twice")


LINES = sample_of("gcp").read_bytes().splitlines()
JSON_PIECES = st.sampled_from([
    b"null", b'""', b"1", b"-0.0", b"1e999", b"1E+2", b'"1.50"', b"1e-33", b"0e-40", b"NaN", b"[]",
    b"{}", b"[{}]", b'"x"', b'"2026-03-04T10:00:00+09:00"', b'"soon"', b'"202613"', b'"202602"',
    b'{"month":"202602"}', b'{"id":"adj"}', b'{"amount":"1"}', b'[{"amount":-1.5}]',
    b'[{"key":"a"}]',
    b'[{"amount":1e40}]', b'"Commitment"', b'"\xff"', b'"\\u00fc"', b"9" * 60, b"{", b"}\n{", b"\n",
    b'{"id":1}', b'{"description":"Commitment v1"}', b'"tax"', b"\xef\xbb\xbf", b"{}{}", b"}{",
])  # fmt: skip
KEYS = [b'"%s":' % name.encode() for name in Line.__struct_fields__]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_google_clouds_lines_say_in_columns_what_they_say_alone(data, tmp_path_factory):
    rows = list(LINES)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(rows) - 1))
        key, piece = data.draw(st.sampled_from(KEYS)), data.draw(JSON_PIECES)
        begin = rows[at].find(key) + len(key)
        end = begin + data.draw(st.sampled_from([0, *_ends(rows[at], begin)]))
        rows[at] = rows[at][:begin] + piece + rows[at][end:]
    path = tmp_path_factory.getbasetemp() / "bill.ndjson"
    path.write_bytes(data.draw(st.sampled_from([b"\n", b"\r\n"])).join(rows) + b"\n")
    assert repr(found("gcp", path)) == repr(found_singly("gcp", path))


def _ends(line, begin):
    """Return how long what stands at a place is, when it is JSON."""
    try:
        _, end = json.JSONDecoder().raw_decode(line[begin:].decode())
    except ValueError:
        return []
    return [end]


@pytest.mark.parametrize(
    "body",
    [
        b"%s %s\n{\n}\n" % (LINES[0], LINES[1]),
        b"%s%s\n%s\n" % (LINES[0], LINES[1], LINES[2]),
        b"%s\n\n%s\n" % (LINES[0], LINES[1]),
        b"\xef\xbb\xbf%s\n%s\n" % (LINES[0], LINES[1]),
        b"%s\r%s\n" % (LINES[0], LINES[1]),
        b"%s\n%s" % (LINES[0], LINES[1]),
    ],
)
def test_only_a_line_that_is_one_object_is_a_row_of_google_clouds(body, tmp_path):
    path = tmp_path / "bill.ndjson"
    path.write_bytes(body)
    assert repr(found("gcp", path)) == repr(found_singly("gcp", path))


def test_of_a_key_that_a_line_has_twice_the_last_counts(tmp_path):
    path = tmp_path / "bill.ndjson"
    path.write_bytes(LINES[0].replace(b"{", b'{"currency":"EUR",', 1) + b"\n")
    [row] = found("gcp", path)[0]
    assert row.event.billing_currency == "USD"


def test_amounts_that_cannot_be_added_exactly_are_refused(tmp_path):
    row = {
        "lineItem/LineItemType": "SavingsPlanRecurringFee",
        "lineItem/UsageStartDate": "2026-03-04T10:00:00Z",
        "lineItem/UsageEndDate": "2026-03-04T11:00:00Z",
        "lineItem/UnblendedCost": "1",
        "savingsPlan/TotalCommitmentToDate": "1e999",
        "savingsPlan/UsedCommitment": "1",
    }
    [flaw], reason = found("aws_cur", write_csv(tmp_path / "bill.csv", [row]))
    assert reason is None
    assert flaw.reason == (
        "what BilledCost and EffectiveCost and CommitmentDiscountStatus follow from"
        " is not finite or out of range"
    )


SOUND = {
    "focus": DATA / "billing" / "focus_1.0_sample_1000.csv",
    "aws_cur": DATA / "native" / "aws_cur_legacy_sample.csv.gz",
    "azure": DATA / "native" / "azure_ea_actual_cost_small.csv",
    "oci": DATA / "native" / "oci_cost_report_sample_redacted.csv.gz",
}


@pytest.mark.parametrize("source", SOUND)
def test_a_sound_file_is_read_in_columns(source, monkeypatch):
    expected = found_singly(source, SOUND[source])
    monkeypatch.setattr("service.adapters.sources.formats._row", lambda *_: pytest.fail("by rows"))
    assert found(source, SOUND[source]) == expected
