"""One DICOM series as a volume: which files belong to it, and their pixels.

Headers are read with pydicom without the pixels; GDCM, through SimpleITK, decodes the pixels in every transfer syntax
it knows. Messages name files and series numbers, never anything about the patient.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from ..computer import check_room, out_of_memory
from ..errors import InputError
from ..volume import MODALITIES, Volume
from .bridges import unread, without_itk_warnings
from .dicom_header import GREY, WithinFile, has_mark, quiet, undecodable
from .dicom_series import Listing, Series, choose, notes_on, series_at, series_of_files
from .dicom_slices import SliceHeader, stack


def volume_of_series(chosen: Series, listing: Listing, header_only: bool = False) -> Volume:
    """Read a series that was found.

    Returns:
        (K, J, I) with k along the slice normal; integers stay integers (HU for CT) where the rescale values are whole
        numbers, and are float32 otherwise. What a tilted gantry left is rectangular, with the lowest value where no
        slice lies. ``notes`` say what was left out or corrected.
    """
    _check_sound(chosen)
    found = stack(list(chosen.slices))
    first, size = found.slices[0], (len(found.slices), *found.slices[0].rows_columns)
    whole = all(s.slope.is_integer() and s.intercept.is_integer() and s.allocated_bits <= 16 for s in found.slices)
    if header_only:
        # The values of those of 16 bits may need 32
        pixels = unread(size, np.int16 if whole else np.float32)
    else:
        check_room("The series", size, "32-bit")
        try:
            pixels = _pixels_of(found.slices, size, whole)
        except MemoryError as error:
            raise out_of_memory("the series") from error
    # The series description may hold anything that was typed at the scanner, so it stays out of the name.
    name = f"{first.modality} series {first.series_number if chosen.parts == 1 else chosen.name}"
    return found.volume(pixels, name, notes_on(listing, chosen))


def chosen_series(path: Path, series: str = "", frame: int | None = None) -> Series:
    """The series that is meant, which can be read; arguments and errors as in ``read_volume``."""
    chosen = choose(series_at(path), series, frame)
    _check_sound(chosen)
    return chosen


def slices_of_files(files: Sequence[str | Path]) -> list[SliceHeader]:
    """Headers of the slices or frames in some files; scouts, copies and objects that are no images are left out.

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
    if not listing.series:
        raise InputError(f"None of the {len(files)} files is a slice of a CT or MR series. Check the files.")
    if how_many := len({one.uid for one in listing.series}) - 1:
        raise InputError(f"The source holds {how_many + 1} DICOM series. Give the files of one of them.")
    chosen = choose(listing)
    _check_sound(chosen)
    return list(chosen.slices)


def _check_sound(chosen: Series) -> None:
    """Refuse what are no grey CT or MR images, and frames without a place, with an InputError."""
    for s in chosen.slices:
        if s.modality not in MODALITIES:
            raise InputError(f"The series is of modality {s.modality}. Only CT and MR can be processed.")
        if s.samples_per_pixel != 1 or s.photometric not in GREY:
            raise InputError(
                f"{s.path.name} holds pixels of kind {s.photometric} with {s.samples_per_pixel} value(s) "
                "each; only grey images can be read. Give the series that the scanner made."
            )
    if chosen.is_multi_frame and chosen.slices[0].frame is None:
        raise InputError(chosen.problem)


def _pixels_of(ordered: list[SliceHeader], size: tuple[int, ...], whole: bool) -> np.ndarray:
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
            raise (out_of_memory("the series") if "allocat" in str(error) else undecodable(path)) from error
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
            path = _with_plain_grey(path, Path(folder, "copy.dcm"))
        with without_itk_warnings():
            kind = sitk.sitkInt32 if whole else sitk.sitkFloat32
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path), kind, imageIO="GDCMImageIO"))


def _with_plain_grey(path: Path, copy: Path) -> Path:
    import pydicom

    content = bytearray(path.read_bytes())
    with quiet(), WithinFile(open(path, "rb", buffering=0)) as file:
        data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PhotometricInterpretation"])
        at = data.get_item("PhotometricInterpretation").value_tell  # type: ignore[attr-defined]  # not parsed yet
    if content[at : at + 11] != b"MONOCHROME1":
        raise undecodable(path)
    content[at + 10 : at + 11] = b"2"
    copy.write_bytes(content)
    return copy


def _stored(path: Path) -> np.ndarray:
    import pydicom

    with quiet(), WithinFile(open(path, "rb", buffering=0)) as file:
        return pydicom.dcmread(file).pixel_array
