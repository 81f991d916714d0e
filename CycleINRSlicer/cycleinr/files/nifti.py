"""NIfTI-1, NIfTI-2 and Analyze files, one or two files an image, by their own headers.

ITK's library is not asked: it takes the voxels of a scan.nii that lies beside the scan.nii.gz, makes 0 of NaN, fills
what is missing with zeros, takes spacings and directions from different places of the header, and knows no NIfTI-2.
Layout of the headers: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from ..geometry import is_sheared

SUFFIXES = (".nii.gz", ".nii")
PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")

_MOST_PACKED = 1032
"""Times that gzip can pack; zlib.net, "Technical Details"."""

_PIECE_BYTES = 1 << 22
_HEADER_BYTES = 540
_MM_OF_UNIT = {1: 1000.0, 3: 0.001}
_SCANNER = 1
_NAMES = ("unknown", "scanner", "aligned", "Talairach", "MNI")
_SAME_SHARE = 1e-2

TYPE_CODES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COMPLEX = (32, 1792, 2048)
_COLOUR = {128: 3, 2304: 4}

ANALYZE_NOTE = (
    "An Analyze file does not say which side is left: it was placed as NIfTI files without a transform are, and as 3D "
    "Slicer does."
)


@dataclass(frozen=True)
class Header:
    """What the header of a file says.

    Attributes:
        order: "<" or ">".
        sizes: Samples along i, j, k and further axes.
        datatype: NIfTI's code of the samples' type.
        voxels_at: Byte of the first sample in the file that holds the samples.
        slope, intercept: Value = slope * stored + intercept.
        spacing: Pixdim, 8 numbers.
        codes: Qform and sform code; 0 where there is none.
        quaternion: B, c, d and the offset of the qform.
        rows: 3 x 4 numbers of the sform.
        unit: Of lengths, NIfTI's code.
        is_pair: The samples are in a file of their own.
        is_analyze: Of the time before NIfTI.
    """

    order: str
    sizes: tuple[int, ...]
    datatype: int
    voxels_at: int
    slope: float
    intercept: float
    spacing: tuple[float, ...]
    codes: tuple[int, int]
    quaternion: tuple[float, ...]
    rows: tuple[float, ...]
    unit: int
    is_pair: bool
    is_analyze: bool

    @property
    def stored_type(self) -> np.dtype:
        """Type of the stored samples in their byte order."""
        return np.dtype(self.order + TYPE_CODES[self.datatype])

    @property
    def type(self) -> np.dtype:
        """Type of the values."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return self.stored_type.newbyteorder("=")
        return np.dtype(np.float64 if self.datatype == 64 else np.float32)

    @property
    def frames(self) -> int:
        return math.prod(self.sizes[3:])

    @property
    def frame_s(self) -> float:
        """Time between frames, 1 where it is not stated."""
        return self.spacing[4] if self.spacing[4] > 0 and math.isfinite(self.spacing[4]) else 1.0


def looks_like_nifti(start: bytes) -> bool:
    """Whether the first bytes of a file, unpacked, are those of a NIfTI or Analyze header."""
    if len(start) < 348:
        return False
    order = next((o for o in "<>" if struct.unpack_from(f"{o}i", start)[0] in (348, 540)), "")
    if not order:
        return False
    first = struct.unpack_from(f"{order}i", start)[0] == 348
    axes = struct.unpack_from(f"{order}h", start, 40)[0] if first else struct.unpack_from(f"{order}q", start, 16)[0]
    return 1 <= axes <= 7


def unpacked_start(path: Path) -> bytes:
    """The first bytes of a file, of what is packed in it where it is gzip; fewer where it is shorter or damaged.

    Raises:
        OSError: It cannot be opened.
    """
    try:
        with opened(path) as file:
            return file.read(_HEADER_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file, or what is packed in it where its content is gzip, whatever its name says."""
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not is_gzip:
            yield file
            return
        with gzip.open(file) as packed:
            yield packed  # type: ignore[misc]


def check_length(path: Path, needed: int) -> None:
    """Refuse a file that cannot hold as many bytes, packed or not, before memory is taken for them.

    Raises:
        InputError: It cannot.
    """
    if needed > _MOST_PACKED * path.stat().st_size:
        raise damaged(path, f"it is too short for {needed} bytes")


def read_header(path: Path) -> Header:
    """The header of a .nii file, or of either file of a pair.

    Raises:
        InputError: It is none, or makes no sense.
        OSError: A file cannot be opened.
    """
    own = _pair_of(path, ".hdr") if path.name.lower().endswith((".img", ".img.gz")) else path
    start = unpacked_start(own)
    if not looks_like_nifti(start):
        raise damaged(path, "it has no NIfTI header" if start or not own.stat().st_size else "it cannot be unpacked")
    header = _parsed(start)
    single = path.name.lower().endswith(SUFFIXES)
    if header.is_pair and single:
        text = "its header says that it is one of a pair of files (.hdr and .img), and has no voxels of its own"
        raise damaged(path, text)
    if not _is_placed(header):
        raise damaged(path, "its header places it nowhere: a number of its transform is infinite or not a number")
    return header


def _parsed(start: bytes) -> Header:
    order = "<" if struct.unpack_from("<i", start)[0] in (348, 540) else ">"
    if struct.unpack_from(f"{order}i", start)[0] == 540 and len(start) >= _HEADER_BYTES:
        return _parsed_2(start, order)
    dims = struct.unpack_from(f"{order}8h", start, 40)
    magic = start[344:347]
    is_analyze = magic not in (b"n+1", b"ni1")
    is_pair = magic != b"n+1"
    offset, slope, intercept = struct.unpack_from(f"{order}3f", start, 108)
    return Header(
        order=order,
        sizes=tuple(max(n, 1) for n in dims[1 : dims[0] + 1]),
        datatype=struct.unpack_from(f"{order}h", start, 70)[0],
        voxels_at=_offset(offset, 0 if is_pair else 348),
        **_rescale(0.0 if is_analyze else slope, intercept),
        spacing=struct.unpack_from(f"{order}8f", start, 76),
        # Before NIfTI, other things stood in these places
        codes=(0, 0) if is_analyze else struct.unpack_from(f"{order}2h", start, 252),
        quaternion=struct.unpack_from(f"{order}6f", start, 256),
        rows=struct.unpack_from(f"{order}12f", start, 280),
        unit=0 if is_analyze else start[123] & 7,
        is_pair=is_pair,
        is_analyze=is_analyze,
    )


def _parsed_2(start: bytes, order: str) -> Header:
    dims = struct.unpack_from(f"{order}8q", start, 16)
    is_pair = start[4:7] == b"ni2"
    return Header(
        order=order,
        sizes=tuple(max(n, 1) for n in dims[1 : dims[0] + 1]),
        datatype=struct.unpack_from(f"{order}h", start, 12)[0],
        voxels_at=_offset(struct.unpack_from(f"{order}q", start, 168)[0], 0 if is_pair else 540),
        **_rescale(*struct.unpack_from(f"{order}2d", start, 176)),
        spacing=struct.unpack_from(f"{order}8d", start, 104),
        codes=struct.unpack_from(f"{order}2i", start, 344),
        quaternion=struct.unpack_from(f"{order}6d", start, 352),
        rows=struct.unpack_from(f"{order}12d", start, 400),
        unit=struct.unpack_from(f"{order}i", start, 500)[0] & 7,
        is_pair=is_pair,
        is_analyze=False,
    )


def _offset(said: float, least: int) -> int:
    return max(int(said), least) if math.isfinite(said) else least


def _rescale(slope: float, intercept: float) -> dict[str, float]:
    """Slope 0 means that there is none."""
    sound = math.isfinite(slope) and math.isfinite(intercept) and slope != 0
    return {"slope": slope, "intercept": intercept} if sound else {"slope": 1.0, "intercept": 0.0}


def _is_placed(header: Header) -> bool:
    used = list(header.spacing[1:4])
    used += header.quaternion if header.codes[0] > 0 else ()
    used += header.rows if header.codes[1] > 0 else ()
    return all(map(math.isfinite, used))


def check_samples(path: Path, header: Header) -> None:
    """Refuse samples that are no single real numbers, with an InputError."""
    if header.datatype in _COMPLEX:
        raise InputError(f"{path.name} holds complex numbers. Take their magnitude as a scalar volume first.")
    # Beyond space and time there are components, of vectors for instance
    values = _COLOUR.get(header.datatype, math.prod(header.sizes[4:]))
    if values > 1:
        raise InputError(
            f"{path.name} has {values} values per voxel (colour, vectors or a transform). "
            "Extract one component as a scalar volume first."
        )
    if header.datatype not in TYPE_CODES:
        raise InputError(f"{path.name} has samples of a type (NIfTI's {header.datatype}) that no scan has.")


def read_voxels(path: Path, header: Header, first: int = 0, count: int = 1) -> np.ndarray:
    """Values (count, K, J, I) of the frames from ``first``, counted from 0.

    Raises:
        InputError: The file ends too early, or its packed data are damaged.
        MemoryError: There is too little.
    """
    own = _pair_of(path, ".img") if header.is_pair else path
    shape = count, *header.sizes[2::-1]
    check_length(own, math.prod(shape) * header.stored_type.itemsize)
    array = np.empty(shape, header.stored_type)
    with unpacking(own), opened(own) as file:
        skipped = header.voxels_at + first * (array.nbytes // count)
        found = skip(file, skipped) + fill(array, file)
    if found < skipped + array.nbytes:
        raise damaged(own, f"it ends after {found} of {skipped + array.nbytes} bytes")
    if (header.slope, header.intercept) == (1.0, 0.0):
        return array.astype(header.type, copy=False)
    return (array * np.float64(header.slope) + header.intercept).astype(header.type)


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """What is damaged and unpacked in the block becomes an InputError."""
    try:
        yield
    except EOFError as error:
        raise damaged(path, "the compressed data end too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, "the compressed data are damaged") from error


def fill(array: np.ndarray, file: BinaryIO) -> int:
    """Read an array's bytes, and what follows, at whose end a checksum may stand; returns how many there were."""
    target = memoryview(array).cast("B")
    filled = 0
    while filled < len(target) and (got := file.readinto(target[filled : filled + _PIECE_BYTES])):  # type: ignore[attr-defined]
        filled += got
    while isinstance(file, gzip.GzipFile) and file.read(_PIECE_BYTES):
        pass
    return filled


def skip(file: BinaryIO, count: int) -> int:
    """Pass over bytes; seeking beyond the end of a file would not tell."""
    if isinstance(file, gzip.GzipFile):
        passed = 0
        while passed < count and (piece := file.read(min(_PIECE_BYTES, count - passed))):
            passed += len(piece)
        return passed
    size = os.fstat(file.fileno()).st_size
    file.seek(min(count, size))
    return min(count, size)


def _pair_of(path: Path, ending: str) -> Path:
    """The header or the data file of a pair, whichever file of it is named, in the same spelling.

    Raises:
        InputError: It is not there.
    """
    packed = ".gz" if path.name.lower().endswith(".gz") else ""
    stem = path.name[: len(path.name) - len(packed)]
    own = path.name[: len(stem)][-4:]
    if own.lower() not in (".hdr", ".img"):
        raise damaged(path, "its header says that it is one of a pair of files (.hdr and .img)")
    wanted = ending.upper() if own.isupper() else ending
    for end in dict.fromkeys((packed, "", ".gz")):
        other = path.with_name(stem[:-4] + wanted + end)
        if other.is_file():
            return other
    raise InputError(
        f"{path.name} is one of a pair of files, and {stem[:-4]}{wanted} is not beside it. Copy both into one folder."
    )


def placement(header: Header) -> tuple[np.ndarray, tuple[int, int], str]:
    """Where the image lies.

    As ITK and 3D Slicer, the sform is taken where it is of the scanner or alone, else the qform, and the axes of LPS
    where there is neither. Its own spacing is taken with it, and a qform without spacing (1 x 1 x 1) is not believed.

    Returns:
        4x4 from (i, j, k) to RAS mm; the qform and sform code that hold for it; a sentence where both are there and
        differ, else "".
    """
    q_code, s_code = header.codes
    scale = np.diag([*([_MM_OF_UNIT.get(header.unit, 1.0)] * 3), 1.0])
    if q_code <= 0 and s_code <= 0:
        return scale @ np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.diag([*np.abs(header.spacing[1:4]), 1.0]), (0, 0), ""
    s, q = np.vstack([np.reshape(header.rows, (3, 4)), [0, 0, 0, 1]]), _qform(header)
    if q_code <= 0 or s_code <= 0:
        return scale @ (s if s_code > 0 else q), (max(q_code, 0), max(s_code, 0)), ""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * [*header.sizes[:3], 1]
    apart_mm = float(np.linalg.norm(corners @ (s - q).T, axis=1).max())
    without_spacing = header.spacing[1:4] == (1, 1, 1) and not np.allclose(np.linalg.norm(s[:3, :3], axis=0), 1)
    by_sform = s_code == _SCANNER or without_spacing
    taken = scale @ (s if by_sform else q)
    # A qform cannot lean as what a tilted gantry left does, and says nothing of its own then
    leans = by_sform and is_sheared(s)
    if leans or apart_mm <= _SAME_SHARE * float(np.linalg.norm(q[:3, :3], axis=0).max()):
        return taken, (q_code, s_code), ""
    if s_code == _SCANNER:
        why = "which says that it is the scanner's, as 3D Slicer takes it"
    elif without_spacing:
        why = "since the qform states no spacing; 3D Slicer takes the qform"
    else:
        why = "since the sform does not say that it is the scanner's, as 3D Slicer takes it"
    names = [_NAMES[code] if code < len(_NAMES) else str(code) for code in (q_code, s_code)]
    note = (
        f"The qform ({names[0]}) and the sform ({names[1]}) of the NIfTI file place it up to {apart_mm:.3g} mm apart; "
        f"the {'sform' if by_sform else 'qform'} was taken, {why}."
    )
    return taken, (0, s_code) if by_sform else (q_code, 0), note


def _qform(header: Header) -> np.ndarray:
    b, c, d, *offset = header.quaternion
    a = math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    length = math.sqrt(a * a + b * b + c * c + d * d)
    a, b, c, d = (x / length for x in (a, b, c, d))
    affine = np.eye(4)
    affine[:3, :3] = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    affine[:3, :3] *= np.abs(header.spacing[1:4])
    if header.spacing[0] < 0:
        affine[:3, 2] *= -1
    affine[:3, 3] = offset
    return affine


def damaged(path: Path, why: str) -> InputError:
    """What to raise for a file that makes no sense."""
    return InputError(f"{path.name} is damaged: {why}. Copy or export the file again.")
