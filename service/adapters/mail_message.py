"""What a notice looks like as a mail: text and HTML alternatives, the chart inline.

The mails of one incident are one conversation: each answers the same synthetic first message, and
the subject never changes, as mail programs ask for (RFC 5322 §3.6.4). Headers for automatic mail
are those of RFC 3834 and RFC 2919.
"""

from datetime import datetime, timedelta
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, Policy
from email.utils import format_datetime
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.adapters.signed_links import Act, Action, url_of
from service.core.bundles import BUNDLES
from service.core.holds import IDLE
from service.core.incidents import (
    CAUSES,
    HISTORY,
    ONCE,
    ORPHANED,
    TROUBLE,
    UNTAGGED,
    UNUSED,
    Incident,
)
from service.core.notices import Notice
from service.core.phrases import clean
from service.core.secret import Secret
from service.core.wording import footer, plain_text, text_of, words

LINKS_LAST: Final = timedelta(days=30)


class _UrlHeader(UnstructuredHeader, BaseHeader):
    """A header that is a URL: folded, it would be encoded, and no program would know it again."""

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS: Final = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _UrlHeader)
# Seven bits, so that no server need offer 8BITMIME.
_POLICY: Final = SMTP.clone(cte_type="7bit", header_factory=_HEADERS)
_ACTIONS: Final[tuple[tuple[Action, str], ...]] = (
    ("acknowledge", "Acknowledge"),
    ("expected", "Expected"),
    ("not_an_issue", "Not an issue"),
)
# By cause, which an incident keeps for ever.
_SUBJECTS: Final = {
    "less": "Less spend than usual",
    IDLE: "Idle GPUs",
    ONCE: "One-time purchase",
    UNTAGGED: "Resources that lack tags",
    ORPHANED: "Storage that nobody uses",
    UNUSED: "A commitment that nobody uses",
    HISTORY: "Spend of the past",
    TROUBLE: "Trouble with Spendwatch",
    "group": "Incidents told together",
    "summary": "Incidents told together",
    "plan": "A plan",
    "digest": "Spend digest",
}
TEMPLATES: Final = Environment(
    loader=PackageLoader("service.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Link(NamedTuple):
    """What a reader can press, and where it leads."""

    label: str
    url: str


def message_of(
    notice: Notice,
    *,
    sender: Address,
    recipient: Address,
    at: datetime,
    picture: bytes | None = None,
    public_url: str | None = None,
    link_key: Secret | None = None,
) -> EmailMessage:
    """Build the mail. The same notice has the same Message-ID whenever it is sent.

    With `public_url` it has a link to the page; with `link_key` too, links by which the recipient
    can act for LINKS_LAST, and the headers by which mail programs unsubscribe (RFC 8058).
    """
    links = _links(notice, recipient, at + LINKS_LAST, public_url, link_key)
    leave = next((link.url for link in links if link.label == "Unsubscribe"), None)
    message = envelope(subject(notice.incident), sender, recipient, at, leave)
    first = f"<incident-{clean(notice.incident_id, 64)}@{sender.domain}>"
    message["Message-ID"] = f"<{clean(notice.delivery_id, 64)}@{sender.domain}>"
    message["In-Reply-To"] = first
    message["References"] = first
    lines = [f"{link.label}: {link.url}" for link in links]
    message.set_content("\n".join([_text(notice), *([""] if lines else []), *lines]))
    page = TEMPLATES.get_template("notice_email.html").render(
        said=words(notice.incident),
        news=clean(notice.text, 1000) if notice.action == "thread" else None,
        footer=footer(notice),
        has_picture=picture is not None,
        links=links,
    )
    message.add_alternative(page, subtype="html")
    if picture is not None:
        _, html_part = message.iter_parts()
        html_part.add_related(picture, "image", "png", cid="<chart>", filename="cost.png")
    return message


def envelope(
    about: str, sender: Address, recipient: Address, at: datetime, leave: str | None
) -> EmailMessage:
    """Begin a mail that no robot need answer, and that `leave`, a link, unsubscribes from."""
    message = EmailMessage(_POLICY)
    message["From"] = Address("Spendwatch", sender.username, sender.domain)
    message["To"] = recipient
    message["Subject"] = about
    message["Date"] = format_datetime(at)
    message["List-Id"] = f"Spendwatch notices <notices.spendwatch.{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["Precedence"] = "bulk"
    if leave is not None:
        message["List-Unsubscribe"] = f"<{leave}>"
        if leave.startswith("https:"):
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return message


def subject(incident: Incident) -> str:
    """Name an incident by what never changes about it; the money is the first line of the text."""
    parts = (incident.service_name, incident.owner, incident.sub_account_id)
    if incident.kind in (HISTORY, TROUBLE):
        parts = (incident.title, "", "")
    if incident.kind in BUNDLES:
        parts = ("", "", "")  # who owns what is in it may change
    about = ", ".join(clean(part, 60) for part in parts if part)
    what = _SUBJECTS.get(CAUSES.get(incident.kind, incident.kind), "Unusual spend")
    begin = f"{what}: {about}" if about else what
    return f"{begin} [{clean(incident.incident_id, 64)[:8]}]"


def _links(
    notice: Notice,
    recipient: Address,
    expires: datetime,
    public_url: str | None,
    key: Secret | None,
) -> list[Link]:
    if public_url is None:
        return []
    links = [Link("Open", f"{public_url.rstrip('/')}/incidents/{notice.incident_id}")]
    if key is None:
        return links
    incident = notice.incident
    is_open = incident.state == "firing" and incident.status != "retracted"
    actions = _ACTIONS if is_open and incident.kind not in (HISTORY, TROUBLE, *BUNDLES) else ()
    for action, label in (*actions, ("unsubscribe", "Unsubscribe")):
        act = Act(
            incident_id=notice.incident_id,
            action=action,
            who=recipient.addr_spec,
            expires=expires,
        )
        links.append(Link(label, url_of(public_url, act, key)))
    return links


def _text(notice: Notice) -> str:
    if notice.action != "thread":
        return plain_text(notice)
    state = text_of(notice.incident, "edit", "update")
    return f"{clean(notice.text, 1000)}\n\n{state}\n{' · '.join(footer(notice))}"
