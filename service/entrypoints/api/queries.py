"""What may be asked: bounded parameters; an unknown one is an error, not ignored."""

from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from service.core.budget_figures import State as BudgetState
from service.core.deliveries import DeliveryState
from service.core.events import EARLIEST, LATEST
from service.core.findings import Status
from service.core.incidents import State

DEFAULT_WINDOW: Final = timedelta(days=14)
LONGEST_WINDOW: Final = timedelta(days=92)

Name = Annotated[str, Field(max_length=512)]


def _in_range(at: datetime) -> datetime:
    if not EARLIEST <= at <= LATEST:
        message = "must be within 2000 to 2199"
        raise ValueError(message)
    return at


Time = Annotated[AwareDatetime, AfterValidator(_in_range)]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Listed(_Query):
    limit: int = Field(100, ge=1, le=100, description="At most so many.")


class IncidentQuery(_Listed):
    """Which incidents."""

    state: State | None = None
    owner: Name | None = None


class FindingQuery(_Listed):
    """Which findings."""

    kind: Name | None = None
    status: Status | None = None
    owner: Name | None = None
    series: Annotated[str, Field(max_length=16_384)] | None = None


class BudgetQuery(_Listed):
    """Which budgets."""

    owner: Name | None = None
    state: BudgetState | None = None


class DeliveryQuery(_Listed):
    """Which deliveries."""

    state: DeliveryState | None = None


class WindowQuery(_Query):
    """Which periods: those that begin at `since` or later, and before `until`."""

    since: Time | None = Field(None, description="Default: 14 days before `until`.")
    until: Time | None = Field(None, description="Default: now.")

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the window asked for; ValueError when it is empty or too long."""
        until = self.until or now
        since = self.since or until - DEFAULT_WINDOW
        if not timedelta(0) < until - since <= LONGEST_WINDOW:
            message = f"`since` must be before `until`, by at most {LONGEST_WINDOW.days} days"
            raise ValueError(message)
        return since, until
