"""How the command line ends when somebody else decides: signals, readers that go away, streams that were closed."""

from __future__ import annotations

import os
import signal
import sys

EXIT_READER_GONE = 141
"""128 + SIGPIPE, which is what a shell shows for programs that the signal ends."""

_SIGNALS = ("SIGTERM", "SIGHUP")


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP; ends the work as Ctrl-C does, so that nothing half-written stays."""

    def __init__(self, number: int):
        super().__init__(f"signal {number}")
        self.number = number


def end_on_signals() -> None:
    """Raise ``Ended`` on SIGTERM, and on SIGHUP unless it is ignored, as ``nohup`` wants it."""
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame) -> None:
    # A second one must not interrupt the clearing up
    signal.signal(number, signal.SIG_IGN)
    raise Ended(number)


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
