"""The ``cycleinr`` command: its sub-commands, and errors turned into one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from .. import __version__
from ..errors import CycleinrError, OutOfMemoryError, RequestError
from ..memory import keep_freed_memory
from ..threads import wait_politely
from .surroundings import (
    COMMANDS,
    EXIT_READER_GONE,
    end_on_signals,
    exit_code_of,
    forget_reader,
    open_missing_streams,
    state_of_result,
    survive_full_disks,
)

EXIT_CODES = """
Exit codes: 0 done; 1 unexpected error; 2 wrong arguments; 3 input cannot be used; 4 request does not fit the input;
5 output cannot be written; 6 model missing or damaged; 7 device does not work; 8 out of memory; 10 some scans
of a batch failed; 11 no Dask cluster; 12 the network gave no finite numbers; 130 cancelled (Ctrl-C);
143 and 129 ended by SIGTERM or SIGHUP; 141 whoever read the output has gone.
"""

app = typer.Typer(
    help="Finer slices from thick-slice CT and MR scans (CycleINR). Results are derived, not acquired: not for "
    "primary diagnosis.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"cycleinr {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    pass


def _add_commands() -> None:
    """Our own and those that installed packages bring; only the one that is asked for where it is one of our own."""
    asked = set(sys.argv[1:2]) & set(COMMANDS)
    for name in asked or COMMANDS:
        app.command(name)(getattr(import_module(f".{name}", __package__), f"{name}_command"))
    if asked:
        return
    from importlib.metadata import entry_points

    for each in entry_points(group="cycleinr.commands"):
        try:
            app.command(each.name)(each.load())
        except ImportError as error:
            logging.getLogger(__name__).warning("The command %s cannot be loaded (%s).", each.name, error)


def _start_log(level: str) -> None:
    try:
        logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s")
    except ValueError:
        raise RequestError(f"CYCLEINR_LOG is {level!r}. Give DEBUG, INFO, WARNING or ERROR.") from None


_NO_ROOM_TO_START = (
    "There is too little memory to load the image libraries. Close other programs, or raise the limit on this process "
    "(ulimit -v, a container's) to 2 GB."
)


def run() -> int:
    """Run the command line and return its exit code; every intended error is one line on standard error."""
    open_missing_streams()
    survive_full_disks()
    end_on_signals()
    keep_freed_memory()
    wait_politely()
    try:
        _start_log(os.environ.get("CYCLEINR_LOG", "WARNING"))
        _add_commands()
        # Not through the command's own main(), which answers interrupts and broken pipes in its own way
        command = typer.main.get_command(app)
        with command.make_context("cycleinr", sys.argv[1:]) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except CycleinrError as error:
        print(f"cycleinr: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        command_name = next(iter(sys.argv[1:]), "")
        print(f"cycleinr: {state_of_result(command_name)}", file=sys.stderr)
        return exit_code_of(interrupt)
    except BrokenPipeError:
        forget_reader()
        return EXIT_READER_GONE
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        if _is_memory_shortage(error):
            print(f"cycleinr: {_NO_ROOM_TO_START}", file=sys.stderr)
            return OutOfMemoryError.exit_code
        # click's own errors (wrong arguments) know how to show themselves; they carry exit code 2.
        if not hasattr(error, "show"):
            raise
        error.show()
        return getattr(error, "exit_code", 1)


def _is_memory_shortage(error: Exception) -> bool:
    """Whether memory ran out where nothing of ours could say so, such as in the loader of a library."""
    texts = ("failed to map segment", "annot allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, (ImportError, OSError)) and any(text in str(error) for text in texts)
    )
