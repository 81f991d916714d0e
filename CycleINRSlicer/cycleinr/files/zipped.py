"""Zip archives of scans, unpacked into a private folder that goes away again.

An archive may lie about everything: names that lead out of the folder, links, sizes, and data that unpack to thousands
of times their length. Python's reader unpacks no more of a file than its list says, so the list is what is checked.
"""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, OutOfMemoryError
from .atomic import leads_out

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
    """Whether a file is a zip archive, by its content; OSError where it cannot be opened."""
    with open(path, "rb") as file:
        start = file.read(132)
    return start.startswith(b"PK\x03\x04") and start[128:] != b"DICM"


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
                if refused := _refusal(path, archive.infolist(), limits):
                    raise InputError(
                        f"{path.name} is not unpacked: {refused}. Unpack it yourself if you trust it, and give the "
                        "folder."
                    )
                _check_room(path, archive, folder)
                archive.extractall(folder)
        except _FAILURES as error:
            raise InputError(
                f"{path.name} cannot be unpacked: it is damaged, or packed in a way that is not known. Copy it again, "
                "or unpack it yourself and give the folder."
            ) from error
        except OSError as error:
            raise _no_room(path, error) from error
        yield Path(folder)


def _refusal(path: Path, members: list[zipfile.ZipInfo], limits: Limits) -> str:
    """Why an archive is not unpacked, by its own list; "" where nothing is wrong."""
    promised = sum(member.file_size for member in members)
    if len(members) > limits.files:
        return f"it holds {len(members)} files, more than {limits.files}"
    if any(leads_out(member.filename) for member in members):
        return "a name in it leads out of the folder"
    if any(stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR) for member in members):
        return "it holds links or devices"
    # Other systems' disks do not tell names apart by case
    same = str if sys.platform.startswith("linux") else str.casefold
    if len({same(member.filename) for member in members}) < len(members):
        return "two of its files have one name"
    if promised > limits.total_bytes:
        return f"it unpacks to more than {limits.total_bytes / 1e9:.0f} GB"
    if promised > max(limits.small_bytes, limits.ratio * path.stat().st_size):
        return f"it unpacks to more than {limits.ratio} times its own size"
    return ""


def _check_room(path: Path, archive: zipfile.ZipFile, folder: str) -> None:
    if any(member.flag_bits & _PASSWORD for member in archive.infolist()):
        raise InputError(f"{path.name} has a password. Unpack it and give the folder.")
    promised, free = sum(member.file_size for member in archive.infolist()), shutil.disk_usage(folder).free
    if promised > free:
        raise OutOfMemoryError(
            f"{path.name} unpacks to {promised / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free for temporary files. "
            "Free space, or set TMPDIR to another folder."
        )


def _no_room(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path.name} cannot be unpacked to a temporary folder ({error.strerror}). Unpack it and give the folder."
    )
