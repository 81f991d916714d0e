"""The report's folder: which files it has, and when it may be replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import OutputError

PAGE, NUMBERS, ERROR_MAP, EXPECTED = "report.html", "report.json", "self_check.nii.gz", "expected_error.nii.gz"
FILES = (PAGE, NUMBERS, ERROR_MAP, EXPECTED)
KIND = "CycleINR report"
"""What the JSON says that it is; also tells our own folders from others."""


def is_report_file(name: str) -> bool:
    """Whether a report has a file of this name; whatever else lies in its folder is the user's."""
    return name in FILES


def check_report_folder(folder: Path, overwrite: bool) -> None:
    """Check that a report may be written as ``folder``, before any work is spent on it.

    :param overwrite: replace a report that was written here before; a folder with anything else in it is never touched.
    :raises OutputError: the folder above is missing or closed, or ``folder`` holds something.
    """
    folder = Path(folder).resolve()
    if not folder.parent.is_dir():
        raise OutputError(f"The folder {folder.parent} for the report does not exist. Create it first.")
    if not os.access(folder.parent, os.W_OK):
        raise OutputError(f"The folder {folder.parent} for the report may not be written to. Choose another one.")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; a report needs a folder. Choose another name.")
    if not any(folder.iterdir()):
        return
    if not _is_our_report(folder):
        raise OutputError(
            f"{folder} holds other files than a report of CycleINR, and was left as it was. Choose a new or an empty "
            "folder."
        )
    if not overwrite:
        raise OutputError(f"The report {folder} exists already. Add --overwrite to replace it, or choose another name.")


def _is_our_report(folder: Path) -> bool:
    if not all(is_report_file(entry.name) for entry in folder.iterdir()):
        return False
    try:
        return json.loads((folder / NUMBERS).read_text(encoding="utf-8")).get("kind") == KIND
    # Whatever cannot be read is not known to be ours, so it stays.
    except (OSError, ValueError, AttributeError):
        return False
