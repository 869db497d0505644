import json

import pytest

from tests.reading import iso, read, write_ndjson


def sample(**values):
    return {"timestamp": "2024-09-18T22:00:00Z", "gpu_uuid": "GPU-1", "hostname": "n1"} | values


def one(tmp_path, **values):
    result = read(write_ndjson(tmp_path / "a.ndjson", [sample(**values)]))
    assert result.rejected == []
    return result.arrivals[0]


def test_pitfall_25_a_percentage_is_refused_and_the_reason_names_the_range(tmp_path):
    result = read(write_ndjson(tmp_path / "a.ndjson", [sample(utilization=37)]))
    assert result.reasons == ["utilization is 37, outside 0..1: it is a ratio, not a percentage"]


@pytest.mark.parametrize("name", ["utilization", "engine_active", "power_watts", "xid"])
@pytest.mark.parametrize("value", [9223372036854775794, 140737488355328.0, 2147483632, None])
def test_pitfall_25_a_sentinel_is_unknown_and_not_a_value(tmp_path, name, value):
    assert getattr(one(tmp_path, **{name: value}).event, name) is None


@pytest.mark.parametrize("value", [9223372036854775794, 140737488355328.0])
def test_pitfall_25_a_memory_sentinel_is_unknown_too(tmp_path, value):
    assert one(tmp_path, memory_used_bytes=value).event.memory_used_bytes is None


def test_pitfall_25_a_missing_sensor_is_unknown_and_a_zero_is_a_zero(tmp_path):
    assert one(tmp_path).event.utilization is None
    assert one(tmp_path, utilization=0).event.utilization == 0


def test_pitfall_25_a_slice_of_a_gpu_has_its_own_name(tmp_path):
    assert one(tmp_path, gpu_instance_id=7).event.gpu_instance_id == 7
    assert one(tmp_path, gpu_instance_id="3g.20gb").event.gpu_instance_id == "3g.20gb"


def test_an_empty_pod_is_not_an_unknown_pod(tmp_path):
    assert one(tmp_path, pod="").event.pod == ""
    assert one(tmp_path).event.pod is None


def test_in_replay_a_sample_arrives_when_it_was_taken_unless_it_says_otherwise(tmp_path):
    assert iso(one(tmp_path).arrived_at) == "2024-09-18T22:00:00Z"
    at = "2024-09-18T23:00:00Z"
    assert iso(one(tmp_path, x_ArrivedAt=at).arrived_at) == at


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"utilization": -0.1}, "utilization is -0.1, outside 0..1"),
        ({"utilization": "0.5"}, "Expected `float | null`, got `str`"),
        ({"power_watts": -1}, "Expected `float` >= 0.0"),
        ({"timestamp": "2024-09-18T22:00:00"}, "timezone"),
        ({"timestamp": "1024-09-18T22:00:00Z"}, "timestamp is outside 2000 to 2199"),
        ({"x_ArrivedAt": "1024-09-18T22:00:00Z"}, "x_ArrivedAt is outside 2000 to 2199"),
        ({"gpu_uuid": None}, "Expected `str`, got `null`"),
        ({"xid": "31"}, "Expected `int | null`, got `str`"),
        ({"tags": {"a": []}}, "Expected `bool | int | float | str | null`, got `array`"),
    ],
)
def test_a_bad_sample_is_set_aside_with_its_place_and_the_rest_is_read(tmp_path, change, reason):
    path = write_ndjson(tmp_path / "a.ndjson", [sample(), sample(**change), sample()])
    result = read(path)
    assert [(item.file, item.row) for item in result.rejected] == [(str(path), 2)]
    assert reason in result.reasons[0]
    assert len(result.events) == 2


def test_a_line_that_is_no_object_is_set_aside(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text(json.dumps(sample()) + "\n[1]\n3\n")
    assert len(read(path).rejected) == 2


def test_an_empty_name_is_no_name(tmp_path):
    event = one(tmp_path, resource_id="", region_id="", pod="").event
    assert (event.resource_id, event.region_id, event.pod) == (None, None, "")
