import pytest

from service.adapters.sources import SnapshotBook
from tests.reading import bill, read, write_csv

ACCOUNTS = {"BillingAccountId": "000123", "SubAccountId": "42"}


def focus(cost="1", **columns):
    return bill(0, cost, **(ACCOUNTS | columns))


def cur(cost="1", account="42", month="2024-09"):
    return {
        "bill/PayerAccountId": "000123",
        "lineItem/UsageAccountId": account,
        "lineItem/LineItemType": "Usage",
        "lineItem/UsageStartDate": f"{month}-01T00:00:00Z",
        "lineItem/UsageEndDate": f"{month}-01T01:00:00Z",
        "lineItem/ResourceId": "i-1",
        "lineItem/CurrencyCode": "USD",
        "lineItem/UnblendedCost": cost,
    }


def counted(result):
    return sorted((arrival.source, arrival.event.billed_cost) for arrival in result.arrivals)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_two_feeds_of_one_account_are_counted_once_whichever_is_read_first(tmp_path, names):
    write_csv(tmp_path / f"{names[0]}.csv", [cur("7")])
    write_csv(tmp_path / f"{names[1]}.csv", [focus("7")])
    result = read(tmp_path)
    assert counted(result) == [("aws_cur", 7)]
    assert result.notes == [
        "focus: aws_cur bills account 000123 too, from 2024-09 on: not counted twice"
    ]
    assert (result.reader.read, result.rejected) == (2, [])


def test_what_only_one_of_them_bills_is_counted(tmp_path):
    month = {
        "ChargePeriodStart": "2024-10-01T00:00:00Z",
        "ChargePeriodEnd": "2024-10-01T01:00:00Z",
    }
    write_csv(tmp_path / "a.csv", [cur("7"), cur("1", month="2024-08")])
    rows = [focus("7"), focus("5", SubAccountId="43"), focus("3", **month)]
    write_csv(tmp_path / "b.csv", rows)
    assert counted(read(tmp_path)) == [("aws_cur", 1), ("aws_cur", 7), ("focus", 3), ("focus", 5)]


def test_a_row_that_does_not_say_whose_bill_it_is_on_is_counted(tmp_path):
    write_csv(tmp_path / "a.csv", [cur("7")])
    write_csv(tmp_path / "b.csv", [focus("5", SubAccountId=""), focus("3", BillingAccountId="")])
    assert counted(read(tmp_path)) == [("aws_cur", 7), ("focus", 3), ("focus", 5)]


def test_a_delivery_that_is_not_whole_claims_nothing(tmp_path):
    path = write_csv(tmp_path / "a.csv", [cur("7"), cur("9")])
    path.write_text(path.read_text()[:-10])
    write_csv(tmp_path / "b.csv", [focus("7")])
    assert counted(read(tmp_path)) == [("focus", 7)]


@pytest.fixture
def books(tmp_path):
    with SnapshotBook(tmp_path / "one") as one, SnapshotBook(tmp_path / "two") as two:
        yield one, two


def test_the_feed_that_was_there_first_stays_the_one_that_counts(tmp_path, books):
    one, two = books
    first = write_csv(tmp_path / "a.csv", [focus("7")])
    second = write_csv(tmp_path / "b.csv", [cur("7")])
    options = {"mode": "live", "feed": "z"}
    assert counted(read(first, book=one, beside=[two], **options)) == [("z", 7)]
    late = read(second, book=two, beside=[one], mode="live", feed="a")
    assert counted(late) == []
    assert late.notes == ["a: z bills account 000123 too, from 2024-09 on: not counted twice"]
    restated = write_csv(tmp_path / "c.csv", [focus("8")])
    one.acknowledge([])
    assert counted(read(restated, book=one, beside=[two], **options)) == [("z", 8)]


def test_a_feed_may_be_said_to_share_accounts(tmp_path, books):
    one, two = books
    first = write_csv(tmp_path / "a.csv", [focus("7")])
    second = write_csv(tmp_path / "b.csv", [cur("7")])
    read(first, book=one, beside=[two], mode="live", feed="one")
    assert counted(read(second, book=two, beside=None, mode="live")) == [("aws_cur", 7)]
