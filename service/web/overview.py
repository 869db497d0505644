"""The overview: what is burning now, whose it is, how much and since when."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from service.core.budget_figures import BudgetStatus
from service.core.incidents import Incident
from service.core.money import ZERO
from service.core.notices import Notice
from service.core.ports import SourceStatus
from service.core.wording import Words, words
from service.web.budgets import Gauge, gauge
from service.web.incidents import Row, totals
from service.web.layout import Frame, render
from service.web.series import Spark, spark_of

BURNING_SHOWN: Final = 12
HANDLED_SHOWN: Final = 8
OVER_SHOWN: Final = 8
BUDGETS_SHOWN: Final = 5


class Facts(NamedTuple):
    """What the overview is made from. `incident` and `notice` look one up."""

    rows: Sequence[Row]
    incident: Callable[[str], Incident | None]
    notice: Callable[[str], Notice | None]
    budgets: Sequence[BudgetStatus]
    sources: Sequence[SourceStatus]


class Card(NamedTuple):
    """One incident as the overview shows it: `figure` of the service or place `where`."""

    incident: Incident
    said: Words
    figure: str
    where: str
    spark: Spark | None


def overview_page(frame: Frame, facts: Facts) -> str:
    """Render the page."""
    # What an idle GPU costs is on its own card; the rise in its bill is the same money.
    firing = [row for row in facts.rows if row.state == "firing" and not row.is_inhibited]
    firing.sort(key=lambda row: row.rate or ZERO, reverse=True)
    handled = _newest([row for row in facts.rows if row.state not in ("firing", "resolved")])
    over = _newest([row for row in facts.rows if row.state == "resolved"])
    return render(
        "overview.html",
        frame,
        firing_count=len(firing),
        handled_count=len(handled),
        totals=totals(firing),
        owners=len({row.owner for row in firing}),
        burning=_cards(firing[:BURNING_SHOWN], facts),
        handled=_cards(handled[:HANDLED_SHOWN], facts),
        over=_cards(over[:OVER_SHOWN], facts),
        gauges=_gauges(facts.budgets),
        budget_count=len(facts.budgets),
        sources=facts.sources,
    )


def card_of(incident: Incident, notice: Notice | None = None) -> Card:
    """Say what there is to say of an incident in a list."""
    said = words(incident)
    # The headline is "sign figure · where"; the page shows the sign as a colour and a word.
    figure, _, where = said.headline.partition(" ")[2].partition(" · ")
    spark = None if notice is None or notice.chart is None else spark_of(notice.chart)
    return Card(incident, said, figure, where, spark)


def _cards(rows: Sequence[Row], facts: Facts) -> list[Card]:
    found = [(facts.incident(row.incident_id), row) for row in rows]
    return [
        card_of(incident, facts.notice(row.incident_id))
        for incident, row in found
        if incident is not None
    ]


def _gauges(budgets: Sequence[BudgetStatus]) -> list[Gauge]:
    """Return the budgets that are nearest to their end."""
    drawn = sorted(map(gauge, budgets), key=lambda one: -one.worst)
    return drawn[:BUDGETS_SHOWN]


def _newest(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.updated_at, reverse=True)
