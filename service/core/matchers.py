"""Matchers: tests on the labels of an incident, in Alertmanager's words."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import re2

LABELS: Final = (
    "owner", "sub_account_id", "service_name", "region_id", "kind", "severity", "incident_id",
)  # fmt: skip
Operator = Literal["=", "!=", "=~", "!~"]
_QUIETLY: Final = re2.Options()
_QUIETLY.log_errors = False  # what is wrong is raised
_MATCHER: Final = re.compile(r"\s*([a-z_]+)\s*(=~|!~|!=|=)\s*\"?(.*?)\"?\s*\Z", re.DOTALL)


class Matcher(NamedTuple):
    """One test on one label; `=~` and `!~` match the whole value."""

    label: str
    operator: Operator
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels pass; a label that is not there is empty."""
        value = labels.get(self.label, "")
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        is_match = pattern_of(self.value).fullmatch(value) is not None
        return is_match == (self.operator == "=~")

    @classmethod
    def parse(cls, text: str) -> "Matcher":
        """Read `label="value"`; ValueError says what is wrong.

        >>> Matcher.parse('owner=~"team-(a|b)"')
        Matcher(label='owner', operator='=~', value='team-(a|b)')
        """
        found = _MATCHER.match(text)
        if found is None:
            message = f'{text!r} is not a matcher like owner="payments"'
            raise ValueError(message)
        label, operator, value = found.groups()
        check_label(label)
        if operator in ("=~", "!~"):
            pattern_of(value)
        return cls(label, operator, value)  # type: ignore[arg-type]  # the pattern allows no other


@lru_cache(maxsize=4096)
def pattern_of(text: str) -> Any:
    """Compile a regular expression of RE2, as Alertmanager's are; ValueError says what is wrong.

    It takes time in proportion to what it reads, whoever wrote it: none can hold up the service.
    """
    try:
        return re2.compile(text, _QUIETLY)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else error
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
        message = f"{text!r} is not a regular expression: {said}"
        raise ValueError(message) from None


def check_label(label: str) -> None:
    """Raise ValueError unless incidents have such a label."""
    if label not in LABELS:
        message = f"{label!r} is not a label; there are {', '.join(LABELS)}"
        raise ValueError(message)


@lru_cache(maxsize=4096)
def parsed(text: str) -> Matcher:
    """Return the matcher that a text is; ValueError says what is wrong."""
    return Matcher.parse(text)


def match(matchers: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Tell whether labels pass all matchers."""
    return all(parsed(text).matches(labels) for text in matchers)
