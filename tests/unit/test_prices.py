from datetime import UTC, datetime
from decimal import Decimal

import pytest

from service.adapters.prices import PriceListError, load_prices
from service.core.prices import ANYWHERE, UNDATED, Price, PriceBook

BOOK = load_prices()
NOW = datetime(2026, 8, 1, tzinfo=UTC)


def day(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def own(tmp_path, text):
    path = tmp_path / "prices.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("at", "price"),
    [
        ("2025-06-22", "98.32"),
        ("2025-06-24", "55.04"),
        ("2026-08-01", "55.04"),
        ("2020-01-01", "98.32"),
    ],
)
def test_the_price_is_that_of_its_hour(at, price):
    found = BOOK.price("aws", "p5.48xlarge", "us-east-1", day(at))
    assert found.usd_per_hour == Decimal(price)


def test_the_source_names_the_list_its_region_and_its_date():
    found = BOOK.price("aws", "p5.48xlarge", "us-east-1", day("2025-07-01"))
    assert found.source == "AWS on-demand list price, us-east-1, 2025-06-23"


@pytest.mark.parametrize(
    ("provider", "instance_type", "region", "price", "gpus"),
    [
        ("aws", "p5.48xlarge", "us-east-1", "55.04", 8),
        ("Amazon Web Services", "p4d.24xlarge", "us-east-1", "21.957642", 8),
        ("aws", "g6f.large", "us-east-1", "0.202", 1),
        ("gcp", "a2-highgpu-1g", "us-central1", "3.673385", 1),
        ("Google Cloud", "a2-highgpu-8g", "us-central1", "29.38708", 8),
        ("Microsoft", "standard_nc16as_t4_v3", "Australia Central", "1.565", None),
        ("lambda", "gpu_8x_h100_sxm5", "us-west-1", "31.92", 8),
        (None, "gpu_8x_h100_sxm5", None, "31.92", 8),
    ],
)
def test_an_instance_costs_what_it_costs_with_its_gpus(
    provider, instance_type, region, price, gpus
):
    found = BOOK.price(provider, instance_type, region, NOW)
    assert (found.usd_per_hour, found.gpus) == (Decimal(price), gpus)


def test_a_region_that_is_not_listed_gets_the_lowest_price_and_says_so():
    found = BOOK.price("aws", "p5.48xlarge", "eu-north-1", NOW)
    assert found.usd_per_hour == Decimal("55.04")
    assert found.source.endswith("the lowest of any region, as eu-north-1 is not listed")
    unknown = BOOK.price("gcp", "a2-highgpu-1g", None, NOW)
    listed = BOOK.price("gcp", "a2-highgpu-1g", "us-central1", NOW)
    assert unknown.usd_per_hour <= listed.usd_per_hour
    assert "the region is unknown" in unknown.source


@pytest.mark.parametrize(
    ("provider", "instance_type"),
    [
        ("aws", "m5.large"),
        ("aws", None),
        ("aws", ""),
        ("gcp", "p5.48xlarge"),
        ("aws", "trn1.32xlarge"),
    ],
)
def test_what_is_not_a_listed_gpu_instance_has_no_price(provider, instance_type):
    assert BOOK.price(provider, instance_type, "us-east-1", NOW) is None


def test_a_type_that_two_providers_have_needs_the_provider():
    price = Price("one", "x", ANYWHERE, UNDATED, Decimal(1), 1, "a list")
    book = PriceBook([price, price._replace(provider="two", usd_per_hour=Decimal(2))])
    assert book.price(None, "x", None, NOW) is None
    assert book.price("two", "x", None, NOW).usd_per_hour == 2


def test_the_gpu_type_is_found_in_a_charge_description():
    text = "$55.04 per Unused Reservation Linux p5.48xlarge Instance Hour"
    assert BOOK.find_type(text) == "p5.48xlarge"
    assert BOOK.find_type("$0.10 per On Demand Linux m5.large Instance Hour") is None
    assert BOOK.find_type(None) is None


def test_a_list_of_ones_own_goes_first_where_it_speaks(tmp_path):
    text = (
        "provider,instance_type,region,usd_per_hour,gpu_count,since\n"
        "aws,p5.48xlarge,us-east-1,40.5,8,\n"
        "aws,p5.48xlarge,us-east-1,38,8,2026-07-01\n"
        "onprem,dgx-1,*,9.99,8,\n"
    )
    book = load_prices(own(tmp_path, text))
    assert book.price("aws", "p5.48xlarge", "us-east-1", day("2026-06-30")).usd_per_hour == Decimal(
        "40.5"
    )
    new = book.price("aws", "p5.48xlarge", "us-east-1", day("2026-07-02"))
    assert (new.usd_per_hour, new.source) == (38, "your price list, us-east-1, 2026-07-01")
    assert book.price("aws", "p5.48xlarge", "us-west-2", NOW).usd_per_hour == Decimal("55.04")
    assert book.price("onprem", "dgx-1", "cellar", NOW).usd_per_hour == Decimal("9.99")


def test_the_optional_columns_may_be_left_out(tmp_path):
    path = own(tmp_path, "provider,instance_type,region,usd_per_hour\nx,y,*,1\n")
    assert load_prices(path).price("x", "y", "z", NOW).gpus is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("provider,instance_type,region\n", "no column usd_per_hour"),
        ("provider,instance_type,region,usd_per_hour\na,b,c,cheap\n", ":2: a number"),
        ("provider,instance_type,region,usd_per_hour\na,b,c,NaN\n", ":2: needs"),
        ("provider,instance_type,region,usd_per_hour\na,b,c,-1\n", ":2: needs"),
        ("provider,instance_type,region,usd_per_hour\na,b\n", ":2: a number"),
        ("provider,instance_type,region,usd_per_hour,since\na,b,c,1,soon\n", ":2: a number"),
    ],
)
def test_a_bad_list_is_refused_with_the_line(tmp_path, text, complaint):
    with pytest.raises(PriceListError, match=complaint):
        load_prices(own(tmp_path, text))


def test_a_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PriceListError, match=r"none\.csv"):
        load_prices(tmp_path / "none.csv")
