"""Holds what is said of the labelled GPU traces against what is true of them.

`python -m tests.benchmarks.detection.idle_gpu_truth` prints the truth table.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

from detectors.idle_gpu import IdleGpuColumns
from service.adapters.prices import load_prices
from service.core.idle import IdleGpus
from service.core.idle_verdicts import IdleVerdict
from tests.benchmarks.detection import plan
from tests.benchmarks.detection.idle_gpu_scenarios import SCENARIOS, Scenario, Truth
from tests.benchmarks.detection.idle_gpu_traces import T0
from tests.benchmarks.detection.page import table

BOOK = load_prices()


class Hit(NamedTuple):
    """A truth that was told: the verdict with the most GPUs, and hours from truth to word."""

    truth: Truth
    verdict: IdleVerdict
    delay: float


class Outcome(NamedTuple):
    """All verdicts on a trace, and what became of its truths."""

    verdicts: list[IdleVerdict]
    hits: list[Hit]
    missed: list[Truth]
    false: list[IdleVerdict]


def replay(scenario: Scenario) -> Iterator[IdleVerdict]:
    """Yield every verdict on a trace, as the samples arrive."""
    gpus = IdleGpus(IdleGpuColumns(), BOOK)
    feed = scenario.feed()
    gpus.hours.resources |= {cost.resource_id for cost in scenario.costs}
    for cost in scenario.costs:
        gpus.observe_cost(cost)
    for at, sample in feed:
        gpus.observe(at, sample)
        yield from gpus.advance(at)


def judged(scenario: Scenario) -> Outcome:
    """Hold what was said of each group of GPUs against the truth."""
    verdicts = list(replay(scenario))
    groups: dict[tuple[str, str, datetime], list[IdleVerdict]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.key, verdict.cause, verdict.since), []).append(verdict)
    hits, false, missed = [], [], list(scenario.truths)
    for (key, cause, _), told in groups.items():
        truth = next((t for t in missed if (t.key, t.cause) == (key, cause)), None)
        if truth is None:
            false.append(told[0])
            continue
        missed.remove(truth)
        true_from = T0 + timedelta(hours=truth.idle_from)
        delay = (told[0].detected_at - true_from) / timedelta(hours=1)
        hits.append(Hit(truth, max(told, key=lambda verdict: verdict.gpu_count), delay))
    return Outcome(verdicts, hits, missed, false)


def truth_of(scenario: Scenario) -> str:
    """Write from when which GPUs are idle, or that none is, or that nobody can know."""
    if not scenario.truths:
        return scenario.otherwise
    return "; ".join(
        f"{truth.gpus} idle from {truth.idle_from:.2f} h ({truth.cause})"
        for truth in scenario.truths
    )


def said_of(outcome: Outcome) -> str:
    """Write what was said, and how long after it became true."""
    said = [f"{h.verdict.gpu_count} {h.verdict.cause} after {h.delay:.2f} h" for h in outcome.hits]
    said += [f"FALSE: {verdict.cause}" for verdict in outcome.false]
    said += [f"MISSED: {truth.cause}" for truth in outcome.missed]
    return "; ".join(said) or "nothing"


def is_right(outcome: Outcome) -> bool:
    """Tell whether all that is true was said of the right GPUs in time, and nothing else."""
    in_time = all(
        0 <= hit.delay <= hit.truth.within and hit.verdict.gpu_count == hit.truth.gpus
        for hit in outcome.hits
    )
    return in_time and not outcome.false and not outcome.missed


def section(_size: plan.Size) -> str:
    """Every trace, what is true of it, and what was said."""
    outcomes = [judged(scenario) for scenario in SCENARIOS]
    rows = [
        (scenario.name, truth_of(scenario), said_of(outcome), "yes" if is_right(outcome) else "NO")
        for scenario, outcome in zip(SCENARIOS, outcomes, strict=True)
    ]
    hits = [hit for outcome in outcomes for hit in outcome.hits]
    delays = [hit.delay for hit in hits]
    false = sum(len(outcome.false) for outcome in outcomes)
    missed = sum(len(outcome.missed) for outcome in outcomes)
    return (
        f"{len(rows)} traces: precision {len(hits) / (len(hits) + false):.2f} "
        f"({len(hits)} right, {false} false), recall {len(hits) / (len(hits) + missed):.2f} "
        f"({missed} missed); delay median {median(delays):.2f} h, longest {max(delays):.2f} h, "
        f"{sum(delay < 0 for delay in delays)} before it was true.\n\n"
        f"{table(('trace', 'true', 'said', 'right'), rows)}"
    )


if __name__ == "__main__":
    print(section(plan.QUICK))
