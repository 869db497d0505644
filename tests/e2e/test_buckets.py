"""Exports in a bucket, from end to end: watched, replayed and ingested by its address."""

import gzip
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.reading import bill, write_csv
from tests.s3_server import S3Server

SPENDWATCH = Path(sys.executable).with_name("spendwatch")
ENVIRONMENT = os.environ | {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "hush"}


@pytest.fixture
def server():
    server = S3Server()
    yield server
    server.stop()


def fill(server, folder, rows):
    """Put a FOCUS export of AWS there, manifest last."""
    store = server.bucket("bills")
    name = "focus/data/BILLING_PERIOD=2024-09/focus-00001.csv.gz"
    store.put(name, gzip.compress(write_csv(folder / "rows.csv", rows).read_bytes()))
    manifest = {"dataFiles": [f"s3://bills/{name}"]}
    store.put(
        "focus/metadata/BILLING_PERIOD=2024-09/focus-Manifest.json", json.dumps(manifest).encode()
    )


def config(folder, server, **more):
    path = folder / "spendwatch.toml"
    path.write_text(f"""
data_dir = "{folder / "var"}"
[sources.aws]
path = "s3://bills/focus"
bucket = {{ endpoint = "{server.url}", region = "us-east-1", every_seconds = 1 }}
[sources.beside]
path = "{folder / "beside"}"
[api]
port = {more.get("port", 8321)}
local = "viewer"
""")
    return path


def spendwatch(*command):
    return subprocess.run(
        [SPENDWATCH, *map(str, command)], env=ENVIRONMENT, capture_output=True, text=True,
        check=False, timeout=110,
    )  # fmt: skip


def test_a_bucket_is_replayed_as_its_files_would_be(server, tmp_path):
    (tmp_path / "beside").mkdir()
    rows = [bill(hour) for hour in range(5)]
    fill(server, tmp_path, rows)
    file = config(tmp_path, server)
    done = spendwatch("replay", "s3://bills/focus", "--out", tmp_path / "a", "-c", file)
    assert done.returncode == 0, done.stderr
    spendwatch("replay", tmp_path / "rows.csv", "--out", tmp_path / "b")
    totals = [json.loads((tmp_path / out / "summary.json").read_bytes())["totals"] for out in "ab"]
    assert totals[0] == totals[1] != []
    done = spendwatch("ingest", "s3://bills/focus", "--dry-run", "-c", file)
    assert "would publish 5 rows to billing.events" in done.stdout


def test_a_wrong_bucket_ends_a_replay_with_one_line(server, tmp_path):
    (tmp_path / "beside").mkdir()
    server.bucket("bills")
    file = config(tmp_path, server)
    done = spendwatch("replay", "s3://bills/other", "--out", tmp_path / "out", "-c", file)
    assert (done.returncode, done.stderr) == (1, "spendwatch: s3://bills/other: holds nothing\n")


def wait_for(check, seconds=90):
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def test_a_watched_bucket_is_read_and_when_the_cloud_is_away_the_watch_goes_on(server, tmp_path):
    port = free_port()
    beside = tmp_path / "beside"
    beside.mkdir()
    fill(server, tmp_path, [bill(1), bill(2)])
    file = config(tmp_path, server, port=port)
    with subprocess.Popen([SPENDWATCH, "run", "-c", file], env=ENVIRONMENT) as process:

        def status():
            try:
                at = f"http://127.0.0.1:{port}/v1/status"
                with urllib.request.urlopen(at, timeout=5) as answer:
                    return json.load(answer)
            except OSError:
                return {"sources": [], "reasons": []}

        def read():
            return {source["source"]: source["events"] for source in status()["sources"]}

        def away():
            return [reason for reason in status()["reasons"] if "s3://bills/focus: " in reason]

        try:
            wait_for(lambda: read() == {"aws": 2})
            server.stop()
            wait_for(away)
            write_csv(beside / "part.csv", [bill(1, BillingAccountId="other")])
            wait_for(lambda: read() == {"aws": 2, "beside": 1})
            again = S3Server(port=int(server.url.rpartition(":")[2]))
            try:
                fill(again, tmp_path, [bill(1), bill(2), bill(3)])
                wait_for(lambda: read()["aws"] == 3)
                assert away() == []
            finally:
                again.stop()
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0
