"""What a team set up for itself: subscriptions, silences and plans."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from service.core.matchers import LABELS
from service.core.plans import Plan
from service.core.silences import Silence
from service.core.standing import etag_of
from service.core.subscriptions import Subscription
from service.core.tokens import EVERY_TEAM
from service.web.layout import Frame, render, teams_shown


class Facts(NamedTuple):
    """What stands, as far as the reader may see it; `owners` are those known to own anything."""

    subscriptions: Sequence[Subscription]
    silences: Sequence[Silence]
    plans: Sequence[Plan]
    owners: Sequence[str]
    destinations: Sequence[str]


class Shown(NamedTuple):
    """A thing with its version, and whether it is over, on, or to come."""

    thing: Subscription | Silence | Plan
    etag: str
    word: str


def mine_page(frame: Frame, facts: Facts) -> str:
    """Render the page."""
    now = frame.now
    return render(
        "mine.html",
        frame,
        subscriptions=[Shown(one, etag_of(one), "") for one in facts.subscriptions],
        silences=[
            Shown(one, etag_of(one), _word(one.starts_at, one.ends_at, now))
            for one in facts.silences
        ],
        plans=[
            Shown(one, etag_of(one), _word(one.starts_at, one.until, now)) for one in facts.plans
        ],
        teams=teams_shown(frame, facts.owners),
        every_team=EVERY_TEAM,
        destinations=facts.destinations,
        labels=LABELS,
        in_a_day=now + timedelta(days=1),
    )


def _word(begin: datetime, end: datetime, now: datetime) -> str:
    return "over" if end <= now else "on" if begin <= now else "to come"
