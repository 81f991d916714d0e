"""Whether the header of an NRRD or MetaImage file makes sense, and whether its data can be as long as it promises.

ITK's readers of these formats trust the header: some senseless values end the process, others allocate terabytes, and
a data file may be any file of the computer.
Formats: https://teem.sourceforge.net/nrrd/format.html and https://itk.org/Wiki/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

_MAX_HEADER_BYTES = 1 << 20
_MAX_AXES = 10
_MAX_FIELD = 800
"""NrrdIO quotes a field that it does not understand in a message of 1024 characters, and writes beyond its end."""

_FREE_TEXT = re.compile(rb"#|content:|[^:]*:=")
_DEFLATE_RATIO = 1032
"""Most that zlib and gzip can make of one byte (zlib's own manual)."""

_ZLIB_OR_GZIP = 32
"""Added to zlib's window size: accept either header, as MetaIO does."""

_PIECE_BYTES = 1 << 20

_NRRD_DATA, _META_DATA = ("data file", "datafile"), ("elementdatafile",)
"""Fields that name the file of the data, or the pattern of several, or announce a list of them."""

_LIST = re.compile(rb"^\s*(?:data ?file|ElementDataFile)\s*[:=]\s*LIST.*$", re.IGNORECASE | re.MULTILINE)

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)"
_VECTOR = rf"(?:none|\(\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*\))"
_VECTORS = re.compile(rf"{_VECTOR}(?:\s+{_VECTOR})*", re.IGNORECASE)
_NUMBERS = re.compile(rf"{_NUMBER}(?:\s+{_NUMBER})*", re.IGNORECASE)
_WHOLE = re.compile(r"\d{1,19}(?:\s+\d{1,19})*")

_VALUE_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
    "float": 4,
    "double": 8,
    **{f"met_{name}": size for name, size in (("char", 1), ("short", 2), ("int", 4), ("long", 4), ("long_long", 8))},
    **{f"met_u{name}": size for name, size in (("char", 1), ("short", 2), ("int", 4), ("long", 4), ("long_long", 8))},
    "met_float": 4,
    "met_double": 8,
}


@dataclass(frozen=True)
class _Header:
    """Fields of a header by lower-case name, each with all its values, and the header's length in bytes."""

    fields: dict[str, list[str]]
    length: int

    def values(self, *names: str) -> list[str]:
        return [value for name in names for value in self.fields.get(name, ())]


def find_damage(path: Path) -> str | None:
    """Say what is wrong with a .nrrd, .nhdr, .mha or .mhd file, None if nothing is.

    The header is read and the data file's size looked up; compressed data of a MetaImage are unpacked once.

    Raises:
        OSError: The file cannot be opened.
    """
    with open(path, "rb") as file:
        start = file.read(_MAX_HEADER_BYTES)
    return _nrrd_damage(path, start) if start.startswith(b"NRRD") else _meta_damage(path, start)


def _nrrd_damage(path: Path, start: bytes) -> str | None:
    header = _parsed(start, rb"^([\w ]+): (.*)$", rb"\r?\n\r?\n|\Z")
    lines = start[: header.length].splitlines()
    if any(len(line) > _MAX_FIELD and not _FREE_TEXT.match(line) for line in lines):
        return f"its header has a field of more than {_MAX_FIELD} characters"
    axes = header.values("dimension")
    vectors = header.values("space directions", "space origin", "measurement frame")
    wrong = _axes_damage(axes, header.values("sizes"))
    if wrong is None and any(not _VECTORS.fullmatch(value) for value in vectors):
        wrong = "its header places it nowhere: a vector is damaged"
    if wrong is None and any(len(_directions(value)) != int(axes[0]) for value in header.values("space directions")):
        wrong = "its header does not have one space direction for each axis"
    compressed = any(value != "raw" for value in header.values("encoding"))
    wrong = wrong or _data_damage(path, header, start, _NRRD_DATA)
    return wrong or _length_damage(path, header, _NRRD_DATA, compressed)


def _meta_damage(path: Path, start: bytes) -> str | None:
    header = _parsed(start, rb"^\s*(\w+)\s*[=:]\s*(.*)$", rb"^\s*ElementDataFile\s*[=:].*$|\Z")
    axes = header.values("ndims")
    wrong = _axes_damage(axes, header.values("dimsize"))
    placing = ("offset", "position", "origin", "elementspacing", "elementsize", "centerofrotation")
    placing += ("transformmatrix", "rotation", "orientation")
    if wrong is None:
        counts = (int(axes[0]), int(axes[0]) ** 2)
        values = header.values(*placing)
        if any(not _NUMBERS.fullmatch(value) or len(value.split()) not in counts for value in values):
            wrong = "its header places it nowhere: a number is damaged or missing"
    compressed = any(value.lower() in ("true", "t", "1") for value in header.values("compresseddata"))
    wrong = wrong or _data_damage(path, header, start, _META_DATA)
    wrong = wrong or _length_damage(path, header, _META_DATA, compressed)
    return _inflating_damage(path, header) if wrong is None and compressed else wrong


def _parsed(start: bytes, field: bytes, end: bytes) -> _Header:
    length = re.search(end, start, re.MULTILINE).end()
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(field, start[:length], re.MULTILINE):
        text = value.decode("utf-8", "replace").strip()
        fields.setdefault(name.decode("ascii", "replace").strip().lower(), []).append(text)
    return _Header(fields, length)


def _directions(value: str) -> list[str]:
    return re.findall(_VECTOR, value, re.IGNORECASE)


def _axes_damage(axes: list[str], sizes: list[str]) -> str | None:
    if len(axes) != 1 or not re.fullmatch(r"\d{1,2}", axes[0]) or not 1 <= int(axes[0]) <= _MAX_AXES:
        return "its header does not say how many axes it has"
    if len(sizes) != 1 or not _WHOLE.fullmatch(sizes[0]) or len(sizes[0].split()) != int(axes[0]):
        return "its header does not give one size for each axis"
    if any(int(size) == 0 for size in sizes[0].split()):
        return "its header gives an axis no length"
    return None


def _data_damage(path: Path, header: _Header, start: bytes, fields: tuple[str, ...]) -> str | None:
    """Data belong into the header's folder: a header must not make voxels of any other file of this computer."""
    names = header.values(*fields)
    if listed := _LIST.search(start):
        if len(start) == _MAX_HEADER_BYTES:
            return "its list of data files has no end"
        names = names + [line.strip() for line in start[listed.end() :].decode("utf-8", "replace").splitlines()]
    outside = next((name for name in names if _is_outside(name)), None)
    if outside is not None:
        return f"its header names data outside its own folder ({outside[:80]})"
    data, _ = _data_of(path, header, fields)
    return f"its data file {data.name[:80]} is no plain file" if data.exists() and not data.is_file() else None


def _is_outside(name: str) -> bool:
    return name[:1] in ("/", "\\", "~") or ".." in re.split(r"[\\/]", name) or bool(re.match(r"[A-Za-z]:", name))


def _length_damage(path: Path, header: _Header, names: tuple[str, ...], compressed: bool) -> str | None:
    """Compares the promised length with that of the data; a list of data files is left to ITK."""
    kinds = [_VALUE_BYTES.get(value.lower()) for value in header.values("type", "elementtype")]
    channels = header.values("elementnumberofchannels") or ["1"]
    sizes = header.values("sizes", "dimsize")[0].split()
    if len(kinds) != 1 or kinds[0] is None or not re.fullmatch(r"\d{1,9}", channels[0]):
        return None
    promised = math.prod(map(int, sizes)) * kinds[0] * int(channels[0])
    data, start = _data_of(path, header, names)
    if not data.is_file():
        return None
    found = data.stat().st_size - start
    if found * (_DEFLATE_RATIO if compressed else 1) < promised:
        return f"it promises {promised} bytes of data and has {found}"
    return None


def _data_of(path: Path, header: _Header, names: tuple[str, ...]) -> tuple[Path, int]:
    """The file that holds the data, and the byte at which they begin."""
    named = header.values(*names)
    if named and named[0].lower() != "local":
        return path.parent / named[0], 0
    return path, header.length


def _inflating_damage(path: Path, header: _Header) -> str | None:
    """Inflates a MetaImage's data, a piece at a time: on damaged ones ITK's own loop never ends."""
    data, start = _data_of(path, header, _META_DATA)
    if not data.is_file():
        return None
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | _ZLIB_OR_GZIP)
    with open(data, "rb") as file:
        # The line break after ElementDataFile = LOCAL is not part of the data
        file.seek(start)
        pending = file.read(_PIECE_BYTES).lstrip(b"\r\n") if start else file.read(_PIECE_BYTES)
        try:
            while pending and not inflater.eof:
                inflater.decompress(pending, _PIECE_BYTES)
                pending = inflater.unconsumed_tail or file.read(_PIECE_BYTES)
        except zlib.error as error:
            return f"its compressed data cannot be unpacked ({error})"
    return None if inflater.eof else "its compressed data end too early"
