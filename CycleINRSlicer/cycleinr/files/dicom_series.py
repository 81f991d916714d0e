"""Which DICOM series lie in a folder, on a disc or beside a file, what tells them apart, and which one is meant.

Folders are searched with their subfolders, as discs have them; a DICOMDIR stands for the folder that it lies in.
Phases, echoes and repetitions under one Series Instance UID are series of their own here. Messages name files and
series numbers, never anything about the patient.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import InputError
from ..grid import MIN_SLICES
from ..resampling import counted
from ..volume import MODALITIES
from .dicom_header import DICOM_SUFFIXES, GREY, SliceHeader, frames_of, has_mark, slice_header
from .dicom_slices import heights_mm, phases, stacks, without_copies
from .samples import CHOOSE_FRAME, start_of

_THICK_MM = 2.0
"""Of several series, the only one with slices so far apart is the one that can be meant."""

_MOST_FILES = 200_000
_FEW = 8


@dataclass(frozen=True, eq=False)
class Series:
    """Images that form one volume, or would if they were sound.

    Attributes:
        name: What a user calls it by: its Series Number (0020,0011); followed by a dot and a count where several have
            that number, or where it is one of several phases.
        slices: Without scouts and copies; the frames of an enhanced image are slices.
        part: What tells it from the other phases of its series, in words; "" if there are none.
        refusal: Why it cannot be read; "" if it perhaps can.
        notes: What a reader of it should know, once it was chosen.
    """

    name: str
    slices: tuple[SliceHeader, ...]
    part: str = ""
    refusal: str = ""
    notes: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """Why it cannot be made finer; "" if it perhaps can."""
        return self.refusal or (f"fewer than {MIN_SLICES} slices" if len(self.slices) < MIN_SLICES else "")

    @property
    def uid(self) -> str:
        """Series Instance UID (0020,000E)."""
        return self.slices[0].series_uid

    @property
    def files(self) -> list[Path]:
        return list(dict.fromkeys(s.path for s in self.slices))

    @property
    def is_result(self) -> bool:
        """Whether CycleINR made it, so that it is not what a folder is given for."""
        return self.slices[0].is_result

    @property
    def spacing_mm(self) -> float | None:
        """Usual distance between slices that follow each other; None where it is not known."""
        if len(self.slices) < 2 or any(s.position_lps_mm is None for s in self.slices):
            return None
        return float(np.median(np.diff(np.sort(heights_mm(self.slices)))))

    @property
    def orientation(self) -> str:
        """What slices at right angles to the patient's axes are called; "" where they are not placed."""
        if self.slices[0].position_lps_mm is None:
            return ""
        normal = np.abs(self.slices[0].normal_lps)
        plane = ("sagittal", "coronal", "axial")[int(normal.argmax())]
        return plane if normal.max() > 0.99 else f"oblique {plane}"

    def content(self) -> dict[str, str | float | None]:
        """What is told of it, as JSON holds it."""
        return {
            "series": self.name,
            "modality": self.slices[0].modality,
            "images": len(self.slices),
            "orientation": self.orientation,
            "spacing_mm": self.spacing_mm,
            "part": self.part,
            "made_by_cycleinr": self.is_result,
            "possible": not self.problem,
            "reason": self.problem or None,
        }

    def __str__(self) -> str:
        images, spacing = len(self.slices), self.spacing_mm
        texts = [self.part, counted(images, f"{self.slices[0].modality} image"), self.orientation]
        texts += [] if spacing is None else [f"{spacing:.3g} mm apart"]
        texts += ["made by CycleINR"] if self.is_result else []
        return f"{self.name}: {', '.join(filter(None, texts))}"


@dataclass(frozen=True)
class Listing:
    """All series that were found, by number.

    Attributes:
        notes: What was left out or dropped, a sentence each.
        damaged: Files that cannot be read, and why.
        file: The one file that the series stand for; it means the phase that it belongs to.
    """

    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()
    damaged: tuple[tuple[Path, InputError], ...] = ()
    file: Path | None = None

    @property
    def possible(self) -> list[Series]:
        """Those that can be made finer: results of CycleINR only where there is nothing else."""
        sound = [one for one in self.series if not one.problem]
        return [one for one in sound if not one.is_result] or sound


def series_at(path: Path) -> Listing:
    """The series that a folder, a DICOMDIR or one file of a series stands for; an InputError where there are none."""
    if path.is_dir() or (path.name.upper() == "DICOMDIR" and has_mark(path)):
        folder = path if path.is_dir() else path.parent
        listing = series_of_files(files_below(folder))
        if not listing.series:
            for _, error in listing.damaged:
                raise error
            left_out = f" {' '.join(listing.notes)}" if listing.notes else ""
            raise InputError(
                f"There are no DICOM images of a CT or MR series in the folder {folder.resolve().name}.{left_out} "
                "Check the path; give image files such as NIfTI by their names."
            )
        return listing
    wanted = slice_header(path)
    if wanted is None or wanted.is_scout:
        raise InputError(
            f"{path.name} is a scout, or a DICOM object without an image that has a place in the patient. "
            "Give a CT or MR slice of the scan itself."
        )
    beside = sorted(file for file in path.parent.iterdir() if file.is_file() and not file.name.startswith("."))
    return replace(series_of_files(beside, wanted.series_uid), file=path)


def files_below(folder: Path) -> list[Path]:
    """Files of a folder and its subfolders in order, without hidden ones; an InputError for far too many.

    Links to folders are not followed.
    """
    found: list[Path] = []
    for here, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [Path(here, name) for name in sorted(names) if not name.startswith(".")]
        if len(found) > _MOST_FILES:
            raise InputError(f"{folder} holds more than {_MOST_FILES} files. Give the folder of the scan itself.")
    return [file for file in found if file.is_file()]


def series_of_files(files: Sequence[Path], of_series: str | None = None) -> Listing:
    """The series among some files; with a Series Instance UID, only that one."""
    by_uid: dict[str, list[SliceHeader]] = {}
    others, damaged, kinds, scouts = list[Path](), list[tuple[Path, InputError]](), set[tuple[Path, str]](), 0
    for file in files:
        try:
            if not has_mark(file):
                others.append(file)
                continue
            kinds.add(_kind_of_name(file))
            header = slice_header(file)
            if header is None or of_series not in (None, header.series_uid):
                continue
            if header.is_scout:
                scouts += 1
            else:
                by_uid.setdefault(header.series_uid, []).append(header)
        except InputError as error:
            damaged.append((file, error))
        except OSError as error:
            text = f"{file.name} cannot be opened ({error.strerror}). Check its permissions and the disk."
            damaged.append((file, InputError(text)))
    for file in others:
        start = start_of(file)
        is_alike = _kind_of_name(file) in kinds and (not start or b"\0" in start)
        if is_alike or file.suffix.lower() in DICOM_SUFFIXES:
            text = f"{file.name} is empty, damaged or no DICOM file. Export the series again, or remove that file."
            damaged.append((file, InputError(text)))
    notes = [f"{counted(scouts, 'scout image was', 'scout images were')} left out."] if scouts else []
    volumes = [_volumes_of(slices, notes) for slices in by_uid.values()]
    return Listing(tuple(_named(volumes)), tuple(notes), tuple(damaged))


def _kind_of_name(path: Path) -> tuple[Path, str]:
    """Files of a series lie in one folder and end alike; slices are often numbered in place of an ending."""
    suffix = path.suffix.lower()
    return path.parent, "number" if suffix[1:].isdigit() else suffix


def chosen_series(path: Path, series: str = "", frame: int | None = None) -> Series:
    """The series that is meant; arguments and errors as in ``read_volume``."""
    return choose(series_at(path), series, frame)


def slices_of_files(files: Sequence[str | Path]) -> list[SliceHeader]:
    """Headers of the slices or frames of one series in some files; scouts and copies are left out.

    Raises:
        InputError: A file is missing or damaged; or the slices are none, of several series, or no grey CT or MR images.
    """
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file() or not has_mark(path):
            raise InputError(f"{path.name} is missing or no DICOM file. Export the series again.")
    listing = series_of_files(paths)
    for _, error in listing.damaged:
        raise error
    if (how_many := len({one.uid for one in listing.series})) != 1:
        raise InputError(f"The source holds {how_many} DICOM series, where one is needed. Give the files of one.")
    return list(choose(listing).slices)


def choose(listing: Listing, name: str = "", frame: int | None = None) -> Series:
    """The series that is meant, by its name, or the only one that can be made finer, or the only thick one of these.

    Args:
        frame: Which of its phases, counted from 1; None where it has one.

    Raises:
        InputError: There is no such series, none or several can be meant; it, or a file beside it, cannot be read.
    """
    found = phases_of(listing, name)
    if frame is not None:
        if not 1 <= frame <= len(found):
            raise InputError(f"There is no frame {frame}: the series has {len(found)}. Give a number from 1.")
        return found[frame - 1]
    # A copy that was dropped belongs to none
    own = [one for one in found if listing.file in one.files] or found
    if len(own) > 1:
        raise InputError(
            f"Series {found[0].name.rpartition('.')[0]} holds {len(found)} volumes ({_told(own)}). {CHOOSE_FRAME}"
        )
    return own[0]


def phases_of(listing: Listing, name: str) -> list[Series]:
    """All phases of the series that is meant, in order; one where it is a single volume. As ``choose``."""
    every = listing.series
    if name:
        found = [one for one in every if one.name == name] or [one for one in every if one.name.startswith(f"{name}.")]
        if len({one.uid for one in found}) != 1:
            wrong = f"Several series have the number {name}" if found else f"There is no series {name}"
            raise InputError(f"{wrong}. Give the number of one of these: {_told(found or every)}.")
    else:
        found = _only_phases(listing)
    folders = {file.parent for file in found[0].files}
    for path, error in listing.damaged:
        if path.parent in folders:
            # It may belong to the series
            raise error
    others = [one for one in every if one.uid != found[0].uid]
    reasons = [one.problem or ("made by CycleINR" if one.is_result else "") for one in others]
    left_out = _listed([f"{one.name} ({why})" if why else one.name for one, why in zip(others, reasons, strict=True)])
    for one in found:
        if one.refusal:
            raise InputError(
                f"Series {one.name} cannot be read: {one.refusal}. Give a CT or MR series as the scanner made it."
            )
    # Whoever names a series knows the others, or takes them in their turn
    said = "" if name else f"; left out: {left_out}"
    taken = [[f"Series {one.name} was taken{said}."] if others else [] for one in found]
    return [replace(one, notes=(*listing.notes, *own)) for one, own in zip(found, taken, strict=True)]


def _only_phases(listing: Listing) -> list[Series]:
    """The phases of the only series that can be meant."""
    grey = [one for one in listing.series if one.slices[0].modality in MODALITIES] or listing.series
    candidates = listing.possible or grey
    thick = [one for one in candidates if (one.spacing_mm or 0.0) >= _THICK_MM]
    for found in (candidates, thick):
        if len({one.uid for one in found}) == 1:
            return [one for one in candidates if one.uid == found[0].uid]
    how_many, name = len({one.uid for one in candidates}), candidates[0].name
    raise InputError(
        f"The folder holds {how_many} DICOM series that can be meant ({_told(candidates)}). Choose one by its number, "
        f"for example --series {name} (in Python series={name!r}), or give one file of it."
    )


def _told(series: Sequence[Series]) -> str:
    names = [one.files[0].name for one in series]
    # Scanners count files anew in each series' folder
    depth = 2 if len({*names}) < len(names) else 1
    return _listed([f"series {one}, for example {Path(*one.files[0].parts[-depth:])}" for one in series])


def _listed(texts: Sequence[str]) -> str:
    return "; ".join([*texts[:_FEW], *([f"and {len(texts) - _FEW} more"] if len(texts) > _FEW else [])])


def _named(volumes: Sequence[Sequence[Series]]) -> Iterator[Series]:
    """All series by number, each with the name that is its own."""

    def order(phases: Sequence[Series]) -> tuple:
        slices = phases[0].slices
        times = [str(s.tells.get("AcquisitionTime", 0.0)) for s in slices]
        return slices[0].series_number, min(times), str(slices[0].path)

    how_many, seen = Counter(order(phases)[0] for phases in volumes), Counter[int]()
    for own_phases in sorted(volumes, key=order):
        number = order(own_phases)[0]
        seen[number] += 1
        name = f"{number}.{seen[number]}" if how_many[number] > 1 else str(number)
        for n, one in enumerate(own_phases, 1):
            yield replace(one, name=f"{name}.{n}" if len(own_phases) > 1 else name)


def _volumes_of(slices: list[SliceHeader], notes: list[str]) -> list[Series]:
    """What one Series Instance UID holds: one volume, or several phases."""
    each_files = [frames_of(s) if s.frames is not None else [s] for s in slices]
    if [] in each_files:
        file = slices[each_files.index([])].path.name
        refusal = f"the frames of {file} are damaged or do not say where they lie, and dcm2niix may know more of them"
        return [Series("", tuple(slices), refusal=refusal)]
    parallel = stacks([one for own in each_files for one in own])
    found: list[tuple[str, list[SliceHeader]]] = []
    for each in parallel:
        kept = without_copies(each)
        if len(kept) < len(each):
            number, copies = slices[0].series_number, len(each) - len(kept)
            said = counted(copies, "exact copy of an image was", "exact copies of images were")
            notes.append(f"{said} dropped from series {number}.")
        stack = f"stack {len(found) + 1}" if len(parallel) > 1 else ""
        found += [(", ".join(filter(None, (stack, part))), own) for part, own in phases(kept)]
    return [Series("", tuple(own), part, refusal=_refusal_of(own)) for part, own in found]


def _refusal_of(slices: Sequence[SliceHeader]) -> str:
    for s in slices:
        if s.modality not in MODALITIES:
            return f"its modality {s.modality} is neither CT nor MR"
    coloured = [s.photometric for s in slices if s.samples_per_pixel != 1 or s.photometric not in GREY]
    return f"its pixels are of kind {coloured[0]}, not grey" if coloured else ""
