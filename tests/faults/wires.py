"""Lines that fail: small TCP proxies on 127.0.0.1 between some of the crew and what they talk to.

As on a network, what a client has sent and then closed may arrive once the line is whole again, and
what it takes back by a reset does not.
"""

import asyncio
import random
import socket
import struct
import threading
from contextlib import suppress

CHUNK = 64 * 1024
MODES = ("cut", "silent", "deaf", "slow")
SLOWEST_SECONDS = 0.4
RESETS = 0.02  # the share of pieces on a slow line after which it breaks
KEPT = 0.5


class Wire:
    """One line to `target`, a port. Its `mode` is "whole", or what is wrong with it.

    cut: connections are reset, also those that come. silent: they are taken, and nothing passes
    either way. deaf: requests pass and answers do not. slow: all is late, and a line breaks now and
    then.
    """

    def __init__(self, target, chance, kept):
        self._target, self._chance, self._kept = target, chance, kept
        self._mode, self._changed = "whole", asyncio.Event()
        self._lines = set()
        self.resets = 0
        # Bound at once: who is behind it must know its port before it runs.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._socket.getsockname()[1]

    async def serve(self):
        return await asyncio.start_server(self._join, sock=self._socket, limit=CHUNK)

    def turn(self, mode):
        """Change what is wrong; in the loop's thread."""
        held, self._mode = self._mode in ("silent", "deaf"), mode
        if mode == "cut":
            self._break(self._lines)
        elif held and mode == "whole":
            self._break([one for one in self._lines if self._chance.random() >= self._kept])
        self._changed.set()
        self._changed = asyncio.Event()

    def _break(self, lines):
        for writers in list(lines):
            self.resets += 1
            for writer in writers:
                _reset(writer)

    async def _join(self, reader, writer):
        if self._mode == "cut":
            self._break([(writer,)])
            return
        joining = (writer,)
        self._lines.add(joining)
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target, limit=CHUNK)
        except OSError:
            _reset(writer)
            return
        finally:
            self._lines.discard(joining)
        if writer.is_closing():  # broken while it joined
            _reset(to_there)
            return
        line = (writer, to_there)
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, to_there, ("silent",)))
                both.create_task(self._pass(there, writer, ("silent", "deaf")))
        except* OSError:  # a reset of either side is one of both
            self._break([line])
        finally:
            self._lines.discard(line)
            for one in line:
                one.close()

    async def _pass(self, reader, writer, held_in):
        """Move bytes one way; what a client that has reset the line had sent is not delivered."""
        while True:
            piece = await reader.read(CHUNK)
            while self._mode in held_in:
                await self._changed.wait()
            if self._mode == "slow":
                await asyncio.sleep(self._chance.uniform(0, SLOWEST_SECONDS))
                if self._chance.random() < RESETS:
                    raise ConnectionResetError
            if isinstance(reader.exception(), OSError):
                raise reader.exception()
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()


class Wires:
    """Lines by name, within a `with` block: `ports` says which port stands before which.

    Of what was held back, the share of `kept` arrives once a line is whole, and the rest is reset.
    """

    def __init__(self, targets, chance, kept=KEPT):
        seeds = {name: random.Random(chance.random()) for name in targets}  # noqa: S311 - no secret
        self._wires = {name: Wire(port, seeds[name], kept) for name, port in targets.items()}
        self._servers = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def ports(self):
        return {name: wire.port for name, wire in self._wires.items()}

    @property
    def resets(self):
        return sum(wire.resets for wire in self._wires.values())

    def __enter__(self):
        self._thread.start()
        for wire in self._wires.values():
            self._servers.append(self._do(wire.serve()))
        return self

    def __exit__(self, *_):
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def turn(self, name, mode):
        """Let one line be "whole", or one of MODES."""

        async def turned():
            self._wires[name].turn(mode)

        self._do(turned())

    def _do(self, what):
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _end(self):
        for server, wire in zip(self._servers, self._wires.values(), strict=True):
            server.close()
            wire.turn("cut")
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)


def _reset(writer):
    """Close with RST: nothing that waits is delivered."""
    found = writer.get_extra_info("socket")
    if found is not None:
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
