"""Checkpoints on a real disk: restored by another process, torn and foreign ones refused."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from service.adapters.checkpoints import Checkpoints
from service.core.state import Chunk, StateError
from tests.unit.test_state import batches, build, step, uncut

ROOT = Path(__file__).parents[2]
GOES_ON = """
import sys
from pathlib import Path
from service.adapters.checkpoints import Checkpoints
from tests.unit.test_state import batches, build, step
checkpoint = next(Checkpoints(Path(sys.argv[1])).newest_first())
pipeline = build()
with checkpoint.open() as saved:
    assert pipeline.restore(saved) == []
for offset in range(pipeline.offset, len(batches())):
    sys.stdout.buffer.write(step(pipeline, offset) + b"\\n")
"""


def test_another_process_goes_on_where_a_checkpoint_was_taken(tmp_path):
    checkpoints, pipeline, done = Checkpoints(tmp_path), build(), 0
    for cut in sorted(np.random.default_rng().integers(1, len(batches()), 5).tolist()):
        for offset in range(done, cut):
            step(pipeline, offset)
        checkpoints.save(pipeline.offset, pipeline.save)
        done = cut
    run = subprocess.run(
        [sys.executable, "-c", GOES_ON, tmp_path], capture_output=True, cwd=ROOT, check=True,
        timeout=100,
    )  # fmt: skip
    assert run.stdout.splitlines() == uncut()[done:], f"cut at {done}"


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints, at 100 and 140."""
    checkpoints, pipeline = Checkpoints(tmp_path), build()
    for offset in range(140):
        if offset == 100:
            checkpoints.save(pipeline.offset, pipeline.save)
        step(pipeline, offset)
    checkpoints.save(pipeline.offset, pipeline.save)
    return tmp_path


def usable(folder):
    """Return the offsets of what can be restored whole, newest first, and why others cannot."""
    checkpoints, found, why = Checkpoints(folder), [], []
    for checkpoint in checkpoints.newest_first():
        with checkpoint.open() as saved:
            try:
                build().restore(saved)
            except StateError as error:
                why.append(str(error))
            else:
                found.append(checkpoint.offset)
    return found, checkpoints.notes + why


def test_two_checkpoints_are_kept_and_the_log_is_needed_from_the_older(folder):
    assert usable(folder) == ([140, 100], [])
    assert Checkpoints(folder).needed_from() == 100


def newest(folder, pattern):
    return max(folder.glob(pattern))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda f: newest(f, "segment-*").write_bytes(b""), "torn at byte"),
        (
            lambda f: newest(f, "segment-*").write_bytes(newest(f, "segment-*").read_bytes()[:-1]),
            "torn at byte",
        ),
        (lambda f: newest(f, "segment-*").unlink(), "No such file"),
        (lambda f: newest(f, "manifest-*").write_bytes(b"00000000\n{}\n"), "manifest is torn"),
        (
            lambda f: newest(f, "manifest-*").write_bytes(
                newest(f, "manifest-*").read_bytes()[:-200]
            ),
            "manifest is torn",
        ),
        (
            lambda f: newest(f, "manifest-*").write_bytes(b'd9116839\n{"version":99}\n'),
            "version 99",
        ),
        (lambda f: newest(f, "manifest-*").write_bytes(b'561bacaf\n{"a":1}\n'), "none of ours"),
    ],
)
def test_what_is_torn_or_foreign_is_refused_and_the_one_before_is_used(folder, spoil, why):
    spoil(folder)
    found, notes = usable(folder)
    assert found == [100]
    (note,) = notes
    assert why in note
    assert "\n" not in note


def test_a_flipped_bit_anywhere_in_the_newest_segment_is_seen(folder):
    segment = newest(folder, "segment-*")
    data = bytearray(segment.read_bytes())
    for at in np.random.default_rng().integers(0, len(data), 5).tolist():
        data[at] ^= 1
        segment.write_bytes(data)
        assert usable(folder)[0] == [100], f"byte {at}"
        data[at] ^= 1


def test_what_was_restored_needs_its_files_no_more(folder):
    pipeline = build()
    with next(Checkpoints(folder).newest_first()).open() as saved:
        pipeline.restore(saved)
    for path in folder.iterdir():
        path.unlink()
    for offset in range(140, 150):
        assert step(pipeline, offset) == uncut()[offset]


def test_a_save_that_fails_half_way_leaves_what_was_saved_before(folder):
    checkpoints = Checkpoints(folder)
    checkpoint = next(checkpoints.newest_first())
    pipeline = build()
    with checkpoint.open() as saved:
        pipeline.restore(saved)
    checkpoints.go_on_from(checkpoint, saved)

    def fails(streams):
        yield from pipeline.save(streams)
        raise OSError(28, "No space left on device")

    step(pipeline, 140)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(pipeline.offset, fails)
    assert usable(folder)[0] == [140, 100]
    checkpoints.save(pipeline.offset, pipeline.save)
    assert usable(folder)[0] == [141, 140]
    assert not list(folder.glob("*.part"))


def test_what_nothing_needs_is_removed_and_what_is_live_is_carried_on(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for turn in range(40):
        chunks = [Chunk(f"s{turn % 7}", True, bytes([turn]) * 50_000)]
        if turn == 0:
            chunks.append(Chunk("fixed", True, b"x" * 1000))
        checkpoints.save(turn, lambda _, chunks=chunks: chunks)
    checkpoint = next(checkpoints.newest_first())
    with checkpoint.open() as saved:
        assert bytes(saved.chunks("fixed")[0]) == b"x" * 1000
        assert {bytes(saved.chunks(f"s{n}")[0])[:1] for n in range(7)} == {
            bytes([turn]) for turn in range(33, 40)
        }
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 12 * 50_000
    assert msgspec.json.decode(newest(tmp_path, "manifest-*").read_bytes().splitlines()[1])


def test_what_a_crash_left_half_written_is_removed_by_the_next_save(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)

    def cut_off(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as power:
        power.setattr("pathlib.Path.replace", cut_off)
        with pytest.raises(OSError, match="Input/output"):
            checkpoints.save(1, lambda _: [Chunk("a", True, b"x")])
    assert list(tmp_path.glob("manifest-*.part"))
    for offset in (2, 3):
        checkpoints.save(offset, lambda _: [Chunk("a", True, b"x")])
    assert not list(tmp_path.glob("*.part"))
    assert [checkpoint.offset for checkpoint in checkpoints.newest_first()] == [3, 2]
