"""Every source, one line each. The first that recognises a file reads it."""

from typing import Final

from service.adapters.sources import (
    anthropic,
    aws_cur,
    azure,
    counts,
    dcgm,
    events,
    focus,
    gcp,
    gpu_samples,
    litellm,
    mlflow,
    nvidia_smi,
    oci,
    openai,
    opencost,
    token_log,
    wandb,
)
from service.adapters.sources.base import Source

SOURCES: Final[dict[str, Source]] = {
    "focus": focus.SOURCE,
    "aws_cur": aws_cur.SOURCE,
    "azure": azure.SOURCE,
    "gcp": gcp.SOURCE,
    "oci": oci.SOURCE,
    "events": events.SOURCE,
    "gpu_samples": gpu_samples.SOURCE,
    "nvidia_smi": nvidia_smi.SOURCE,
    "dcgm": dcgm.SOURCE,
    "litellm": litellm.SOURCE,
    "openai": openai.SOURCE,
    "anthropic": anthropic.SOURCE,
    "opencost": opencost.SOURCE,
    "mlflow": mlflow.SOURCE,
    "wandb": wandb.SOURCE,
    "counts": counts.SOURCE,
    "token_log": token_log.SOURCE,
}
