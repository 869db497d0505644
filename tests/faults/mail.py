"""A mail server that is busy at times, and at times breaks the line once it has a mail."""

import time
from email import message_from_bytes
from email.policy import default

from aiosmtpd.controller import Controller

from tests.ports import free_port


class MailServer:
    """Serves within a `with` block.

    `drops` is the share of mails after which the line breaks, `busy` of those it does not take.
    """

    def __init__(self, chance):
        self._chance = chance
        self._taken = []
        self.drops, self.busy = 0.3, 0.2
        self.port = free_port()
        self._server = Controller(self, hostname="127.0.0.1", port=self.port)

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop()

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        if self._chance.random() < self.busy:
            return "451 4.3.2 come back later"
        mail = message_from_bytes(envelope.content, policy=default)
        self._taken.append((time.time(), mail))
        if self._chance.random() < self.drops:
            server.transport.abort()
        return "250 OK"

    @property
    def again(self):
        """How many mails came more than once, under one name."""
        return len(self._taken) - len(self.messages)

    @property
    def messages(self):
        """What a mailbox shows that leaves out what it has, as messages of Slack."""
        found, conversations = {}, set()
        for at, mail in self._taken:
            text = mail.get_body(("plain",)).get_content()
            message = {"ts": f"{at:.6f}", "blocks": [text, mail["Subject"]]}
            if mail["Message-ID"] in found:
                continue
            if mail["In-Reply-To"] in conversations:
                message["thread_ts"] = mail["In-Reply-To"]
            conversations.add(mail["In-Reply-To"])
            found[mail["Message-ID"]] = message
        return list(found.values())
