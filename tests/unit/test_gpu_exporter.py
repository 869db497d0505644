"""What an exporter's text says, from a real scrape and the variants of its labels."""

import contextlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.gpu.exporter import samples_of
from service.core.events import GpuSample
from tests.factories import NOW

T4 = (Path(__file__).parents[1] / "data" / "dcgm" / "t4_idle.prom").read_text()
UUID = "GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e"


def scrape(*lines):
    return samples_of("\n".join(lines) + "\n", NOW, "node-1")


def line(value, name="DCGM_FI_DEV_GPU_UTIL", **labels):
    named = {"UUID": "GPU-1", "Hostname": "n1"} | labels
    text = ",".join(f'{key}="{text}"' for key, text in named.items() if text is not None)
    return f"{name}{{{text}}} {value}"


def test_a_real_scrape_of_an_idle_t4_is_one_sample():
    (sample,) = samples_of(T4, NOW, "node-1")
    assert sample.gpu_uuid == UUID
    assert (sample.hostname, sample.model) == ("424773df46e0", "Tesla T4")
    assert (sample.utilization, sample.memory_used_bytes, sample.xid) == (0.0, 0.0, 0)
    assert sample.power_watts == 8.969
    assert sample.engine_active is None
    assert sample.timestamp == NOW


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UUID=", "uuid="),
        ("Hostname=", "hostname="),
        ('device="nvidia0",', 'device="nvidia0",pod="",'),
    ],
)
def test_labels_that_were_renamed_mean_the_same(old, new):
    (sample,) = samples_of(T4.replace(old, new), NOW, "node-1")
    assert (sample.gpu_uuid, sample.hostname) == (UUID, "424773df46e0")


@pytest.mark.parametrize(
    ("pod", "namespace", "container"),
    [
        ("pod", "namespace", "container"),
        ("pod_name", "pod_namespace", "container_name"),
        ("exported_pod", "exported_namespace", "exported_container"),
    ],
)
def test_who_holds_a_gpu_is_read_however_prometheus_renamed_it(pod, namespace, container):
    (sample,) = scrape(line(37, **{pod: "train-0", namespace: "ml", container: "main"}))
    assert (sample.pod, sample.namespace, sample.container) == ("train-0", "ml", "main")
    assert sample.utilization == 0.37


def test_what_prometheus_exported_wins_over_the_pod_of_the_exporter_itself():
    (sample,) = scrape(line(1, pod="dcgm-exporter-x", exported_pod="train-0"))
    assert sample.pod == "train-0"


def test_a_gpu_without_a_pod_is_not_a_gpu_of_which_nobody_knows_the_pod():
    assert scrape(line(1, pod=""))[0].pod == ""
    assert scrape(line(1))[0].pod is None


def test_a_mig_gpu_is_its_instances_and_nothing_beside():
    active = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
    samples = scrape(
        line(61, name="DCGM_FI_DEV_POWER_USAGE"),
        line(0.25, name=active, GPU_I_ID="7", GPU_I_PROFILE="1g.10gb"),
        line(0.5, name=active, GPU_I_ID="11", GPU_I_PROFILE="2g.20gb"),
        line(2048, name="DCGM_FI_DEV_FB_USED", GPU_I_ID="7"),
    )
    assert {s.gpu_instance_id: s.engine_active for s in samples} == {"7": 0.25, "11": 0.5}
    assert [s.memory_used_bytes for s in samples if s.gpu_instance_id == "7"] == [2**31]
    assert all(s.utilization is None for s in samples)


@pytest.mark.parametrize(
    "blank", ["9223372036854775794", "140737488355328.0", "2147483632", "NaN", "-1", "101"]
)
def test_a_blank_or_impossible_reading_is_unknown(blank):
    assert scrape(line(blank))[0].utilization is None


def test_a_gpu_that_pods_share_is_one_sample_of_the_first_of_them():
    samples = scrape(line(80, pod="b", namespace="x"), line(80, pod="a", namespace="y"))
    assert [(s.pod, s.namespace, s.utilization) for s in samples] == [("a", "y", 0.8)]


def test_a_host_that_is_not_named_is_the_one_that_was_asked():
    assert scrape(line(1, Hostname=None))[0].hostname == "node-1"


def test_other_metrics_and_lines_without_a_gpu_are_no_samples():
    assert scrape("go_goroutines 12", line(1, UUID=None, name="DCGM_FI_DEV_GPU_TEMP")) == []


@given(st.text(max_size=300))
def test_any_text_is_samples_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert isinstance(samples_of(text, NOW, "n"), list)


@given(st.floats())
@pytest.mark.parametrize(
    "name",
    ["DEV_GPU_UTIL", "DEV_XID_ERRORS", "DEV_FB_USED", "DEV_POWER_USAGE", "PROF_GR_ENGINE_ACTIVE"],
)
def test_whatever_a_sensor_says_the_sample_keeps_its_contract(name, value):
    (sample,) = scrape(line(value, name=f"DCGM_FI_{name}"))
    assert msgspec.convert(msgspec.to_builtins(sample), GpuSample, strict=False) == sample


def test_a_label_longer_than_any_name_is_refused():
    with pytest.raises(ValueError, match="length"):
        scrape(line(1, pod="x" * 5000))
