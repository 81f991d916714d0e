"""One DICOM series as a volume: which files belong to it, and their pixels.

Headers are read with pydicom without the pixels; GDCM, through SimpleITK, decodes the pixels in every transfer syntax
it knows. Messages name files and series numbers, never anything about the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..memory import check_room, out_of_memory
from ..volume import MODALITIES, Volume
from .bridges import unread, without_itk_warnings
from .dicom_frames import read_frames
from .dicom_header import GREY, has_mark, slice_header, undecodable, with_plain_grey
from .dicom_series import Listing, Series, choose, notes_on, series_at, series_of_files
from .dicom_slices import SliceHeader, stack

_DECODER = "GDCMImageIO"


def read_dicom(path: Path, header_only: bool = False, series: str = "", frame: int | None = None) -> Volume:
    """Read one DICOM series, or its headers, with zeros that take no memory for voxels.

    Args:
        path: A folder, searched with its subfolders; a DICOMDIR, which stands for its folder; or one file, which stands
            for its series in its folder. A file holds one slice or, as an enhanced image, several. Scout images and
            objects that are no images are left out.
        series, frame: Which one is meant where several can be; see ``dicom_series.choose``.

    Returns:
        (K, J, I) with k along the slice normal; integers stay integers (HU for CT) where the rescale values are whole
        numbers, and are float32 otherwise. What a tilted gantry left is rectangular, with the lowest value where no
        slice lies. ``notes`` say what was left out or corrected.

    Raises:
        InputError: No series, several that can be meant, a damaged file, or images that are no CT or MR slices.
        GeometryError: The slices are not parallel, lie in the same place, or are stacked as no gantry does it.
        OutOfMemoryError: The series does not fit into the memory.
    """
    listing = series_at(Path(path))
    return volume_of_series(choose(listing, series, frame), listing, header_only)


def volume_of_series(chosen: Series, listing: Listing, header_only: bool = False) -> Volume:
    """Read a series that was found; as ``read_dicom``."""
    _check_sound(chosen)
    found = stack(list(chosen.slices))
    first, size = found.slices[0], (len(found.slices), *found.slices[0].rows_columns)
    pixels = unread(size, _type_of(found.slices)) if header_only else _pixels_of(found.slices)
    # The series description may hold anything that was typed at the scanner, so it stays out of the name.
    name = f"{first.modality} series {first.series_number if chosen.parts == 1 else chosen.name}"
    return found.volume(pixels, name, notes_on(listing, chosen))


def chosen_series(path: Path, series: str = "", frame: int | None = None) -> Series:
    """The series that is meant, which can be read; arguments and errors as in ``read_dicom``."""
    chosen = choose(series_at(Path(path)), series, frame)
    _check_sound(chosen)
    return chosen


def slices_of_files(files: Sequence[Path]) -> list[SliceHeader]:
    """Headers of the slices or frames in some files; scouts and objects that are no images are left out.

    Raises:
        InputError: A file is missing, damaged or no DICOM file; no slice is left; or they are of several series, or no
            grey CT or MR images.
    """
    for file in files:
        if not Path(file).is_file() or not has_mark(Path(file)):
            raise InputError(f"{Path(file).name} is missing or no DICOM file. Export the series again.")
    found = [header for file in files if (header := slice_header(Path(file))) is not None]
    slices = [header for header in found if not header.is_scout]
    if not slices:
        raise InputError(f"None of the {len(files)} files is a slice of a CT or MR series. Check the files.")
    if how_many := len({s.series_uid for s in slices}) - 1:
        raise InputError(f"The source holds {how_many + 1} DICOM series. Give the files of one of them.")
    if slices[0].frames is not None:
        chosen = choose(series_of_files(files), where="The source")
        _check_sound(chosen)
        return list(chosen.slices)
    _check_kind(slices)
    return slices


def _check_sound(chosen: Series) -> None:
    """Refuse what are no grey CT or MR images, and frames without a place, with an InputError."""
    _check_kind(chosen.slices)
    if chosen.is_multi_frame and chosen.slices[0].frame is None:
        raise InputError(chosen.problem)


def _check_kind(slices: Sequence[SliceHeader]) -> None:
    """Refuse what are no grey CT or MR images, with an InputError."""
    for s in slices:
        if s.modality not in MODALITIES:
            raise InputError(f"The series is of modality {s.modality}. Only CT and MR can be processed.")
        if s.samples_per_pixel != 1 or s.photometric not in GREY:
            raise InputError(
                f"{s.path.name} holds pixels of kind {s.photometric} with {s.samples_per_pixel} value(s) "
                "each; only grey images can be read. Give the series that the scanner made."
            )


def _pixels_of(ordered: list[SliceHeader]) -> np.ndarray:
    """Rescaled pixels (K, J, I) of slices in order."""
    whole = _is_whole(ordered)
    read = _read_slices if ordered[0].frame is None else read_frames
    check_room("The series", (len(ordered), *ordered[0].rows_columns), "32-bit")
    try:
        array = read(ordered, np.int32 if whole else np.float32)
    except MemoryError as error:
        raise out_of_memory("the series") from error
    except InputError:
        raise
    # What pydicom and GDCM raise for pixels that they cannot decode is of every kind.
    except Exception as error:
        raise (out_of_memory("the series") if "allocat" in str(error) else _first_undecodable(ordered)) from error
    return _smallest_integers(array) if whole else array


def _type_of(ordered: list[SliceHeader]) -> type:
    """What most series of this kind come to; the values of those of 16 bits may need 32."""
    return np.int16 if _is_whole(ordered) else np.float32


def _is_whole(ordered: list[SliceHeader]) -> bool:
    return all(s.slope.is_integer() and s.intercept.is_integer() and s.allocated_bits <= 16 for s in ordered)


def _read_slices(ordered: list[SliceHeader], dtype: type) -> np.ndarray:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(_DECODER)
    # Left alone, the reader would cut the values of all slices to the type that the first one needs.
    reader.SetOutputPixelType(sitk.sitkInt32 if np.dtype(dtype) == np.int32 else sitk.sitkFloat32)
    paths = [s.path for s in ordered]
    bright = [n for n, s in enumerate(ordered) if s.photometric == "MONOCHROME1"]
    copying: AbstractContextManager[list[Path]] = nullcontext([])
    if bright:
        copying = with_plain_grey([paths[n] for n in bright])
    with copying as copies:
        for n, copy in zip(bright, copies, strict=True):
            paths[n] = copy
        reader.SetFileNames([str(path) for path in paths])
        # Of slices that are not even, for instance, which are taken where they lie
        with without_itk_warnings():
            return sitk.GetArrayFromImage(reader.Execute())


def _first_undecodable(ordered: list[SliceHeader]) -> InputError:
    import SimpleITK as sitk

    for s in ordered:
        try:
            sitk.ReadImage(str(s.path), imageIO=_DECODER)
        except RuntimeError:
            return undecodable(s.path)
    return InputError("The pixels of the series cannot be decoded. Export the series again, uncompressed if possible.")


def _smallest_integers(array: np.ndarray) -> np.ndarray:
    low, high = int(array.min()), int(array.max())
    for kind in (np.int16, np.uint16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    return array
