"""The keeper: the state of one machine's pipeline between runs.

At start the newest usable checkpoint is restored, and the log is run through from there; now and
then the state is saved, and the log trimmed to what the older of two checkpoints still needs.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import structlog

from service.adapters.checkpoints import Checkpoint, Checkpoints
from service.adapters.log import Log
from service.core.ledger import Metric
from service.core.state import Chunk, StateError, Streams
from service.pipeline import Pipeline

STREAM: Final = "service"

_log = structlog.get_logger("keeper")


class Notes(msgspec.Struct, kw_only=True):
    """What the service knows beside its pipeline: backfills summed up, metrics found, last tick."""

    summed: set[str] = set()
    metrics: dict[str, Metric] = {}
    ticked_at: datetime | None = None


class Resumed(NamedTuple):
    """Where a run goes on: after `offset`; `is_whole` unless something was learnt and is lost."""

    pipeline: Pipeline
    notes: Notes
    offset: int
    is_whole: bool


class Keeper:
    """Saves and restores. `build` makes a pipeline that has done nothing yet, over these metrics.

    `faults` says what could not be used, in sentences for whoever looks at the status.
    """

    def __init__(
        self,
        log: Log,
        checkpoints: Checkpoints,
        build: Callable[[dict[str, Metric]], Pipeline],
        every: timedelta,
    ) -> None:
        self._log = log
        self._checkpoints = checkpoints
        self._build = build
        self._every = every
        self._saved_at: datetime | None = None
        self._saved = -1
        self.faults: list[str] = []

    def resume(self, saved: int) -> Resumed:
        """Restore the newest state that fits the log, and a store that holds up to `saved`.

        A store that is behind every checkpoint is filled anew from the log, if all of it is there.
        """
        known = list(self._checkpoints.newest_first())
        usable = [checkpoint for checkpoint in known if checkpoint.offset <= saved]
        if self._log.begin > 1:
            usable += [checkpoint for checkpoint in known if checkpoint.offset > saved]
        for checkpoint in usable:
            try:
                return self._restored(checkpoint)
            except StateError as error:
                number = checkpoint.manifest.number
                self.faults.append(f"Saved state {number} cannot be used: {error}.")
        self.faults += self._checkpoints.notes
        is_whole = self._log.begin <= 1
        if not is_whole:
            self.faults.append(
                "What was learnt before the oldest batch of the log is lost: detectors start anew."
            )
        if known or self.faults:
            _log.warning("rebuilding from the log", faults=self.faults, store_holds=saved)
        notes = Notes()
        return Resumed(self._build(notes.metrics), notes, self._log.begin - 1, is_whole)

    def _restored(self, checkpoint: Checkpoint) -> Resumed:
        begin, end = self._log.begin, self._log.end
        if not begin - 1 <= checkpoint.offset <= end:
            raise StateError(
                f"it stands for batch {checkpoint.offset}, and the log holds {begin} to {end}"
            )
        with checkpoint.open() as read:
            notes = read.values(STREAM, Notes).get("", Notes())
            pipeline = self._build(notes.metrics)
            flaws = pipeline.restore(read)
        self._checkpoints.go_on_from(checkpoint, read)
        self.faults += [f"Saved state in part: {flaw}; it starts anew." for flaw in flaws]
        return Resumed(pipeline, notes, checkpoint.offset, is_whole=True)

    def is_due(self, pipeline: Pipeline, now: datetime) -> bool:
        """Tell whether the state should be saved: it is time, and something has come since."""
        is_time = self._saved_at is None or now - self._saved_at >= self._every
        return is_time and pipeline.offset != self._saved

    def save(self, pipeline: Pipeline, notes: Notes, now: datetime) -> None:
        """Save what changed and trim the log; a full disk is a fault that is said, not an end."""

        def state(streams: Streams) -> Iterator[Chunk]:
            yield from pipeline.save(streams)
            yield from streams.values(STREAM, [("", notes)])

        self._saved_at = now
        try:
            written = self._checkpoints.save(pipeline.offset, state)
        except OSError as error:
            self.faults[:] = [f"The state cannot be saved: {error}."]
            _log.error("state not saved", error=str(error))
            return
        self._saved = pipeline.offset
        self.faults[:] = [fault for fault in self.faults if "is lost" in fault]
        self._log.trim(self._checkpoints.needed_from())
        _log.info("state saved", offset=pipeline.offset, bytes=written)
