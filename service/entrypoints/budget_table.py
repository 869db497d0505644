"""`spendwatch budgets`: what the running service says of its budgets, as a table or as JSON."""

from collections.abc import Iterable
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from service.config import Settings
from service.core import budget_words
from service.core.budget_figures import BudgetStatus
from service.core.phrases import clean
from service.decoding import convert
from service.entrypoints.client import Client

_STATES: Final = {"within": "within", "at_risk": "at risk", "over": "over"}
_COLUMNS: Final = (
    "budget",
    "belongs to",
    "until",
    "spent",
    "forecast (8 of 10)",
    "crossed",
    "state",
)


def read_budgets(settings: Settings) -> list[BudgetStatus]:
    """Ask the running service; OSError when it does not answer."""
    return convert(Client(settings).ask("/v1/budgets")["items"], list[BudgetStatus])


def as_table(budgets: Iterable[BudgetStatus]) -> Table:
    """Put one in a line."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name == "spent" else "left", overflow="fold")
    for one in budgets:
        figures = one.figures
        cells = (
            one.budget.name,
            clean(one.owner, 60),
            budget_words.day(figures.period_end - budget_words.DAY),
            budget_words.share(figures),
            budget_words.forecast(figures) or "not yet",
            budget_words.crossings(figures.crossed) or "-",
            _STATES[one.state],
        )
        table.add_row(*map(Text, cells))
    return table
