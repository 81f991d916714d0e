"""CSV tables of scans: each line names an input, as the command line does, with settings of its own."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import CycleinrError, InputError, RequestError
from ..grid import Target
from ..request import BUNDLED
from .names import safe_name, with_ending
from .settings import Settings

COLUMNS = (
    "input", "output", "spacing", "ratio", "isotropic", "axis", "thickness", "model", "extent", "format", "series",
    "frame",
)  # fmt: skip
_BLANKS = " \t"
_YES, _NO = {"yes", "true", "1"}, {"no", "false", "0"}


@dataclass(frozen=True)
class Line:
    """An input with its settings, from the command line or a table.

    Attributes:
        source: What ``find_scans`` looks at.
        output: The result's name in the output folder; "" for one that is made for it.
        where: The table and the number of the line; "" from the command line.
        series, frame: Which scans are meant of those that are found there.
    """

    source: str
    settings: Settings
    output: str = ""
    where: str = ""
    series: str = ""
    frame: int | None = None


def read_table(path: Path, defaults: Settings, needs_target: bool) -> list[Line]:
    """Read all lines, or none.

    Empty cells mean the command line's options; relative inputs and weights start at the CSV's folder. Any of spacing,
    ratio and isotropic replaces the command line's.

    Args:
        defaults: Settings of the command line.
        needs_target: Whether the command line names no spacing, ratio or isotropic, so that each line must.

    Raises:
        InputError: The file cannot be read or has no lines.
        RequestError: An unknown or missing column, or a line that makes no sense; the text names the line.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The table {path.name} cannot be read ({error}). Save it as CSV in UTF-8.") from error
    first = text.partition("\n")[0]
    # Line breaks within quotes belong to their cell, and spreadsheets write ; where the comma is the decimal mark
    delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines = []
    try:
        _check_columns(path, [name.strip(_BLANKS) for name in reader.fieldnames or ()])
        for cells in reader:
            where = f"{path.name}, line {reader.line_num}"
            if None in cells or None in cells.values():
                raise RequestError(f"{where}: the number of cells is not that of the columns. Repair the line.")
            clean = {key.strip(_BLANKS): value.strip(_BLANKS) for key, value in cells.items()}
            if any(clean.values()):
                try:
                    lines.append(_line(clean, path.parent, defaults, needs_target, where))
                except CycleinrError as error:
                    raise RequestError(f"{where}: {error}") from error
    except csv.Error as error:
        raise RequestError(f"{path.name}, line {reader.line_num}: {error}. Repair the quotes.") from error
    if not lines:
        raise InputError(f"The table {path.name} has no lines below its columns. Add a line for each scan.")
    return lines


def _check_columns(path: Path, names: list[str]) -> None:
    unknown = [repr(name) for name in names if name not in COLUMNS]
    twice = sorted({name for name in names if names.count(name) > 1})
    wrong = ""
    if unknown:
        wrong = f"the unknown column {', '.join(unknown)}"
    elif twice:
        wrong = f"the column {', '.join(twice)} twice"
    elif "input" not in names:
        wrong = "no column input"
    if wrong:
        raise RequestError(f"The table {path.name} has {wrong}. Its columns may be {', '.join(COLUMNS)}.")


def _line(cells: Mapping[str, str], folder: Path, defaults: Settings, needs_target: bool, where: str) -> Line:
    if not cells["input"]:
        raise RequestError("the input is empty. Give a file, a DICOM folder or one file of a series.")
    settings = _settings(cells, folder, defaults, needs_target)
    settings.weights_sha256()
    output, frame = cells.get("output", ""), _number(cells, "frame")
    if output:
        output = with_ending(safe_name(output), settings.ending(Path(cells["input"])), settings.format)
    if frame is not None and not frame.is_integer():
        raise RequestError(f"The frame is {cells['frame']}. Give a whole number from 1.")
    # os.path.join leaves absolute paths as they are
    source = os.path.join(folder, cells["input"])
    return Line(source, settings, output, where, cells.get("series", ""), None if frame is None else int(frame))


def _settings(cells: Mapping[str, str], folder: Path, defaults: Settings, needs_target: bool) -> Settings:
    spacing, ratio, isotropic = _number(cells, "spacing"), _number(cells, "ratio"), cells.get("isotropic", "").lower()
    if isotropic and isotropic not in _YES | _NO:
        raise RequestError(f"isotropic is {cells['isotropic']!r}. Write yes or no.")
    changed: dict = {name: cells[name] for name in ("axis", "extent", "model") if cells.get(name)}
    if spacing is not None or ratio is not None or isotropic in _YES:
        changed["target"] = Target(spacing, ratio, isotropic in _YES)
    elif needs_target:
        raise RequestError("No spacing, ratio or isotropic is given, here or on the command line. Give one of them.")
    if cells.get("thickness"):
        changed["thickness_mm"] = None if cells["thickness"] == "auto" else _number(cells, "thickness")
    if changed.get("model", "auto") not in ("auto", *BUNDLED):
        changed["model"] = os.path.join(os.path.abspath(folder), changed["model"])
    options = replace(defaults.options, **changed)
    return replace(defaults, options=options, format=cells.get("format") or defaults.format)


def _number(cells: Mapping[str, str], column: str) -> float | None:
    text = cells.get(column, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise RequestError(f"The {column} is {text!r}, which is no number. Write for example 1.5.") from None
