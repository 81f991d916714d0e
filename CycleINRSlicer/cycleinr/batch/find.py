"""Which scans there are: image files and DICOM series in folders, globs and single paths.

Only names and DICOM headers are read here. What is damaged becomes a scan all the same, so that it fails in its own
process and is listed, instead of stopping the others.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .. import CycleinrError, InputError
from ..files import image_format, image_suffix, stem
from ..files.dicom_header import looks_like_dicom, quiet, read_header
from ..files.dicom_series import Listing, Series, files_below, series_of_files
from ..files.zipped import is_zip, unpacked
from ..resampling import counted
from .results import STATE

_DETACHED = (".nhdr", ".mhd", ".hdr", ".img")
_BY_CONTENT = (".hdr", ".hdr.gz", ".mgz", ".mgh")
_DESCRIBING = ("StudyDate", "SeriesDate", "SeriesDescription", "ProtocolName")
_DESCRIPTION = 60
_NEUTRAL_DIGITS = 12


@dataclass(frozen=True)
class Found:
    """One scan.

    Attributes:
        input: What ``read_volume`` reads: an image file, or one file of the DICOM series.
        place: The file, or the series' folder.
        series: Neutral name of the DICOM series, a hash of its Series Instance UID (0020,000E); "" for image files.
        stem: The result's name without its ending; holds nothing of a DICOM header.
        files: Everything that the scan is read from.
        frame: Which of the volumes in ``input`` it is, counted from 1; None where ``input`` says it all.
        number: What the DICOM series is called by, see ``dicom_series.Series``; tells it from others in an archive.
    """

    input: Path
    place: Path
    series: str
    stem: str
    files: tuple[Path, ...]
    frame: int | None = None
    number: str = ""

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

    def of_frame(self, frame: int) -> Found:
        """One of the volumes in it, counted from 1."""
        name = f"frame-{frame}"
        series = f"{self.series}.{name}" if self.series else name
        return replace(self, frame=frame, series=series, stem=f"{self.stem}-{name}")


def find_scans(source: str | Path, notes: list[str], readable: bool = False) -> list[Found]:
    """The scans that a path or a glob means, in the order of their places; InputError where there are none.

    Args:
        source: An image file; one file of a DICOM series; a folder, searched with its subfolders; or a glob such as
            ``scans/**/*.nii.gz``. Hidden files and folders, and output folders of batches, are left out.
        notes: Gets a sentence about each DICOM series that is left out.
        readable: Results of DICOM series are called by date, number and description, which may say who it is.
    """
    # A name that really exists may hold brackets or stars
    is_path = os.path.exists(source) or not glob.has_magic(str(source))
    matches = [source] if is_path else sorted(glob.glob(str(source), recursive=True))
    if not matches:
        raise InputError(f"Nothing matches {source}. Check the pattern; ** stands for any number of folders.")
    search, scans, covered = _Search(notes, readable), dict[str, Found](), set[Path]()
    for path in (Path(os.path.abspath(match)) for match in matches):
        # Each file of a DICOM series stands for the whole series; reading its folder once is enough
        for scan in () if path in covered else search.at(path):
            scans.setdefault(scan.identity, scan)
            covered.update(scan.files)
    if not scans:
        raise InputError(f"There is no CT or MR scan in {source}. {' '.join(notes) or 'Check the path.'}")
    return list(scans.values())


class _Search:
    def __init__(self, notes: list[str], readable: bool):
        self.notes, self.readable = notes, readable

    def at(self, path: Path) -> Iterator[Found]:
        # Unlike pathlib's, these say no to a path that is too long for the system
        if os.path.isdir(path):
            for folder, subfolders, names in os.walk(path):
                here = Path(folder)
                subfolders[:] = sorted(n for n in subfolders if not (n.startswith(".") or (here / n / STATE).is_dir()))
                yield from self._in_folder(here, [here / name for name in names if not name.startswith(".")])
        elif os.path.isfile(path) and is_zip(path):
            yield from self._in_archive(path)
        elif os.path.isfile(path) and not image_suffix(path) and looks_like_dicom(path):
            siblings = [file for file in path.parent.iterdir() if not file.name.startswith(".")]
            listing = series_of_files(sorted(file for file in siblings if file.is_file()))
            own = next((one for one in listing.series if path in one.files), None)
            damaged = Found(path, path, "damaged", "series-damaged", (path,))
            yield damaged if own is None else self._series(path.parent, own)
        else:
            # Missing files and unknown formats fail when they are read, with the reason
            yield _image(path)

    def _in_folder(self, folder: Path, entries: list[Path]) -> Iterator[Found]:
        files = sorted(entry for entry in entries if entry.is_file())
        for file in files:
            if image_suffix(file) or (file.name.lower().endswith(_BY_CONTENT) and image_format(file)):
                yield _image(file)
        for file in files:
            if file.suffix.lower() == ".zip" and is_zip(file):
                yield from self._in_archive(file)
        listing = series_of_files([file for file in files if not image_suffix(file)])
        yield from (self._series(folder, one) for one in self._worth_reading(folder, listing))
        if listing.damaged and not listing.series:
            # Read as a folder, it fails with a message that names the damaged file
            yield Found(folder, folder, "damaged", "series-damaged", tuple(file for file, _ in listing.damaged))

    def _in_archive(self, path: Path) -> Iterator[Found]:
        """What an archive holds is known by its number there, since the files are gone when it is read."""
        try:
            with unpacked(path) as folder:
                listing = series_of_files(files_below(folder))
                found = [self._series(folder, one) for one in self._worth_reading(path, listing)]
        except CycleinrError:
            found = []
        yield from (replace(one, input=path, place=path, files=(path,), frame=None) for one in found)
        if not found:
            # An image file, or it fails when it is read, with the reason
            yield _image(path)

    def _worth_reading(self, place: Path, listing: Listing) -> Iterator[Series]:
        for number, one in enumerate(listing.series, 1):
            why, first = "made by CycleINR" if one.is_result else one.problem, one.slices[0]
            # One whose frames are damaged fails when it is read, with the reason
            if not why or (first.frames is not None and first.frame is None):
                yield one
            else:
                how_many = f"series {number} of {len(listing.series)}, {counted(len(one.slices), 'image')}"
                self.notes.append(f"Left out in {place}: {how_many}, {why}.")
        self.notes += [f"In {place}: {note}" for note in listing.notes]

    def _series(self, folder: Path, one: Series) -> Found:
        phase = one.name.rpartition(".")[2] if one.part else ""
        digits = hashlib.sha256(one.uid.encode()).hexdigest()[:_NEUTRAL_DIGITS]
        name = f"series-{digits}.{phase}" if phase else f"series-{digits}"
        frame = int(phase) if phase and one.slices[0].frames is not None else None
        called = _described(one) if self.readable else name
        return Found(one.files[0], folder, name, called, tuple(one.files), frame, one.name)


def _image(path: Path) -> Found:
    name = path.stem if stem(path) == path.name else stem(path)
    ending = path.name[len(name) :].lower()
    together = sorted(path.parent.glob(f"{glob.escape(name)}.*")) if ending in _DETACHED else [path]
    return Found(path, path, "", name, tuple(together or [path]))


def _described(one: Series) -> str:
    """Date, number and description of a series, as the name of a file: for people who may know whose it is."""
    try:
        with quiet():
            header = read_header(one.files[0], _DESCRIBING)
            texts = [str(header.get(keyword) or "") for keyword in _DESCRIBING]
    # A damaged text makes pydicom raise nearly anything, and the number is a name, too
    except Exception:
        texts = [""] * len(_DESCRIBING)
    date = next((text for text in texts[:2] if re.fullmatch(r"\d{8}", text)), "")
    clean = re.sub(r"[^\w.+]+", "-", next(filter(None, texts[2:]), "")).strip("-._")[:_DESCRIPTION]
    return "_".join(filter(None, (date, f"series-{one.name}", clean)))
