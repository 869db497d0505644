"""NVML: the GPUs of this machine, asked through NVIDIA's own library."""

import socket
from datetime import datetime
from typing import Any

import pynvml

from service.adapters.gpu.base import ProbeError, ratio_of, value_of
from service.core.events import GpuSample
from service.decoding import convert


class Nvml:
    """The GPUs of this machine. Called, it asks each.

    ProbeError when the driver does not answer, or with the other GPUs' samples when some do not.
    What a GPU cannot say (`not supported`) is unknown. NVML knows neither pods nor XIDs. Of a GPU
    that is cut into MIG instances it tells memory by instance, and no activity.
    """

    name = "nvml"

    def __init__(self) -> None:
        self._host = socket.gethostname()

    def __call__(self, now: datetime) -> list[GpuSample]:
        """Return one sample for each GPU, or for each MIG instance of it."""
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise ProbeError(f"nvml: {error}") from None
        samples, lost = [], []
        try:
            for number in range(pynvml.nvmlDeviceGetCount()):
                try:
                    samples += self._gpu(pynvml.nvmlDeviceGetHandleByIndex(number), now)
                except pynvml.NVMLError as error:
                    lost.append(f"GPU {number}: {error}")
        except pynvml.NVMLError as error:
            raise ProbeError(f"nvml: {error}") from None
        finally:
            pynvml.nvmlShutdown()
        if lost:
            raise ProbeError(f"nvml: {', '.join(lost)}", samples)
        return samples

    def _gpu(self, gpu: Any, now: datetime) -> list[GpuSample]:
        named = {
            "timestamp": now,
            "hostname": self._host,
            "gpu_uuid": pynvml.nvmlDeviceGetUUID(gpu),
            "model": pynvml.nvmlDeviceGetName(gpu),
        }
        mode = _asked(pynvml.nvmlDeviceGetMigMode, gpu)
        if mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            return [
                _sample(named | {"gpu_instance_id": pynvml.nvmlDeviceGetGpuInstanceId(part)}, part)
                for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu))
                if (part := _asked(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, number))
            ]
        return [_sample(named | _activity(gpu), gpu)]


def _activity(gpu: Any) -> dict[str, float | None]:
    rates = _asked(pynvml.nvmlDeviceGetUtilizationRates, gpu)
    encoder = _asked(pynvml.nvmlDeviceGetEncoderUtilization, gpu)
    decoder = _asked(pynvml.nvmlDeviceGetDecoderUtilization, gpu)
    power = _asked(pynvml.nvmlDeviceGetPowerUsage, gpu)
    return {
        "utilization": None if rates is None else ratio_of(rates.gpu, 100),
        "encoder_utilization": None if encoder is None else ratio_of(encoder[0], 100),
        "decoder_utilization": None if decoder is None else ratio_of(decoder[0], 100),
        "power_watts": None if power is None else value_of(power / 1000),
    }


def _sample(fields: dict[str, Any], part: Any) -> GpuSample:
    memory = _asked(pynvml.nvmlDeviceGetMemoryInfo, part)
    used = None if memory is None else value_of(float(memory.used))
    return convert(fields | {"memory_used_bytes": used}, GpuSample)


def _asked(ask: Any, *args: Any) -> Any:
    """Ask; None when this GPU has no answer, as older and virtual ones often have none."""
    try:
        return ask(*args)
    except (
        pynvml.NVMLError_NotSupported,
        pynvml.NVMLError_NotFound,
        pynvml.NVMLError_NoPermission,
    ):
        return None
