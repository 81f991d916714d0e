"""One DICOM series as a volume: GDCM, through SimpleITK, decodes pixels in every transfer syntax that it knows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from .. import InputError
from ..computer import check_room, out_of_memory
from ..volume import Volume
from .bridges import unread, without_itk_warnings
from .dicom_header import SliceHeader, WithinFile, quiet, read_header, undecodable
from .dicom_series import Series
from .dicom_slices import stack


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
        check_room("The series", size, "32-bit")
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
            content = bytearray(path.read_bytes())
            with quiet():
                grey = read_header(path, ["PhotometricInterpretation"]).get_item("PhotometricInterpretation")
            at = grey.value_tell  # type: ignore[attr-defined]  # not parsed yet
            if content[at : at + 11] != b"MONOCHROME1":
                raise undecodable(path)
            content[at + 10 : at + 11] = b"2"
            path = Path(folder, "copy.dcm")
            path.write_bytes(content)
        with without_itk_warnings():
            kind = sitk.sitkInt32 if whole else sitk.sitkFloat32
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path), kind, imageIO="GDCMImageIO"))


def _stored(path: Path) -> np.ndarray:
    import pydicom

    with quiet(), WithinFile(open(path, "rb", buffering=0)) as file:
        return pydicom.dcmread(file).pixel_array
