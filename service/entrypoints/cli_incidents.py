"""Commands about incidents: what there is, why it was told, and what people do about it."""

from typing import Annotated, Any

import typer

from service.config import ConfigError
from service.config_file import load
from service.entrypoints import incident_words as words
from service.entrypoints.terminal import (
    NOT_WELL,
    ConfigOption,
    JsonOption,
    one_line_errors,
    say,
    show_json,
    show_table,
)

app = typer.Typer()

NameArgument = Annotated[str, typer.Argument(help="Its name, or how a notice begins it.")]
WhyOption = Annotated[str | None, typer.Option("--why", help="In your own words.")]
NeededWhy = Annotated[str, typer.Option("--why", help="In your own words; people will see it.")]
CheckOption = Annotated[bool, typer.Option("--check", help="End with 4 if there is any.")]


@app.command(epilog="Example: spendwatch incidents --state firing --check")
def incidents(
    name: Annotated[str | None, typer.Argument(help="One of them, by how it begins.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="Such as firing.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Whose.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100)] = 20,
    check: CheckOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List incidents, the last changed first, or show one."""
    with one_line_errors():
        settings = load(config)
        if name is not None:
            found = words.read_incident(settings, name)
            _show(found, words.lines_of(found), json=json)
            return
        asked = {"state": state, "owner": owner, "limit": str(limit)}
        items = words.read_incidents(settings, asked)
        if json:
            show_json(items)
        elif items:
            show_table(words.COLUMNS, map(words.row_of, items), right=words.TO_THE_RIGHT)
        else:
            say("there are none")
        if check and items:
            raise typer.Exit(NOT_WELL)


@app.command(epilog="Example: spendwatch why 97a6298860ee")
def why(
    name: Annotated[str, typer.Argument(help="A finding, or how an incident begins.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say why somebody was told of a finding, or was not; ends with 4 when nobody was."""
    with one_line_errors():
        trace = words.read_trace(load(config), name)
        _show(trace, words.trace_lines(trace), json=json)
        if not trace["told"]:
            raise typer.Exit(NOT_WELL)


@app.command(epilog="Example: spendwatch ack 97a6298860ee --why 'looking at it'")
def ack(name: NameArgument, why: WhyOption = None, config: ConfigOption = None) -> None:
    """Say that you see to an incident: nobody is reminded of it any more."""
    _act(config, name, "acknowledge", why)


@app.command(epilog="Example: spendwatch snooze 97a6298860ee --for 4h")
def snooze(
    name: NameArgument,
    until: Annotated[
        str | None, typer.Option("--for", "--until", help="4h, 2d, or a time in RFC 3339.")
    ] = None,
    growth: Annotated[
        float | None, typer.Option("--growth", min=1, help="Percent more a day that ends it.")
    ] = None,
    why: WhyOption = None,
    config: ConfigOption = None,
) -> None:
    """Let nothing be said of an incident for a while, or until it costs so much more a day."""
    with one_line_errors():
        if (until is None) == (growth is None):
            raise ConfigError("a snooze needs either --for or --growth")
        settings = load(config)
        more: dict[str, Any] = {}
        if until is not None:
            more["until"] = words.until_of(until, words.now_there(settings)).isoformat()
        if growth is not None:
            more["until_growth"] = growth / 100
        say(words.act(settings, name, "snooze", why, **more))


@app.command(epilog="Example: spendwatch resolve 97a6298860ee --why 'node deleted'")
def resolve(name: NameArgument, why: WhyOption = None, config: ConfigOption = None) -> None:
    """Say that an incident is over, unless something new is found."""
    _act(config, name, "resolve", why)


@app.command(epilog="Example: spendwatch assign 97a6298860ee ada")
def assign(
    name: NameArgument,
    to: Annotated[str, typer.Argument(help="Who sees to it.")],
    why: WhyOption = None,
    config: ConfigOption = None,
) -> None:
    """Say who sees to an incident."""
    _act(config, name, "assign", why, to=to)


@app.command(epilog="Example: spendwatch comment 97a6298860ee 'asked the vendor'")
def comment(
    name: NameArgument,
    text: Annotated[str, typer.Argument(help="What you have to say.")],
    config: ConfigOption = None,
) -> None:
    """Write beneath an incident."""
    _act(config, name, "comment", text)


@app.command(epilog="Example: spendwatch expected 97a6298860ee --why 'load test until Friday'")
def expected(name: NameArgument, why: NeededWhy, config: ConfigOption = None) -> None:
    """Say that an incident is expected: no more is said of it."""
    with one_line_errors():
        say(words.judge(load(config), name, "expected", why, None))


@app.command("not-an-issue", epilog="Example: spendwatch not-an-issue 97a6298860ee --why 'tiny'")
def not_an_issue(name: NameArgument, why: NeededWhy, config: ConfigOption = None) -> None:
    """Say that an incident is no issue: the next one has to be odder."""
    with one_line_errors():
        say(words.judge(load(config), name, "not_an_issue", why, None))


@app.command(epilog="Example: spendwatch undo 97a6298860ee")
def undo(name: NameArgument, why: WhyOption = None, config: ConfigOption = None) -> None:
    """Take back what was said of an incident, or done about it, last."""
    with one_line_errors():
        say(words.undo(load(config), name, why))


def _act(config: Any, name: str, act: str, why: str | None, **more: Any) -> None:
    with one_line_errors():
        say(words.act(load(config), name, act, why, **more))


def _show(found: Any, lines: Any, *, json: bool) -> None:
    if json:
        show_json(found)
        return
    for line in lines:
        say(line)
