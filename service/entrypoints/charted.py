"""Charted: whose chart is due; a chart weighs more than all else that is said of a finding."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from service.core.events import EARLIEST

CHARTS_EVERY: Final = timedelta(hours=3)


class Charted:
    """When each finding's chart was last said."""

    def __init__(self, when: Mapping[str, datetime] | None = None) -> None:
        self.when: dict[str, datetime] = dict(when or {})

    def due(self, finding_ids: Collection[str], now: datetime) -> list[str]:
        """Name the findings whose chart is to be said now, and note that it was."""
        known = self.when
        due = [name for name in finding_ids if now - known.get(name, EARLIEST) >= CHARTS_EVERY]
        if due:
            kept = {name: at for name, at in known.items() if now - at < CHARTS_EVERY}
            self.when = kept | dict.fromkeys(due, now)
        return due
