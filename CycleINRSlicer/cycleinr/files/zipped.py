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
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .. import InputError, OutOfMemoryError
from .atomic import leads_out
from .samples import start_of

_PASSWORD = 0x1
_FAILURES = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)
"""What Python's reader raises for archives that are damaged, or packed in ways that it does not know."""


_MOST_FILES, _MOST_BYTES = 100_000, 32 << 30
_SMALL_BYTES, _RATIO = 256 << 20, 200
"""Unpacked to packed, of archives beyond the small ones; images of air alone pack to a hundredth."""


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, by its content; OSError where it cannot be opened."""
    start = start_of(path)
    return start.startswith(b"PK\x03\x04") and start[128:132] != b"DICM"


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder with the files of an archive while the block runs.

    Raises:
        InputError: The archive is damaged, has a password, or holds what no archive of a scan does.
        OutOfMemoryError: The disk of temporary files has no room for it.
    """
    with ExitStack() as stack:
        try:
            private = tempfile.TemporaryDirectory(prefix="cycleinr-zip-", ignore_cleanup_errors=True)
            folder = stack.enter_context(private)
            with zipfile.ZipFile(path) as archive:
                _check(path, archive.infolist(), shutil.disk_usage(folder).free)
                archive.extractall(folder)
        except _FAILURES as error:
            raise InputError(
                f"{path.name} cannot be unpacked: it is damaged, or packed in a way that is not known. Copy it again, "
                "or unpack it yourself and give the folder."
            ) from error
        except OSError as error:
            raise InputError(
                f"{path.name} cannot be unpacked to a temporary folder ({error.strerror}). Unpack it and give the "
                "folder."
            ) from error
        yield Path(folder)


def _check(path: Path, members: list[zipfile.ZipInfo], free_bytes: int) -> None:
    promised = sum(member.file_size for member in members)
    if refused := _refusal(path, members, promised):
        raise InputError(
            f"{path.name} is not unpacked: {refused}. Unpack it yourself if you trust it, and give the folder."
        )
    if promised > free_bytes:
        raise OutOfMemoryError(
            f"{path.name} unpacks to {promised / 1e9:.1f} GB, and {free_bytes / 1e9:.1f} GB are free for temporary "
            "files. Free space, or set TMPDIR to another folder."
        )


def _refusal(path: Path, members: list[zipfile.ZipInfo], promised: int) -> str:
    """Why an archive is not unpacked, by its own list; "" where nothing is wrong."""
    if len(members) > _MOST_FILES:
        return f"it holds {len(members)} files, more than {_MOST_FILES}"
    if any(leads_out(member.filename) for member in members):
        return "a name in it leads out of the folder"
    if any(stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR) for member in members):
        return "it holds links or devices"
    # Other systems' disks do not tell names apart by case
    same = str if sys.platform.startswith("linux") else str.casefold
    if len({same(member.filename) for member in members}) < len(members):
        return "two of its files have one name"
    if promised > _MOST_BYTES:
        return f"it unpacks to more than {_MOST_BYTES / 1e9:.0f} GB"
    if promised > max(_SMALL_BYTES, _RATIO * path.stat().st_size):
        return f"it unpacks to more than {_RATIO} times its own size"
    return "it has a password" if any(member.flag_bits & _PASSWORD for member in members) else ""
