"""One machine's threads: when one of them ends, the page says so."""

import threading
import time

import httpx

from service.adapters.history import History
from service.config import ApiSettings, Settings
from service.entrypoints.machine import Machine, Parts
from service.telemetry import Metrics


def status(address):
    return httpx.get(f"{address}/v1/status").json()


def test_a_sender_that_ended_is_said_by_the_status(store, tmp_path):
    class Broken:
        def __getattr__(self, name):
            return getattr(store, name)

        def claim(self, now, lease):
            raise ZeroDivisionError

    history = History(tmp_path / "history")
    parts = Parts(Settings(api=ApiSettings(port=0)), Broken(), history, Metrics("test"), {})
    with Machine(parts, threading.Event()).serving() as address:
        for _ in range(100):
            found = status(address)
            if found["state"] != "ok":
                break
            time.sleep(0.05)
    history.close()
    assert found["state"] == "degraded"
    assert found["reasons"] == ["The sender has ended: no notice is sent until a restart."]
