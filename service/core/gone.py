"""Gone: what of a series can change no more is let go of everywhere, in one pass a day.

A series is gone when its last period is older than rows may be, nothing that was found of it may
still change, nothing of it is to be learnt yet, and no person said anything of it that is in
effect. A group is gone when it has no member left, nor a step of its sum. Who comes back is new.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from service.core.about import About
from service.core.events import SeriesKey
from service.core.groups import Groups
from service.core.ledger import Ledger
from service.core.new_spend import NewSpend
from service.core.purchases import Purchases
from service.core.rollups import Rollups
from service.core.scoring import Scoring
from service.core.spend import Spend
from service.core.stretches import Stretches
from service.core.told import Told


class Gone(NamedTuple):
    """Every part that holds something of a series; scorings are by the hours of a step."""

    ledger: Ledger
    stretches: Stretches
    scorings: Mapping[int, Scoring]
    new_spend: NewSpend
    groups: Groups
    rollups: Rollups
    group_scorings: Mapping[int, Scoring]
    told: Told
    about: About
    purchases: Purchases
    spend: Spend

    def forget(self, before: datetime, now: datetime) -> None:
        """Let go of periods that began before a time, and of what is gone with them."""
        ended, empty = self.ledger.forget(before), self.rollups.forget(before)
        self.groups.forget(before)
        for scoring in (*self.scorings.values(), *self.group_scorings.values()):
            scoring.forget(before)
        gone = [series for series in ended if not self._is_held(series)]
        for scoring in self.scorings.values():
            scoring.drop(gone)
        self.groups.drop(gone)
        self.new_spend.drop(gone)
        self.spend.let_go(gone)
        self.ledger.drop(gone)
        over = [group for group in empty if not self._is_group_held(group)]
        for scoring in self.group_scorings.values():
            scoring.drop(over)
        self.rollups.drop(over)
        self.new_spend.forget(before, now)
        self.purchases.forget(before)
        self.told.forget()
        self.about.forget(self.stretches)

    def _is_held(self, series: SeriesKey) -> bool:
        return (
            bool(self.stretches.of(series))
            or any(scoring.holds(series) for scoring in self.scorings.values())
            or self.new_spend.holds(series)
        )

    def _is_group_held(self, group: SeriesKey) -> bool:
        return bool(self.groups.members(group) or self.stretches.of(group)) or any(
            scoring.holds(group) for scoring in self.group_scorings.values()
        )
