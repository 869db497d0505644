"""The reader: files, folders and manifests in, events out; what is bad is set aside, with why."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from service.adapters.gpu.base import Hosts, completed
from service.adapters.sources.base import Flaw, label
from service.adapters.sources.book import SnapshotBook
from service.adapters.sources.claims import keep_apart
from service.adapters.sources.inputs import Delivery, plan
from service.adapters.sources.intake import Intake
from service.adapters.sources.registry import SOURCES
from service.adapters.sources.restatements import settle
from service.adapters.sources.snapshots import Snapshot
from service.adapters.sources.tally import Tally
from service.adapters.token_prices import NO_PRICES, OwnPrices
from service.core.events import Arrival, GpuSample, Rejected, Run

Mode = Literal["replay", "live"]
NO_HOSTS: Final[Hosts] = MappingProxyType({})
NOTHING: Final = Flaw(0, "file", "holds nothing to read")


class Reader(Tally):
    """Reads its inputs once, from first to last; iterating never raises because of what they hold.

    Args:
        inputs: files, folders, manifests, or what `deliveries` found.
        snapshots: what was delivered before; one reader at a time.
        reject: is handed every bad row or file, with its place and the reason in one line.
        source: a name of SOURCES that overrides what the content says; ValueError if unknown.
        feed: the name under which the events arrive; the source's by default.
        mode: in `replay` a row without x_ArrivedAt arrives when its charge period ends; in `live`
            when its manifest or file was made.
        now: the clock of `live`; nothing arrives later than now.
        beside: the books of other feeds, whose bills are not counted again; None when this feed has
            other rows of accounts that another one bills too.
        hosts: what GPU samples do not say of their host.
        token_prices: what a user pays for tokens, where that is not the list's price.

    Iterating raises OSError only when a bucket is away: a new reader begins again.
    Arrivals come in no particular order. In `live`, call `acknowledge` when all that was yielded is
    safe; until then a new reader over the same book yields it again, under the same identities.
    That is all that a reader without inputs yields.
    """

    def __init__(  # noqa: PLR0913 - what is given by name needs no order
        self,
        inputs: Sequence[Path | Delivery],
        *,
        snapshots: SnapshotBook,
        reject: Callable[[Rejected], None],
        source: str | None = None,
        feed: str | None = None,
        mode: Mode = "replay",
        now: Callable[[], datetime] | None = None,
        beside: Sequence[SnapshotBook] | None = (),
        hosts: Hosts = NO_HOSTS,
        token_prices: OwnPrices = NO_PRICES,
    ) -> None:
        if source is not None and source not in SOURCES:
            raise ValueError(f"no source {source!r}; there are {', '.join(SOURCES)}")
        super().__init__(reject)
        self.notes: list[str] = []
        self._inputs = inputs
        self._book = snapshots
        self._source = source
        self._feed = feed
        self._mode = mode
        self._now = now
        self._beside = beside
        self._hosts = hosts
        self._token_prices = token_prices
        self._done: list[tuple[Path, str]] = []

    def __iter__(self) -> Iterator[Arrival]:
        book = self._book
        book.begin()
        position = 0
        for position, arrival in book.outbox():  # noqa: B007 - where the outbox ended is used below
            yield arrival
        complete: list[Snapshot] = []
        for delivery in self._deliveries():
            intake = Intake(
                delivery,
                book,
                self,
                self.notes,
                source=self._source,
                feed=self._feed,
                arrives=self._arrives(delivery),
                token_prices=self._token_prices,
            )
            yield from map(self._completed, intake.read()) if self._hosts else intake.read()
            complete += intake.complete()
            if delivery.delivery_id:
                self._done.append((delivery.files[0], delivery.delivery_id))
        if self._inputs and not self.read and not self.rejected:
            self.refuse(", ".join(map(_label, self._inputs)), NOTHING)
        if self._beside is not None:
            keep_apart(book, self._beside, complete, self.notes.append)
        news = settle(book, complete, self.notes.append)
        if self._mode == "live":
            book.put(news)
            book.commit()
            news = (arrival for _, arrival in book.outbox(position))
            yield from news
        else:
            yield from news
            book.commit()

    def _completed(self, arrival: Arrival) -> Arrival:
        event = arrival.event
        if isinstance(event, GpuSample):
            return arrival._replace(event=completed(event, self._hosts))
        known = self._hosts.get(event.hostname or "") if isinstance(event, Run) else None
        if known is None or "resource_id" not in known:
            return arrival
        named = msgspec.structs.replace(event, resource_id=known["resource_id"])
        return arrival._replace(event=named)

    def acknowledge(self) -> None:
        """Say that everything that was yielded is safe and need not be told again."""
        self._book.acknowledge(self._done)

    def _deliveries(self) -> Iterator[Delivery]:
        yield from (item for item in self._inputs if isinstance(item, Delivery))
        yield from plan((i for i in self._inputs if isinstance(i, Path)), self.notes.append)

    def _arrives(self, delivery: Delivery) -> datetime | None:
        if self._mode == "replay":
            return None
        at = delivery.at
        if at is None:
            changed = max(map(delivery.shelf.changed, delivery.files), default=0.0)
            at = datetime.fromtimestamp(changed, UTC)
        return at if self._now is None else min(at, self._now())


def _label(item: Path | Delivery) -> str:
    return label(item) if isinstance(item, Path) else item.name
