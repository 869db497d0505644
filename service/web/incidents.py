"""Incidents in lists: filtered, sorted and cut into pages on the server."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from service.core import phrases
from service.core.holds import IDLE
from service.core.incidents import Incident
from service.core.money import ZERO, add
from service.web.layout import Frame, render

PER_PAGE: Final = 50
MOST_OWNERS: Final = 500
OPEN: Final = "open"
STATES: Final = (OPEN, "firing", "acknowledged", "snoozed", "expected", "resolved", "all")
SEVERITIES: Final = ("", "high", "medium", "low")


class Row(NamedTuple):
    """What lists show of an incident, and are filtered and sorted by.

    `idle` names the findings of one about idle GPUs.
    """

    incident_id: str
    title: str
    owner: str
    service: str
    region: str
    account: str
    state: str
    severity: str
    status: str
    rate: Decimal | None
    impact: Decimal | None
    currency: str
    starts_at: datetime
    updated_at: datetime
    assignee: str
    is_inhibited: bool
    idle: tuple[str, ...] = ()

    @classmethod
    def of(cls, incident: Incident) -> "Row":
        """Take from an incident what a list needs."""
        return cls(
            incident.incident_id,
            incident.title,
            incident.owner,
            incident.service_name or "",
            incident.region_id or "",
            incident.sub_account_id,
            incident.state,
            incident.severity,
            incident.status,
            incident.run_rate_per_day,
            incident.impact,
            incident.billing_currency,
            incident.starts_at,
            incident.updated_at,
            incident.assignee or "",
            incident.is_inhibited,
            tuple(incident.finding_ids) if incident.kind == IDLE else (),
        )

    def holds(self, text: str) -> bool:
        """Tell whether a text is in any of its names."""
        names = (self.title, self.owner, self.service, self.region, self.account, self.incident_id)
        return any(text in name.lower() for name in names)


_SORTS: Final[Mapping[str, tuple[str, Callable[[Row], Any]]]] = {
    "rate": ("Per day", lambda row: row.rate or ZERO),
    "impact": ("So far", lambda row: row.impact or ZERO),
    "since": ("Since", lambda row: row.starts_at),
    "changed": ("Changed", lambda row: row.updated_at),
}


class View(NamedTuple):
    """Which incidents to list, in which order, and which page of them."""

    state: str
    severity: str
    owner: str
    text: str
    sort: str
    page: int

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "View":
        """Read an address; what it does not know is as though it were not there."""
        page = query.get("page", "1")
        return cls(
            _one_of(query.get("state", ""), STATES),
            _one_of(query.get("severity", ""), SEVERITIES),
            query.get("owner", "")[:200],
            query.get("q", "")[:200],
            _one_of(query.get("sort", ""), tuple(_SORTS)),
            int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
        )

    def takes(self, row: Row) -> bool:
        """Tell whether a row is listed."""
        is_open = row.state != "resolved"
        return (
            (self.state in ("all", row.state) or (self.state == OPEN and is_open))
            and self.severity in ("", row.severity)
            and self.owner in ("", row.owner)
            and (not self.text or row.holds(self.text.lower()))
        )


class Found(NamedTuple):
    """One page of what was asked for, and how many there are in all."""

    rows: Sequence[Row]
    total: int
    page: int
    pages: int


def find(rows: Iterable[Row], view: View) -> Found:
    """Filter, sort and cut; a page beyond the last is the last."""
    found = sorted(filter(view.takes, rows), key=_SORTS[view.sort][1], reverse=True)
    pages = max(-(-len(found) // PER_PAGE), 1)
    page = min(max(view.page, 1), pages)
    return Found(found[(page - 1) * PER_PAGE : page * PER_PAGE], len(found), page, pages)


def totals(rows: Iterable[Row]) -> list[str]:
    """Say what is spent a day above normal, by currency; savings do not offset it."""
    sums: dict[str, Decimal] = {}
    for row in rows:
        if row.rate is not None and row.rate > 0:
            sums[row.currency] = add(sums.get(row.currency, ZERO), row.rate)
    by_size = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    return [f"{phrases.signed(total, currency)}/day" for currency, total in by_size]


def incidents_page(frame: Frame, rows: Sequence[Row]) -> str:
    """Render the list."""
    view = View.of(frame.query)
    owners = sorted({row.owner for row in rows})[:MOST_OWNERS]
    return render(
        "incidents.html",
        frame,
        view=view,
        found=find(rows, view),
        owners=owners,
        states=STATES,
        severities=SEVERITIES,
        sorts={name: label for name, (label, _) in _SORTS.items()},
    )


def _one_of(value: str, known: tuple[str, ...]) -> str:
    return value if value in known else known[0]
