"""What every source keeps, run over the registry: a new source is tested by its sample file."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters.sources import SOURCES, Reader, SnapshotBook
from service.adapters.sources.base import Source
from service.adapters.sources.files import look
from service.core.events import CostEvent, GpuSample, Run, flaw_of
from tests.reading import read

SAMPLES = Path(__file__).parent.parent / "data" / "sources"


def sample(name):
    [path] = SAMPLES.glob(f"{name}.*")
    return path


each_source = pytest.mark.parametrize("name", SOURCES)


@each_source
def test_a_source_reads_its_sample_to_the_last_row(name):
    result = read(sample(name))
    assert result.rejected == []
    assert len(result.events) == result.reader.read >= 3
    assert {arrival.source for arrival in result.arrivals} == {name}
    assert isinstance(SOURCES[name], Source)


@each_source
def test_a_file_is_recognised_by_one_source_only(name):
    head = look(sample(name))
    assert [other for other, source in SOURCES.items() if source.recognises(head)] == [name]


@each_source
def test_a_feed_gives_its_name_to_the_events(name):
    result = read(sample(name), feed="aws-main", source=name)
    assert {arrival.source for arrival in result.arrivals} == {"aws-main"}
    assert {key[0] for key in result.reader.totals} <= {"aws-main"}


@each_source
def test_events_have_identities_and_times_in_utc(name):
    result = read(sample(name))
    for arrival in result.arrivals:
        assert str(arrival.arrived_at.tzinfo) == "UTC"
        assert flaw_of(arrival.event) is None
        if isinstance(arrival.event, CostEvent):
            assert arrival.event.x_event_id
        else:
            assert isinstance(arrival.event, (GpuSample, Run))
    identities = [event.x_event_id for event in result.events if isinstance(event, CostEvent)]
    assert len(set(identities)) == len(identities)


@each_source
def test_the_same_file_gives_the_same_events(name):
    assert read(sample(name)).arrivals == read(sample(name)).arrivals


@each_source
def test_gzip_makes_no_difference(name, tmp_path):
    packed = tmp_path / f"{sample(name).name}.gz"
    packed.write_bytes(gzip.compress(sample(name).read_bytes()))
    assert read(packed).arrivals == read(sample(name)).arrivals


@each_source
def test_a_file_that_ends_anywhere_raises_nothing(name, tmp_path):
    whole = sample(name).read_bytes()
    packed = gzip.compress(whole)
    path = tmp_path / "cut"
    for data in (whole, packed):
        for end in range(0, len(data), 1 + len(data) // 60):
            path.write_bytes(data[:end])
            check(path, name)


def check(path, name):
    """Read a damaged file: nothing is raised, the counts add up, every refusal has a place."""
    with SnapshotBook.temporary() as book:
        rejected = []
        reader = Reader([path], snapshots=book, reject=rejected.append, source=name)
        arrivals = list(reader)
    assert reader.rejected == len(rejected) == sum(reader.reasons.values())
    assert reader.read + reader.rejected > 0
    assert len(arrivals) <= 3 * reader.read
    assert sum(total.rows for total in reader.totals.values()) in (reader.read, 0)
    for item in rejected:
        assert item.file == str(path)
        assert item.row >= 0
        assert item.reason.isprintable()
        assert len(item.raw) <= 200
    for arrival in arrivals:
        assert flaw_of(arrival.event) is None


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file"


@each_source
@settings(max_examples=120, deadline=None)
@given(data=st.binary(max_size=2000))
def test_random_bytes_raise_nothing(name, data, scratch):
    scratch.write_bytes(data)
    check(scratch, name)


tokens = st.sampled_from([
    b'"', b"'", b",", b"\n", b"\r", b"\0", b"{", b"}", b"[", b"]", b":", b"\xff", b"\xef\xbb\xbf",
    b"NaN", b"1e999", b"-1", b"null", b"9" * 400, b"2024-09-18T22:00:00", b"9999-12-31T23:59:59Z",
    b"0001-01-01T00:00:00+14:00", b"\\ud800", b"\\u0000", b"[" * 2000, b'{"a":' * 2000, b"x" * 5000,
    b"Correction", b'"x_SnapshotId":"s",', b'"x_Revision":9007199254740992,', b"\x1f\x8b", b"PAR1",
    b"BilledCost,", b"utilization", b"1e-31", b"0E+400", b"\xe2\x80\xa8",
])  # fmt: skip


@each_source
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_a_mangled_file_raises_nothing(name, data, scratch):
    mangled = bytearray(sample(name).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(mangled)))
        size = data.draw(st.integers(0, 40))
        mangled[at : at + size] = data.draw(st.one_of(tokens, st.binary(max_size=20)))
    scratch.write_bytes(bytes(mangled))
    check(scratch, name)


@each_source
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_mangled_gzip_raises_nothing(name, data, scratch):
    mangled = bytearray(gzip.compress(sample(name).read_bytes()))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(2, len(mangled) - 1))
        mangled[at] ^= data.draw(st.integers(1, 255))
    scratch.write_bytes(bytes(mangled))
    check(scratch, name)
