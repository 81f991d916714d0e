"""The report's folder and its files: numbers, error maps, and the page with pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError
from ..files import write_volume
from ..volume import Volume
from .figures import curve_png, noise_png, planes_png, trust_png
from .html import page
from .numbers import numbers
from .run import Check

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


@dataclass(frozen=True, eq=False)
class Reported:
    """One run to report on.

    :param volume, result: its input and output.
    :param input_name, output_name: names of their files, without folders.
    :param provenance: how the result was made.
    :param check: what was found out.
    """

    volume: Volume
    result: Volume
    input_name: str
    output_name: str
    provenance: Mapping[str, str]
    check: Check


def write_report(run: Reported, folder: Path) -> None:
    """Write report.html, report.json and, unless there is no self-check, both maps into an empty folder.

    The page refers to nothing outside itself.

    :raises OutputError: a file cannot be written.
    """
    check, found = run.check, numbers(run.check)
    about = {"input": run.input_name, "output": run.output_name, "made": dict(run.provenance)}
    content = {"kind": KIND, "derived": run.provenance["derived"], **about, **found}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / NUMBERS).write_text(text, encoding="utf-8")
    pictures = {"planes": planes_png(run.volume, run.result, check.work, check.window), "noise": noise_png(found)}
    if check.self_check is not None:
        note = {"about": f"Self-check error map, {check.unit}", "derived": run.provenance["derived"]}
        write_volume(check.self_check.error_map, folder / ERROR_MAP, note)
        expected = {"about": f"Expected absolute error, {check.unit}", "derived": run.provenance["derived"]}
        write_volume(check.expected_error, folder / EXPECTED, expected)
        pictures["curve"] = curve_png(found)
        pictures["trust"] = trust_png(run.volume, check)
    (folder / PAGE).write_text(page(content, pictures), encoding="utf-8")
