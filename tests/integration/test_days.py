"""Sums by day, beside segments: the same to the last digit as sums of all hours."""

import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters.days import days_of
from service.adapters.history import History
from service.adapters.slices import Around, Slices
from service.adapters.unwritten import NO_LABELS
from service.core.claims import Claim
from service.core.ledger import Expected, LedgerRow
from service.core.slices import Cut

START = datetime(2026, 1, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROUNDED = msgspec.json.Decoder(float_hook=lambda text: round(float(text), 9))
# A series by the hour, one by the day, one by days that begin at five, one by the month.
LENGTHS = {"a": 1, "b": 1, "day": 24, "abroad": 24, "month": 24 * 31}
HOURS = st.sampled_from([0, 1, 5, 20, 23, 24, 25, 47, 48, 71, 72])


def a_row(series, hour, version, category, part):
    """Of one version of a cell there is one content."""
    step = LENGTHS[series]
    start = START + (hour if step == 1 else hour // 24 * 24 + 5 * (series == "abroad")) * HOUR
    grain = "hour" if step == 1 else "day" if step == 24 else "other"
    labels = NO_LABELS._replace(
        source="aws", owner=("unowned", "web", "ml")[version % 3], grain=grain, resource_id=series,
        billing_currency="USD", tags=("{}", '{"team":"x"}')[version % 2],
    )  # fmt: skip
    return LedgerRow(
        series, start, start + step * HOUR, category, Decimal(version * 31 + hour - 60) / 7,
        version, sku_id=f"s{part}", commitment=("", "Used", "Unused")[version % 3],
        quantity=Decimal(hour) / 3, estimated=version % 4 == 0, labels=labels,
        scored=version % 3 > 0, expected=Expected(hour, hour - 1, hour + 2) if part else None,
    )  # fmt: skip


def cells(series, hours, version, category):
    return [a_row(series, hour, version, category, part) for hour in hours for part in (0, 1)]


# Mostly of one series, so that what is told anew meets what was told.
SERIES = st.sampled_from(["a", "a", "a", *sorted(LENGTHS)])
CELLS = st.builds(
    cells, SERIES, st.sets(HOURS, min_size=3).map(sorted), st.integers(1, 4),
    st.sampled_from(["Usage", "Usage", "Tax"]),
)  # fmt: skip
THEN = st.sampled_from(["", "flush", "sum", "sum", "compact"])
ASKED = st.fixed_dictionaries(
    {
        "since": st.sampled_from([-24, 0, 1, 5, 24, 30]),
        "hours": st.sampled_from([19, 24, 48, 60, 120]),
        "between": st.sampled_from([6, 12, 18]),
        "by": st.sampled_from([(), ("owner",), ("sku_id", "resource_id"), ("tag:team",)]),
        "owners": st.sampled_from([None, frozenset({"web", "claimed"})]),
        "where": st.sampled_from(
            [{}, {"charge_category": frozenset({"Tax"})}, {"resource_id": frozenset({"a", "day"})}]
        ),
        "now": st.sampled_from([24, 40, 42, 66]),
    }
)


def sum_segments(history, folder):
    """Give each segment its days, as though it had been merged."""
    history.flush()
    for segment in folder.glob("*/*.parquet"):
        if not days_of(segment).exists():
            history.sum_days(segment)


def answers(history, asked):
    since = START + asked["since"] * HOUR
    cut = Cut(since, since + asked["hours"] * HOUR, asked["by"], asked["where"], asked["owners"])
    claim = Claim(name="c", owner="claimed", author="ada", resource_id="b")
    around = Around(START + asked["now"] * HOUR, ["aws"], [claim])
    slices = Slices(history, lambda source: HOUR * (20 if source else 24))
    between = since + asked["between"] * HOUR
    return slices.spend(cut, "day", 3, around), slices.moves(cut, between, around)


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.tuples(st.lists(CELLS, max_size=4), THEN), max_size=5), asked=ASKED)
def test_whatever_was_summed_when_days_add_up_to_what_hours_do(batches, asked):
    with tempfile.TemporaryDirectory() as name:
        history, hourly = History(Path(name) / "by-day"), History(Path(name) / "by-hour")
        for told, then in batches:
            rows = [row for rows in told for row in rows]
            history.append(rows)
            hourly.append(rows)
            if then == "sum":
                sum_segments(history, Path(name) / "by-day")
            elif then:
                getattr(history, then)()
        wanted, found = answers(hourly, asked), answers(history, asked)
        hourly.close()
        history.close()
    assert exact(found) == exact(wanted)


def exact(answered):
    """Leave out the last digits of what was expected: its floats are added up in any order."""
    return ROUNDED.decode(msgspec.json.encode(answered))


def test_a_merge_leaves_the_days_of_what_is_there_and_of_nothing_else(tmp_path):
    history = History(tmp_path)
    for version in range(1, 4):
        history.append(cells("a", [version], version, "Usage"))
        history.flush()
    assert not list(tmp_path.glob("*/*.days"))
    history.compact()
    (segment,) = tmp_path.glob("*/*.parquet")
    assert [days_of(segment)] == list(tmp_path.glob("*/*.days"))
    history.append(cells("a", [9], 9, "Usage"))
    history.flush()
    history.compact()
    (segment,) = tmp_path.glob("*/*.parquet")
    assert [days_of(segment)] == list(tmp_path.glob("*/*.days"))
    history.close()


def test_what_is_too_much_for_a_sum_by_day_is_merged_all_the_same(tmp_path):
    history = History(tmp_path)
    rows = [one._replace(cost=Decimal("1e30")) for one in cells("a", [1], 1, "Usage")[:1]]
    history.append(rows)
    history.flush()
    history.append(cells("b", [1], 1, "Usage"))
    history.flush()
    history.compact()
    assert not list(tmp_path.glob("*/*.days"))
    (found,) = history.series("a", START, START + 24 * HOUR)
    assert found.cost == Decimal("1e30")
    history.close()
