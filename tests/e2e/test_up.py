"""`make up`: what docker-compose.yml says, started for real, tells Slack of one costly hour."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from tests.command_lines import command_lines
from tests.needs import need

UP = Path(__file__).parents[2] / "deploy" / "up.py"
HOUR = timedelta(hours=1)


@pytest.fixture
def exports(tmp_path):
    """Two weeks of one machine, the last hour of which costs a hundred times as much."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    rows = []
    for back in range(14 * 24, 0, -1):
        start = now - back * HOUR
        cost = str(150 if back == 1 else 1.5 + (back % 7) / 50)
        rows.append(
            {
                "BilledCost": cost, "EffectiveCost": cost, "BillingCurrency": "USD",
                "BillingAccountId": "acme", "SubAccountId": "acme-prod", "ServiceName": "Compute",
                "ChargeCategory": "Usage", "ChargeFrequency": "Usage-Based",
                "ChargePeriodStart": f"{start:%Y-%m-%dT%H:%M:%SZ}",
                "ChargePeriodEnd": f"{start + HOUR:%Y-%m-%dT%H:%M:%SZ}",
                "BillingPeriodStart": "2020-01-01T00:00:00Z",
                "BillingPeriodEnd": "2040-01-01T00:00:00Z",
                "ProviderName": "AWS", "ResourceId": "i-1", "Tags": {"team": "search"},
            }
        )  # fmt: skip
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "rows.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.mark.timeout(300)
def test_what_compose_would_start_tells_slack_and_leaves_nothing_behind(tmp_path, exports):
    need("java")
    need("mvn")
    folder = tmp_path / "up"
    said = tmp_path / "said"
    with said.open("w") as file:
        run = subprocess.Popen(
            [sys.executable, UP, "--folder", folder, "--exports", exports],
            stdout=file, stderr=file, env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def told(word):
        lines = [line.split() for line in said.read_text().splitlines()]
        return next((line[-1] for line in lines if " ".join(line[:-1]) == word), None)

    def until(condition):
        deadline = time.monotonic() + 200
        while not condition():
            logs = "\n".join(log.read_text()[-1000:] for log in folder.glob("*.log"))
            assert run.poll() is None, said.read_text() + logs
            assert time.monotonic() < deadline, said.read_text() + logs
            time.sleep(0.5)

    try:
        until(lambda: told("admin token"))
        asked = {"Authorization": f"Bearer {told('admin token')}"}
        page = told("page").partition("/sign-in")[0]

        def incidents():
            return httpx.get(f"{page}/v1/incidents", headers=asked).json()["items"]

        def is_in_slack():
            return "i-1" in httpx.get(told("local Slack")).text

        until(is_in_slack)
        (incident,) = incidents()
        assert (incident["owner"], incident["state"]) == ("search", "firing")
        assert httpx.get(f"{page}/v1/incidents").status_code == 401
        workers = [line for line in command_lines(folder) if b"\0worker\0" in line]
        assert len(workers) == 2
        shown = httpx.get(f"{told('local Slack')}?as=U0LOCALADA").text
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', _form(shown)))
        httpx.post(f"{told('local Slack')}/hands/press", data=hidden)
        until(lambda: incidents()[0]["state"] == "acknowledged")
        assert incidents()[0]["assignee"] == "Ada"
        until(lambda: "Subject:" in (folder / "mailpit.log").read_text())

        def spent():
            answer = httpx.get(f"{page}/v1/spend", headers=asked, params={"by": "resource_id"})
            found = answer.json().get("lines", [])
            return [(line["labels"], Decimal(line["cost"]) > 600) for line in found]

        until(lambda: spent() == [({"resource_id": "i-1"}, True)])
    finally:
        run.send_signal(signal.SIGINT)
        run.wait(60)
    assert run.returncode == 0
    assert command_lines(folder) == []


def _form(page):
    """Return the form of the page whose button acknowledges."""
    forms = re.findall(r"<form.*?</form>", page, re.DOTALL)
    return next(form for form in forms if 'value="acknowledge"' in form)


def test_who_lacks_java_is_told_so_in_one_line(tmp_path):
    run = subprocess.run(
        [sys.executable, UP, "--folder", tmp_path / "up"],
        capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)},
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (
        1, "up: Apache Kafka needs java: apt install default-jre-headless\n",
    )  # fmt: skip
