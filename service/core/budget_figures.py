"""Budget figures: what one budget comes to in one period, as it is told, shown and kept."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from service.core import money
from service.core.budgets import Budget

Severity = Literal["low", "medium", "high"]
State = Literal["within", "at_risk", "over"]


class Mover(msgspec.Struct, frozen=True):
    """A resource, what it cost in a span, and how much more than in one before.

    `more` is 0 where there is nothing to compare with.
    """

    series: str
    name: str
    more: Decimal
    cost: Decimal


class Crossing(msgspec.Struct, frozen=True):
    """What was crossed, such as `80 %`, `forecast 100 %` or `burn`, and when for the first time."""

    what: str
    at: datetime


class Figures(msgspec.Struct, kw_only=True, frozen=True):
    """What there is to say of one budget in one period. Money is of the budget's currency.

    `spent` is what counts; `tax` and `credit` are beside it. The forecast is of the period's end,
    None until it can be told. `crossed` is what was crossed and still is. `burn` is how many times
    as fast as would last until the end it is spent, over the last `burn_hours`; it is used up at
    `used_up_at` then. `movers` are of the last two days against those a week before while there is
    a burn rate to tell, else of the period against the one before. `amount_before` was the amount
    until `changed_at`.
    """

    name: str
    what: str
    amount: Decimal
    currency: str
    severity: Severity
    period_start: datetime
    period_end: datetime
    as_of: datetime
    spent: Decimal
    tax: Decimal = money.ZERO
    credit: Decimal = money.ZERO
    forecast: Decimal | None = None
    forecast_low: Decimal | None = None
    forecast_high: Decimal | None = None
    crossed: list[Crossing] = []
    burn: float | None = None
    burn_hours: int = 0
    used_up_at: datetime | None = None
    movers: list[Mover] = []
    amount_before: Decimal | None = None
    changed_at: datetime | None = None
    not_counted: list[str] = []

    @property
    def is_over(self) -> bool:
        """Tell whether the period has ended."""
        return self.as_of >= self.period_end


class BudgetStatus(msgspec.Struct, kw_only=True, frozen=True):
    """A budget as it stands: what it is, whose, what was spent, and what comes.

    It is at risk while a forecast or a burn rate says that it will not last.
    """

    budget: Budget
    owner: str
    state: State
    figures: Figures


class Exhausts(msgspec.Struct, frozen=True, array_like=True):
    """That an incident alone uses up what is left of a budget, and when."""

    budget: str
    left: Decimal
    at: datetime
