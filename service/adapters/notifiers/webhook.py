"""A signed webhook: the whole notice as JSON, to a server of your own.

Headers and signature are those of Standard Webhooks 1.0.0 (standardwebhooks.com): HMAC-SHA256 over
`id.timestamp.body`, once for every secret, so that a secret can be changed without a gap. The id is
the delivery's: what may have been lost is sent again under it, and a receiver that has it already
drops it.
"""

import base64
import binascii
import hashlib
import hmac
import math
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit

import msgspec

from service.adapters.addresses import may_reach, networks
from service.adapters.http_post import Answer, Request, judge, post
from service.core import money
from service.core.notices import Notice
from service.core.phrases import TARGET, clean, is_web_address
from service.core.ports import Outcome, Refused, Retry, Sent
from service.core.secret import Secret
from service.core.wording import plain_text

SCHEMA_VERSION: Final = 1
LONGEST_TEXT: Final = 4000
# A body that is no good today will be none tomorrow, and 410 is how the specification says stop.
_FOR_GOOD: Final = frozenset({400, 405, 410, 413, 414, 415, 422})


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a webhook goes, and what signs it. While a secret is changed, both sign."""

    url: Secret
    secret: Secret
    old_secret: Secret | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be called or does not protect."""
        if not is_web_address(self.url.reveal()):
            raise ValueError("url is not an http or https address")
        for secret in self.secrets:
            _key(secret)

    @property
    def secrets(self) -> list[Secret]:
        """Return what signs, the newest first."""
        return [self.secret] + ([] if self.old_secret is None else [self.old_secret])


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`to` names endpoints; `webhook:NAME` reaches one.

    An endpoint must be public and https, unless its address is in `allowed_networks`.
    """

    to: dict[Annotated[str, msgspec.Meta(pattern=TARGET)], Endpoint]
    allowed_networks: list[str] = []
    ca_file: str | None = None
    public_url: str | None = None
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10

    def __post_init__(self) -> None:
        """Refuse networks that are none."""
        networks(self.allowed_networks)
        if math.isnan(self.timeout_seconds):
            raise ValueError("timeout_seconds is not a number")
        if self.public_url is not None and not is_web_address(self.public_url):
            raise ValueError("public_url is not an http or https address")


class Webhook:
    """Serves the destinations `webhook:NAME`, by the names under `to`."""

    Settings: ClassVar = WebhookSettings

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._allowed = networks(settings.allowed_networks)
        self._tls = ssl.create_default_context()
        if settings.ca_file is not None:
            self._tls.load_verify_locations(settings.ca_file)

    @staticmethod
    def reaches(target: str) -> bool:
        """Take a name as the config has it."""
        return re.fullmatch(TARGET, target) is not None

    async def send(self, notice: Notice, ref: Mapping[str, str] | None) -> Outcome:  # noqa: ARG002  a port
        """Send a notice of any kind; the receiver tells by `type` and `seq` what it is."""
        endpoint = self._settings.to.get(notice.destination.partition(":")[2])
        if endpoint is None:
            return Refused("no such name under [notifiers.webhook.to]")
        url, body = endpoint.url.reveal(), body_of(notice, self._settings.public_url)
        is_secret = urlsplit(url).scheme == "https"
        answer = await post(
            Request(
                url=url,
                body=body,
                headers=headers_of(notice.delivery_id, datetime.now(UTC), body, endpoint.secrets),
                timeout_seconds=self._settings.timeout_seconds,
                tls=self._tls,
                may_reach=lambda address: may_reach(address, self._allowed, is_secret=is_secret),
            )
        )
        if not isinstance(answer, Answer):
            return answer
        if answer.status in _FOR_GOOD:
            return Refused(f"it refused the webhook for good (status {answer.status})")
        return judge(answer) or Sent({"webhook_id": notice.delivery_id})

    async def find(self, notice: Notice, ref: Mapping[str, str] | None = None) -> Outcome:  # noqa: ARG002  a port
        """Ask for the webhook to be sent again: a receiver knows it by its id."""
        return Retry("the webhook goes again under the same webhook-id")

    async def close(self) -> None:
        """Do nothing: every webhook has a connection of its own."""


def body_of(notice: Notice, public_url: str | None = None) -> bytes:
    """Write a notice as JSON: money as decimal strings, times with Z, every text in plain words.

    Without the chart, whose series the API has.
    """
    told = msgspec.to_builtins(
        msgspec.structs.replace(notice, chart=None), builtin_types=(Decimal,)
    )
    del told["chart"]
    data = _plain(told) | {"text": plain_text(notice)}
    if public_url is not None:
        data["url"] = f"{public_url.rstrip('/')}/incidents/{notice.incident_id}"
    return msgspec.json.encode(
        {
            "type": f"notice.{notice.action}",
            "timestamp": told["at"],
            "schema_version": SCHEMA_VERSION,
            "data": data,
        }
    )


def headers_of(webhook_id: str, at: datetime, body: bytes, secrets: list[Secret]) -> dict[str, str]:
    """Sign a body: one `v1` signature for every secret, apart by blanks."""
    timestamp = str(int(at.timestamp()))
    content = b".".join((webhook_id.encode(), timestamp.encode(), body))
    macs = [hmac.digest(_key(secret), content, hashlib.sha256) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "Spendwatch",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs),
    }


def _key(secret: Secret) -> bytes:
    """Return the key of a secret as the specification writes it: `whsec_` and 24 to 64 bytes."""
    text = secret.reveal()
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValueError("a secret is whsec_ and 24 to 64 bytes in base64")
    return key


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, str):
        return clean(value, LONGEST_TEXT)
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value
