"""A digest as a mail: what goes on and what has ended, the dearest first, each with its link."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final, NamedTuple

from service.adapters.mail_message import LINKS_LAST, TEMPLATES, envelope
from service.adapters.signed_links import Act, url_of
from service.core.events import content_hash
from service.core.incidents import Incident
from service.core.money import ZERO
from service.core.phrases import clean, moment, money
from service.core.secret import Secret
from service.core.wording import headline

# Of each part; a mail with more is not read, and cut by mail programs from 100 kB on.
SHOWN: Final = 50


class Digest(NamedTuple):
    """The incidents of one destination from `since` to `until`."""

    incidents: Sequence[Incident]
    since: datetime
    until: datetime


class _Line(NamedTuple):
    headline: str
    owner: str
    url: str | None


class _Part(NamedTuple):
    title: str
    lines: tuple[_Line, ...]
    more: int


def digest_of(
    digest: Digest,
    *,
    sender: Address,
    recipient: Address,
    at: datetime,
    public_url: str | None = None,
    link_key: Secret | None = None,
) -> EmailMessage:
    """Build the mail. The same digest has the same Message-ID for a recipient, whenever it is sent.

    Amounts are added up by currency, never across.
    """
    leave = None
    if public_url is not None and link_key is not None:
        act = Act(
            incident_id="digest",
            action="unsubscribe",
            who=recipient.addr_spec,
            expires=at + LINKS_LAST,
        )
        leave = url_of(public_url, act, link_key)
    going_on = [i for i in digest.incidents if i.state != "resolved" and i.status != "retracted"]
    ended = [i for i in digest.incidents if i.state == "resolved" and i.status != "retracted"]
    span = f"{moment(digest.since)} to {moment(digest.until)}"
    parts = [
        _part(_going_on(going_on), going_on, public_url),
        _part(_ended(ended), ended, public_url),
    ]
    message = envelope(f"Spend digest, {span}", sender, recipient, at, leave)
    name = content_hash({"digest": span, "recipient": recipient.addr_spec})
    message["Message-ID"] = f"<digest-{name}@{sender.domain}>"
    message.set_content(_text(parts, span, leave))
    page = TEMPLATES.get_template("digest_email.html").render(parts=parts, span=span, leave=leave)
    message.add_alternative(page, subtype="html")
    return message


def _going_on(incidents: Sequence[Incident]) -> str:
    rates = _sums((i.billing_currency, i.run_rate_per_day) for i in incidents)
    return f"{len(incidents)} going on{f', {rates} a day' if rates else ''}"


def _ended(incidents: Sequence[Incident]) -> str:
    sums = _sums((i.billing_currency, i.impact) for i in incidents)
    return f"{len(incidents)} ended{f', {sums} in all' if sums else ''}"


def _sums(amounts: Iterable[tuple[str, Decimal | None]]) -> str:
    """Add up by currency; what is saved and what is spent are not set off against one another."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for currency, amount in amounts:
        found[currency] += max(amount or ZERO, ZERO)
    return " and ".join(money(found[c], c) for c in sorted(found) if found[c])


def _part(title: str, incidents: Sequence[Incident], public_url: str | None) -> _Part:
    def dearness(incident: Incident) -> Decimal:
        amount = incident.run_rate_per_day if incident.state != "resolved" else incident.impact
        return abs(amount or ZERO)

    ordered = sorted(incidents, key=lambda i: (-dearness(i), i.incident_id))
    base = None if public_url is None else f"{public_url.rstrip('/')}/#incident-"
    lines = tuple(
        _Line(headline(i), clean(i.owner, 100), None if base is None else base + i.incident_id)
        for i in ordered[:SHOWN]
    )
    return _Part(title, lines, max(len(incidents) - SHOWN, 0))


def _text(parts: Sequence[_Part], span: str, leave: str | None) -> str:
    lines = [f"Spend digest, {span}"]
    for part in parts:
        lines += ["", part.title]
        lines += [f"- {line.headline} · {line.owner}{_link(line.url)}" for line in part.lines]
        lines += [f"- and {part.more} more"] if part.more else []
    return "\n".join([*lines, *([] if leave is None else ["", f"Unsubscribe: {leave}"])])


def _link(url: str | None) -> str:
    return "" if url is None else f"\n  {url}"
