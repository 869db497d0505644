"""What the links in a mail do: asked for, they show; sent from the page they show, they act.

A link is good for one person, one action of one incident, once. Programs that look at mail open
links, so GET changes nothing. To unsubscribe takes no more than the POST that mail programs make
by themselves (RFC 8058).
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from service.adapters.mail_message import LINKS_LAST
from service.adapters.signed_links import LONGEST_TOKEN, PATH, Act, read
from service.core.incidents import Incident
from service.core.intents import Feedback, Intent, Mark, Put
from service.core.optouts import opt_out_of
from service.core.phrases import clean, moment
from service.core.ports import Store
from service.core.secret import Secret
from service.entrypoints.api.feedback import Follow, follow
from service.web.act import ActPage, act_page

VIA: Final = "mail"
_WRONG: Final = {
    "forged": (403, "This link is not one of ours", "It was cut or changed on its way."),
    "expired": (410, "This link has expired", "Links in mails are good for 30 days."),
}


class ActRoutes:
    """Shows and does what a link says; `keys` are those that sign links, the newest first."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        follow: Follow | None,
        keys: Sequence[Secret],
    ) -> None:
        self._store = store
        self._now = now
        self._follow = follow
        self._keys = keys
        # Two presses of one link at once must not both find it unused.
        self._one_at_a_time = threading.Lock()

    def show(self, t: str = "") -> Response:
        """Show what a link in a mail would do, and a button that does it."""
        act = self._read(t)
        if isinstance(act, Response):
            return act
        incident = self._store.incident(act.incident_id)
        why_not = self._why_not(act, incident)
        if why_not is not None:
            return why_not
        return _page(200, ActPage.of(act.action, act.who, incident, f"{PATH}?t={t}"))

    async def act(self, request: Request) -> Response:
        """Do what a link in a mail says."""
        token = request.query_params.get("t", "")
        return await run_in_threadpool(self._act, token)

    def _act(self, token: str) -> Response:
        act = self._read(token)
        if isinstance(act, Response):
            return act
        with self._one_at_a_time:
            incident = self._store.incident(act.incident_id)
            why_not = self._why_not(act, incident)
            if why_not is not None:
                return why_not
            refused = follow(self._follow, _intent(act, self._now()))
        if refused is not None:
            return _page(409, ActPage("Nothing has changed", f"The reason: {clean(refused, 200)}."))
        return _page(200, ActPage.done(act.action, act.who))

    def _read(self, token: str) -> Act | Response:
        act = "forged" if len(token) > LONGEST_TOKEN else read(token, self._keys, self._now())
        if isinstance(act, Act):
            return act
        code, title, text = _WRONG[act]
        return _page(code, ActPage(title, text))

    def _why_not(self, act: Act, incident: Incident | None) -> Response | None:
        """Say why a link does nothing now; None when it does."""
        if act.action == "unsubscribe":
            return None
        if incident is None:
            text = "It was over so long ago that nothing of it changes any more."
            return _page(404, ActPage("There is no such incident", text))
        if _was_used(act, incident):
            text = "A link acts once. What was done since is on the page."
            return _page(409, ActPage("This link was used before", text))
        return None


def _was_used(act: Act, incident: Incident) -> bool:
    mine = act.who[:200], VIA, _why(act)
    said = [(one.who, one.via, one.why, str(one.verdict)) for one in incident.feedback]
    done = [(m.mark.who, m.mark.via, m.mark.why, str(m.mark.act)) for m in incident.marks]
    return (*mine, act.action) in (*said, *done)


def _why(act: Act) -> str:
    return f"by the link in a mail of {moment(act.expires - LINKS_LAST)}"


def _intent(act: Act, now: datetime) -> Intent:
    said: dict[str, Any] = {"at": now, "who": act.who[:200], "via": VIA, "why": _why(act)}
    if act.action == "unsubscribe":
        return Put(thing=opt_out_of(f"email:{act.who}", act.who), **said)
    if act.action == "acknowledge":
        return Mark(act="acknowledge", incident_id=act.incident_id, **said)
    return Feedback(verdict=act.action, incident_id=act.incident_id, **said)


def _page(code: int, page: ActPage) -> Response:
    return Response(act_page(page), code, media_type="text/html")


def add_acts(
    add: Callable[..., None],
    store: Store,
    now: Callable[[], datetime],
    follow: Follow | None,
    keys: Sequence[Secret],
) -> None:
    """Add the two routes. The link is what lets its holder in."""
    routes = ActRoutes(store, now, follow, keys)
    add("GET", PATH, routes.show, "open", "text/html", {403, 404, 409, 410, 422})
    add("POST", PATH, routes.act, "open", "text/html", {403, 404, 409, 410, 501, 503})
