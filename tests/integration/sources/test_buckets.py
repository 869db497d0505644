"""Buckets: a real S3 server over HTTP; another store where a test must hold the clock."""

import gzip
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from service.adapters.sources import (
    Access,
    Address,
    BucketError,
    BucketShelf,
    Lookout,
    Reader,
    SnapshotBook,
    open_bucket,
)
from tests.reading import bill, read, write_csv
from tests.s3_server import S3Server

LATER = timedelta(hours=2)
MIB = 1 << 20


@pytest.fixture(scope="module")
def server():
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    return server.bucket("bills")


@pytest.fixture
def shelf(bucket, server, tmp_path):
    def shelf(path="s3://bills/exports/aws", largest=MIB, store=None):
        address = Address.of(Path(path))
        store = store or open_bucket(address, Access(endpoint=server.url, region="us-east-1"))
        return BucketShelf(address, store, tmp_path / "cache", largest)

    return shelf


def csv_of(tmp_path, rows):
    return write_csv(tmp_path / "scratch.csv", rows).read_bytes()


def put_export(store, tmp_path, month, parts, *, manifest=True, run="9b2c"):
    """Put an AWS data export there: data files under data/, their manifest under metadata/."""
    names = [
        f"exports/aws/data/BILLING_PERIOD={month}/bills-{n:05}.csv.gz" for n in range(len(parts))
    ]
    for name, rows in zip(names, parts, strict=True):
        if rows is not None:
            store.put(name, gzip.compress(csv_of(tmp_path, rows)))
    if manifest:
        put_manifest(store, month, names, run)
    return names


def put_manifest(store, month, names, run="9b2c"):
    keys = [f"s3://bills/{name}" for name in names]
    body = json.dumps({"executionId": run, "dataFiles": keys}).encode()
    store.put(f"exports/aws/metadata/BILLING_PERIOD={month}/bills-Manifest.json", body)


def seen(shelf, book, now=None):
    notes = []
    shelf.show(shelf.look())
    now = now or datetime.now(tz=UTC)
    return shelf.deliveries(book=book, now=now, note=notes.append), notes


def take(shelf, book, now=None):
    """Read what is new and acknowledge it; return (hour, cost, revision) of each event."""
    found, _ = seen(shelf, book, now)
    reader = Reader(found, snapshots=book, reject=pytest.fail, mode="live")
    told = [(a.event.charge_period_start.hour, int(a.event.billed_cost), a.event.x_revision)
            for a in reader]  # fmt: skip
    reader.acknowledge()
    return sorted(told)


def test_an_export_is_read_through_its_manifest_and_told_once(shelf, bucket, book, tmp_path):
    parts = [[bill(1, "1"), bill(2, "2")], [bill(3, "3")]]
    names = put_export(bucket, tmp_path, "2024-09", parts, manifest=False)
    first = shelf()
    assert take(first, book) == []
    put_manifest(bucket, "2024-09", names)
    assert take(first, book) == [(1, 1, 0), (2, 2, 0), (3, 3, 0)]
    assert take(first, book) == []


def test_what_a_manifest_names_and_is_not_there_is_waited_for(shelf, bucket, book, tmp_path):
    put_export(bucket, tmp_path, "2024-09", [[bill(1)], None])
    found, notes = seen(shelf(), book)
    assert found == []
    assert "bills-00001.csv.gz' is not there yet: left alone" in notes[0]


def test_a_month_that_is_overwritten_is_told_by_what_changed(shelf, bucket, book, tmp_path):
    put_export(bucket, tmp_path, "2024-09", [[bill(1, "1"), bill(2, "2")]])
    first = shelf()
    take(first, book)
    put_export(bucket, tmp_path, "2024-09", [[bill(1, "5"), bill(2, "2")]], run="9b2d")
    assert take(first, book) == [(1, 5, 1)]


def test_a_restart_reads_nothing_again(shelf, bucket, tmp_path):
    put_export(bucket, tmp_path, "2024-09", [[bill(1)]])
    with SnapshotBook(tmp_path / "book") as book:
        assert take(shelf(), book) == [(1, 1, 0)]
    with SnapshotBook(tmp_path / "book") as book:
        assert seen(shelf(), book)[0] == []


def test_nothing_of_the_data_stays_on_this_disk(shelf, bucket, book, tmp_path):
    put_export(bucket, tmp_path, "2024-09", [[bill(1)], [bill(2)]])
    take(shelf(), book)
    left = [file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert left == ["bills-Manifest.json"]


def test_one_object_at_a_time_is_at_hand(shelf, bucket, book, tmp_path):
    put_export(bucket, tmp_path, "2024-09", [[bill(n)] for n in range(4)])
    place = shelf()
    found, _ = seen(place, book)
    most = 0
    for file in found[0].files:
        with place.at_hand(file):
            most = max(most, len(list((tmp_path / "cache").rglob("*.csv.gz"))))
    assert most == 1


def test_an_object_that_is_larger_than_agreed_is_refused_with_its_address(
    shelf, bucket, book, tmp_path
):
    put_export(bucket, tmp_path, "2024-09", [[bill(1)]])
    found, _ = seen(shelf(largest=10), book)
    result = read(*found)
    assert [(item.file, item.reason) for item in result.rejected] == [(
        "s3://bills/exports/aws/data/BILLING_PERIOD=2024-09/bills-00000.csv.gz",
        "0 MiB, and at most 0 are fetched (bucket.largest_mib)",
    )]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["a b.csv", "café=1/+%20%2F.csv", "x#y?z&.csv", "[1]*.csv", "'quo\"te'.csv"]
)
def test_odd_names_of_objects_are_read_like_any_other(shelf, bucket, book, tmp_path, name):
    bucket.put(f"exports/aws/{name}", csv_of(tmp_path, [bill(1)]))
    assert take(shelf(), book, datetime.now(tz=UTC) + LATER) == [(1, 1, 0)]


def test_the_address_of_one_object_is_that_object(shelf, bucket, book, tmp_path):
    bucket.put("exports/one.csv", csv_of(tmp_path, [bill(1)]))
    bucket.put("exports/one.csv.old/two.csv", csv_of(tmp_path, [bill(2)]))
    place = shelf("s3://bills/exports/one.csv")
    assert take(place, book, datetime.now(tz=UTC) + LATER) == [(1, 1, 0)]


@pytest.mark.parametrize("name", [".hidden.csv", "_tmp/4.csv", "notes.txt"])
def test_what_is_no_export_is_not_read(shelf, bucket, book, tmp_path, name):
    bucket.put(f"exports/aws/{name}", csv_of(tmp_path, [bill(1)]))
    bucket.put("exports/aws/good.csv", csv_of(tmp_path, [bill(2)]))
    assert take(shelf(), book, datetime.now(tz=UTC) + LATER) == [(2, 1, 0)]


def fault_of(place):
    with pytest.raises(BucketError) as caught:
        place.look()
    line = str(caught.value)
    assert "\n" not in line
    assert "hush-hush" not in line
    return line


def test_a_bucket_that_is_not_there_is_one_clear_line(shelf):
    assert fault_of(shelf("s3://nobody/x")) == (
        "s3://nobody/x: NoSuchBucket: The specified bucket does not exist"
    )


def test_a_prefix_that_holds_nothing_is_one_clear_line(shelf):
    assert fault_of(shelf("s3://bills/other")) == "s3://bills/other: holds nothing"


def test_a_cloud_that_is_away_is_one_clear_line(shelf, server, monkeypatch):
    gone = Access(endpoint="http://127.0.0.1:9", region="us-east-1")
    address = Address.of(Path("s3://bills/x"))
    line = fault_of(shelf("s3://bills/x", store=open_bucket(address, gone)))
    assert line == "s3://bills/x: HTTP error: error sending request (127.0.0.1:9)"


def test_no_credentials_is_one_clear_line(shelf, server, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    line = fault_of(shelf("s3://bills/x"))
    assert line == (
        "s3://bills/x: no credentials: none in the environment or in files, "
        "and this machine has no role"
    )


def test_keys_are_read_from_the_profile_of_awss_files(server, bucket, monkeypatch, tmp_path):
    files = tmp_path / ".aws"
    files.mkdir()
    (files / "credentials").write_text(
        "[billing]\naws_access_key_id = AKIAFILE\naws_secret_access_key = other\n"
    )
    (files / "config").write_text("[profile billing]\nregion = eu-central-1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    bucket.put("exports/aws/a.csv", b"x")
    address = Address.of(Path("s3://bills/exports"))
    store = open_bucket(address, Access(endpoint=server.url, profile="billing"))
    assert store.config["region"] == "eu-central-1"
    assert store.credential_provider()["access_key_id"] == "AKIAFILE"
    assert [item["path"] for page in store.list() for item in page] == ["exports/aws/a.csv"]
    with pytest.raises(BucketError, match="no profile 'absent' with keys in AWS's files"):
        open_bucket(address, Access(endpoint=server.url, profile="absent"))


@pytest.mark.parametrize("path", ["az://bills/x"])
def test_an_address_without_its_account_is_one_clear_line(path):
    with pytest.raises(BucketError, match=r"az://bills/x: .*Account must be specified"):
        open_bucket(Address.of(Path(path)), Access())


@pytest.mark.parametrize("path", ["az://bills/x", "gs://bills/x"])
def test_the_other_clouds_are_opened_alike(path):
    assert open_bucket(Address.of(Path(path)), Access(account="acct"))


def test_an_object_that_is_replaced_while_it_is_read_is_left_for_the_next_look(
    shelf, bucket, book, tmp_path
):
    bucket.put("exports/aws/a.csv", csv_of(tmp_path, [bill(1, "1")]))
    now, place = datetime.now(tz=UTC) + LATER, shelf()
    found, _ = seen(place, book, now)
    bucket.put("exports/aws/a.csv", csv_of(tmp_path, [bill(1, "2")]))
    with pytest.raises(BucketError, match=r"a\.csv: was replaced while it was read"):
        read(*found, book=book)
    assert take(place, book, now) == [(1, 2, 0)]


class Store(MemoryStore):
    """A store whose objects are as old as a test says."""

    def __init__(self):
        super().__init__()
        self.changed = {}

    def list(self, prefix=None):
        for page in super().list(prefix):
            yield [item | {"last_modified": self.changed[item["path"]]} for item in page]


def test_files_that_are_younger_than_their_manifest_are_being_replaced(shelf, book, tmp_path):
    store, now = Store(), datetime(2024, 10, 1, 12, tzinfo=UTC)
    [name] = put_export(store, tmp_path, "2024-09", [[bill(1)]])
    manifest = "exports/aws/metadata/BILLING_PERIOD=2024-09/bills-Manifest.json"
    place = shelf(store=store)
    store.changed = {name: now - timedelta(minutes=1), manifest: now - timedelta(hours=8)}
    assert seen(place, book, now)[0] == []
    store.changed[manifest] = now
    assert len(seen(place, book, now)[0]) == 1
    # A copied bucket: no order means anything, and the manifest will not come again.
    store.changed = {name: now - LATER, manifest: now - 2 * LATER}
    assert len(seen(place, book, now)[0]) == 1


def test_parts_without_a_manifest_are_read_once_none_has_come_for_a_while(shelf, book, tmp_path):
    store, now = Store(), datetime(2024, 10, 1, 12, tzinfo=UTC)
    for part, age in (("part-1.csv", 600), ("part-2.csv", 5)):
        store.put(f"exports/aws/{part}", csv_of(tmp_path, [bill(1, resource=part)]))
        store.changed[f"exports/aws/{part}"] = now - timedelta(seconds=age)
    assert seen(shelf(store=store), book, now)[0] == []
    assert len(seen(shelf(store=store), book, now + timedelta(minutes=1))[0]) == 1


def wait_for(check, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


class Moody:
    """A shelf whose cloud is away at first."""

    def __init__(self, shelf, failures):
        self._shelf = shelf
        self.failures = failures
        self.show, self.deliveries = shelf.show, shelf.deliveries

    def look(self):
        if self.failures:
            self.failures -= 1
            raise BucketError("s3://bills: away")
        return self._shelf.look()


def test_a_lookout_says_that_a_cloud_is_away_and_goes_on_when_it_is_back(
    shelf, bucket, book, tmp_path
):
    put_export(bucket, tmp_path, "2024-09", [[bill(1)]])
    lookout = Lookout(Moody(shelf(), 2), 0.05)
    new = {"book": book, "now": datetime.now(tz=UTC) + LATER, "note": print}
    try:
        assert wait_for(lambda: lookout.fault) == "s3://bills: away"
        assert len(wait_for(lambda: lookout.deliveries(**new))) == 1
        assert lookout.fault is None
        lookout.failed(BucketError("cut"))
        assert lookout.fault == "cut"
        assert len(wait_for(lambda: lookout.deliveries(**new))) == 1
        assert lookout.fault is None
    finally:
        lookout.close()
