"""Reads topics from first to last, as a checker that trusts nobody does."""

from datetime import UTC, datetime, timedelta

from kafka import TopicPartition
from kafka.record.memory_records import MemoryRecords

from service.adapters.kafka_log import Message

EPOCH = datetime.fromtimestamp(0, UTC)


def ends(cluster, topic):
    """Return how many records each partition of a topic has had."""
    consumer = cluster.consumer()
    try:
        name = cluster.topic(topic)
        places = [
            TopicPartition(name, p) for p in sorted(consumer.partitions_for_topic(name) or ())
        ]
        return [end for _, end in sorted(consumer.end_offsets(places).items())]
    finally:
        consumer.close()


def records(cluster, topic):
    """Return every record of a topic, partition by partition."""
    consumer = cluster.consumer()
    try:
        name = cluster.topic(topic)
        found = []
        places = [TopicPartition(name, p) for p in sorted(consumer.partitions_for_topic(name))]
        last = consumer.end_offsets(places)
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        while any(consumer.position(place) < last[place] for place in places):
            for some in consumer.poll(timeout_ms=500).values():
                found += some
        return sorted(found, key=lambda record: (record.partition, record.offset))
    finally:
        consumer.close()


def message_of(record):
    """Return a record as a process has it."""
    at = EPOCH + timedelta(milliseconds=record.timestamp)
    return Message(record.offset, at, dict(record.headers), record.value or b"")


def batches(folder, name):
    """Yield (partition, messages) of a topic as the broker's own files have them, by batch.

    `folder` is the broker's, `name` the topic's whole name. Where a batch ends no consumer tells.
    """
    for place in sorted(folder.glob(f"**/{name}-*/")):
        partition = int(place.name.rpartition("-")[2])
        for segment in sorted(place.glob("*.log")):
            kept = MemoryRecords(segment.read_bytes())
            while kept.has_next():
                batch = kept.next_batch()
                if not batch.is_control_batch:
                    yield partition, [message_of(record) for record in batch]
