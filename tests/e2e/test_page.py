import itertools
import re
import subprocess
from datetime import timedelta
from decimal import Decimal

import pytest

from service.adapters.embedded_store import EmbeddedStore
from service.adapters.redis_store import RedisStore
from service.core.ports import Changes, SourceStatus
from service.entrypoints.api import build_app, serve
from service.entrypoints.api.access import Local
from service.telemetry import Metrics
from tests.factories import NOW, make_driver, make_incident, make_notice
from tests.needs import need

HERE = Local("viewer")
NASTY = (
    "<img src=/stolen onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
)
CHARTS = 'spendwatch_api_requests_total{route="/v1/incidents/{incident_id}/chart.png",status="200"}'


@pytest.fixture
def browse(tmp_path):
    """Load an address in a real browser for some seconds of its time; returns the page then."""
    chromium = need("chromium")

    def load(url, seconds=3):
        done = subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--no-first-run",
                "--enable-logging=stderr",
                f"--user-data-dir={tmp_path / 'browser'}",
                f"--virtual-time-budget={seconds * 1000}",
                "--dump-dom",
                url,
            ],
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
        complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        assert complaints == []
        return done.stdout

    return load


def text(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


def an_app(store, metrics, now=lambda: NOW):
    return build_app(
        store=store, history=None, metrics=metrics, started_at=NOW, now=now, local=HERE
    )


def test_a_browser_shows_what_burns_with_its_chart(store, browse):
    small = make_incident(incident_id="small", owner="web", run_rate_per_day=Decimal(12))
    over = make_incident(incident_id="over", state="resolved", ends_at=NOW, title="S3 · logs")
    big, metrics = make_incident(), Metrics("1")
    source = SourceStatus(source="aws-main", events=12_345, last_arrived_at=NOW)
    store.save(
        Changes(
            previous=0,
            offset=1,
            incidents=[small, over, big],
            notices=[make_notice(incident=big)],
            sources=[source],
        )
    )
    with serve(an_app(store, metrics)) as url:
        html = browse(url)
    said = text(html)
    assert "<title>(2) +$1,252/day · Spendwatch</title>" in html
    assert "2 incidents are firing" in said
    assert said.index("+$1,240/day") < said.index("+$12/day") < said.index("S3 · logs")
    assert "Owner payments" in said
    assert "aws-main Fresh 0 min ago" in said
    assert "12,345" in said
    assert f"{CHARTS} 1.0" in metrics.render().decode()


def test_what_a_stranger_named_neither_runs_nor_loads(store, browse):
    incident = make_incident(
        title=NASTY,
        owner=NASTY,
        region_id=NASTY,
        drivers=[make_driver(resource=NASTY, reason=NASTY)],
    )
    metrics = Metrics("1")
    notice = make_notice(incident=incident)
    store.save(Changes(previous=0, offset=1, incidents=[incident], notices=[notice]))
    with serve(an_app(store, metrics)) as url:
        html = browse(url)
    assert "owned" not in re.search("<title>(.*)</title>", html)[1]
    assert "onerror=" in text(html)
    assert 'route="none"' not in metrics.render().decode()


def test_the_page_renews_itself(store, browse):
    asked = itertools.count()

    def now():
        number = next(asked)
        if number == 1:
            store.save(Changes(previous=0, offset=1, incidents=[make_incident()]))
        return NOW + timedelta(minutes=number)

    with serve(an_app(store, Metrics("1"), now)) as url:
        said = text(browse(url, seconds=40))
    assert "1 incident is firing" in said
    assert "As of 11 Mar 2026 14:00" not in said


def test_a_browser_is_told_when_the_store_is_away(tmp_path, browse):
    with EmbeddedStore(tmp_path / "store") as server:
        store = RedisStore.connect(server.url)
    with serve(an_app(store, Metrics("1"))) as url:
        said = text(browse(url))
    store.close()
    assert "The store does not answer" in said
    assert "Service unavailable" in said
