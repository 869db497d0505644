"""Every cost detector there is: its name, its column form, its scalar form.

A name that begins with `river.` is a class of River (`detectors.rivers`).
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from detectors.column import Column, One
from detectors.creep import Creep, CreepOne
from detectors.drop import Drop, DropOne, Gone, GoneOne
from detectors.history import History
from detectors.rivers import PREFIX, RiverColumn
from detectors.shift import Shift, ShiftOne
from detectors.spike import Spike, SpikeOne


class Forms(NamedTuple):
    """Both forms of one detector."""

    column: type[Column]
    one: type[One]


DETECTORS: Final[Mapping[str, Forms]] = {
    "spike": Forms(Spike, SpikeOne),
    "shift": Forms(Shift, ShiftOne),
    "creep": Forms(Creep, CreepOne),
    "drop": Forms(Drop, DropOne),
    "gone": Forms(Gone, GoneOne),
}


def column_of(name: str, history: History, settings: Mapping[str, Any]) -> Column:
    """Return a detector's column form over `history`.

    ValueError for an unknown name, River class or setting.
    """
    if name.startswith(PREFIX):
        return RiverColumn(history, name, **settings)
    if name not in DETECTORS:
        raise ValueError(f"no detector {name!r}; known: {', '.join(DETECTORS)}, river.<class>")
    try:
        return DETECTORS[name].column(history, **settings)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
