"""The topic `cost.deliveries`: a receipt for every delivery that has ended, under its id."""

import threading
from collections.abc import Iterator
from typing import Final

import msgspec

from service.adapters.kafka_client import Cluster, read_all
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import DELIVERIES
from service.core.receipts import Receipt


class ReceiptBook:
    """Writes receipts down, from any thread. LogUnavailableError when one may not be there."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._one_at_a_time = threading.Lock()

    def keep(self, receipt: Receipt) -> None:
        """Return when a receipt is acknowledged."""
        with self._one_at_a_time:
            self._publisher.send(DELIVERIES, _ENCODE(receipt), key=receipt.delivery_id)
            self._publisher.flush()


def receipts(cluster: Cluster) -> Iterator[Receipt]:
    """Yield every receipt there is now; a later one of the same delivery holds."""
    for row in read_all(cluster, DELIVERIES, fetch_max_bytes=16 * 1024 * 1024):
        yield _DECODE(row.value)


_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Receipt).decode
