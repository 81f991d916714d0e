"""Which scans there are: image files and DICOM series in folders, globs and single paths.

Only names and DICOM headers are read here. What is damaged becomes a scan all the same, so that it fails in its own
process and is listed, instead of stopping the others.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import image_suffix
from ..files.dicom_header import looks_like_dicom
from ..files.dicom_series import Series, series_of_files
from .names import STATE

_DETACHED = (".nhdr", ".mhd")
_NEUTRAL_DIGITS = 12


@dataclass(frozen=True)
class Found:
    """One scan.

    :param input: what `read_volume` reads: an image file, or one file of the DICOM series.
    :param place: the file, or the series' folder.
    :param series: neutral name of the DICOM series, "" for image files; see `neutral_name`.
    :param stem: the result's name without its ending; holds nothing of a DICOM header.
    :param files: everything that the scan is read from.
    :param frame: which of the volumes in `input` it is, counted from 1; None where `input` says it all.
    """

    input: Path
    place: Path
    series: str
    stem: str
    files: tuple[Path, ...]
    frame: int | None = None

    @property
    def identity(self) -> str:
        """What tells this scan from all others, run after run."""
        return f"{self.place}#{self.series}" if self.series else str(self.place)

    def fingerprint(self) -> str:
        """Hash of the files' names, sizes and times of change; "" if one of them cannot be looked at."""
        described = hashlib.sha256()
        try:
            for file in self.files:
                status = file.stat()
                described.update(os.fsencode(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
        except (OSError, ValueError):
            return ""
        return described.hexdigest()


def neutral_name(series_uid: str) -> str:
    """A name for a DICOM series that says nothing about the patient: a hash of its Series Instance UID (0020,000E)."""
    return f"series-{hashlib.sha256(series_uid.encode()).hexdigest()[:_NEUTRAL_DIGITS]}"


def find_scans(source: str | Path, notes: list[str]) -> list[Found]:
    """The scans that a path or a glob means, in the order of their places.

    :param source: an image file; one file of a DICOM series; a folder, searched with its subfolders; or a glob such as
        ``scans/**/*.nii.gz``. Hidden files and folders, and output folders of batches, are left out.
    :param notes: gets a sentence about each DICOM series that is left out.
    :raises InputError: a glob matches nothing, or the folder holds no scan.
    """
    # A name that really exists may hold brackets or stars.
    if not os.path.exists(source) and glob.has_magic(str(source)):
        matches = sorted(glob.glob(str(source), recursive=True))
        if not matches:
            raise InputError(f"Nothing matches {source}. Check the pattern; ** stands for any number of folders.")
        return list(_unique(_at_each(matches, notes)))
    path = Path(source)
    scans = list(_unique(_at(path, notes)))
    if not scans:
        raise InputError(f"There is no CT or MR scan in {path}. Check the path, and the notes on what was left out.")
    return scans


def _unique(scans: Iterable[Found]) -> Iterator[Found]:
    seen = set()
    for scan in scans:
        if scan.identity not in seen:
            seen.add(scan.identity)
            yield scan


def _at_each(matches: list[str], notes: list[str]) -> Iterator[Found]:
    covered: set[Path] = set()
    for match in matches:
        path = Path(os.path.abspath(match))
        # Each file of a DICOM series stands for the whole series; reading its folder once is enough.
        if path not in covered:
            for scan in _at(path, notes):
                covered.update(scan.files)
                yield scan


def _at(path: Path, notes: list[str]) -> Iterator[Found]:
    path = Path(os.path.abspath(path))
    # Unlike pathlib's, these say no to a path that is too long for the system.
    if os.path.isdir(path):
        for folder, subfolders, names in os.walk(path):
            here = Path(folder)
            subfolders[:] = sorted(n for n in subfolders if not n.startswith(".") and not (here / n / STATE).is_dir())
            yield from _in_folder(here, sorted(name for name in names if not name.startswith(".")), notes)
    elif os.path.isfile(path) and not image_suffix(path) and looks_like_dicom(path):
        yield _series_of_file(path)
    else:
        # Missing files and unknown formats fail when they are read, with the reason.
        yield _image(path)


def _in_folder(folder: Path, names: list[str], notes: list[str]) -> Iterator[Found]:
    files = [folder / name for name in names]
    yield from (_image(file) for file in files if image_suffix(file) and file.is_file())
    listing = series_of_files([file for file in files if file.is_file() and not image_suffix(file)])
    for number, one in enumerate(listing.series, 1):
        # One whose frames are damaged fails when it is read, with the reason
        if not one.problem or (one.is_multi_frame and one.slices[0].frame is None):
            yield _series(folder, one)
        else:
            how_many = f"series {number} of {len(listing.series)}, {len(one.slices)} images"
            notes.append(f"Left out in {folder}: {how_many}, {one.problem}.")
    notes += [f"In {folder}: {note}" for note in listing.notes]
    if listing.damaged and not listing.series:
        # Read as a folder, it fails with a message that names the damaged file.
        yield Found(folder, folder, "damaged", "series-damaged", tuple(file for file, _ in listing.damaged))


def _image(path: Path) -> Found:
    suffix = image_suffix(path)
    stem = path.name[: -len(suffix)] if suffix else path.stem
    detached = sorted(path.parent.glob(f"{glob.escape(stem)}.*")) if suffix in _DETACHED else [path]
    return Found(path, path, "", stem, tuple(detached or [path]))


def _series_of_file(path: Path) -> Found:
    siblings = sorted(file for file in path.parent.iterdir() if file.is_file() and not file.name.startswith("."))
    own = next((one for one in series_of_files(siblings).series if path in one.files), None)
    return _series(path.parent, own) if own else Found(path, path, "damaged", "series-damaged", (path,))


def _series(folder: Path, one: Series) -> Found:
    phase = one.name.rpartition(".")[2] if one.parts > 1 else ""
    name = neutral_name(one.uid) + (f".{phase}" if phase else "")
    frame = int(phase) if phase and one.is_multi_frame else None
    return Found(one.files[0], folder, name, name, tuple(one.files), frame)
