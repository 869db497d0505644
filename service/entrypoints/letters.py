"""Dead letters for a person: which there are, what is in one, and back into the log with them."""

from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatch

from service.adapters.kafka_letters import NEVER_IN_A_MESSAGE, Letter, Refused, letters, replay
from service.adapters.kafka_publisher import Publisher
from service.bootstrap import build_cluster
from service.config import ConfigError, Settings

Say = Callable[[str], None]


def list_letters(settings: Settings, say: Say) -> None:
    """Say each letter's name and reason, one a line, then how many there are of each source."""
    counts: Counter[str] = Counter()
    for letter in letters(build_cluster(settings)):
        counts[letter.source if isinstance(letter, Letter) else "ingest"] += 1
        say(f"{letter.name}  {letter.reason}")
    told = ", ".join(f"{count} of {source}" for source, count in sorted(counts.items()))
    say(f"{counts.total()} dead letters{': ' if told else ''}{told}")


def show_letter(settings: Settings, name: str, say: Say) -> None:
    """Say all of one letter; ConfigError when there is none of that name."""
    letter = next((one for one in letters(build_cluster(settings)) if one.name == name), None)
    if letter is None:
        raise ConfigError(f"no dead letter {name!r}; spendwatch dead-letters list names them")
    say(f"{letter.name}: {letter.reason}")
    raw = letter.raw if isinstance(letter, Refused) else letter.raw.decode("utf-8", "replace")
    say(raw)


def replay_letters(settings: Settings, pattern: str, say: Say) -> int:
    """Publish the lines of the letters that a pattern names again; return how many.

    Each goes to the end of its partition: it comes after what came later, which the ledger, that
    does not depend on order, forgives. What is still bad becomes a new letter.
    """
    cluster = build_cluster(settings)
    found = [one for one in letters(cluster) if fnmatch(one.name, pattern)]
    if not found:
        raise ConfigError(f"no dead letter {pattern!r}; spendwatch dead-letters list names them")
    sent = 0
    with Publisher(cluster) as publisher:
        for letter in found:
            if isinstance(letter, Refused):
                say(f"{letter.name}: {NEVER_IN_A_MESSAGE}")
            else:
                replay(publisher, letter)
                sent += 1
        publisher.flush()
    return sent
