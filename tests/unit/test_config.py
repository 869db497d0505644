"""Settings: what is wrong is said in one line, and a secret in none."""

import re
from pathlib import Path

import msgspec
import pytest

from service.adapters.notifiers import NOTIFIERS
from service.config import ConfigError, Settings
from service.config_file import checked, load
from service.core.secret import Secret

ROOT = Path(__file__).parents[2]


def write(tmp_path, text) -> Path:
    path = tmp_path / "spendwatch.toml"
    path.write_text(text)
    return path


def keys_of(kind, prefix=""):
    for field in msgspec.structs.fields(kind):
        name = f"{prefix}{field.encode_name}"
        yield name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from keys_of(field.type, f"{name}.")


def test_the_sample_config_shows_every_key_and_loads():
    text = (ROOT / "deploy" / "config.toml").read_text()
    settings = load(ROOT / "deploy" / "config.toml", {})
    assert settings.sources["aws"].settles_after_hours == 72
    hidden = [key for key in keys_of(Settings) if key.rsplit(".", 1)[-1] not in text]
    assert hidden == []


@pytest.mark.parametrize("kind", NOTIFIERS)
def test_the_sample_config_shows_every_key_of_every_notifier(kind):
    text = (ROOT / "deploy" / "config.toml").read_text()
    fields = msgspec.structs.fields(NOTIFIERS[kind].Settings)
    assert [f.name for f in fields if f.name not in text] == []
    assert not fields or f"[notifiers.{kind}]" in text


def test_every_table_of_the_sample_config_that_is_commented_out_loads_too(tmp_path):
    text = (ROOT / "deploy" / "config.toml").read_text()
    tables = re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", text)
    secrets = dict.fromkeys(("slack-token", "mail-password", "store-password"), "s3cret")
    secrets["slack-signing-secret"] = "s3cret"
    secrets |= {
        "kafka-password": "s3cret",
        "pagerduty-key": "r" * 32,
        "link-key": "k" * 32,
        "api-admin-token": "a" * 32,
        "sign-on-secret": "n" * 32,
        "old-sign-on-secret": "p" * 32,
    }
    secrets |= {"old-link-key": "o" * 32, "tickets-url": "https://tickets.example.com/hook"}
    secrets |= dict.fromkeys(("tickets-secret", "tickets-old"), f"whsec_{'QUJD' * 8}")
    secrets |= {"teams-url": "json://teams.example.com"}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(secret)
    settings = load(write(tmp_path, tables), {})
    assert set(settings.notifiers) == set(NOTIFIERS) - {"console"}
    for kind, table in settings.notifiers.items():
        checked(table, NOTIFIERS[kind].Settings, kind)


def test_a_secret_of_a_named_destination_comes_from_a_file_or_the_environment(tmp_path):
    (tmp_path / "key").write_text("from-file\n")
    path = write(
        tmp_path,
        '[notifiers.pagerduty.to.on-call]\nrouting_key_file = "key"\n[notifiers.apprise.to.chat]\n',
    )
    settings = load(path, {"SPENDWATCH_APPRISE_CHAT_URL": "json://x"})
    assert settings.notifiers["pagerduty"]["to"]["on-call"]["routing_key"].reveal() == "from-file"
    assert settings.notifiers["apprise"]["to"]["chat"]["url"].reveal() == "json://x"
    wins = load(path, {"SPENDWATCH_PAGERDUTY_ON_CALL_ROUTING_KEY": "from-env"})
    assert wins.notifiers["pagerduty"]["to"]["on-call"]["routing_key"].reveal() == "from-env"
    assert "from-env" not in repr(wins)


def test_no_file_is_all_defaults():
    assert load(None, {}) == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('data_dirr = "x"', "unknown key 'data_dirr' in the top level; did you mean 'data_dir'?"),
        ('[sources.a]\npath = "x"\nmetrik = "billed"', "did you mean 'metric'?"),
        ('[sources.a]\npath = "x"\nmetric = "list"', "metric"),
        ("[sources.a]\n", "path"),
        ('[[route.routes]]\nmatcher = ["a"]', "did you mean 'matchers'?"),
        ('[api]\nport = "high"', "api.port"),
        ("data_dir = [", "not TOML"),
        ('[notifiers]\nslack = "x"', "notifiers.slack must be a table"),
        ('[notifiers.slack]\ntoken = "a"\ntoken_file = "b"', "both given"),
        ('[notifiers.slack]\ntoken_file = "nowhere"', "notifiers.slack.token_file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), {})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml", {})


def test_secrets_come_from_the_file_beside_the_config_or_from_the_environment(tmp_path):
    (tmp_path / "token").write_text("xoxb-file\n")
    path = write(tmp_path, '[notifiers.slack]\ntoken_file = "token"')
    assert load(path, {}).notifiers["slack"]["token"] == Secret("xoxb-file")
    settings = load(path, {"SPENDWATCH_SLACK_TOKEN": "xoxb-env"})
    assert settings.notifiers["slack"]["token"] == Secret("xoxb-env")
    assert "xoxb" not in repr(settings)


HALF = {
    'kafka.username = "u"': "username without security_protocol SASL_SSL",
    'kafka.security_protocol = "SASL_SSL"': "no sasl_mechanism with security_protocol SASL_SSL",
    'kafka.ca_file = "ca.pem"': "ca_file without security_protocol SSL or SASL_SSL",
    'kafka.security_protocol = "SSL"\nkafka.key_file = "k"': "key_file go together",
    'store.url = "redis://h"\nstore.ca_file = "ca.pem"': "ca_file without a url that begins with",
    'store.url = "rediss://h"\nstore.certificate_file = "c"': "key_file go together",
    'store.url = "rediss://h"\nstore.username = "u"': "username without password",
    'store.password = "p"': "password without url",
}


@pytest.mark.parametrize("text", HALF)
def test_what_would_protect_by_half_is_refused(tmp_path, text):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=HALF[text]):
        load(path, {})


def test_passwords_may_lie_in_files_and_are_never_shown(tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    path = tmp_path / "c.toml"
    path.write_text(
        '[kafka]\nsecurity_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\nusername = "u"\n'
        'password_file = "secret"\n[store]\nurl = "redis://h"\npassword_file = "secret"\n'
    )
    settings = load(path, {})
    assert settings.kafka.password.reveal() == settings.store.password.reveal() == "s3cret"
    assert "s3cret" not in repr(settings)
