"""Claims: what two feeds both bill is counted by one of them."""

from collections.abc import Callable, Sequence

from service.adapters.sources.book import SnapshotBook
from service.adapters.sources.snapshots import Bill, Snapshot, moment_of


def keep_apart(
    book: SnapshotBook,
    beside: Sequence[SnapshotBook],
    snapshots: Sequence[Snapshot],
    note: Callable[[str], None],
) -> None:
    """Leave out of complete snapshots what another feed bills: a sub-account in a month of usage.

    The feed that was complete first has it for good; of feeds that are read together, the one whose
    name comes first. `beside` are the books of other feeds. Rows that do not say whose bill they
    are on are never left out. Nothing is committed.
    """
    book.flush()
    doubled: list[int] = []
    told: dict[tuple[str, str, str], int] = {}
    for snapshot in sorted(snapshots, key=lambda one: one.feed):
        for bill, number in snapshot.bills.items():
            owner = _biller(book, beside, bill)
            if owner is None:
                book.claim(bill, snapshot.feed)
            elif owner != snapshot.feed:
                doubled.append(number)
                key = (snapshot.feed, owner, bill.account)
                told[key] = min(told.get(key, bill.month), bill.month)
    for (feed, owner, account), month in sorted(told.items()):
        since = f"{moment_of(month):%Y-%m}"
        note(f"{feed}: {owner} bills account {account} too, from {since} on: not counted twice")
    if doubled:
        book.drop(doubled)


def _biller(book: SnapshotBook, beside: Sequence[SnapshotBook], bill: Bill) -> str | None:
    return next((name for one in (book, *beside) if (name := one.biller(bill))), None)
