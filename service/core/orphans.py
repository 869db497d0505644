"""Orphaned storage: volumes and snapshots that are paid for although their machine is gone.

A bill does not say what a volume is attached to. It is taken to be a machine's when a tag of it
names the machine, or when it is named after it, as `vm1_OsDisk_1` (Azure) and a boot disk (Google
Cloud) are, within one sub-account. Storage of which no machine was ever billed is left alone:
nobody knows.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np

from detectors.base import start_of, step_of
from service.core import money
from service.core.events import UNSCORED, CostEvent, SeriesKey
from service.core.incidents import ORPHANED
from service.core.lapses import Lapse
from service.core.ledger import STEP_HOURS, Ledger
from service.core.machines import GONE_AFTER, NOBODY, RUNS, key_of
from service.core.owners import Owners, plain_key
from service.core.phrases import clean, date
from service.core.phrases import money as amount
from service.core.slots import NUMBERS, Rows
from service.core.state import ENCODE, Chunk, Saved, Sign, Streams, digest, keep_all

# Storage was billed so lately.
STILL_BILLED: Final = timedelta(days=4)
DAYS_IN_MONTH: Final = 30
_A_DAY: Final = timedelta(days=1)
_TAGS: Final = frozenset({"instance", "instance_id", "instance-id", "instanceid", "vm", "machine"})
_IDS: Final = r"(?:^|[/.:])(?:vol|snap)-[0-9a-f]|/disks/|/snapshots/|ocid1\.(?:boot)?volume"
_STORAGE_ID: Final = re.compile(_IDS, re.IGNORECASE)
_STORAGE: Final = re.compile(
    rf"{_IDS}|\bvolume\b|\bdisk\b|\bsnapshots?\b|persistent disk|boot volume|block volume",
    re.IGNORECASE,
)
_MACHINE: Final = re.compile(
    r"(?:^|[/.:])i-[0-9a-f]{4}|/virtualmachines/|/instances/|ocid1\.instance\b|virtual machine\b"
    r"|\binstance\b|\bcompute instance",
    re.IGNORECASE,
)
_NAMED_AFTER: Final = re.compile(
    r"(?i)[-_.](?:os|data|boot)?[-_]?(?:disk|volume|snapshot|vol)(?![a-z]).*"
)


class Orphans:
    """Knows machines and storage by their names, from the rows that the ledger was given.

    What it knows at an hour is a function of the ledger, and of machines that were forgotten there
    but whose storage was not.
    """

    def __init__(self, ledger: Ledger, owners: Owners) -> None:
        self._ledger = ledger
        self._owners = owners
        self._touched: dict[SeriesKey, int] = {}  # the newest billed hour since the last look
        self._rows: Rows[SeriesKey] = Rows(NUMBERS)
        self._shown = array("q")  # what a series said when it was sorted in, by row
        self._sorted: set[int] | None = None  # rows that were, since the last save
        self._machines: dict[SeriesKey, _Machine] = {}
        self._past: dict[SeriesKey, _Machine] = {}
        self._stores: dict[SeriesKey, dict[int, str]] = {}

    def observe(self, series: SeriesKey, step: int) -> None:
        """Take note of a step of a series that costs something."""
        if series.grain == UNSCORED:
            return
        hour = (step + 1) * STEP_HOURS[series.grain]
        if hour > self._touched.get(series, 0):
            self._touched[series] = hour

    def look(self) -> None:
        """Sort in what was observed since the last look."""
        touched, self._touched = self._touched, {}
        for series, hour in touched.items():
            if series not in self._ledger:
                continue
            about = self._ledger.about(series)
            row, shown = self._rows.get(series), _shown(about)
            if row is None or self._shown[row] != shown:
                self._note(series, shown)
                self._sort_in(series, about)
            known = self._machines.get(series)
            if known is not None and known.hour < hour:
                self._machines[series] = known._replace(hour=hour)

    def wanted(self) -> set[int]:
        """Return what stands for the names that machines of the storage at hand may have."""
        return {key for names in self._stores.values() for key in names}

    def hours(self) -> dict[int, int]:
        """Return up to which hours machines were billed, by what stands for their names."""
        found: dict[int, int] = {}
        for machine in (*self._past.values(), *self._machines.values()):
            for key in machine.keys:
                if machine.hour > found.get(key, NOBODY):
                    found[key] = machine.hour
        return found

    def known(self) -> dict[int, int]:
        """Return it of wanted names alone, NOBODY where no machine bears one."""
        found = dict.fromkeys(self.wanted(), NOBODY)
        for machine in (*self._past.values(), *self._machines.values()):
            for key in machine.keys:
                if machine.hour > found.get(key, RUNS):
                    found[key] = machine.hour
        return found

    def forget(self, before: datetime, today: datetime) -> None:
        """Let go of storage that is gone, and of machines that were gone before a time.

        A machine is kept while its storage is there, or it has not been gone for long.
        """
        self.look()
        newest, edge = self._ledger.newest, step_of(before, 1)
        old = {one: known for one, known in self._machines.items() if known.hour <= edge}
        for series in (*old, *[one for one in self._stores if newest(one) is None]):
            self._machines.pop(series, None)
            self._stores.pop(series, None)
            self._rows.free(series)
        for series in [one for one in self._rows if one not in self._ledger]:
            self._rows.free(series)
        wanted, lately = self.wanted(), step_of(today - GONE_AFTER - _A_DAY, 1)
        self._past = {
            one: known
            for one, known in (self._past | old).items()
            if known.hour > lately or not wanted.isdisjoint(known.keys)
        }

    def save(self, streams: Streams, name: str, sign: Sign) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        self.look()
        past = ((str(one), known) for one, known in self._past.items())
        yield from streams.values(f"{name}/past", past)
        yield from self._rows.save(streams, f"{name}/series")
        hours = np.full(len(self._rows), NOBODY, np.int64)
        hours[[self._rows[one] for one in self._machines]] = [
            known.hour for known in self._machines.values()
        ]
        columns = {"shown": np.array(self._shown, np.int64), "hour": hours}
        yield from streams.columns(name, columns, sign)
        fresh, self._sorted = self._sorted, set()
        is_whole = fresh is None or streams.wants_whole(f"{name}/names")
        if is_whole or fresh:
            rows = range(len(self._rows)) if is_whole or fresh is None else sorted(fresh)
            named = [one for row in rows if (one := self._names(row)) is not None]
            yield streams.chunk(f"{name}/names", named, whole=is_whole)

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self.restore_past(saved, name)
        to = self._rows.restore(saved, f"{name}/series", SeriesKey, keep_all)
        columns = {column: np.zeros(len(to), np.int64) for column in ("shown", "hour")}
        saved.columns(name, columns, to)
        self._shown, hours = array("q", columns["shown"].tobytes()), columns["hour"].tolist()
        every = (one for data in saved.chunks(f"{name}/names") for one in _NAMES(data))
        for row, keys, names in {one[0]: one for one in every}.values():
            series = self._rows.numbered()[row]
            if series is not None and names:
                self._stores[series] = names
            elif series is not None and keys:
                self._machines[series] = _Machine(keys, hours[row])
        self._sorted = set()

    def restore_past(self, saved: Saved, name: str) -> None:
        """Take over what the ledger does not know any more."""
        past = saved.values(f"{name}/past", _Machine)
        self._past = {SeriesKey.parse(series): known for series, known in past.items()}

    def read(self) -> None:
        """Take note of all that the ledger knows."""
        for series in self._ledger.series():
            newest = self._ledger.newest(series)
            if newest is not None:
                self.observe(series, newest)
        self.look()

    def lapses(self, now: datetime, known: Mapping[int, int]) -> Iterator[Lapse]:
        """Yield the storage that outlived its machine, in a fixed order.

        `known` says up to which hours machines were billed, of all that a name may mean. Storage of
        which it lacks a name is left alone.
        """
        edge = step_of(now - GONE_AFTER, 1)
        recent = step_of(now - STILL_BILLED, 1)
        outlived = []
        for series, names in self._stores.items():
            if not known.keys() >= names.keys():
                continue
            last, name = max((known[key], name) for key, name in names.items())
            if NOBODY < last < edge:
                outlived.append((series, last, name))
        for series, last, name in sorted(outlived):
            hours = STEP_HOURS[series.grain]
            steps = [step for step in self._ledger.steps(series) if step * hours >= last]
            if steps and (steps[-1] + 1) * hours > recent:
                lapse = self._lapse(series, name, last, steps)
                if lapse is not None:
                    yield lapse

    def _note(self, series: SeriesKey, shown: int) -> None:
        row = self._rows.give(series)
        if row == len(self._shown):
            self._shown.append(shown)
        self._shown[row] = shown
        if self._sorted is not None:
            self._sorted.add(row)

    def _names(self, row: int) -> tuple[int, tuple[int, ...], dict[int, str]] | None:
        series = self._rows.numbered()[row]
        if series is None:
            return None
        machine = self._machines.get(series)
        return row, () if machine is None else machine.keys, self._stores.get(series, {})

    def _sort_in(self, series: SeriesKey, about: CostEvent) -> None:
        self._machines.pop(series, None)
        self._past.pop(series, None)
        self._stores.pop(series, None)
        what, account = _what(about), series.sub_account_id
        if what == "storage":
            names = {key_of(account, name): name for name in _machines_of(about)}
            if names:
                self._stores[series] = names
        elif what == "machine":
            newest = self._ledger.newest(series)
            hour = 0 if newest is None else (newest + 1) * STEP_HOURS[series.grain]
            keys = tuple(key_of(account, name) for name in sorted(_names_of(about)))
            self._machines[series] = _Machine(keys, hour)

    def _lapse(self, series: SeriesKey, machine: str, last: int, steps: list[int]) -> Lapse | None:
        ledger, hours = self._ledger, STEP_HOURS[series.grain]
        costs = {step: ledger.point(series, step) or money.ZERO for step in steps}
        cost = money.total(costs.values())
        if cost <= 0:
            return None
        about, since = ledger.about(series), start_of(last, 1)
        owner = self._owners.of_row(about)
        span = (steps[-1] + 1 - steps[0]) * hours
        rate = money.cents(float(cost) * 24 / span)
        month = amount(rate * DAYS_IN_MONTH, series.billing_currency)
        name = about.resource_name or about.resource_id or series.resource
        shown = amount(cost, series.billing_currency)
        return Lapse.of(
            ORPHANED,
            series,
            about,
            owner,
            since=since,
            cost=cost,
            reason=(
                f"{clean(name, 120)} is paid for, {month} a month, but {clean(machine, 120)}, "
                f"whose it was, has not run since {date(since)}: {shown} since then. Delete it, "
                "or keep a snapshot."
            ),
            title=name,
            run_rate_per_day=rate,
        )


class _Machine(NamedTuple):
    keys: tuple[int, ...]
    hour: int


def _shown(about: CostEvent) -> int:
    """Return what stands for all that is asked of a row."""
    tags = sorted((about.tags or {}).items())
    said = about.resource_id, about.resource_type, about.resource_name, tags
    return int.from_bytes(digest(ENCODE(said)), "little", signed=True)


def _what(about: CostEvent) -> str:
    """Say whether a row is of storage, of a machine, or of neither: by its id, else its type."""
    return _kind(about.resource_id or "") or _kind_of_type(about.resource_type or "")


def _kind(text: str) -> str:
    lower = text.lower()
    # What has none of these words need not be searched, which takes many times as long.
    if ("vol" in lower or "snap" in lower or "disk" in lower) and _STORAGE.search(text):
        return "storage"
    if ("i-" in lower or "instance" in lower or "virtual" in lower) and _MACHINE.search(text):
        return "machine"
    return ""


_kind_of_type: Final = lru_cache(maxsize=1024)(_kind)  # few, of many rows


def _names_of(about: CostEvent) -> set[str]:
    resource = about.resource_id or ""
    names = (resource, re.split(r"[/:]", resource)[-1], about.resource_name or "")
    return {name.lower() for name in names if name}


def _machines_of(about: CostEvent) -> tuple[str, ...]:
    """Return the names that the machine of a volume may have."""
    tagged = (value for key, value in (about.tags or {}).items() if plain_key(key) in _TAGS)
    own = _names_of(about)
    shortened = {_NAMED_AFTER.sub("", name) for name in own} - own
    named = {name for name in shortened | own if not _STORAGE_ID.search(name)}
    return tuple(sorted({str(one).lower() for one in tagged} | named))


_NAMES: Final = msgspec.msgpack.Decoder(list[tuple[int, tuple[int, ...], dict[int, str]]]).decode
