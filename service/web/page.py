"""The page: what is burning now, whose it is, how much and since when."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.core import phrases
from service.core.deliveries import Notice
from service.core.health import UNAVAILABLE, Health, is_stale
from service.core.incidents import Incident
from service.core.money import ZERO, add
from service.core.ports import SourceStatus
from service.core.wording import Words, words

STATIC: Final = Path(__file__).with_name("static")
CARDS_SHOWN: Final = 25
OVER_SHOWN: Final = 10

# Of each action of a link: what is asked, what the button says, and what was done.
_ACTS: Final = {
    "acknowledge": (
        "Acknowledge this incident?", "Acknowledge", "Acknowledged: nobody is reminded of it."
    ),
    "expected": (
        "Mark this incident as expected?", "It is expected", "Expected: no more is said of it."
    ),
    "not_an_issue": (
        "Mark this incident as no issue?", "It is no issue",
        "No issue: no more is said of it, and the next one has to be odder.",
    ),
    "unsubscribe": (
        "Unsubscribe from all mails of Spendwatch?", "Unsubscribe",
        "No more mail is sent to this address, until an admin of Spendwatch allows it again.",
    ),
}  # fmt: skip


class Home(NamedTuple):
    """What the page is made from; `others` are incidents that do not fire, the newest first."""

    health: Health
    now: datetime
    firing: Sequence[Incident]
    others: Sequence[Incident]
    latest_notice: Callable[[str], Notice | None]
    sources: Sequence[SourceStatus]
    version: str


class Card(NamedTuple):
    """One incident as the page shows it: `figure` of the service or place `where`."""

    incident: Incident
    said: Words
    figure: str
    where: str
    notice: Notice | None


class ActPage(NamedTuple):
    """What a link of a mail leads to; with a `form`, whose `button` does what it says."""

    title: str
    text: str
    button: str = ""
    form: str = ""

    @classmethod
    def of(cls, action: str, who: str, incident: Incident | None, form: str) -> "ActPage":
        """Show what a link would do, about an incident as it is now."""
        title, button, _ = _ACTS[action]
        lines = [] if incident is None or action == "unsubscribe" else _whole(incident)
        lines.append(f"It is done in the name of {phrases.clean(who, 320)}.")
        return cls(title, "\n".join(lines), button, form)

    @classmethod
    def done(cls, action: str, who: str) -> "ActPage":
        """Say what was done."""
        return cls("Done", f"{_ACTS[action][2]} In the name of {phrases.clean(who, 320)}.")


class SourceLine(NamedTuple):
    """One source as the page shows it; `word` says how it is."""

    source: SourceStatus
    word: str
    age: str


def home_page(home: Home) -> str:
    """Render the page. Every text that came with a row is cleaned and escaped."""
    # What an idle GPU costs is on its own card; the rise in its bill is the same money.
    told = [incident for incident in home.firing if not incident.is_inhibited]
    firing = sorted(told, key=_burn, reverse=True)
    handled = [incident for incident in home.others if incident.state != "resolved"]
    over = [incident for incident in home.others if incident.state == "resolved"]
    return _TEMPLATES.get_template("home.html").render(
        home=home,
        firing_count=len(firing),
        totals=_totals(firing),
        firing=[_card(incident, home) for incident in firing[:CARDS_SHOWN]],
        handled=[_card(incident, home) for incident in handled[:CARDS_SHOWN]],
        over=[_card(incident, home) for incident in over[:OVER_SHOWN]],
        sources=[_source(source, home.now) for source in home.sources],
    )


def no_store_page(now: datetime) -> str:
    """Render what can be said when the store does not answer."""
    return _TEMPLATES.get_template("no_store.html").render(health=UNAVAILABLE, now=now)


def sign_in_page(now: datetime, *, refused: bool) -> str:
    """Render the page that asks for a token."""
    return _TEMPLATES.get_template("sign_in.html").render(now=now, refused=refused)


def act_page(page: ActPage) -> str:
    """Render what a link of a mail leads to."""
    return _TEMPLATES.get_template("act.html").render(page=page)


def _whole(incident: Incident) -> list[str]:
    said = words(incident)
    return [said.headline, said.lead, said.status]


def _burn(incident: Incident) -> Decimal:
    return ZERO if incident.run_rate_per_day is None else incident.run_rate_per_day


def _totals(incidents: Iterable[Incident]) -> list[str]:
    """Say what is spent a day above normal, by currency; savings do not offset it."""
    totals: dict[str, Decimal] = {}
    for incident in incidents:
        if _burn(incident) > 0:
            known = totals.get(incident.billing_currency, ZERO)
            totals[incident.billing_currency] = add(known, _burn(incident))
    by_size = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    return [f"{phrases.signed(total, currency)}/day" for currency, total in by_size]


def _card(incident: Incident, home: Home) -> Card:
    said = words(incident)
    # The headline is "sign figure · where"; the page shows the sign as a colour and a word.
    figure, _, where = said.headline.partition(" ")[2].partition(" · ")
    return Card(incident, said, figure, where, home.latest_notice(incident.incident_id))


def _source(source: SourceStatus, now: datetime) -> SourceLine:
    at = source.last_arrived_at
    if at is None:
        return SourceLine(source, "error" if source.last_error else "waiting", "never")
    word = "error" if source.last_error else "stale" if is_stale(source, now) else "fresh"
    return SourceLine(source, word, f"{phrases.duration(now - at)} ago")


def _iso(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "moment": phrases.moment,
    "iso": _iso,
    "clean": phrases.clean,
    "duration": phrases.duration,
}
