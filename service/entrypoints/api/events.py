"""Events over HTTP, for whoever has no Kafka: read as they come, and safe when answered."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from typing import Annotated, Final

import msgspec
from fastapi import HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.adapters.kafka_messages import line_of
from service.adapters.sources import events
from service.adapters.sources.base import Flaw, Row
from service.core.events import MAX_LINE_BYTES, CostEvent, Rejected
from service.core.ports import PostedBatch, Posting
from service.decoding import from_json
from service.entrypoints.api import views
from service.entrypoints.api.limits import LARGEST_BODY
from service.entrypoints.api.problems import RETRY_LATER

PATH: Final = "/v1/events"
LINES: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
ARRAY: Final = "application/json"
WITHIN_SECONDS: Final = 120.0
TOLD: Final = 100
FILE: Final = "POST /v1/events"
Feed = Annotated[str | None, Query(max_length=128, description="Which feed; the only one, if so.")]


class Refused(msgspec.Struct, kw_only=True):
    """A line that was not taken: the how manieth, from 1, and why."""

    line: int
    reason: str


class Taken(msgspec.Struct, kw_only=True):
    """What became of a batch; of refused lines the first hundred are told."""

    feed: str
    accepted: int
    rejected: int
    rejected_lines: list[Refused]


class EventRoute:
    """Takes batches for the feeds of `posting`; None where none takes any."""

    def __init__(self, posting: Posting | None) -> None:
        self._posting = posting

    async def post(self, request: Request, feed: Feed = None) -> Response:
        """Take a batch of events: NDJSON, one FOCUS row a line, or a JSON array of them.

        They are saved when this answers 202; they are counted once, however often they are sent,
        by x_EventId or else by their content and turn in the batch. Refused lines are kept as dead
        letters. NDJSON may have 16 MiB, an array 1 MiB.
        """
        posting, feed = self._feed(feed)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (*LINES, ARRAY) or request.headers.get("content-encoding"):
            raise HTTPException(415, f"Send {LINES[0]} or {ARRAY}, not compressed.")
        try:
            batch = _Batch(await run_in_threadpool(posting.open, feed), feed)
        except OSError as error:
            raise _no_room(error) from None
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                await (_lines if kind in LINES else _array)(request, batch)
            await run_in_threadpool(batch.saved.save)
        except OSError as error:
            await run_in_threadpool(batch.saved.drop)
            raise (_too_slow() if isinstance(error, TimeoutError) else _no_room(error)) from None
        except BaseException:  # whoever goes away, or is sent away, leaves nothing behind
            batch.saved.drop()
            raise
        answer = views.answer(batch.taken)
        answer.status_code = 202
        return answer

    def _feed(self, asked: str | None) -> tuple[Posting, str]:
        if self._posting is None or not self._posting.feeds:
            raise HTTPException(
                501, "No feed takes events: set posted = true for one in [sources]."
            )
        known = self._posting.feeds
        if asked is None and len(known) == 1:
            return self._posting, known[0]
        if asked is None or asked not in known:
            raise HTTPException(422, f"feed: name one of {', '.join(known)}.")
        return self._posting, asked


class _Batch:
    """A batch that is being read."""

    def __init__(self, saved: PostedBatch, feed: str) -> None:
        self.saved = saved
        self.taken = Taken(feed=feed, accepted=0, rejected=0, rejected_lines=[])
        self._seen: Counter[str] = Counter()
        self._number = 0

    def take(self, lines: list[bytes]) -> None:
        """Take lines; runs in a thread, for it writes."""
        for line in lines:
            self._number += 1
            row = events.parse(self._number, line, self._seen)
            if isinstance(row, Row):
                row = self._put(row.event, line)
            if isinstance(row, Flaw):
                self._refuse(row, line)

    def _put(self, event: object, line: bytes) -> Flaw | None:
        assert isinstance(event, CostEvent)  # noqa: S101 - what the parser of events returns
        if event.x_snapshot_id is not None:
            why = "a snapshot is one delivery: hand it over as a file"
            return Flaw(self._number, "range", why, line[:200])
        at = event.x_arrived_at
        if at is not None:
            event = msgspec.structs.replace(event, x_arrived_at=at.astimezone(UTC))
        self.saved.put(event, line_of(event))
        self.taken.accepted += 1
        return None

    def _refuse(self, flaw: Flaw, line: bytes) -> None:
        self.saved.refuse(Rejected(FILE, self._number, flaw.reason, flaw.raw or line[:200]))
        self.taken.rejected += 1
        if len(self.taken.rejected_lines) < TOLD:
            self.taken.rejected_lines.append(Refused(line=self._number, reason=flaw.reason))


async def _lines(request: Request, batch: _Batch) -> None:
    """Take a body line by line; of one that is too long, no more is kept than shows it."""
    rest, is_cut = b"", False
    async for chunk in request.stream():
        *whole, rest = (rest + chunk).split(b"\n")
        if is_cut and whole:  # the end of a line that was refused already
            whole, is_cut = whole[1:], False
        if is_cut:
            rest = b""
        elif len(rest) > MAX_LINE_BYTES:
            whole, rest, is_cut = [*whole, rest], b"", True
        if whole:
            await run_in_threadpool(batch.take, whole)
    if rest:
        await run_in_threadpool(batch.take, [rest])


async def _array(request: Request, batch: _Batch) -> None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, "An array holds at most 1 MiB; NDJSON may be longer.")
    try:
        rows = from_json(body, list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(422, f"This is no JSON array: {error}") from None
    await run_in_threadpool(batch.take, list(_plain(rows)))


def _plain(rows: list[msgspec.Raw]) -> Iterator[bytes]:
    return (bytes(row) for row in rows)


def _no_room(error: OSError) -> HTTPException:
    why = f"It cannot be saved: {error.strerror}. Send it again."
    return HTTPException(503, why, RETRY_LATER)


def _too_slow() -> HTTPException:
    return HTTPException(408, f"It did not come within {WITHIN_SECONDS:.0f} seconds.")
