"""NRRD and MetaImage files through SimpleITK, once their headers make sense.

ITK's readers of these formats trust the header: some senseless values end the process, others allocate terabytes, and
a data file may be any file of the computer.
Formats: https://teem.sourceforge.net/nrrd/format.html and https://itk.org/Wiki/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import re
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import InputError
from ..computer import check_room
from .atomic import leads_out
from .bridges import check_size, ijk_to_ras_of, itk_files
from .samples import MOST_PACKED, PIECE_BYTES, ImageHeader, damaged

FIELD_PREFIX = "CycleINR_"
"""What the fields that say how a result was made begin with."""

_MAX_HEADER_BYTES = 1 << 20
_MAX_AXES = 10
_MAX_FIELD = 800
"""NrrdIO quotes a field that it does not understand in a message of 1024 characters, and writes beyond its end."""

_FREE_TEXT = re.compile(rb"#|content:|[^:]*:=")
_LIST = re.compile(rb"^\s*(?:data ?file|ElementDataFile)\s*[:=]\s*LIST.*$", re.IGNORECASE | re.MULTILINE)
_ZLIB_OR_GZIP = 32
"""Added to zlib's window size: accept either header, as MetaIO does."""

_NRRD_FIELD, _NRRD_END = rb"^([\w ]+): (.*)$", rb"\r?\n\r?\n|\Z"
_META_FIELD, _META_END = rb"^\s*(\w+)\s*[=:]\s*(.*)$", rb"^\s*ElementDataFile\s*[=:].*\n?|\Z"

_TRUE = {"t", "1"}
"""MetaIO looks at the first letter alone, and leaves voxels as memory was where it then unpacks in vain."""

_NUMBER = r"[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)"
_VECTOR = rf"(?:none|\(\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*\))"
_SIZE = r"0*[1-9]\d{0,18}"
_NRRD = {
    "dimension": (r"\d+", (0,)), "sizes": (_SIZE, (1,)), "datafile": (".+", ()), "spacedirections": (_VECTOR, (1,)),
    "spaceorigin": (_VECTOR, ()), "measurementframe": (_VECTOR, ()),
}  # fmt: skip
_META = {
    "ndims": (r"\d+", (0,)), "dimsize": (_SIZE, (1,)), "elementdatafile": (".+", ()),
    "compresseddatasize": (r"\d{1,18}", (0,)),
    **dict.fromkeys(("offset", "position", "origin", "elementspacing", "elementsize"), (_NUMBER, (1, 2))),
    **dict.fromkeys(("centerofrotation", "transformmatrix", "rotation", "orientation"), (_NUMBER, (1, 2))),
}  # fmt: skip
"""Field -> what it is a list of, and how many: the number of axes to one of these powers; any number without one.

The first three say how many axes there are, their sizes, and where the data are.
"""


class _Data(NamedTuple):
    """Where the data of an image are, and whether they may be longer than their file, which need not be there.

    MetaIO inflates as many bytes of it as ``inflated`` says, in a loop that never ends on damaged ones; 0 for none.
    """

    file: Path
    at: int
    is_packed: bool
    inflated: int = 0


def itk_header(path: Path) -> ImageHeader:
    """The header of a .nrrd, .nhdr, .mha or .mhd file.

    Raises:
        InputError: It makes no sense, names data outside its own folder, or has several values a voxel; or the data are
            not as long as it promises, or, once the voxels are read, damaged.
    """
    import SimpleITK as sitk

    with open(path, "rb") as file:
        start = file.read(_MAX_HEADER_BYTES)
    is_nrrd = start.startswith(b"NRRD")
    data = _find_data(path, start, is_nrrd)
    reader = sitk.ImageFileReader()
    # Left to choose, ITK asks each in turn, and the NIfTI one takes scan.nrrd.nii for a scan.nrrd
    reader.SetImageIO("NrrdImageIO" if is_nrrd else "MetaImageIO")
    reader.SetFileName(str(path))
    with _itk_errors(path):
        reader.ReadImageInformation()
    sizes = reader.GetSize()
    check_size(path.name, sizes[:3], reader.GetNumberOfComponents())
    # SimpleITK tells the NumPy type of an image, not that of a reader
    dtype = sitk.GetArrayViewFromImage(sitk.Image([1, 1], reader.GetPixelID())).dtype
    promised = math.prod(sizes) * dtype.itemsize
    _check_length(path, data, promised)

    def voxels(first: int, count: int) -> np.ndarray:
        _check_unpacking(path, data, promised)
        # For the voxels and what they are unpacked from
        with _itk_errors(path, 2 * promised):
            array = sitk.GetArrayFromImage(reader.Execute())
        return array.reshape(-1, *sizes[2::-1])[first : first + count]

    known = {"made_by_cycleinr": reader.HasMetaDataKey(f"{FIELD_PREFIX}software")}
    return ImageHeader(sizes, dtype, ijk_to_ras_of(reader), voxels, known=known)


@contextmanager
def _itk_errors(path: Path, needed_bytes: int = 0) -> Iterator[None]:
    # Warnings are ITK's own, in C++ and with the places of its sources
    try:
        with itk_files():
            yield
    except RuntimeError as error:
        # All of ITK's errors are of one kind
        check_room(path.name, [needed_bytes], 1)
        # The last line that is no number, without the place in memory
        lines = [line for line in str(error).splitlines() if re.search("[a-z]{3}", line)]
        reason = re.sub(r".*\(0x\w+\): ", "", lines[-1])
        raise InputError(
            f"{path.name} cannot be read: {reason} Check that the file is complete, or export it again."
        ) from error


def _find_data(path: Path, start: bytes, is_nrrd: bool) -> _Data:
    field, end = (_NRRD_FIELD, _NRRD_END) if is_nrrd else (_META_FIELD, _META_END)
    header = start[: re.search(end, start, re.MULTILINE).end()]
    fields = defaultdict[str, list[str]](list)
    for name, value in re.findall(field, header, re.MULTILINE):
        key = name.decode("ascii", "replace").replace(" ", "").lower()
        fields[key].append(value.decode("utf-8", "replace").strip())
    names = fields["datafile" if is_nrrd else "elementdatafile"]
    listed = _LIST.search(start)
    others = start[listed.end() :].decode("utf-8", "replace").splitlines() if listed else []
    if wrong := _damage(header, fields, is_nrrd):
        raise damaged(path, wrong)
    if listed and len(start) == _MAX_HEADER_BYTES:
        raise damaged(path, "its list of data files has no end")
    # A header must not make voxels of any other file of this computer
    if outside := [name for name in (*names, *map(str.strip, others)) if leads_out(name)]:
        raise damaged(path, f"its header names data outside its own folder ({outside[0][:80]})")
    beside = bool(names) and names[0].lower() != "local"
    data = path.parent / names[0] if beside else path
    if data.exists() and not data.is_file():
        raise damaged(path, f"its data file {data.name[:80]} is no plain file")
    at = 0 if beside else len(header)
    is_packed, is_binary = (
        _TRUE & {value[:1].lower() for value in fields[name]} for name in ("compresseddata", "binarydata")
    )
    if is_packed:
        if not is_binary:
            raise damaged(path, "its header says that its compressed data are text")
        # MetaIO leaves the voxels as they were in memory where this is too few
        said = int((fields["compresseddatasize"] or ["0"])[-1])
        return _Data(data, at, True, said or sys.maxsize)
    return _Data(data, at, any(value != "raw" for value in fields["encoding"]))


def _damage(header: bytes, fields: dict[str, list[str]], is_nrrd: bool) -> str:
    if is_nrrd and any(len(line) > _MAX_FIELD and not _FREE_TEXT.match(line) for line in header.splitlines()):
        return f"its header has a field of more than {_MAX_FIELD} characters"
    items = _NRRD if is_nrrd else _META
    axes, sizes, names = (fields[name] for name in list(items)[:3])
    if len(axes) != 1 or not re.fullmatch(r"\d{1,2}", axes[0]) or not 1 <= int(axes[0]) <= _MAX_AXES:
        return "its header does not say how many axes it has"
    if len(sizes) != 1 or not (names or is_nrrd):
        return "its header does not say how large it is, and where its data are"
    for name, (item, powers) in items.items():
        counts = [int(axes[0]) ** power for power in powers]
        for value in fields[name]:
            is_list = re.fullmatch(rf"{item}(?:\s+{item})*", value, re.IGNORECASE)
            if not is_list or (counts and len(re.findall(item, value, re.IGNORECASE)) not in counts):
                return f"the field {name} of its header makes no sense"
    return ""


def _check_length(path: Path, data: _Data, promised: int) -> None:
    """A list of data files, and one that is not there, are left to ITK."""
    if not data.file.is_file():
        return
    found = data.file.stat().st_size - data.at
    if found * (MOST_PACKED if data.is_packed else 1) < promised:
        raise damaged(path, f"it promises {promised} bytes of data and has {found}")


def _check_unpacking(path: Path, data: _Data, promised: int) -> None:
    """Unpack what MetaIO will, since it never comes back from damaged data; a missing file is left to ITK."""
    if not data.inflated or not data.file.is_file():
        return
    inflater, left, found = zlib.decompressobj(wbits=zlib.MAX_WBITS | _ZLIB_OR_GZIP), data.inflated, 0
    with open(data.file, "rb") as file:
        file.seek(data.at)
        try:
            while not inflater.eof and (piece := file.read(min(PIECE_BYTES, left))):
                left -= len(piece)
                while piece and not inflater.eof:
                    found += len(inflater.decompress(piece, PIECE_BYTES))
                    piece = inflater.unconsumed_tail
        except zlib.error as error:
            raise damaged(path, f"its compressed data cannot be unpacked ({error})") from error
    if not inflater.eof or found < promised:
        raise damaged(path, "its compressed data end too early")
