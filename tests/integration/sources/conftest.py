import pytest

from service.adapters.sources import SnapshotBook


@pytest.fixture
def book():
    with SnapshotBook.temporary() as book:
        yield book
