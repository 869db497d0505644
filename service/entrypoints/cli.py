"""The console script `spendwatch`."""

import faulthandler
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from service.entrypoints import cli_ask, cli_incidents, cli_input, cli_service
from service.entrypoints.terminal import say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Real-time cost anomaly detection for cloud and GPU spend.",
)
for commands in (cli_input, cli_service, cli_ask, cli_incidents):
    app.add_typer(commands.app)


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


def main() -> None:
    """Run the console script."""
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)  # what ends in a library's C would end without a word
    app()
