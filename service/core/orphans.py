"""Orphaned storage: volumes and snapshots that are paid for although their machine is gone.

A bill does not say what a volume is attached to. It is taken to be a machine's when a tag of it
names the machine, or when it is named after it, as `vm1_OsDisk_1` (Azure) and a boot disk (Google
Cloud) are, within one sub-account. Storage of which no machine was ever billed is left alone:
nobody knows.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from detectors.base import start_of, step_of
from service.core import money
from service.core.events import UNSCORED, CostEvent, SeriesKey
from service.core.incidents import ORPHANED
from service.core.lapses import Lapse
from service.core.ledger import STEP_HOURS, Ledger
from service.core.owners import Owners, plain_key
from service.core.phrases import clean, date
from service.core.phrases import money as amount

# The last billed hour of a machine is so long ago, and its storage was billed since.
GONE_AFTER: Final = timedelta(days=7)
STILL_BILLED: Final = timedelta(days=4)
DAYS_IN_MONTH: Final = 30
_TAGS: Final = frozenset({"instance", "instance_id", "instance-id", "instanceid", "vm", "machine"})
_STORAGE: Final = re.compile(
    r"(?:^|[/.:])(?:vol|snap)-[0-9a-f]|/disks/|/snapshots/|ocid1\.(?:boot)?volume|\bvolume\b|\bdisk\b"
    r"|\bsnapshots?\b|persistent disk|boot volume|block volume",
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
    """Knows machines and storage by their names, from the rows that the ledger was given."""

    def __init__(self, ledger: Ledger, owners: Owners) -> None:
        self._ledger = ledger
        self._owners = owners
        self._machines: dict[tuple[str, str], int] = {}
        self._stores: dict[SeriesKey, tuple[str, ...]] = {}

    def observe(self, series: SeriesKey, step: int) -> None:
        """Take note of a step of a series that costs something."""
        if series.grain == UNSCORED:
            return
        about = self._ledger.about(series)
        what = _what(about)
        if what == "storage":
            self._stores[series] = _machines_of(about)
        elif what == "machine":
            hour = (step + 1) * STEP_HOURS[series.grain]
            for name in _names_of(about):
                key = series.sub_account_id, name
                self._machines[key] = max(self._machines.get(key, 0), hour)

    def read(self) -> None:
        """Take note of all that the ledger knows."""
        for series in self._ledger.series():
            steps = self._ledger.steps(series)
            if steps:
                self.observe(series, steps[-1])

    def forget(self) -> None:
        """Let go of storage that is gone."""
        self._stores = {one: names for one, names in self._stores.items() if one in self._ledger}

    def lapses(self, now: datetime) -> Iterator[Lapse]:
        """Yield the storage that outlived its machine, in a fixed order."""
        edge = step_of(now - GONE_AFTER, 1)
        recent = step_of(now - STILL_BILLED, 1)
        for series, names in sorted(self._stores.items()):
            known = [
                (self._machines[series.sub_account_id, name], name)
                for name in names
                if (series.sub_account_id, name) in self._machines
            ]
            last, name = max(known, default=(edge, ""))
            if last >= edge:
                continue
            hours = STEP_HOURS[series.grain]
            steps = [step for step in self._ledger.steps(series) if step * hours >= last]
            if steps and (steps[-1] + 1) * hours > recent:
                lapse = self._lapse(series, name, last, steps)
                if lapse is not None:
                    yield lapse

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


def _what(about: CostEvent) -> str:
    """Say whether a row is of storage, of a machine, or of neither: by its id, else its type."""
    for text in (about.resource_id or "", about.resource_type or ""):
        if _STORAGE.search(text):
            return "storage"
        if _MACHINE.search(text):
            return "machine"
    return ""


def _names_of(about: CostEvent) -> set[str]:
    resource = about.resource_id or ""
    names = (resource, re.split(r"[/:]", resource)[-1], about.resource_name or "")
    return {name.lower() for name in names if name}


def _machines_of(about: CostEvent) -> tuple[str, ...]:
    """Return the names that the machine of a volume may have."""
    tagged = (value for key, value in (about.tags or {}).items() if plain_key(key) in _TAGS)
    own = _names_of(about)
    shortened = {_NAMED_AFTER.sub("", name) for name in own} - own
    return tuple(sorted({str(one).lower() for one in tagged} | shortened | own))
