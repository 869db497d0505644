"""Budgets: what was spent of each, and what it will be, as a bar and as a burn-down."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from service.core import money
from service.core.budget_figures import BudgetStatus, Figures
from service.core.budget_words import crossings, forecast, sentence
from service.core.budgets import Budget
from service.core.phrases import clean
from service.core.phrases import money as shown
from service.core.slices import BY_TAG, Cut, Sliced, check_dimension
from service.core.standing import etag_of
from service.web.layout import Frame, render, render_part, teams_shown

# How a bar is drawn: in whole units of this width, of which the amount is so many.
WIDTH: Final = 600
AMOUNT_AT: Final = 480
# What counts, by FOCUS's names; taxes and credits are beside it.
COUNTED: Final = frozenset({"Usage", "Purchase", "Adjustment"})
_DAY: Final = timedelta(days=1)
STATES: Final = {"within": "Within", "at_risk": "At risk", "over": "Over"}


class Burnt(NamedTuple):
    """What was spent of a budget by a moment, and what it will be; None where it is neither."""

    at: datetime
    spent: Decimal | None
    even: Decimal
    forecast: Decimal | None
    low: Decimal | None
    high: Decimal | None
    amount: Decimal


class Gauge(NamedTuple):
    """One budget as a bar: places along `WIDTH`, where the amount is at `AMOUNT_AT`.

    `low` to `high` is the range of the forecast of the period's end, None until it can be told;
    `elapsed` is how much of the amount would be spent by now if it were spent evenly. `worst` is
    the share of the amount that is spent or expected.
    """

    status: BudgetStatus
    word: str
    said: str
    crossed: str
    ahead: str
    spent: int
    low: int | None
    high: int | None
    elapsed: int
    worst: float
    percent: int

    @property
    def name(self) -> str:
        """Say what it is of, in a few words."""
        return clean(self.status.figures.what, 80) or "Everything"

    @property
    def last_day(self) -> datetime:
        """Return the day on which its period ends."""
        return self.status.figures.period_end - _DAY

    @property
    def amounts(self) -> str:
        """Say what was spent of what."""
        figures = self.status.figures
        spent, amount = (
            shown(value, figures.currency) for value in (figures.spent, figures.amount)
        )
        return f"{spent} of {amount}"


def gauge(status: BudgetStatus) -> Gauge:
    """Measure a budget for a bar."""
    figures = status.figures
    amount = figures.amount

    def place(value: Decimal) -> int:
        return min(max(int(value / amount * AMOUNT_AT), 0), WIDTH) if amount > 0 else WIDTH

    length = (figures.period_end - figures.period_start).total_seconds()
    gone = (min(figures.as_of, figures.period_end) - figures.period_start).total_seconds()
    worst = max(figures.spent, figures.forecast or figures.spent)
    return Gauge(
        status=status,
        word=STATES[status.state],
        said=sentence(figures),
        crossed=crossings(figures.crossed),
        ahead=forecast(figures),
        spent=place(figures.spent),
        low=None if figures.forecast_low is None else place(figures.forecast_low),
        high=None if figures.forecast_high is None else place(figures.forecast_high),
        elapsed=int(max(gone, 0) / length * AMOUNT_AT),
        worst=float(worst / amount) if amount > 0 else 0.0,
        percent=round(float(figures.spent / amount) * 100) if amount > 0 else 0,
    )


def cut_of(status: BudgetStatus) -> Cut:
    """Return what counts to a budget in its period, as a cut of all that was spent."""
    terms, figures = status.budget, status.figures
    where = {"charge_category": COUNTED, "billing_currency": frozenset({terms.currency})}
    for dimension, value in (
        ("owner", terms.owner),
        ("service_name", terms.service),
        ("sub_account_id", terms.sub_account),
    ):
        if value is not None:
            where[dimension] = frozenset({value})
    if terms.tag is not None:
        key, _, value = terms.tag.partition("=")
        where[check_dimension(BY_TAG + key)] = frozenset({value})
    return Cut(figures.period_start, min(figures.as_of, figures.period_end), (), where)


def burn_part(status: BudgetStatus, sliced: Sliced) -> str:
    """Render how a budget is spent day by day."""
    return render_part("burn.html", figures=status.figures, points=burn_points(status, sliced))


def burn_points(status: BudgetStatus, sliced: Sliced) -> list[Burnt]:
    """Return what was spent by the end of each day, and from the last on what is to come."""
    figures = status.figures
    length = figures.period_end - figures.period_start
    costs = dict(zip(sliced.starts, sliced.lines[0].costs if sliced.lines else (), strict=False))
    points, spent, day = [], money.ZERO, figures.period_start

    def evenly(at: datetime) -> Decimal:
        return money.cents(float(figures.amount) * ((at - figures.period_start) / length))

    points.append(Burnt(day, spent, money.ZERO, None, None, None, figures.amount))
    while day < figures.period_end:
        end = day + _DAY
        if day < figures.as_of < end:  # the day that is not over
            now = figures.as_of
            points.append(Burnt(now, figures.spent, evenly(now), None, None, None, figures.amount))
        is_over = end <= figures.as_of
        if is_over:
            spent = money.add(spent, costs.get(day) or money.ZERO)
        points.append(
            Burnt(end, spent if is_over else None, evenly(end), None, None, None, figures.amount)
        )
        day = end
    if figures.forecast is None or figures.is_over:
        return points
    return [*_ahead(points, figures)]


def _ahead(points: Sequence[Burnt], figures: Figures) -> Iterator[Burnt]:
    """Lead from what is spent to the forecast of the end, and its range."""
    first = max(place for place, point in enumerate(points) if point.spent is not None)
    begin, spent = points[first].at, points[first].spent or money.ZERO
    left = figures.period_end - begin
    ends = figures.forecast, figures.forecast_low, figures.forecast_high
    for place, point in enumerate(points):
        if place < first:
            yield point
            continue
        share = (point.at - begin) / left
        at = [
            None if end is None else money.cents(float(spent) + float(end - spent) * share)
            for end in ends
        ]
        yield point._replace(forecast=at[0], low=at[1], high=at[2])


def budgets_page(
    frame: Frame, budgets: Sequence[BudgetStatus], set_here: Sequence[Budget], owners: Sequence[str]
) -> str:
    """Render the page. `set_here` are those that can be changed here; `owners` own anything."""
    gauges = sorted(map(gauge, budgets), key=lambda one: -one.worst)
    known = {one.budget.name for one in budgets}
    return render(
        "budgets.html",
        frame,
        gauges=gauges,
        etags={one.name: etag_of(one) for one in set_here},
        waiting=[one for one in set_here if one.name not in known],
        teams=teams_shown(frame, owners),
    )
