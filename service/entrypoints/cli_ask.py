"""Commands that ask the running service, or tell it something, through its API."""

from typing import Annotated, Any

import typer

from service.config_file import load
from service.core.tokens import Role
from service.entrypoints.terminal import (
    NOT_WELL,
    ConfigOption,
    JsonOption,
    one_line_errors,
    say,
    show,
    show_json,
    show_table,
)

app = typer.Typer()


@app.command(epilog="Example: spendwatch status --config spendwatch.toml")
def status(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Say how the service is: sources, workers, destinations; ends with 4 unless all is well."""
    from service.entrypoints import status_words as words  # noqa: PLC0415

    with one_line_errors():
        found = words.read_status(load(config))
        if json:
            show_json(found)
        else:
            _show_status(found)
        if found["state"] != "ok":
            raise typer.Exit(NOT_WELL)


def _show_status(found: dict[str, Any]) -> None:
    from service.entrypoints import status_words as words  # noqa: PLC0415

    for line in words.head(found):
        say(line)
    for columns, rows in (
        (words.SOURCES, words.source_rows(found)),
        (words.PARTITIONS, words.partition_rows(found)),
        (words.DESTINATIONS, words.destination_rows(found)),
    ):
        if rows:
            show_table(columns, rows, right=words.NUMBERS)


silence_app = typer.Typer(no_args_is_help=True, help="What is not to be told for a while.")
app.add_typer(silence_app, name="silence")


@silence_app.command(
    "add", epilog="Example: spendwatch silence add 'owner=search' --for 2h --comment 'load test'"
)
def add_silence(
    matchers: Annotated[list[str], typer.Argument(help="LABEL=VALUE; !=, =~ and !~ as well.")],
    until: Annotated[str, typer.Option("--for", "--until", help="4h, 2d, or a time in RFC 3339.")],
    comment: Annotated[str, typer.Option("--comment", help="Why; people will see it.")],
    name: Annotated[str | None, typer.Option("--name", help="Made up if not given.")] = None,
    config: ConfigOption = None,
) -> None:
    """Let nobody be told of what passes all matchers, from now on; prints the silence's name."""
    from service.entrypoints import status_words as words  # noqa: PLC0415

    with one_line_errors():
        say(words.add_silence(load(config), matchers, until, comment, name))


@silence_app.command("list", epilog="Example: spendwatch silence list")
def list_silences(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the silences that stand."""
    from service.entrypoints import status_words as words  # noqa: PLC0415

    with one_line_errors():
        found = words.read_silences(load(config))
        if json:
            show_json(found)
        elif found:
            show_table(words.SILENCES, map(words.silence_row, found))
        else:
            say("there are none")


@silence_app.command("expire", epilog="Example: spendwatch silence expire ada-1f3c9a20")
def expire_silence(
    name: Annotated[str, typer.Argument(help="Its name, as list gives it.")],
    config: ConfigOption = None,
) -> None:
    """End a silence now."""
    from service.entrypoints import status_words as words  # noqa: PLC0415

    with one_line_errors():
        words.expire_silence(load(config), name)
        say(f"{name} has ended")


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

    with one_line_errors():
        say(say_feedback(load(config), incident, verdict, why, who))


@app.command(epilog="Example: spendwatch experiments --config spendwatch.toml")
def experiments(config: ConfigOption = None) -> None:
    """Show what experiments and their runs cost, as the service that runs here knows it."""
    from service.entrypoints.say import ask_experiments  # noqa: PLC0415

    with one_line_errors():
        for line in ask_experiments(load(config)):
            say(line)


@app.command(epilog="Example: spendwatch budgets --config spendwatch.toml")
def budgets(
    config: ConfigOption = None,
    json: JsonOption = False,
    check: Annotated[bool, typer.Option("--check", help="End with 4 if one is not kept.")] = False,
) -> None:
    """Show what of each budget is spent, and what will be, by the service that runs here."""
    from service.entrypoints.budget_table import as_table, read_budgets  # noqa: PLC0415

    with one_line_errors():
        found = read_budgets(load(config))
        if json:
            show_json(found)
        elif found:
            show(as_table(found))
        else:
            say("there are no budgets: see [budgets] in deploy/config.toml")
        if check and any(one.state != "within" for one in found):
            raise typer.Exit(NOT_WELL)


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

    with one_line_errors():
        say(tokens.create_token(load(config), name, team, role, days))


@tokens_app.command("list", epilog="Example: spendwatch tokens list -c spendwatch.toml")
def list_tokens(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List tokens: role, teams, end, and when each was used last."""
    from service.entrypoints import tokens  # noqa: PLC0415 - loads the web server

    with one_line_errors():
        found = tokens.read_tokens(load(config))
        if json:
            show_json(found)
        elif found:
            show_table(tokens.COLUMNS, map(tokens.row_of, found))
        else:
            say("there are none")


@tokens_app.command("revoke", epilog="Example: spendwatch tokens revoke grafana")
def revoke_token(
    name: Annotated[str, typer.Argument(help="Its name, as list gives it.")],
    config: ConfigOption = None,
) -> None:
    """Let a token be refused from now on."""
    from service.entrypoints import tokens  # noqa: PLC0415 - loads the web server

    with one_line_errors():
        tokens.revoke_token(load(config), name)
        say(f"{name} is revoked")
