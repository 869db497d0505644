from datetime import timedelta
from decimal import Decimal

from service.core.ports import Changes
from service.entrypoints.api.access import ADMIN, Access
from service.entrypoints.api.pages.known import Known
from tests.factories import NOW, make_incident


def save(store, offset, *changed):
    made = [
        make_incident(incident_id=name, updated_at=NOW + timedelta(seconds=offset), **values)
        for name, values in changed
    ]
    assert store.save(Changes(previous=offset - 1, offset=offset, incidents=made)) == "saved"


def seen(rows):
    return {row.incident_id: row.state for row in rows}


def test_what_changed_is_seen_however_much_it_was(store):
    lists = Known(store)
    assert lists.rows(ADMIN) == []
    save(store, 1, *((f"i{n}", {}) for n in range(10)))
    assert len(lists.rows(ADMIN)) == 10
    save(store, 2, ("i3", {"state": "resolved"}), ("i10", {}))
    save(store, 3, ("i4", {"state": "resolved"}))
    now = seen(lists.rows(ADMIN))
    assert (len(now), now["i3"], now["i4"], now["i5"]) == (11, "resolved", "resolved", "firing")
    save(store, 4, *((f"i{n}", {"state": "resolved"}) for n in range(10)))
    assert set(seen(lists.rows(ADMIN)).values()) == {"resolved", "firing"}
    assert sum(state == "firing" for state in seen(lists.rows(ADMIN)).values()) == 1


def test_a_store_that_was_emptied_is_read_anew(store, store_admin):
    lists = Known(store)
    save(store, 1, ("old", {}))
    save(store, 2, ("old", {}))
    assert set(seen(lists.rows(ADMIN))) == {"old"}
    store_admin.flushall()
    save(store, 1, ("new", {}))
    assert set(seen(lists.rows(ADMIN))) == {"new"}


def test_a_change_that_moves_no_time_is_seen(store):
    lists = Known(store)
    save(store, 1, *((f"i{n}", {}) for n in range(9)))
    lists.rows(ADMIN)
    hushed = make_incident(
        incident_id="i0", updated_at=NOW + timedelta(seconds=1), run_rate_per_day=Decimal(7)
    )
    store.save(Changes(previous=1, offset=2, incidents=[hushed]))
    rates = {row.incident_id: row.rate for row in lists.rows(ADMIN)}
    assert (rates["i0"], len(rates)) == (7, 9)


def test_a_team_is_given_its_own(store):
    save(store, 1, ("a", {"owner": "ml"}), ("b", {"owner": "web"}))
    team = Access("t", "viewer", frozenset({"ml"}))
    assert set(seen(Known(store).rows(team))) == {"a"}
