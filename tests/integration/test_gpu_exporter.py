"""What an exporter answers that is none, or that goes away in the middle of its answer."""

import socket
import threading

import pytest

from service.adapters.gpu.base import ProbeError
from service.adapters.gpu.exporter import Exporter
from tests.factories import NOW

HEAD = b"HTTP/1.1 200 OK\r\n"
LINE = b'DCGM_FI_DEV_GPU_UTIL{UUID="GPU-1",Hostname="n1"} 9'


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "BadStatusLine"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n100\r\n" + LINE, "IncompleteRead"),
        (HEAD + b"Content-Length: 52\r\n\r\n" + LINE, "2 bytes are missing"),
        (HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "more than 65536 bytes"),
    ],
    ids=["another protocol", "cut chunk", "cut number", "long header"],
)
def test_what_is_no_whole_answer_is_a_failed_probe_and_no_sample(answer, why):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            peer, _ = server.accept()
            with peer:
                peer.recv(65_536)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        probe = Exporter(f"http://127.0.0.1:{server.getsockname()[1]}/metrics")
        with pytest.raises(ProbeError, match=why):
            probe(NOW)
        thread.join()
