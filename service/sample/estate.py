"""The estate: what `estate.toml` and `faults.toml` say, typed, and the span of the sample."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec

HERE: Final = Path(__file__).parent
SEED: Final = 20260601
START: Final = datetime(2026, 6, 1, tzinfo=UTC)
END: Final = datetime(2026, 9, 16, tzinfo=UTC)
HOURS: Final = int((END - START) / timedelta(hours=1))

Provider = Literal["aws", "azure"]
Shape = Literal["times", "on", "only", "price", "restate", "fees"]


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sub-account and who bills it."""

    id: str
    name: str
    provider: Provider = "aws"


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One SKU of a resource and how much of it is used; the head of `estate.toml` explains each."""

    price: str
    quantity: float | None = None
    usd_day: float | None = None
    carrier: str | None = None
    pool: str | None = None
    running: bool = False
    hours: tuple[int, int] | None = None
    weekdays: bool = False
    growth: float = 0.0
    noise: float = 0.02
    covered: bool = False


class Resource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that costs money; without an id it is billed without a resource."""

    name: str
    account: str
    lines: tuple[Line, ...]
    id: str = ""
    type: str = ""
    region: str = ""
    tags: dict[str, str] = {}
    only_in: str = ""


class Fee(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A charge that is not metered usage: one row in each month of `amounts`."""

    description: str
    service: str
    category: str
    charge: str
    frequency: str
    account: str
    period: str
    amounts: dict[str, str]
    resource: str = ""
    publisher: str = ""
    correction: bool = False
    tags: dict[str, str] = {}


class Estate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `estate.toml`."""

    account: tuple[Account, ...]
    resource: tuple[Resource, ...]
    fee: tuple[Fee, ...]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that was put in; the head of `faults.toml` explains each field."""

    id: str
    kind: str
    shape: Shape
    resources: tuple[str, ...]
    owner: str
    start: datetime
    expect: tuple[str, ...]
    may: tuple[str, ...]
    say: str
    must_not_say: str
    end: datetime = END
    factor: float = 1.0
    ramp_hours: int = 0
    lines: tuple[str, ...] = ()

    def touches(self, resource: Resource, line: Line) -> bool:
        """Whether the fault changes this line."""
        return resource.name in self.resources and (not self.lines or line.price in self.lines)


class _Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    natural: tuple[str, ...]
    fault: tuple[Fault, ...]


def hour_of(at: datetime) -> int:
    """Return the hour of the sample that begins at `at`."""
    return int((at - START) / timedelta(hours=1))


def load() -> tuple[Estate, Sequence[Fault], Sequence[str]]:
    """Read the estate, the faults, and what looks odd there without being a fault."""
    estate = msgspec.toml.decode((HERE / "estate.toml").read_bytes(), type=Estate)
    faults = msgspec.toml.decode((HERE / "faults.toml").read_bytes(), type=_Faults)
    return estate, faults.fault, faults.natural
