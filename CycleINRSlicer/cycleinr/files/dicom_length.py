"""Whether a DICOM file is as long as its elements say: GDCM takes memory for what they say, and then reads."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_UNDEFINED = 0xFFFFFFFF
_LONG_FORMS = (b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"UN")
_ITEM, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_PIXEL_DATA = (0x7FE0, 0x0010)


def is_truncated(file: BinaryIO, little_endian: bool, compressed: bool) -> bool:
    """Whether the pixels, or what stands before them, end after the end of the file.

    :param file: at the element that holds the pixels (7FE0,0010), or behind the last element if there is none.
    :param little_endian, compressed: what the transfer syntax says. Compressed files whose elements come without
        their types, which the standard rules out (PS3.5, A.4), count as truncated: GDCM finds wrong lengths there.
    """
    start, size = file.tell(), os.fstat(file.fileno()).st_size
    if start > size:
        return True
    order = "<" if little_endian else ">"
    head = file.read(12)
    if len(head) < 12 or struct.unpack_from(f"{order}2H", head) != _PIXEL_DATA:
        return False
    long_form = head[4:6] in _LONG_FORMS
    if compressed and not long_form:
        return True
    length = struct.unpack_from(f"{order}I", head, 8 if long_form else 4)[0]
    start += 12 if long_form else 8
    if length != _UNDEFINED:
        return start + length > size
    return _fragments_are_truncated(file, start, size, order)


def _fragments_are_truncated(file: BinaryIO, start: int, size: int, order: str) -> bool:
    """Compressed pixels are a list of items, each with its length (DICOM PS3.5, A.4)."""
    while True:
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return True
        group, element, length = struct.unpack(f"{order}2HI", head)
        if (group, element) == _END:
            return False
        start += 8 + length
        if (group, element) != _ITEM or start > size:
            return True
