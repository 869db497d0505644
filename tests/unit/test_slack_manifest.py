"""deploy/slack-manifest.yaml installs the app as it is."""

import copy
import json
from pathlib import Path

import jsonschema
import yaml
from slack_sdk import WebClient

from service.entrypoints.slack_app import COMMAND, PATH

ROOT = Path(__file__).parents[2]
MANIFEST = yaml.safe_load((ROOT / "deploy/slack-manifest.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads(
    (ROOT / "tests/data/slack_manifest/manifest.schema.json").read_text(encoding="utf-8")
)
ADDRESS = "https://spend.example.com"
# Every method that the app calls beside those of the notifier (tests/integration/test_slack.py).
SCOPES = {
    "chat_postEphemeral": "chat:write",
    "chat_postMessage": "chat:write",
    "users_info": "users:read",
    "views_open": None,
    "views_publish": None,
}


def flaws(manifest):
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(manifest)]


def test_it_is_valid_by_slacks_own_types():
    assert flaws(MANIFEST) == []
    spoilt = copy.deepcopy(MANIFEST)
    spoilt["features"]["slash_commands"][0]["comand"] = "/x"
    spoilt["settings"]["interactivity"]["is_enabled"] = "yes"
    assert len(flaws(spoilt)) == 2


def test_every_text_is_as_short_as_slack_asks():
    shown, features = MANIFEST["display_information"], MANIFEST["features"]
    assert len(shown["name"]) <= 35
    assert len(shown["description"]) <= 140
    assert len(features["bot_user"]["display_name"]) <= 80
    (command,) = features["slash_commands"]
    assert len(command["command"]) <= 32
    assert len(command["description"]) <= 2000
    assert len(command["usage_hint"]) <= 1000


def test_slack_sends_everything_to_the_one_address_that_is_heard():
    settings, (command,) = MANIFEST["settings"], MANIFEST["features"]["slash_commands"]
    asked = [
        command["url"],
        settings["interactivity"]["request_url"],
        settings["event_subscriptions"]["request_url"],
    ]
    assert asked == [ADDRESS + PATH] * 3
    assert command["command"] == COMMAND
    assert command["should_escape"]
    assert settings["event_subscriptions"]["bot_events"] == ["app_home_opened"]
    assert MANIFEST["features"]["app_home"]["home_tab_enabled"]


def test_every_method_that_the_app_calls_has_its_scope():
    scopes = MANIFEST["oauth_config"]["scopes"]["bot"]
    source = (ROOT / "service/entrypoints").glob("slack_*.py")
    text = "".join(path.read_text(encoding="utf-8") for path in source)
    called = {name for name in dir_of_client() if f".{name}" in text}
    assert called == set(SCOPES)
    assert {scope for scope in SCOPES.values() if scope} | {"commands"} <= set(scopes)


def dir_of_client():
    return [name for name in dir(WebClient) if "_" in name and not name.startswith("_")]
