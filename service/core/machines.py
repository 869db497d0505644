"""Machines: whether they run, as parts of all series say, for parts whose storage may be theirs.

A part says of each name a machine bears when it begins, when it is gone and when it is back, and by
which names storage asks. It is told of these alone, each hour up to which all parts have looked:
so it knows of every machine that a name may mean, or of none.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from detectors.base import DAY, step_of
from service.core.noted import Noted
from service.core.state import Chunk, Saved, Streams

# The last billed hour of a machine is so long ago.
GONE_AFTER: Final = timedelta(days=7)
# In place of its last billed hour, of a machine that was billed since.
RUNS: Final = 2**31 - 1
# In place of the hour, of a name that no machine bears any more.
NOBODY: Final = -1
# Logs are not kept for ever: all of it is said again in so many days, some of it each day.
SAID_AGAIN_DAYS: Final = 14
# So many are told in one message.
PIECE: Final = 5000


class Sight(NamedTuple):
    """Up to which hour a machine of a name was billed, or RUNS, or NOBODY."""

    key: int
    hour: int


class Ask(NamedTuple):
    """Whether storage may be of a machine of a name."""

    key: int
    asks: bool


class Word(msgspec.Struct, kw_only=True, frozen=True):
    """What a part is told, as of an hour, of machines that it asked about, as far as it is news.

    One that is too long is several, the last of which says so.
    """

    at: datetime
    machines: list[Sight] = []
    is_last: bool = True


def key_of(sub_account_id: str, name: str) -> int:
    """Return what stands for a name in a sub-account; two names with one are not to be met."""
    text = f"{sub_account_id}\0{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1


class Apart:
    """What a part of all series said of machines, asked about them, and was told."""

    def __init__(self) -> None:
        self._said = Noted()
        self._asked = Noted()
        self._told = Noted()
        self._day = -1
        self._heard_at: datetime | None = None

    @property
    def known(self) -> Mapping[int, int]:
        """Return what is known of the names that were answered: an hour, RUNS, or NOBODY."""
        return self._told.values

    def news(
        self, hours: Mapping[int, int], wanted: Collection[int], now: datetime
    ) -> tuple[list[Sight], list[Ask]]:
        """Return what is new of machines by their last billed hour, and of names asked for."""
        edge, day = step_of(now - GONE_AFTER, 1), step_of(now, DAY)
        turn = day % SAID_AGAIN_DAYS if day != self._day else -1
        self._day = day
        sights: list[Sight] = []
        asks: list[Ask] = []
        for key, last in hours.items():
            hour = RUNS if last >= edge else last
            if self._said.put(key, hour) or key % SAID_AGAIN_DAYS == turn:
                sights.append(Sight(key, hour))
        for key in [key for key in self._said.values if key not in hours]:
            # One that was gone before is too old to be known here; that is no news.
            if self._said.values[key] == RUNS:
                sights.append(Sight(key, NOBODY))
            self._said.put(key, None)
        asks += [
            Ask(key, asks=True)
            for key in wanted
            if self._asked.put(key, 1) or key % SAID_AGAIN_DAYS == turn
        ]
        for key in [key for key in self._asked.values if key not in wanted]:
            asks.append(Ask(key, asks=False))
            self._asked.put(key, None)
            self._told.put(key, None)
        return sorted(sights), sorted(asks)

    def hear(self, word: Word) -> bool:
        """Take in what it is told; tell whether that is all as of the hour, and no older."""
        if self._heard_at is not None and word.at < self._heard_at:
            return False
        self._heard_at = word.at
        for key, hour in word.machines:
            if key in self._asked:
                self._told.put(key, hour)
        return word.is_last

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from self._said.save(streams, f"{name}/said")
        yield from self._asked.save(streams, f"{name}/asked")
        yield from self._told.save(streams, f"{name}/told")
        yield from streams.values(f"{name}/heard", [("", (self._day, self._heard_at))])

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._said.restore(saved, f"{name}/said")
        self._asked.restore(saved, f"{name}/asked")
        self._told.restore(saved, f"{name}/told")
        heard = saved.values(f"{name}/heard", tuple[int, datetime | None])
        self._day, self._heard_at = heard.get("", (-1, None))


class Register:
    """The machines of all parts, and which part asks about which."""

    def __init__(self) -> None:
        self._machines: dict[str, Noted] = {}
        self._asked: dict[str, Noted] = {}
        self._due: dict[str, set[int]] = {}

    def put(self, part: str, sights: Iterable[Sight], asks: Iterable[Ask]) -> None:
        """Take in what a part says is new. A name that it asks about again is answered again."""
        for key, hour in sights:
            if self._of(self._machines, part).put(key, None if hour == NOBODY else hour):
                for other, asked in self._asked.items():
                    if key in asked:
                        self._due.setdefault(other, set()).add(key)
        for key, is_asked in asks:
            self._of(self._asked, part).put(key, 1 if is_asked else None)
            if is_asked:
                self._due.setdefault(part, set()).add(key)

    def words(self, at: datetime) -> list[tuple[str, Word]]:
        """Return what parts that ask are told as of an hour; to hear of no news matters too."""
        found = []
        for part, asked in sorted(self._asked.items()):
            due = sorted(key for key in self._due.pop(part, ()) if key in asked)
            if not asked:
                continue
            for first in range(0, max(len(due), 1), PIECE):
                sights = [Sight(key, self._hour(key)) for key in due[first : first + PIECE]]
                is_last = first + PIECE >= len(due)
                found.append((part, Word(at=at, machines=sights, is_last=is_last)))
        return found

    def forget(self, before: datetime) -> None:
        """Let go of machines that were gone before a time, if nobody asks about them."""
        edge = step_of(before, 1)
        for machines in self._machines.values():
            for key in [key for key, hour in machines.items() if hour <= edge]:
                if not any(key in asked for asked in self._asked.values()):
                    machines.put(key, None)

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        for part, machines in self._machines.items():
            yield from machines.save(streams, f"{name}/machines/{part}")
        for part, asked in self._asked.items():
            yield from asked.save(streams, f"{name}/asked/{part}")
        due = ((part, sorted(keys)) for part, keys in self._due.items())
        yield from streams.values(f"{name}/due", due)

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        for what, parts in (("machines", self._machines), ("asked", self._asked)):
            prefix = f"{name}/{what}/"
            for stream in saved.names_of(prefix):
                self._of(parts, stream.removeprefix(prefix)).restore(saved, stream)
        due = saved.values(f"{name}/due", set[int])
        self._due = dict(due)

    @staticmethod
    def _of(parts: dict[str, Noted], part: str) -> Noted:
        return parts.setdefault(part, Noted())

    def _hour(self, key: int) -> int:
        return max((one.values.get(key, NOBODY) for one in self._machines.values()), default=NOBODY)
