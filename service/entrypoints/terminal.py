"""The terminal: how commands print, fail, and show progress; options that several have."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from service.config import ConfigError
from service.core.ports import LogUnavailableError, StoreUnavailableError
from service.entrypoints.stopping import Interrupted

# What commands end with, for scripts: 0 is well.
FAILED: Final = 1
MISUSED: Final = 2
MOSTLY_REJECTED: Final = 3
NOT_WELL: Final = 4
PIPED_WIDTH: Final = 200

screen: Final = Console(soft_wrap=True, highlight=False)
errors: Final = Console(stderr=True, soft_wrap=True, highlight=False)

JsonOption = Annotated[bool, typer.Option("--json", help="As the API has it, for scripts.")]
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
    screen.print(escape(printable(text)))


def complain(text: str) -> None:
    """Print one line about what went wrong."""
    errors.print(escape(printable(text)))


def printable(text: str) -> str:
    r"""Replace what a terminal would obey: a file's name or content must not steer it.

    >>> printable("a\x1b[2Jb\u202ec")
    'a?[2Jb?c'
    """
    return "".join(char if char.isprintable() else "?" for char in text)


def leave(code: int) -> NoReturn:
    """End now: all is closed, and the interpreter would look through all of it for seconds."""
    with suppress(OSError):  # whoever read it has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the command with one line and an exit code when something goes wrong at the edge."""
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
        leave(stopped.exit_code)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on a terminal; say nothing when piped."""
    if not errors.is_terminal:
        yield _silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TimeElapsedColumn(), console=errors, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(phase: str, done: int, total: int) -> None:
            bar.update(task, description=phase, completed=done, total=total or None)

        yield show


def _silent(_phase: str, _done: int, _total: int) -> None:
    pass


def show_json(value: Any) -> None:
    """Print what the service answers, for another program."""
    screen.print(msgspec.json.format(msgspec.json.encode(value)).decode(), markup=False)


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: str = ""
) -> None:
    """Print rows under columns, those named in `right` to the right; piped, lines are not cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        justify: Literal["left", "right"] = "right" if name in right.split() else "left"
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    show(table)


def show(table: Table) -> None:
    """Print a table, as wide as the terminal, or wide enough when piped."""
    wide = Console(width=PIPED_WIDTH, highlight=False)
    (screen if screen.is_terminal else wide).print(table)
