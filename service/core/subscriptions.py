"""Subscriptions: what a team wants to hear of, and where, set up by the team itself."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from service.core.intervals import QuietHours
from service.core.matchers import match
from service.core.rates import Amounts, check_amounts
from service.core.severity import Severity
from service.core.silences import Matchers, check_matchers
from service.core.tokens import EVERY_TEAM, Name

Digest = Literal["daily", "weekly"]


class Subscription(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="subscription"
):
    """`destination` hears of the incidents of `team` that pass all matchers.

    `*` is every team. With `digest` what is below `min_severity` comes in a digest, and everything
    when there is no `min_severity`; without it, what is below is not told.
    """

    name: Name
    team: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    destination: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    matchers: Matchers = []
    min_impact: Amounts = Decimal(0)
    min_severity: Severity | None = None
    quiet_hours: QuietHours | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        """Refuse what is neither a matcher nor an amount."""
        check_matchers(self.matchers)
        check_amounts("min_impact", self.min_impact)

    @property
    def owners(self) -> list[str]:
        """Return whose it is: its team's."""
        return [self.team]

    def wants(self, labels: Mapping[str, str]) -> bool:
        """Tell whether it asks for what has these labels."""
        return self.team in (EVERY_TEAM, labels["owner"]) and match(self.matchers, labels)
