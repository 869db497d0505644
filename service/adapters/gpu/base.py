"""What every way of asking GPUs shares."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from service.core.events import GpuSample

# What a sensor says that has nothing to say: DCGM's blanks are all above, those of 32 bits apart.
BLANKS_FROM: Final = 1e12
INT32_BLANKS: Final = frozenset(range(0x7FFFFFF0, 0x7FFFFFF4))

Probe = Callable[[datetime], Sequence[GpuSample]]
# What telemetry does not say of a host, by hostname: fields of a sample.
Hosts = Mapping[str, Mapping[str, Any]]


class ProbeError(Exception):
    """Why GPUs could not be asked, in one line; `samples` are of those that could."""

    def __init__(self, reason: str, samples: Sequence[GpuSample] = ()) -> None:
        super().__init__(reason)
        self.samples = samples


def completed(sample: GpuSample, hosts: Hosts) -> GpuSample:
    """Return a sample with what is known of its host: what it is on the bill."""
    known = hosts.get(sample.hostname)
    return msgspec.structs.replace(sample, **known) if known else sample


def value_of(value: float) -> float | None:
    """Return a reading, None for a blank or for what cannot be.

    >>> value_of(8.5), value_of(9223372036854775794), value_of(2147483632), value_of(float("nan"))
    (8.5, None, None, None)
    """
    return value if 0 <= value < BLANKS_FROM and value not in INT32_BLANKS else None


def ratio_of(value: float, full: float) -> float | None:
    """Return a reading as a part of `full`, None for a blank or for more than all.

    >>> ratio_of(37, 100), ratio_of(100.0, 100), ratio_of(101, 100)
    (0.37, 1.0, None)
    """
    known = value_of(value)
    return None if known is None or known > full else known / full
