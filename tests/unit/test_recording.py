from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from service.core.labels import labels_of
from service.core.ledger import Expected, Ledger
from service.core.owners import Catalogue, Entry, Owners
from service.core.recording import Recording
from tests.factories import make_event

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CATALOGUE = Catalogue(by_resource={"i-1": Entry("listed", "systems.yaml")})
TEXT = st.sampled_from(["a", "b", None])
NAMES = st.fixed_dictionaries(
    {
        "billing_account_id": st.sampled_from(["a", "b"]),
        "sub_account_name": TEXT,
        "service_category": TEXT,
        "service_name": TEXT,
        "region_id": TEXT,
        "resource_id": st.sampled_from(["i-1", "i-2"]),
        "resource_name": TEXT,
        "resource_type": TEXT,
        "tags": st.sampled_from([None, {}, {"Owner": "ml"}, {"Owner": "web", "env": "prod"}]),
    }
)


def rows_of(recording, ledger, event, expected=None, version=1):
    change = ledger.take("aws", event)
    key = change.series, change.step
    return key, recording.rows([key], {key: expected} if expected else {}, version)


def told(series, step):
    del series
    return step % 2 == 0


@given(names=st.lists(NAMES, min_size=2, max_size=8))
def test_a_row_has_the_labels_of_its_series_newest_row_whatever_changed_in_it(names):
    ledger = Ledger({}, "billed")
    owners = Owners(["owner"], {}, CATALOGUE)
    recording = Recording(ledger, owners, told)
    for hour, named in enumerate(names):
        start = START + hour * HOUR
        period = {"charge_period_start": start, "charge_period_end": start + HOUR}
        event = make_event(**period, **named, x_event_id=str(hour))
        (series, step), (row,) = rows_of(recording, ledger, event, version=hour)
        assert row.labels == labels_of(series, ledger.about(series), owners)
        assert (row.series, row.version, row.estimated) == (str(series), hour, step % 2 == 0)


def test_what_many_rows_are_called_is_made_once():
    ledger, found = Ledger({}, "billed"), []
    recording = Recording(ledger, Owners([], {}), told)
    for hour in range(3):
        start = START + hour * HOUR
        event = make_event(charge_period_start=start, charge_period_end=start + HOUR)
        found += rows_of(recording, ledger, event)[1]
    assert len({id(row.labels) for row in found}) == len({id(row.series) for row in found}) == 1


def test_what_was_expected_stands_with_the_first_row_of_usage_alone():
    ledger = Ledger({}, "billed")
    recording, expected = Recording(ledger, Owners([], {}), told), Expected(1.0, 0.5, 1.5)
    charges = ("b", "Usage"), ("a", "Tax"), ("c", "Usage"), ("c", "Usage")
    for number, (sku, category) in enumerate(charges):
        event = make_event(
            charge_period_start=START, charge_period_end=START + HOUR, sku_id=sku,
            charge_category=category, billed_cost=Decimal(2), resource_id="i-1",
            x_event_id=str(number),
        )  # fmt: skip
        _, rows = rows_of(recording, ledger, event, expected)
    assert [(row.sku_id, row.cost, row.scored, row.expected) for row in rows] == [
        ("a", 2, False, None),
        ("b", 2, True, expected),
        ("c", 4, True, None),
    ]
