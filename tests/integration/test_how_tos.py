"""Every config that a how-to shows is one: `check-config` finds no fault in it."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.entrypoints.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROVIDERS = [
    page
    for page in sorted((ROOT / "docs" / "sources").glob("*.md"))
    if page.stem not in ("pitfalls", "buckets")
]
BLOCK = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, block in enumerate(BLOCK.findall(page.read_text()), 1)
]


@pytest.mark.parametrize("shown", SHOWN)
def test_a_config_that_a_how_to_shows_is_sound_as_written(shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the folders that it names are made, and its files of secrets
    shown = shown.replace('path = "/', f'path = "{tmp_path}/')
    for feed in tomllib.loads(shown).get("sources", {}).values():
        if "://" not in feed["path"]:
            Path(feed["path"]).mkdir(parents=True, exist_ok=True)
    for secret in re.findall(r'^\w+_file = "(.+?)"', shown, re.MULTILINE):
        (tmp_path / secret).write_text("x" * 64)
    path = tmp_path / "spendwatch.toml"
    path.write_text(shown)
    result = CliRunner().invoke(app, ["check-config", str(path)])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("page", PROVIDERS, ids=lambda page: page.stem)
def test_a_how_to_per_provider_says_what_to_switch_on_to_write_and_how_long_it_takes(page):
    text = page.read_text().lower()
    assert "[sources." in text
    assert "first notice" in text
