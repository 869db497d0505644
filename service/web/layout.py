"""What every page has: the templates, how values are written in them, and the frame around."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.core import phrases
from service.core.health import UNAVAILABLE, Health

STATIC: Final = Path(__file__).with_name("static")
TEAMS_SHOWN: Final = 500
# The pages in the order in which one looks at them: path, name.
PAGES: Final = (
    ("/", "Overview"),
    ("/incidents", "Incidents"),
    ("/spend", "Spend"),
    ("/gpus", "GPUs"),
    ("/budgets", "Budgets"),
    ("/mine", "Mine"),
    ("/status", "Status"),
)


class Frame(NamedTuple):
    """What is around a page: who reads it, what they may do, and how the service is.

    `path` is the page's own, `query` what it shows of it: together they are its address.
    `teams` None sees everyone's.
    """

    path: str
    query: Mapping[str, str]
    health: Health
    now: datetime
    version: str
    name: str
    teams: frozenset[str] | None
    may_edit: bool

    def link(self, **changed: object) -> str:
        """Return the address of the same page with something changed; None and "" leave out."""
        query = {**self.query, **{name: str(value) for name, value in changed.items() if value}}
        dropped = {name for name, value in changed.items() if not value}
        return _address(self.path, {k: v for k, v in query.items() if k not in dropped})


def _address(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def teams_shown(frame: Frame, owners: Sequence[str]) -> list[str]:
    """Return whose a thing may be that a reader makes: their teams', else any known owner's."""
    return (sorted(frame.teams) if frame.teams is not None else list(owners))[:TEAMS_SHOWN]


def render(template: str, frame: Frame, **facts: Any) -> str:
    """Render a page. Every text that came with a row is escaped; templates clean it too."""
    return render_part(template, frame=frame, pages=PAGES, **facts)


def render_part(template: str, **facts: Any) -> str:
    """Render a part of a page."""
    return TEMPLATES.get_template(template).render(**facts)


def no_store_page(now: datetime) -> str:
    """Render what can be said when the store does not answer."""
    return TEMPLATES.get_template("no_store.html").render(health=UNAVAILABLE, now=now)


def sign_in_page(now: datetime, *, refused: bool, to: str = "/") -> str:
    """Render the page that asks for a token, and then leads `to` a page."""
    return TEMPLATES.get_template("sign_in.html").render(now=now, refused=refused, to=to)


def iso(at: datetime) -> str:
    """Write a time for a program."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def number(value: float | Decimal | None) -> str:
    """Write a number for a program: short, and empty when there is none.

    >>> number(Decimal("12.5000")), number(1 / 3), number(None)
    ('12.5', '0.333333', '')
    """
    return "" if value is None else f"{float(value):.6g}"


TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {
    "moment": phrases.moment,
    "date": phrases.date,
    "iso": iso,
    "clean": phrases.clean,
    "duration": phrases.duration,
    "money": phrases.money,
    "signed": phrases.signed,
    "number": number,
    "stamp": lambda at: int(at.timestamp()),
}
