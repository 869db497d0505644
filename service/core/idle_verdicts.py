"""Idle verdicts: what is said of GPUs that do nothing, with its money and its sentence."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec

from detectors import base
from service.core.events import TagValue
from service.core.gpus import REMEMBERED
from service.core.phrases import moment

Cause = Literal[
    "never_started",  # no work since the GPU, or the pod that holds it, appeared
    "finished",  # it worked, and what worked is gone
    "stalled",  # it worked, and a process still holds its memory
    "rank_idle",  # the others of its job work
    "unallocated",  # no pod holds it, on a node that is there for pods
    "fault",  # a hardware error came up: to be repaired, not waste
    "reserved_unused",  # a capacity reservation that no instance uses
]
Ending = Literal["", "worked", "pod", "silent", "used", "unbilled", "withdrawn"]
COMMITTED: Final = "as a commitment pays for it either way"
LONGEST_NAME: Final = 100


class IdleVerdict(msgspec.Struct, kw_only=True, frozen=True):
    """What is known of the GPUs of one instance that do nothing for one cause.

    `key`, `cause` and `since` name it for good; a later verdict of the same three replaces it.
    `since` is the start of the hour in which the first of them stopped, `started_at` the moment,
    `until` the newest sample that says so. `gpus` are UUIDs, of MIG instances `UUID/instance`;
    after the end, those that were idle last. Money is None when no price is known;
    `wasted_per_hour` is what the idle GPUs cost, `saves_per_hour` what stopping the instance saves:
    nothing while it is reserved, or while the rest of it works; None too while not all GPUs of it
    are seen. `retracted` is true when late
    samples showed work.
    """

    key: str
    cause: Cause
    since: datetime
    started_at: datetime
    until: datetime
    detected_at: datetime
    updated_at: datetime
    gpus: tuple[str, ...]
    gpu_count: int
    gpus_of_instance: int
    score: float
    hostname: str
    samples: int = 0
    idle_gpu_seconds: int = 0
    price_per_gpu_hour: Decimal | None = None
    price_source: str = ""
    wasted_per_hour: Decimal | None = None
    waste: Decimal | None = None
    saves_per_hour: Decimal | None = None
    saves_why: str = ""
    currency: str = "USD"
    ended: bool = False
    ending: Ending = ""
    retracted: bool = False
    reason: str = ""
    resource_id: str | None = None
    instance_type: str | None = None
    model: str | None = None
    provider: str | None = None
    region_id: str | None = None
    sub_account_id: str | None = None
    namespace: str | None = None
    pod: str | None = None
    container: str | None = None
    tags: Mapping[str, TagValue] | None = None


class Signs(msgspec.Struct, kw_only=True, frozen=True):
    """What a sentence needs beside the verdict: readings of the GPUs, None where unknown."""

    peak_utilization: float | None = None
    watts: float | None = None
    memory_held: bool | None = None
    working_mates: int = 0
    xid: int | None = None
    idle_pods: int = 0
    started_with_pod: bool = False


def reason_of(verdict: IdleVerdict, signs: Signs) -> str:
    """Say in plain sentences, with numbers a person can check, what is idle and what it costs."""
    if verdict.cause == "reserved_unused":
        first = f"Reserved capacity {_where(verdict)} is unused since {moment(verdict.started_at)}."
    else:
        first = f"{_subject(verdict)} since {moment(verdict.started_at)}, {_why(verdict, signs)}"
        first += f": {', '.join(_readings(verdict, signs))}."
    parts = [first, _money(verdict), _end(verdict) if verdict.ended else ""]
    return " ".join(part for part in parts if part)


def _subject(verdict: IdleVerdict) -> str:
    count, total = verdict.gpu_count, verdict.gpus_of_instance
    if any("/" in gpu for gpu in verdict.gpus):
        number, kind = f"{count}", "MIG instance"
    else:
        number, kind = (f"{count} of {total}", "GPU") if count < total else (f"{count}", "GPU")
    plural = "" if number == "1" else "s"
    verb = "has" if count == 1 else "have"
    return f"{number} {kind}{plural} of {_where(verdict)} {verb} done nothing"


def _where(verdict: IdleVerdict) -> str:
    kind = verdict.instance_type or verdict.model
    return _short(verdict.key) + (f" ({_short(kind)})" if kind else "")


def _why(verdict: IdleVerdict, signs: Signs) -> str:
    match verdict.cause:
        case "never_started":
            return _not_started(verdict, signs)
        case "finished":
            return "when the work ended"
        case "stalled":
            return "though a process is still there"
        case "rank_idle":
            mates = signs.working_mates
            others = "the other GPU" if mates == 1 else f"{mates} other GPUs"
            return f"while {others} of the job work{'s' * (mates == 1)}"
        case "unallocated":
            return "given to no pod"
        case _:
            return f"when XID {signs.xid} came up, a hardware fault to repair and not waste"


def _not_started(verdict: IdleVerdict, signs: Signs) -> str:
    if signs.started_with_pod and verdict.pod:
        return f"when pod {_short(verdict.namespace or 'default')}/{_short(verdict.pod)} came"
    if not signs.idle_pods:
        return "when first seen"
    more = " or more" if signs.idle_pods >= REMEMBERED else ""
    return f"though {signs.idle_pods}{more} pod{'s' * (signs.idle_pods > 1)} came"


def _readings(verdict: IdleVerdict, signs: Signs) -> list[str]:
    peak = signs.peak_utilization
    most = "at most " if peak else ""
    level = "no activity" if peak is None else f"utilisation {most}{peak:.0%}".replace("%", " %")
    found = [f"{level} in {verdict.samples:,} samples"]
    if signs.watts is not None:
        found.append(f"{signs.watts:.0f} W each")
    if signs.memory_held is not None:
        found.append(f"memory {'held' if signs.memory_held else 'free'}")
    return found


def _money(verdict: IdleVerdict) -> str:
    if verdict.waste is None or verdict.wasted_per_hour is None:
        return "No price is known, so no cost is shown."
    word = "paid" if verdict.cause == "fault" else "wasted"
    total = _amount(verdict.waste, verdict.currency)
    if verdict.ended:
        return f"{total} {word} ({verdict.price_source})."
    rate = _amount(verdict.wasted_per_hour, verdict.currency)
    saves = "an unknown amount"
    if verdict.saves_per_hour is not None:
        saved = verdict.saves_per_hour
        saves = f"{_amount(saved, verdict.currency)}/h" if saved else "nothing"
    verb = "releasing" if verdict.cause == "reserved_unused" else "stopping"
    why = f", {verdict.saves_why}" if verdict.saves_why else ""
    begin = f"{rate}/h {word}, {total} so far ({verdict.price_source})"
    return f"{begin}; {verb} it saves {saves}{why}."


def _amount(amount: Decimal, currency: str) -> str:
    text = base.money(float(amount), currency)
    return text if amount else text.replace("0.00", "0")


def _end(verdict: IdleVerdict) -> str:
    at = moment(verdict.until)
    match verdict.ending:
        case "withdrawn":
            return "Withdrawn: samples that came late show work."
        case "unbilled":
            return f"No longer billed from {at} on."
        case "silent":
            return f"No longer seen: no sample has come since {at}. Whether it idles on is unknown."
        case "pod":
            return f"Over at {at}: given to a new pod."
        case "used":
            return f"Over at {at}: in use."
        case _:
            return f"Over at {at}: at work again."


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
