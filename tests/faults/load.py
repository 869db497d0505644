"""Rows of which it is known what must be said: each resource has one costly hour, or two.

One in four is the first that its account spends on a service: no partition alone can say so.
"""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from service.adapters.kafka_messages import Message, line_of
from service.adapters.kafka_topics import EVENTS
from service.core.partitions import partition_key, partition_of
from tests.factories import make_event

HOUR = timedelta(hours=1)
PAST_HOURS = 52  # two days that are over: a detector tells nothing before
LIVE_HOURS = 20  # what was over for more than a day when it came is shown, and not told
KNOWN_DAYS = 20  # an account is known after two weeks
FEED = "aws"


def is_first(number):
    """Tell whether what a resource costs is a first spend, and no more than usual of itself."""
    return number % 4 == 1


class Load:
    """Publishes `resources` with a past, then one costly hour after the other.

    `asked` is when the row that must be told was in the broker, by resource.
    """

    def __init__(self, publisher, partitions, resources):
        self._publisher = publisher
        self._partitions = partitions
        self._resources = resources
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self._starts_at = now - LIVE_HOURS * HOUR
        self.asked = {}

    def past(self):
        """Publish what was usual: first of all resources, as a first delivery is."""
        messages = {}
        for number in range(self._resources):
            hours = range(-PAST_HOURS, 0)
            if is_first(number):
                hours = range(-24 * KNOWN_DAYS, 0, 24)
            place, lines = self._lines(number, hours, ())
            messages.setdefault(place, []).extend(lines)
        for place, lines in messages.items():
            for at in range(0, len(lines), 500):
                self._put(place, lines[at : at + 500])
        self._publisher.flush()

    def costly_hour(self, number):
        """Publish one resource up to its costly hour; every third one's next is costly too."""
        costly = number * LIVE_HOURS // self._resources
        hours = range(costly if is_first(number) else 0, costly + 1)
        self._put(*self._lines(number, hours, (costly,)))
        self._publisher.flush()
        self.asked[number] = time.time()
        if number % 3 == 0:
            self._put(*self._lines(number, range(costly + 1, costly + 2), (costly + 1,)))
            self._publisher.flush()

    def _lines(self, number, hours, costly):
        lines = []
        for hour in hours:
            start = self._starts_at + hour * HOUR
            cost = Decimal(100 if hour in costly else 1) + Decimal(hour % 7) / 50
            name, service, account = f"i-{number}", f"Service {number}", "all"
            if is_first(number):
                account = f"grown-{number}"
                if hour in costly:
                    cost *= 50
                else:
                    name, service = f"old-{number}", "Old service"
            event = make_event(
                charge_period_start=start, charge_period_end=start + HOUR,
                resource_id=name, service_name=service, sub_account_id=account,
                billed_cost=cost, effective_cost=cost, x_event_id=f"e{number}/{hour}",
            )  # fmt: skip
            lines.append(line_of(event))
        return partition_of(partition_key(event), self._partitions), lines

    def _put(self, place, lines):
        self._publisher.put(Message(EVENTS, place, FEED, b"".join(lines), len(lines)))
