"""The private folder through which application and worker pass files, as the application keeps it."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .protocol import FOLDER_PREFIX


class PrivateFolder:
    """One folder at a time; what cannot be deleted yet is tried again.

    Windows deletes no file that a process still has mapped, which an engine that was killed may have for a moment.

    Attributes:
        path: The folder; None between ``remove`` and ``make``.
    """

    def __init__(self):
        self.path: Path | None = None
        self._left: list[Path] = []

    def make(self, root: Path) -> Path:
        """Make a new folder in ``root``, and remove what this or a crashed application had to leave there."""
        for path in root.glob(f"{FOLDER_PREFIX}[0-9]*-*"):
            pid = path.name.removeprefix(FOLDER_PREFIX).split("-")[0]
            if pid.isdigit() and int(pid) != os.getpid() and not _is_running(int(pid)):
                self._left.append(path)
        self._delete_left()
        self.path = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=root))
        return self.path

    def discard(self, files: Iterable[Path]) -> None:
        """Delete files that nobody needs any more. Never raises; those in use go later."""
        self._left += files
        self._delete_left()

    def remove(self) -> None:
        """Delete the folder. Never raises; what is in use in it goes later."""
        if self.path is not None:
            self._left.append(self.path)
            self.path = None
        self._delete_left()

    def _delete_left(self) -> None:
        self._left = [path for path in self._left if not _delete(path)]


def _delete(path: Path) -> bool:
    """Delete as much as can be; whether nothing is left."""
    try:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    except OSError as error:
        logging.info("%s is in use and will be deleted later (%s).", path.name, error.strerror)
    return not path.exists()


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":
        import ctypes

        synchronize, timed_out = 0x00100000, 0x102
        handle = ctypes.windll.kernel32.OpenProcess(synchronize, False, pid)
        if not handle:
            return False
        try:
            return ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == timed_out
        finally:
            ctypes.windll.kernel32.CloseHandle(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
