"""Reads topics from first to last, as a checker that trusts nobody does."""

from kafka import TopicPartition


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
