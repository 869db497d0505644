"""Commands over files: what goes in, what was refused, what a config means."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from service.config import Settings
from service.config_file import load
from service.core.events import Rejected
from service.core.severity import Severity
from service.entrypoints.terminal import (
    FAILED,
    MOSTLY_REJECTED,
    ConfigOption,
    complain,
    one_line_errors,
    progress,
    say,
)

SHOWN_REJECTS: Final = 10
INPUTS: Final = "Files, folders, manifests, or s3://, gs:// and az:// addresses."

app = typer.Typer()


def _complain_of(notes: list[str], rejected: list[Rejected], more: int, where: Path | str) -> None:
    for note in notes:
        complain(note)
    for bad in rejected:
        complain(f"{bad.file}:{bad.row}: {bad.reason}")
    if more:
        complain(f"... and {more} more in {where}")


@app.command(epilog="Example: spendwatch replay exports/ --out out")
def replay(
    inputs: Annotated[list[Path], typer.Argument(help=INPUTS)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the four files.")],
    config: ConfigOption = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Read all input as this source.")
    ] = None,
) -> None:
    """Run history through the pipeline, by arrival time, and write what would have been told.

    Writes findings.ndjson, incidents.ndjson, notices.ndjson and summary.json, and
    dead_letters.ndjson when something was rejected. Ends with 3 when more than half of the rows
    were, or more than half of the files could not be read to the end.
    """
    from service.entrypoints.replay import Replay  # noqa: PLC0415 - loads the detectors

    with one_line_errors():
        settings = load(config)
        with progress() as show:
            run = Replay(settings, lambda p: show(*p))
            summary = run.run(inputs, out, source)
        more = run.letters - len(run.rejected)
        _complain_of(run.notes, run.rejected, more, out / "dead_letters.ndjson")
        say(
            f"{summary.events} events, {summary.rejected} rejected, {summary.series} series, "
            f"{summary.findings} findings, {summary.incidents} incidents, "
            f"{summary.notices} notices in {summary.seconds:.1f} s -> {out}"
        )
        if summary.rejected > summary.events:
            complain("spendwatch: more than half of the input was rejected")
            raise typer.Exit(MOSTLY_REJECTED)
        if run.broken:
            complain(f"spendwatch: {run.broken} of {run.files} files could not be read to the end")
        if run.broken * 2 > run.files:
            raise typer.Exit(MOSTLY_REJECTED)


@app.command(epilog="Example: spendwatch ingest exports/aws --feed aws --config spendwatch.toml")
def ingest(
    inputs: Annotated[list[Path], typer.Argument(help=INPUTS)],
    config: ConfigOption = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Read all input as this source.")
    ] = None,
    feed: Annotated[
        str | None, typer.Option("--feed", help="Name of the feed; the source's if not given.")
    ] = None,
    dead_letters: Annotated[
        Path | None,
        typer.Option("--dead-letters", help="File for what is refused; else topic ingest.dlq."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and count; publish and remember nothing.")
    ] = False,
) -> None:
    """Publish what is new in exports to Kafka. Cut off and started again, it goes on from there.

    Ends with 3 when more than half of the rows was rejected.
    """
    from service.entrypoints.ingest import Ingest, Order  # noqa: PLC0415 - loads the Kafka client

    with one_line_errors():
        with progress() as show:
            run = Ingest(load(config), show)
            order = Order(inputs, source, feed, dead_letters)
            report = run.rehearse(order) if dry_run else run.publish(order)
        shown, where = run.rejected[:SHOWN_REJECTS], dead_letters or "topic ingest.dlq"
        _complain_of(run.notes, shown, len(run.rejected) - len(shown), where)
        by_topic = Counter[str]()
        for (topic, _), rows in report.rows.items():
            by_topic[topic] += rows
        what = ", ".join(f"{rows} rows to {topic}" for topic, rows in sorted(by_topic.items()))
        say(
            f"{'would publish' if dry_run else 'published'} {what or 'nothing: no news'} in "
            f"{report.messages} messages, {report.value_bytes} bytes; "
            f"{report.known} rows were there already, {report.rejected} rejected"
        )
        if report.rejected > report.read:
            complain("spendwatch: more than half of the input was rejected")
            raise typer.Exit(MOSTLY_REJECTED)
        if run.notes and not report.read:
            raise typer.Exit(FAILED)


dead_letters_app = typer.Typer(
    no_args_is_help=True, help="What was refused in Kafka: list it, show it, try it again."
)
app.add_typer(dead_letters_app, name="dead-letters")


@dead_letters_app.command("list", epilog="Example: spendwatch dead-letters list -c spendwatch.toml")
def list_dead_letters(config: ConfigOption = None) -> None:
    """List what was refused, with the reason."""
    from service.entrypoints.letters import list_letters  # noqa: PLC0415 - loads the Kafka client

    with one_line_errors():
        list_letters(load(config), say)


@dead_letters_app.command(
    "show", epilog="Example: spendwatch dead-letters show billing.events/0/7/1"
)
def show_dead_letter(
    name: Annotated[str, typer.Argument(help="A letter's name, as list gives it.")],
    config: ConfigOption = None,
) -> None:
    """Show one line that was refused, whole."""
    from service.entrypoints.letters import show_letter  # noqa: PLC0415 - loads the Kafka client

    with one_line_errors():
        show_letter(load(config), name, say)


@dead_letters_app.command(
    "replay", epilog="Example: spendwatch dead-letters replay 'billing.events/*'"
)
def replay_dead_letters(
    pattern: Annotated[str, typer.Argument(help="Names of letters; * stands for anything.")],
    config: ConfigOption = None,
) -> None:
    """Put lines that were refused back into the log, for instance after an update."""
    from service.entrypoints.letters import replay_letters  # noqa: PLC0415 - loads the Kafka client

    with one_line_errors():
        say(f"published {replay_letters(load(config), pattern, say)} lines again")


@app.command("check-config", epilog="Example: spendwatch check-config deploy/config.toml")
def check_config(file: Annotated[Path, typer.Argument(help="A TOML file.")]) -> None:
    """Say what a config means, or in one line what is wrong with it."""
    from service.adapters.sources import Address  # noqa: PLC0415
    from service.bootstrap import check  # noqa: PLC0415 - loads the detectors
    from service.core.budgets import Budget  # noqa: PLC0415
    from service.core.rates import said  # noqa: PLC0415
    from service.core.routing import Route  # noqa: PLC0415

    def show(route: Route, depth: int) -> None:
        who = ", ".join(route.matchers) if route.matchers else "everything else"
        receiver = route.receiver or "(as above)"
        floor = "" if route.min_impact is None else f", from {said(route.min_impact)} on"
        for child in route.routes:
            show(child, depth + 1)
        on = ", then the next route too" if route.continue_ else ""
        say(f"{'  ' * depth}{who} -> {receiver}{floor}{on}")

    with one_line_errors():
        settings: Settings = load(file)
        check(settings)
        for name, known in settings.sources.items():
            kind = known.kind or "kind read from the files"
            metric = known.metric or "effective (billed, if the feed has no other)"
            say(
                f"source {name}: {Address.of(known.path) or known.path} ({kind}), {metric} cost, "
                f"final after {known.settles_after_hours:g} h"
            )
        detection = settings.detection
        say(
            f"detectors {', '.join(detection.detectors)}: at most about "
            f"{detection.false_findings_per_1000_resource_months:g} false findings "
            "per 1,000 resource-months"
        )
        for name, terms in settings.budgets.items():
            say(f"budget {name}: {Budget.of(name, terms).in_words}")
        say("routes:")
        show(settings.route, 1)
        for name, destinations in settings.receivers.items():
            say(f"receiver {name}: {', '.join(destinations)}")
        for name, destinations in settings.fallbacks.items():
            say(f"fallback for {name}: {', '.join(destinations) or 'nobody'}")
        say("ok")


@app.command(
    "route-test", epilog="Example: spendwatch route-test --tag team=search --severity high"
)
def route_test(  # noqa: PLR0913, PLR0917  one parameter is one option
    config: ConfigOption = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="key=value, repeatable.")] = None,
    resource: Annotated[str, typer.Option("--resource", help="Its id.")] = "",
    sub_account: Annotated[str, typer.Option("--sub-account")] = "",
    service: Annotated[str, typer.Option("--service")] = "",
    region: Annotated[str, typer.Option("--region")] = "",
    kind: Annotated[str, typer.Option("--kind")] = "spike",
    severity: Annotated[Severity, typer.Option("--severity")] = "medium",
    at: Annotated[
        datetime | None, typer.Option("--at", help="When, in UTC; now if not given.")
    ] = None,
    intents: Annotated[
        Path | None,
        typer.Option("--intents", help="What people set up: NDJSON; else the store's, by its URL."),
    ] = None,
) -> None:
    """Say who would hear about a resource, when, how, and why.

    With what people set up: claims, silences, plans and subscriptions.
    """
    from service.entrypoints.route_test import About, preview  # noqa: PLC0415

    with one_line_errors():
        about = About(tag or [], resource, sub_account, service, region, kind, severity)
        moment = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC)
        for line in preview(load(config), about, moment, intents):
            say(line)


@app.command(epilog="Example: spendwatch demo --once")
def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the replay.")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Port of the page and the API; 8321 if free."
        ),
    ] = None,
) -> None:
    """Show the whole product on this machine, with real sample data and nothing installed."""
    from service.entrypoints.demo import Demo  # noqa: PLC0415 - loads the detectors

    with one_line_errors():
        Demo(say, port=port).run(once=once)
