"""NVIDIA's DCGM exporter: its text in, GPU samples out.

Field names and units are DCGM's (its default counters); the names of the labels changed over the
exporter's life and with how Prometheus is set up, so that several are read for each.
"""

import urllib.request
from collections.abc import Iterator, Mapping
from datetime import datetime
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from service.adapters.gpu.base import ProbeError, ratio_of, value_of
from service.core.events import GpuSample
from service.decoding import convert

MAX_BYTES: Final = 16 * 1024 * 1024
TIMEOUT_SECONDS: Final = 10
MIB: Final = 1024 * 1024
MOST_WATTS: Final = 1e6

PERCENTAGES: Final[Mapping[str, str]] = {
    "DCGM_FI_DEV_GPU_UTIL": "utilization",
    "DCGM_FI_DEV_ENC_UTIL": "encoder_utilization",
    "DCGM_FI_DEV_DEC_UTIL": "decoder_utilization",
}
RATIOS: Final[Mapping[str, str]] = {"DCGM_FI_PROF_GR_ENGINE_ACTIVE": "engine_active"}
LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "gpu_uuid": ("UUID", "uuid"),
    "gpu_instance_id": ("GPU_I_ID",),
    "hostname": ("Hostname", "hostname"),
    "model": ("modelName",),
    "namespace": ("exported_namespace", "namespace", "pod_namespace"),
    "pod": ("exported_pod", "pod", "pod_name"),
    "container": ("exported_container", "container", "container_name"),
}


class Exporter:
    """One exporter. Called, it is scraped: the samples, or ProbeError with the reason."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._host = urlsplit(url).hostname or url

    def __call__(self, now: datetime) -> list[GpuSample]:
        """Return one sample for each GPU, or for each MIG instance of it."""
        try:
            # The scheme was checked when the settings were read.
            with urllib.request.urlopen(self.name, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                data = answer.read(MAX_BYTES + 1)
                missing = answer.length
        except (OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", None) or repr(error)
            raise ProbeError(f"{self.name}: {reason}") from None
        if len(data) > MAX_BYTES:
            raise ProbeError(f"{self.name}: says more than {MAX_BYTES} bytes")
        if missing:
            raise ProbeError(f"{self.name}: the answer was cut off, {missing} bytes are missing")
        try:
            return samples_of(data.decode(), now, self._host)
        except ValueError as error:
            raise ProbeError(f"{self.name}: not an exporter's text: {error}") from None


def samples_of(text: str, now: datetime, host: str) -> list[GpuSample]:
    """Read an exporter's text; ValueError when it is none. `host` names a host that has no label.

    A GPU that is cut into MIG instances is its instances: what is said of it as a whole is left
    out. A GPU that several pods share is one sample, of the first of them by name.
    """
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for name, labels, value in _lines(text):
        known = {field: _label(labels, names) for field, names in LABELS.items()}
        uuid = known["gpu_uuid"]
        if not uuid:
            continue
        row = found.setdefault((uuid, known["gpu_instance_id"]), {})
        if "pod" not in row or (known["pod"] or "", known["namespace"] or "") < row["_owner"]:
            row |= known | {"_owner": (known["pod"] or "", known["namespace"] or "")}
        row |= _reading(name, value)
    cut = {uuid for uuid, instance in found if instance is not None}
    return [
        _sample(row, now, host)
        for (uuid, instance), row in sorted(found.items(), key=str)
        if instance is not None or uuid not in cut
    ]


def _lines(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("DCGM_"):
                yield sample.name, sample.labels, sample.value


def _label(labels: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((labels[name] for name in names if name in labels), None)


def _reading(name: str, value: float) -> dict[str, float | int | None]:
    if name in PERCENTAGES:
        return {PERCENTAGES[name]: ratio_of(value, 100)}
    if name in RATIOS:
        return {RATIOS[name]: ratio_of(value, 1)}
    known = value_of(value)
    if name == "DCGM_FI_DEV_FB_USED":
        return {"memory_used_bytes": None if known is None else value_of(known * MIB)}
    if name == "DCGM_FI_DEV_POWER_USAGE":
        return {"power_watts": known if known is not None and known <= MOST_WATTS else None}
    if name == "DCGM_FI_DEV_XID_ERRORS":
        return {"xid": None if known is None else int(known)}
    return {}


def _sample(row: dict[str, Any], now: datetime, host: str) -> GpuSample:
    fields = {name: value for name, value in row.items() if name != "_owner" and value is not None}
    fields["hostname"] = fields.get("hostname") or host
    try:
        return convert({"timestamp": now, **fields}, GpuSample)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
