"""The walker finds what Slack would refuse, and nothing else."""

import copy

import pytest

from service.adapters.slack_blocks import Look, blocks_of
from service.adapters.slack_limits import flaws, view_flaws
from tests.factories import make_notice


def plain(length):
    return {"type": "plain_text", "text": "x" * length}


def mrkdwn(length):
    return {"type": "mrkdwn", "text": "x" * length}


def button(**overrides):
    return {"type": "button", "text": plain(5), "action_id": "a"} | overrides


def select(options):
    return {"type": "static_select", "action_id": "s", "options": options}


def option(**overrides):
    return {"text": plain(5), "value": "v"} | overrides


def confirm(**overrides):
    texts = {"title": plain(5), "text": plain(5), "confirm": plain(5), "deny": plain(5)}
    return texts | overrides


def actions(*elements):
    return {"type": "actions", "elements": list(elements)}


AT_THE_LIMIT = {
    "header": {"type": "header", "text": plain(150)},
    "section": {"type": "section", "text": mrkdwn(3000)},
    "fields": {"type": "section", "fields": [mrkdwn(500)] * 10},
    "field": {"type": "section", "fields": [mrkdwn(2000)]},
    "context": {"type": "context", "elements": [plain(5)] * 10},
    "actions": actions(*(button(action_id=str(n)) for n in range(25))),
    "button": actions(button(text=plain(75), value="v" * 2000, url="u" * 3000)),
    "image": {"type": "image", "image_url": "u" * 3000, "alt_text": "a" * 2000},
    "options": actions(select([option() for _ in range(100)])),
    "option": actions(select([option(text=plain(75), value="v" * 150)])),
    "overflow": actions({"type": "overflow", "action_id": "o", "options": [option()] * 5}),
    "dialogue": actions(
        button(
            confirm=confirm(title=plain(100), text=plain(300), confirm=plain(30), deny=plain(30))
        )
    ),
    "ids": {"type": "divider", "block_id": "b" * 255},
    "table": {"type": "table", "rows": [[plain(1)] * 20] * 10},
}
OVER_THE_LIMIT = {
    "header": {"type": "header", "text": plain(151)},
    "header without text": {"type": "header", "text": plain(0)},
    "section": {"type": "section", "text": mrkdwn(3001)},
    "section without text or fields": {"type": "section"},
    "eleven fields": {"type": "section", "fields": [mrkdwn(5)] * 11},
    "field": {"type": "section", "fields": [mrkdwn(2001)]},
    "empty field": {"type": "section", "fields": [mrkdwn(0)]},
    "context": {"type": "context", "elements": [plain(5)] * 11},
    "actions": actions(*(button(action_id=str(n)) for n in range(26))),
    "no actions": actions(),
    "button text": actions(button(text=plain(76))),
    "button value": actions(button(value="v" * 2001)),
    "button url": actions(button(url="u" * 3001)),
    "image without alt_text": {"type": "image", "image_url": "u"},
    "image with long alt_text": {"type": "image", "image_url": "u", "alt_text": "a" * 2001},
    "image without picture": {"type": "image", "alt_text": "a"},
    "image with two pictures": {
        "type": "image", "alt_text": "a", "image_url": "u", "slack_file": {"id": "F1"},
    },
    "options": actions(select([option() for _ in range(101)])),
    "option text": actions(select([option(text=plain(76))])),
    "option value": actions(select([option(value="v" * 151)])),
    "overflow": actions({"type": "overflow", "action_id": "o", "options": [option()] * 6}),
    "dialogue title": actions(button(confirm=confirm(title=plain(101)))),
    "dialogue text": actions(button(confirm=confirm(text=plain(301)))),
    "dialogue button": actions(button(confirm=confirm(deny=plain(31)))),
    "block_id": {"type": "divider", "block_id": "b" * 256},
    "action_id": actions(button(action_id="a" * 256)),
    "twice the same action_id": actions(button(), button()),
    "table": {"type": "table", "rows": [[plain(1)] * 21]},
    "markdown": {"type": "markdown", "text": "x" * 12_001},
    "rich text": {"type": "rich_text", "elements": []},
}  # fmt: skip


@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_what_is_at_its_limit_passes(name):
    assert flaws([AT_THE_LIMIT[name]], size=100_000) == []


@pytest.mark.parametrize("name", OVER_THE_LIMIT)
def test_what_is_over_its_limit_is_named_with_its_place(name):
    found = flaws([OVER_THE_LIMIT[name]], size=100_000)
    assert found
    assert all(flaw.startswith("/") for flaw in found)


def test_a_message_has_at_most_fifty_blocks():
    blocks = [{"type": "divider", "block_id": str(n)} for n in range(51)]
    assert flaws(blocks[:50]) == []
    assert flaws(blocks) == ["/: 51 blocks, at most 50"]


def test_all_blocks_together_have_a_size_that_slack_does_not_document():
    blocks = [{"type": "section", "text": mrkdwn(2500), "block_id": str(n)} for n in range(4)]
    assert flaws(blocks[:3]) == []
    assert any("of JSON" in flaw for flaw in flaws(blocks))


def test_a_block_id_occurs_once():
    blocks = [{"type": "divider", "block_id": "b"}] * 2
    assert flaws(blocks) == ["/: block_id 'b' occurs 2 times"]


def chart(points=20, series=6, name="n" * 19, label="l" * 18):
    labels = [f"{label}{n:02}" for n in range(points)]
    lines = [
        {"name": f"{name}{n}", "data": [{"label": text, "value": 1.0} for text in labels]}
        for n in range(series)
    ]
    axis = {"categories": labels, "x_label": "x" * 50}
    shown = {"type": "line", "series": lines, "axis_config": axis}
    return {"type": "data_visualization", "title": "t" * 50, "chart": shown}


@pytest.mark.parametrize(
    "over", [{"points": 21}, {"series": 7}, {"name": "n" * 20}, {"label": "l" * 19}]
)
def test_a_chart_may_be_so_large_and_no_larger(over):
    assert flaws([chart()]) == []
    assert flaws([chart(**over)])


def test_a_charts_series_have_one_value_for_every_category():
    block = chart(points=3, series=2)
    block["chart"]["series"][1]["data"].pop()
    assert flaws([block]) == ["/0/chart/series/1: its labels are not the categories"]
    block = chart(points=3, series=2)
    block["chart"]["series"][1]["name"] = block["chart"]["series"][0]["name"]
    assert flaws([block]) == ["/0/chart/series: two of one name"]
    assert flaws([{"type": "data_visualization", "title": "t", "chart": {"type": "line"}}])


def a_view(**over):
    field = {"type": "plain_text_input", "action_id": "a"}
    asked = {"type": "input", "block_id": "b", "label": plain(2000), "element": field}
    view = {
        "type": "modal",
        "title": plain(24),
        "submit": plain(24),
        "close": plain(24),
        "callback_id": "c" * 255,
        "private_metadata": "m" * 3000,
        "blocks": [asked],
    }
    return view | over


@pytest.mark.parametrize(
    "over",
    [
        {"title": plain(25)},
        {"submit": plain(25)},
        {"close": plain(25)},
        {"submit": None},
        {"callback_id": "c" * 256},
        {"private_metadata": "m" * 3001},
        {"blocks": [{"type": "divider"}] * 101},
        {"blocks": [{"type": "section", "text": plain(3001)}]},
        {
            "blocks": [
                {"type": "section", "text": plain(3000), "block_id": str(n)} for n in range(99)
            ]
        },
    ],
)
def test_a_view_may_be_so_large_and_no_larger(over):
    assert view_flaws(a_view()) == []
    assert view_flaws(a_view(**over))


def test_at_most_two_charts():
    blocks = [chart(points=3, series=2) | {"block_id": str(n)} for n in range(3)]
    assert flaws(blocks[:2]) == []
    assert flaws(blocks)


def test_a_notice_that_is_spoilt_anywhere_is_found_out():
    blocks = blocks_of(
        make_notice(), Look("https://x.example", answers=True), picture="F0123456789"
    )
    assert flaws(blocks) == []
    for at, block in enumerate(blocks):
        spoilt = copy.deepcopy(blocks)
        spoilt[at] = block | {"block_id": blocks[at - 1]["block_id"]}
        assert flaws(spoilt)
