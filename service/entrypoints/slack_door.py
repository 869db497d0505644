"""Slack's door: lets in what Slack signed, once, and reads nothing of the rest.

Slack signs `v0:timestamp:body` with HMAC-SHA256; see docs.slack.dev, "Verifying requests from
Slack". A request that is repeated is not let in again: it was heard the first time.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from fastapi import Request
from slack_sdk.signature import Clock, SignatureVerifier

from service.core.secret import Secret

LARGEST_BODY: Final = 1_000_000
VALID_SECONDS: Final = 5 * 60
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(r"v0=[0-9a-f]{64}")
Entry = Literal["in", "again", "refused"]


class Door:
    """Judges requests by their signature, their age, and whether they came before."""

    def __init__(self, secret: Secret, now: Callable[[], float] = time.time) -> None:
        clock = Clock()
        clock.now = now  # type: ignore[method-assign]  # the class has nothing else
        self._verifier = SignatureVerifier(secret.reveal(), clock)
        self._now = now
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()

    def judge(self, body: bytes, timestamp: str, signature: str) -> Entry:
        """Judge one request, and remember it if it is let in."""
        if not _TIMESTAMP.fullmatch(timestamp) or not _SIGNATURE.fullmatch(signature):
            return "refused"
        try:
            is_signed = self._verifier.is_valid(body, timestamp, signature)
        except UnicodeDecodeError:  # it takes a body for text before it knows who sent it
            is_signed = False
        if not is_signed:
            return "refused"
        with self._lock:
            now = self._now()
            # Until it is too old to be valid, by clocks that may differ by as much.
            while self._order and now - self._order[0][0] > 2 * VALID_SECONDS:
                self._seen.discard(self._order.popleft()[1])
            if signature in self._seen:
                return "again"
            self._seen.add(signature)
            self._order.append((now, signature))
        return "in"


async def body_of(request: Request) -> bytes | None:
    """Read a request's body, None when it is larger than anything that Slack sends."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > LARGEST_BODY:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)
