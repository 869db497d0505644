"""The highest a series ever cost, at each hour of the day (each weekday at daily grain), fading."""

from typing import Final

from detectors.base import F32
from detectors.compiled import compiled
from detectors.history import Rings, root

SLOTS: Final = 24
BEFORE, SLOT, TOP, FIRST = range(4)  # BEFORE: the record of the slot learnt last, until then
FIELDS: Final = FIRST + SLOTS

KEEP: Final = 0.99623  # a record's root fades by this a day: its cost to a half in six weeks
ALIKE: Final = 0.85  # a root within this factor of another is at the same level


@compiled
def slots(day: int) -> int:
    """Return how many records a series has."""
    return day if day > 1 else 7


@compiled
def record(rings: Rings, row: int, own: F32, step: int, value: float) -> tuple[float, float]:
    """Return the record at this hour of day, a neighbour's included, and the root of an overrun.

    An overrun goes on at the level of the hour before, where that hour was usual; else 0.
    """
    ring = rings.steps[row]
    slot = step % SLOTS
    prior = (slot - 1) % SLOTS
    earlier = float(own[BEFORE] if own[SLOT] == prior else own[FIRST + prior])
    here = max(float(own[FIRST + slot]), earlier)
    if step - 1 <= rings.last[row]:
        before = float(ring[(step - 1) % len(ring)])
        usual = max(here, float(own[FIRST + (slot - 2) % SLOTS]))
        if ALIKE * before <= usual and ALIKE * before <= value <= before / ALIKE:
            return max(here, value), value
    return max(here, float(own[FIRST + (slot + 1) % SLOTS])), 0.0


@compiled
def follow(own: F32, step: int, amount: float, day: int) -> None:
    """Learn what a step cost."""
    count = slots(day)
    slot = FIRST + step % count
    own[SLOT] = step % count
    before = own[slot]
    own[BEFORE] = before
    own[slot] = max(root(amount), float(before) * (KEEP if day > 1 else KEEP**7))
    if own[slot] >= own[TOP]:
        own[TOP] = own[slot]
    elif before >= own[TOP]:
        own[TOP] = own[FIRST]
        for i in range(FIRST + 1, FIRST + count):
            own[TOP] = max(own[TOP], own[i])
