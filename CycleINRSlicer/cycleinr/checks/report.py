"""The report's folder and its files: numbers, error maps, and the page with pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..files import write_volume
from ..files.atomic import check_own_folder
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
    """``check_own_folder`` for a report."""
    check_own_folder(folder, overwrite, "report", _is_our_report)


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

    Attributes:
        volume, result: Its input and output.
        input_name, output_name: Names of their files, without folders.
        provenance: How the result was made.
        check: What was found out.
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

    Raises:
        OutputError: A file cannot be written.
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
