"""The config file and the environment: the only place that reads either.

An unknown key, a wrong type or a half-given secret is a start-up error in one line.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from service.config import LINK_KEYS, ConfigError, Settings
from service.core.secret import Secret
from service.decoding import convert

ENVIRONMENT: Final[Mapping[str, tuple[str, ...]]] = {
    "SPENDWATCH_STORE_URL": ("store", "url"),
    "SPENDWATCH_STORE_PASSWORD": ("store", "password"),
    "SPENDWATCH_KAFKA_BOOTSTRAP_SERVERS": ("kafka", "bootstrap_servers"),
    "SPENDWATCH_KAFKA_PASSWORD": ("kafka", "password"),
    "SPENDWATCH_API_ADMIN_TOKEN": ("api", "admin_token"),
    "SPENDWATCH_SLACK_TOKEN": ("notifiers", "slack", "token"),
    "SPENDWATCH_SLACK_SIGNING_SECRET": ("notifiers", "slack", "signing_secret"),
    "SPENDWATCH_EMAIL_PASSWORD": ("notifiers", "email", "password"),
    "SPENDWATCH_SIGN_ON_SECRET": ("sign_on", "secret"),
    "SPENDWATCH_SIGN_ON_OLD_SECRET": ("sign_on", "old_secret"),
    "SPENDWATCH_LINK_KEY": ("api", "link_key"),
    "SPENDWATCH_OLD_LINK_KEY": ("api", "old_link_key"),
}
SECRETS: Final = frozenset({"token", "password", "signing_secret"})
API_SECRETS: Final = LINK_KEYS | {"admin_token"}
SIGN_ON_SECRETS: Final = frozenset({"secret", "old_secret"})
# Of the destinations that a notifier's `to` names: SPENDWATCH_PAGERDUTY_ONCALL_ROUTING_KEY is
# routing_key in [notifiers.pagerduty.to.oncall].
NAMED_SECRETS: Final = frozenset({"routing_key", "url", "secret", "old_secret"})
_SECRETS_OF: Final = {
    "store": SECRETS,
    "kafka": SECRETS,
    "api": API_SECRETS,
    "sign_on": SIGN_ON_SECRETS,
}
LONGEST_SECRET: Final = 10_000
_VARIABLE: Final = re.compile(r"[^A-Z0-9]")
_T = TypeVar("_T")


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read a TOML file (none: all defaults) and the environment, which wins."""
    data: dict[str, Any] = {}
    known = os.environ if environment is None else environment
    if path is not None:
        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from None
    for name, where in ENVIRONMENT.items():
        if value := known.get(name):
            _put(data, where, value)
    base = path.parent if path is not None else Path()
    notifiers = _table(data.get("notifiers", {}), "notifiers")
    data["notifiers"] = {
        kind: _notifier(kind, _table(table, f"notifiers.{kind}"), base, known)
        for kind, table in notifiers.items()
    }
    for name, secrets in _SECRETS_OF.items():
        if name in data:
            data[name] = _with_secrets(name, _table(data[name], name), base, secrets)
    return checked(data, Settings, "the config" if path is None else str(path))


def checked(data: Any, kind: type[_T], where: str) -> _T:
    """Turn plain data into a settings type; ConfigError names the key and the nearest known one."""
    try:
        return convert(data, kind, dec_hook=_secret, strict=True)
    except msgspec.ValidationError as error:
        text, name = str(error), _table_named(str(error), data, kind)
        raise ConfigError(f"{where}: {_explain(text, kind).replace('[...]', name, 1)}") from None
    except (OverflowError, RecursionError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _secret(kind: type[Any], value: Any) -> Any:
    if kind is Secret and isinstance(value, Secret):
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    message = f"Expected `{kind.__name__}`"
    raise msgspec.ValidationError(message)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a table")
    return value


def _notifier(
    kind: str, table: dict[str, Any], base: Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Read the secrets of a notifier, and of the destinations that it names."""
    found = _with_secrets(f"notifiers.{kind}", table, base)
    if "to" not in found:
        return found
    found["to"] = dict(_table(found["to"], f"notifiers.{kind}.to"))
    for name, target in found["to"].items():
        where = f"notifiers.{kind}.to.{name}"
        given = dict(_table(target, where))
        for key in NAMED_SECRETS:
            variable = _VARIABLE.sub("_", f"SPENDWATCH_{kind}_{name}_{key}".upper())
            if value := environment.get(variable):
                _put(given, (key,), value)
        found["to"][name] = _with_secrets(where, given, base, NAMED_SECRETS)
    return found


def _with_secrets(
    where: str, table: dict[str, Any], base: Path, names: frozenset[str] = SECRETS
) -> dict[str, Any]:
    """Read each secret from its key or its `_file` twin; both is an error."""
    found = dict(table)
    for name in names:
        file = found.pop(f"{name}_file", None)
        if file is not None and name in found:
            raise ConfigError(f"{where}: {name} and {name}_file are both given")
        if file is not None:
            found[name] = _read_secret(f"{where}.{name}_file", base / str(file))
        if isinstance(found.get(name), str):
            found[name] = Secret(found[name])
    return found


def _read_secret(where: str, path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST_SECRET + 1)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from None
    except ValueError:  # bytes that are no text, or a path that is none
        raise ConfigError(f"{where}: not a text file") from None
    if len(text) > LONGEST_SECRET:
        raise ConfigError(f"{where}: longer than a secret can be")
    return text.strip()


def _put(data: dict[str, Any], where: tuple[str, ...], value: str) -> None:
    for depth, key in enumerate(where[:-1], 1):
        data = _table(data.setdefault(key, {}), ".".join(where[:depth]))
    data.pop(f"{where[-1]}_file", None)
    data[where[-1]] = value


def _table_named(text: str, data: Any, kind: type[Any]) -> str:
    """Return the table, as `.name`, that msgspec means by its first `[...]`, if one alone."""
    path, found, _ = text.rpartition(" - at ")[2].partition("[...]")
    table = data
    for key in path.strip("`$").strip(".").split("."):
        table = table.get(key) if isinstance(table, dict) else None
    if not found or not isinstance(table, dict):
        return "[...]"
    for name, value in list(table.items()):
        del table[name]
        try:
            convert(data, kind, dec_hook=_secret, strict=True)
        except msgspec.ValidationError as error:
            if str(error) == text:
                continue
        except (OverflowError, RecursionError):
            continue
        finally:
            table[name] = value
        return f".{name}"
    return "[...]"


def _explain(text: str, kind: type[Any]) -> str:
    """Add the nearest known key to msgspec's message about an unknown one."""
    if "unknown field" not in text:
        return text
    unknown = text.split("`")[1]
    path = text.rsplit("`", 2)[-2] if " - at " in text else "$"
    known = _fields_at(kind, path)
    near = difflib.get_close_matches(unknown, known, n=1, cutoff=0.4)
    table = path.removeprefix("$").lstrip(".") or "the top level"
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known))}"
    return f"unknown key {unknown!r} in {table}{hint}"


def _fields_at(kind: Any, path: str) -> list[str]:
    """Return the keys that a path like `$.sources[...]` may hold."""
    for step in path.removeprefix("$").replace("[", ".[").split("."):
        if step.startswith("["):
            kind = getattr(kind, "__args__", (kind,))[-1]
        elif step:
            fields = {f.encode_name: f.type for f in msgspec.structs.fields(kind)}
            kind = fields.get(step, kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [field.encode_name for field in msgspec.structs.fields(kind)]
    return []
