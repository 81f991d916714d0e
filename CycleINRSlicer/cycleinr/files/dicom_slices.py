"""Slices of a DICOM series as the volume that they fill, and the stacks and phases that one series may hold.

One Series Instance UID may hold stacks of different orientation, copies of images, phases, echoes and repetitions. Only
images at a place where another one lies are told apart: many series change their acquisition from slice to slice.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from .. import GeometryError, InputError
from ..computer import check_room, out_of_memory
from ..geometry import Acquisition, fit_positions
from ..grid import MIN_SLICES
from ..straighten import Sideways, sideways_of, straightened
from ..volume import Volume
from .bridges import itk_files, ras_from_lps, unread
from .dicom_header import TELLING, SliceHeader, WithinFile, quiet, read_header, undecodable

if TYPE_CHECKING:
    from .dicom_series import Series

_SAME_POSITION_MM = 0.01
_ORIENTATION_TOLERANCE = 1e-3
_PIXEL_SPACING_TOLERANCE_SHARE = 1e-3

_SCANNED = {"CT": (-1024, 3071), "MR": (0, 0)}
"""Values of air and tissue in HU; in MR that of no signal."""

_MOST_TELLING = 3
_NUMBER = "InstanceNumber"
_RANKED = ("TriggerTime", "AcquisitionTime", "ContentTime", _NUMBER)
"""In the order of these, images at one place are counted where no value is shared by all images of a phase."""

_WORDS = {
    "EchoTime": "echo time {} ms", "EchoNumbers": "echo {}", "TemporalPositionIdentifier": "time point {}",
    "AcquisitionNumber": "acquisition {}", "DiffusionBValue": "b-value {}", "InversionTime": "inversion time {} ms",
    "TriggerTime": "trigger time {} ms", "NominalPercentageOfCardiacPhase": "{} % of the heart's cycle",
    "ImageType": "image type {}", "KVP": "{} kV",
}  # fmt: skip
"""What tells a phase apart, in words; times of day are none of them, and are told as seconds after the first."""


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one series in order, and the rectangular volume that they fill.

    Attributes:
        slices: In order of rising k.
        ijk_to_ras: 4x4, mm, of the volume.
        shape_kji: The volume's samples, more than the slices' own where they lie sideways of each other.
        acquisition: Where the slices lie, if not evenly, or by how much each was moved within its plane; else None.
        sideways: How far each lies beside the middle one.
        notes: What was taken to be otherwise than the headers say, a sentence each.
    """

    slices: list[SliceHeader]
    ijk_to_ras: np.ndarray
    shape_kji: tuple[int, int, int]
    acquisition: Acquisition | None
    sideways: Sideways
    notes: tuple[str, ...]

    def volume(self, pixels: np.ndarray, name: str, notes: tuple[str, ...] = ()) -> Volume:
        """The volume that the slices fill with their pixels, (slices, rows, columns) in order."""
        modality = self.slices[0].modality
        array, valid = straightened(pixels, self.sideways, modality, _measured(self.slices, pixels))
        return Volume(
            array,
            self.ijk_to_ras,
            modality=modality,
            slice_thickness_mm=thickness_of(self.slices),
            name=name,
            notes=notes + self.notes,
            acquisition=self.acquisition,
            valid=valid,
            made_by_cycleinr=self.slices[0].is_result,
        )


def _measured(slices: list[SliceHeader], pixels: np.ndarray) -> np.ndarray | None:
    """Which pixels are no padding by the headers; None where all are, and where voxels were not read.

    Padding whose value air or tissue may have as well makes no edge of its own, and cannot be told from these.
    """
    if not any(s.padding for s in slices) or not any(pixels.strides):
        return None
    valid = np.ones(pixels.shape, bool)
    for s, image, mask in zip(slices, pixels, valid, strict=True):
        if s.padding:
            ends = sorted(stored * s.slope + s.intercept for stored in s.padding)
            lowest, highest = _SCANNED[s.modality]
            scanned, half = (image >= lowest) & (image <= highest), abs(s.slope) / 2
            mask[:] = scanned | (image < ends[0] - half) | (image > ends[-1] + half)
    return None if valid.all() else valid


def stack(slices: Sequence[SliceHeader]) -> Stack:
    """Sort slices along their normal and derive the volume's geometry from their positions.

    The distance between slices comes from the positions, because Slice Thickness and Spacing Between Slices are often
    wrong or missing. A stack that leans less than headers round stays as it is.

    Args:
        slices: All slices of one series, in any order, with position, orientation and pixel spacing.

    Raises:
        InputError: The slices differ in size or pixel spacing.
        GeometryError: One slice, differing orientation, doubled positions, or a stack that no gantry makes.
    """
    _check_alike(slices)
    first = slices[0]
    # Columns: along the rising column index, along the rising row index, along the normal
    axes = np.array([first.along_row_lps, first.along_column_lps, first.normal_lps]).T
    ordered = sorted(slices, key=lambda s: float(s.position_lps_mm @ axes[:, 2]))
    places = np.array([s.position_lps_mm for s in ordered]) @ axes
    doubled = np.diff(places[:, 2]) < _SAME_POSITION_MM
    if doubled.any():
        raise GeometryError(
            f"{np.count_nonzero(doubled)} of {len(places)} slices lie where another slice lies already (the first at "
            f"position {int(np.argmax(doubled)) + 2} of the stack), as when copies, several echoes or time points "
            "share a series. Keep one image per position."
        )
    thickness = [s.thickness_mm for s in ordered]
    differs = None not in thickness and len(set(thickness)) > 1
    fitted = fit_positions(places[:, 2], np.array(thickness) if differs else None)
    sideways = sideways_of(places[:, 1::-1], places[:, 2], first.pixel_mm, first.rows_columns)
    lps = np.eye(4)
    lps[:3, :3] = axes * (first.pixel_mm[1], first.pixel_mm[0], fitted.spacing_mm)
    corner_ji = sideways.corner_ji_mm
    if sideways.is_rounding:
        lps[:3, 2] += axes[:, 1::-1] @ sideways.lean_ji * fitted.spacing_mm
        corner_ji = corner_ji + sideways.lean_ji * (fitted.first_mm - places[len(ordered) // 2, 2])
    lps[:3, 3] = np.linalg.solve(axes.T, [*corner_ji[::-1], fitted.first_mm])
    acquisition = fitted.acquisition
    if not sideways.is_straight:
        moved_ras_mm = sideways.shift_ji_mm @ axes[:, 1::-1].T @ ras_from_lps(np.eye(4))[:3, :3]
        even = Acquisition(fitted.spacing_mm * np.arange(len(ordered)))
        acquisition = replace(acquisition or even, shift_ras_mm=moved_ras_mm)
    notes = tuple(note for note in (fitted.note, sideways.note(first.modality)) if note)
    return Stack(ordered, ras_from_lps(lps), (len(ordered), *sideways.shape_ji), acquisition, sideways, notes)


def thickness_of(slices: Sequence[SliceHeader]) -> float | None:
    """Slice thickness of a series in mm, None if no slice tells one."""
    known = [s.thickness_mm for s in slices if s.thickness_mm is not None]
    return float(median(known)) if known else None


def _difference(one: SliceHeader, other: SliceHeader) -> str:
    """What keeps two slices from lying in one stack: "size", "pixel spacing" or "orientation"; "" for nothing."""
    if one.rows_columns != other.rows_columns:
        return "size"
    if not np.allclose(one.pixel_mm, other.pixel_mm, rtol=_PIXEL_SPACING_TOLERANCE_SHARE, atol=0):
        return "pixel spacing"
    turned = np.abs([one.along_row_lps - other.along_row_lps, one.along_column_lps - other.along_column_lps])
    return "orientation" if turned.max() > _ORIENTATION_TOLERANCE else ""


def _check_alike(slices: Sequence[SliceHeader]) -> None:
    if len(slices) == 1:
        raise GeometryError(
            "The DICOM series has one slice; super-resolution needs a stack of them. "
            "Give the folder that holds the whole series."
        )
    first = slices[0]
    for other in slices[1:]:
        which = _difference(first, other)
        if which == "orientation":
            raise GeometryError(
                f"The slices differ in orientation: {first.path.name} and {other.path.name} are not parallel, as in a "
                "localizer or a radial scan. Choose a series of parallel slices."
            )
        if which:
            here, there = (
                f"{s.path.name} has {s.rows_columns[0]} x {s.rows_columns[1]} pixels of {s.pixel_mm[0]:g} x "
                f"{s.pixel_mm[1]:g} mm"
                for s in (first, other)
            )
            raise InputError(f"The slices differ in {which}: {here}, {there}. Remove the images that do not belong.")


def volume_of_series(chosen: Series, header_only: bool = False) -> Volume:
    """Read a series that was chosen, as (K, J, I) with k along the slice normal.

    Integers stay integers (HU for CT) where the rescale values are whole numbers, and are float32 otherwise. What a
    tilted gantry left is rectangular, with the lowest value where no slice lies.
    """
    found = stack(chosen.slices)
    first, size = found.slices[0], (len(found.slices), *found.slices[0].rows_columns)
    whole = all(s.slope.is_integer() and s.intercept.is_integer() and s.allocated_bits <= 16 for s in found.slices)
    if header_only:
        # The values of those of 16 bits may need 32
        pixels = unread(size, np.int16 if whole else np.float32)
    else:
        check_room("The series", size, 4)
        try:
            pixels = _pixels_of(found.slices, size, whole)
        except MemoryError as error:
            raise out_of_memory("the series") from error
    # The series description may hold anything that was typed at the scanner, so it stays out of the name.
    return found.volume(pixels, f"{first.modality} series {chosen.name}", chosen.notes)


def _pixels_of(ordered: Sequence[SliceHeader], size: tuple[int, ...], whole: bool) -> np.ndarray:
    """Rescaled pixels (K, J, I) of slices or frames in order."""
    array = np.empty(size, np.int32 if whole else np.float32)
    by_file: dict[Path, list[int]] = {}
    for k, s in enumerate(ordered):
        by_file.setdefault(s.path, []).append(k)
    for path, own in by_file.items():
        try:
            # GDCM takes one rescale for all frames of a file
            alike = len({(ordered[k].slope, ordered[k].intercept) for k in own}) == 1
            bright = ordered[own[0]].photometric == "MONOCHROME1"
            pixels = _rescaled(path, whole, bright) if alike else _stored(path)
            if pixels.shape[-2:] != size[1:]:
                raise undecodable(path)
            pixels = pixels.reshape(-1, *size[1:])
            for k in own:
                s = ordered[k]
                values = pixels[s.frame or 0]
                array[k] = values if alike else values * s.slope + s.intercept
        except (MemoryError, InputError):
            raise
        # What pydicom and GDCM raise for pixels that they cannot decode is of every kind.
        except Exception as error:
            check_room(path.name, (2, len(own), *size[1:]), 4)
            raise undecodable(path) from error
    if not whole:
        return array
    low, high = int(array.min()), int(array.max())
    fitting = (kind for kind in (np.int16, np.uint16) if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return array.astype(next(fitting, np.int32), copy=False)


def _rescaled(path: Path, whole: bool, bright: bool) -> np.ndarray:
    """By GDCM, which knows most compressions.

    As ITK has it, it turns values around that are shown bright where they are low, so it gets a copy of such a file
    that says otherwise: what the rescale makes of the stored values is what they mean.
    """
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory(prefix="cycleinr-dicom-") if bright else nullcontext("") as folder:
        if bright:
            content = bytearray(path.read_bytes())
            with quiet():
                grey = read_header(path, ["PhotometricInterpretation"]).get_item("PhotometricInterpretation")
            at = grey.value_tell  # type: ignore[attr-defined]  # not parsed yet
            if content[at : at + 11] != b"MONOCHROME1":
                raise undecodable(path)
            content[at + 10 : at + 11] = b"2"
            path = Path(folder, "copy.dcm")
            path.write_bytes(content)
        with itk_files():
            kind = sitk.sitkInt32 if whole else sitk.sitkFloat32
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path), kind, imageIO="GDCMImageIO"))


def _stored(path: Path) -> np.ndarray:
    import pydicom

    with quiet(), WithinFile(open(path, "rb", buffering=0)) as file:
        return pydicom.dcmread(file).pixel_array


def heights_mm(slices: Sequence[SliceHeader]) -> np.ndarray:
    """Positions along the first slice's normal, in mm."""
    return np.array([s.position_lps_mm for s in slices]) @ slices[0].normal_lps


def stacks(slices: list[SliceHeader]) -> list[list[SliceHeader]]:
    """Stacks of another orientation or size, as reformatted planes have them; one where a few images do not fit."""
    groups: list[list[SliceHeader]] = []
    for s in slices:
        fitting = next((group for group in groups if not _difference(group[0], s)), None)
        if fitting is None:
            groups.append([s])
        else:
            fitting.append(s)
    return groups if all(len(group) >= MIN_SLICES for group in groups) else [slices]


def _places(slices: Sequence[SliceHeader]) -> list[int]:
    """A number for each slice, the same for those at the same height."""
    heights = heights_mm(slices)
    order = np.argsort(heights, kind="stable")
    places = np.empty(len(slices), int)
    places[order] = np.cumsum(np.diff(heights[order], prepend=heights[order[:1]]) >= _SAME_POSITION_MM)
    return places.tolist()


def without_copies(slices: list[SliceHeader]) -> list[SliceHeader]:
    """One of each set of images that are the same in place, in all that tells phases apart, and in every pixel."""
    keys = [
        (place, s.slope, s.intercept, *sorted((key, str(told)) for key, told in s.tells.items() if key != _NUMBER))
        for s, place in zip(slices, _places(slices), strict=True)
    ]
    alike = {key for key, count in Counter(keys).items() if count > 1}
    kept: dict[tuple, SliceHeader] = {}
    for n, (s, key) in enumerate(zip(slices, keys, strict=True)):
        kept.setdefault((key, _pixels_hash(s.path)) if key in alike and s.frame is None else (n,), s)
    return list(kept.values())


def _pixels_hash(path: Path) -> str:
    """Hash of the decoded pixels; of the file where they cannot be decoded, which is told when they are read."""
    # Later than the worker's own reading of a request, which tells what cannot be loaded
    import hashlib

    import SimpleITK as sitk

    try:
        with itk_files():
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
        return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
    except RuntimeError:
        return hashlib.sha256(path.read_bytes()).hexdigest()


def phases(slices: list[SliceHeader]) -> list[tuple[str, list[SliceHeader]]]:
    """Volumes of slices at places that repeat, each with what tells it apart; all slices where nothing does."""
    places = _places(slices)
    if len(set(places)) == len(places):
        return [("", slices)]
    telling = [key for key in TELLING if len({s.tells.get(key) for s in slices}) > 1 and key != _NUMBER]
    for keys in (keys for n in range(1, _MOST_TELLING + 1) for keys in combinations(telling, n)):
        if groups := _grouped(slices, places, [tuple(s.tells.get(key) for key in keys) for s in slices]):
            return [(_words(keys, value, groups[0][0]), own) for value, own in groups]
    folders = [(str(s.path.parent),) for s in slices]
    for what, values in [*(("volume", _ranks(slices, places, key)) for key in _RANKED), ("folder", folders)]:
        if groups := _grouped(slices, places, values):
            return [(f"{what} {n} of {len(groups)}", own) for n, (_, own) in enumerate(groups, 1)]
    return [("", slices)]


def _grouped(slices: list[SliceHeader], places: list[int], values: list[tuple]) -> list[tuple[tuple, list]]:
    """Slices by value, in order of it; nothing where a group has two slices at one place, or too few slices."""
    groups: dict[tuple, list[int]] = {}
    for n, value in enumerate(values):
        groups.setdefault(value, []).append(n)
    least = min(MIN_SLICES, len(set(places)))
    if any(len(own) < least or len({places[n] for n in own}) < len(own) for own in groups.values()):
        return []
    # Values that some slices lack come last
    ordered = sorted(groups.items(), key=lambda item: [(v is None, isinstance(v, tuple), v or 0) for v in item[0]])
    return [(value, [slices[n] for n in own]) for value, own in ordered]


def _ranks(slices: list[SliceHeader], places: list[int], key: str) -> list[tuple[int]]:
    """Which of those at its place each slice is, as time goes on; nothing where that says nothing."""
    values = [s.tells.get(key) for s in slices]
    differ = len(set(zip(places, values, strict=True))) == len(slices)
    if not differ or len(set(Counter(places).values())) > 1 or not all(isinstance(each, float) for each in values):
        return []
    ranks, seen = {}, Counter[int]()
    for n in sorted(range(len(slices)), key=values.__getitem__):
        ranks[n] = (seen[places[n]],)
        seen[places[n]] += 1
    return [ranks[n] for n in range(len(slices))]


def _words(keys: Sequence[str], value: tuple, first: tuple) -> str:
    """What tells a phase apart; times of day as seconds after the first phase, which say nothing about the patient."""
    texts = []
    for key, one, start in zip(keys, value, first, strict=True):
        if one is None:
            texts.append(f"without {key}")
        elif key in _WORDS:
            texts.append(_WORDS[key].format("/".join(one) if isinstance(one, tuple) else f"{one:g}"))
        elif isinstance(one, float) and isinstance(start, float):
            texts.append(f"{one - start:g} s after the first")
    return ", ".join(texts) or "another one"
