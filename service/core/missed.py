"""Missed: what a destination took too late to be told one by one, told in a digest instead."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from service.core.bundles import BUNDLES, LISTED, at_risk, digest_of, incident_of
from service.core.fallbacks import is_severe
from service.core.incidents import HISTORY, TROUBLE, Incident
from service.core.notices import Delivery, Notice, delivery_id_of
from service.core.phrases import duration, moment
from service.core.rates import Rates
from service.core.wording import text_of

# A first post that is so late is not news any more, unless it goes on and is of high severity.
LATE: Final = timedelta(minutes=30)
# Machines keep incidents apart themselves, and nobody reads them all.
MACHINES: Final = ("pagerduty", "webhook")

# In the `parent` of a delivery: its first post was told in the digest of that conversation.
DIGEST: Final = "digest"


class Missed(NamedTuple):
    """A first post that waits, and its incident as it is now."""

    delivery: Delivery
    incident: Incident


class Digest(NamedTuple):
    """One digest, and the deliveries that it takes the place of."""

    notice: Notice
    instead_of: Sequence[Delivery]


def is_missed(notice: Notice, incident: Incident, now: datetime) -> bool:
    """Tell whether a post that waits is better told in a digest."""
    return (
        notice.action == "post"
        and incident.kind not in (HISTORY, TROUBLE, *BUNDLES)
        and notice.destination.partition(":")[0] not in MACHINES
        and now - notice.at >= LATE
        and not is_severe(incident)
    )


def digests_of(missed: Iterable[Missed], rates: Rates, now: datetime) -> list[Digest]:
    """Tell one destination all that it missed, most money first; none for less than two.

    What was withdrawn meanwhile is in the place of nothing: nobody knows of it.
    """
    found = sorted(missed, key=lambda one: (-at_risk(one.incident, rates), _id(one)))
    if len(found) < 2:
        return []
    said = [one for one in found if one.incident.status != "retracted"]
    withdrawn = [one.delivery for one in found if one.incident.status == "retracted"]
    since = min(one.delivery.notice.at for one in found)
    parts = [said[first : first + LISTED] for first in range(0, len(said), LISTED)]
    digests = [_digest(part, number, since, rates, now) for number, part in enumerate(parts)]
    if digests:
        first = digests[0]
        digests[0] = first._replace(instead_of=[*first.instead_of, *withdrawn])
    return digests


def _digest(
    part: Sequence[Missed], number: int, since: datetime, rates: Rates, now: datetime
) -> Digest:
    destination = part[0].delivery.notice.destination
    about = f"that could not be told here since {moment(since)}"
    about += f", part {number + 1}" if number else ""
    bundle = digest_of(destination, about, "", now)
    whole = incident_of(bundle, [one.incident for one in part], rates, now)
    notice = Notice(
        delivery_id=delivery_id_of(whole.incident_id, destination, 0),
        incident_id=whole.incident_id,
        destination=destination,
        action="digest",
        seq=0,
        at=now,
        reason="digest",
        text=text_of(whole, "digest", "digest"),
        incident=whole,
        chart=None,
        why_here="what was missed here",
        data_until=max(one.delivery.notice.data_until for one in part),
        told_after=f"{duration(now - since)} after the first of it should have been",
    )
    return Digest(notice, [one.delivery for one in part])


def _id(one: Missed) -> str:
    return one.incident.incident_id
