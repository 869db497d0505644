"""Slack's own chart of an incident: what it cost and what was expected, in at most 20 points.

See docs.slack.dev/reference/block-kit/blocks/data-visualization-block. Slack draws no range and
marks no point, so the words beside it have to say both.
"""

import math
from datetime import datetime
from typing import Any, Final

from service.core.notices import Chart
from service.core.phrases import clean

MOST_POINTS: Final = 20
_FEWEST: Final = 2


def chart_block(chart: Chart | None, block_id: str) -> dict[str, Any] | None:
    """Build the block; None where there are not two points of which both values are known.

    Neighbouring periods are added up until there are few enough. A gap is left out: Slack would
    draw it as no cost.
    """
    if chart is None:
        return None
    width = math.ceil(len(chart.starts) / MOST_POINTS)
    points: dict[str, tuple[float, float]] = {}
    for begin in range(0, len(chart.starts), width):
        actual = chart.actual[begin : begin + width]
        expected = chart.expected[begin : begin + width]
        if None not in actual and None not in expected:
            label = _label(chart.starts[begin], is_daily=width * chart.step_hours % 24 == 0)
            points[label] = (_total(actual), _total(expected))
    if len(points) < _FEWEST:
        return None
    span = width * chart.step_hours
    per = f"{span // 24} d" if span % 24 == 0 else f"{span} h"
    return {
        "type": "data_visualization",
        "block_id": block_id,
        "title": clean(f"Cost per {per} in {chart.currency}", 50),
        "chart": {
            "type": "line",
            "series": [
                _series("Actual", {label: pair[0] for label, pair in points.items()}),
                _series("Expected", {label: pair[1] for label, pair in points.items()}),
            ],
            "axis_config": {"categories": list(points), "x_label": "Begins, UTC"},
        },
    }


def _series(name: str, values: dict[str, float]) -> dict[str, Any]:
    return {"name": name, "data": [{"label": k, "value": round(v, 4)} for k, v in values.items()]}


def _label(at: datetime, *, is_daily: bool) -> str:
    return f"{at.day} {at:%b}" if is_daily else f"{at.day} {at:%b %H:%M}"


def _total(values: list[float | None]) -> float:
    return math.fsum(value for value in values if value is not None)
