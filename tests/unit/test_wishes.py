"""The page of wishes names tests that there are, and what it says of formats holds."""

import re
from pathlib import Path

import pytest

from service.entrypoints.api.app import build_app
from service.telemetry import Metrics
from tests.factories import NOW

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "wishes.md").read_text("utf-8")


def test_the_page_has_every_wish_once():
    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == [str(n) for n in range(1, 16)]


@pytest.mark.parametrize("named", sorted({*re.findall(r"`(tests/[\w/]+\.py::test_\w+)`", PAGE)}))
def test_every_test_that_the_page_names_is_there(named):
    path, name = named.split("::")
    assert f"def {name}(" in (ROOT / path).read_text("utf-8")


def test_no_route_answers_what_a_spreadsheet_opens():
    app = build_app(store=None, history=None, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW)
    formats = {
        format_
        for path in app.openapi()["paths"].values()
        for route in path.values()
        for answer in route["responses"].values()
        for format_ in answer.get("content", ())
    }
    sheets = {"text/csv", "text/tab-separated-values", "application/vnd.ms-excel"}
    assert {"application/json", "text/html"} <= formats
    # Whoever adds one must see to it that no cell begins as a formula does, and say so on the page.
    assert not formats & sheets
