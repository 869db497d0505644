"""What may be asked: bounded parameters; an unknown one is an error, not ignored."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from service.core.budget_figures import State as BudgetState
from service.core.events import EARLIEST, LATEST
from service.core.findings import Status
from service.core.incidents import State
from service.core.notices import DeliveryState
from service.core.pages import LONGEST_CURSOR, place_in
from service.core.ports import Place
from service.core.severity import Severity

DEFAULT_WINDOW: Final = timedelta(days=14)
LONGEST_WINDOW: Final = timedelta(days=92)
SHORTEST_NAME: Final = 6

Name = Annotated[str, Field(max_length=512)]


def _in_range(at: datetime) -> datetime:
    if not EARLIEST <= at <= LATEST:
        message = "must be within 2000 to 2199"
        raise ValueError(message)
    return at.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_in_range)]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Listed(_Query):
    limit: int = Field(100, ge=1, le=100, description="At most so many.")


class PagedQuery(_Listed):
    """A page of a list: the first, or what comes after a cursor."""

    cursor: str | None = Field(
        None, max_length=LONGEST_CURSOR, description="Where to go on: of the page before."
    )

    def after(self, order: str) -> Place | None:
        """Return where to go on; ValueError for a cursor that is none of this order."""
        return None if self.cursor is None else place_in(self.cursor, order)


class _Paged(PagedQuery):
    since: Time | None = Field(None, description="What had to do with this moment or a later one.")
    until: Time | None = Field(None, description="What began before it.")
    owner: Name | None = None

    @property
    def order(self) -> str:
        """Return what the list is put in order by."""
        return str(getattr(self, "sort", "time"))

    def filters(self) -> dict[str, Any]:
        """Return what the store is asked, but for owners and limit."""
        asked = self.model_dump(exclude={"cursor", "limit", "owner", "sort"})
        return asked | {"order": self.order, "after": self.after(self.order)}


class _OfSpend(_Paged):
    service: Name | None = None
    sub_account: Name | None = None
    region: Name | None = None
    kind: Name | None = None
    min_impact: float | None = Field(
        None, allow_inf_nan=False, description="In its own currency; what is saved is below 0."
    )


class IncidentQuery(_OfSpend):
    """Which incidents."""

    begins: str | None = Field(
        None,
        min_length=SHORTEST_NAME,
        max_length=128,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="With what its id begins.",
    )
    state: State | None = None
    severity: Severity | None = None
    sort: Literal["changed", "opened", "impact"] = "changed"


class FindingQuery(_OfSpend):
    """Which findings."""

    status: Status | None = None
    series: Annotated[str, Field(max_length=16_384)] | None = None
    sort: Literal["time", "impact"] = "time"


class DeliveryQuery(_OfSpend):
    """Which deliveries."""

    state: DeliveryState | None = None
    severity: Severity | None = None
    destination: Name | None = None
    incident_id: Name | None = None
    sort: Literal["time", "impact"] = "time"


class AuditQuery(_Paged):
    """Which of what people did."""

    who: Name | None = None
    via: Name | None = None
    what: Name | None = Field(None, description="put, drop, or what was said: acknowledge, ...")
    about: Name | None = Field(None, description="An incident's id, or a thing as kind/name.")


class BudgetQuery(_Listed):
    """Which budgets."""

    owner: Name | None = None
    state: BudgetState | None = None


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
