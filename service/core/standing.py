"""Standing things: what people set up, and what stands until it is changed, dropped or over.

A kind of thing is a struct of its own, tagged by its kind, and one line in `Standing`. It has a
`name`, and the `owners` whose it is (none: everyone's to see, and an admin's to change). It is put
and dropped by intents, so it survives whatever the store does not.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar, get_args

import msgspec

from service.core.budgets import Budget
from service.core.claims import Claim
from service.core.events import content_hash
from service.core.members import Member
from service.core.optouts import OptOut
from service.core.plans import Plan
from service.core.silences import Silence
from service.core.state import Chunk, Saved, Streams
from service.core.subscriptions import Subscription
from service.core.tokens import Token

# One line for each kind.
Standing = (
    Token
    | Budget
    | Silence
    | Subscription
    | Plan
    | Claim
    | Member
    | OptOut
)  # fmt: skip
KINDS: Final[tuple[type[Standing], ...]] = get_args(Standing)
Key = tuple[str, str]
_T = TypeVar("_T")


def kind_of(thing: Standing) -> str:
    """Name the kind of a thing."""
    return str(thing.__struct_config__.tag)


def key_of(thing: Standing) -> Key:
    """Name a thing among all: its kind, and its name among those."""
    return kind_of(thing), thing.name


def etag_of(thing: Standing) -> str:
    """Name a version of a thing by its content."""
    return content_hash(msgspec.json.encode(thing))


class Things:
    """All that stands now, and what changed since it was asked last."""

    def __init__(self, things: Iterable[Standing] = ()) -> None:
        self._things: dict[Key, Standing] = {key_of(thing): thing for thing in things}
        self._changed: dict[Key, Standing | None] = {}
        self._of_kind: dict[type, tuple[int, list[Any]]] = {}
        self._version = 0

    def get(self, kind: str, name: str) -> Standing | None:
        """Return one thing."""
        return self._things.get((kind, name))

    def all(self, kind: str) -> list[Standing]:
        """Return what stands of a kind, by name."""
        return [self._things[key] for key in sorted(self._things) if key[0] == kind]

    def of(self, kind: type[_T]) -> list[_T]:
        """Return what stands of a kind, by name, as what it is."""
        known = self._of_kind.get(kind)
        if known is None or known[0] != self._version:
            found = [self._things[key] for key in sorted(self._things)]
            known = self._version, [one for one in found if isinstance(one, kind)]
            self._of_kind[kind] = known
        return known[1]

    def everything(self) -> dict[Key, Standing | None]:
        """Return all that stands, for whoever has lost it."""
        return dict(self._things)

    def put(self, thing: Standing) -> None:
        """Let a thing stand, in place of the one of its name."""
        self._things[key_of(thing)] = self._changed[key_of(thing)] = thing
        self._version += 1

    def drop(self, kind: str, name: str) -> None:
        """Let a thing stand no more."""
        self._things.pop((kind, name), None)
        self._changed[kind, name] = None
        self._version += 1

    def drain(self) -> dict[Key, Standing | None]:
        """Return what changed since the last call; None for what was dropped."""
        changed, self._changed = self._changed, {}
        return changed

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, (("/".join(key), one) for key, one in self._things.items()))

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        things: dict[str, Standing] = saved.values(name, Standing)  # type: ignore[arg-type]  # a union is no class
        self._things = {key_of(thing): thing for thing in things.values()}
        self._version += 1
