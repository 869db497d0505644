"""Plans: how the columns of one file become events, each rule worked out once for what rows say.

`rows.row_of` says what a row is; what is done here gives the very same events, or nothing at all.
A batch with one bad row is read row by row, so that it is refused for the reason, and with the
number, that it has there.

Some columns hold an amount or a name that hardly another row has; a rule mostly hands them on as
they are. It is run with blanks in their place, once for each shape of row: what it looks at, and
which of the others are null. A field that comes out as a blank is what that column says, and the
texts of a column are made fields all at once. Where a rule looks at a blank after all, it is run
for each of those rows, with what they really say.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, islice, repeat
from typing import Any, Final, NoReturn, TypeVar, cast

import numpy as np
from msgspec import NODEFAULT

from service.adapters.sources.base import Row
from service.adapters.sources.columns import Column, Numbers, Varied, spread, together
from service.adapters.sources.fields import AMOUNT, DEFAULTS, PLACES, TEXT, fields, kind_of
from service.adapters.sources.rows import RefusedError, Rule, Values, ruled
from service.core.events import CostEvent

_K = TypeVar("_K")
_V = TypeVar("_V")

# So many texts and what they are; then the memory begins anew.
REMEMBERED: Final = 16_384


class _Memory(dict[_K, _V]):
    """What a function returns, remembered for a bounded number of arguments."""

    def __init__(self, function: Callable[[_K], _V]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: _K) -> _V:
        found = self._function(key)
        if len(self) >= REMEMBERED:
            self.clear()
        self[key] = found
        return found


class Plan:
    """How the columns of one file become the fields of events, by FOCUS's names.

    `rules` say which columns a field follows from; a rule's row has no others. `tagged` are columns
    that hold a tag each, by its key: only rules that are `tagged` see them.
    """

    def __init__(
        self, rules: Iterable[Rule], places: Mapping[str, int], tagged: Sequence[tuple[int, str]]
    ) -> None:
        self._steps = [_Step(rule, places, tagged) for rule in rules]
        named = {name for step in self._steps for name in step.rule.names}
        self._is_possible = all(
            name in named for name, default in DEFAULTS.items() if default is NODEFAULT
        )
        # What comes after the last field that a rule fills has its default anyway.
        self._width = 1 + max(PLACES[name] for name in (*named, "BillingCurrency"))

    def events(self, columns: Mapping[int, Column], size: int) -> list[CostEvent] | None:
        """Return so many rows as events, None when they are to be read row by row."""
        if not self._is_possible:
            return None
        filled: list[Iterable[object]] = [repeat(default) for default in DEFAULTS.values()]
        try:
            for step in self._steps:
                for name, column in step.columns(columns):
                    filled[PLACES[name]] = column
        except RefusedError:
            return None
        # What all rows have alike is repeated for ever.
        return [*islice(map(CostEvent, *filled[: self._width]), size)]


# Without the call in Python that a named tuple's own constructor is.
_new_row: Final = cast("Callable[[object], Row]", partial(tuple.__new__, Row))


def numbered(first: int, events: Iterable[CostEvent], dataset: str = "") -> Iterator[Row]:
    """Make rows of events that follow one another in a file."""
    return map(_new_row, zip(count(first), events, repeat(dataset)))


class _LookedAtError(Exception):
    """A rule wants to know what it mostly hands on."""


class _Blank:
    """Stands for a column's text; all it tells is that there is one."""

    __slots__ = ("at", "is_lower")

    def __init__(self, at: int, *, is_lower: bool = False) -> None:
        self.at = at
        self.is_lower = is_lower

    def __bool__(self) -> bool:
        return True

    def lower(self) -> "_Blank":
        """Stand for the text in lower case."""
        return _Blank(self.at, is_lower=True)

    def _looked_at(self, *_: object) -> NoReturn:
        raise _LookedAtError

    __getattr__ = __getitem__ = __contains__ = __iter__ = __len__ = _looked_at
    __add__ = __radd__ = __format__ = _looked_at
    __eq__ = __ne__ = __str__ = __repr__ = _looked_at
    __hash__ = _looked_at


_NONE: Final[Numbers] = np.zeros(0, np.int64)


class _Step:
    """One rule for one file."""

    def __init__(
        self, rule: Rule, places: Mapping[str, int], tagged: Sequence[tuple[int, str]]
    ) -> None:
        self.rule = rule
        hands_on = any(kind_of(name) in (AMOUNT, TEXT) for name in rule.names)
        handed = rule.hands_on if hands_on else ()
        named = [(name, places[name]) for name in rule.columns if name in places]
        self._handed = [(name, at) for name, at in named if name in handed]
        self._looked = [(name, at) for name, at in named if name not in handed]
        self._tagged = list(tagged) if rule.tagged else []
        self._places = [at for _, at in self._looked] + [at for at, _ in self._tagged]
        self._outcomes = _Memory(self._outcome)
        self._known = _Memory(self._fields)

    def columns(self, columns: Mapping[int, Column]) -> Iterator[tuple[str, Iterable[object]]]:
        """Yield each field's name and its values, row by row."""
        looked = [columns[at].said for at in self._places]
        handed = [columns[at] for _, at in self._handed]
        numbers, shapes = together([*looked, *(column.presence() for column in handed)])
        outcomes = [self._outcomes[shape] for shape in shapes]
        asked = _NONE
        rows: list[tuple[object, ...]] = []
        if None in outcomes:
            said = [*looked, *(column.said for column in handed)]
            numbers = numbers if len(shapes) > 1 else np.zeros_like(said[0].numbers)
            asked = np.flatnonzero(np.array([outcome is None for outcome in outcomes])[numbers])
            cells = (map(c.cells.__getitem__, c.numbers[asked].tolist()) for c in said)
            rows = [self._known[row] for row in zip(*cells, strict=True)]
        for at, name in enumerate(self.rule.names):
            found = Varied(numbers, [outcome and outcome[at] for outcome in outcomes])
            filled = _filled(name, found, columns, asked, [row[at] for row in rows])
            yield name, spread(filled)

    def _outcome(self, shape: tuple[Any, ...]) -> tuple[object, ...] | None:
        """Return the fields of rows of one shape, with blanks; None where that is not enough."""
        if not self._handed:
            return self._fields(shape)
        looked = len(shape) - len(self._handed)
        blanks = [
            _Blank(at) if is_said else None
            for (_, at), is_said in zip(self._handed, shape[looked:], strict=True)
        ]
        try:
            values = self._values((*shape[:looked], *blanks))
            plain = tuple(n for n in self.rule.names if not isinstance(values.get(n), _Blank))
            known = dict(zip(plain, fields(plain, values), strict=True))
        except (_LookedAtError, TypeError, RefusedError):
            # What a row really says may be another thing.
            return None
        return tuple(known.get(name, values.get(name)) for name in self.rule.names)

    def _fields(self, cells: tuple[Any, ...]) -> tuple[object, ...]:
        """Return the fields of one row of the rule's columns; RefusedError when one is bad."""
        return fields(self.rule.names, self._values(cells))

    def _values(self, cells: tuple[Any, ...]) -> Values:
        """Run the rule: cells are what it looks at, tags, and what it hands on."""
        first, last = len(self._looked), len(cells) - len(self._handed)
        said = (*cells[:first], *cells[last:])
        named = zip((*self._looked, *self._handed), said, strict=True)
        row = {name: cell for (name, _), cell in named if cell is not None}
        found = zip(self._tagged, cells[first:last], strict=True)
        tags = {key: cell for (_, key), cell in found if cell is not None}
        return ruled(self.rule, row, tags)


def _filled(
    name: str,
    found: Varied,
    columns: Mapping[int, Column],
    asked: Numbers,
    answers: Sequence[object],
) -> Varied:
    """Put what the columns say where blanks are, and the answers into the rows that were asked."""
    numbers, cells = found
    places = {(cell.at, cell.is_lower) for cell in cells if isinstance(cell, _Blank)}
    if not places and not len(asked):
        return found
    if len(places) == 1 and all(isinstance(cell, _Blank) for cell in cells):
        [(at, is_lower)] = places
        return Varied(columns[at].said.numbers, columns[at].each(name, is_lower=is_lower))
    pool = [None if isinstance(cell, _Blank) else cell for cell in cells]
    mixed = numbers.astype(np.int64)
    for place in sorted(places):
        at, is_lower = place
        is_blank = [
            isinstance(cell, _Blank) and (cell.at, cell.is_lower) == place for cell in cells
        ]
        is_here = np.array(is_blank)[numbers]
        mixed[is_here] = len(pool) + columns[at].said.numbers[is_here]
        pool += columns[at].each(name, is_lower=is_lower)
    mixed[asked] = len(pool) + np.arange(len(asked))
    return Varied(mixed, [*pool, *answers])
