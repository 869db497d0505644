"""Usage: how much of every SKU is used, hour by hour, with and without the faults."""

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.sample.carriers import DAY, Hours, carrier, pool
from service.sample.estate import HOURS, SEED, Account, Estate, Fault, Line, Resource, hour_of
from service.sample.prices import Price

Counts = NDArray[np.int64]

MIN_SIZE: Final = 0.8
COST_STEP: Final = Decimal("1e-10")
EUR_PER_USD: Final = Decimal("0.92")
_DIGITS: Final[Mapping[str, int]] = {
    "1K tokens": 2,
    "ACU-Hours": 4,
    "GB": 4,
    "GB-Months": 6,
    "GB/Month": 6,
    "Hours": 4,
    "LCU-Hours": 4,
    "Units": 4,
    "Units/Month": 6,
}


class Meter(NamedTuple):
    """One SKU of one resource over the sample.

    `counts` are quantities in units of 10^-`digits`, one for each period of `period_hours`. The
    list price is `price.was`, where there is one, before `cut_hour`, and `price.usd` from then on.
    """

    resource: Resource
    account: Account
    line: Line
    price: Price
    counts: Counts
    digits: int
    period_hours: int
    cut_hour: int

    @property
    def currency(self) -> str:
        """The currency that the account is billed in."""
        return "EUR" if self.account.provider == "azure" else "USD"

    def usd_price(self, index: int) -> Decimal:
        """Return the list price of one period."""
        was = self.price.was
        return self.price.usd if was is None or index >= self.cut_hour else was

    def unit_price(self, index: int) -> Decimal:
        """Return the list price of one period in the billing currency."""
        usd = self.usd_price(index)
        return usd if self.currency == "USD" else (usd * EUR_PER_USD).quantize(COST_STEP)

    def quantity(self, index: int) -> Decimal:
        """Return the quantity of one period."""
        return Decimal(int(self.counts[index])).scaleb(-self.digits)

    def list_cost(self, index: int) -> Decimal:
        """Return quantity times list price, in the decimals that a provider writes."""
        return (self.quantity(index) * self.unit_price(index)).quantize(COST_STEP)


def meters(
    estate: Estate, prices: Mapping[str, Price], faults: Sequence[Fault], cut_hour: int
) -> list[Meter]:
    """Meter every line of every resource, changed by these faults."""
    accounts = {account.id: account for account in estate.account}
    return [
        _meter(resource, accounts[resource.account], line, prices[line.price], faults, cut_hour)
        for resource in estate.resource
        for line in resource.lines
    ]


def _meter(
    resource: Resource,
    account: Account,
    line: Line,
    price: Price,
    faults: Sequence[Fault],
    cut_hour: int,
) -> Meter:
    amount = _normal(resource, line, price)
    for fault in faults:
        if fault.touches(resource, line):
            amount = _changed(amount, fault, line)
    if resource.only_in and not any(fault.id == resource.only_in for fault in faults):
        amount = np.zeros(HOURS)
    period_hours = DAY if account.provider == "azure" else 1
    digits = _DIGITS.get(price.unit, 0)
    sums = amount.reshape(-1, period_hours).sum(axis=1)
    counts = np.rint(sums * 10**digits).astype(np.int64)
    return Meter(resource, account, line, price, counts, digits, period_hours, cut_hour)


def _normal(resource: Resource, line: Line, price: Price) -> Hours:
    if line.pool:
        nodes = pool(line.pool, HOURS, running=line.running)
        least: float = np.ceil(nodes.max() * MIN_SIZE)
        return nodes.clip(least)
    if line.quantity is not None:
        amount = np.full(HOURS, line.quantity)
    else:
        amount = np.full(HOURS, (line.usd_day or 0.0) / DAY / float(price.usd))
    if line.carrier:
        amount *= carrier(line.carrier, HOURS) * _noise(f"{resource.name}/{line.price}", line.noise)
    used: Hours = amount * (1 + line.growth) ** (np.arange(HOURS) / DAY) * _on(line)
    return used


def _noise(name: str, size: float) -> Hours:
    digest = hashlib.blake2b(f"{SEED}/{name}".encode(), digest_size=8).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    noise: Hours = np.exp(size * random.standard_normal(HOURS))
    return noise


def _on(line: Line) -> NDArray[np.bool_]:
    hour = np.arange(HOURS)
    on = np.ones(HOURS, dtype=bool)
    if line.hours:
        first, last = line.hours
        within = (hour % DAY >= first, hour % DAY < last)
        on &= within[0] & within[1] if first < last else within[0] | within[1]
    if line.weekdays:
        on &= hour // DAY % 7 < 5
    return on


def _changed(amount: Hours, fault: Fault, line: Line) -> Hours:
    first, last = hour_of(fault.start), hour_of(fault.end)
    hour = np.arange(HOURS)
    within = (hour >= first) & (hour < last)
    if fault.shape in ("times", "restate"):
        reached = np.minimum(1.0, (hour - first + 1) / max(fault.ramp_hours, 1))
        times = np.where(within, 1 + (fault.factor - 1) * reached, 1.0)
        return np.ceil(amount * times) if line.pool else amount * times
    if fault.shape == "on" and line.quantity is not None:
        return np.where(within, line.quantity, amount)
    if fault.shape == "only":
        return np.where(within, amount, 0.0)
    return amount
