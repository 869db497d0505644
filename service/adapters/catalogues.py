"""Catalogues: who owns what, by a company's own list: CSV, or Backstage's catalog-info.yaml.

For Backstage's descriptor format see https://backstage.io/docs/features/software-catalog/descriptor-format.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from service.core.owners import Catalogue, Entry

MOST_BYTES: Final = 64 * 1024 * 1024
COLUMNS: Final = ("resource_id", "name", "sub_account_id")
# Annotations that name a cloud's account, or one resource of it.
_ACCOUNTS: Final = ("/account-id", "/project-id", "/subscription-id")
_RESOURCES: Final = ("/arn", "/resource-id")


class CatalogueError(Exception):
    """What is wrong with a catalogue, in one line."""


class _Row(NamedTuple):
    column: str
    value: str
    owner: str


def load_catalogue(paths: Iterable[Path]) -> Catalogue:
    """Read CSV and YAML files, and every YAML file below a folder; the first that says wins.

    CatalogueError for a file that cannot be read, or is none.
    """
    found: dict[str, dict[str, Entry]] = {column: {} for column in COLUMNS}
    for path in paths:
        for file in _files(path):
            for column, value, owner in _rows(file):
                key = value.lower() if column == "name" else value
                found[column].setdefault(key, Entry(owner, file.name))
    return Catalogue(found["resource_id"], found["name"], found["sub_account_id"])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted((*path.rglob("*.yaml"), *path.rglob("*.yml")))


def _rows(path: Path) -> Iterator[_Row]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CatalogueError(f"{path}: larger than {MOST_BYTES // 1024**2} MiB")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise CatalogueError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise CatalogueError(f"{path}: not a text file") from None
    if path.suffix.lower() in (".yaml", ".yml"):
        yield from _entities(path, text)
    else:
        yield from _lines(path, text)


def _lines(path: Path, text: str) -> Iterator[_Row]:
    """Read a CSV file with a column `owner` and any of COLUMNS; an empty cell says nothing."""
    reader = csv.DictReader(text.splitlines())
    names = {name.strip().lower(): name for name in reader.fieldnames or () if name}
    known = [column for column in COLUMNS if column in names]
    if "owner" not in names or not known:
        raise CatalogueError(f"{path}: needs a column owner and one of {', '.join(COLUMNS)}")
    try:
        for row in reader:
            owner = " ".join((row[names["owner"]] or "").split())
            for column in known:
                value = (row[names[column]] or "").strip()
                if owner and value:
                    yield _Row(column, value, owner)
    except csv.Error as error:
        raise CatalogueError(f"{path}: not CSV: {error}") from None


def _entities(path: Path, text: str) -> Iterator[_Row]:
    """Read the entities of a YAML file; what has no owner, or is something else, says nothing."""
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CatalogueError(f"{path}: not YAML: {reason}") from None
    for document in documents:
        entity = _table(document)
        meta, owner = _table(entity.get("metadata")), _table(entity.get("spec")).get("owner")
        if not isinstance(owner, str) or not owner.strip():
            continue
        name = _owner(owner)
        if isinstance(meta.get("name"), str):
            yield _Row("name", meta["name"], name)
        for key, value in _table(meta.get("annotations")).items():
            for endings, column in ((_ACCOUNTS, "sub_account_id"), (_RESOURCES, "resource_id")):
                if str(key).endswith(endings) and str(value).strip():
                    yield _Row(column, str(value).strip(), name)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _owner(reference: str) -> str:
    """Return the name in an entity reference, `[kind:][namespace/]name`.

    >>> _owner("group:default/payments"), _owner("payments")
    ('payments', 'payments')
    """
    return reference.strip().rpartition("/")[2].rpartition(":")[2]
