"""Silences: what people do not want to hear of for a while. What is silenced is still recorded."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from service.core.events import Aware
from service.core.matchers import match, parsed
from service.core.tokens import Name

Matchers = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=500)]], msgspec.Meta(max_length=20)
]
Comment = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Silence(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="silence"):
    """Incidents that pass all matchers are not told from `starts_at` to `ends_at`."""

    name: Name
    matchers: Matchers
    starts_at: Aware
    ends_at: Aware
    author: Comment
    comment: Comment

    def __post_init__(self) -> None:
        """Refuse what would silence everything, or nothing."""
        check_matchers(self.matchers)
        if not self.matchers:
            raise ValueError("a silence needs a matcher: it would silence everything")
        if self.ends_at <= self.starts_at:
            raise ValueError("ends_at is not after starts_at")

    @property
    def owners(self) -> list[str]:
        """Return whose it is: the one owner that it is about, else nobody's."""
        tests = [parsed(text) for text in self.matchers]
        return [one.value for one in tests if (one.label, one.operator) == ("owner", "=")]

    def mutes(self, labels: Mapping[str, str], at: datetime) -> bool:
        """Tell whether it silences what has these labels at a moment."""
        return self.starts_at <= at < self.ends_at and match(self.matchers, labels)


def check_matchers(matchers: list[str]) -> None:
    """Raise ValueError, which says why, unless all are matchers."""
    for text in matchers:
        parsed(text)
