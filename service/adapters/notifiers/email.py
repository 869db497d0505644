"""E-mail: one conversation per incident and address, over TLS that is never optional by accident.

A mail cannot be edited, so that only posts and lines of a thread are mailed. It cannot be looked
for either: a mail whose fate is unknown is sent again under the same Message-ID. Most mailboxes
show such a mail once, but a mail may be seen twice where no other notice may.
"""

import asyncio
import math
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from typing import Annotated, ClassVar, Final, Literal

import aiosmtplib
import msgspec

from service.adapters.charts import picture_of
from service.adapters.mail_message import message_of
from service.core.notices import Notice
from service.core.phrases import is_host, is_web_address
from service.core.ports import Outcome, Refused, Retry, Sent, Unknown
from service.core.secret import Secret

_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}


class EmailSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How mail leaves. `tls` is `starttls` or `tls`; `none` sends in the clear, without password.

    `port` follows from `tls`; `ca_file` is for a server with a private certificate authority.
    `public_url` and `link_key` are the page's: with both, its reader can act from a mail.
    """

    host: str
    sender: str
    tls: Literal["starttls", "tls", "none"] = "starttls"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    username: str | None = None
    password: Secret | None = None
    ca_file: str | None = None
    public_url: str | None = None
    link_key: Secret | None = None
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 20

    def __post_init__(self) -> None:
        """Refuse what could only fail later, or give a password away."""
        if _address(self.sender) is None:
            message = f"sender {self.sender!r} is not a mail address"
            raise ValueError(message)
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        if self.tls == "none" and self.password is not None:
            raise ValueError('a password is not sent in the clear: set tls to "starttls" or "tls"')
        if not is_host(self.host):
            raise ValueError("host is neither a name nor an address")
        if math.isnan(self.timeout_seconds):
            raise ValueError("timeout_seconds is not a number")
        if self.public_url is not None and not is_web_address(self.public_url):
            raise ValueError("public_url is not an http or https address")


class Email:
    """Serves the destinations `email:someone@example.com`."""

    Settings: ClassVar = EmailSettings

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._tls = None if settings.tls == "none" else ssl.create_default_context()
        if self._tls is not None and settings.ca_file is not None:
            self._tls.load_verify_locations(settings.ca_file)

    @staticmethod
    def reaches(target: str) -> bool:
        """Take an address in ASCII."""
        return _address(target) is not None

    async def send(self, notice: Notice, ref: Mapping[str, str] | None) -> Outcome:
        """Mail a post or a line of the thread. An edit is not mailed, and its `ref` says so."""
        if notice.action == "edit":
            return Sent({**(ref or {}), "mailed": "no"})
        recipient = _address(notice.destination.partition(":")[2])
        sender = _address(self._settings.sender)
        if recipient is None or sender is None:
            return Refused("the destination is not a mail address in ASCII")
        message = message_of(
            notice,
            sender=sender,
            recipient=recipient,
            at=datetime.now(UTC),
            picture=await asyncio.to_thread(picture_of, notice),
            public_url=self._settings.public_url,
            link_key=self._settings.link_key,
        )
        trouble = await self._transmit(bytes(message), sender.addr_spec, recipient.addr_spec)
        return trouble or Sent({"message_id": str(message["Message-ID"]), "mailed": "yes"})

    async def find(self, notice: Notice, ref: Mapping[str, str] | None = None) -> Outcome:  # noqa: ARG002  a port
        """Ask for the mail to be sent again: no mailbox can be asked whether it has it."""
        return Retry("mail cannot be looked for; it goes again under the same Message-ID")

    async def close(self) -> None:
        """Do nothing: every mail has a connection of its own."""

    async def _transmit(self, content: bytes, sender: str, recipient: str) -> Outcome | None:
        """Hand a mail to the server; None when it took it.

        Up to DATA a broken connection is certainly no delivery; from there on no one can tell.
        """
        client = self._client()
        try:
            await client.connect()
            await client.mail(sender, encoding="ascii")
            await client.rcpt(recipient, encoding="ascii")
        except (aiosmtplib.SMTPException, OSError) as error:
            client.close()
            return _verdict(error, Retry(f"cannot reach the mail server ({type(error).__name__})"))
        try:
            await client.data(content)
        except (aiosmtplib.SMTPException, OSError) as error:
            client.close()
            return _verdict(error, Unknown(f"no answer to the mail ({type(error).__name__})"))
        await _leave(client)
        return None

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port or _PORTS[settings.tls],
            username=settings.username,
            password=None if settings.password is None else settings.password.reveal(),
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            tls_context=self._tls,
            timeout=settings.timeout_seconds,
        )


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Say goodbye; the mail is taken, so that it does not matter how this ends."""
    try:
        await client.quit()
    except (aiosmtplib.SMTPException, OSError):
        client.close()


def _verdict(error: Exception, otherwise: Outcome) -> Outcome:
    """Judge by the server's code (RFC 5321 §4.2.1): 4yz may be repeated, 5yz may not."""
    code = getattr(error, "code", None)
    if isinstance(error, aiosmtplib.SMTPAuthenticationError) and code is not None and code >= 500:
        return Refused(f"the mail server refused the log-in ({code}): check username and password")
    if isinstance(error, aiosmtplib.SMTPNotSupported) or "STARTTLS" in str(error):
        return Refused(
            "the mail server lacks STARTTLS or log-in, and mail is not sent in the clear"
        )
    if isinstance(code, int) and 500 <= code < 600:
        return Refused(f"the mail server refused it for good ({code})")
    if isinstance(code, int) and 400 <= code < 500:
        return Retry(f"the mail server asks to try later ({code})")
    return otherwise


def _address(text: str) -> Address | None:
    """Return a plain address in ASCII with a domain, or None."""
    try:
        address = Address(addr_spec=text)
    except (ValueError, IndexError, MessageError):
        return None
    return address if text.isascii() and text.isprintable() and address.domain else None
