"""How long the API takes to answer, with Alertmanager's beside it: p50 and p99 of each route.

    python -m tests.benchmarks.api [REQUESTS]

One process of ours over one store with 10,000 incidents that are not over, 30,000 findings, 10,000
deliveries, and a history of 100,000 series; 50 clients ask one route at a time, each as soon as it
is answered. Debian's Alertmanager holds as many alerts with the same labels. All of it, clients
included, is on this machine.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import aiohttp

from service.adapters.embedded_store import EmbeddedStore
from service.adapters.history import History
from service.adapters.redis_store import RedisStore
from service.core.ledger import LedgerRow
from service.core.pages import cursor_of, place_of
from service.core.ports import Changes, IncidentFilter
from service.entrypoints.api import build_app, serve
from service.entrypoints.api.access import Local
from service.telemetry import Metrics
from tests.factories import make_finding, make_incident, make_notice
from tests.ports import free_port

CLIENTS = 50
INCIDENTS, FINDINGS, SERIES, HOURS = 10_000, 30_000, 100_000, 6
AT_ONCE = 500
NOW = datetime(2026, 3, 11, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)


def series(number):
    return f"aws-main/prod-{number % 97}/i-{number:017x}/USD/hour"


def incident(number):
    return make_incident(
        incident_id=f"{number:032x}", owner=f"team-{number % 40}",
        service_name=f"service-{number % 23}",
        sub_account_id=f"prod-{number % 97}", region_id=f"region-{number % 11}",
        severity=("low", "medium", "high")[number % 3], impact=Decimal(number * 7919 % 100_000) / 7,
        opened_at=NOW - number * timedelta(seconds=50), updated_at=NOW - number % 999 * HOUR,
    )  # fmt: skip


def fill(store, history):
    offset = 0

    def save(**some):
        nonlocal offset
        assert store.save(Changes(previous=offset, offset=offset + 1, **some)) == "saved"
        offset += 1

    for at in range(0, INCIDENTS, AT_ONCE):
        some = [incident(number) for number in range(at, at + AT_ONCE)]
        save(incidents=some, notices=[
            make_notice(incident=one, at=one.updated_at, chart=None) for one in some
        ])  # fmt: skip
    for at in range(0, FINDINGS, AT_ONCE):
        save(findings=[
            make_finding(
                finding_id=f"{number:032x}", series=series(number), owner=f"team-{number % 40}",
                detected_at=NOW - number * timedelta(seconds=20), impact=Decimal(number % 5000),
            )
            for number in range(at, at + AT_ONCE)
        ])  # fmt: skip
    for at in range(0, SERIES, 10_000):
        history.append([
            LedgerRow(series(number), NOW - (hour + 1) * HOUR, NOW - hour * HOUR, "Usage",
                      Decimal("1.25"), 1)
            for number in range(at, at + 10_000) for hour in range(HOURS)
        ])  # fmt: skip
    history.flush()
    history.compact()


def answer(url, folder, port):
    """Serve, in a process of its own."""
    store, history = RedisStore.connect(url), History(Path(folder))
    app = build_app(
        store=store, history=history, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
        local=Local("admin"),
    )  # fmt: skip
    with serve(app, port=port):
        print("up", flush=True)
        sys.stdin.read()


@contextmanager
def running(command, **more):
    process = subprocess.Popen(command, stdin=subprocess.PIPE, **more)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def ours(url, folder):
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.api", "--serve", url, str(folder), str(port)]
    with running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        yield f"http://127.0.0.1:{port}", process


@contextmanager
def alertmanager(folder):
    port = free_port()
    (folder / "am.yml").write_text("route: {receiver: everyone}\nreceivers: [{name: everyone}]\n")
    command = [
        "prometheus-alertmanager", f"--config.file={folder}/am.yml",
        f"--storage.path={folder}/am", f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=", "--log.level=error", f"--web.get-concurrency={2 * CLIENTS}",
    ]  # fmt: skip
    with running(command) as process:
        yield f"http://127.0.0.1:{port}", process


async def tell(url, theirs):
    """Give Alertmanager our alerts, as our API shows them."""
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/api/v2/alerts") as found:
            alerts = await found.json()
        end = (datetime.now(tz=UTC) + timedelta(days=1)).isoformat()
        posts = [
            {"labels": one["labels"], "annotations": one["annotations"], "endsAt": end}
            for one in alerts
        ]
        for _ in range(100):
            try:
                async with http.get(f"{theirs}/-/ready"):
                    break
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
        for at in range(0, len(posts), AT_ONCE):
            async with http.post(f"{theirs}/api/v2/alerts", json=posts[at : at + AT_ONCE]) as done:
                assert done.status == 200, await done.text()
        async with http.get(f"{theirs}/api/v2/alerts") as found:
            assert len(await found.json()) == len(alerts) == INCIDENTS


async def measure(target, number):
    """Ask `number` times by all clients together; return seconds each and bytes of an answer."""
    took, left, size = [], iter(range(number)), 0
    unlimited = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=300)

    async with aiohttp.ClientSession(connector=unlimited, timeout=timeout) as http:

        async def client():
            nonlocal size
            for _ in left:
                began = time.perf_counter()
                async with http.get(target) as found:
                    body = await found.read()
                    assert found.status == 200, (target, found.status, body[:200])
                took.append(time.perf_counter() - began)
                size = len(body)

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        whole = time.perf_counter() - began
    return sorted(took), size, len(took) / whole


def cpu_ms(process):
    """Return how long a process has kept a core busy, store and clients apart."""
    spent = Path(f"/proc/{process.pid}/stat").read_text("ascii").rpartition(")")[2].split()[11:13]
    return 1000 * sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")


def report(name, url, number, process):
    began = cpu_ms(process)
    took, size, rate = asyncio.run(measure(url, number))
    cpu = (cpu_ms(process) - began) / len(took)
    p50, p99 = (1000 * took[int(len(took) * share)] for share in (0.5, 0.99))
    print(
        f"| {name} | {size / 1000:,.0f} | {cpu:,.1f} | {p50:,.0f} | {p99:,.0f} | {rate:,.0f} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("requests", nargs="?", type=int, default=1000)
    parser.add_argument("--serve", nargs=3)
    asked = parser.parse_args()
    if asked.serve:
        answer(asked.serve[0], asked.serve[1], int(asked.serve[2]))
        return
    number = asked.requests
    with tempfile.TemporaryDirectory() as name, EmbeddedStore(Path(name) / "store") as server:
        folder = Path(name)
        store, history = RedisStore.connect(server.url), History(folder / "history")
        fill(store, history)
        middle = store.incidents(IncidentFilter(order="opened", limit=INCIDENTS // 2))[-1]
        cursor = cursor_of(place_of(middle, "opened"), "opened")
        with ours(server.url, folder / "history") as (url, our):
            print(f"{os.cpu_count()} cores, {CLIENTS} clients, {number} requests a route\n")
            print(
                "| route | kB | CPU, ms | p50, ms | p99, ms | a second |\n|---|---|---|---|---|---|"
            )
            for path in (
                "/livez", "/v1/status", "/metrics", "/v1/incidents", "/v1/incidents?sort=impact",
                f"/v1/incidents?sort=opened&cursor={cursor}", "/v1/incidents?owner=team-7",
                "/v1/incidents?region=region-3&severity=high&min_impact=14000",
                f"/v1/incidents/{5:032x}", "/v1/findings", "/v1/findings?owner=team-7&sort=impact",
                f"/v1/findings/{5:032x}", "/v1/deliveries",
                "/v1/deliveries?state=ready&owner=team-7",
                "/v1/audit", "/v1/budgets", "/v1/silences", "/v1/tokens",
                "/api/v2/silences", "/api/v2/status",
                "/api/v2/alerts?filter=owner%3Dteam-7",
            ):  # fmt: skip
                report(path.partition("&cursor")[0], url + path, number, our)
            slow = max(CLIENTS, number // 10)
            report("/v1/spend", f"{url}/v1/spend?by=service_name", slow, our)
            report("/v1/series/...", f"{url}/v1/series/{series(77)}", slow, our)
            report("/api/v2/alerts", f"{url}/api/v2/alerts", slow, our)
            if shutil.which("prometheus-alertmanager"):
                with alertmanager(folder) as (theirs, their):
                    asyncio.run(tell(url, theirs))
                    print("| **Alertmanager** | | | | | |")
                    for path in ("alerts?filter=owner%3Dteam-7", "silences", "status"):
                        report(f"/api/v2/{path}", f"{theirs}/api/v2/{path}", number, their)
                    report("/api/v2/alerts", f"{theirs}/api/v2/alerts", slow, their)
        history.close()
        store.close()


if __name__ == "__main__":
    main()
