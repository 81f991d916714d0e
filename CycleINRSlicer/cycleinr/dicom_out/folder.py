"""A folder of DICOM files that appears complete or not at all, and never in place of somebody's files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from ..files.atomic import OwnFolder, new_folder
from ..files.dicom_header import quiet, read_header

MANUFACTURER = "CycleINR"
"""Manufacturer (0008,0070) of all that is written here; also tells our own files from a scanner's."""

_OUR_NAME = re.compile(r"IM\d{4,}\.dcm")


def is_slice_name(name: str) -> bool:
    """Whether a slice that is written here may have this name."""
    return _OUR_NAME.fullmatch(name) is not None


def check_series_folder(folder: Path, overwrite: bool, source_folder: Path | None = None) -> None:
    """Check that a series may be written as ``folder``, before any work is spent on it.

    Args:
        overwrite: Replace a series that was written here before; a folder with anything else in it is never touched.
        source_folder: Folder of the source's files, which must stay.

    Raises:
        OutputError: The folder above is missing or closed, or ``folder`` holds something.
    """
    if source_folder is not None and Path(folder).resolve() == Path(source_folder).resolve():
        raise OutputError(f"{folder} holds the source series, which is never replaced. Choose another folder.")
    OwnFolder("result", "a DICOM series", "a series that CycleINR wrote", _is_our_series).check(folder, overwrite)


@contextmanager
def new_series_folder(folder: Path, overwrite: bool, source_folder: Path) -> Iterator[Path]:
    """A hidden folder to write into, which becomes ``folder`` with one rename when the block ends without an error.

    Raises:
        OutputError: As ``check_series_folder``; or writing failed.
    """
    with new_folder(folder, lambda: check_series_folder(folder, overwrite, source_folder)) as staged:
        yield staged


def _is_our_series(folder: Path) -> bool:
    return all(is_slice_name(entry.name) and _is_our_file(entry) for entry in folder.iterdir())


def _is_our_file(path: Path) -> bool:
    try:
        with quiet():
            return read_header(path, ["Manufacturer"]).get("Manufacturer") == MANUFACTURER
    # Whatever cannot be read is not known to be ours, so it stays.
    except Exception:
        return False
