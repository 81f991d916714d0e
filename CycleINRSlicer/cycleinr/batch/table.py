"""What is wanted of each scan: settings, and CSV tables whose lines name scans with settings of their own.

Imports no torch.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

from .. import CycleinrError, InputError, RequestError
from ..dicom_out import DicomSettings
from ..files import image_suffix
from ..grid import Target
from ..request import BUNDLED, UpsampleOptions, find_weights, parse_number, parse_thickness
from ..weights import read_card
from .results import digest, safe_name, with_ending

RESULT_FORMATS = ("auto", "nii.gz", "nii", "nrrd", "mha", "dicom", "dicom-enhanced")
COLUMNS = (
    "input", "output", "spacing", "ratio", "isotropic", "axis", "thickness", "model", "extent", "format", "series",
    "frame",
)  # fmt: skip
_ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}
_ALWAYS_SAID = ("target", "axis", "extent", "thickness_mm", "model")
"""Options that every hash covers; a newer one is said only where it is used, so that results stay valid."""

_DOES_NOT_CHANGE_THE_RESULT = ("device", "memory_limit_gb")
_BLANKS = " \t"
_YES, _NO = {"yes", "true", "1"}, {"no", "false", "0"}


@dataclass(frozen=True)
class Settings:
    """One scan's options.

    Attributes:
        options: As for a single scan.
        format: "nii.gz", "nii", "nrrd", "mha", "dicom", "dicom-enhanced", or "auto" for the input's own format and
            .nii.gz for DICOM.
        dicom: How DICOM series are written.
        report: Also check the result without ground truth, into a folder beside it.

    Raises:
        RequestError: There is no such format.
    """

    options: UpsampleOptions
    format: str = "auto"
    dicom: DicomSettings = DicomSettings()
    report: bool = False

    def __post_init__(self) -> None:
        if self.format not in RESULT_FORMATS:
            raise RequestError(f"The format is {self.format!r}. Choose one of {', '.join(RESULT_FORMATS)}.")

    @property
    def content(self) -> dict:
        """Everything that decides the result, as JSON holds it."""
        default = {one.name: one.default for one in fields(UpsampleOptions)}
        wanted = {
            name: value
            for name, value in asdict(self.options).items()
            if name in _ALWAYS_SAID or (name not in _DOES_NOT_CHANGE_THE_RESULT and value != default[name])
        }
        # What came later is said only where it is used, so that batches from before are not done again
        dicom = {name: value for name, value in asdict(self.dicom).items() if name != "multi_frame" or value}
        return {**wanted, "format": self.format, "dicom": dicom, **({"report": True} if self.report else {})}

    @property
    def sha256(self) -> str:
        """Hash of ``content``."""
        return digest(self.content)

    def weights_sha256(self) -> dict[str, str]:
        """Hashes of the weights that may be used, by name; a ModelError says that there are none, or no card."""
        names = BUNDLED if self.options.model == "auto" else (self.options.model,)
        return {name: _hash_of_weights(name) for name in names}

    def ending(self, input: Path) -> str:
        """How the result's name ends: ".nii.gz" and so on, "" for a DICOM series."""
        if self.format == "auto":
            suffix = image_suffix(input)
            return _ONE_FILE.get(suffix, suffix) or ".nii.gz"
        return "" if self.format.startswith("dicom") else f".{self.format}"


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
        needs_target: The command line names no spacing, ratio or isotropic, so each line must.

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
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines = []
    try:
        columns = [name.strip(_BLANKS) for name in next(reader, [])]
        _check_columns(path, columns)
        for row in reader:
            cells = [cell.strip(_BLANKS) for cell in row]
            where = f"{path.name}, line {reader.line_num}"
            if not any(cells):
                continue
            if len(cells) != len(columns):
                raise RequestError(f"{where}: the number of cells is not that of the columns. Repair the line.")
            try:
                given = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
                lines.append(replace(_line(given, path.parent, defaults, needs_target), where=where))
            except CycleinrError as error:
                raise RequestError(f"{where}: {error}") from error
    except csv.Error as error:
        raise RequestError(f"{path.name}, line {reader.line_num}: {error}. Repair the quotes.") from error
    if not lines:
        raise InputError(f"The table {path.name} has no lines below its columns. Add a line for each scan.")
    return lines


def _check_columns(path: Path, names: list[str]) -> None:
    wrong = [f"the unknown column {name!r}" for name in names if name not in COLUMNS]
    wrong += [f"the column {name} twice" for name in COLUMNS if names.count(name) > 1]
    wrong += [] if "input" in names else ["no column input"]
    if wrong:
        raise RequestError(f"The table {path.name} has {', '.join(wrong)}. Its columns may be {', '.join(COLUMNS)}.")


def _line(cells: Mapping[str, str], folder: Path, defaults: Settings, needs_target: bool) -> Line:
    """A line from its cells that are not empty."""
    if "input" not in cells:
        raise RequestError("the input is empty. Give a file, a DICOM folder or one file of a series.")
    numbers = {name: parse_number(cells[name], name) for name in ("spacing", "ratio", "frame") if name in cells}
    spacing, ratio, frame = map(numbers.get, ("spacing", "ratio", "frame"))
    isotropic = cells.get("isotropic", "no").lower()
    if isotropic not in _YES | _NO:
        raise RequestError(f"isotropic is {cells['isotropic']!r}. Write yes or no.")
    if frame is not None and not frame.is_integer():
        raise RequestError(f"The frame is {cells['frame']}. Give a whole number from 1.")
    changed: dict = {name: cells[name] for name in ("axis", "extent", "model") if name in cells}
    if spacing is not None or ratio is not None or isotropic in _YES:
        changed["target"] = Target(spacing, ratio, isotropic in _YES)
    elif needs_target:
        raise RequestError("No spacing, ratio or isotropic is given, here or on the command line. Give one of them.")
    if "thickness" in cells:
        changed["thickness_mm"] = parse_thickness(cells["thickness"])
    if changed.get("model", "auto") not in ("auto", *BUNDLED):
        changed["model"] = os.path.join(os.path.abspath(folder), changed["model"])
    settings = replace(
        defaults, options=replace(defaults.options, **changed), format=cells.get("format", defaults.format)
    )
    settings.weights_sha256()
    output = cells.get("output", "")
    if output:
        output = with_ending(safe_name(output), settings.ending(Path(cells["input"])), settings.format)
    # os.path.join leaves absolute paths as they are
    source = os.path.join(folder, cells["input"])
    return Line(source, settings, output, "", cells.get("series", ""), None if frame is None else int(frame))


@cache
def _hash_of_weights(name: str) -> str:
    return str(read_card(find_weights(name)).get("sha256"))
