"""Agenda: what is to be looked at when, so that time passes without looking at everything."""

from collections.abc import Iterable
from datetime import datetime
from heapq import heappop, heappush


class Agenda:
    """Names, each with the moment at which time alone may change it, or the next one there is."""

    def __init__(self) -> None:
        self._next: dict[str, None] = {}
        self._at: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []

    def note(self, name: str) -> None:
        """Have something looked at whenever time passes next: it changed."""
        self._next[name] = None

    def put(self, name: str, at: datetime) -> None:
        """Have something looked at from a moment on, and not at the one that was put before."""
        self._at[name] = at
        heappush(self._heap, (at, name))

    def drop(self, name: str) -> None:
        """Have something looked at no more."""
        self._next.pop(name, None)
        self._at.pop(name, None)

    def due(self, now: datetime) -> Iterable[str]:
        """Return what is to be looked at now; it is due no more, until it is put or noted again."""
        due, self._next = self._next, {}
        while self._heap and self._heap[0][0] <= now:
            at, name = heappop(self._heap)
            if self._at.get(name) == at:
                due[name] = None
        for name in due:
            self._at.pop(name, None)
        return due
