"""Recording: what the history is told of the steps that a batch changed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from service.core.events import SeriesKey
from service.core.labels import labels_of
from service.core.ledger import Expected, Ledger, LedgerRow
from service.core.owners import Owners

USAGE: Final = "Usage"
# What of a row the ledger knows, which comes first in it.
COSTS: Final = LedgerRow._fields.index("estimated")


def recorded(
    changed: Iterable[tuple[SeriesKey, int]],
    parts: tuple[Ledger, Owners, Callable[[SeriesKey, int], bool]],
    expected: Mapping[tuple[SeriesKey, int], Expected],
    version: int,
) -> Iterator[LedgerRow]:
    """Yield what steps cost now, with the labels of their series, and what was expected of them.

    `parts` ends with what tells whether a step is an estimate. What was expected of a step stands
    with the first row of its usage.
    """
    ledger, owners, is_estimated = parts
    for series, step in sorted(changed):
        labels = labels_of(series, ledger.about(series), owners)
        estimated = is_estimated(series, step)
        due = expected.get((series, step))
        is_expected = (series, step) in expected
        for row in ledger.rows(series, step, version):
            scored = is_expected and row.charge_category == USAGE
            told = estimated, labels, scored, due if scored else None
            yield LedgerRow._make((*row[:COSTS], *told))
            due = None if scored else due
