"""Idle GPUs: samples and bills in, verdicts out.

Time is the arrival clock. Every `TICK` seconds of it the GPUs are judged, so that how arrivals were
cut into batches does not matter. A verdict is updated when GPUs join or leave it and every hour in
between, and ended when none is left; idle again within a day, it goes on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.base import F64, I64, step_of
from service.core.events import GpuSample
from service.core.gpu_rates import HourCost, Rates
from service.core.gpu_runs import SILENCE, Run, idle_between, let_go, run_of, to_learn, to_score
from service.core.gpus import HOUR, NEVER, REOPENS, Gpu, GpuHours, GpuKey
from service.core.idle_causes import Neighbours
from service.core.idle_groups import Group, Member, Place, SavedGroup, going_on, over
from service.core.idle_verdicts import Cause, Ending, IdleVerdict
from service.core.prices import PriceBook
from service.core.state import Chunk, Saved, StateError, Streams
from service.core.unused import Unused

TICK: Final = 300
CONTINUES: Final = 24 * HOUR
FORGETS: Final = 7 * 24 * HOUR
SCORED: Final = ("run_hours", "fresh_hours", "power_watts")
LEARNT: Final = ("hour", "gap_hours", "watched_hours", "worked_hours", "least_power_watts")


class IdleDetector(Protocol):
    """The column form of `detectors.idle_gpu`: one row per GPU.

    No run shorter than `least_hours` is odd.
    """

    least_hours: float

    def resize(self, rows: int) -> None:
        """Make room for `rows` GPUs."""
        ...

    def forget(self, rows: I64) -> None:
        """Make rows new again."""
        ...

    def score(self, rows: I64, hours: Mapping[str, F64]) -> F64:
        """Return each GPU's surprise, 0 while there is nothing to say; fields as in `SCORED`."""
        ...

    def learn(self, rows: I64, hours: Mapping[str, F64]) -> None:
        """Take in hours that are over, fields as in `LEARNT`; a row occurs once."""
        ...

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the state itself, by name."""
        ...


class _Column(msgspec.Struct, array_like=True):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _Rest(msgspec.Struct, kw_only=True):
    """What is saved beside GPUs, bills and groups."""

    rows: list[tuple[GpuKey, int]]
    free: list[int]
    told: list[tuple[GpuKey, Place]]
    tick_at: int | None


class IdleGpus:
    """All GPUs of one worker, from sample to verdict."""

    def __init__(
        self,
        detector: IdleDetector,
        book: PriceBook,
        closes_after: timedelta = timedelta(minutes=10),
    ) -> None:
        self.hours = GpuHours(closes_after)
        self.rates = Rates(book)
        self._detector = detector
        self._least = int(detector.least_hours * HOUR)
        self._rows: dict[GpuKey, int] = {}
        self._free: list[int] = []
        self._groups: dict[Place, Group] = {}
        self._told: dict[GpuKey, Group] = {}
        self._unused = Unused()
        self._verdicts: list[IdleVerdict] = []
        self._tick_at: int | None = None

    def observe(self, arrived_at: datetime, sample: GpuSample) -> None:
        """Take in one sample, in any order within the last 48 h, any number of times."""
        arrived = int(arrived_at.timestamp())
        if self._tick_at is None or arrived >= self._tick_at:
            self._pass_time(arrived)
        self.hours.observe(arrived, sample)

    def observe_cost(self, cost: HourCost) -> None:
        """Take in what the bill says of one hour of one resource; a later word replaces it.

        Resources that are neither known from samples nor of a listed GPU type are left out.
        """
        if cost.resource_id in self.hours.resources or self.rates.lists(cost):
            self.rates.observe_cost(cost)
            self._unused.observe_cost(cost)

    def advance(self, now: datetime) -> list[IdleVerdict]:
        """Let time pass to `now`; return what changed since the last call, in order."""
        self._pass_time(int(now.timestamp()))
        verdicts, self._verdicts = self._verdicts, []
        return verdicts

    def standing(self) -> Iterator[IdleVerdict]:
        """Yield what was told and has not ended, in a fixed order."""
        for place in sorted(self._groups):
            group = self._groups[place]
            if group.members and group.verdict is not None:
                yield group.verdict
        yield from self._unused.standing()

    def causes(self) -> dict[GpuKey, Cause]:
        """Return why the GPUs that are told as idle do nothing."""
        return {key: group.place.cause for key, group in self._told.items()}

    def forget(self, before: datetime) -> None:
        """Let go of what was not billed since a time and has no GPU any more."""
        self.rates.forget_before(step_of(before, 1), self.hours.resources)
        self._unused.forget(before)

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from self.hours.save(streams, name)
        yield from self.rates.save(streams, f"{name}/bills")
        yield from self._unused.save(streams, f"{name}/unused")
        groups = (("\0".join(p), SavedGroup.of(g)) for p, g in self._groups.items())
        yield from streams.values(f"{name}/groups", groups)
        rest = _Rest(
            rows=list(self._rows.items()),
            free=self._free,
            told=[(key, group.place) for key, group in self._told.items()],
            tick_at=self._tick_at,
        )
        yield from streams.values(f"{name}/rest", [("", rest)])
        columns = self._detector.columns().items()
        parts = ((key, _Column(c.dtype.str, c.shape, c.tobytes())) for key, c in columns)
        yield from streams.values(f"{name}/columns", parts)

    def restore(self, saved: Saved, name: str, keep: Callable[[str], bool]) -> None:
        """Take over what was saved of the hosts that are kept."""
        self.hours.restore(saved, name)
        self.rates.restore(saved, f"{name}/bills")
        self._unused.restore(saved, f"{name}/unused")
        for packed in saved.values(f"{name}/groups", SavedGroup).values():
            self._groups[packed.place] = packed.group(self.hours.gpus)
        for rest in saved.values(f"{name}/rest", _Rest).values():
            self._rows, self._free, self._tick_at = dict(rest.rows), rest.free, rest.tick_at
            self._told = {key: self._groups[place] for key, place in rest.told}
        self._detector.resize(len(self._rows) + len(self._free))
        known = self._detector.columns()
        for key, part in saved.values(f"{name}/columns", _Column).items():
            column = known.get(key)
            if column is None or (column.dtype.str, column.shape) != (part.dtype, part.shape):
                raise StateError(f"{key} of the idle GPUs is of another type or shape")
            column[:] = np.frombuffer(part.data, column.dtype).reshape(column.shape)
        self._drop({gpu.host for gpu in self.hours.gpus.values() if not keep(gpu.host)})

    def _pass_time(self, now: int) -> None:
        if self._tick_at is None:
            self._tick_at = now // TICK * TICK + TICK
        while self._tick_at <= now:
            self._tick(self._tick_at)
            self._tick_at += TICK

    def _tick(self, now: int) -> None:
        changed = self._review(now)
        self._learn(now)
        changed |= self._judge(now)
        self._tell(now, changed)
        self._verdicts += self._unused.advance(now)
        if now % HOUR == 0:
            self._let_go(now)

    def _learn(self, now: int) -> None:
        by_step: dict[int, list[tuple[int, tuple[float, ...]]]] = {}
        for gpu, step, hour in self.hours.close(now):
            by_step.setdefault(step, []).append((self._row(gpu.key), to_learn(gpu, step, hour)))
        for step in sorted(by_step):
            self._detector.learn(*_columns(by_step[step], LEARNT))

    def _judge(self, now: int) -> set[Place]:
        """Find GPUs that have become idle; return the groups they joined."""
        found: list[tuple[Gpu, Run]] = []
        for key, gpu in self.hours.gpus.items():
            since = gpu.first if gpu.last_busy == NEVER else gpu.last_busy
            long_enough = gpu.last - since >= self._least
            if long_enough and key not in self._told and now - gpu.last <= SILENCE:
                found.append((gpu, run_of(self.hours, gpu)))
        scores = self._score(found)
        if not any(scores):
            return set()
        neighbours = Neighbours(self.hours, now)
        return {
            self._join(neighbours, gpu, run, score, now)
            for (gpu, run), score in zip(found, scores, strict=True)
            if score > 0
        }

    def _score(self, found: Sequence[tuple[Gpu, Run]]) -> list[float]:
        if not found:
            return []
        known = [(self._row(gpu.key), to_score(gpu, run)) for gpu, run in found]
        return [float(score) for score in self._detector.score(*_columns(known, SCORED))]

    def _join(self, neighbours: Neighbours, gpu: Gpu, run: Run, score: float, now: int) -> Place:
        place = Place(gpu.host, neighbours.cause(gpu, run))
        step = run.start // HOUR
        group = self._groups.get(place)
        if group is None or (group.verdict is not None and group.verdict.retracted):
            group = self._groups[place] = Group(place=place, since=step, detected=now)
        elif group.told == NEVER:
            group.since = min(group.since, step)
        parts = sum(near.key[0] == gpu.key[0] for near in neighbours.of(place.key))
        group.members[gpu.key] = Member(gpu, run, score, max(parts, 1))
        self._told[gpu.key] = group
        gpu.hold_from = step
        return place

    def _review(self, now: int) -> set[Place]:
        """Look at the GPUs that are told as idle; return the groups that some have left."""
        changed = set()
        for key, group in list(self._told.items()):
            member = group.members[key]
            ending, end = self._ending(member, now)
            if not ending:
                continue
            if ending != "withdrawn":
                hours = idle_between(member.gpu, member.run.start, end)
                group.settle(hours, member.parts)
            group.ending, group.until = ending, end
            member.gpu.hold_from = None
            del group.members[key], self._told[key]
            changed.add(group.place)
        return changed

    def _ending(self, member: Member, now: int) -> tuple[Ending, int]:
        """Say why and when a GPU stopped being idle; nothing while it goes on."""
        gpu, start = member.gpu, member.run.start
        if now - gpu.last > SILENCE:
            return "silent", gpu.last
        if max(gpu.last_busy, gpu.pod_since, self.hours.split_at(gpu)) <= start:
            return "", NEVER
        run = run_of(self.hours, gpu)
        if run.start <= start:
            return "", NEVER
        if gpu.last_busy <= start:
            return ("pod" if run.start == gpu.pod_since else "silent"), run.start
        if gpu.last_busy > member.run.end:
            return "worked", first_busy(gpu, start)
        # A late sample shows work at a time that was already called idle.
        member.run, member.score = run, self._score([(gpu, run)])[0]
        return ("", NEVER) if member.score > 0 else ("withdrawn", gpu.last)

    def _tell(self, now: int, changed: set[Place]) -> None:
        groups = self._groups.values()
        changed |= {g.place for g in groups if g.members and now - g.told >= HOUR}
        neighbours = Neighbours(self.hours, now) if changed else None
        for place in sorted(changed):
            group = self._groups[place]
            group.told = now
            if group.members and neighbours is not None:
                for member in group.members.values():
                    member.run = run_of(self.hours, member.gpu)
                verdict = going_on(group, neighbours, self._told, self.rates, now)
                self._verdicts.append(verdict)
            elif group.verdict is not None:
                self._verdicts.append(over(group, group.verdict, self.rates, now))

    def _row(self, key: GpuKey) -> int:
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._free.pop() if self._free else len(self._rows)
            self._detector.resize(len(self._rows) + len(self._free))
        return row

    def _drop(self, hosts: set[str]) -> None:
        """Let hosts go that are another's now."""
        for place in [place for place in self._groups if place.key in hosts]:
            for key in self._groups.pop(place).members:
                del self._told[key]
        self._forget([key for key, gpu in self.hours.gpus.items() if gpu.host in hosts])

    def _forget(self, gone: Sequence[GpuKey]) -> None:
        rows = [self._rows.pop(key) for key in gone if key in self._rows]
        self._free += rows
        self._detector.forget(np.array(rows, np.int64))
        for resource_id in self.hours.forget(gone):
            self.rates.forget(resource_id)

    def _let_go(self, now: int) -> None:
        """Forget what can matter no more."""
        for place, group in list(self._groups.items()):
            if not group.members and now - group.told > CONTINUES:
                del self._groups[place]
        self._forget([key for key, gpu in self.hours.gpus.items() if now - gpu.arrived > FORGETS])
        for gpu in self.hours.gpus.values():
            old = bool(gpu.hours) and (min(gpu.hours) + 1) * HOUR <= now - REOPENS
            let_go(gpu, run_of(self.hours, gpu) if old else None, now)


def first_busy(gpu: Gpu, after: int) -> int:
    """Return when a GPU first worked after a moment, its newest sample if it did not."""
    starts = (
        step * HOUR + hour.first_busy for step, hour in gpu.hours.items() if hour.last_busy != NEVER
    )
    return min((start for start in starts if start > after), default=gpu.last)


def _columns(
    known: Sequence[tuple[int, tuple[float, ...]]], names: Sequence[str]
) -> tuple[I64, dict[str, F64]]:
    rows = np.array([row for row, _ in known], np.int64)
    values = np.array([values for _, values in known], np.float64)
    return rows, {name: values[:, place] for place, name in enumerate(names)}
