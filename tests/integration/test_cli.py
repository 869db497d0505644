"""The console script: small things that everyone meets."""

import json
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from service.entrypoints.cli import app


def run(*arguments):
    return CliRunner().invoke(app, arguments)


def test_it_says_which_version_it_is():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"spendwatch {version('spendwatch')}\n")


def test_who_hears_is_said_with_the_way_there():
    result = run("route-test", "--tag", "team=search", "--severity", "high")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "owner: search (tag team=search)",
        "console: receiver everyone, by the default route; once it has cost 10",
    ]


def test_what_people_set_up_is_in_the_preview(tmp_path):
    said = {"who": "bo", "via": "api", "why": "so", "at": "2026-06-01T00:00:00Z"}
    until = {"starts_at": "2026-06-01T00:00:00Z", "until": "2026-06-08T08:00:00Z"}
    things = [
        {"type": "claim", "name": "c", "owner": "ml", "author": "bo", "resource_id": "i-7"},
        {"type": "plan", "name": "p", "team": "ml", "amount": "4000", "billing_currency": "USD",
         "comment": "the big run"} | until,
        {"type": "subscription", "name": "ours", "team": "ml", "destination": "console:ml",
         "quiet_hours": {"start": "19:00", "end": "07:00", "location": "Europe/Berlin"}},
    ]  # fmt: skip
    file = tmp_path / "setup.ndjson"
    lines = [json.dumps({"x_Intent": "put", "thing": thing} | said) for thing in things]
    file.write_text("\n".join(lines))
    planned = "planned by ml until 8 Jun 2026 08:00 UTC (the big run)"
    asked = ["route-test", "--resource", "i-7", "--intents", str(file), "--at"]
    result = run(*asked, "2026-06-02T20:00:00")
    assert result.stdout.splitlines() == [
        "owner: ml (claimed by bo)",
        f"nobody hears while it all costs at most 4000 USD more: {planned}",
        "console: receiver everyone, by the default route; once it has cost 10",
        "console:ml: by ml's subscription ours; not before 3 Jun 2026 05:00 UTC",
    ]
    assert "nobody hears" not in run(*asked, "2026-06-09T00:00:00").stdout
    file.write_text(lines[0].replace("i-7", ""))
    result = run(*asked, "2026-06-02T20:00:00")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["route-test", "--severity", "dreadful"],
        ["route-test", "--tag", "team"],
        ["demo", "--port", "99999"],
        ["demo", "--port", "-1"],
    ],
)
def test_a_bogus_option_is_a_misuse(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)


def test_a_replay_that_is_piped_writes_no_blank_line(tmp_path):
    (tmp_path / "a.csv").write_text("name\nada\n")
    result = run("replay", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"))
    assert all(result.stderr.splitlines())
