"""Zip archives of scans, unpacked into a private folder that goes away again.

An archive may lie about everything: names that lead out of the folder, links, sizes, and data that unpack to thousands
of times their length. Nothing of it is believed before it is counted.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, OutOfMemoryError

_MARK = b"PK\x03\x04"
_PIECE_BYTES = 1 << 20
_PASSWORD = 0x1
_FAILURES = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)
"""What Python's reader raises for archives that are damaged, or packed in ways that it does not know."""


@dataclass(frozen=True)
class Limits:
    """What an archive may come to.

    Attributes:
        files: How many there may be.
        total_bytes: Of all of them, unpacked.
        ratio: Unpacked to packed, of archives beyond ``small_bytes``; images of air alone pack to a hundredth.
    """

    files: int = 100_000
    total_bytes: int = 32 << 30
    ratio: int = 200
    small_bytes: int = 256 << 20


LIMITS = Limits()


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, by its content.

    Raises:
        OSError: It cannot be opened.
    """
    with open(path, "rb") as file:
        start = file.read(132)
    return start.startswith(_MARK) and start[128:] != b"DICM"


@contextmanager
def unpacked(path: Path, limits: Limits = LIMITS) -> Iterator[Path]:
    """A folder with the files of an archive while the block runs.

    Raises:
        InputError: The archive is damaged, has a password, or holds what no archive of a scan does.
        OutOfMemoryError: The disk of temporary files has no room for it.
    """
    try:
        private = tempfile.TemporaryDirectory(prefix="cycleinr-zip-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room(path, error) from error
    with private as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _check(path, archive, limits, Path(folder))
                _unpack(path, archive, limits, Path(folder))
        except _FAILURES as error:
            raise InputError(
                f"{path.name} cannot be unpacked: it is damaged, or packed in a way that is not known. Copy it again, "
                "or unpack it yourself and give the folder."
            ) from error
        yield Path(folder)


def _check(path: Path, archive: zipfile.ZipFile, limits: Limits, folder: Path) -> None:
    """What the archive's own list says, before anything is unpacked."""
    members = archive.infolist()
    if len(members) > limits.files:
        raise _refused(path, f"it holds {len(members)} files, more than {limits.files}")
    for member in members:
        if _leads_out(member.filename):
            raise _refused(path, "a name in it leads out of the folder")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(path, "it holds links or devices")
        if member.flag_bits & _PASSWORD:
            raise InputError(f"{path.name} has a password. Unpack it and give the folder.")
    promised = sum(member.file_size for member in members)
    _check_size(path, promised, limits)
    free = shutil.disk_usage(folder).free
    if promised > free:
        raise OutOfMemoryError(
            f"{path.name} unpacks to {promised / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free for temporary files. "
            "Free space, or set TMPDIR to another folder."
        )


def _check_size(path: Path, size: int, limits: Limits) -> None:
    if size > limits.total_bytes:
        raise _refused(path, f"it unpacks to more than {limits.total_bytes / 1e9:.0f} GB")
    if size > max(limits.small_bytes, limits.ratio * path.stat().st_size):
        raise _refused(path, f"it unpacks to more than {limits.ratio} times its own size")


def _unpack(path: Path, archive: zipfile.ZipFile, limits: Limits, folder: Path) -> None:
    total = 0
    for member in archive.infolist():
        if member.is_dir():
            continue
        target = folder.joinpath(*re.split(r"[\\/]", member.filename))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, open(target, "xb") as file:
                while piece := packed.read(_PIECE_BYTES):
                    total += len(piece)
                    _check_size(path, total, limits)
                    file.write(piece)
        except FileExistsError as error:
            raise _refused(path, "two of its files have one name") from error
        except OSError as error:
            raise _no_room(path, error) from error


def _no_room(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path.name} cannot be unpacked to a temporary folder ({error.strerror}). Unpack it and give the folder."
    )


def _leads_out(name: str) -> bool:
    parts = re.split(r"[\\/]", name.rstrip("/\\"))
    return os.path.isabs(name) or ".." in parts or "" in parts or ":" in name or "\0" in name


def _refused(path: Path, why: str) -> InputError:
    return InputError(f"{path.name} is not unpacked: {why}. Unpack it yourself if you trust it, and give the folder.")
