"""What the dashboards ask of the API is answered, with every column that they name."""

import json
import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from service.core.ports import Changes
from service.entrypoints.api.access import Local
from service.entrypoints.api.app import build_app
from service.telemetry import Metrics
from tests.factories import NOW, make_incident

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards" / "incidents.json"
DASHBOARD = json.loads(FILE.read_text())
INFINITY = "yesoreyeram-infinity-datasource"
SINCE = NOW - timedelta(days=7)
VARIABLES = {
    "${__from:date:iso}": SINCE.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    "${__to:date:iso}": NOW.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    "$severity": "medium",
}


def targets():
    """Everything that is asked of the API: by panels, and for annotations."""
    panels = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
    every = [*panels, *(one["target"] for one in DASHBOARD["annotations"]["list"])]
    return [one for one in every if one["datasource"]["type"] == INFINITY]


async def get(store, url):
    app = build_app(
        store=store, history=None, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
        local=Local("viewer"),
    )  # fmt: skip
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        return await http.get(url)


@pytest.mark.parametrize("target", targets(), ids=lambda target: target["url"])
async def test_every_table_and_annotation_is_answered_with_the_columns_it_names(store, target):
    store.save(Changes(previous=0, offset=1, incidents=[make_incident()]))
    url = target["url"]
    for name, value in VARIABLES.items():
        url = url.replace(name, value)
    assert "$" not in url
    answer = await get(store, url)
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()
    kinds = {"string": str, "timestamp": str, "number": float}
    for column in target["columns"]:
        value = row[column["selector"]]
        assert isinstance(value, kinds[column["type"]]), column
        assert re.match(r"\d{4}-", str(value)) or column["type"] != "timestamp"


def test_annotations_map_only_what_is_asked_for():
    for one in DASHBOARD["annotations"]["list"]:
        named = {column["text"] for column in one["target"]["columns"]}
        assert {mapping["value"] for mapping in one["mappings"].values()} <= named


async def test_a_window_holds_what_goes_on_in_it_and_no_more(store):
    day = timedelta(days=1)
    incidents = [
        make_incident(incident_id="open", starts_at=NOW - 9 * day),
        make_incident(incident_id="over", starts_at=NOW - 9 * day, ends_at=NOW - 8 * day),
        make_incident(incident_id="later", starts_at=NOW - day / 2),
        make_incident(incident_id="low", starts_at=NOW - 2 * day, severity="low"),
        make_incident(incident_id="free", starts_at=NOW - 2 * day, impact=None, owner="web"),
    ]
    store.save(Changes(previous=0, offset=1, incidents=incidents))
    since, until = (at.isoformat().replace("+00:00", "Z") for at in (NOW - 7 * day, NOW - day))
    window = f"/v1/annotations?since={since}&until={until}"

    async def names(more=""):
        return {row["incident_id"] for row in (await get(store, window + more)).json()}

    assert await names() == {"open", "low", "free"}
    assert await names("&min_severity=medium") == {"open", "free"}
    assert await names("&owner=web") == {"free"}
    assert len(await names("&limit=1")) == 1
    assert (await get(store, f"/v1/annotations?since={until}&until={since}")).status_code == 422
