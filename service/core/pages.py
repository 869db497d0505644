"""Pages: what lists are put in order by, filtered by, and continued after.

A page goes on after a place, which is what the last item shown is put in order by, and its name. So
what does not change meanwhile is shown exactly once, whatever else comes, changes or goes.
"""

import base64
import binascii
from datetime import datetime
from decimal import Decimal
from math import inf
from typing import Final

import msgspec

from service.core.events import content_hash
from service.core.findings import Finding
from service.core.incidents import Incident
from service.core.intents import Drop, Feedback, Intent, Mark, Put
from service.core.notices import Delivery, Notice
from service.core.ports import Place
from service.core.standing import key_of

LONGEST_CURSOR: Final = 400
_CURSOR: Final = msgspec.msgpack.Decoder(tuple[str, float, str]).decode
# What only an admin may see.
FOR_ADMINS: Final = ("token", "member")


class Facts(msgspec.Struct, kw_only=True):
    """What an item is found by. It is in each of `sets`, which are named `what=value`.

    It has to do with all moments from `begins` to `ends`; `orders` are what it can be put in order
    by, the greatest first.
    """

    sets: list[str]
    begins: float
    ends: float
    impact: float
    orders: dict[str, float]


def of_incident(incident: Incident) -> Facts:
    """Return the facts of an incident."""
    i, ends, impact = incident, incident.ends_at, _amount(incident.impact)
    states = {"state": i.state, f"{i.state} severity": i.severity}
    return Facts(
        sets=_sets(_words(i) | states),
        begins=i.starts_at.timestamp(),
        ends=inf if ends is None else ends.timestamp(),
        impact=impact,
        orders={
            "changed": i.updated_at.timestamp(),
            "opened": i.opened_at.timestamp(),
            "impact": impact,
        },
    )


def of_finding(finding: Finding) -> Facts:
    """Return the facts of a finding."""
    impact = _amount(finding.impact)
    words = {
        "owner": finding.owner,
        "service": finding.service_name or "",
        "sub_account": finding.sub_account_id,
        "region": finding.region_id or "",
        "kind": finding.kind,
        "status": finding.status,
        "series": series_name(finding.series),
    }
    return Facts(
        sets=_sets(words),
        begins=finding.charge_period_start.timestamp(),
        ends=finding.charge_period_end.timestamp(),
        impact=impact,
        orders={"time": finding.detected_at.timestamp(), "impact": impact},
    )


def of_notice(notice: Notice) -> Facts:
    """Return the facts of a delivery, which are those of its incident when it was decided."""
    at, impact = notice.at.timestamp(), _amount(notice.incident.impact)
    mine = {"destination": notice.destination, "incident_id": notice.incident_id}
    return Facts(
        sets=_sets(_words(notice.incident) | mine),
        begins=at,
        ends=at,
        impact=impact,
        orders={"time": at, "impact": impact},
    )


def of_intent(intent: Intent, owner: str) -> Facts:
    """Return the facts of what a person did; it is the affair of `owner`, "" being no one team."""
    at, about = intent.at.timestamp(), about_of(intent)
    words = {
        "owner": owner,
        "who": intent.who,
        "via": intent.via,
        "what": what_of(intent),
        "about": about,
        "for": "admins" if about.partition("/")[0] in FOR_ADMINS else "all",
    }
    return Facts(sets=_sets(words), begins=at, ends=at, impact=-inf, orders={"time": at})


def about_of(intent: Intent) -> str:
    """Name what an intent is about: an incident, or a thing as `kind/name`."""
    if isinstance(intent, Put):
        return "/".join(key_of(intent.thing))
    return f"{intent.kind}/{intent.name}" if isinstance(intent, Drop) else intent.incident_id


def what_of(intent: Intent) -> str:
    """Name what a person did, in one word."""
    if isinstance(intent, Mark):
        return intent.act
    if isinstance(intent, Feedback):
        return intent.verdict
    return "put" if isinstance(intent, Put) else "drop"


def owner_of(intent: Intent, owners: dict[str, str]) -> str:
    """Return whose affair an intent is, "" for no one team's; `owners` are those of incidents."""
    if isinstance(intent, Put):
        mine = intent.thing.owners
        return mine[0] if len(mine) == 1 else ""
    return "" if isinstance(intent, Drop) else owners.get(intent.incident_id, "")


def place_of(item: Incident | Finding | Delivery | Intent, order: str) -> Place:
    """Return where an item stands in an order."""
    if isinstance(item, Incident):
        return Place(of_incident(item).orders[order], item.incident_id)
    if isinstance(item, Finding):
        return Place(of_finding(item).orders[order], item.finding_id)
    if isinstance(item, Delivery):
        return Place(of_notice(item.notice).orders[order], item.notice.delivery_id)
    return Place(item.at.timestamp(), item.intent_id)


def series_name(series: str) -> str:
    """Name a series in few letters, however long it is."""
    return content_hash(series.encode())


def cursor_of(place: Place, order: str) -> str:
    """Write a place so that nobody reads meaning into it.

    >>> place = Place(-inf, "5f2c")
    >>> place_in(cursor_of(place, "impact"), "impact") == place
    True
    """
    return base64.urlsafe_b64encode(msgspec.msgpack.encode([order, *place])).decode().rstrip("=")


def place_in(cursor: str, order: str) -> Place:
    """Read a cursor; ValueError when it is none, or one of another order."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        said, score, name = _CURSOR(data)
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        raise ValueError("cursor: this is none that was handed out") from None
    if said != order or score != score:  # noqa: PLR0124 - no number
        raise ValueError("cursor: it is of a list in another order")
    return Place(score, name)


def seconds(at: datetime | None) -> float | None:
    """Return a moment as facts hold it."""
    return None if at is None else at.timestamp()


def set_name(what: str, value: str) -> str:
    """Name the set of all items of which something is so."""
    return f"{what}={value}"


def _sets(words: dict[str, str]) -> list[str]:
    return [set_name(*word) for word in words.items()]


def _words(incident: Incident) -> dict[str, str]:
    return {
        "owner": incident.owner,
        "service": incident.service_name or "",
        "sub_account": incident.sub_account_id,
        "region": incident.region_id or "",
        "severity": incident.severity,
        "kind": incident.kind,
    }


def _amount(impact: Decimal | None) -> float:
    """Return an impact as a number to order by; one that nobody knows comes last."""
    return -inf if impact is None else float(impact)
