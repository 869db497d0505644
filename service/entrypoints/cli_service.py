"""Commands that are the parts of the service: they run until they are told to stop."""

from pathlib import Path
from typing import Annotated

import typer

from service.config_file import load
from service.entrypoints.terminal import (
    FAILED,
    ConfigOption,
    HealthOption,
    complain,
    leave,
    one_line_errors,
    say,
)

app = typer.Typer()


@app.command(epilog="Example: spendwatch run --config spendwatch.toml")
def run(config: Annotated[Path, typer.Option("--config", "-c", help="A TOML file.")]) -> None:
    """Watch the configured folders on this machine, and tell people what is odd."""
    from service.entrypoints.run import Service  # noqa: PLC0415 - loads the detectors

    with one_line_errors():
        Service(load(config), say).run()
        leave(0)


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

    with one_line_errors():
        Worker(load(config), skip_bad_until or (), health).run()


@app.command(epilog="Example: spendwatch rollups --config spendwatch.toml")
def rollups(config: ConfigOption = None, health: HealthOption = None) -> None:
    """Judge sums over all partitions: groups, and first spend; of several, one works.

    Whatever goes wrong ends it; start it again, and it goes on exactly where it was.
    """
    from service.entrypoints.rollups import Rollups  # noqa: PLC0415 - loads the detectors

    with one_line_errors():
        Rollups(load(config), health).run()


@app.command(epilog="Example: spendwatch router --config spendwatch.toml")
def router(
    config: ConfigOption = None,
    health: HealthOption = None,
    *,
    new_log: Annotated[
        bool,
        typer.Option("--new-log", help="Go on although Kafka lost its topics and has new ones."),
    ] = False,
) -> None:
    """Turn what the workers find into incidents and notices; of several, one works.

    The others stand by, and take over within seconds. With --new-log, needed once after Kafka lost
    everything, what the store holds stays, nothing of it is told again, and what people did is
    written into the new topics.
    """
    from service.entrypoints.router import Router  # noqa: PLC0415 - loads the Kafka client

    with one_line_errors():
        Router(load(config), health, takes_new_log=new_log).run()


@app.command(epilog="Example: spendwatch notifier --config spendwatch.toml")
def notifier(config: ConfigOption = None, health: HealthOption = None) -> None:
    """Send what the router has saved, with as many others as there are."""
    from service.entrypoints.send import send  # noqa: PLC0415 - loads the notifiers

    with one_line_errors():
        send(load(config), health)


@app.command(epilog="Example: spendwatch api --config spendwatch.toml")
def api(config: ConfigOption = None) -> None:
    """Serve the status API and the page from a store that others write."""
    from service.entrypoints.serve import serve_api  # noqa: PLC0415 - loads the web server

    with one_line_errors():
        serve_api(load(config), say)


@app.command("gpu-agent", epilog="Example: spendwatch gpu-agent --config spendwatch.toml")
def gpu_agent(
    config: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Ask once, publish, and end.")] = False,
) -> None:
    """Ask DCGM exporters, or this machine's GPUs, what they do, and publish it to Kafka."""
    from service.entrypoints.gpu_agent import GpuAgent  # noqa: PLC0415 - loads the Kafka client

    with one_line_errors():
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

    with one_line_errors():
        hears = app_of(events, signing_secret_file, address, user or ())
        stand_in(channels, host, port, name or (), say, hears)


@app.command(epilog="Example: spendwatch healthy http://127.0.0.1:9464/readyz")
def healthy(url: Annotated[str, typer.Argument(help="What a process serves by --health.")]) -> None:
    """Say whether a process lives or is ready; ends with 1 when it is not."""
    from service.entrypoints.client import ask_health  # noqa: PLC0415 - loads the HTTP client

    with one_line_errors():
        say(ask_health(url))
