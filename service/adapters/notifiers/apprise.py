"""Any other destination that apprise knows: Teams, Discord, Opsgenie, Telegram, SMS and more.

A destination is a name; its URL, which holds the password or token, stays in the config. apprise
says whether it worked and not what went wrong: what did not work may have arrived, for one of
several recipients or without an answer. It cannot edit, and cannot look: posts and lines of a
thread are sent, and a notice whose fate is unknown is sent again, so that it may be seen twice.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec

from service.core.notices import Notice
from service.core.phrases import TARGET, clean
from service.core.ports import Outcome, Refused, Retry, Sent, Unknown
from service.core.secret import Secret
from service.core.wording import footer, plain_text

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase

_KINDS: Final = {"high": "failure", "medium": "warning", "low": "info"}
# What calls people on one service or another, and no name of a resource may.
_CALLS: Final = re.compile(
    r"(?<=@)(?=everyone|here|channel|all|team)|(?<=<)(?=[@!#])", re.IGNORECASE
)
_INVISIBLE: Final = "\u200b"
# Both would write URLs into the log, and URLs are secrets here.
_TALKATIVE: Final = ("apprise", "urllib3", "requests")


class AppriseTarget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One destination: its URL as apprise writes it (github.com/caronc/apprise/wiki)."""

    url: Secret


class AppriseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`to` names URLs; `apprise:NAME` reaches one."""

    to: dict[Annotated[str, msgspec.Meta(pattern=TARGET)], AppriseTarget]
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 30


class Apprise:
    """Serves the destinations `apprise:NAME`, by the names under `to`."""

    Settings: ClassVar = AppriseSettings

    def __init__(self, settings: AppriseSettings) -> None:
        from apprise import AppriseAsset  # noqa: PLC0415  loads 140 services

        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        asset = AppriseAsset(
            app_id="Spendwatch",
            app_desc="Spendwatch",
            app_url="",
            storage_mode="memory",
            http_redirects=False,
            service_timeout=settings.timeout_seconds,
        )
        self._services = {
            name: _service(name, target, asset) for name, target in settings.to.items()
        }
        # Some services keep a log-in, which two sends at once would each renew.
        self._turns = {name: asyncio.Lock() for name in settings.to}

    @staticmethod
    def reaches(target: str) -> bool:
        """Take a name as the config has it."""
        return re.fullmatch(TARGET, target) is not None

    async def send(self, notice: Notice, ref: Mapping[str, str] | None) -> Outcome:
        """Send a post or a line of the thread. An edit is not sent, and its `ref` says so."""
        name = notice.destination.partition(":")[2]
        service = self._services.get(name)
        if service is None:
            return Refused("no such name under [notifiers.apprise.to]")
        if notice.action == "edit":
            return Sent({**(ref or {}), "told": "no"})
        async with self._turns[name]:
            return await asyncio.to_thread(_tell, service, notice)

    async def find(self, notice: Notice, ref: Mapping[str, str] | None = None) -> Outcome:  # noqa: ARG002  a port
        """Ask for it to be sent again: apprise cannot look."""
        return Retry("apprise cannot look for a message; it goes again")

    async def close(self) -> None:
        """Do nothing: every message has a connection of its own."""


def _service(name: str, target: AppriseTarget, asset: "AppriseAsset") -> "NotifyBase":
    from apprise import Apprise as Services  # noqa: PLC0415  loaded by now
    from apprise import OverflowMode  # noqa: PLC0415

    service = Services.instantiate(target.url.reveal(), asset=asset)
    if service is None:
        message = f"to.{name}: apprise knows no such service, or its url lacks something"
        raise ValueError(message)
    if "overflow=" not in target.url.reveal():
        # Else a service with a limit refuses what is too long for it.
        service.overflow_mode = OverflowMode.TRUNCATE
    return service


def _tell(service: "NotifyBase", notice: Notice) -> Outcome:
    """Send in this thread, which apprise bounds in time."""
    from apprise import Apprise as Services  # noqa: PLC0415  loaded by now
    from apprise import NotifyFormat  # noqa: PLC0415

    services = Services()
    services.add(service)
    title, body = _words(notice)
    over = notice.incident.state != "firing" or notice.incident.status == "retracted"
    result = services.notify(
        body=body,
        title=title,
        notify_type="success" if over else _KINDS[notice.incident.severity],
        body_format=NotifyFormat.TEXT,
    )
    if result:
        return Sent({"delivery_id": notice.delivery_id, "told": "yes"})
    return Unknown(f"apprise could not send it, or got no answer ({result.status.name.lower()})")


def _words(notice: Notice) -> tuple[str, str]:
    """Return title and text. A line of a thread stands alone here, and says what it is about."""
    if notice.action == "thread":
        title = clean(notice.incident.title, 100)
        body = f"{clean(notice.text, 1000)}\n{' · '.join(footer(notice))}"
    else:
        title, _, body = plain_text(notice).partition("\n")
    return _CALLS.sub(_INVISIBLE, title), _CALLS.sub(_INVISIBLE, body)
