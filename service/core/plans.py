"""Plans: what a team is about to spend on purpose, up to an amount."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from service.core import money
from service.core.events import Aware
from service.core.matchers import match
from service.core.silences import Comment, Matchers, check_matchers
from service.core.tokens import Name


class Plan(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="plan"):
    """Until `until` a team may cost `amount` more than expected before anyone hears of it.

    It takes in incidents of the team that pass all matchers and that nobody was told of before.
    """

    name: Name
    team: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    amount: Decimal
    billing_currency: Annotated[str, msgspec.Meta(min_length=1, max_length=12)]
    starts_at: Aware
    until: Aware
    comment: Comment
    matchers: Matchers = []

    def __post_init__(self) -> None:
        """Refuse what is no amount, no time, and no matcher."""
        check_matchers(self.matchers)
        money.check("amount", self.amount)
        if self.until <= self.starts_at:
            raise ValueError("until is not after starts_at")

    @property
    def owners(self) -> list[str]:
        """Return whose it is: its team's."""
        return [self.team]

    def takes(self, labels: Mapping[str, str], at: datetime) -> bool:
        """Tell whether what has these labels is part of it at a moment."""
        is_on = self.starts_at <= at < self.until
        return is_on and labels["owner"] == self.team and match(self.matchers, labels)
