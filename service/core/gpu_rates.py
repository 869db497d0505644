"""What a GPU instance costs: the bill of the hour where it is known, else the list price."""

from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Context, Decimal
from typing import Final, NamedTuple

from detectors.base import start_of, step_of
from service.core.events import TagValue
from service.core.money import ZERO
from service.core.phrases import moment
from service.core.prices import PriceBook
from service.core.state import Chunk, Saved, Streams

HOUR: Final = 3600
REMEMBERED: Final = 1440  # hours of bill of one resource
_MILLIONTH: Final = Decimal("0.000001")
_DIVIDE: Final = Context(prec=40)


class HourCost(NamedTuple):
    """What one resource cost in one hour, all rows of it added up, and how it was paid for.

    `kept_cost` is the part of it that is paid on when the resource is stopped, as for its disks.
    `commitment_status` and `capacity_reservation_status` are FOCUS' Used and Unused.
    """

    resource_id: str
    hour_start: datetime
    effective_cost: Decimal
    currency: str = "USD"
    commitment_status: str | None = None
    capacity_reservation_status: str | None = None
    instance_type: str | None = None
    provider: str | None = None
    region_id: str | None = None
    sub_account_id: str | None = None
    tags: Mapping[str, TagValue] | None = None
    kept_cost: Decimal = ZERO


class Instance(NamedTuple):
    """What prices an instance, and how many GPUs of it were seen."""

    resource_id: str | None
    provider: str | None
    instance_type: str | None
    region_id: str | None
    gpus_seen: int


class Rate(NamedTuple):
    """What an instance-hour costs, shared by how many GPUs, and where the figure comes from."""

    per_hour: Decimal
    gpus: int
    currency: str
    source: str
    reserved: bool
    kept_per_hour: Decimal = ZERO

    @property
    def per_gpu_hour(self) -> Decimal:
        """Return one GPU's share, to a millionth."""
        return self.of_gpus([1])

    def of_gpus(self, parts: Iterable[int]) -> Decimal:
        """Return the share of several GPUs, to a millionth; n MIG instances share one GPU."""
        each = [_DIVIDE.divide(self.per_hour, Decimal(self.gpus * part)) for part in parts]
        return sum(each, ZERO).quantize(_MILLIONTH)


class Rates:
    """Bills of GPU instances over a price book."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        self._bills: dict[str, dict[int, HourCost]] = {}

    def observe_cost(self, cost: HourCost) -> None:
        """Note an hour of the bill, in place of what was said of that hour before.

        A cost of nothing is no price: providers put the money into another row.
        """
        step = step_of(cost.hour_start, 1)
        bills = self._bills.setdefault(cost.resource_id, {})
        if cost.effective_cost > 0:
            bills[step] = cost
        else:
            bills.pop(step, None)
        if len(bills) > REMEMBERED:
            del bills[min(bills)]

    def bills(self, resource_id: str) -> Mapping[int, HourCost]:
        """Return the hours of a resource that were billed, by step."""
        return self._bills.get(resource_id, {})

    def lists(self, cost: HourCost) -> bool:
        """Tell whether a cost is of a GPU instance type that has a list price."""
        return self.book.find_type(cost.instance_type) is not None

    def forget(self, resource_id: str) -> None:
        """Let a resource's bills go."""
        self._bills.pop(resource_id, None)

    def forget_before(self, step: int, kept: Container[str]) -> None:
        """Let the bills go of resources that were not billed since a step, but for those kept."""
        self._bills = {
            key: bills
            for key, bills in self._bills.items()
            if key in kept or max(bills, default=step - 1) >= step
        }

    def knows(self, resource_id: str) -> bool:
        """Tell whether bills of a resource are kept."""
        return resource_id in self._bills

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, self._bills.items())

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._bills = saved.values(name, dict[int, HourCost])

    def rate(self, instance: Instance, step: int) -> Rate | None:
        """Return what one hour of an instance costs; None when no price is known.

        An hour that is not billed yet costs what the nearest billed one does, earlier ones first.
        """
        book, at = self.book, start_of(step, 1)
        listed = book.price(instance.provider, instance.instance_type, instance.region_id, at)
        gpus = max(1, instance.gpus_seen, (listed.gpus or 0) if listed else 0)
        bills = self._bills.get(instance.resource_id or "")
        if bills:
            billed = max((known for known in bills if known <= step), default=min(bills))
            bill, source = bills[billed], f"as billed{_when(billed, step)}"
            reserved = (bill.commitment_status or "").casefold() == "used"
            cost, kept = bill.effective_cost, min(bill.kept_cost, bill.effective_cost)
            return Rate(cost, gpus, bill.currency, source, reserved, kept)
        if listed is None:
            return None
        return Rate(listed.usd_per_hour, gpus, "USD", listed.source, reserved=False)

    def waste(self, instance: Instance, gpu_seconds: Iterable[tuple[int, int]]) -> Decimal | None:
        """Price idle GPU-seconds, given by step, each at the rate of its hour; None if unknown."""
        total = ZERO
        for step, seconds in gpu_seconds:
            rate = self.rate(instance, step)
            if rate is None:
                return None
            share = _DIVIDE.divide(Decimal(seconds), Decimal(HOUR * rate.gpus))
            total += _DIVIDE.multiply(rate.per_hour, share)
        return total.quantize(_MILLIONTH)


def _when(billed: int, step: int) -> str:
    """Say how far the bill reaches that prices an hour which is not in it."""
    if billed == step:
        return ""
    at = start_of(billed + 1 if billed < step else billed, 1)
    return f" up to {moment(at)}" if billed < step else f" from {moment(at)} on"
