"""Stretches: all that is odd, or lately was, by series and detector, and what time does to it."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from detectors.base import Score, start_of, step_of
from service.core.agenda import Agenda
from service.core.events import SeriesKey
from service.core.findings import QUIET_STEPS, OddPoint, SavedStretch, Status, Stretch
from service.core.state import Chunk, Saved, Streams


class Stretches:
    """All findings that may still change, and the rules by which they do."""

    def __init__(
        self,
        settles_after: Callable[[str], timedelta],
        remembers: timedelta = timedelta(days=62),
    ) -> None:
        self._remembers = remembers
        self._settles_after = settles_after
        self._live: dict[tuple[SeriesKey, str], Stretch] = {}
        self._known: dict[str, Stretch] = {}
        self._of_series: dict[SeriesKey, list[Stretch]] = {}
        self._changed: dict[str, Stretch] = {}
        self._agenda = Agenda()
        self._told: dict[str, datetime | None] = {}  # up to when sources had told

    def live(self, series: SeriesKey, detector: str) -> Stretch | None:
        """Return the stretch that goes on now."""
        return self._live.get((series, detector))

    def recent(self, series: SeriesKey, detector: str, step: int, within: int) -> Stretch | None:
        """Return the stretch that began before a step, or a moment after, and was odd lately."""
        near = [
            known
            for known in self.of(series)
            if known.detector == detector
            and known.status != "retracted"
            and not known.is_closed
            and known.since_step - QUIET_STEPS[known.step_hours] <= step <= known.hot_step + within
        ]
        return max(near, key=lambda known: known.hot_step, default=None)

    def __contains__(self, series: SeriesKey) -> bool:
        """Tell whether a series has any stretch that may still change."""
        return series in self._of_series

    def of(self, series: SeriesKey) -> list[Stretch]:
        """Return every stretch of a series that may still change."""
        return self._of_series.get(series, [])

    def raise_or_extend(self, fresh: Stretch, step: int, score: Score, at: datetime) -> Stretch:
        """Note an odd point: in the stretch that goes on, or as the first of a new one."""
        live = self._live.get((fresh.series, fresh.detector))
        quiet = QUIET_STEPS[fresh.step_hours]
        recent = self.recent(fresh.series, fresh.detector, step, quiet)
        is_past = live is not None and step < live.since_step
        if live is not None and live is not recent:
            if not is_past:
                self.end(live)
            live = None
        if live is None and recent is not None:
            live = recent
            if not is_past:
                self._live[fresh.series, fresh.detector] = live
            live.ended_at = None
        if live is None:
            fresh.begin(step, score.since, at)
            live = self._known.get(fresh.finding_id, fresh)
            if live is fresh:
                self._add(fresh)
            elif live.status == "retracted":
                live.status = "provisional"
            live.ended_at = None
            if not is_past:
                self._live[fresh.series, fresh.detector] = live
        live.hot_step = max(live.hot_step, step)
        self._agenda.note(live.finding_id)
        return live

    def get(self, finding_id: str) -> Stretch | None:
        """Return a stretch that may still change."""
        return self._known.get(finding_id)

    def raise_alone(self, fresh: Stretch, step: int, at: datetime) -> None:
        """Begin a finding that stands for itself: later periods do not extend it, a day ends it."""
        fresh.begin(step, step, at)
        fresh.stands_alone = True
        self._add(fresh)

    def put(self, stretch: Stretch, step: int, point: OddPoint) -> None:
        """Set one period of a stretch; a stretch without an odd period is retracted."""
        self._agenda.note(stretch.finding_id)
        if stretch.points.get(step) == point:
            return
        stretch.set_point(step, point)
        self._changed[stretch.finding_id] = stretch
        if stretch.ended_at is not None:
            stretch.ended_at = stretch.at(stretch.last_step + 1)
        if stretch.odd:
            if stretch.status == "retracted":
                stretch.status = "provisional"
        elif stretch.status != "retracted":
            stretch.status = "retracted"
            self.end(stretch)

    def put_onset(self, stretch: Stretch, step: int, point: OddPoint) -> None:
        """Set a period between the onset and the raise: its money counts, its score does not."""
        stretch.set_point(step, point)
        self._agenda.note(stretch.finding_id)

    def put_over(self, stretch: Stretch, step: int, point: OddPoint) -> None:
        """Set a period that is over as the odd ones are, though it would not raise a finding."""
        stretch.over_step = step
        self.put(stretch, step, point)

    def settles_at(self, series: SeriesKey, step: int, step_hours: int) -> datetime:
        """Return when a period is taken as final."""
        return start_of(step + 1, step_hours) + self._settles_after(series.source)

    def settled_until(self, stretch: Stretch, now: datetime) -> datetime:
        """Return up to when the periods of a stretch are final."""
        hours, settles_after = stretch.step_hours, self._settles_after(stretch.series.source)
        return stretch.at(step_of(now - settles_after - stretch.offset, hours))

    def end(self, stretch: Stretch) -> None:
        """Close a stretch at the end of its last odd period."""
        if self._live.get((stretch.series, stretch.detector)) is stretch:
            del self._live[stretch.series, stretch.detector]
        stretch.ended_at = stretch.at(stretch.last_step + 1)
        self._note_changed(stretch)

    def is_live(self, stretch: Stretch) -> bool:
        """Tell whether a stretch is the one that goes on now."""
        return self._live.get((stretch.series, stretch.detector)) is stretch

    def close(self, stretch: Stretch) -> None:
        """End a stretch for good: what it found is the new level."""
        stretch.is_closed = True
        self.end(stretch)

    def reopen(self, stretch: Stretch, ended_at: datetime | None, *, is_live: bool) -> None:
        """Take back that a stretch was closed."""
        stretch.is_closed, stretch.ended_at = False, ended_at
        if is_live:
            self._live.setdefault((stretch.series, stretch.detector), stretch)
        self._note_changed(stretch)

    def advance(
        self, now: datetime, known_until: Callable[[str], datetime | None] = lambda _: None
    ) -> None:
        """Let time pass: confirm what has settled, end what has been quiet, forget what is both.

        `known_until` says how far a source has told, if it has. What it has not told of is not
        quiet, unless it stays away for so long that it would have settled.
        """
        told = {source: known_until(source) for source in self._told}
        if told != self._told:
            for stretch in self._known.values():
                source = stretch.series.source
                if stretch.ended_at is None and told[source] != self._told[source]:
                    self._agenda.note(stretch.finding_id)
            self._told = told
        for finding_id in self._agenda.due(now):
            if (found := self._known.get(finding_id)) is not None:
                self._look_at(found, now, told[found.series.source])

    def _look_at(self, stretch: Stretch, now: datetime, told: datetime | None) -> None:
        """Let time pass for a stretch, of whose source it is known up to when it has told."""
        hours = stretch.step_hours
        settled = self.settles_at(stretch.series, stretch.last_step, hours)
        status: Status = "confirmed" if now >= settled else "provisional"
        if stretch.status not in (status, "retracted"):
            stretch.status = status
            self._note_changed(stretch)
        quiet = start_of(stretch.last_step + QUIET_STEPS[hours] + 2, hours)
        if stretch.stands_alone:
            quiet = stretch.detected_at + timedelta(days=1)
        elif now < settled and told is not None:
            is_told = told >= start_of(stretch.last_step + 1 + QUIET_STEPS[hours], hours)
            quiet = quiet if is_told else settled
        forgotten = max(settled, quiet) + self._remembers
        if stretch.ended_at is None and now >= quiet:
            self.end(stretch)
        elif stretch.ended_at is not None and now >= forgotten:
            self._drop(stretch)
        else:
            over = quiet if stretch.ended_at is None else forgotten
            self._agenda.put(stretch.finding_id, over if now >= settled else min(over, settled))

    def _add(self, stretch: Stretch) -> None:
        self._known[stretch.finding_id] = stretch
        self._of_series.setdefault(stretch.series, []).append(stretch)
        self._told.setdefault(stretch.series.source, None)
        self._agenda.note(stretch.finding_id)

    def _drop(self, stretch: Stretch) -> None:
        del self._known[stretch.finding_id]
        self._agenda.drop(stretch.finding_id)
        self._of_series[stretch.series].remove(stretch)
        if not self._of_series[stretch.series]:
            del self._of_series[stretch.series]

    def _note_changed(self, stretch: Stretch) -> None:
        self._changed[stretch.finding_id] = stretch
        self._agenda.note(stretch.finding_id)

    def changed(self) -> Iterable[Stretch]:
        """Return what changed since the last `drain`."""
        return list(self._changed.values())

    def drain(self) -> Iterator[Stretch]:
        """Yield, in a fixed order, what changed since the last call."""
        changed, self._changed = self._changed, {}
        yield from sorted(changed.values(), key=lambda s: (s.detected_at, s.finding_id))

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        live = {stretch.finding_id for stretch in self._live.values()}
        packed = ((id_, s.pack(is_live=id_ in live)) for id_, s in self._known.items())
        yield from streams.values(name, packed)

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved of the series that are kept."""
        for packed in saved.values(name, SavedStretch).values():
            if keep(packed.series):
                stretch = Stretch.unpack(packed)
                self._add(stretch)
                if packed.is_live:
                    self._live[stretch.series, stretch.detector] = stretch
