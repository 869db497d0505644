"""What a notice looks like as a mail: text and HTML alternatives, the chart inline.

The mails of one incident are one conversation: each answers the same synthetic first message, and
the subject never changes, as mail programs ask for (RFC 5322 §3.6.4). Headers for automatic mail
are those of RFC 3834 and RFC 2919.
"""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.core.deliveries import IDLE, Notice
from service.core.incidents import CAUSES, HISTORY, ONCE, Incident
from service.core.phrases import clean
from service.core.wording import footer, plain_text, text_of, words

# Seven bits, so that no server need offer 8BITMIME.
_POLICY: Final = SMTP.clone(cte_type="7bit")
# By cause, which an incident keeps for ever.
_SUBJECTS: Final = {
    "less": "Less spend than usual",
    IDLE: "Idle GPUs",
    ONCE: "One-time purchase",
    HISTORY: "Spend of the past",
}
_TEMPLATES: Final = Environment(
    loader=PackageLoader("service.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def message_of(
    notice: Notice,
    *,
    sender: Address,
    recipient: Address,
    at: datetime,
    picture: bytes | None = None,
    public_url: str | None = None,
) -> EmailMessage:
    """Build the mail. The same notice has the same Message-ID whenever it is sent."""
    domain = sender.domain
    first = f"<incident-{clean(notice.incident_id, 64)}@{domain}>"
    message = EmailMessage(_POLICY)
    message["From"] = Address("Spendwatch", sender.username, domain)
    message["To"] = recipient
    message["Subject"] = subject(notice.incident)
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{clean(notice.delivery_id, 64)}@{domain}>"
    message["In-Reply-To"] = first
    message["References"] = first
    message["List-Id"] = f"Spendwatch notices <notices.spendwatch.{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["Precedence"] = "bulk"
    message.set_content(_text(notice))
    link = (
        None if public_url is None else f"{public_url.rstrip('/')}/#incident-{notice.incident_id}"
    )
    page = _TEMPLATES.get_template("notice_email.html").render(
        said=words(notice.incident),
        news=clean(notice.text, 1000) if notice.action == "thread" else None,
        footer=footer(notice),
        has_picture=picture is not None,
        link=link,
    )
    message.add_alternative(page, subtype="html")
    if picture is not None:
        _, html_part = message.iter_parts()
        html_part.add_related(picture, "image", "png", cid="<chart>", filename="cost.png")
    return message


def subject(incident: Incident) -> str:
    """Name an incident by what never changes about it; the money is the first line of the text."""
    parts = (incident.service_name, incident.owner, incident.sub_account_id)
    if incident.kind == HISTORY:
        parts = (incident.title, "", "")
    about = ", ".join(clean(part, 60) for part in parts if part)
    what = _SUBJECTS.get(CAUSES.get(incident.kind, incident.kind), "Unusual spend")
    return f"{what}: {about} [{clean(incident.incident_id, 64)[:8]}]"


def _text(notice: Notice) -> str:
    if notice.action != "thread":
        return plain_text(notice)
    state = text_of(notice.incident, "edit", "update")
    return f"{clean(notice.text, 1000)}\n\n{state}\n{' · '.join(footer(notice))}"
