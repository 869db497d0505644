"""The lines that fail themselves: what passes them, what is held back, and what comes of that."""

import random
import socket
import struct
import threading

import pytest

from tests.faults.wires import Wires

RST = struct.pack("ii", 1, 0)


class Server:
    """Notes what each connection sent, once that is over, and answers every piece at once."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.heard, self.over = [], threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._hear, args=(line,), daemon=True).start()

    def _hear(self, line):
        heard = b""
        try:
            while piece := line.recv(100):
                heard += piece
                line.sendall(b"yes")
        except OSError:
            pass
        self.heard.append(heard)
        self.over.release()
        line.close()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)  # who waits in accept() would keep it open
        self._socket.close()


@pytest.fixture
def server():
    found = Server()
    yield found
    found.close()


@pytest.fixture
def kept():
    return 1.0


@pytest.fixture
def wires(server, kept):
    with Wires({"it": server.port}, random.Random(1), kept) as found:  # noqa: S311 - no secret
        yield found


def ask(wires, timeout=5):
    line = socket.create_connection(("127.0.0.1", wires.ports["it"]), timeout=timeout)
    line.sendall(b"please")
    return line


def answers(line, timeout=5):
    line.settimeout(timeout)
    try:
        return line.recv(100)
    except TimeoutError:
        return None


def test_a_whole_line_passes_both_ways(wires):
    with ask(wires) as line:
        assert answers(line) == b"yes"


def test_a_cut_line_is_reset_whether_it_was_there_or_comes(wires):
    with ask(wires) as line:
        assert answers(line) == b"yes"
        wires.turn("it", "cut")
        with pytest.raises(ConnectionResetError):
            line.recv(100)
    with pytest.raises(ConnectionResetError), ask(wires) as line:
        line.recv(100)
    wires.turn("it", "whole")
    with ask(wires) as line:
        assert answers(line) == b"yes"


def test_a_line_is_cut_too_while_what_it_leads_to_takes_no_more():
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
        Wires({"it": full.getsockname()[1]}, random.Random(1)) as wires,  # noqa: S311 - no secret
        ask(wires) as line,
    ):
        for _ in range(5):  # by then the proxy has taken it, and waits for the other side
            wires.turn("it", "whole")
        wires.turn("it", "cut")
        with pytest.raises(ConnectionResetError):
            line.recv(100)
        full.close()  # or the proxy would wait on for it


@pytest.mark.parametrize("mode", ["silent", "deaf"])
@pytest.mark.parametrize("kept", [1.0, 0.0])
def test_what_was_held_back_arrives_or_is_broken_off(wires, mode, kept):
    with ask(wires) as line:
        assert answers(line) == b"yes"
        wires.turn("it", mode)
        line.sendall(b"again")
        assert answers(line, 0.2) is None
        wires.turn("it", "whole")
        if kept:
            assert answers(line) == b"yes"
        else:
            with pytest.raises(ConnectionResetError):
                line.recv(100)


def test_a_deaf_line_lets_requests_through(wires, server):
    wires.turn("it", "deaf")
    ask(wires).close()
    assert server.over.acquire(timeout=5)
    assert server.heard == [b"please"]


@pytest.mark.parametrize(("taken_back", "heard"), [(False, b"please, now"), (True, b"please")])
def test_what_was_sent_before_a_close_arrives_late_and_before_a_reset_never(
    wires, server, taken_back, heard
):
    with ask(wires) as line:
        assert answers(line) == b"yes"
        wires.turn("it", "silent")
        line.sendall(b", now")
        if taken_back:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    for _ in range(5):  # by then the proxy has seen how the client left
        wires.turn("it", "silent")
    wires.turn("it", "whole")
    assert server.over.acquire(timeout=5)
    assert server.heard == [heard]
