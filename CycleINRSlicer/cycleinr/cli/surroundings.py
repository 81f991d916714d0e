"""What happens around a command: signals that end it, and standard streams that were closed, have lost their reader,
or lie on a full disk."""

from __future__ import annotations

import io
import os
import signal
import sys

from ..errors import OutputError
from ..files.atomic import hold, names_given

COMMANDS = ("upsample", "batch", "info", "demo")
"""Our own; what they write, they write at the end."""

INCOMPLETE = 10
"""Exit code of a command for several scans of which some failed."""

EXIT_READER_GONE = 141
"""128 + SIGPIPE, which is what a shell shows for programs that the signal ends."""

_ENDING = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
"""Signals that end the work, and what they do as long as nobody wants something else."""


class Ended(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP; ends the work as Ctrl-C does, so that nothing half-written stays."""

    def __init__(self, number: int):
        super().__init__(f"signal {number}")
        self.number = number


def end_on_signals() -> None:
    """Raise ``Ended`` on Ctrl-C and SIGTERM, and on SIGHUP unless it is ignored, as ``nohup`` wants it."""
    for name, usual in _ENDING.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is usual:
            signal.signal(number, _end)


def _end(number: int, frame) -> None:
    # A second one must not interrupt the clearing up
    signal.signal(number, signal.SIG_IGN)

    def end() -> None:
        raise Ended(number)

    if not hold(end):
        end()


def state_of_result(command: str) -> str:
    """What an interrupt left, for the last line that the user reads.

    Args:
        command: What was interrupted, such as "upsample".
    """
    if named := names_given():
        return f"Ended, but the result was complete already: {', '.join(str(path) for path in named)}."
    return "Cancelled; nothing was written." if command in COMMANDS else "Cancelled."


def exit_code_of(interrupt: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells count."""
    return 128 + getattr(interrupt, "number", signal.SIGINT)


def open_missing_streams() -> None:
    """Put the null device where standard input, output or error was closed (``>&-``).

    Otherwise the next file that is opened takes the stream's number, and what a library prints goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def forget_reader() -> None:
    """Send to nowhere what is still to be printed; else Python complains about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class _Tolerant(io.RawIOBase):
    """Drops what cannot be written, as on a full disk: a log must not end the work that it tells about.

    Args:
        raw: Takes what can be written.
        owner: The stream that ``raw`` belongs to, which closes it when nobody has the stream any more.
    """

    def __init__(self, raw: io.RawIOBase, owner: io.TextIOBase):
        self._raw, self._owner = raw, owner
        self.lost = False

    def write(self, content) -> int | None:
        try:
            return self._raw.write(content)
        except BrokenPipeError:
            raise
        except OSError:
            self.lost = True
            return len(content)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()


def survive_full_disks() -> None:
    """Have standard output and error drop what their disk has no room for."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        # With PYTHONUNBUFFERED there is no buffer between.
        raw = getattr(buffer, "raw", buffer)
        if isinstance(raw, io.FileIO):
            stream.flush()
            tolerant = io.BufferedWriter(_Tolerant(raw, stream))
            at_once = stream.line_buffering or raw is buffer or name == "stderr"
            setattr(sys, name, io.TextIOWrapper(tolerant, stream.encoding, stream.errors, line_buffering=at_once))


def check_all_was_printed() -> None:
    """For commands whose only result is what they print.

    Raises:
        OutputError: Standard output lies on a full disk.
    """
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Tolerant) and raw.lost:
        raise OutputError("What was to be printed could not be written. Check the free space where it goes.")
