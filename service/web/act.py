"""What a link of a mail leads to: what it would do, and a button that does it."""

from typing import Final, NamedTuple

from service.core import phrases
from service.core.incidents import Incident
from service.core.wording import words
from service.web.layout import render_part

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


def act_page(page: ActPage) -> str:
    """Render what a link of a mail leads to."""
    return render_part("act.html", page=page)


def _whole(incident: Incident) -> list[str]:
    said = words(incident)
    return [said.headline, said.lead, said.status]
