"""Faults of the file system at a chosen step: the n-th change below a folder fails, or ends the process.

Python tells of every file that is opened, renamed, linked or made before it happens (PEP 578), so nothing of the engine
is replaced. What ITK writes by itself is not seen here; limits of the system (``RLIMIT_FSIZE``) reach that.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_CHANGES = {"os.rename": 1, "os.link": 1, "os.mkdir": 0, "os.symlink": 1}
"""Event -> which of its arguments names what is made."""


class FaultInjector:
    """Counts changes below a folder, and does something before the n-th one.

    Use `INJECTOR`; a hook cannot be taken away again.
    """

    def __init__(self):
        self._folder: Path | None = None
        self._fault: Callable[[], None] | None = None
        self._at = self.seen = 0
        sys.addaudithook(self._hook)

    @contextmanager
    def armed(self, folder: Path, at: int, fault: Callable[[], None]) -> Iterator[FaultInjector]:
        """Have `fault` called before the change number `at`, counted from 1; `seen` counts all of them."""
        self.seen, self._at, self._fault, self._folder = 0, at, fault, folder
        try:
            yield self
        finally:
            self._folder = None

    def _hook(self, event: str, arguments: tuple) -> None:
        if self._folder is None or not (path := _changed(event, arguments)):
            return
        if self._folder in Path(path).parents:
            self.seen += 1
            if self.seen == self._at:
                self._fault()


def _changed(event: str, arguments: tuple) -> str:
    """The path that an event changes; "" if it changes none."""
    if event == "open":
        path, mode, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if mode is None else set(mode) & set("wxa+")
        return path if writes and isinstance(path, str) else ""
    return str(arguments[_CHANGES[event]]) if event in _CHANGES else ""


def disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def permission_lost() -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


INJECTOR = FaultInjector()

FAULTS = {fault.__name__: fault for fault in (disk_full, permission_lost, killed, terminated)}


def main() -> int:
    """``python injection.py FAULT AT FOLDER cycleinr-arguments...``: the command line with one fault in it."""
    name, at, folder, *arguments = sys.argv[1:]
    from cycleinr.cli.app import run

    sys.argv = ["cycleinr", *arguments]
    with INJECTOR.armed(Path(folder), int(at), FAULTS[name]):
        return run()


if __name__ == "__main__":
    sys.exit(main())
