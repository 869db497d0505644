"""The store's clock goes its own way, whatever becomes of this machine's."""

from datetime import UTC, datetime, timedelta

from service.adapters.redis_store import RedisStore
from service.entrypoints import store_clock
from service.entrypoints.store_clock import StoreClock
from tests.ports import free_port

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def test_a_machine_whose_clock_is_put_forward_and_back_goes_on_by_the_stores(store, monkeypatch):
    clock = StoreClock(store)
    for wrong in (-HOUR, HOUR):
        monkeypatch.setattr(store_clock, "utc_now", lambda by=wrong: datetime.now(UTC) + by)
        assert abs(clock() - store.time()) < SECOND
        assert abs(StoreClock(store)() - store.time()) < SECOND


def test_while_the_store_is_away_time_goes_on(store, monkeypatch):
    clock = StoreClock(store)
    before = clock()
    monkeypatch.setattr(clock, "_store", RedisStore.connect(f"redis://127.0.0.1:{free_port()}/0"))
    monkeypatch.setattr(clock, "_look_at", 0.0)
    assert timedelta() < clock() - before < 10 * SECOND
