import pytest

from tests.benchmarks.reading import CASES, make, measured

# A larger file brings larger buffers, of lines and of Parquet's row groups, up to a point.
SLACK_MIB = 24


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_reading_a_larger_file_takes_no_more_memory(name, tmp_path):
    peaks = []
    for rows in (20_000, 80_000):
        path = make(name, tmp_path, rows)
        read, _, peak = measured("ours", name, path)
        assert read == rows
        peaks.append(peak)
        path.unlink()
    assert peaks[1] - peaks[0] < SLACK_MIB
