"""What a person says or asks by command, told to the service that runs here."""

from typing import Any, get_args

from detectors.base import money
from service.config import ConfigError, Settings
from service.core.intents import Verdict
from service.entrypoints.client import Client
from service.entrypoints.incident_words import judge


def say_feedback(settings: Settings, incident: str, verdict: str, why: str, who: str | None) -> str:
    """Tell the running service; return one line on what has changed.

    ConfigError for what nobody could follow, OSError for what the service refuses.
    """
    known = {name.replace("_", "-"): name for name in get_args(Verdict)}
    if verdict not in known:
        raise ConfigError(f"no verdict {verdict!r}; there are {', '.join(known)}")
    return judge(settings, incident, known[verdict], why, who)


def ask_experiments(settings: Settings) -> list[str]:
    """Ask the running service what experiments and their runs cost; return lines to print."""
    found = Client(settings).ask("/v1/experiments")
    if not found["runs"]:
        return ["no run of an experiment has a bill yet"]
    lines = []
    for one in found["experiments"]:
        name, currency = one["experiment"], one["billing_currency"]
        lines.append(f"{name}: {_amount(one['cost'], currency)} for {one['runs']} runs")
        lines += [
            f"  {_line(run, currency)}"
            for run in found["runs"]
            if (run["experiment"], run["billing_currency"]) == (name, currency)
        ]
    return lines


def _line(run: dict[str, Any], currency: str) -> str:
    said = f"{run['name'] or run['run_id']}: {_amount(run['cost'], currency)}"
    if run["usual_cost"] is not None:
        said += f" (usually {_amount(run['usual_cost'], currency)})"
    if run["cost_since_best"] is not None:
        since = _amount(run["cost_since_best"], currency)
        said += f", {since} since {run['metric']} last improved"
    return said + ("" if run["ended_at"] else ", still running")


def _amount(cost: str, currency: str) -> str:
    return money(float(cost), currency)
