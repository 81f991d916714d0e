"""The private folder through which application and worker pass files: volumes as ``.npy``, plain files only, and none
larger than the memory."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from .. import InputError, OutputError
from ..computer import check_room
from ..geometry import Acquisition
from ..volume import Volume
from .protocol import FOLDER_PREFIX, VolumeMessage

CHUNK_BYTES = 4_000_000
"""Copied between two turns of the event loop; takes a few milliseconds."""


def load_volume(folder: Path, message: VolumeMessage) -> Volume:
    """The volume of a message, mapped from its files, not copied; InputError and OutOfMemoryError as for any scan."""
    return Volume(
        _load_array(folder, message.file),
        np.array(message.ijk_to_ras),
        message.modality,
        message.slice_thickness_mm,
        notes=tuple(message.notes),
        acquisition=None if message.acquisition is None else Acquisition(**vars(message.acquisition)),
        valid=None if message.valid is None else _load_array(folder, message.valid),
        made_by_cycleinr=message.made_by_cycleinr,
    )


def _load_array(folder: Path, name: str) -> np.ndarray:
    path = folder / name
    check_plain_file(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"The volume's file {name} cannot be read: {error}.") from error
    # Before anybody looks at the voxels: a file with holes promises terabytes that take no room on the disk
    check_room("The scan", array.shape, array.dtype.itemsize)
    return array


def save_array(folder: Path, name: str, array: np.ndarray) -> None:
    """Write an array into the private folder; OutputError where there is no room, or a link has the file's name."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(folder / name, flags, 0o600), "wb") as file:
            np.save(file, array, allow_pickle=False)
    except OSError as error:
        raise OutputError(
            f"The result could not be handed over ({error.strerror or error}). Free space in {folder.parent}."
        ) from error


def check_plain_file(path: Path) -> None:
    """Check that a name in the private folder is that of a file, with an InputError: opening a pipe waits for ever."""
    try:
        kind = os.lstat(path).st_mode
    except OSError as error:
        raise InputError(f"The file {path.name} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(kind):
        raise InputError(f"The file {path.name} cannot be read: it is no plain file.")


def save_in_steps(array: np.ndarray, path: Path) -> Iterator[float]:
    """Write an array as an ``.npy`` file; yields the fraction that is written."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        for start, stop in chunks(array):
            file.write(np.ascontiguousarray(array[start:stop]).data)
            yield stop / len(array)


def chunks(array: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of slices that hold about ``CHUNK_BYTES`` each."""
    step = max(1, CHUNK_BYTES // max(1, array[0].nbytes))
    for start in range(0, len(array), step):
        yield start, min(start + step, len(array))


class PrivateFolder:
    """The folder as the application keeps it: one at a time; what cannot be deleted yet is tried again.

    Windows deletes no file that a process still has mapped, which an engine that was killed may have for a moment.

    Attributes:
        path: The folder; None between ``remove`` and ``make``.
    """

    def __init__(self):
        self.path: Path | None = None
        self._left: list[Path] = []

    def make(self, root: Path) -> Path:
        """Make a new folder in ``root``, and remove what this or a crashed application had to leave there."""
        pids = {path: path.name.split("-")[1] for path in root.glob(f"{FOLDER_PREFIX}[0-9]*-*")}
        own = str(os.getpid())
        self.discard(path for path, pid in pids.items() if pid.isdigit() and pid != own and not _is_running(int(pid)))
        self.path = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{own}-", dir=root))
        return self.path

    def discard(self, paths: Iterable[Path]) -> None:
        """Delete what nobody needs any more. Never raises; what is in use goes later."""
        self._left = [path for path in (*self._left, *paths) if not _delete(path)]

    def remove(self) -> None:
        """Delete the folder. Never raises; what is in use in it goes later."""
        self.discard([] if self.path is None else [self.path])
        self.path = None


def _delete(path: Path) -> bool:
    """Delete as much as can be; whether nothing is left, since what is in use is tried again."""
    with suppress(OSError):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
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
        pass
    return True
