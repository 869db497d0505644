import os
import signal
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters import history as module
from service.adapters.history import History
from service.core.ledger import LedgerRow

START = datetime(2026, 1, 31, 22, tzinfo=UTC)
ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
KEY = "aws/1/i-1/USD/hour"


def a_row(hour=0, cost="1", version=1, key=KEY, category="Usage"):
    start = START + timedelta(hours=hour)
    return LedgerRow(key, start, start + timedelta(hours=1), category, Decimal(cost), version)


@pytest.fixture
def history(tmp_path):
    opened = History(tmp_path / "history")
    yield opened
    opened.close()


def segments(tmp_path):
    return sorted((tmp_path / "history").glob("*/*.parquet"))


def test_rows_are_read_before_they_are_flushed_and_after_and_by_a_newcomer(history, tmp_path):
    rows = [a_row(hour, f"0.{hour + 1}") for hour in range(5)]
    history.append(rows)
    assert history.series(KEY, *ALWAYS) == rows
    assert segments(tmp_path) == []
    history.flush()
    assert history.series(KEY, *ALWAYS) == rows
    newcomer = History(tmp_path / "history")
    assert newcomer.series(KEY, *ALWAYS) == rows
    newcomer.close()


def test_a_window_begins_with_its_start_and_ends_before_its_end(history):
    history.append([a_row(hour) for hour in range(4)])
    history.flush()
    history.append([a_row(hour) for hour in range(4, 8)])
    found = history.series(KEY, START + timedelta(hours=1), START + timedelta(hours=6))
    assert [row.charge_period_start for row in found] == [
        START + timedelta(hours=hour) for hour in range(1, 6)
    ]
    abroad = START.astimezone(datetime.strptime("+0530", "%z").tzinfo)
    assert len(history.series(KEY, abroad, abroad + timedelta(hours=3))) == 3


def test_months_are_kept_apart_and_read_together(history, tmp_path):
    history.append([a_row(hour) for hour in range(4)])
    history.flush()
    assert [file.parent.name for file in segments(tmp_path)] == ["2026-01", "2026-02"]
    assert len(history.series(KEY, *ALWAYS)) == 4


@pytest.mark.parametrize(
    "cost",
    [
        "999999999999999.000000000000000000000000000001",
        "-35.2E-7",
        "1E-30",
        "0",
        "123456789012345678901234567890.123456789012345678901234567891",
    ],
)
def test_money_comes_back_to_the_last_digit(history, cost):
    history.append([a_row(cost=cost)])
    history.flush()
    (row,) = history.series(KEY, *ALWAYS)
    assert row.cost == Decimal(cost)


@pytest.mark.parametrize("key", ["a'b/1/;DROP/USD/hour", "ü/☃/\x00/USD/day", "/////", "x" * 9000])
def test_any_text_is_a_key(history, key):
    history.append([a_row(key=key)])
    history.flush()
    assert [row.series for row in history.series(key, *ALWAYS)] == [key]
    assert history.series(key + "x", *ALWAYS) == []


def test_a_folder_may_have_any_name(tmp_path):
    history = History(tmp_path / "it's [a] {folder} *")
    history.append([a_row()])
    history.flush()
    assert len(history.series(KEY, *ALWAYS)) == 1
    history.close()


def test_the_same_rows_written_twice_leave_one_segment(history, tmp_path):
    rows = [a_row(hour) for hour in range(2)]
    history.append(rows)
    history.flush()
    before = segments(tmp_path)
    history.append(list(reversed(rows)))
    history.flush()
    assert segments(tmp_path) == before


def test_flushing_often_does_not_pile_up_segments(history, tmp_path):
    for version in range(3 * module.MOST_SMALL):
        history.append([a_row(cost=str(version), version=version)])
        history.flush()
    assert len(segments(tmp_path)) <= module.MOST_SMALL
    history.compact()
    assert len(segments(tmp_path)) == 1
    assert [row.cost for row in history.series(KEY, *ALWAYS)] == [3 * module.MOST_SMALL - 1]


def test_a_full_buffer_is_written_by_itself(history, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BUFFERED_ROWS", 10)
    history.append([a_row(0, version=version) for version in range(9)])
    assert segments(tmp_path) == []
    history.append([a_row(1)])
    assert len(segments(tmp_path)) == 1
    history.append([a_row(1, key=f"s{number}") for number in range(9)])
    assert len(segments(tmp_path)) == 1


def test_rows_that_cannot_be_written_wait_on(history, tmp_path):
    history.append([a_row(0)])
    in_the_way = tmp_path / "history" / "2026-01"
    in_the_way.write_text("not a folder")
    with pytest.raises(OSError, match="2026-01"):
        history.flush()
    assert history.series(KEY, *ALWAYS) == [a_row(0)]
    in_the_way.unlink()
    history.flush()
    assert len(segments(tmp_path)) == 1
    assert history.series(KEY, *ALWAYS) == [a_row(0)]


def test_a_spoilt_segment_is_an_error_and_never_a_shorter_answer(history, tmp_path):
    history.append([a_row()])
    history.flush()
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes()[:100])
    with pytest.raises(OSError, match="the history in"):
        history.series(KEY, *ALWAYS)


ROWS = st.builds(
    a_row,
    hour=st.integers(0, 4),
    version=st.integers(0, 6),
    key=st.sampled_from(["a", "b"]),
    category=st.sampled_from(["Usage", "Tax"]),
)


@settings(max_examples=25, deadline=None)
@given(
    batches=st.lists(
        st.tuples(st.lists(ROWS, max_size=8), st.sampled_from(["", "flush", "compact", "reopen"])),
        max_size=6,
    )
)
def test_any_order_split_flush_and_merge_gives_the_highest_version_of_each_cell(batches):
    # One version of a cell has one content, as the ledger promises.
    batches = [
        ([row._replace(cost=Decimal(row.version) / 7) for row in rows], then)
        for rows, then in batches
    ]
    expected = {}
    for rows, _ in batches:
        for row in rows:
            if row[:4] not in expected or row.version > expected[row[:4]].version:
                expected[row[:4]] = row
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder))
        for rows, then in batches:
            history.append(rows)
            if then == "flush":
                history.flush()
            elif then == "compact":
                history.compact()
            elif then == "reopen":
                history.close()
                history = History(Path(folder))
        found = [row for key in ("a", "b") for row in history.series(key, *ALWAYS)]
        history.close()
    assert found == [expected[cell] for cell in sorted(expected)]


READER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from service.adapters.history import History

history = History(Path(sys.argv[1]))
reads = 0
while not Path(sys.argv[2]).exists():
    rows = history.series("a", datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    if len(rows) < 3:
        sys.exit(f"read {len(rows)} of 3 cells after {reads} reads")
    reads += 1
print(reads)
"""


@pytest.mark.slow
def test_another_process_and_another_thread_read_whole_answers_while_one_writes(tmp_path):
    history = History(tmp_path / "history")
    history.append([a_row(hour, key="a") for hour in range(3)])
    history.flush()
    end = tmp_path / "end"
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path / "history"), str(end)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    short = []

    def read():
        while not end.exists():
            short.extend([1] * (len(history.series("a", *ALWAYS)) < 3))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for version in range(60):
            history.append([a_row(hour, str(version), version, key="a") for hour in range(3)])
            history.flush()
            if version % 7 == 0:
                history.compact()
    finally:
        end.touch()
        thread.join()
        out, err = reader.communicate(timeout=30)
    assert reader.returncode == 0, err
    assert int(out) > 0
    assert short == []
    history.close()


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from service.adapters.history import History
from service.core.ledger import LedgerRow

history = History(Path(sys.argv[1]))
start = datetime(2026, 1, 1, tzinfo=UTC)
number = int(sys.argv[2])
while True:
    at = start + timedelta(hours=number % 500)
    row = LedgerRow("a", at, at + timedelta(hours=1), "Usage", Decimal(number), number)
    history.append([row] + [row._replace(series=f"s{n}") for n in range(2000)])
    history.flush()
    print(number, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_what_was_flushed_before_a_kill_is_there_after_it(tmp_path):
    done = -1
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "history"), str(done + 1)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(9):
            done = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.communicate(timeout=30)[0].split()
        done = int(rest[-1]) if rest else done
    history = History(tmp_path / "history")
    found = {row.version: row.cost for row in history.series("a", *ALWAYS)}
    history.close()
    assert done >= 35
    # The row after the last that was told of may have been written before the kill.
    assert sorted(found)[: done + 1] == list(range(done + 1))
    assert len(found) <= done + 2
    assert all(cost == version for version, cost in found.items())


def test_it_knows_how_far_it_reaches_after_a_flush_only(history, tmp_path):
    history.append([a_row(version=7), a_row(800, version=7)])
    assert history.reaches == 0
    history.flush()
    history.append([a_row(version=9)])
    newcomer = History(tmp_path / "history")
    assert (history.reaches, newcomer.reaches) == (7, 7)
    newcomer.close()


@settings(max_examples=25, deadline=None)
@given(
    batches=st.lists(
        st.tuples(st.lists(ROWS, max_size=8), st.sampled_from(["", "flush", "compact"])),
        max_size=6,
    )
)
def test_whatever_lies_in_which_segment_each_cell_is_asked_of_in_its_highest_version(batches):
    batches = [
        ([row._replace(cost=Decimal(row.version + 1)) for row in rows], then)
        for rows, then in batches
    ]
    newest = {}
    for rows, _ in batches:
        for row in rows:
            if row[:4] not in newest or row.version > newest[row[:4]].version:
                newest[row[:4]] = row
    query = "{told} SELECT series, charge_period_start, charge_category, cost FROM newest"
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder))
        for rows, then in batches:
            history.append(rows)
            if then:
                getattr(history, then)()
        (found,) = history.ask([query], *ALWAYS, {})
        history.close()
    expected = [
        (row.series, row.charge_period_start.replace(tzinfo=None), row.charge_category, row.cost)
        for row in newest.values()
    ]
    assert sorted((*row[:3], Decimal(row[3])) for row in found) == sorted(expected)


def test_a_charge_that_is_named_otherwise_replaces_all_of_its_kind(history):
    before = a_row(cost="7", version=1)._replace(commitment="Used")
    after = [a_row(cost=str(n), version=2)._replace(sku_id=f"s{n}") for n in (2, 3)]
    query = "{told} SELECT sku_id, commitment, cost FROM newest ORDER BY ALL"
    history.append([before])
    history.flush()
    history.append(after)
    expected = [[("s2", "", "2"), ("s3", "", "3")]]
    assert history.ask([query], *ALWAYS, {}) == expected
    assert [row.cost for row in history.series(KEY, *ALWAYS)] == [5]
    history.flush()
    assert history.ask([query], *ALWAYS, {}) == expected
    history.compact()
    assert history.ask([query], *ALWAYS, {}) == expected
    assert [row.cost for row in history.series(KEY, *ALWAYS)] == [5]


@pytest.mark.parametrize("costs", [("5", "40"), ("40", "5")])
def test_of_two_contents_of_one_version_the_same_counts_written_or_not(history, costs):
    for cost in costs:
        history.append([a_row(cost=cost)])
    assert [row.cost for row in history.series(KEY, *ALWAYS)] == [5]
    query = "{told} SELECT cost FROM newest"
    assert history.ask([query], *ALWAYS, {}) == [[("5",)]]
    history.flush()
    assert history.ask([query], *ALWAYS, {}) == [[("5",)]]
    assert [row.cost for row in history.series(KEY, *ALWAYS)] == [5]


def test_of_what_waits_the_newest_version_is_written_and_once(history, tmp_path):
    before = a_row(cost="7", version=1)._replace(sku_id="old")
    after = [a_row(cost=str(n), version=2)._replace(sku_id=f"s{n}") for n in (2, 3)]
    history.append([*after, a_row(1, cost="4", version=1)])
    history.append([before])
    history.append(after)
    assert [row.cost for row in history.series(KEY, *ALWAYS)] == [5, 4]
    history.flush()
    query = "{told} SELECT sku_id, cost, version FROM told ORDER BY ALL"
    assert len(segments(tmp_path)) == 1
    assert history.ask([query], *ALWAYS, {}) == [[("", "4", 1), ("s2", "2", 2), ("s3", "3", 2)]]
