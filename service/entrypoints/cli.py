"""The console script `spendwatch`."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from service.config import ConfigError, Settings, load
from service.core.events import Rejected
from service.core.ports import LogUnavailableError, StoreUnavailableError
from service.core.severity import Severity
from service.core.tokens import Role
from service.entrypoints.stopping import Interrupted

FAILED: Final = 1
MISUSED: Final = 2
MOSTLY_REJECTED: Final = 3
SHOWN_REJECTS: Final = 10
INPUTS: Final = "Files, folders, manifests, or s3://, gs:// and az:// addresses."
PIPED_WIDTH: Final = 200

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Real-time cost anomaly detection for cloud and GPU spend.",
)
_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="A TOML file; see deploy/config.toml.")
]
HealthOption = Annotated[
    str | None,
    typer.Option(
        "--health",
        metavar="[HOST]:PORT",
        help="Serve /livez, /readyz and /metrics there; this machine alone if no host is named.",
    ),
]


def say(text: str) -> None:
    """Print a plain line."""
    _out.print(escape(printable(text)))


def complain(text: str) -> None:
    """Print one line about what went wrong."""
    _err.print(escape(printable(text)))


def printable(text: str) -> str:
    r"""Replace what a terminal would obey: a file's name or content must not steer it.

    >>> printable("a\x1b[2Jb\u202ec")
    'a?[2Jb?c'
    """
    return "".join(char if char.isprintable() else "?" for char in text)


def _leave(code: int) -> NoReturn:
    """End now: all is closed, and the interpreter would look through all of it for seconds."""
    with suppress(OSError):  # whoever read it has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        complain(f"spendwatch: {error}")
        raise typer.Exit(MISUSED) from None
    except (StoreUnavailableError, LogUnavailableError, OSError) as error:
        complain(f"spendwatch: {error}")
        raise typer.Exit(FAILED) from None
    except Interrupted as stopped:
        complain("spendwatch: interrupted")
        _leave(stopped.exit_code)


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on a terminal; say nothing when piped."""
    if not _err.is_terminal:
        yield _silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TimeElapsedColumn(), console=_err, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(phase: str, done: int, total: int) -> None:
            bar.update(task, description=phase, completed=done, total=total or None)

        yield show


def _silent(_phase: str, _done: int, _total: int) -> None:
    pass


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"spendwatch {version('spendwatch')}")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say which it is."),
    ] = False,
) -> None:
    pass


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

    with _one_line_errors():
        settings = load(config)
        with _bar() as show:
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

    with _one_line_errors():
        with _bar() as show:
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


@app.command("gpu-agent", epilog="Example: spendwatch gpu-agent --config spendwatch.toml")
def gpu_agent(
    config: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Ask once, publish, and end.")] = False,
) -> None:
    """Ask DCGM exporters, or this machine's GPUs, what they do, and publish it to Kafka."""
    from service.entrypoints.gpu_agent import GpuAgent  # noqa: PLC0415 - loads the Kafka client

    with _one_line_errors():
        agent = GpuAgent(load(config))
        if not once:
            agent.run()
            return
        sent, failures = agent.run_once()
        for failure in failures:
            complain(failure)
        say(f"published {sent} samples to gpu.samples")
        if failures:
            raise typer.Exit(FAILED)


@app.command(epilog="Example: spendwatch worker --config spendwatch.toml")
def worker(
    config: ConfigOption = None,
    skip_bad_until: Annotated[
        list[str] | None,
        typer.Option(
            help="TOPIC/PARTITION/OFFSET, repeatable: up to there set aside all that is bad."
        ),
    ] = None,
    health: HealthOption = None,
) -> None:
    """Score what is in Kafka, with as many others of the same group as there are.

    It stops where 100 lines in a row are bad, and says how to go on past them: once that is done
    they are dead letters, and later starts go past them too.
    """
    from service.entrypoints.worker import Worker  # noqa: PLC0415 - loads the detectors

    with _one_line_errors():
        Worker(load(config), skip_bad_until or (), health).run()


@app.command(epilog="Example: spendwatch rollups --config spendwatch.toml")
def rollups(config: ConfigOption = None, health: HealthOption = None) -> None:
    """Judge sums over all partitions: groups, and first spend; of several, one works.

    Whatever goes wrong ends it; start it again, and it goes on exactly where it was.
    """
    from service.entrypoints.rollups import Rollups  # noqa: PLC0415 - loads the detectors

    with _one_line_errors():
        Rollups(load(config), health).run()


@app.command(epilog="Example: spendwatch router --config spendwatch.toml")
def router(config: ConfigOption = None, health: HealthOption = None) -> None:
    """Turn what the workers find into incidents and notices; of several, one works.

    The others stand by, and take over within seconds.
    """
    from service.entrypoints.router import Router  # noqa: PLC0415 - loads the Kafka client

    with _one_line_errors():
        Router(load(config), health).run()


@app.command(epilog="Example: spendwatch notifier --config spendwatch.toml")
def notifier(config: ConfigOption = None, health: HealthOption = None) -> None:
    """Send what the router has saved, with as many others as there are."""
    from service.entrypoints.send import send  # noqa: PLC0415 - loads the notifiers

    with _one_line_errors():
        send(load(config), health)


dead_letters_app = typer.Typer(
    no_args_is_help=True, help="What was refused in Kafka: list it, show it, try it again."
)
app.add_typer(dead_letters_app, name="dead-letters")


@dead_letters_app.command("list", epilog="Example: spendwatch dead-letters list -c spendwatch.toml")
def list_dead_letters(config: ConfigOption = None) -> None:
    """List what was refused, with the reason."""
    from service.entrypoints.letters import list_letters  # noqa: PLC0415 - loads the Kafka client

    with _one_line_errors():
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

    with _one_line_errors():
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

    with _one_line_errors():
        say(f"published {replay_letters(load(config), pattern, say)} lines again")


tokens_app = typer.Typer(
    no_args_is_help=True, help="Keys to the API of the service that runs here."
)
app.add_typer(tokens_app, name="tokens")


@tokens_app.command("create", epilog="Example: spendwatch tokens create grafana --team '*'")
def create_token(
    name: Annotated[str, typer.Argument(help="What it is for: its name in the audit.")],
    team: Annotated[
        list[str], typer.Option("--team", help="An owner whose spend it sees; * for everyone's.")
    ] = [],  # noqa: B006 - Typer copies it
    role: Annotated[Role, typer.Option("--role", help="What it may do.")] = "viewer",
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=3660, help="How long it lasts.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make a token and print it, this once. One of the same name is replaced."""
    from service.entrypoints import tokens  # noqa: PLC0415 - loads the web server

    with _one_line_errors():
        say(tokens.create_token(load(config), name, team, role, days))


@tokens_app.command("list", epilog="Example: spendwatch tokens list -c spendwatch.toml")
def list_tokens(config: ConfigOption = None) -> None:
    """List tokens: role, teams, end, and when each was used last."""
    from service.entrypoints import tokens  # noqa: PLC0415 - loads the web server

    with _one_line_errors():
        for line in tokens.list_tokens(load(config)):
            say(line)


@tokens_app.command("revoke", epilog="Example: spendwatch tokens revoke grafana")
def revoke_token(
    name: Annotated[str, typer.Argument(help="Its name, as list gives it.")],
    config: ConfigOption = None,
) -> None:
    """Let a token be refused from now on."""
    from service.entrypoints import tokens  # noqa: PLC0415 - loads the web server

    with _one_line_errors():
        tokens.revoke_token(load(config), name)
        say(f"{name} is revoked")


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

    with _one_line_errors():
        Demo(say, port=port).run(once=once)


@app.command(epilog="Example: spendwatch run --config spendwatch.toml")
def run(config: Annotated[Path, typer.Option("--config", "-c", help="A TOML file.")]) -> None:
    """Watch the configured folders on this machine, and tell people what is odd."""
    from service.entrypoints.run import Service  # noqa: PLC0415 - loads the detectors

    with _one_line_errors():
        Service(load(config), say).run()
        _leave(0)


@app.command(
    epilog="Example: spendwatch feedback 97a6298860ee expected --why 'load test until Friday'"
)
def feedback(
    incident: Annotated[str, typer.Argument(help="Its name, or how a notice begins it.")],
    verdict: Annotated[str, typer.Argument(help="expected, new-level, not-an-issue, or undo.")],
    why: Annotated[str, typer.Option("--why", help="In your own words; people will see it.")],
    who: Annotated[str | None, typer.Option("--who", help="Your name; default: the user.")] = None,
    config: ConfigOption = None,
) -> None:
    """Say of an incident that it is expected, the new level, or no issue; or take that back.

    It acts at once, in the service that runs on this machine.
    """
    from service.entrypoints.say import say_feedback  # noqa: PLC0415

    with _one_line_errors():
        say(say_feedback(load(config), incident, verdict, why, who))


@app.command(epilog="Example: spendwatch experiments --config spendwatch.toml")
def experiments(config: ConfigOption = None) -> None:
    """Show what experiments and their runs cost, as the service that runs here knows it."""
    from service.entrypoints.say import ask_experiments  # noqa: PLC0415

    with _one_line_errors():
        for line in ask_experiments(load(config)):
            say(line)


@app.command(epilog="Example: spendwatch budgets --config spendwatch.toml")
def budgets(
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="As the API has them.")] = False,
) -> None:
    """Show what of each budget is spent, and what will be, by the service that runs here."""
    from service.entrypoints.budget_table import (  # noqa: PLC0415
        as_json,
        as_table,
        read_budgets,
    )

    with _one_line_errors():
        found = read_budgets(load(config))
        if json:
            _out.print(as_json(found), markup=False)
        elif found:
            wide = Console(width=PIPED_WIDTH, highlight=False)
            (_out if _out.is_terminal else wide).print(as_table(found))
        else:
            say("there are no budgets: see [budgets] in deploy/config.toml")


@app.command(epilog="Example: spendwatch api --config spendwatch.toml")
def api(config: ConfigOption = None) -> None:
    """Serve the status API and the page from a store that others write."""
    from service.entrypoints.serve import serve_api  # noqa: PLC0415 - loads the web server

    with _one_line_errors():
        serve_api(load(config), say)


@app.command("local-slack", epilog="Example: spendwatch local-slack --port 8322 spend payments")
def local_slack(  # noqa: PLR0913, PLR0917  its options
    channels: Annotated[list[str], typer.Argument(help="Channels that there are, without #.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8322,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    name: Annotated[
        list[str] | None, typer.Option(help="A host under which it is called, repeatable.")
    ] = None,
    events: Annotated[
        str | None, typer.Option(help="Where the app hears what is pressed: .../slack/events")
    ] = None,
    signing_secret_file: Annotated[
        Path | None, typer.Option(help="What it is signed with, as in [notifiers.slack].")
    ] = None,
    address: Annotated[
        str, typer.Option(help="How the app calls it, if not as browsers do: http://HOST:PORT/")
    ] = "",
    user: Annotated[
        list[str] | None, typer.Option(help="Who may press, as ID=NAME, repeatable.")
    ] = None,
) -> None:
    """Serve a stand-in for Slack, to try the service without one; nothing is kept.

    Name its address in [notifiers.slack] base_url, with /api/ at the end.
    """
    from service.entrypoints.local_slack import app_of, stand_in  # noqa: PLC0415 - loads the server

    with _one_line_errors():
        hears = app_of(events, signing_secret_file, address, user or ())
        stand_in(channels, host, port, name or (), say, hears)


@app.command(epilog="Example: spendwatch healthy http://127.0.0.1:9464/readyz")
def healthy(url: Annotated[str, typer.Argument(help="What a process serves by --health.")]) -> None:
    """Say whether a process lives or is ready; ends with 1 when it is not."""
    from service.entrypoints.client import ask_health  # noqa: PLC0415 - loads the HTTP client

    with _one_line_errors():
        say(ask_health(url))


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

    with _one_line_errors():
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

    with _one_line_errors():
        about = About(tag or [], resource, sub_account, service, region, kind, severity)
        moment = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC)
        for line in preview(load(config), about, moment, intents):
            say(line)


def main() -> None:
    """Run the console script."""
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    app()
