"""Standard input, output and error that were closed, have lost their reader, or lie on a full disk."""

from __future__ import annotations

import io
import os
import sys

from ..errors import OutputError

EXIT_READER_GONE = 141
"""128 + SIGPIPE, which is what a shell shows for programs that the signal ends."""


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
