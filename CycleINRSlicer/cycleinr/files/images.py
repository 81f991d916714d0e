"""Image files: NIfTI and MGH by readers of our own, NRRD and MetaImage through SimpleITK."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CycleinrError, GeometryError, InputError, OutputError
from ..geometry import check_even
from ..memory import check_room, out_of_memory
from ..straighten import rectangular
from ..volume import Volume
from . import headers, mgh, nifti
from .atomic import check_target, publish, staging_folder
from .bridges import index_to_lps, storable, to_simpleitk, type_of, unread, without_itk_warnings
from .lps import ras_from_lps
from .nifti_writer import write_nifti

if TYPE_CHECKING:
    import SimpleITK

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_DETACHED = {".nhdr": ".raw.gz", ".mhd": ".zraw"}
"""Header suffix -> suffix that ITK gives to the compressed data file beside it."""

_SUFFIXES = {
    "nifti": (*nifti.SUFFIXES, *nifti.PAIR_SUFFIXES),
    "mgh": mgh.SUFFIXES,
    "nrrd": (".nrrd", ".nhdr"),
    "meta": (".mha", ".mhd"),
}
_READERS = {"nrrd": "NrrdImageIO", "meta": "MetaImageIO"}
"""Left to choose, ITK asks each reader in turn, and the NIfTI one takes scan.nrrd.nii for a scan.nrrd."""

_FLAT = 1e-6
_FIELD_CHARACTERS = 1000
_FIELD_PREFIX = "CycleINR_"


def image_suffix(path: str | Path) -> str:
    """The supported suffix that a file name ends with, in lower case; "" if it has none."""
    name = Path(path).name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def image_kind(path: Path) -> str:
    """Which format a file has: "nifti", "mgh", "nrrd" or "meta"; "" for none of these.

    By its content; the name decides where that is damaged, or is the data file of a pair.

    Raises:
        OSError: It cannot be opened.
    """
    start = nifti.unpacked_start(path)
    if start[128:132] == b"DICM":
        return ""
    if start.startswith(b"NRRD000"):
        return "nrrd"
    if nifti.looks_like_nifti(start):
        return "nifti"
    if mgh.looks_like_mgh(start):
        return "mgh"
    if re.match(rb"\s*(ObjectType|NDims|Comment)\s*=", start):
        return "meta"
    name = path.name.lower()
    return next((kind for kind, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), "")


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """What an image file says of itself.

    Attributes:
        sizes: Samples along i, j, k and further axes.
        type: Of the values.
        ijk_to_ras: 4x4, mm.
        voxels: Reads (count, K, J, I) values of the frames from a first one, counted from 0.
        frame_s: Time between frames in seconds.
        known: What else is known of a volume in it.
    """

    sizes: tuple[int, ...]
    type: np.dtype
    ijk_to_ras: np.ndarray
    voxels: Callable[[int, int], np.ndarray]
    frame_s: float = 1.0
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        return math.prod(self.sizes[3:])


def image_header(path: Path) -> ImageHeader:
    """The header of an image file.

    Raises:
        InputError: The file is damaged, or is no image of three dimensions or more with one value per voxel.
    """
    kind = image_kind(path)
    if not kind:
        raise InputError(
            f"{path.name} is of no format that can be read. Give one of {', '.join(IMAGE_SUFFIXES)}, .hdr and .img, "
            ".mgz, a DICOM folder, one file of a DICOM series, or a zip archive of these."
        )
    return {"nifti": _nifti_header, "mgh": _mgh_header}.get(kind, _itk_header)(path)


def _check_depth(path: Path, sizes: Sequence[int]) -> None:
    if len(sizes) < 3:
        raise InputError(
            f"{path.name} is a {len(sizes)}-D image of {' x '.join(map(str, sizes))} pixels. "
            "Super-resolution between slices needs a 3-D volume; load the whole series."
        )


def read_image(path: Path, header_only: bool = False, frame: int | None = None) -> Volume:
    """Read one 3-D image, or its header, with zeros that take no memory for voxels.

    A NIfTI file without qform and sform is placed as ITK and 3D Slicer place it.

    Args:
        frame: Which one of several, counted from 1.

    Raises:
        InputError: The file is damaged, or is no image with one value per voxel; or frames are several and none is
            named, or one that there is not.
        GeometryError: The image is sheared otherwise than by a tilted gantry, or its axes are degenerate.
        OutOfMemoryError: It does not fit into the memory.
    """
    path = Path(path)
    found = image_header(path)
    if found.frames > 1 and frame is None:
        raise InputError(
            f"{path.name} is {len(found.sizes)}-dimensional with size {' x '.join(map(str, found.sizes))}: "
            f"{found.frames} frames of a time series or the like. Choose one with --frame N, or take all of them with "
            "--all-frames."
        )
    if frame is not None and not 1 <= frame <= found.frames:
        raise InputError(f"There is no frame {frame}: {path.name} has {found.frames}. Give a number from 1.")
    return image_frames(path, found, frame or 1, 1, header_only)[0]


def image_frames(path: Path, found: ImageHeader, first: int, count: int, header_only: bool = False) -> list[Volume]:
    """Several frames of an image at once, from ``first``, counted from 1; as ``read_image``."""
    shape = (count, *found.sizes[2::-1])
    _check_axes(path, found.ijk_to_ras)
    check_room(path.name, shape, f"{found.type.itemsize * 8}-bit")
    if header_only:
        frames = unread(shape, found.type)
    else:
        try:
            frames = found.voxels(first - 1, count)
        except MemoryError as error:
            raise out_of_memory(path.name) from error
    return [rectangular(array, found.ijk_to_ras, name=stem(path), **found.known) for array in frames]


def _check_axes(path: Path, ijk_to_ras: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        axes = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
        volume = abs(float(np.linalg.det(axes))) if np.isfinite(axes).all() else 0.0
    if volume < _FLAT:
        raise _flat(path)


def _flat(path: Path) -> GeometryError:
    return GeometryError(
        f"{path.name} has axes that lie in one plane or have no length. Its geometry is damaged; export it again."
    )


def stem(path: Path) -> str:
    """An image file's name without its ending."""
    suffixes = (*IMAGE_SUFFIXES, *nifti.PAIR_SUFFIXES[::-1], *mgh.SUFFIXES)
    ending = next((suffix for suffix in suffixes if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(ending)]


def _nifti_header(path: Path) -> ImageHeader:
    header = nifti.read_header(path)
    nifti.check_samples(path, header)
    _check_depth(path, header.sizes)
    affine, codes, note = nifti.placement(header)
    notes = [text for text in (note, nifti.ANALYZE_NOTE if header.is_analyze else "") if text]

    def voxels(first: int, count: int) -> np.ndarray:
        return nifti.read_voxels(path, header, first, count)

    known = {"notes": tuple(notes), "nifti_codes": codes}
    return ImageHeader(header.sizes, header.type, affine, voxels, header.frame_s, known)


def _mgh_header(path: Path) -> ImageHeader:
    header = mgh.read_header(path)
    sizes = header.sizes if header.sizes[3] > 1 else header.sizes[:3]
    kind = header.stored_type.newbyteorder("=")
    return ImageHeader(sizes, kind, header.ijk_to_ras, lambda first, n: mgh.read_voxels(path, header, first, n))


def _itk_header(path: Path) -> ImageHeader:
    """NRRD and MetaImage."""
    import SimpleITK as sitk

    if damage := headers.find_damage(path):
        raise nifti.damaged(path, damage)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[image_kind(path)])
    reader.SetFileName(str(path))
    # Warnings are ITK's own, in C++ and with the places of its sources
    with _itk_errors(path), without_itk_warnings():
        reader.ReadImageInformation()
    sizes, values = reader.GetSize(), reader.GetNumberOfComponents()
    if values != 1:
        raise InputError(
            f"{path.name} has {values} values per voxel (colour, vectors or a transform). "
            "Extract one component as a scalar volume first."
        )
    _check_depth(path, sizes)

    def voxels(first: int, count: int) -> np.ndarray:
        with _itk_errors(path), without_itk_warnings():
            array = sitk.GetArrayFromImage(reader.Execute())
        return array.reshape(-1, *sizes[2::-1])[first : first + count]

    kind = type_of(sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    return ImageHeader(sizes, kind, ras_from_lps(index_to_lps(reader)), voxels)


@contextmanager
def _itk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _reading_error(path, str(error)) from error


def write_volume(
    volume: Volume, path: str | PathLike[str], metadata: Mapping[str, str] | None = None, overwrite: bool = False
) -> None:
    """Write a volume so that the file appears complete or not at all.

    Args:
        path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd. The last two of each pair put their data beside the header.
        metadata: Short texts about the result. NRRD and MetaImage carry each as a header field with the prefix
            "CycleINR_"; NIfTI carries the first 79 characters of them in ``descrip``. ``sidecar`` keeps all of it.
        overwrite: Replace an existing file.

    Raises:
        OutputError: The format is not supported, the folder is missing or full, or the file exists already.
        GeometryError: Its slices are not evenly spaced.
    """
    path = Path(path)
    check_even(volume.acquisition, "An image file")
    suffix = image_suffix(path)
    if not suffix:
        raise OutputError(
            f"{path.name} ends in no supported format. Give a name that ends in one of {', '.join(IMAGE_SUFFIXES)}."
        )
    check_target(path, overwrite)
    if suffix in nifti.SUFFIXES:
        write_frames([volume], path, metadata, overwrite)
        return
    image = to_simpleitk(volume)
    for key, value in _header_fields(metadata or {}).items():
        image.SetMetaData(key, value)
    with staging_folder(path) as folder:
        if suffix in _DETACHED:
            _write_detached(image, folder, path, suffix, overwrite)
        else:
            staged = folder / f"image{suffix}"
            _write(image, staged, path)
            publish(staged, path, overwrite)


def write_frames(
    volumes: Sequence[Volume],
    path: str | PathLike[str],
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    frame_s: float = 1.0,
) -> None:
    """Write volumes of one geometry as the frames of one .nii or .nii.gz file; as ``write_volume``."""
    path = Path(path)
    check_target(path, overwrite)
    first = volumes[0]
    note = "; ".join(f"{key}={' '.join(str(value).split())}" for key, value in (metadata or {}).items())
    arrays = [storable(volume.array) for volume in volumes]
    with staging_folder(path) as folder:
        staged = folder / f"image{image_suffix(path)}"
        write_nifti(arrays, first.ijk_to_ras, first.nifti_codes or (1, 1), staged, note, frame_s)
        publish(staged, path, overwrite)


def _reading_error(path: Path, text: str) -> CycleinrError:
    if "allocat" in text or "bad_alloc" in text:
        return out_of_memory(path.name)
    if "orthonormal direction" in text or "determinant is 0" in text.lower():
        return _flat(path)
    reason = text.strip().splitlines()[-1]
    return InputError(f"{path.name} cannot be read: {reason} Check that the file is complete, or export it again.")


def _header_fields(metadata: Mapping[str, str]) -> dict[str, str]:
    # Line breaks would end a field early, so that its rest were read as a field of the format's own.
    texts = {str(key): " ".join(str(value).split()) for key, value in metadata.items()}
    return {
        _FIELD_PREFIX + re.sub(r"\W", "_", key, flags=re.ASCII): value[:_FIELD_CHARACTERS]
        for key, value in texts.items()
        if value
    }


def _write(image: SimpleITK.Image, staged: Path, path: Path) -> None:
    """Write one staged image; ``path`` is its final name, for the messages."""
    import SimpleITK as sitk

    try:
        with without_itk_warnings():
            sitk.WriteImage(image, str(staged), useCompression=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise OutputError(f"{path} could not be written: {reason} Check the free space on that disk.") from error


def _write_detached(image: SimpleITK.Image, folder: Path, path: Path, suffix: str, overwrite: bool) -> None:
    """Write header and data file so that a header on disk always belongs to its data.

    The data get a name that nothing has yet and are moved first; the rename of the header switches over.
    """
    stem = path.name[: -len(suffix)]
    names = (f"{stem}-{n}" if n > 1 else stem for n in range(1, 1_000_000))
    data_stem = next(name for name in names if not (path.parent / (name + _DETACHED[suffix])).exists())
    replaced = _data_file_of(path, stem)
    header = folder / (data_stem + suffix)
    _write(image, header, path)
    data = path.parent / (data_stem + _DETACHED[suffix])
    publish(folder / data.name, data, overwrite=False)
    try:
        publish(header, path, overwrite)
    except BaseException:
        data.unlink(missing_ok=True)
        raise
    if replaced is not None and replaced != data:
        replaced.unlink(missing_ok=True)


def _data_file_of(path: Path, stem: str) -> Path | None:
    """The data file of a header that is about to be replaced, if surely nothing else uses it; else None."""
    siblings = [path.with_name(stem + suffix) for suffix in _DETACHED]
    if not path.is_file() or sum(sibling.exists() for sibling in siblings) > 1:
        return None
    match = re.search(
        rf"^(?:ElementDataFile = |data file: )({re.escape(stem)}(?:-\d+)?\.(?:zraw|raw\.gz))\s*$",
        path.read_text(encoding="utf-8", errors="replace"),
        re.MULTILINE,
    )
    return path.with_name(match.group(1)) if match else None
