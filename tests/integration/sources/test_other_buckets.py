"""Google Cloud Storage and Azure Blob Storage, read from servers that speak as they do."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.adapters.sources import (
    Access,
    Address,
    BucketError,
    BucketShelf,
    Reader,
    SnapshotBook,
    open_bucket,
)
from tests.bucket_servers import ACCOUNT, KEY, AzureServer, GcsServer
from tests.integration.sources.test_buckets import LATER, MIB, csv_of, seen, take
from tests.reading import bill


@pytest.fixture(scope="module", params=["gs", "az"])
def server(request):
    server = {"gs": GcsServer, "az": AzureServer}[request.param]("bills")
    server.scheme = request.param
    yield server
    server.stop()


@pytest.fixture
def shelf(server, tmp_path, monkeypatch):
    account = tmp_path / "account.json"
    secret = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    account.write_text(json.dumps(secret | {"gcs_base_url": server.url, "disable_oauth": True}))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)

    def shelf(prefix, largest=MIB):
        address = Address.of(Path(f"{server.scheme}://bills/{prefix}"))
        account = ACCOUNT if server.scheme == "az" else None
        store = open_bucket(address, Access(endpoint=server.url, account=account))
        return BucketShelf(address, store, tmp_path / "cache", largest)

    return shelf


def test_what_is_new_in_a_bucket_is_read_and_told_once(server, shelf, tmp_path):
    with SnapshotBook(tmp_path / "book") as book:
        place, later = shelf("once"), datetime.now(tz=UTC) + LATER
        server.put("once/bill.csv.gz", gzip.compress(csv_of(tmp_path, [bill(1), bill(2, "2")])))
        assert take(place, book) == []  # it may be half written
        assert take(place, book, later) == [(1, 1, 0), (2, 2, 0)]
        assert take(place, book, later) == []
        server.put("once/bill.csv.gz", gzip.compress(csv_of(tmp_path, [bill(1), bill(2, "5")])))
        assert take(place, book, later) == [(2, 5, 1)]


def test_of_a_bucket_only_what_is_under_the_prefix_is_read(server, shelf, tmp_path):
    for name in ("mine/bill.csv", "mineral/bill.csv", "other/bill.csv"):
        server.put(name, csv_of(tmp_path, [bill(1)]))
    with SnapshotBook(tmp_path / "book") as book:
        found, _ = seen(shelf("mine"), book, datetime.now(tz=UTC) + LATER)
        assert len(found) == 1
        assert len(list(Reader(found, snapshots=book, reject=pytest.fail, mode="live"))) == 1


def test_a_bucket_that_is_not_there_is_said_in_one_line(server, shelf, tmp_path):
    address = Address.of(Path(f"{server.scheme}://nowhere/x"))
    account = ACCOUNT if server.scheme == "az" else None
    store = open_bucket(address, Access(endpoint=server.url, account=account))
    with pytest.raises(BucketError, match="nowhere") as error:
        BucketShelf(address, store, tmp_path / "cache", MIB).look()
    assert "\n" not in str(error.value)
    assert KEY not in str(error.value)
