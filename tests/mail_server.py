"""A real mail server for tests: aiosmtpd in the test's own event loop, with faults."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import default

import trustme
from aiosmtpd.smtp import SMTP, AuthResult


class Mailbox:
    """What arrived, and what the server answers instead of taking it."""

    def __init__(self):
        self.mails = []
        self.peers = []
        self.rcpt_reply = None
        self.data_reply = None
        self.drops_at_rcpt = False
        self.drops_after_data = False
        self.data_seconds = 0.0

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if self.drops_at_rcpt:
            server.transport.abort()
        if self.rcpt_reply is not None:
            return self.rcpt_reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.data_reply is not None:
            return self.data_reply
        is_secret = server.transport.get_extra_info("sslcontext") is not None
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        self.peers.append((is_secret, envelope.mail_from, envelope.rcpt_tos))
        if self.drops_after_data:
            server.transport.abort()
        await asyncio.sleep(self.data_seconds)
        return "250 OK"


class Authority:
    """A certificate authority of the test's own, with its certificate in a file."""

    def __init__(self, folder):
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def server_context(self, *names):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return context


@asynccontextmanager
async def serve_mail(mailbox, *, starttls=None, tls=None, password=None):
    """Serve on a free port of loopback; yields the port. With `password`, a log-in is needed."""

    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=data.password.decode() == password, handled=False)

    def protocol():
        return SMTP(
            mailbox,
            hostname="localhost",
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=authenticate if password is not None else None,
            auth_required=password is not None,
            auth_require_tls=tls is None,
            loop=asyncio.get_running_loop(),
        )

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
