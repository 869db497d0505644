"""Which of a partition's records the broker took in as one batch.

A record batch is written, replicated and kept as a whole: where one ends follows from the log alone
(https://kafka.apache.org/documentation/#recordbatch). aiokafka reads batches and hands out records;
from here on each has `batch`, the offset after the last of its own.
"""

from typing import Any

from aiokafka.consumer import fetcher


class _Batches:
    """The batches of one answer of the broker, of which it is known which one is being read."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self.end = -1

    def has_next(self) -> bool:
        """Tell whether there is another batch."""
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        """Return the next batch."""
        batch = self._records.next_batch()
        self.end = batch.next_offset
        return batch


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, tp: Any, records: Any, *others: Any) -> None:
        self._batches = _Batches(records)
        super().__init__(tp, self._batches, *others)

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        made = super()._consumer_record(tp, record)
        made.batch = self._batches.end
        return made


# No argument of a consumer says what unpacks for it. Whoever reads records as before still can.
fetcher.PartitionRecords = _PartitionRecords


def batch_of(record: Any) -> int:
    """Return the offset after the last record of a record's batch."""
    end: int = record.batch
    return end
