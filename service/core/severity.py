"""How bad an incident is, in three words that everything sorts by."""

from collections.abc import Sequence
from typing import Final, Literal

Severity = Literal["low", "medium", "high"]
SEVERITIES: Final[Sequence[Severity]] = ("low", "medium", "high")


def at_least(severity: Severity, floor: Severity) -> bool:
    """Tell whether a severity is as bad as another, or worse."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(floor)
