"""The console script: small things that everyone meets."""

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
        "console: receiver everyone, by the default route, once it has cost 10",
    ]


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
