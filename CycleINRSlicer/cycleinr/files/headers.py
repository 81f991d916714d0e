"""Whether the header of an NRRD or MetaImage file makes sense, and whether its data can be as long as it promises.

ITK's readers of these formats trust the header: some senseless values end the process, others allocate terabytes, and
a data file may be any file of the computer.
Formats: https://teem.sourceforge.net/nrrd/format.html and https://itk.org/Wiki/MetaIO/Documentation.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .samples import MOST_PACKED, PIECE_BYTES, damaged

_MAX_HEADER_BYTES = 1 << 20
_MAX_AXES = 10
_MAX_FIELD = 800
"""NrrdIO quotes a field that it does not understand in a message of 1024 characters, and writes beyond its end."""

_FREE_TEXT = re.compile(rb"#|content:|[^:]*:=")
_ZLIB_OR_GZIP = 32
"""Added to zlib's window size: accept either header, as MetaIO does."""

_NRRD_FIELD, _NRRD_END = rb"^([\w ]+): (.*)$", rb"\r?\n\r?\n|\Z"
_META_FIELD, _META_END = rb"^\s*(\w+)\s*[=:]\s*(.*)$", rb"^\s*ElementDataFile\s*[=:].*\n?|\Z"
_LIST = re.compile(rb"^\s*(?:data ?file|ElementDataFile)\s*[:=]\s*LIST.*$", re.IGNORECASE | re.MULTILINE)

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)"
_VECTOR = rf"(?:none|\(\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*\))"
_VECTORS = re.compile(rf"{_VECTOR}(?:\s+{_VECTOR})*", re.IGNORECASE)
_NUMBERS = re.compile(rf"{_NUMBER}(?:\s+{_NUMBER})*", re.IGNORECASE)
_WHOLE = re.compile(r"\d{1,19}(?:\s+\d{1,19})*")
_PLACING = (
    *("offset", "position", "origin", "elementspacing", "elementsize", "centerofrotation"),
    *("transformmatrix", "rotation", "orientation"),
)


@dataclass(frozen=True)
class Data:
    """Where the data of an image are.

    Attributes:
        file: It need not be there.
        at: Byte at which they begin.
        is_packed: Whether they may be longer than the file.
        inflated: As many bytes of it MetaIO inflates, whose loop never ends on damaged ones; 0 for none.
    """

    file: Path
    at: int
    is_packed: bool
    inflated: int = 0


def find_data(path: Path) -> Data:
    """Check the header of a .nrrd, .nhdr, .mha or .mhd file.

    Raises:
        InputError: It makes no sense, or names data outside its own folder.
        OSError: The file cannot be opened.
    """
    with open(path, "rb") as file:
        start = file.read(_MAX_HEADER_BYTES)
    is_nrrd = start.startswith(b"NRRD")
    field, end = (_NRRD_FIELD, _NRRD_END) if is_nrrd else (_META_FIELD, _META_END)
    length = re.search(end, start, re.MULTILINE).end()
    fields = defaultdict[str, list[str]](list)
    for name, value in re.findall(field, start[:length], re.MULTILINE):
        key = name.decode("ascii", "replace").replace(" ", "").lower()
        fields[key].append(value.decode("utf-8", "replace").strip())
    names = fields["datafile"] if is_nrrd else fields["elementdatafile"]
    wrong = _nrrd_damage(start[:length], fields) if is_nrrd else _meta_damage(fields)
    if wrong or (wrong := _place_damage(names, start)):
        raise damaged(path, wrong)
    beside = bool(names) and names[0].lower() != "local"
    data = path.parent / names[0] if beside else path
    if data.exists() and not data.is_file():
        raise damaged(path, f"its data file {data.name[:80]} is no plain file")
    at = 0 if beside else length
    if _is_true(fields["compresseddata"]):
        if not _is_true(fields["binarydata"]):
            raise damaged(path, "its header says that its compressed data are text")
        # MetaIO leaves the voxels as they were in memory where this is too few
        said = int((fields["compresseddatasize"] or ["0"])[-1])
        return Data(data, at, True, said or sys.maxsize)
    return Data(data, at, any(value != "raw" for value in fields["encoding"]))


def check_length(path: Path, data: Data, promised: int) -> None:
    """Refuse an image whose data are not as long as its header promises, or damaged, with an InputError.

    A list of data files, and one that is not there, are left to ITK.
    """
    if not data.file.is_file():
        return
    found = data.file.stat().st_size - data.at
    if found * (MOST_PACKED if data.is_packed else 1) < promised:
        raise damaged(path, f"it promises {promised} bytes of data and has {found}")
    if not data.inflated:
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


def _nrrd_damage(header: bytes, fields: dict[str, list[str]]) -> str:
    if any(len(line) > _MAX_FIELD and not _FREE_TEXT.match(line) for line in header.splitlines()):
        return f"its header has a field of more than {_MAX_FIELD} characters"
    if wrong := _axes_damage(fields["dimension"], fields["sizes"]):
        return wrong
    directions = fields["spacedirections"]
    vectors = (*directions, *fields["spaceorigin"], *fields["measurementframe"])
    if not all(_VECTORS.fullmatch(value) for value in vectors):
        return "its header places it nowhere: a vector is damaged"
    if any(len(re.findall(_VECTOR, value, re.IGNORECASE)) != int(fields["dimension"][0]) for value in directions):
        return "its header does not have one space direction for each axis"
    return ""


def _meta_damage(fields: dict[str, list[str]]) -> str:
    if wrong := _axes_damage(fields["ndims"], fields["dimsize"]):
        return wrong
    axes, values = int(fields["ndims"][0]), [value for name in _PLACING for value in fields[name]]
    if any(not _NUMBERS.fullmatch(value) or len(value.split()) not in (axes, axes**2) for value in values):
        return "its header places it nowhere: a number is damaged or missing"
    if not all(re.fullmatch(r"\d{1,18}", value) for value in fields["compresseddatasize"]):
        return "its header does not say how long its data are"
    return "" if fields["elementdatafile"] else "its header does not say where its data are"


def _is_true(values: list[str]) -> bool:
    return any(value.lower() in ("true", "t", "1") for value in values)


def _axes_damage(axes: list[str], sizes: list[str]) -> str:
    if len(axes) != 1 or not re.fullmatch(r"\d{1,2}", axes[0]) or not 1 <= int(axes[0]) <= _MAX_AXES:
        return "its header does not say how many axes it has"
    if len(sizes) != 1 or not _WHOLE.fullmatch(sizes[0]) or len(sizes[0].split()) != int(axes[0]):
        return "its header does not give one size for each axis"
    return "its header gives an axis no length" if 0 in map(int, sizes[0].split()) else ""


def _place_damage(names: list[str], start: bytes) -> str:
    """Data belong into the header's folder: a header must not make voxels of any other file of this computer."""
    if listed := _LIST.search(start):
        if len(start) == _MAX_HEADER_BYTES:
            return "its list of data files has no end"
        names = names + [line.strip() for line in start[listed.end() :].decode("utf-8", "replace").splitlines()]
    for name in names:
        if name[:1] in ("/", "\\", "~") or ".." in re.split(r"[\\/]", name) or re.match(r"[A-Za-z]:", name):
            return f"its header names data outside its own folder ({name[:80]})"
    return ""
