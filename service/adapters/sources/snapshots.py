"""Snapshots: one delivery of a bill while it is read."""

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from service.core.events import CostEvent

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY: Final = 86_400_000_000


class Span:
    """From the earliest start to the latest end of some charge periods, in microseconds."""

    def __init__(self) -> None:
        self.start = 2**62
        self.end = 0

    def include(self, start: int, end: int) -> None:
        """Grow to hold a charge period."""
        self.start = min(self.start, start)
        self.end = max(self.end, end)


class Bill(NamedTuple):
    """What one feed alone may bill: a sub-account of a billing account in a month of usage."""

    account: str
    sub_account: str
    month: int


class Part:
    """What one snapshot says of one scope: (feed, billing account, start of the billing period).

    Exports of one account that stand beside each other are scopes of their own: see `scope_of`.
    """

    def __init__(self, number: int, account: str, period: int) -> None:
        self.number = number
        self.account = account
        self.period = period
        self._fine = Span()
        self._coarse = Span()

    def include(self, start: int, end: int) -> None:
        """Take note of a row's charge period."""
        (self._fine if end - start <= DAY else self._coarse).include(start, end)

    @property
    def all(self) -> Span:
        """From the first to the last moment that any row is about."""
        span = Span()
        span.include(self._fine.start, self._fine.end)
        span.include(self._coarse.start, self._coarse.end)
        return span

    @property
    def span(self) -> Span:
        """How far the data reach: rows of at most a day say it, if any; a monthly fee does not."""
        return self._fine if self._fine.end else self._coarse


class Snapshot:
    """One delivery while it is read.

    `at` is when the sender says it was made, None when nobody says so; `arrives` is when its rows
    arrive, None in replay, where they arrive as their time passes. A `whole` one supersedes all of
    its scope; others only what overlaps them in time, for a provider that delivers day by day does
    not mean to take back yesterday. It is `sound` while no row of it was refused: what is missing
    from an unsound one is not believed to have vanished. One that `adds` supersedes nothing.
    `bills` numbers what its rows are bills of.
    """

    def __init__(
        self,
        feed: str,
        name: str,
        at: datetime | None,
        arrives: datetime | None,
        *,
        whole: bool,
        adds: bool = False,
    ) -> None:
        self.feed = feed
        self.name = name
        self.at = at
        self.arrives = arrives
        self.whole = whole
        self.adds = adds
        self.sound = True
        self.rows = 0
        self.parts: dict[tuple[str, int], Part] = {}
        self.bills: dict[Bill, int] = {}


def scope_of(account: str, dataset: str) -> str:
    """Name what is superseded as one: an account, or one of the exports of its bill.

    >>> account_of(scope_of("000123", "amortized")), account_of(scope_of("000123", ""))
    ('000123', '000123')
    """
    return f"{account}\0{dataset}" if dataset else account


def account_of(scope: str) -> str:
    """Return the account of a scope."""
    return scope.partition("\0")[0]


@lru_cache(maxsize=65_536)
def micros(at: datetime) -> int:
    """Count microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def moment_of(count: int) -> datetime:
    """Turn microseconds since 1970 into a time."""
    return EPOCH + timedelta(microseconds=count)


def digest_of(content: bytes) -> bytes:
    """Hash to 16 bytes."""
    return hashlib.blake2b(content, digest_size=16).digest()


ENCODE: Final = msgspec.msgpack.Encoder().encode
DECODE: Final = msgspec.msgpack.Decoder(CostEvent).decode
