"""GPUs: what each pool did by the hour, and what could be saved."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Final, NamedTuple

from service.core import money
from service.core.gpu_hosts import GpuHost, IdleGroup
from service.core.gpu_pools import GpuPool, Gpus
from service.core.phrases import clean
from service.web.layout import Frame, render

POOLS_SHOWN: Final = 40
# From these shares of idleness on a cell is drawn hotter.
_HEATS: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


class Cell(NamedTuple):
    """One hour of a pool: how hot it is drawn, `x` where nothing is known, and what it says."""

    at: datetime
    heat: str
    said: str


class Waste(NamedTuple):
    """What was told of some GPUs of a host, and where to read on."""

    host: GpuHost
    group: IdleGroup
    href: str | None


def gpus_page(frame: Frame, gpus: Gpus, incident_of: Mapping[str, str]) -> str:
    """Render the page; `incident_of` names the incident that holds a finding."""
    told = [(host, group) for host in gpus.hosts for group in host.idle]
    wastes = [Waste(host, group, incident_of.get(group.finding_id)) for host, group in told]
    wastes.sort(key=lambda one: one.group.wasted_per_hour or money.ZERO, reverse=True)
    return render(
        "gpus.html",
        frame,
        gpus=gpus,
        pools=[(pool, _cells(pool, gpus.starts)) for pool in gpus.pools[:POOLS_SHOWN]],
        pools_left_out=max(0, len(gpus.pools) - POOLS_SHOWN),
        days=[(day, len(list(hours))) for day, hours in groupby(gpus.starts, datetime.date)],
        wastes=wastes,
        totals=_totals(gpus.pools),
        heats=[f"{share:.0%}".replace("%", " %") for share in _HEATS],
    )


def _cells(pool: GpuPool, starts: Sequence[datetime]) -> list[Cell]:
    return [
        Cell(at, _heat(share), f"{at:%d %b %H:%M} UTC: {_said(share)}")
        for at, share in zip(starts, pool.idle_share, strict=True)
    ]


def _heat(share: float | None) -> str:
    return "x" if share is None else str(sum(share >= heat for heat in _HEATS))


def _said(share: float | None) -> str:
    return "not known" if share is None else f"{share:.0%} idle".replace("%", " %")


def _totals(pools: Sequence[GpuPool]) -> list[tuple[str, Decimal, Decimal]]:
    """Add up by currency what is wasted an hour, and what of it could be saved."""
    sums: dict[str, tuple[Decimal, Decimal]] = {}
    for pool in pools:
        wasted, saves = sums.get(pool.billing_currency, (money.ZERO, money.ZERO))
        sums[pool.billing_currency] = (
            money.add(wasted, pool.wasted_per_hour),
            money.add(saves, pool.saves_per_hour),
        )
    return [(clean(name, 12), *both) for name, both in sorted(sums.items())]
