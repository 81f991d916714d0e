"""Names that a file system takes but the libraries that read and write files do not, and the other way round."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import InputError, OutputError


def check_scan_name(path: Path) -> None:
    """Check that the libraries can open a file or folder of this name: SimpleITK ends the process on some.

    :raises InputError: its name, or that of a folder above it, is not UTF-8.
    """
    if not _is_utf8(path):
        raise InputError(f"The name {str(path)!r} is not UTF-8. Rename the file or folder, or give a link to it.")


def check_result_name(path: Path) -> None:
    """Check that a result can have this name.

    :raises OutputError: it is not UTF-8, or longer than the file system allows.
    """
    if not _is_utf8(path):
        raise OutputError(f"The name {str(path)!r} is not UTF-8. Choose another name for the result.")
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            raise OutputError(
                f"{path.name[:40]}... cannot be the name of a result ({error.strerror}): it has {len(path.name)} "
                "characters. Choose a shorter one."
            ) from error


def _is_utf8(path: Path) -> bool:
    try:
        os.fsencode(path).decode()
    except ValueError:
        return False
    return True
