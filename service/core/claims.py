"""Claims: people saying that something nobody is known to own is theirs."""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from service.core.phrases import clean
from service.core.silences import Comment
from service.core.tokens import Name

# How an owner's source begins where a person said so.
CLAIMED: Final = "claimed by"
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class Claim(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="claim"):
    """`owner` owns a resource, or what is in a sub-account, unless its tags say otherwise."""

    name: Name
    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    author: Comment
    resource_id: Id | None = None
    sub_account_id: Id | None = None

    def __post_init__(self) -> None:
        """Refuse a claim on nothing, and on two things."""
        if (self.resource_id is None) == (self.sub_account_id is None):
            raise ValueError("a claim is of a resource_id or of a sub_account_id")

    @property
    def owners(self) -> list[str]:
        """Return whose it is: that of who is to own what it is on."""
        return [self.owner]


def claim_on(
    claims: Iterable[Claim], resource_id: str | None, sub_account_id: str | None
) -> Claim | None:
    """Return the claim on a resource, else the one on its sub-account, or None."""
    on_account = None
    for claim in claims:
        if resource_id and claim.resource_id == resource_id:
            return claim
        if sub_account_id and claim.sub_account_id == sub_account_id:
            on_account = on_account or claim
    return on_account


def source_of(claim: Claim) -> str:
    """Say which link of the chain decided."""
    return f"{CLAIMED} {clean(claim.author, 100)}"
