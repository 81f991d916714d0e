"""A CSV of scans, each with its own options."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import CycleinrError, InputError, RequestError
from ..grid import Target
from ..inference.models import BUNDLED
from .names import safe_name, with_ending
from .settings import Settings

COLUMNS = ("input", "output", "spacing", "ratio", "isotropic", "axis", "thickness", "model", "extent", "format")
_BLANKS = " \t"
_YES, _NO = {"yes", "true", "1"}, {"no", "false", "0"}


@dataclass(frozen=True)
class Row:
    """One line: the scan as text, its settings, the result's name ("" for one that is found for it), and where."""

    source: str
    settings: Settings
    output: str
    where: str


def read_table(path: Path, defaults: Settings, needs_target: bool) -> list[Row]:
    """Read all lines, or none.

    Empty cells mean the command line's options; relative inputs and weights start at the CSV's folder. Any of spacing,
    ratio and isotropic replaces the command line's.

    :param defaults: settings of the command line.
    :param needs_target: whether the command line names no spacing, ratio or isotropic, so that each line must.
    :raises InputError: the file cannot be read or has no lines.
    :raises RequestError: an unknown or missing column, or a line that makes no sense; the text names the line.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The table {path.name} cannot be read ({error}). Save it as CSV in UTF-8.") from error
    first = text.partition("\n")[0]
    # Line breaks within quotes belong to their cell, so that csv has to find the lines itself.
    lines = io.StringIO(text, newline="")
    # Spreadsheets write semicolons where the comma is the decimal mark.
    reader = csv.DictReader(lines, delimiter=";" if ";" in first and "," not in first else ",", strict=True)
    rows = []
    try:
        _check_columns(path, reader.fieldnames or ())
        for cells in reader:
            where = f"{path.name}, line {reader.line_num}"
            if None in cells or None in cells.values():
                raise RequestError(f"{where}: the number of cells is not that of the columns. Repair the line.")
            clean = {key.strip(_BLANKS): value.strip(_BLANKS) for key, value in cells.items()}
            if any(clean.values()):
                rows.append(_row(clean, path.parent, defaults, needs_target, where))
    except csv.Error as error:
        raise RequestError(f"{path.name}, line {reader.line_num}: {error}. Repair the quotes.") from error
    if not rows:
        raise InputError(f"The table {path.name} has no lines below its columns. Add a line for each scan.")
    return rows


def _check_columns(path: Path, found) -> None:
    names = [name.strip(_BLANKS) for name in found]
    unknown = [name for name in names if name not in COLUMNS]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong = ""
    if unknown:
        wrong = f"the unknown column {', '.join(map(repr, unknown))}"
    elif twice:
        wrong = f"the column {', '.join(twice)} twice"
    elif "input" not in names:
        wrong = "no column input"
    if wrong:
        raise RequestError(f"The table {path.name} has {wrong}. Its columns may be {', '.join(COLUMNS)}.")


def _row(cells: Mapping[str, str], folder: Path, defaults: Settings, needs_target: bool, where: str) -> Row:
    if not cells["input"]:
        raise RequestError(f"{where}: the input is empty. Give a file, a DICOM folder or one file of a series.")
    try:
        settings = _settings(cells, folder, defaults, needs_target)
        settings.weights_sha256()
        output = cells.get("output", "")
        if output:
            output = with_ending(safe_name(output), settings.ending(Path(cells["input"])), settings.format)
    except CycleinrError as error:
        raise RequestError(f"{where}: {error}") from error
    # os.path.join leaves absolute paths as they are.
    return Row(os.path.join(folder, cells["input"]), settings, output, where)


def _settings(cells: Mapping[str, str], folder: Path, defaults: Settings, needs_target: bool) -> Settings:
    spacing, ratio = _number(cells, "spacing"), _number(cells, "ratio")
    isotropic = _yes(cells.get("isotropic", ""))
    options = defaults.options
    if spacing is not None or ratio is not None or isotropic:
        options = replace(options, target=Target(spacing, ratio, isotropic))
    elif needs_target:
        raise RequestError("No spacing, ratio or isotropic is given, here or on the command line. Give one of them.")
    thickness = cells.get("thickness", "")
    if thickness:
        options = replace(options, thickness_mm=None if thickness == "auto" else _number(cells, "thickness"))
    model = cells.get("model", "")
    if model and model not in ("auto", *BUNDLED):
        model = os.path.join(os.path.abspath(folder), model)
    changed = {"axis": cells.get("axis", ""), "extent": cells.get("extent", ""), "model": model}
    options = replace(options, **{key: value for key, value in changed.items() if value})
    return Settings(options, cells.get("format") or defaults.format, defaults.dicom, defaults.report)


def _number(cells: Mapping[str, str], column: str) -> float | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"The {column} is {text!r}, which is no number. Write for example 1.5.") from None


def _yes(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text and text.lower() not in _NO:
        raise RequestError(f"isotropic is {text!r}. Write yes or no.")
    return False
