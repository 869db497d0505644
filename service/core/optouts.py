"""Opt-outs: who hears no more, whatever a route says, because they asked for it."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from service.core.events import content_hash
from service.core.silences import Comment
from service.core.tokens import Name


class OptOut(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="optout"):
    """Nothing is sent to `destination` any more; who hears of an incident, hears it elsewhere."""

    name: Name
    destination: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    author: Comment

    @property
    def owners(self) -> list[str]:
        """Return whose it is: no team's, for several may have the destination."""
        return []


def opt_out_of(destination: str, author: str) -> OptOut:
    """Return the one opt-out that there is of a destination."""
    name = f"{destination.partition(':')[0]}-{content_hash({'of': destination})[:16]}"
    return OptOut(name=name, destination=destination, author=author[:200])


def opted_out(things: Iterable[Any]) -> frozenset[str]:
    """Return the destinations that want to hear no more."""
    return frozenset(one.destination for one in things if isinstance(one, OptOut))
