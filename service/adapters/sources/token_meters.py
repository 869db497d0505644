"""Meters of tokens on a cloud's bill: which model and which kind of token a line is of.

Amazon Bedrock: the usage types and token kinds of
https://docs.aws.amazon.com/bedrock/latest/userguide/cost-mgmt-understanding-cur-data.html, as
`USE1-Nova2.0Lite-input-tokens-cross-region-global`; models that are sold through the Marketplace
name themselves in the product, `Claude Haiku 4.5 (Amazon Bedrock Edition)`, and only the kind in
`USE1-MP:USE1_OutputTokenCount-Units`. Azure OpenAI: the meters of its retail prices, as
`gpt 4.1 mini cached Inp glbl Tokens`, whose words are cut short in several ways.
"""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

SERVICE_CATEGORY: Final = "AI and Machine Learning"
BEDROCK: Final = "Amazon Bedrock"
TOKENS: Final = "Tokens"
MODEL: Final = "model"

_REGION: Final = re.compile(r"^[A-Z]{2,4}\d{0,2}[-_]")
_KINDS: Final = (
    ("cache-write-1h", re.compile(r"cache[-_]?write[-_]?1h", re.IGNORECASE)),
    ("cache-write", re.compile(r"cache[-_]?write", re.IGNORECASE)),
    ("cache-read", re.compile(r"cache[-_]?read", re.IGNORECASE)),
    ("output", re.compile(r"output|response", re.IGNORECASE)),
    ("input", re.compile(r"input|prompt", re.IGNORECASE)),
)
_AT_TOKENS: Final = re.compile(
    r"[-_](?:mantle[-_])?(?:text[-_])?(?:(?:cache[-_](?:read|write)|input|output)[-_])+"
    r"(?:1h[-_])?tokens?(?:[-_]count)?",
    re.IGNORECASE,
)
_VARIANTS: Final = ("batch", "flex", "priority", "global", "long-context")
_EDITION: Final = re.compile(r"\s*\(Amazon Bedrock Edition\)\s*$", re.IGNORECASE)
_PER: Final = re.compile(r"(\d+)\s*([KM]?)\s*tokens", re.IGNORECASE)
_TIMES: Final = {"": 1, "K": 1000, "M": 1_000_000}
_AZURE_KINDS: Final = {
    **dict.fromkeys(("inp", "inpt", "input", "in"), "input"),
    **dict.fromkeys(("outp", "outpt", "output", "opt", "out"), "output"),
}
_AZURE_CACHED: Final = frozenset({"cached", "cchd", "ccd", "cd", "cache"})
_AZURE_DROPPED: Final = frozenset({"tokens", "token", "1k", "1m", "text", "txt", "std"})
_AZURE_PLACES: Final = {
    **dict.fromkeys(("glbl", "gl", "global"), "global"),
    **dict.fromkeys(("dz", "dzone", "dzn"), "data-zone"),
    **dict.fromkeys(("regnl", "rgnl", "regional", "reg"), ""),
    **dict.fromkeys(("batch", "btch", "bat"), "batch"),
    **dict.fromkeys(("pp", "priority"), "priority"),
}


class Meter(NamedTuple):
    """What a line meters: tokens of one kind of one model, at one of its prices.

    `sku` names all three: it holds for all regions and for as long as the model is sold.
    """

    model: str
    kind: str
    sku: str


def _meter(model: str, kind: str, variants: list[str]) -> Meter:
    name = re.sub(r"[\s_]+", "-", model.strip()).lower()
    tail = "".join(f"-{variant}" for variant in variants)
    return Meter(name, kind, f"{name}-{kind}-tokens{tail}")


@lru_cache(maxsize=4096)
def bedrock_meter(usage_type: str, product: str) -> Meter | None:
    """Read a usage type of Amazon Bedrock, None when it meters no tokens or does not say of what.

    >>> bedrock_meter("USE1-Claude4.6Opus-cache-read-input-token-count-cross-region-global", "").sku
    'claude4.6opus-cache-read-tokens-global'
    >>> bedrock_meter("USE1-MP:USE1_OutputTokenCount-Units",
    ...               "Claude Haiku 4.5 (Amazon Bedrock Edition)").sku
    'claude-haiku-4.5-output-tokens'
    >>> bedrock_meter("USE1-BoxUsage:p4d.24xlarge", "Amazon EC2") is None
    True
    """
    text = usage_type.lower().replace("_", "-")
    kind = next((kind for kind, pattern in _KINDS if pattern.search(usage_type)), None)
    if "token" not in text or kind is None:
        return None
    variants = [variant for variant in _VARIANTS if variant in text]
    if _EDITION.search(product):
        return _meter(_EDITION.sub("", product), kind, variants)
    model = _AT_TOKENS.split(_REGION.sub("", usage_type))[0]
    if not model or ":" in model or len(model) == len(_REGION.sub("", usage_type)):
        return None
    return _meter(model.removeprefix("anthropic.").removeprefix("amazon."), kind, variants)


@lru_cache(maxsize=4096)
def azure_meter(name: str) -> Meter | None:
    """Read the name of a meter of Azure OpenAI, None when it is not of tokens, or of no one kind.

    >>> azure_meter("gpt 4.1 mini cached Inp glbl Tokens").sku
    'gpt-4.1-mini-cache-read-tokens-global'
    >>> azure_meter("gpt-4o-mini-0718-Outp-regnl Tokens").sku
    'gpt-4o-mini-0718-output-tokens'
    >>> azure_meter("Provisioned Managed Global Unit") is None
    True
    """
    words = re.split(r"[\s-]+", name.strip().lower())
    if words[-1] not in ("tokens", "token"):
        return None
    kinds = [_AZURE_KINDS[word] for word in words if word in _AZURE_KINDS]
    if not kinds:
        return None
    is_cached = not _AZURE_CACHED.isdisjoint(words)
    known = _AZURE_KINDS.keys() | _AZURE_CACHED | _AZURE_DROPPED | _AZURE_PLACES.keys()
    model = " ".join(word for word in words if word not in known)
    variants = sorted({_AZURE_PLACES[word] for word in words if word in _AZURE_PLACES} - {""})
    return _meter(model, "cache-read" if is_cached else kinds[0], variants) if model else None


@lru_cache(maxsize=256)
def tokens_per(unit: str) -> int | None:
    """Say how many tokens a pricing unit is; None when it does not say.

    >>> tokens_per("1K tokens"), tokens_per("1M Tokens"), tokens_per("Units")
    (1000, 1000000, None)
    """
    found = _PER.search(unit)
    return int(found[1]) * _TIMES[found[2].upper()] if found else None


def per_token(price: Decimal, tokens: int) -> Decimal:
    """Turn the price of a block of tokens into that of one: blocks are powers of ten."""
    return price.scaleb(-(len(str(tokens)) - 1))
