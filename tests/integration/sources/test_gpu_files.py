"""What nvidia-smi prints and what an exporter says, kept as files."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.reading import read

SAMPLES = Path(__file__).parents[2] / "data" / "sources"
AT = datetime(2026, 3, 4, 10, tzinfo=UTC)
HEADER = "timestamp, uuid, name, utilization.gpu [%], memory.used [MiB], power.draw [W]"


def smi(tmp_path, *lines, header=HEADER, name="gpu-7.csv"):
    path = tmp_path / name
    path.write_text("\n".join((header, *lines)) + "\n")
    return read(path)


def row(util="97 %", used="131 MiB", watts="68.51 W", at="2026/03/04 10:00:00.000", uuid="GPU-1"):
    return f"{at}, {uuid}, NVIDIA H100, {util}, {used}, {watts}"


def test_what_nvidia_smi_prints_is_one_sample_a_row():
    result = read(SAMPLES / "nvidia_smi.csv")
    idle, busy, cut, desktop = result.events
    assert (idle.utilization, idle.power_watts, idle.memory_used_bytes) == (0.0, 69.51, 4 << 20)
    assert (busy.utilization, busy.encoder_utilization, busy.model) == (
        0.97, 0.0, "NVIDIA H100 80GB HBM3",
    )  # fmt: skip
    assert (cut.utilization, cut.power_watts) == (None, 120.4)
    assert (desktop.utilization, desktop.power_watts) == (0.03, None)
    assert str(idle.timestamp) == "2026-03-04 10:00:00.123000+00:00"
    assert {event.hostname for event in result.events} == {"nvidia_smi"}


def test_units_make_no_difference(tmp_path):
    with_units = smi(tmp_path, row())
    without = smi(tmp_path, row("97", "131", "68.51"))
    assert with_units.events == without.events != []


@pytest.mark.parametrize(
    "text", ["[N/A]", "[Not Supported]", "[Unknown Error]", "[Insufficient Permissions]", "N/A", ""]
)
def test_pitfall_25_what_a_gpu_cannot_say_is_unknown_and_no_zero(tmp_path, text):
    [event] = smi(tmp_path, row(text, text, text)).events
    assert (event.utilization, event.memory_used_bytes, event.power_watts) == (None, None, None)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("many %"), "'many %' is not a reading"),
        (row(at="today"), "timestamp 'today' is not a time"),
        (row(uuid="[N/A]"), "the uuid is not known"),
    ],
)
def test_a_bad_row_costs_itself_alone(tmp_path, bad, reason):
    result = smi(tmp_path, row(uuid="GPU-1"), bad, row(uuid="GPU-2"))
    assert [event.gpu_uuid for event in result.events] == ["GPU-1", "GPU-2"]
    assert [(item.row, item.reason) for item in result.rejected] == [(3, reason)]


def test_a_percentage_that_cannot_be_is_unknown(tmp_path):
    assert smi(tmp_path, row("101 %")).events[0].utilization is None


def test_a_header_in_the_middle_is_no_row(tmp_path):
    result = smi(tmp_path, row(), HEADER, row(uuid="GPU-2"))
    assert (len(result.events), result.rejected) == (2, [])


def test_fields_of_other_names_do_no_harm(tmp_path):
    header = "timestamp, index, gpu_uuid, gpu_name, utilization.gpu [%], some.new.field [zz]"
    result = smi(tmp_path, "2026/03/04 10:00:00, 0, GPU-1, H100, 5 %, [zz]", header=header)
    [event] = result.events
    assert (event.gpu_uuid, event.model, event.utilization) == ("GPU-1", "H100", 0.05)


@pytest.mark.parametrize("name", ["gpu-7.csv", "gpu-7__2026-03-04.csv"])
def test_the_host_is_in_the_files_name_and_the_config_says_what_it_is_on_the_bill(tmp_path, name):
    path = tmp_path / name
    path.write_text(f"{HEADER}\n{row()}\n")
    hosts = {"gpu-7": {"resource_id": "i-0123", "instance_type": "p5.48xlarge"}}
    [event] = read(path, hosts=hosts).events
    assert (event.hostname, event.resource_id, event.instance_type) == (
        "gpu-7", "i-0123", "p5.48xlarge",
    )  # fmt: skip


def test_without_a_uuid_the_query_is_told_what_to_add(tmp_path):
    header = "timestamp, name, utilization.gpu [%]"
    result = smi(tmp_path, "2026/03/04 10:00:00, H100, 5 %", header=header)
    assert result.reasons == ["the header has no uuid: add it to the query"]


def test_a_scrape_is_of_the_time_in_its_name(tmp_path):
    [scrape] = SAMPLES.glob("dcgm.*")
    result = read(scrape)
    assert len(result.events) == 3
    assert {event.timestamp for event in result.events} == {AT}
    assert {event.hostname for event in result.events} == {"424773df46e0"}


def test_a_scrape_without_a_time_in_its_name_is_of_when_it_was_written(tmp_path):
    [scrape] = SAMPLES.glob("dcgm.*")
    path = tmp_path / "node-1.prom"
    path.write_bytes(scrape.read_bytes())
    os.utime(path, (AT.timestamp(), AT.timestamp()))
    assert {event.timestamp for event in read(path).events} == {AT}


def test_a_scrape_that_is_cut_is_not_believed(tmp_path):
    [scrape] = SAMPLES.glob("dcgm.*")
    path = tmp_path / "node-1.prom"
    path.write_bytes(scrape.read_bytes()[:-30])
    result = read(path)
    assert result.events == []
    assert "not an exporter's text" in result.reasons[0]
