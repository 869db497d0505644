"""Lists out of Redis: found by facts, so that only the rows of a page are read."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from service.core.pages import seconds, series_name, set_name
from service.core.ports import DeliveryFilter, FindingFilter, IncidentFilter, IntentFilter

Filter = IncidentFilter | FindingFilter | DeliveryFilter | IntentFilter
_OPEN: Final = ("firing", "acknowledged", "snoozed", "expected")
_WORDS: Final = (
    "service", "sub_account", "region", "kind", "severity", "status", "destination", "who", "via",
    "what", "about", "incident_id",
)  # fmt: skip
# How many names one call returns: a longer list is read in several.
MOST: Final = 5000


class Pages:
    """Runs the script that finds a page of names."""

    def __init__(self, script: Any, prefix: str) -> None:
        self._script = script
        self._prefix = prefix

    def names(self, kind: str, where: Filter) -> list[bytes]:
        """Return the names of what passes, in order, at most as many as are asked for."""
        asked, found = _packed(where), list[bytes]()
        while len(found) < where.limit:
            asked["limit"] = min(where.limit - len(found), MOST)
            places = self._places(kind, where, asked)
            found += [name for _, name in places]
            if len(places) < asked["limit"]:
                break
            score, name = places[-1]
            asked |= {"after_score": score, "after_name": name.decode()}
        return found

    def _places(
        self, kind: str, where: Filter, asked: Mapping[str, Any]
    ) -> list[tuple[float, bytes]]:
        state = where.state if isinstance(where, DeliveryFilter) else None
        # An empty key would be one that no ACL of ours allows.
        within = [f"{self._prefix}deliveries:{state}"] if state is not None else []
        packed = msgspec.msgpack.encode(asked)
        answers = self._script(keys=[self._prefix + kind, *within], args=[packed])
        places = [
            (float(score), name)
            for found in answers
            for name, score in zip(found[::2], found[1::2], strict=True)
        ]
        places.sort(reverse=True)
        return places[: asked["limit"]]


def _packed(where: Filter) -> dict[str, Any]:
    asked: dict[str, Any] = {"order": where.order, "sets": _sets(where)}
    least = None if isinstance(where, IntentFilter) else where.min_impact
    given = {"since": seconds(where.since), "until": seconds(where.until), "least": least}
    if isinstance(where, IncidentFilter) and where.begins is not None:
        asked["begins"] = where.begins
    if where.after is not None:
        asked |= {"after_score": where.after.score, "after_name": where.after.name}
    return asked | {name: value for name, value in given.items() if value is not None}


def _sets(where: Filter) -> list[list[str]]:
    """Return sets of sets: what passes is in one of each."""
    said = {word: getattr(where, word, None) for word in _WORDS}
    sets = [[set_name(word, value)] for word, value in said.items() if value is not None]
    if where.owners is not None:
        sets.append([set_name("owner", owner) for owner in sorted(where.owners)])
    if isinstance(where, IncidentFilter) and (where.is_open or where.state is not None):
        states = _OPEN if where.state is None else (where.state,)
        sets.append([set_name("state", state) for state in states])
    if isinstance(where, FindingFilter) and where.series is not None:
        sets.append([set_name("series", series_name(where.series))])
    if isinstance(where, IntentFilter) and not where.for_admins:
        sets.append([set_name("for", "all")])
    return sets
