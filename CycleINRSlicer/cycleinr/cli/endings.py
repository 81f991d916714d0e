"""How the command line ends when somebody else decides: signals."""

from __future__ import annotations

import signal

from ..files.one_piece import hold, names_given

_ENDING = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
"""Signals that end the work, and what they do as long as nobody wants something else."""

_WRITE_AT_THE_END = ("upsample", "batch", "info", "demo")


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

    :param command: what was interrupted, such as "upsample".
    """
    if named := names_given():
        return f"Ended, but the result was complete already: {', '.join(str(path) for path in named)}."
    return "Cancelled; nothing was written." if command in _WRITE_AT_THE_END else "Cancelled."


def exit_code_of(interrupt: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells count."""
    return 128 + getattr(interrupt, "number", signal.SIGINT)
