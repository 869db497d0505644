"""Sources: files, folders and manifests of bills and telemetry, turned into events."""

from service.adapters.sources.book import SnapshotBook
from service.adapters.sources.inputs import Delivery
from service.adapters.sources.reader import Reader
from service.adapters.sources.registry import SOURCES
from service.adapters.sources.tally import Total
from service.adapters.sources.watch import deliveries

__all__ = ["SOURCES", "Delivery", "Reader", "SnapshotBook", "Total", "deliveries"]
