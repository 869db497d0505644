"""Formats: tables of a provider's own columns, and the rules that make events of them."""

from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from service.adapters.sources.base import BrokenFileError, Flaw, Head, Row, plain
from service.adapters.sources.columns import Column
from service.adapters.sources.files import look
from service.adapters.sources.plan import Plan, numbered
from service.adapters.sources.rows import RefusedError, Rule, Texts, Values, flaw_at, row_of, ruled
from service.adapters.sources.tables import Batch, Cells, Table, read_table, texts_of
from service.adapters.sources.values import NULLS


class Format(NamedTuple):
    """A table of a provider's own columns, which are named as `flat` writes them.

    `rules` is told which of the wanted columns a file has. `tag_of` takes a column's title and
    returns the key of the tag that the column holds, None when it holds none.
    """

    required: tuple[str, ...]
    columns: frozenset[str]
    rules: Callable[[frozenset[str]], Sequence[Rule]]
    tag_of: Callable[[str], str | None] | None = None


def flat(name: str) -> str:
    """Write a column's name as `plain` does, and without the slash of older exports.

    >>> flat("lineItem/UsageStartDate") == flat("line_item_usage_start_date")
    True
    """
    return plain(name).replace("/", "")


def has(head: Head, columns: Sequence[str]) -> bool:
    """Tell whether a table has all of these columns, named as `flat` does."""
    return head.form in ("csv", "parquet") and set(columns) <= {
        name.replace("/", "") for name in head.names
    }


class _Wanted(Container[str]):
    def __init__(self, form: Format) -> None:
        self._form = form

    def __contains__(self, name: object) -> bool:
        text = str(name)
        tag_of = self._form.tag_of
        return flat(text) in self._form.columns or (tag_of is not None and tag_of(text) is not None)


def read_rows(path: Path, form: Format, dataset: str = "") -> Iterator[Row | Flaw]:
    """Read one table; BrokenFileError when its header or the rest of it cannot be read.

    `dataset` is that of its rows.
    """
    table = read_table(path, look(path), _Wanted(form))
    names = [flat(name) for name in table.columns]
    for name in form.required:
        if flat(name) not in names:
            raise BrokenFileError(1, "format", f"the header has no {name}")
    places = [(index, name) for index, name in enumerate(names) if name in form.columns]
    tagged = _tagged(form, table, names)
    rules = form.rules(frozenset(name for _, name in places))
    read_one = partial(_row, rules, places, tagged, dataset)
    plan = Plan(rules, {name: at for at, name in places}, tagged)
    for item in table.batches:
        if not isinstance(item, Batch):
            yield read_one(item)
            continue
        columns = {at: Column.encoded(array) for at, array in item.columns.items()}
        events = plan.events(columns, item.size)
        if events is None:
            yield from map(read_one, item.rows())
        else:
            yield from numbered(item.first, events, dataset)


def _row(
    rules: Sequence[Rule],
    places: Sequence[tuple[int, str]],
    tagged: Sequence[tuple[int, str]],
    dataset: str,
    item: Cells | Flaw,
) -> Row | Flaw:
    if isinstance(item, Flaw):
        return item
    number, cells = item
    row, tags = texts_of(places, cells), texts_of(tagged, cells)
    values: Values = {}
    try:
        for rule in rules:
            values |= ruled(rule, row, tags)
    except RefusedError as error:
        return flaw_at(number, "type", str(error), cells)
    return row_of(number, values, cells, dataset)


def _tagged(form: Format, table: Table, names: Sequence[str]) -> list[tuple[int, str]]:
    tag_of = form.tag_of
    return [] if tag_of is None else [
        (index, key)
        for index, title in enumerate(table.titles)
        if names[index] not in form.columns and (key := tag_of(title)) is not None
    ]  # fmt: skip


def read_texts(path: Path, columns: Container[str]) -> Iterator[Texts]:
    """Read some columns of one table, and only what is not null of them: what rows say, once.

    Rows of one batch that say the same come once; bad rows are left out.
    """
    table = read_table(path, look(path), columns)
    places = [(index, name) for index, name in enumerate(table.columns) if name in columns]
    for item in table.batches:
        if isinstance(item, Batch):
            found = zip(*(item.columns[at].to_pylist() for at, _ in places), strict=True)
            for cells in dict.fromkeys(found):
                texts = zip(places, cells, strict=True)
                yield {name: cell for (_, name), cell in texts if cell not in NULLS}
        elif not isinstance(item, Flaw):
            yield texts_of(places, item[1])
