"""Budget words: what there is to say of a budget, in one plain sentence."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from service.core.budget_figures import Crossing, Exhausts, Figures
from service.core.budgets import BURN, FORECAST
from service.core.phrases import clean, money, signed

DAY: Final = timedelta(days=1)
FIGURES: Final = 3


def sentence(figures: Figures) -> str:
    """Say what was spent of a budget, what it will be, and who drives it."""
    of = f"{amount(figures.spent, figures)} of {amount(figures.amount, figures)}"
    what = clean(figures.what, 120) or "Everyone"
    if figures.is_over:
        said = [f"{what} spent {of} by {day(figures.period_end - DAY)}"]
    else:
        said = [f"{what} has spent {of} with {to_go(figures)} to go", *_ahead(figures)]
    if (driver := drivers(figures)) and not figures.is_over:
        said.append(driver)
    if figures.amount_before is not None and figures.changed_at is not None:
        before = amount(figures.amount_before, figures)
        said.append(f"the budget was {before} until {day(figures.changed_at)}")
    return "; ".join(said) + "."


def share(figures: Figures) -> str:
    """Say how much of it is spent, in percent."""
    share = f"{figures.spent / figures.amount:.0%}".replace("%", " %")
    return f"{share} of {amount(figures.amount, figures)}"


def to_go(figures: Figures) -> str:
    """Say how long it has to last."""
    left = figures.period_end - figures.as_of
    hours = max(round(left.total_seconds() / 3600), 1)
    if hours < 48:
        return f"{hours} h"
    return f"{round(hours / 24)} days"


def forecast(figures: Figures) -> str:
    """Say what it will be at the end of the period, with the range; empty when not known."""
    if figures.forecast is None or figures.forecast_low is None or figures.forecast_high is None:
        return ""
    low, high = (about(one, figures) for one in (figures.forecast_low, figures.forecast_high))
    return f"{about(figures.forecast, figures)} ({low} to {high})"


def drivers(figures: Figures) -> str:
    """Say who drives it; empty when nobody may be named."""
    if not figures.movers:
        return ""
    first = figures.movers[0]
    more = first.more if first.more > 0 else first.cost
    money_of = signed if first.more > 0 else money
    lately = "" if figures.burn is None else " in two days"
    return f"mostly {clean(first.name, 80)} ({money_of(rounded(more), figures.currency)}{lately})"


def crossings(crossed: Iterable[Crossing]) -> str:
    """Say what is crossed, in its order."""
    return ", ".join(map(_crossing, crossed))


def newest(figures: Figures) -> str:
    """Say what was crossed last, to begin a sentence with."""
    last = max((one.at for one in figures.crossed), default=None)
    said = crossings(one for one in figures.crossed if one.at == last)
    return said[:1].upper() + said[1:]


def exhausts(found: Exhausts, currency: str) -> str:
    """Say what an incident does to a budget."""
    left = money(rounded(found.left), currency)
    by = day(found.at)
    return f"At this rate it alone uses up the {left} left of budget {found.budget} by {by}."


def amount(value: Decimal, figures: Figures) -> str:
    """Write an amount of a budget's currency."""
    return money(value, figures.currency)


def about(value: Decimal, figures: Figures) -> str:
    """Write an estimate: to three figures, for more would be a lie."""
    return money(rounded(value), figures.currency)


def rounded(value: Decimal) -> Decimal:
    """Round to three figures.

    >>> rounded(Decimal("11912.4")), rounded(Decimal("0.012345"))
    (Decimal('11900'), Decimal('0.0123'))
    """
    if not value:
        return value
    least = Decimal(1).scaleb(value.adjusted() - FIGURES + 1)
    return Decimal(f"{value.quantize(least, ROUND_HALF_EVEN):f}")


def day(at: datetime) -> str:
    """Write a day."""
    return f"{at.day} {at:%b}"


def _crossing(one: Crossing) -> str:
    if one.what == BURN:
        return "spent too fast to last"
    percent = one.what.removeprefix(FORECAST).strip()
    return f"{percent} {'expected' if one.what.startswith(FORECAST) else 'spent'}"


def _ahead(figures: Figures) -> list[str]:
    end, by = forecast(figures), day(figures.period_end - DAY)
    if figures.burn is None:
        return [f"at this rate {end} by {by}"] if end else []
    said = f"over the last {figures.burn_hours} h {figures.burn:.1f} times as fast as would last"
    if figures.used_up_at is not None:
        said = f"{said}, and used up by {day(figures.used_up_at)} if that goes on"
    return [said, f"without that {end} by {by}"] if end else [said]
