"""The ``cycleinr`` command: its sub-commands, errors turned into one line and an exit code, signals that end it, and
standard streams that were closed, have lost their reader, or lie on a full disk."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
from importlib import import_module
from typing import Annotated

import typer

from .. import CycleinrError, OutOfMemoryError, OutputError, RequestError, __version__
from ..computer import available_memory_bytes, keep_freed_memory, wait_politely
from ..files.atomic import hold, names_given

_MODULES = {"upsample": "upsample", "check": "upsample", "demo": "upsample", "batch": "batch", "info": "info"}
"""Our own commands, by the module that each is in; what they write, they write at the end."""

_ONLY_PRINT = {"check", "info"}

INCOMPLETE = 10
"""Exit code of a command for several scans of which some failed."""

_READER_GONE = 141
"""128 + SIGPIPE, which is what a shell shows for programs that the signal ends."""

_ENDING = {
    "SIGINT": signal.default_int_handler,
    **dict.fromkeys(("SIGTERM", "SIGHUP", "SIGBREAK"), signal.SIG_DFL),
}
"""Signals that end the work, and what they do as long as nobody wants something else; the last is Windows' own."""

EXIT_CODES = """
Exit codes: 0 done; 1 unexpected error; 2 wrong arguments; 3 input cannot be used; 4 request does not fit the input;
5 output cannot be written; 6 model missing or damaged; 7 device does not work; 8 out of memory; 10 some scans
of a batch failed; 11 no Dask cluster; 12 the network gave no finite numbers; 130 cancelled (Ctrl-C);
143 and 129 ended by SIGTERM or SIGHUP, 149 by Ctrl-Break; 141 whoever read the output has gone.
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


def _add_commands(asked: set[str]) -> None:
    """Our own and those that installed packages bring; only the one that is asked for where it is one of our own."""
    for name in asked or _MODULES:
        app.command(name)(getattr(import_module(f".{_MODULES[name]}", __package__), f"{name}_command"))
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


_ROOM_TO_START_BYTES = 0.5e9
_NO_ROOM_TO_START = (
    "There is too little memory to load the image libraries. Close other programs, or raise the limit on this process "
    "(ulimit -v, a container's) to 2 GB."
)


def run() -> int:
    """Run the command line and return its exit code; every intended error is one line on standard error."""
    _open_streams()
    end_on_signals()
    keep_freed_memory()
    wait_politely()
    command = set(sys.argv[1:2]) & set(_MODULES)
    try:
        _start_log(os.environ.get("CYCLEINR_LOG", "WARNING"))
        _add_commands(command)
        # Not through the command's own main(), which answers interrupts and broken pipes in its own way
        group = typer.main.get_command(app)
        with group.make_context("cycleinr", sys.argv[1:]) as context:
            group.invoke(context)
        sys.stdout.flush()
        if command & _ONLY_PRINT and _Tolerant.lost:
            raise OutputError("What was to be printed could not be written. Check the free space where it goes.")
        return 0
    except CycleinrError as error:
        print(f"cycleinr: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print(f"cycleinr: {_state_of_result(command)}", file=sys.stderr)
        # As shells count
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    except BrokenPipeError:
        # What is still to be printed goes nowhere; else Python complains about it when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
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
    """Whether memory ran out where nothing of ours could say so, as in a library's loader, whose errors are alike."""
    code = getattr(error, "errno", None)
    from_loader = isinstance(error, (ImportError, OSError)) and code is None
    short = from_loader and available_memory_bytes() < _ROOM_TO_START_BYTES
    return isinstance(error, MemoryError) or code == errno.ENOMEM or short


def end_on_signals() -> None:
    """Have Ctrl-C, Ctrl-Break and SIGTERM end the work alike, nothing half-written, and SIGHUP unless it is ignored."""
    for name, usual in _ENDING.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is usual:
            signal.signal(number, _end)


def _end(number: int, frame) -> None:
    # A second one must not interrupt the clearing up
    signal.signal(number, signal.SIG_IGN)

    def end() -> None:
        raise KeyboardInterrupt(number)

    if not hold(end):
        end()


def _state_of_result(command: set[str]) -> str:
    """What an interrupt left, for the last line that the user reads."""
    if command == {"batch"}:
        return "Interrupted. Finished scans are kept; the same command goes on with the others."
    if named := names_given():
        return f"Ended, but the result was complete already: {', '.join(str(path) for path in named)}."
    return "Cancelled; nothing was written." if command else "Cancelled."


class _Tolerant(io.FileIO):
    """Drops what cannot be written, as on a full disk: a log must not end the work that it tells about."""

    lost = False
    """Whether standard output lost something."""

    def write(self, content) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError:
            _Tolerant.lost = _Tolerant.lost or self.fileno() == 1
            return len(content)


def _open_streams() -> None:
    """Have standard output and error drop what their disk has no room for, and closed streams (``>&-``) be there.

    Otherwise the next file that is opened takes a closed stream's number, and what a library prints goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
            continue
        buffer = getattr(stream, "buffer", None)
        # With PYTHONUNBUFFERED there is no buffer between.
        if name != "stdin" and isinstance(getattr(buffer, "raw", buffer), io.FileIO):
            stream.flush()
            tolerant = io.BufferedWriter(_Tolerant(number, "w", closefd=False))
            at_once = stream.line_buffering or isinstance(buffer, io.FileIO) or name == "stderr"
            # A file's name in letters that the encoding lacks, as often on Windows, must not end the work
            text = io.TextIOWrapper(tolerant, stream.encoding, "backslashreplace", line_buffering=at_once)
            setattr(sys, name, text)
