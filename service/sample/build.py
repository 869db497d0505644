"""Build the sample: `python -m service.sample.build [FOLDER]`.

Needs nothing but `raw/` and the two TOML files beside it; reads no clock and no network. The same
sources give the same content each time, and the same bytes where zlib is the same.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from service.core.money import text
from service.sample import delivery, gpu
from service.sample.estate import END, HERE, HOURS, SEED, START, Estate, Fault, hour_of, load
from service.sample.focus import stamp
from service.sample.prices import Price, price_list
from service.sample.usage import Meter, meters

CENT: Final = Decimal("0.01")


def build(folder: Path) -> Mapping[str, int]:
    """Write `export/`, the GPU samples and `faults.json`; return how many rows of each."""
    estate, faults, natural = load()
    prices = price_list()
    cut_hour = next(hour_of(fault.start) for fault in faults if fault.shape == "price")
    first_word = meters(estate, prices, faults, cut_hour)
    final = meters(estate, prices, [f for f in faults if f.shape != "restate"], cut_hour)
    shutil.rmtree(folder / "export", ignore_errors=True)
    counts: dict[str, int] = {}
    for snapshot in delivery.snapshots():
        said = first_word if snapshot.first_word else final
        manifest, rows = delivery.write(folder / "export", snapshot, estate, said)
        counts[str(manifest.relative_to(folder))] = rows
    counts |= gpu.write(folder, final, faults)
    told = {
        "seed": SEED,
        "span": {"start": stamp(START), "end": stamp(END)},
        "faults": [_told(fault, estate, prices, cut_hour) for fault in faults],
        "natural": natural,
    }
    (folder / "faults.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return counts | {"faults.json": len(faults)}


def _told(
    fault: Fault, estate: Estate, prices: Mapping[str, Price], cut_hour: int
) -> dict[str, Any]:
    """Say what a fault is, and in `dollars` what it cost beyond normal.

    `dollars_idle` is the whole price of the hours in which a forgotten GPU did nothing, those
    included in which it would have run anyway.
    """
    hit = [resource for resource in estate.resource if resource.name in fault.resources]
    part = msgspec.structs.replace(estate, resource=tuple(hit))
    with_it = meters(part, prices, [fault], cut_hour)
    without = meters(part, prices, [], HOURS if fault.shape == "price" else cut_hour)
    told: dict[str, Any] = {
        "id": fault.id,
        "kind": fault.kind,
        "resource_names": fault.resources,
        "resource_ids": [resource.id for resource in hit],
        "sub_account_ids": sorted({resource.account for resource in hit}),
        "owner": fault.owner,
        "start": stamp(fault.start),
        "end": stamp(fault.end),
        "dollars": text(_total(with_it) - _total(without)),
    }
    if fault.shape == "fees":
        amounts = [Decimal(amount) for fee in estate.fee for amount in fee.amounts.values()]
        told["dollars"] = text(sum(amounts, Decimal(0)))
    if fault.shape == "on":
        gpus = [meter for meter in with_it if meter.line.hours]
        told["dollars_idle"] = text(_total(gpus, hour_of(fault.start), hour_of(fault.end)))
    words = ("expect", "may", "say", "must_not_say")
    return told | {word: getattr(fault, word) for word in words}


def _total(metered: Sequence[Meter], first: int = 0, last: int = HOURS) -> Decimal:
    total = Decimal(0)
    for meter in metered:
        for index in np.flatnonzero(meter.counts):
            if first <= index < last:
                total += meter.list_cost(int(index))
    return total.quantize(CENT)


if __name__ == "__main__":
    for name, count in build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE).items():
        sys.stdout.write(f"{count:8d}  {name}\n")
