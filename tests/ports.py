"""Ports for servers of tests that are told theirs before they listen."""

import random
import socket
from contextlib import suppress

PORTS = (12_000, 32_000)  # below Linux's ip_local_port_range
_CHANCE = random.SystemRandom()  # what a test seeds would be the same in each worker


def free_port():
    """Return a port on which nobody listens, and which the system gives to nobody.

    Those that it gives out are taken by another test's server, or the near end of a connection,
    before who was told of one listens there, or while who is started again there is away.
    """
    while True:
        port = _CHANCE.randrange(*PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
