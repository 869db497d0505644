"""OpenCost's and Kubecost's allocations, as their API answers `GET /allocation`.

Schema: core/pkg/opencost/allocation_json.go in https://github.com/opencost/opencost; GPU usage
stands in `gpuAllocation`, in versions before 2025 beside the costs. An allocation is nobody's
invoice, but a share of what a cloud bills or a price list says: EffectiveCost is its cost,
BilledCost is 0.

A row is one kind of cost of one workload in one window. What an allocation calls idle, and the
zones of its network, are parts of its costs, and are not added again. Costs are rounded to five
digits, so that kinds may differ from `totalCost` by that; what differs by more is a row of its own.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source, first_bytes
from service.adapters.sources.documents import records, row
from service.adapters.sources.ndjson import NOT_DECODED
from service.adapters.sources.values import LONGEST_TEXT, fine, moment
from service.core import money
from service.core.events import CostEvent, TagValue, Text

_REQUIRED: Final = frozenset({"window", "minutes", "cpucost", "ramcost", "totalcost"})
_NO_NAMES: Final = ("__idle__", "__unallocated__", "__unmounted__")
_ROUNDING: Final = Decimal("0.0001")


class _Window(msgspec.Struct):
    start: str | None = None
    end: str | None = None


class _Properties(msgspec.Struct, rename="camel"):
    cluster: Text | None = None
    namespace: Text | None = None
    controller: Text | None = None
    controller_kind: Text | None = None
    pod: Text | None = None
    labels: dict[str, str] | None = None
    namespace_labels: dict[str, str] | None = None


class _Gpu(msgspec.Struct, rename="camel"):
    gpu_usage_average: Decimal | None = None


class _Allocation(msgspec.Struct, rename="camel"):
    name: Text
    window: _Window
    properties: _Properties | None = None
    start: str | None = None
    end: str | None = None
    total_cost: Decimal | None = None
    cpu_cost: Decimal | None = None
    cpu_cost_adjustment: Decimal | None = None
    cpu_core_hours: Decimal | None = None
    gpu_cost: Decimal | None = None
    gpu_cost_adjustment: Decimal | None = None
    gpu_hours: Decimal | None = None
    gpu_efficiency: Decimal | None = None
    gpu_usage_average: Decimal | None = None
    gpu_request_average: Decimal | None = None
    gpu_allocation: _Gpu | None = None
    ram_cost: Decimal | None = None
    ram_cost_adjustment: Decimal | None = None
    ram_byte_hours: Decimal | None = None
    pv_cost: Decimal | None = None
    pv_cost_adjustment: Decimal | None = None
    pv_byte_hours: Decimal | None = None
    network_cost: Decimal | None = None
    network_cost_adjustment: Decimal | None = None
    load_balancer_cost: Decimal | None = None
    load_balancer_cost_adjustment: Decimal | None = None
    shared_cost: Decimal | None = None
    external_cost: Decimal | None = None


class _Part(NamedTuple):
    """One kind of cost: its SKU, its amount, how much was paid for, and how much of it used."""

    sku: str
    cost: Decimal
    paid: Decimal | None = None
    unit: str | None = None
    used: Decimal | None = None


def recognises(head: Head) -> bool:
    """Tell allocations by their window, minutes and costs."""
    return head.inner >= _REQUIRED


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early or cannot be read."""
    for number, raw, found in records(path, _FIELDS.decode):
        if isinstance(found, Flaw):
            yield found
        elif bytes(found.get("name", msgspec.Raw())).startswith(b'"'):
            yield from _rows(number, raw)
        else:
            # A set: allocations by name.
            for allocation in found.values():
                yield from _rows(number, bytes(allocation))


def _rows(number: int, raw: bytes) -> Iterator[Row | Flaw]:
    try:
        found = _ALLOCATION.decode(raw)
        period = _period(found)
        parts = list(_parts(found))
    except NOT_DECODED as error:
        yield Flaw(number, "type", str(error), first_bytes(raw))
    except (ValueError, OverflowError):
        yield Flaw(number, "type", "the window's start or end is not a time", first_bytes(raw))
    except ArithmeticError:
        yield Flaw(number, "type", "an amount is out of range", first_bytes(raw))
    else:
        if not parts:
            yield Flaw(number, "type", "has no cost", first_bytes(raw))
        for part in parts:
            yield row(number, raw, _event(found, period, part))


def _period(found: _Allocation) -> tuple[datetime, datetime]:
    """Return the window: a pod may have run for a part of it only."""
    return (
        moment(found.window.start or found.start or ""),
        moment(found.window.end or found.end or ""),
    )


def _parts(found: _Allocation) -> Iterator[_Part]:
    """Yield the kinds of cost that there are, all of an allocation that costs nothing as one."""
    kinds = (
        _Part("CPU", _sum(found.cpu_cost, found.cpu_cost_adjustment), found.cpu_core_hours,
              "Core-Hours"),
        _Part("GPU", _sum(found.gpu_cost, found.gpu_cost_adjustment), found.gpu_hours,
              "GPU-Hours", _used_gpu_hours(found)),
        _Part("RAM", _sum(found.ram_cost, found.ram_cost_adjustment), found.ram_byte_hours,
              "Byte-Hours"),
        _Part("Volumes", _sum(found.pv_cost, found.pv_cost_adjustment), found.pv_byte_hours,
              "Byte-Hours"),
        _Part("Network", _sum(found.network_cost, found.network_cost_adjustment)),
        _Part("Load balancers",
              _sum(found.load_balancer_cost, found.load_balancer_cost_adjustment)),
        _Part("Shared", _sum(found.shared_cost)),
        _Part("External", _sum(found.external_cost)),
    )  # fmt: skip
    for part in kinds:
        if part.cost or part.paid:
            yield part
    if found.total_cost is None:
        return
    rest = money.subtract(fine(found.total_cost), money.total(part.cost for part in kinds))
    nothing = not any(part.cost or part.paid for part in kinds)
    if nothing or abs(rest) > _ROUNDING:
        yield _Part("Other", rest)


def _sum(*amounts: Decimal | None) -> Decimal:
    return money.total(fine(amount) for amount in amounts if amount is not None)


def _used_gpu_hours(found: _Allocation) -> Decimal | None:
    """Return the GPU-hours in use; None without a usage: an efficiency of 0 may mean that."""
    usage = found.gpu_usage_average
    if usage is None and found.gpu_allocation is not None:
        usage = found.gpu_allocation.gpu_usage_average
    efficiency = found.gpu_efficiency
    if efficiency is None and usage is not None and found.gpu_request_average:
        efficiency = fine(usage / found.gpu_request_average)
    if usage is None or efficiency is None or found.gpu_hours is None:
        return None
    return fine(money.EXACT.multiply(found.gpu_hours, efficiency))


def _event(found: _Allocation, period: tuple[datetime, datetime], part: _Part) -> CostEvent:
    about = found.properties or _Properties()
    workload, kind = _workload(found.name, about)
    said = f"{part.sku} of {workload}"
    if part.used is not None and part.paid:
        said += f": {part.used / part.paid:.0%} of {part.paid:f} {part.unit} in use"
    place = "/".join(name for name in (about.cluster, about.namespace) if name)
    return CostEvent(
        charge_period_start=period[0],
        charge_period_end=period[1],
        charge_category="Usage",
        charge_frequency="Usage-Based",
        charge_description=said[:LONGEST_TEXT],
        billed_cost=money.ZERO,
        effective_cost=part.cost,
        billing_currency="USD",
        billing_account_id=about.cluster or "",
        service_category="Compute",
        service_name="Kubernetes",
        sub_account_id=place or None,
        sub_account_name=about.namespace,
        resource_id=workload,
        resource_type=kind,
        sku_id=part.sku,
        pricing_quantity=part.paid,
        pricing_unit=part.unit if part.paid is not None else None,
        consumed_quantity=part.used,
        consumed_unit=part.unit if part.used is not None else None,
        tags=_tags(about),
    )


def _workload(name: str, about: _Properties) -> tuple[str, str]:
    """Name what lasts: the controller, as pods come and go; else the allocation as it is named."""
    if about.controller and not name.endswith(_NO_NAMES):
        kind = about.controller_kind or "controller"
        parts = (about.cluster, about.namespace, kind, about.controller)
        return "/".join(part for part in parts if part)[:LONGEST_TEXT], kind
    return name, "allocation"


def _tags(about: _Properties) -> dict[str, TagValue]:
    """Join labels: the pod's own go before its namespace's."""
    labels = (about.namespace_labels or {}) | (about.labels or {})
    found: dict[str, TagValue] = {
        key[:LONGEST_TEXT]: value[:LONGEST_TEXT] for key, value in labels.items()
    }
    named = {"cluster": about.cluster, "namespace": about.namespace}
    return found | {key: value for key, value in named.items() if value}


_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ALLOCATION: Final = msgspec.json.Decoder(_Allocation)

SOURCE: Final = Source(
    recognises,
    read,
    appends=False,
    needs="OpenCost's window, minutes, cpuCost, ramCost and totalCost",
)
