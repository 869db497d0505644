"""What Slack gets: within every limit, valid by Slack's own types, and never markup from a row."""

import json
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters.slack_blocks import FALLBACK_LIMIT, Look, blocks_of, escape, fallback
from service.adapters.slack_chart import chart_block
from service.adapters.slack_limits import flaws, view_flaws
from service.core.bundles import Bundle, incident_of
from service.core.intents import Feedback, Mark
from service.core.marks import Marked
from service.core.members import Member
from service.core.money import ZERO
from service.core.rates import Rates
from service.core.troubles import Known, begun, ended
from service.entrypoints.slack_acts import Press
from service.entrypoints.slack_views import Home, Question, ask_reason, ask_team, home_view
from tests.factories import NOW, make_chart, make_driver, make_incident, make_notice
from tests.unit.test_wording import make_idle, make_over, make_withdrawn

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "data/block_kit/blocks.schema.json").read_text(encoding="utf-8")
)
TYPES = {
    "actions": "ActionsBlock",
    "divider": "DividerBlock",
    "input": "InputBlock",
    "context": "ContextBlock",
    "header": "HeaderBlock",
    "image": "ImageBlock",
    "rich_text": "RichTextBlock",
    "section": "SectionBlock",
}
FULL = Look("https://cost.example.com", answers=True, mentions={"payments": "S0PAY"}, native=True)
HOSTILE = "<!channel> <@U1> <https://e|x> *b* `c` & \u202e\r\nBcc: x\x1b[2J"
SAID = Feedback(
    at=NOW, who="Ada", via="slack", why="by button", incident_id="i", verdict="expected"
)


def marked(state, **mark):
    done = Mark(at=NOW, who="Bob", via="slack", why="by button", incident_id="i", **mark)
    return make_incident(state=state, marks=[Marked(mark=done, rate=ZERO, severity="high")])


def several(kind):
    """A post that tells two incidents, one of which goes on."""
    two = [make_incident(incident_id="a" * 32), make_over(incident_id="b" * 32)]
    bundle = Bundle(bundle_id="c" * 32, kind=kind, destination="slack:#x", about="of one",
                    why="", opened_at=NOW, incident_ids=[])  # fmt: skip
    return incident_of(bundle, two, Rates(), NOW)


LATE = {"came_late": True, "arrived_at": NOW, "period_end": NOW - timedelta(hours=31)}
TROUBLE = Known(key="k", text="A worker has stopped.", since=NOW)
LOOKS = {
    "firing": make_notice(),
    "withdrawn": make_notice(incident=make_withdrawn()),
    "resolved": make_notice(incident=make_over(), seq=4),
    "idle GPUs": make_notice(incident=make_idle(), chart=None),
    "no drivers": make_notice(incident=make_incident(drivers=[])),
    "acknowledged": make_notice(incident=marked("acknowledged", act="acknowledge")),
    "snoozed": make_notice(incident=marked("snoozed", act="snooze", until_growth=0.5)),
    "expected": make_notice(incident=make_incident(state="expected", feedback=[SAID])),
    "unowned": make_notice(incident=make_incident(owner="unowned", owner_source="no tag")),
    "late": make_notice(incident=make_over(**LATE)),
    "several": make_notice(incident=several("summary"), chart=None),
    "digest": make_notice(incident=several("digest"), action="digest", reason="digest", chart=None),
    "trouble": begun(TROUBLE, ["slack:#ops"], NOW)[0],
    "trouble is over": ended(TROUBLE, ["slack:#ops"], NOW)[0],
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
    blocks = blocks_of(LOOKS[look], FULL, picture=picture)
    known = [block for block in blocks if block["type"] != "data_visualization"]
    assert [schema_flaws(block) for block in known] == [[] for _ in known]
    assert flaws(blocks) == []


def acts(notice, look=FULL):
    rows = [block for block in blocks_of(notice, look) if block["type"] == "actions"]
    return [element["action_id"] for row in rows for element in row["elements"]]


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        ("firing", "acknowledge snooze assign expected new_level not_an_issue open"),
        (
            "acknowledged",
            "unacknowledge snooze assign expected new_level not_an_issue undo open",
        ),
        ("snoozed", "acknowledge unacknowledge assign expected new_level not_an_issue undo open"),
        ("unowned", "acknowledge snooze assign claim expected new_level not_an_issue open"),
        ("idle GPUs", "acknowledge snooze assign expected open"),
        ("expected", "undo open"),
        ("resolved", "open"),
        ("withdrawn", "open"),
        ("late", "open"),
        ("several", "acknowledge_one expected_one open"),
        ("digest", "acknowledge_one expected_one open"),
        ("trouble", "open"),
    ],
)
def test_a_post_offers_what_may_be_done_as_things_stand(look, expected):
    assert acts(LOOKS[look]) == expected.split()


@pytest.mark.parametrize("kind", ["budget", "purchase", "new_spend", "runaway_run"])
def test_what_no_detector_learnt_has_no_level_to_take_and_no_bar_to_raise(kind):
    offered = acts(make_notice(incident=make_incident(kind=kind)))
    assert offered == ["acknowledge", "snooze", "assign", "expected", "open"]


def test_without_an_app_that_hears_there_is_nothing_to_press():
    assert acts(make_notice(), Look("https://x.example")) == ["open"]


@pytest.mark.parametrize("kind", ["summary", "digest", "group", "plan"])
def test_of_several_incidents_a_menu_names_those_that_go_on_and_no_button_acts_on_all(kind):
    blocks = blocks_of(make_notice(incident=several(kind)), FULL)
    (menu, *_) = next(b["elements"] for b in blocks if b["type"] == "actions")
    assert [option["value"] for option in menu["options"]] == ["a" * 32]
    assert acts(make_notice(incident=several(kind)), Look(answers=True)) == [
        "acknowledge_one",
        "expected_one",
    ]


def test_a_sources_past_has_no_buttons():
    assert acts(make_notice(incident=make_incident(kind="backfill"))) == ["open"]


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        ({}, True),
        ({"action": "thread", "reason": "escalated", "seq": 3}, True),
        ({"reason": "escalated"}, True),
        ({"action": "edit", "reason": "update", "seq": 1}, False),
        ({"action": "thread", "reason": "growth", "seq": 2}, False),
        ({"action": "thread", "reason": "reminder", "seq": 2}, False),
        ({"reason": "backfill"}, False),
        ({"reason": "digest"}, False),
    ],
)
def test_a_mention_is_in_the_first_post_and_at_an_escalation_alone(words, calls):
    notice = make_notice(**words)
    assert ("<!subteam^S0PAY>" in fallback(notice, FULL)) == calls
    assert ("usergroup_id" in json.dumps(blocks_of(notice, FULL))) == calls


def test_slacks_own_chart_adds_neighbours_up_to_twenty_points():
    chart = make_chart()
    block = chart_block(chart, "chart:1")
    actual, expected = block["chart"]["series"]
    assert len(actual["data"]) <= 20
    assert block["title"] == "Cost per 6 h in USD"
    first = chart.starts[12]  # before it not every expected value is known
    assert actual["data"][0] == {
        "label": f"{first.day} {first:%b %H:%M}",
        "value": round(sum(chart.actual[12:18]), 4),
    }
    assert [p["label"] for p in expected["data"]] == block["chart"]["axis_config"]["categories"]
    assert flaws([block]) == []


def test_a_chart_with_nothing_to_compare_is_none():
    assert chart_block(None, "c") is None
    assert chart_block(make_chart(expected=[None] * 120), "c") is None


@settings(max_examples=25)  # a view is 20 blocks, each held against the whole schema
@given(text=st.text(max_size=300), teams=st.lists(st.text(min_size=1, max_size=200), max_size=3))
def test_every_view_is_valid_whatever_the_names(text, teams):
    incident = make_incident(title=text or "x", owner="unowned")
    member = Member(name="U0ADA", person="Ada", teams=teams)
    question = Question(Press("claim", incident.incident_id, "claim", NOW), "C0123456")
    assert Question.unpack(question.pack()) == question
    home = Home(member, [incident] * 12, [], [], note=escape(text))
    views = ask_reason(incident, question), ask_team(incident, member, question)
    for view in (*views, home_view(home, "https://x.example")):
        assert [schema_flaws(block) for block in view["blocks"]] == [[]] * len(view["blocks"])
        assert view_flaws(view) == []


def test_the_schema_would_notice_a_mistake():
    block = blocks_of(make_notice())[0]
    assert schema_flaws(block | {"text": block["text"] | {"type": "mrkdwn"}})
    assert schema_flaws(block | {"colour": "red"})


def test_a_notice_has_the_seven_blocks_in_order():
    blocks = blocks_of(make_notice(), Look("https://x.example"), picture="F0123456789")
    kinds = [block["type"] for block in blocks]
    assert kinds == ["header", "rich_text", "section", "image", "rich_text", "actions", "context"]


def test_without_a_public_url_there_is_no_button():
    assert "actions" not in {block["type"] for block in blocks_of(make_notice())}


def test_the_button_opens_the_incident():
    button = blocks_of(make_notice(), Look("https://x.example/"))[-2]["elements"][0]
    assert button["url"] == f"https://x.example/incidents/{make_notice().incident_id}"


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
    blocks = blocks_of(notice, picture="F0123456789", look=FULL)
    assert flaws(blocks) == []
    assert [schema_flaws(block) for block in blocks] == [[] for _ in blocks]


@pytest.mark.parametrize("text", ["x" * 5000, "<" * 5000, "`" * 5000, "😀" * 5000, "\\" * 5000])
def test_five_thousand_characters_stay_within_limits(text):
    notice = make_notice(incident=hostile_incident(text), why_here=text, text=text)
    assert flaws(blocks_of(notice, picture="F0123456789", look=FULL)) == []
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
