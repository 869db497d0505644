# ruff: noqa: S608  # the statements are the test's own, over the files that it ships with
import gzip
import hashlib
import json
import re
from datetime import datetime, timedelta
from itertools import groupby, pairwise

import duckdb
import msgspec
import pytest

from service.core.events import GpuSample
from service.entrypoints.demo import months
from service.sample import carriers, gpu
from service.sample.build import build
from service.sample.estate import END, HERE, HOURS, START, hour_of, load
from service.sample.focus import COLUMNS
from service.sample.prices import price_list

EXPORTS = HERE / "export"
RAW_README = (HERE / "raw" / "README.md").read_text(encoding="utf-8")
FAULTS = {fault["id"]: fault for fault in json.loads((HERE / "faults.json").read_bytes())["faults"]}
MANIFESTS = sorted(EXPORTS.rglob("*-Manifest.json"))
SAMPLES = sorted(HERE.glob("gpu_samples-*.ndjson.gz"))
LATE = {
    name: fault
    for name, fault in FAULTS.items()
    if fault["end"] == "2026-09-16T00:00:00Z" and fault["start"] >= "2026-09-14"
}
FORGOTTEN = [name for name, fault in FAULTS.items() if fault["kind"] == "idle_gpu"]

# FOCUS 1.2: the columns that every dataset must have, whatever its provider supports.
MANDATORY = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass"),
    *("ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost"),
    *("EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
)
NULLABLE = ("ChargeClass", "PricingQuantity", "PricingUnit")
ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {None, "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {None, "Standard", "Dynamic", "Committed", "Other"},
    "CommitmentDiscountCategory": {None, "Spend", "Usage"},
    "CommitmentDiscountStatus": {None, "Used", "Unused"},
    "BillingCurrency": {"USD", "EUR"},
    "ServiceCategory": {
        *("AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases"),
        *("Developer Tools", "Multicloud", "Identity", "Integration", "Internet of Things"),
        *("Management and Governance", "Media", "Migration", "Mobile", "Networking", "Security"),
        *("Storage", "Web", "Other"),
    },
}


def _manifest(path):
    return json.loads(path.read_bytes())


def _root(manifest):
    return next(parent for parent in manifest.parents if parent.parent == EXPORTS)


def _at(text):
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def bill():
    """All rows of all deliveries; `final` is the last word of each month."""
    with duckdb.connect(config={"threads": 1}) as db:
        db.execute(
            "CREATE TABLE bill AS SELECT *, "
            "strptime(ChargePeriodStart, '%Y-%m-%dT%H:%M:%SZ') AS start, "
            "EffectiveCost::DECIMAL(28, 10) AS cost, "
            "filename.regexp_extract('/([^/]+)/[^/]+$', 1) AS delivery "
            f"FROM read_csv('{EXPORTS}/*/data/*/*/*.csv.gz', all_varchar = true, "
            "filename = true, hive_partitioning = false)"
        )
        db.execute(
            "CREATE VIEW final AS SELECT * FROM bill WHERE delivery IN ("
            "SELECT max(delivery) FROM bill GROUP BY BillingAccountId, BillingPeriodStart)"
        )
        yield db


def _cost(bill, fault, start, end):
    ids = ", ".join(f"'{name}'" for name in fault["resource_ids"])
    (cost,) = bill.execute(
        f"SELECT coalesce(sum(cost), 0) FROM final WHERE ResourceId IN ({ids}) "
        "AND ChargeFrequency = 'Usage-Based' AND ChargeClass IS NULL "
        f"AND start >= '{start:%Y-%m-%d %H:%M}' AND start < '{end:%Y-%m-%d %H:%M}'"
    ).fetchone()
    return float(cost)


def _against_the_week_before(bill, name, first=None, last=None):
    start, end = first or _at(FAULTS[name]["start"]), last or _at(FAULTS[name]["end"])
    week = timedelta(days=7)
    before = _cost(bill, FAULTS[name], start - week, end - week)
    return _cost(bill, FAULTS[name], start, end) / before


@pytest.mark.slow
def test_a_rebuild_gives_what_is_shipped(tmp_path):
    build(tmp_path)
    built = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    shipped = [HERE / path.relative_to(tmp_path) for path in built]
    assert len(built) == 2 * len(MANIFESTS) + len(SAMPLES) + 1
    assert set(EXPORTS.rglob("*.*")) | set(SAMPLES) <= set(shipped)
    for new, old in zip(built, shipped, strict=True):
        unpack = gzip.decompress if new.suffix == ".gz" else bytes
        assert unpack(new.read_bytes()) == unpack(old.read_bytes()), old.name


@pytest.mark.parametrize("path", sorted(HERE.rglob("*.gz")), ids=lambda path: path.name)
def test_a_packed_file_tells_no_time_and_no_name(path):
    head = path.read_bytes()[:10]
    assert head[3] == 0
    assert head[4:8] == bytes(4)


def test_every_data_file_is_named_by_one_manifest():
    named = [_root(path) / file for path in MANIFESTS for file in _manifest(path)["dataFiles"]]
    assert len(named) == 10
    assert sorted(named) == sorted(EXPORTS.rglob("*.csv.gz"))


def test_a_months_deliveries_come_one_after_the_other_and_reach_further(bill):
    newest = dict(
        bill.execute("SELECT delivery, max(ChargePeriodEnd) FROM bill GROUP BY 1").fetchall()
    )
    key = lambda path: (_root(path).name, _manifest(path)["billingPeriod"]["start"])  # noqa: E731
    deliveries = {scope: list(paths) for scope, paths in groupby(sorted(MANIFESTS, key=key), key)}
    assert [len(paths) for paths in deliveries.values()] == [1, 1, 1, 3, 1, 1, 1, 1]
    for paths in deliveries.values():
        created = [_manifest(path)["createdAt"] for path in paths]
        reached = [newest[path.parent.name] for path in paths]
        assert created == sorted(set(created))
        assert reached == sorted(set(reached))
        assert all(until < at for until, at in zip(reached, created, strict=True))


def test_the_columns_are_those_of_focus(bill):
    assert set(MANDATORY) <= set(COLUMNS)
    assert list(COLUMNS) == sorted(COLUMNS)
    counts = bill.execute(
        f"SELECT {', '.join(f'count(*) - count({name})' for name in MANDATORY)} FROM bill"
    ).fetchone()
    empty = {name for name, nulls in zip(MANDATORY, counts, strict=True) if nulls}
    assert empty <= set(NULLABLE)


@pytest.mark.parametrize("column", ALLOWED)
def test_a_column_with_allowed_values_has_no_other(bill, column):
    found = {value for (value,) in bill.execute(f"SELECT DISTINCT {column} FROM bill").fetchall()}
    assert found <= ALLOWED[column]


def test_rows_obey_what_focus_says_of_their_kind(bill):
    for wrong in (
        "ChargeCategory = 'Purchase' AND ChargeFrequency = 'Usage-Based'",
        "ChargeCategory = 'Tax' AND (PricingQuantity IS NOT NULL OR SkuId IS NOT NULL)",
        "ChargeCategory <> 'Usage' AND ConsumedQuantity IS NOT NULL",
        "CommitmentDiscountStatus = 'Unused' AND ConsumedQuantity IS NOT NULL",
        "CommitmentDiscountId IS NULL AND CommitmentDiscountStatus IS NOT NULL",
        "ChargePeriodEnd <= ChargePeriodStart",
        "ChargeClass IS NULL AND ChargePeriodStart < BillingPeriodStart",
        "ChargeClass IS NULL AND ChargePeriodEnd > BillingPeriodEnd",
        "NOT regexp_matches(ChargePeriodStart, '^2026-[0-9-]{5}T[0-9:]{8}Z$')",
        "ChargeCategory = 'Credit' AND BilledCost::DECIMAL(28, 10) >= 0",
    ):
        (count,) = bill.execute(f"SELECT count(*) FROM bill WHERE {wrong}").fetchone()
        assert count == 0, wrong


def test_the_list_cost_is_the_quantity_at_the_list_price(bill):
    (count,) = bill.execute(
        "SELECT count(*) FROM bill WHERE ListUnitPrice IS NOT NULL AND abs(ListCost::DOUBLE "
        "- PricingQuantity::DOUBLE * ListUnitPrice::DOUBLE) > 1e-9"
    ).fetchone()
    assert count == 0


def test_what_is_committed_is_used_or_unused_in_every_hour(bill):
    hours = bill.execute(
        "SELECT start, sum(CASE WHEN ChargeCategory = 'Purchase' THEN -BilledCost::DECIMAL(28, 10)"
        " ELSE cost END) FROM final WHERE CommitmentDiscountId IS NOT NULL GROUP BY 1"
    ).fetchall()
    assert len(hours) == HOURS
    assert {left for _, left in hours} == {0}


def test_the_sums_are_those_of_a_company_of_this_size(bill):
    per_day = {
        currency: float(cost) / 107
        for currency, cost in bill.execute(
            "SELECT BillingCurrency, sum(cost) FROM final WHERE ChargeCategory = 'Usage' GROUP BY 1"
        ).fetchall()
    }
    assert per_day == {"USD": pytest.approx(3783, abs=5), "EUR": pytest.approx(244, abs=2)}
    rows, ids, accounts = bill.execute(
        "SELECT count(*), count(DISTINCT ResourceId), count(DISTINCT SubAccountId) FROM final"
    ).fetchone()
    assert (rows, ids, accounts) == (152_565, 46, 9)


def test_what_real_bills_have_is_there(bill):
    for what in (
        "ResourceId IS NULL AND ChargeFrequency = 'Usage-Based'",
        "ResourceId IS NOT NULL AND Tags IS NULL",
        "cost = 0 AND ChargeCategory = 'Usage'",
        "SubAccountId LIKE '00%'",
        "ChargeClass = 'Correction' AND ChargePeriodEnd <= BillingPeriodStart",
        "CommitmentDiscountStatus = 'Unused' AND cost > 0",
        "BillingCurrency = 'EUR' AND ChargePeriodEnd LIKE '%T00:00:00Z'",
        *(f"ChargeCategory = '{category}'" for category in ("Purchase", "Tax", "Credit")),
    ):
        (count,) = bill.execute(f"SELECT count(*) FROM final WHERE {what}").fetchone()
        assert count > 0, what


def test_faults_begin_when_the_detectors_know_the_series():
    told = [fault for fault in FAULTS.values() if fault["kind"] != "fees"]
    assert len(told) == 11
    assert min(_at(fault["start"]) for fault in told) >= START + timedelta(days=45)


def test_the_owner_of_a_fault_is_in_the_bill(bill):
    for fault in FAULTS.values():
        for name in fault["resource_ids"]:
            tags = bill.execute(f"SELECT DISTINCT Tags FROM final WHERE ResourceId = '{name}'")
            (found,) = tags.fetchone()
            owner = json.loads(found)["team"] if found else "unowned"
            assert owner == fault["owner"]


def test_the_runaway_costs_several_times_the_week_before(bill):
    assert 5 < _against_the_week_before(bill, "runaway") < 7


def test_the_level_shift_stays(bill):
    last_week = (START + timedelta(days=100), START + timedelta(days=107))
    before = (START + timedelta(days=37), START + timedelta(days=44))
    fault = FAULTS["level-shift"]
    assert _against_the_week_before(
        bill, "level-shift", _at(fault["start"]), _at(fault["start"]) + timedelta(days=7)
    ) == pytest.approx(1.6, abs=0.05)
    assert _cost(bill, fault, *last_week) / _cost(bill, fault, *before) == pytest.approx(
        1.6, abs=0.05
    )


def test_the_spike_lasts_three_hours(bill):
    end = _at(FAULTS["short-spike"]["end"])
    assert 5 < _against_the_week_before(bill, "short-spike") < 8
    assert 0.7 < _against_the_week_before(bill, "short-spike", end, end + timedelta(hours=3)) < 1.4


def test_the_creep_grows_every_few_days_and_is_mended(bill):
    start, end = _at(FAULTS["creep"]["start"]), _at(FAULTS["creep"]["end"])
    blocks = [
        _cost(bill, FAULTS["creep"], start + timedelta(days=d), start + timedelta(days=d + 4))
        for d in range(-4, 20, 4)
    ]
    assert all(1.05 < later / earlier < 1.5 for earlier, later in pairwise(blocks))
    day = _cost(bill, FAULTS["creep"], end, end + timedelta(days=1))
    assert day == pytest.approx(blocks[0] / 4, rel=0.1)


def test_the_restated_day_is_the_only_thing_that_a_later_delivery_changes(bill):
    first, second, third = (
        name
        for (name,) in bill.execute(
            "SELECT DISTINCT delivery FROM bill WHERE BillingPeriodStart LIKE '2026-09%' "
            "AND BillingCurrency = 'USD' ORDER BY 1"
        ).fetchall()
    )
    columns = ", ".join(COLUMNS)

    def gone(earlier, later):
        return bill.execute(
            f"SELECT ServiceName, ChargePeriodStart[1:10], count(*), sum(EffectiveCost::DOUBLE) "
            f"FROM (SELECT {columns} FROM bill WHERE delivery = '{earlier}' EXCEPT "
            f"SELECT {columns} FROM bill WHERE delivery = '{later}') GROUP BY 1, 2"
        ).fetchall()

    assert gone(second, third) == []
    ((service, day, count, said),) = gone(first, second)
    assert (service, day, count) == ("Amazon Relational Database Service", "2026-09-03", 120)
    start = _at(FAULTS["restated-day"]["start"])
    truth = _cost(bill, FAULTS["restated-day"], start, start + timedelta(days=1))
    assert said / truth == pytest.approx(1.35, abs=1e-6)
    assert said - truth == pytest.approx(float(FAULTS["restated-day"]["dollars"]), abs=0.01)


def test_three_faults_are_still_going_on_when_the_sample_ends(bill):
    assert set(LATE) == {"forgotten-gpu-again", "retry-storm", "last-day-spike"}
    for fault in LATE.values():
        (newest,) = bill.execute(
            "SELECT max(ChargePeriodEnd) FROM final WHERE ResourceId = ?", fault["resource_ids"]
        ).fetchone()
        assert _at(newest) == END


def test_a_late_fault_shares_no_owner_with_another_that_costs_more_at_that_time():
    """Or an incident that is still open would take it in, and nobody would see it begin."""
    for name, late in LATE.items():
        for other, fault in FAULTS.items():
            at_once = fault["owner"] == late["owner"] and fault["end"] > late["start"]
            assert not at_once or other == name or float(fault["dollars"]) < 0


def test_the_retry_storm_rises_within_hours_and_stays(bill):
    start, day = _at(FAULTS["retry-storm"]["start"]), timedelta(days=1)
    times = [
        _against_the_week_before(bill, "retry-storm", at, at + timedelta(hours=1))
        for at in (start + timedelta(hours=n) for n in range(6))
    ]
    assert all(later > earlier + 2 for earlier, later in pairwise([1, *times]))
    assert _against_the_week_before(bill, "retry-storm", END - day, END) == pytest.approx(
        25, rel=0.1
    )
    assert 600 < _cost(bill, FAULTS["retry-storm"], END - day, END) < 700
    assert _against_the_week_before(bill, "retry-storm", start - day, start) < 1.1


def test_the_last_day_of_the_documents_is_twice_the_day_before(bill):
    fault, day = FAULTS["last-day-spike"], timedelta(days=1)
    days = [_cost(bill, fault, END - n * day, END - (n - 1) * day) for n in (3, 2, 1)]
    assert days[1] == pytest.approx(days[0], rel=0.05)
    assert days[2] - days[1] == pytest.approx(66, abs=2)
    assert days[2] / days[1] > 2


def test_the_price_cut_is_the_real_one_and_leaves_the_quantity(bill):
    found = bill.execute(
        "SELECT SkuId, start >= '2026-07-28', min(ListUnitPrice), max(ListUnitPrice), "
        "max(PricingQuantity) FROM final WHERE SkuId LIKE 'BoxUsage:p4%' GROUP BY ALL ORDER BY 1, 2"
    ).fetchall()
    assert found == [
        ("BoxUsage:p4d.24xlarge", False, "32.7726", "32.7726", "1"),
        ("BoxUsage:p4d.24xlarge", True, "21.957642", "21.957642", "1"),
        ("BoxUsage:p4de.24xlarge", False, "40.96575", "40.96575", "1"),
        ("BoxUsage:p4de.24xlarge", True, "27.44705", "27.44705", "1"),
    ]


def test_the_fees_are_not_metered_usage(bill):
    rows = bill.execute(
        "SELECT BilledCost::DOUBLE FROM final WHERE SkuId IS NULL AND CommitmentDiscountId IS NULL "
        "AND (ChargeFrequency <> 'Usage-Based' OR ChargeClass = 'Correction')"
    ).fetchall()
    assert len(rows) == sum(len(fee.amounts) for fee in load()[0].fee)
    assert sum(cost for (cost,) in rows) == pytest.approx(
        float(FAULTS["month-start-fees"]["dollars"])
    )


def test_the_stolen_key_spends_where_the_account_never_did(bill):
    regions = bill.execute(
        "SELECT RegionId, count(*) FROM final WHERE SubAccountId = '666677778888' GROUP BY 1"
    ).fetchall()
    assert dict(regions).keys() == {"us-east-1", "us-east-2"}
    assert dict(regions)["us-east-2"] == 3 * 19


@pytest.fixture(scope="module")
def samples():
    return [sample for path in SAMPLES for sample in _samples(path)]


def _samples(path):
    decode = msgspec.json.Decoder(GpuSample).decode
    return [decode(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_a_file_of_gpu_samples_holds_its_month_in_order_of_time():
    for path in SAMPLES:
        times = [sample.timestamp for sample in _samples(path)]
        assert times == sorted(times)
        assert {f"gpu_samples-{at:%Y-%m}.ndjson.gz" for at in times} == {path.name}


def test_gpus_report_up_to_the_end(samples):
    assert max(sample.timestamp for sample in samples) == END - gpu.EVERY
    hosts = {sample.hostname for sample in samples}
    assert {s.hostname for s in samples if s.timestamp == END - gpu.EVERY} == hosts
    assert len(hosts) == 4


@pytest.mark.parametrize("name", FORGOTTEN)
def test_the_forgotten_gpus_do_nothing_and_hold_their_memory(samples, bill, name):
    fault = FAULTS[name]
    start, end = _at(fault["start"]), _at(fault["end"])
    idle = [sample for sample in samples if _is_forgotten(sample, fault)]
    hours = (end - start) / timedelta(hours=1)
    assert len(idle) == hours * 6 * 8
    assert {sample.utilization for sample in idle} == {0.0}
    assert min(sample.memory_used_bytes for sample in idle) > 20e9
    assert max(sample.power_watts for sample in idle) < 80
    assert _cost(bill, fault, start, end) > float(fault["dollars_idle"]) > float(fault["dollars"])


def test_gpus_report_only_while_their_instance_is_billed(samples, bill):
    billed = set(
        bill.execute(
            "SELECT ResourceId, ChargePeriodStart[1:13] FROM final WHERE PricingUnit = 'Hours'"
        ).fetchall()
    )
    reported = {(s.resource_id, f"{s.timestamp:%Y-%m-%dT%H}") for s in samples}
    assert reported <= billed


def test_gpus_are_never_idle_for_long_unless_forgotten(samples):
    busy = {}
    for sample in samples:
        if not any(_is_forgotten(sample, FAULTS[name]) for name in FORGOTTEN):
            hour = (sample.gpu_uuid, sample.timestamp.replace(minute=0))
            busy[hour] = max(busy.get(hour, 0.0), sample.utilization)
    quiet = {hour for hour, peak in busy.items() if peak <= 0.01}
    assert len(busy) > 1000
    assert len({gpu_uuid for gpu_uuid, _ in busy}) == 18
    assert all((gpu_uuid, at + timedelta(hours=1)) not in quiet for gpu_uuid, at in quiet)


def _is_forgotten(sample, fault):
    mine = sample.resource_id in fault["resource_ids"]
    return mine and _at(fault["start"]) <= sample.timestamp < _at(fault["end"])


def test_the_demo_replays_every_file_with_its_month():
    replayed = months()
    assert [len(paths) for paths in replayed] == [2, 2, 3, 5]
    assert sorted(path for paths in replayed for path in paths) == sorted([*MANIFESTS, *SAMPLES])
    for paths in replayed:
        named = {month for path in paths for month in re.findall(r"2026-\d\d", str(path))}
        assert len(named) == 1


@pytest.mark.parametrize("path", sorted((HERE / "raw").glob("*.gz")), ids=lambda path: path.name)
def test_a_raw_file_has_its_source_licence_and_checksum_beside_it(path):
    (row,) = (line for line in RAW_README.splitlines() if line.startswith(f"| {path.name} |"))
    _, _, source, licence, kind, _ = row.split("|")
    assert re.search(r"@|PyPI|versions|same", source)
    assert set(
        licence.replace("(artifact)", "").replace("(trace)", "").replace(",", " ").split()
    ) <= {
        *("MIT", "Apache-2.0", "CC-BY-4.0"),
    }
    assert kind.strip().startswith(("unchanged", "derived"))
    digest = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    assert f"{digest}  {path.name.removesuffix('.gz')}" in RAW_README


@pytest.mark.parametrize("name", carriers.STRETCHES)
def test_a_carrier_has_its_shape_and_neither_level_nor_trend(name):
    shape = carriers.carrier(name, HOURS)
    weeks = shape[: HOURS // carriers.WEEK * carriers.WEEK].reshape(-1, carriers.WEEK).mean(axis=1)
    assert len(shape) == HOURS
    assert shape.min() >= 0
    assert shape.mean() == pytest.approx(1)
    assert weeks.max() / weeks.min() < 1.06


def test_only_what_is_free_on_purpose_has_no_price():
    prices = price_list()
    free = {
        resource.name
        for resource in load()[0].resource
        if not any(prices[line.price].usd for line in resource.lines)
    }
    assert free == {"payments-keys", "audit-trail"}


def test_the_span_is_107_whole_days():
    assert hour_of(END) == HOURS == 107 * 24
