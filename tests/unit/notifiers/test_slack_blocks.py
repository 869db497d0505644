"""What Slack gets: within every limit, valid by Slack's own types, and never markup from a row."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.slack_blocks import FALLBACK_LIMIT, blocks_of, escape, fallback
from service.adapters.slack_limits import flaws
from tests.factories import make_driver, make_incident, make_notice
from tests.unit.test_wording import make_idle, make_over, make_withdrawn

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "data/block_kit/blocks.schema.json").read_text(encoding="utf-8")
)
TYPES = {
    "actions": "ActionsBlock",
    "context": "ContextBlock",
    "header": "HeaderBlock",
    "image": "ImageBlock",
    "rich_text": "RichTextBlock",
    "section": "SectionBlock",
}
HOSTILE = "<!channel> <@U1> <https://e|x> *b* `c` & \u202e\r\nBcc: x\x1b[2J"
LOOKS = {
    "firing": make_notice(),
    "withdrawn": make_notice(incident=make_withdrawn()),
    "resolved": make_notice(incident=make_over(), seq=4),
    "idle GPUs": make_notice(incident=make_idle(), chart=None),
    "no drivers": make_notice(incident=make_incident(drivers=[])),
}


def schema_flaws(block):
    validator = jsonschema.Draft7Validator(
        {"$ref": f"#/definitions/{TYPES[block['type']]}", "definitions": SCHEMA["definitions"]}
    )
    return [error.message for error in validator.iter_errors(block)]


def hostile_incident(text):
    return make_incident(
        title=text,
        owner=text,
        owner_source=text,
        sub_account_id=text,
        region_id=text,
        billing_currency=text,
        confidence=text,
        drivers=[make_driver(resource=text, reason=text) for _ in range(4)],
    )


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("picture", [None, "F0123456789"])
def test_every_block_is_valid_by_slacks_own_types_and_limits(look, picture):
    blocks = blocks_of(LOOKS[look], picture=picture, public_url="https://cost.example.com")
    assert [schema_flaws(block) for block in blocks] == [[] for _ in blocks]
    assert flaws(blocks) == []


def test_the_schema_would_notice_a_mistake():
    block = blocks_of(make_notice())[0]
    assert schema_flaws(block | {"text": block["text"] | {"type": "mrkdwn"}})
    assert schema_flaws(block | {"colour": "red"})


def test_a_notice_has_the_seven_blocks_in_order():
    blocks = blocks_of(make_notice(), picture="F0123456789", public_url="https://x.example")
    kinds = [block["type"] for block in blocks]
    assert kinds == ["header", "rich_text", "section", "image", "rich_text", "actions", "context"]


def test_without_a_public_url_there_is_no_button():
    assert "actions" not in {block["type"] for block in blocks_of(make_notice())}


def test_the_button_opens_the_incident():
    button = blocks_of(make_notice(), public_url="https://x.example/")[-2]["elements"][0]
    assert button["url"] == f"https://x.example/#incident-{make_notice().incident_id}"


def test_an_update_has_block_ids_of_its_own():
    looks = [
        blocks_of(make_notice()),
        blocks_of(make_notice(), picture="F0123456789"),
        blocks_of(make_notice(seq=1), picture="F0123456789"),
    ]
    ids = [block["block_id"] for blocks in looks for block in blocks]
    assert len(ids) == len(set(ids))


def parsed_texts(blocks):
    """Yield what Slack parses as markup."""
    for block in blocks:
        for text in (block.get("text"), *block.get("fields", []), *block.get("elements", [])):
            if isinstance(text, dict) and text.get("type") == "mrkdwn":
                yield text["text"]


def test_text_that_came_with_a_row_cannot_mention_or_link():
    blocks = blocks_of(make_notice(incident=hostile_incident(HOSTILE), why_here=HOSTILE))
    for text in parsed_texts(blocks):
        label, _, value = text.partition("\n")
        assert "<" not in value or label == "*Began*", text
        if label in {"*Owner*", "*Account*"}:
            assert (value[0], value[-1], value.count("`")) == ("`", "`", 2), text
    assert "\u202e" not in json.dumps(blocks, ensure_ascii=False)
    assert not {"user", "usergroup", "broadcast", "link", "channel"} & set(part_types(blocks))


def part_types(value):
    if isinstance(value, dict):
        yield value.get("type")
        for inner in value.values():
            yield from part_types(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from part_types(inner)


@given(st.text(max_size=5000))
def test_any_text_whatever_gives_blocks_within_limits(text):
    notice = make_notice(incident=hostile_incident(text), why_here=text, told_after=text)
    blocks = blocks_of(notice, picture="F0123456789", public_url="https://x.example")
    assert flaws(blocks) == []
    assert [schema_flaws(block) for block in blocks] == [[] for _ in blocks]


@pytest.mark.parametrize("text", ["x" * 5000, "<" * 5000, "`" * 5000, "😀" * 5000, "\\" * 5000])
def test_five_thousand_characters_stay_within_limits(text):
    notice = make_notice(incident=hostile_incident(text), why_here=text, text=text)
    assert flaws(blocks_of(notice, picture="F0123456789", public_url="https://x.example")) == []
    assert len(fallback(notice)) <= FALLBACK_LIMIT * len("&amp;")


def test_the_fallback_is_the_whole_notice_escaped():
    notice = make_notice(incident=make_incident(title="<!channel>"))
    assert "&lt;!channel&gt;" in fallback(notice)
    assert "<" not in fallback(notice)
    assert "Incident" in fallback(notice)


@given(st.text())
def test_escaping_leaves_nothing_that_slack_parses_and_loses_nothing(text):
    escaped = escape(text)
    assert "<" not in escaped
    back = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert back == text
