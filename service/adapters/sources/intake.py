"""Intake: one delivery while it is read."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from service.adapters.sources.base import BrokenFileError, Completion, Flaw, Row
from service.adapters.sources.book import SnapshotBook
from service.adapters.sources.files import look
from service.adapters.sources.inputs import Delivery
from service.adapters.sources.registry import SOURCES
from service.adapters.sources.restatements import passes
from service.adapters.sources.snapshots import Snapshot
from service.adapters.sources.tally import Tally
from service.adapters.token_prices import NO_PRICES, OwnPrices, repriced
from service.core.events import Arrival, CostEvent

CHANGES_NOTHING: Final = "incomplete, changes nothing"


class Intake:
    """Reads one delivery: yields the rows that stand for themselves, stages those of snapshots.

    `source` overrides what the content says, `feed` the source's name, `arrives` the rows' own time
    of arrival in replay. `notes` is told of files that are of no use.
    `token_prices` are the user's own.
    """

    def __init__(  # noqa: PLR0913 - what is given by name needs no order
        self,
        delivery: Delivery,
        book: SnapshotBook,
        tally: Tally,
        notes: list[str],
        *,
        source: str | None,
        feed: str | None,
        arrives: datetime | None,
        token_prices: OwnPrices = NO_PRICES,
    ) -> None:
        self._token_prices = token_prices
        self._delivery = delivery
        self._book = book
        self._tally = tally
        self._notes = notes
        self._source = source
        self._feed = feed
        self._arrives = arrives
        self._is_whole = True
        self._is_sound = True
        self._implied: dict[tuple[str, bool], Snapshot] = {}
        self._named: dict[tuple[str, str], Snapshot] = {}
        self._ends: dict[tuple[str, str], tuple[str, Completion]] = {}

    def read(self) -> Iterator[Arrival]:
        """Read all files, the rest of them when one is bad."""
        if self._delivery.missing:
            first, others = self._delivery.missing[0], len(self._delivery.missing) - 1
            more = f" and {others} more" if others else ""
            reason = f"names {first[:200]!r}{more}, which is not there: {CHANGES_NOTHING}"
            self._tally.refuse(self._delivery.name, Flaw(0, "file", reason))
            self._tally.files += len(self._delivery.missing)
            self._tally.broken += len(self._delivery.missing)
            return
        for path in self._delivery.files:
            self._tally.files += 1
            try:
                with self._delivery.shelf.at_hand(path):
                    yield from self._file(path)
            except BrokenFileError as error:
                self._is_whole = False
                self._tally.broken += 1
                flaw = error.flaw
                if self._implied or self._named:
                    flaw = flaw._replace(reason=f"{flaw.reason}: {CHANGES_NOTHING}")
                self._tally.refuse(self._name(path), flaw)

    def complete(self) -> Iterator[Snapshot]:
        """Yield the snapshots that are whole, once all is read."""
        if self._is_whole:
            yield from self._implied.values()
        for key, (path, end) in self._ends.items():
            rows = self._named[key].rows if key in self._named else 0
            if end.rows not in (None, rows):
                name = f"snapshot {end.snapshot_id[:80]!r}"
                reason = f"{name} has {rows} of {end.rows} rows: {CHANGES_NOTHING}"
                self._tally.refuse(path, Flaw(end.number, "file", reason))
                self._named.pop(key, None)
        for key, snapshot in self._named.items():
            if self._is_whole or key in self._ends:
                yield snapshot
        for snapshot in (*self._implied.values(), *self._named.values()):
            snapshot.sound = self._is_sound

    def _file(self, path: Path) -> Iterator[Arrival]:
        name = self._source_of(path)
        if name is None:
            self._notes.append(f"{self._name(path)}: of no known format: skipped")
            return
        source, feed, file = SOURCES[name], self._feed or name, self._name(path)
        count, at = self._tally.count, self._arrives
        for item in source.read(path):
            if isinstance(item, Row):
                event = item.event
                if self._token_prices and isinstance(event, CostEvent):
                    event = repriced(event, self._token_prices)
                count(feed, event)
                if not isinstance(event, CostEvent):
                    yield Arrival(event.x_arrived_at or at or event.timestamp, feed, event)
                elif source.appends and event.x_snapshot_id is None:
                    yield Arrival(event.x_arrived_at or at or passes(event), feed, event)
                else:
                    self._stage(feed, item.dataset, event, adds=source.adds)
            elif isinstance(item, Flaw):
                self._is_sound = False
                self._tally.refuse(file, item)
            else:
                self._ends[feed, item.snapshot_id] = (file, item)

    def _name(self, path: Path) -> str:
        return self._delivery.shelf.name(path)

    def _source_of(self, path: Path) -> str | None:
        head = look(path)
        if head.form == "empty":
            raise BrokenFileError(0, "file", "the file is empty")
        if self._source is not None:
            return self._source
        for name, source in SOURCES.items():
            if source.recognises(head):
                return name
        if self._delivery.stray:
            return None
        known = "; ".join(f"{name} has {source.needs}" for name, source in SOURCES.items())
        raise BrokenFileError(0, "format", f"of no known format: {known}")

    def _stage(self, feed: str, dataset: str, event: CostEvent, *, adds: bool) -> None:
        if event.x_snapshot_id is None:
            snapshot = self._implied.get((feed, adds))
            if snapshot is None:
                snapshot = self._snapshot(feed, self._delivery.name, adds=adds)
                self._implied[feed, adds] = snapshot
        else:
            key = (feed, event.x_snapshot_id)
            snapshot = self._named.get(key)
            if snapshot is None:
                snapshot = self._named[key] = self._snapshot(feed, event.x_snapshot_id, whole=True)
        self._book.stage(snapshot, event, dataset)

    def _snapshot(
        self, feed: str, name: str, *, whole: bool = False, adds: bool = False
    ) -> Snapshot:
        return Snapshot(feed, name, self._delivery.at, self._arrives, whole=whole, adds=adds)
