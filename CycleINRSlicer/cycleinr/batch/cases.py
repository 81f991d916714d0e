"""From what is asked for to cases: scans found in folders or named in a CSV, each with its settings, one output, and a
key that changes when its settings or weights do.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import CycleinrError, InputError, RequestError
from ..grid import Target
from ..inference.models import BUNDLED
from .find import Found, find_scans
from .names import candidates, occupied, path_inside, safe_name, with_ending
from .settings import Settings, digest

COLUMNS = (
    "input",
    "output",
    "spacing",
    "ratio",
    "isotropic",
    "axis",
    "thickness",
    "model",
    "extent",
    "format",
    "series",
    "frame",
)
_BLANKS = " \t"
_YES, _NO = {"yes", "true", "1"}, {"no", "false", "0"}


@dataclass(frozen=True)
class Row:
    """One line: the scan as text, its settings, the result's name ("" for one that is found for it), and where.

    Attributes:
        series, frame: Which scans are meant of those that are found there.
    """

    source: str
    settings: Settings
    output: str
    where: str
    series: str = ""
    frame: int | None = None


def read_table(path: Path, defaults: Settings, needs_target: bool) -> list[Row]:
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
    source, frame = os.path.join(folder, cells["input"]), _number(cells, "frame")
    return Row(source, settings, output, where, cells.get("series", ""), None if frame is None else int(frame))


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


@dataclass(frozen=True)
class Case:
    """One scan of a batch, complete: what any process on any machine needs to run it.

    Attributes:
        output: The result's name in the output folder.
        input: What is read; of a DICOM series, one file.
        place, series: Where the scan lies, and the series' neutral name; see ``Found``.
        settings: What is wanted.
        key: Hash of the scan's identity, the settings and the weights.
        fingerprint: Hash of the input files' names, sizes and times of change.
        frame: As in ``Found``.
        number: Of the series that is meant, where an archive holds several.
    """

    output: str
    input: Path
    place: Path
    series: str
    settings: Settings
    key: str
    fingerprint: str
    frame: int | None = None
    number: str = ""

    @property
    def identity(self) -> str:
        return f"{self.place}#{self.series}" if self.series else str(self.place)

    def to_json(self) -> dict:
        return {
            **asdict(self), "input": str(self.input), "place": str(self.place), "settings": self.settings.to_json()
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: Mapping) -> Case:
        settings = Settings.from_json(content["settings"])
        paths = {name: Path(content[name]) for name in ("input", "place")}
        return cls(**{**content, **paths, "settings": settings})


@dataclass(frozen=True)
class Wanted:
    """A scan that was found, its settings, and the name for its result that a CSV gives ("": none)."""

    scan: Found
    settings: Settings
    output: str = ""


def wanted_of_rows(rows: Iterable[Row], notes: list[str], readable: bool = False) -> list[Wanted]:
    """The scans that the lines of a CSV mean.

    Raises:
        InputError: A glob or a folder holds no scan.
        RequestError: One name for the results of several scans.
    """
    wanted = []
    for row in rows:
        scans = _meant(row, find_scans(row.source, notes, readable))
        if row.output and len(scans) > 1:
            raise RequestError(
                f"{row.where}: the output {row.output} is for one scan, and the input holds {len(scans)}. "
                "Give one file of the series that is meant, or leave the output empty."
            )
        wanted += [Wanted(scan, row.settings, row.output) for scan in scans]
    return wanted


def _meant(row: Row, scans: list[Found]) -> list[Found]:
    """The series and the frame that a line names."""
    if row.series:
        named = [scan for scan in scans if scan.number == row.series or scan.number.startswith(f"{row.series}.")]
        if not named:
            there = ", ".join(scan.number for scan in scans if scan.number) or "none"
            raise RequestError(f"{row.where}: there is no series {row.series} that can be made finer, but {there}.")
        scans = named
    if row.frame is None:
        return scans
    called = f"frame-{row.frame}"
    return [
        replace(
            one, frame=row.frame, series=f"{one.series}.{called}" if one.series else called, stem=f"{one.stem}-{called}"
        )
        for one in scans
    ]


def make_cases(wanted: Iterable[Wanted], out_dir: Path, owners: Mapping[str, str]) -> list[Case]:
    """Give each scan its output.

    The same scan with the same settings is taken once. A plain name that is taken, or that an earlier run gave to
    another scan, is completed by a hash of the scan's path, so that names do not depend on what else is in a batch.

    Args:
        owners: Identity of the scan that each earlier output was made of, by the output's name.

    Raises:
        RequestError: A CSV gives one name twice, or one that leads out of the folder.
        ModelError: Weights are missing.
    """
    once: dict[tuple[str, str, str], Wanted] = {}
    for one in wanted:
        once.setdefault((one.scan.identity, one.settings.sha256, one.output), one)
    taken: set[str] = set()
    for one in once.values():
        if one.output:
            if taken & occupied(one.output):
                raise RequestError(f"The output {one.output} is given to two scans. Give each a name of its own.")
            taken |= occupied(one.output)
    owned = {name.casefold(): identity for name, identity in owners.items()}
    cases = []
    for one in sorted(once.values(), key=lambda one: one.scan.identity):
        name = one.output or _free_name(one, taken, owned)
        taken |= occupied(name)
        if one.output:
            # A name that was found for a scan fails with its case alone.
            path_inside(out_dir, name)
        cases.append(_case(one, name))
    return cases


def _free_name(one: Wanted, taken: set[str], owned: Mapping[str, str]) -> str:
    identity = one.scan.identity
    names = candidates(one.scan.stem, one.settings.ending(one.scan.input), identity)
    return next(
        name
        for name in names
        if not taken & occupied(name) and all(owned.get(part, identity) == identity for part in occupied(name))
    )


def _case(one: Wanted, name: str) -> Case:
    scan, settings = one.scan, one.settings
    key = digest([scan.identity, settings.content, settings.weights_sha256()])
    return Case(
        name,
        scan.input,
        scan.place,
        scan.series,
        settings,
        key,
        scan.fingerprint(),
        scan.frame,
        scan.number if scan.is_packed else "",
    )
