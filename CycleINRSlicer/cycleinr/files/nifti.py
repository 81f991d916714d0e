"""NIfTI-1, NIfTI-2, Analyze and FreeSurfer's MGH files by their own headers; NIfTI-1 is written too.

ITK's library is not asked: it takes the voxels of a scan.nii that lies beside the scan.nii.gz, makes 0 of NaN, fills
what is missing with zeros, takes spacings and directions from different places of the header, and knows no NIfTI-2.
Layout of the headers: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h;
https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat.
"""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import numpy as np

from .. import InputError, OutputError
from ..geometry import is_sheared, spacing_of
from ..volume import Volume
from .bridges import check_size, ras_from_lps, storable
from .samples import ImageHeader, damaged, read_samples, unpacked_start

SUFFIXES = (".nii.gz", ".nii")


def _layout(size: int, **fields: tuple[str, int]) -> np.dtype:
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": size})


_NIFTI_1 = _layout(
    348, sizeof_hdr=("i4", 0), regular=("S1", 38), dim=("8i2", 40), datatype=("i2", 70), bitpix=("i2", 72),
    pixdim=("8f4", 76), vox_offset=("f4", 108), scl_slope=("f4", 112), scl_inter=("f4", 116), xyzt_units=("u1", 123),
    descrip=("S79", 148), codes=("2i2", 252), quatern=("6f4", 256), srow=("(3,4)f4", 280), magic=("S3", 344),
)  # fmt: skip
_NIFTI_2 = _layout(
    540, sizeof_hdr=("i4", 0), magic=("S3", 4), datatype=("i2", 12), dim=("8i8", 16), pixdim=("8f8", 104),
    vox_offset=("i8", 168), scl_slope=("f8", 176), scl_inter=("f8", 184), descrip=("S79", 240), codes=("2i4", 344),
    quatern=("6f8", 352), srow=("(3,4)f8", 400), xyzt_units=("i4", 500),
)  # fmt: skip
"""The fields that are used, by their names in nifti1.h; ``codes`` are those of qform and sform."""

_MM_OF_UNIT = {1: 1000.0, 3: 0.001}
_MM, _SECONDS = 2, 8
_SCANNER = 1
RESULT = b"software=CycleINR;"
_NAMES = ("unknown", "scanner", "aligned", "Talairach", "MNI")
_SAME_SHARE = 1e-2
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COMPLEX = (32, 1792, 2048)
_COLOUR = {128: 3, 2304: 4}
_MGH_VOXELS_AT = 284
_MGH_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_LONGEST = 32767
_PACKING = 3
"""A head CT gets no smaller from 4 to 6, which take up to three times as long."""

_UNPLACED_NOTE = (
    "The file has neither qform nor sform and does not say which side is left: its axes were taken to point to left, "
    "posterior and superior, as in 3D Slicer."
)


def looks_like_nifti(start: bytes) -> bool:
    """Whether the first bytes of a file, unpacked, are those of a NIfTI or Analyze header."""
    return _fields(start) is not None


def _fields(start: bytes) -> np.void | None:
    for layout in (_NIFTI_1, _NIFTI_2):
        for order in "<>" if len(start) >= layout.itemsize else "":
            found = np.frombuffer(start, layout.newbyteorder(order), 1)[0]
            if found["sizeof_hdr"] == layout.itemsize and 1 <= found["dim"][0] <= 7:
                return found
    return None


def nifti_header(path: Path) -> ImageHeader:
    """The header of a .nii file, or of either file of a pair.

    Raises:
        InputError: It is none, or makes no sense; or the samples are no single real numbers.
    """
    own = _pair_of(path, ".hdr") if path.name.lower().endswith((".img", ".img.gz")) else path
    start = unpacked_start(own)
    found = _fields(start)
    if found is None:
        raise damaged(path, "it has no NIfTI header" if start or not own.stat().st_size else "it cannot be unpacked")
    is_analyze = found.dtype.itemsize == 348 and found["magic"] not in (b"n+1", b"ni1")
    is_pair = is_analyze or found["magic"] in (b"ni1", b"ni2")
    data = _pair_of(path, ".img") if is_pair else path
    # Before NIfTI, other things stood in the place of the codes
    q_code, s_code = (0, 0) if is_analyze else found["codes"].clip(0).tolist()
    places = np.hstack([found["pixdim"][1:4], q_code and found["quatern"], s_code and found["srow"].ravel()])
    if not np.isfinite(places).all():
        raise damaged(path, "its header places it nowhere: a number of its transform is infinite or not a number")
    sizes = tuple(max(n, 1) for n in found["dim"][1 : found["dim"][0] + 1].tolist())
    stored = _stored_type(path, found, sizes)
    slope, intercept = found["scl_slope"].item(), found["scl_inter"].item()
    # Slope 0 means that there is none
    is_rescaled = not is_analyze and slope and math.isfinite(slope) and math.isfinite(intercept)
    is_rescaled = is_rescaled and (slope, intercept) != (1.0, 0.0)
    kind = np.dtype("f8" if stored.char == "d" else "f4") if is_rescaled else stored.newbyteorder("=")
    offset, least = found["vox_offset"].item(), 0 if is_pair else found.dtype.itemsize
    at = max(int(offset), least) if math.isfinite(offset) else least

    def voxels(first: int, count: int) -> np.ndarray:
        array = read_samples(data, at, stored, sizes, first, count)
        return (array * np.float64(slope) + intercept if is_rescaled else array).astype(kind, copy=False)

    mm = 1.0 if is_analyze else _MM_OF_UNIT.get(int(found["xyzt_units"]) & 7, 1.0)
    affine, kept, note = _placement(found, q_code, s_code, sizes)
    seconds = found["pixdim"][4].item()
    frame_s = seconds if seconds > 0 and math.isfinite(seconds) else 1.0
    mm_affine = np.diag([mm, mm, mm, 1.0]) @ affine
    known = {
        "notes": (note,) if note else (),
        "nifti_codes": kept,
        "made_by_cycleinr": found["descrip"].startswith(RESULT),
    }
    return ImageHeader(sizes, kind, mm_affine, voxels, frame_s, known)


def _stored_type(path: Path, found: np.void, sizes: Sequence[int]) -> np.dtype:
    code = int(found["datatype"])
    if code in _COMPLEX:
        raise InputError(f"{path.name} holds complex numbers. Take their magnitude as a scalar volume first.")
    # Beyond space and time there are components, of vectors for instance
    check_size(path.name, tuple(sizes[:3]), _COLOUR.get(code, math.prod(sizes[4:])))
    if code not in _TYPES:
        raise InputError(f"{path.name} has samples of a type (NIfTI's {code}) that no scan has.")
    return np.dtype(_TYPES[code]).newbyteorder(found.dtype["datatype"].byteorder)


def _pair_of(path: Path, ending: str) -> Path:
    """The header or the data file of a pair, whichever file of it is named, in the same spelling."""
    packed = ".gz" if path.name.lower().endswith(".gz") else ""
    name = path.name[: len(path.name) - len(packed)]
    stem, own = name[:-4], name[-4:]
    if own.lower() not in (".hdr", ".img"):
        raise damaged(path, "its header says that it is one of a pair of files (.hdr and .img)")
    wanted = ending.upper() if own.isupper() else ending
    for end in dict.fromkeys((packed, "", ".gz")):
        other = path.with_name(stem + wanted + end)
        if other.is_file():
            return other
    raise InputError(
        f"{path.name} is one of a pair of files, and {stem}{wanted} is not beside it. Copy both into one folder."
    )


def _placement(
    found: np.void, q_code: int, s_code: int, sizes: Sequence[int]
) -> tuple[np.ndarray, tuple[int, int], str]:
    """Where the image lies, in the header's unit; the codes that hold for it; what to say where it is in doubt.

    As ITK and 3D Slicer, the sform is taken where it is of the scanner or alone, else the qform, and the axes of LPS
    where there is neither. Its own spacing is taken with it, and a qform without spacing (1 x 1 x 1) is not believed.
    """
    spacing = np.abs(found["pixdim"][1:4].astype(np.float64))
    if not q_code and not s_code:
        return ras_from_lps(np.diag([*spacing, 1.0])), (0, 0), _UNPLACED_NOTE
    s, q = np.vstack([found["srow"].astype(np.float64), [0, 0, 0, 1]]), _qform(found)
    if not q_code or not s_code:
        return s if s_code else q, (q_code, s_code), ""
    corners = np.array(list(product((0, 1), (0, 1), (0, 1), (1,)))) * [*sizes[:3], 1]
    apart_mm = float(np.linalg.norm(corners @ (s - q).T, axis=1).max())
    taken, which, why = s, "sform", "which says that it is the scanner's, as 3D Slicer takes it"
    if s_code != _SCANNER:
        if (found["pixdim"][1:4] == 1).all() and not np.allclose(np.linalg.norm(s[:3, :3], axis=0), 1):
            why = "since the qform states no spacing; 3D Slicer takes the qform"
        else:
            taken, which, why = (
                q,
                "qform",
                "since the sform does not say that it is the scanner's, as 3D Slicer takes it",
            )
    # A qform cannot lean as what a tilted gantry left does, and says nothing of its own then
    leans = taken is s and is_sheared(s)
    if leans or apart_mm <= _SAME_SHARE * float(np.linalg.norm(q[:3, :3], axis=0).max()):
        return taken, (q_code, s_code), ""
    names = [_NAMES[code] if code < len(_NAMES) else str(code) for code in (q_code, s_code)]
    note = (
        f"The qform ({names[0]}) and the sform ({names[1]}) of the NIfTI file place it up to {apart_mm:.3g} mm apart; "
        f"the {which} was taken, {why}."
    )
    return taken, (0, s_code) if taken is s else (q_code, 0), note


def _qform(found: np.void) -> np.ndarray:
    b, c, d, *offset = found["quatern"].tolist()
    quaternion = np.array([math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d)), b, c, d])
    a, *axis = quaternion / np.linalg.norm(quaternion)
    across = np.cross(np.eye(3), axis)
    turned, *spacing = found["pixdim"][:4].tolist()
    affine = np.eye(4)
    affine[:3, :3] += 2 * (a * across + across @ across)
    affine[:3, :3] *= np.abs(spacing) * (1, 1, -1 if turned < 0 else 1)
    affine[:3, 3] = offset
    return affine


def looks_like_mgh(start: bytes) -> bool:
    """Whether the first bytes of a file, unpacked, are those of an MGH header."""
    if len(start) < _MGH_VOXELS_AT:
        return False
    version, *sizes, kind = struct.unpack_from(">6i", start)
    return version == 1 and min(sizes) > 0 and kind in _MGH_TYPES


def mgh_header(path: Path) -> ImageHeader:
    """The header; an InputError says that there is none, or that it says nothing of the place."""
    start = unpacked_start(path)
    if not looks_like_mgh(start):
        raise damaged(path, "it has no MGH header")
    *sizes, kind, _, is_placed = struct.unpack_from(">6ih", start, 4)
    numbers = np.array(struct.unpack_from(">15f", start, 30), np.float64)
    if not is_placed:
        raise InputError(f"{path.name} does not say where it lies. Give the volume that it was made from.")
    if not np.isfinite(numbers).all():
        raise damaged(path, "its header places it nowhere")
    affine = np.eye(4)
    # Columns of direction cosines one after the other; the place is that of the middle
    affine[:3, :3] = numbers[3:12].reshape(3, 3).T * numbers[:3]
    affine[:3, 3] = numbers[12:] - affine[:3, :3] @ (np.array(sizes[:3]) / 2)
    stored = np.dtype(_MGH_TYPES[kind])
    values = stored.newbyteorder("=")

    def voxels(first: int, count: int) -> np.ndarray:
        return read_samples(path, _MGH_VOXELS_AT, stored, sizes, first, count).astype(values)

    return ImageHeader(tuple(sizes if sizes[3] > 1 else sizes[:3]), values, affine, voxels)


def write_nifti(volumes: Sequence[Volume], path: Path, note: str, frame_s: float) -> None:
    """Write volumes of one geometry as the frames of a .nii or .nii.gz file; one gives a 3-D image.

    Args:
        note: The start of it goes into ``descrip``.
        frame_s: Time between frames in seconds.

    Raises:
        OutputError: An axis is longer than the format allows.
    """
    frames = [storable(volume.array) for volume in volumes]
    longest = max(len(frames), *frames[0].shape)
    if longest > _LONGEST:
        raise OutputError(
            f"A NIfTI file has at most {_LONGEST} samples along an axis, and the result has {longest}. "
            "Write .nrrd or .mha instead."
        )
    with open(path, "wb") as file:
        packed = path.name.lower().endswith(".gz")
        # No name and no time, so that the same result gives the same bytes
        with gzip.GzipFile("", "wb", _PACKING, file, mtime=0) if packed else nullcontext(file) as stream:
            # Four zeros: no extension follows
            stream.write(_header(volumes[0], frames, note, frame_s).tobytes() + bytes(4))
            for frame in frames:
                for plane in frame:
                    stream.write(np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")))


def _header(first: Volume, frames: Sequence[np.ndarray], note: str, frame_s: float) -> np.ndarray:
    ijk_to_ras, codes = first.ijk_to_ras, first.nifti_codes or (1, 1)
    times, dtype, spacing = len(frames), frames[0].dtype, spacing_of(ijk_to_ras)
    quaternion, turned = _quaternion(ijk_to_ras[:3, :3] / spacing)
    # Without codes, a place that the file cannot hold then is called the scanner's
    if codes == (0, 0) and not np.allclose(ijk_to_ras, ras_from_lps(np.diag([*spacing, 1.0]))):
        codes = (1, 1)
    header = np.zeros((), _NIFTI_1.newbyteorder("<"))
    header["sizeof_hdr"], header["regular"], header["magic"] = header.itemsize, b"r", b"n+1"
    header["dim"] = [4 if times > 1 else 3, *frames[0].shape[::-1], times, 1, 1, 1]
    header["datatype"] = next(code for code, name in _TYPES.items() if name == f"{dtype.kind}{dtype.itemsize}")
    header["bitpix"] = dtype.itemsize * 8
    header["pixdim"] = [turned, *spacing, frame_s if times > 1 else 1.0, 1, 1, 1]
    header["vox_offset"], header["scl_slope"] = header.itemsize + 4, 1
    header["xyzt_units"] = _MM | (_SECONDS if times > 1 else 0)
    header["descrip"] = note.encode("ascii", "replace")
    header["codes"], header["srow"] = codes, ijk_to_ras[:3]
    header["quatern"] = [*quaternion, *ijk_to_ras[:3, 3]]
    return header


def _quaternion(rotation: np.ndarray) -> tuple[np.ndarray, float]:
    """(b, c, d) with a >= 0 of a matrix of unit columns, and -1 where the last column has to be turned around for it.

    Each row of ``products`` is (a, b, c, d) times one of the four; the largest one loses no digits.
    """
    turned = math.copysign(1.0, float(np.linalg.det(rotation)))
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation * (1.0, 1.0, turned)
    products = np.array(
        [
            [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz],
        ]
    )
    largest = products[products.diagonal().argmax()]
    quaternion = largest / np.linalg.norm(largest)
    return quaternion[1:] * math.copysign(1.0, quaternion[0]), turned
