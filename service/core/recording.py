"""Recording: what the history is told of the steps that a batch changed."""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Final, NamedTuple

from service.core.events import CostEvent, SeriesKey
from service.core.labels import NAMED_BY, labels_of
from service.core.ledger import Expected, Labels, Ledger, LedgerRow
from service.core.owners import Owners

USAGE: Final = "Usage"
# Of so many series at most it is kept what they are called: others are named again.
MOST_KNOWN: Final = 20_000


class _Known(NamedTuple):
    """What a series is called, and what of its newest row that was made of."""

    names: object
    series: str
    labels: Labels


class Recording:
    """Tells what steps cost; `is_estimated` tells whether one is an estimate."""

    def __init__(
        self, ledger: Ledger, owners: Owners, is_estimated: Callable[[SeriesKey, int], bool]
    ) -> None:
        self._ledger = ledger
        self._owners = owners
        self._is_estimated = is_estimated
        self._known: dict[SeriesKey, _Known] = {}

    def rows(
        self,
        changed: Iterable[tuple[SeriesKey, int]],
        expected: Mapping[tuple[SeriesKey, int], Expected],
        version: int,
    ) -> list[LedgerRow]:
        """Return what steps cost now, with the labels of their series, and what was expected.

        What was expected of a step stands with the first row of its usage.
        """
        ledger, told = self._ledger, []
        for key in changed:
            series, step = key
            _, name, labels = self._name(series, ledger.about(series))
            estimated, due = self._is_estimated(series, step), expected.get(key)
            is_expected = due is not None
            for kind, cost, quantity in ledger.kinds(series, step):
                start, end, category, sku, commitment = kind
                scored = is_expected and category == USAGE
                costs = name, start, end, category, cost, version, sku, commitment, quantity
                said = estimated, labels, scored, due if scored else None
                told.append(LedgerRow._make(costs + said))
                due = None if scored else due
        return told

    def forget(self) -> None:
        """Let go of what series are called, once a day: many of them are gone."""
        self._known.clear()

    def _name(self, series: SeriesKey, about: CostEvent) -> _Known:
        """Return what a series is called: the same object until its newest row names it anew."""
        names, known = _NAMES(about), self._known.get(series)
        if known is None or known.names != names:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            labels = labels_of(series, about, self._owners)
            known = self._known[series] = _Known(names, str(series), labels)
        return known


_NAMES: Final = attrgetter(*NAMED_BY)
