"""The hash of the series key is a promise: the figures in this file never change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.events import GpuSample
from service.core.partitions import partition_key, partition_of
from tests.factories import STARTS_AT, make_event

GOLDEN = {
    "": 0,
    "123456789": 0xCBF43926,  # the published check value of this CRC
    "i-0abcdef1234567890": 1991795068,
    "arn:aws:rds:eu-west-1:123456789012:db:orders": 1633956009,
    "/subscriptions/ü/resourcegroups/日本": 723252025,
}


@pytest.mark.parametrize("key", GOLDEN)
def test_a_key_is_where_it_always_was(key):
    assert partition_of(key, 2**32) == GOLDEN[key]


@given(st.text(), st.integers(1, 10_000))
def test_every_key_has_a_partition(key, partitions):
    assert 0 <= partition_of(key, partitions) < partitions


def test_all_that_is_said_of_one_resource_has_one_key():
    sample = GpuSample(timestamp=STARTS_AT, gpu_uuid="GPU-1", hostname="n1", resource_id="i-1")
    rows = [
        make_event(),
        make_event(billing_currency="EUR", sku_id="other", charge_category="Tax"),
        make_event(sub_account_id="elsewhere", region_id=None),
        sample,
    ]
    assert {partition_key(row) for row in rows} == {"i-1"}


def test_a_row_without_a_resource_falls_back_to_what_its_series_falls_back_to():
    row = make_event(resource_id=None, region_id=None)
    assert partition_key(row) == "000123~Amazon EC2~~SKU"
    assert partition_key(make_event(resource_id="", region_id=None)) == partition_key(row)


def test_a_gpu_without_a_resource_falls_back_to_its_host():
    assert partition_key(GpuSample(timestamp=STARTS_AT, gpu_uuid="GPU-1", hostname="n1")) == "n1"
