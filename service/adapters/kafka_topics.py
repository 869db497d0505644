"""Every topic in one table; they are created as it says, or refused with what is wrong."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from service.adapters.kafka_client import MAX_MESSAGE_BYTES, Cluster, guarded
from service.core.ports import LogUnavailableError

EVENTS: Final = "billing.events"
SAMPLES: Final = "gpu.samples"
ROLLUPS: Final = "cost.rollups"
FINDINGS: Final = "cost.findings"
INTENTS: Final = "cost.intents"
DELIVERIES: Final = "cost.deliveries"
REFUSED: Final = "ingest.dlq"
DEAD_LETTERS: Final[Mapping[str, str]] = {EVENTS: "billing.events.dlq", SAMPLES: "gpu.samples.dlq"}

# An idle GPU is judged by its own pauses of the last 32 days.
SAMPLES_KEPT: Final = timedelta(days=35)
LETTERS_KEPT: Final = timedelta(days=30)
# Above what a period may still change for: what is replayed must begin before what is judged.
MARGIN: Final = timedelta(days=14)
FOREVER: Final = timedelta.max
DAY_MS: Final = 86_400_000


class Topic(NamedTuple):
    """One topic. `kept` is None for a compacted one, which keeps the newest of each key for ever.

    All are created to be stamped by the broker; with `broker_time` they must be: that is when an
    event arrived.
    """

    partitions: int
    kept: timedelta | None
    least_kept: timedelta = timedelta(days=1)
    broker_time: bool = False


def topics(partitions: int, remembers: timedelta) -> dict[str, Topic]:
    """Return every topic, given the partitions of the input and how old a row may be."""
    events = Topic(partitions, remembers + MARGIN, remembers, broker_time=True)
    letters = Topic(1, LETTERS_KEPT)
    return {
        EVENTS: events,
        SAMPLES: Topic(
            partitions, SAMPLES_KEPT, SAMPLES_KEPT - timedelta(days=2), broker_time=True
        ),
        # One: sums are over all partitions. What is in it may be needed as long as the input is.
        ROLLUPS: Topic(1, remembers + MARGIN, remembers),
        # Whatever is told is told anew from its beginning, when all else is lost.
        FINDINGS: Topic(1, FOREVER, FOREVER, broker_time=True),
        INTENTS: Topic(1, None),
        DELIVERIES: Topic(1, None),
        REFUSED: letters,
        **dict.fromkeys(DEAD_LETTERS.values(), letters),
    }


def ensure(cluster: Cluster, wanted: Mapping[str, Topic], replication: int) -> None:
    """Create the topics that are missing; LogUnavailableError says which existing ones are wrong.

    Nothing that exists is changed. `replication` -1 leaves the number of copies to the cluster.
    """
    admin = cluster.admin()
    try:
        with guarded():
            names = {cluster.topic(name): topic for name, topic in wanted.items()}
            there = {
                found["name"]: len(found["partitions"])
                for found in admin.describe_topics(list(names))
                if not found["error_code"]
            }
            flaws = _flaws(names, there, _configs(admin, there))
            if flaws:
                raise LogUnavailableError("; ".join(flaws))
            missing = {
                name: {
                    "num_partitions": topic.partitions,
                    "replication_factor": replication,
                    "configs": _config(topic),
                }
                for name, topic in names.items()
                if name not in there
            }
            _create(admin, missing)
    finally:
        admin.close()


def ids(cluster: Cluster, names: Iterable[str]) -> dict[str, str]:
    """Return Kafka's own id of each topic: one that is made anew under the same name has another.

    LogUnavailableError when one is not there.
    """
    wanted = {cluster.topic(name): name for name in names}
    admin = cluster.admin()
    try:
        with guarded():
            found = admin.describe_topics(list(wanted))
    finally:
        admin.close()
    gone = sorted(one["name"] for one in found if one["error_code"])
    if gone:
        raise LogUnavailableError(
            f"topics are not there: {', '.join(gone)}; the next start makes them"
        )
    return {wanted[one["name"]]: str(one["topic_id"]) for one in found}


def _create(admin: Any, missing: Mapping[str, Any]) -> None:
    for name, how in missing.items():
        try:
            admin.create_topics({name: how}, wait_for_metadata=True)
        except TopicAlreadyExistsError:  # another of our processes was faster
            continue


def _config(topic: Topic) -> dict[str, str]:
    # A broker refuses what is stamped ahead of its time, and lets go of things by their stamps.
    stamp = {"message.timestamp.type": "LogAppendTime"}
    if topic.kept is None:
        return {"cleanup.policy": "compact", **stamp}
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1" if topic.kept == FOREVER else str(_ms(topic.kept)),
        "retention.bytes": "-1",
        **stamp,
    }


def _configs(admin: Any, names: Iterable[str]) -> dict[str, dict[str, str]]:
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not asked:
        return {}
    found = admin.describe_configs(asked, config_filter="all")["topic"]
    return {
        name: {key: str(entry["value"]) for key, entry in config.items()}
        for name, config in found.items()
    }


def _flaws(
    wanted: Mapping[str, Topic], there: Mapping[str, int], configs: Mapping[str, Mapping[str, str]]
) -> list[str]:
    return [
        f"topic {name}: {flaw}"
        for name, partitions in there.items()
        for flaw in flaws_of(wanted[name], partitions, configs[name])
    ]


def flaws_of(topic: Topic, partitions: int, config: Mapping[str, str]) -> list[str]:
    """Say what is wrong with a topic that is already there."""
    flaws = []
    if partitions != topic.partitions:
        flaws.append(
            f"has {partitions} partitions, not {topic.partitions}: they hold series by hash and "
            "cannot change"
        )
    policy = config["cleanup.policy"]
    if topic.kept is None and policy != "compact":
        flaws.append(f"cleanup.policy is {policy}, not compact: what is newest must stay")
    if topic.kept is not None and policy != "delete":
        flaws.append(f"cleanup.policy is {policy}, not delete: each message counts")
    flaws += _short(topic, config)
    if topic.broker_time and config["message.timestamp.type"] != "LogAppendTime":
        flaws.append("message.timestamp.type is not LogAppendTime: arrival is told by the broker")
    if int(config["max.message.bytes"]) < MAX_MESSAGE_BYTES:
        flaws.append(f"max.message.bytes is below {MAX_MESSAGE_BYTES}")
    return flaws


def _short(topic: Topic, config: Mapping[str, str]) -> list[str]:
    if topic.kept is None or config["cleanup.policy"] != "delete":
        return []
    least = _ms(topic.least_kept)
    flaws = []
    if 0 <= int(config["retention.ms"]) < least:
        days = int(config["retention.ms"]) / DAY_MS
        counts = "for ever" if topic.least_kept == FOREVER else f"for {least / DAY_MS:g}"
        flaws.append(
            f"retention.ms is {days:.3g} days, and rows count {counts}: what is "
            "dropped earlier cannot be rebuilt"
        )
    if int(config["retention.bytes"]) >= 0:
        flaws.append("retention.bytes is set: what is dropped for its size is lost")
    return flaws


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
