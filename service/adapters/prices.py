"""Price lists from files: those that come with the service, and the user's own."""

import csv
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, NamedTuple

from service.core.money import flaw
from service.core.prices import ANYWHERE, UNDATED, Price, PriceBook

OWN_COLUMNS: Final = ("provider", "instance_type", "region", "usd_per_hour", "gpu_count", "since")


class PriceListError(Exception):
    """A price list cannot be read; says which line, and why."""


class _Layout(NamedTuple):
    """Where a file keeps what: column names, or what holds for all of its rows."""

    file: str
    source: str
    provider: str = ""
    instance_type: str = "instance_type"
    region: str = "region"
    everywhere: str = ""
    since: str = ""


_AWS: Final = "AWS on-demand list price"
_PACKAGED: Final = (
    _Layout(
        "azure_N_series_ondemand_all_regions",
        "Azure on-demand list price",
        "azure",
        instance_type="vm_sku",
        since="price_generated_at",
    ),
    _Layout(
        "gcp_gpu_instances_all_regions",
        "Google Cloud on-demand list price",
        "gcp",
        instance_type="machine_type",
        since="price_generated_at",
    ),
    _Layout("neocloud_gpu_ondemand", "{provider} on-demand list price", everywhere=ANYWHERE),
)


def load_prices(own: Path | None = None) -> PriceBook:
    """Read the packaged lists and, where given, the user's own CSV, which goes first.

    The user's columns are provider, instance_type, region (`*` for all), usd_per_hour, and
    optionally gpu_count and since (a date). Raises PriceListError.
    """
    folder = files("service") / "prices"
    listed = list(_aws(folder))
    for layout in _PACKAGED:
        listed += [_price(row, layout) for row in _rows(folder / f"{layout.file}.csv")]
    return PriceBook(listed, [] if own is None else list(_own(own)))


def _aws(folder: Traversable) -> Iterator[Price]:
    """Join today's list, which names the GPUs, with the history of prices, which does not."""
    today = list(_rows(folder / "aws_accelerated_ondemand_us-east-1.csv"))
    gpus = {row["instance_type"]: _count(row["gpu_count"]) for row in today if row["gpu_count"]}
    layout = _Layout("", _AWS, "aws", everywhere="us-east-1", since="price_list_generated_at")
    for row in _rows(folder / "aws_accelerated_price_changes_us-east-1.csv"):
        if row["instance_type"] in gpus:
            yield _price(row, layout)._replace(gpus=gpus[row["instance_type"]])
    layout = layout._replace(since="price_generated_at")
    for row in today:
        if row["gpu_count"]:
            yield _price(row, layout)


def _own(path: Path) -> Iterator[Price]:
    layout = _Layout(path.name, "your price list", since="since")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = set(OWN_COLUMNS[:4]) - set(reader.fieldnames or ())
            if missing:
                raise PriceListError(f"{path}: no column {', '.join(sorted(missing))}")
            for row in reader:
                yield _checked(row, layout, f"{path}:{reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PriceListError(f"{path}: {error}") from error


def _checked(row: Mapping[str, str], layout: _Layout, where: str) -> Price:
    try:
        price = _price(row, layout)
    except (ValueError, InvalidOperation, AttributeError) as error:
        raise PriceListError(f"{where}: a number or a date cannot be read: {row}") from error
    if not price.instance_type or flaw(price.usd_per_hour) or price.usd_per_hour < 0:
        raise PriceListError(f"{where}: needs an instance_type and a usd_per_hour of 0 or more")
    return price


def _price(row: Mapping[str, str], layout: _Layout) -> Price:
    since = row.get(layout.since) or ""
    dated = datetime.fromisoformat(since) if since else UNDATED
    provider = layout.provider or row["provider"].strip()
    return Price(
        provider=provider,
        instance_type=row[layout.instance_type].strip(),
        region_id=layout.everywhere or row[layout.region].strip() or ANYWHERE,
        since=dated if dated.tzinfo else dated.replace(tzinfo=UTC),
        usd_per_hour=Decimal(row["usd_per_hour"]),
        gpus=_count(row.get("gpu_count") or ""),
        source=layout.source.format(provider=provider.capitalize()),
    )


def _count(text: str) -> int | None:
    """Return how many devices an instance shows: a slice of a GPU shows as one."""
    return max(1, int(Decimal(text))) if text else None


def _rows(file: Traversable) -> Iterator[dict[str, str]]:
    with file.open("r", encoding="utf-8") as text:
        yield from csv.DictReader(text)
