"""Sources: files, folders, buckets and manifests of bills and telemetry, turned into events."""

from service.adapters.sources.book import SnapshotBook
from service.adapters.sources.bucket_shelf import BucketShelf
from service.adapters.sources.buckets import Access, Address, BucketError, open_bucket
from service.adapters.sources.inputs import Delivery
from service.adapters.sources.lookout import Lookout
from service.adapters.sources.reader import Reader
from service.adapters.sources.registry import SOURCES
from service.adapters.sources.tally import Total
from service.adapters.sources.watch import QUIET, deliveries

__all__ = [
    "QUIET",
    "SOURCES",
    "Access",
    "Address",
    "BucketError",
    "BucketShelf",
    "Delivery",
    "Lookout",
    "Reader",
    "SnapshotBook",
    "Total",
    "deliveries",
    "open_bucket",
]
