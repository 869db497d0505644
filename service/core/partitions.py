"""Which partition holds a series: a promise to every producer, in any language.

The key of a row is its resource: `ResourceId`, and without one the sub-account, service, region and
SKU, joined by `~`. The key of a GPU sample is its `resource_id`, and without one its `hostname`. So
all series of a resource meet, with the samples of the GPUs that they pay for. The partition is the
CRC-32 (IEEE 802.3) of the key in UTF-8, modulo the number of partitions: what librdkafka's default
partitioner does with such a key.
"""

from zlib import crc32

from service.core.events import CostEvent, Event, Run


def partition_key(event: Event) -> str:
    """Return the text whose hash chooses the partition.

    Neither feed nor currency nor the length of the charge period is part of it.
    """
    if isinstance(event, CostEvent):
        return event.resource_id or "~".join(
            (
                event.sub_account_id or "",
                event.service_name or "",
                event.region_id or "",
                event.sku_id or "",
            )
        )
    other = event.run_id if isinstance(event, Run) else ""
    return event.resource_id or event.hostname or other


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key, 0 to `partitions` - 1.

    >>> partition_of("i-0abc", 8), partition_of("", 8)
    (5, 0)
    """
    return crc32(key.encode()) % partitions
