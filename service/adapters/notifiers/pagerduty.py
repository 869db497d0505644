"""PagerDuty, by its Events API v2: one alert per incident, whose dedup_key is the incident's id.

What a firing incident is triggers, what people have taken on is acknowledged, and what is over or
expected is resolved. PagerDuty takes events of one key for one alert, so that whatever may have
been lost is safe to repeat. See developer.pagerduty.com, "Events API v2".
"""

import json
import re
import ssl
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from service.adapters.http_post import Answer, Request, judge, post
from service.core.incidents import Incident
from service.core.notices import Notice
from service.core.phrases import TARGET, clean, is_web_address
from service.core.ports import Outcome, Refused, Retry, Sent, Unknown
from service.core.secret import Secret
from service.core.severity import Severity
from service.core.wording import footer, words

_SEVERITIES: Final[Mapping[Severity, str]] = {
    "high": "critical",
    "medium": "warning",
    "low": "info",
}
_KEY: Final = re.compile(r"[!-~]{1,255}")

Event = Literal["trigger", "acknowledge", "resolve"]


class PagerDutyService(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service of PagerDuty: the key of its Events API v2 integration."""

    routing_key: Secret

    def __post_init__(self) -> None:
        """Refuse what no key looks like."""
        if _KEY.fullmatch(self.routing_key.reveal()) is None:
            raise ValueError("routing_key is empty or has characters that no key has")


class PagerDutySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`to` names services; `pagerduty:NAME` reaches one. `base_url` is another one in Europe."""

    to: dict[Annotated[str, msgspec.Meta(pattern=TARGET)], PagerDutyService]
    base_url: str = "https://events.pagerduty.com"
    public_url: str | None = None
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 10

    def __post_init__(self) -> None:
        """Refuse what cannot be called or linked."""
        for name in ("base_url", "public_url"):
            address = getattr(self, name)
            if address is not None and not is_web_address(address):
                message = f"{name} is not an http or https address"
                raise ValueError(message)


class PagerDuty:
    """Serves the destinations `pagerduty:NAME`, by the names under `to`."""

    Settings: ClassVar = PagerDutySettings

    def __init__(self, settings: PagerDutySettings) -> None:
        self._settings = settings
        self._tls = ssl.create_default_context()

    @staticmethod
    def reaches(target: str) -> bool:
        """Take a name as the config has it."""
        return re.fullmatch(TARGET, target) is not None

    async def send(self, notice: Notice, ref: Mapping[str, str] | None) -> Outcome:
        """Send the event that a notice means; `told` in its `ref` says which, or `no`."""
        service = self._settings.to.get(notice.destination.partition(":")[2])
        if service is None:
            return Refused("no such name under [notifiers.pagerduty.to]")
        event = event_of(notice)
        known = {**(ref or {}), "dedup_key": notice.incident_id}
        if event is None:
            return Sent({**known, "told": "no"})
        key = service.routing_key.reveal()
        body = _body(notice, event, self._settings.public_url) | {"routing_key": key}
        answer = await post(
            Request(
                url=f"{self._settings.base_url.rstrip('/')}/v2/enqueue",
                body=json.dumps(body).encode(),
                headers={"Content-Type": "application/json"},
                timeout_seconds=self._settings.timeout_seconds,
                tls=self._tls,
            )
        )
        if not isinstance(answer, Answer):
            return answer
        return _verdict(answer, key) or Sent({**known, "told": event})

    async def find(self, notice: Notice, ref: Mapping[str, str] | None = None) -> Outcome:  # noqa: ARG002  a port
        """Ask for the event to be sent again: it is the same alert, however often it comes."""
        return Retry("the event goes again under the same dedup_key, which changes nothing")

    async def close(self) -> None:
        """Do nothing: every event has a connection of its own."""


def event_of(notice: Notice) -> Event | None:
    """Say which event a notice is, or None when PagerDuty need not know.

    An edit of figures is nothing to wake anyone for, and would open a new alert where a person has
    resolved the old one; an edit for any other reason is followed by a line that says the same.
    """
    incident = notice.incident
    if notice.action == "edit" and (notice.reason != "update" or incident.state == "firing"):
        return None
    if notice.reason == "backfill" or notice.action == "digest":
        return None  # no one is to be woken for what is past, or can wait for a digest
    if incident.state in ("resolved", "expected") or incident.status == "retracted":
        return "resolve"
    return "trigger" if incident.state == "firing" else "acknowledge"


def _body(notice: Notice, event: Event, public_url: str | None) -> dict[str, Any]:
    """Build an event in PagerDuty's Common Event Format."""
    body: dict[str, Any] = {"event_action": event, "dedup_key": notice.incident_id}
    if event != "trigger":
        return body
    incident = notice.incident
    body["client"] = "Spendwatch"
    if public_url is not None:
        link = f"{public_url.rstrip('/')}/incidents/{notice.incident_id}"
        body |= {"client_url": link, "links": [{"href": link, "text": "Open in Spendwatch"}]}
    body["payload"] = {
        "summary": clean(words(incident).headline, 1024),
        "source": clean(incident.sub_account_id, 100) or "Spendwatch",
        "severity": _SEVERITIES[incident.severity],
        "timestamp": notice.at.isoformat(),
        "component": clean(incident.service_name or "", 100),
        "group": clean(incident.owner, 100),
        "class": clean(incident.kind, 100),
        "custom_details": _details(notice, incident),
    }
    return body


def _details(notice: Notice, incident: Incident) -> dict[str, Any]:
    said = words(incident)
    news = {"News": clean(notice.text, 1000)} if notice.action == "thread" else {}
    return {
        **news,
        "Summary": said.lead,
        **{field.label: field.value for field in said.fields},
        said.drivers_title: [" ".join(driver).strip() for driver in said.drivers],
        "Status": said.status,
        "Notice": " · ".join(footer(notice)),
    }


def _verdict(answer: Answer, key: str) -> Outcome | None:
    """Judge an answer: 202 takes the event, and with 400 PagerDuty says why it never will."""
    if answer.status == 202:
        return None
    if answer.status != 400:
        # A proxy may say 200 to anything.
        return judge(answer) or Unknown(f"PagerDuty would say 202, not {answer.status}")
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = None
    errors = said.get("errors") if isinstance(said, dict) else None
    why = "; ".join(str(error) for error in errors) if isinstance(errors, list) else "no reason"
    return Refused(f"PagerDuty refused the event: {clean(why.replace(key, '<secret>'), 300)}")
