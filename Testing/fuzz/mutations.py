"""Valid files, damaged: bytes changed, cut and inserted anywhere; fields of headers set to extreme values.

Every strategy gives the changed contents by file name.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import struct

from fuzz.seeds import Seed, is_compressed
from hypothesis import strategies as st

HEADER_BYTES = 400
NUMBERS = (
    0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 30000, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**63 - 1, -1, -2, -32768
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 1e30, 3.4e38, float("inf"), float("-inf"), float("nan"), 352.5, -352.0)
NIFTI_SHORTS = (*range(40, 56, 2), 68, 70, 72, 74, 120, 252, 254)
NIFTI_FLOATS = (*range(76, 120, 4), 124, 128, 132, *range(256, 328, 4))
NIFTI_OTHERS = (0, 39, 122, 123, 344, 348)
EXTRA_FIELDS = (b"byte skip", b"line skip", b"kinds", b"HeaderSize", b"ElementNumberOfChannels")
WORDS = ("[", "{", '"', "'''", "a\0b", "../x", "[" * 3000, "true", "1e999", "[[sources]]", ",,,,", "\n", "{a=1}")
TEXTS = (
    "", "0", "-1", "1", "nan", "inf", "1e308", "-1e-320", "99999999999999999999", "4 4", "0 24 8", "-20 24 8",
    "20 24 8", "20 24 9", "20 24 7", "20 24 8 1", "20 24 8 3", "30000 30000 30000",
    "99999999999 99999999999 99999999999",
    "2147483648 2147483648 1", "65536 65536 65536", "(nan,0,0) (0,1,0) (0,0,1)", "(1,0,0) (1,0,0) (0,0,1)",
    "(1e300,0,0) (0,1e300,0) (0,0,1e300)", "(0,0,0) (0,0,0) (0,0,0)", "none (1,0,0) (0,1,0)", "0 0 0 0 0 0 0 0 0",
    "1 0 0 0 1 0 0 0 0", "nan nan nan", "1e308 1e308 1e308", "double", "uint64", "int8", "block", "float", "MET_DOUBLE",
    "MET_UCHAR", "MET_CHAR_ARRAY", "MET_OTHER", "raw", "gzip", "bzip2", "hex", "ascii", "True", "False", "big", "LIST",
    "LIST 2", "LOCAL", "%d.raw 1 3000000000 1", "missing.raw", "../../etc/passwd", "/dev/zero", "/dev/full",
    ".", "A" * 5000,
    "left-posterior-superior", "scanner-xyz", "domain domain domain", "3-color domain domain", "\0", "é",
)  # fmt: skip
DICOM_NUMBERS = {
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation",
    "PlanarConfiguration",
}  # fmt: skip
DICOM_TEXTS = (
    "RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness", "NumberOfFrames", "SeriesNumber", "PhotometricInterpretation", "Modality", "ImageType",
    "SeriesInstanceUID", "SOPClassUID", "SpecificCharacterSet", "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence", "AcquisitionNumber", "EchoTime", "TriggerTime", "AcquisitionTime",
)  # fmt: skip
DICOM_VALUES = (
    b"", b"0", b"-1", b"1e400", b"nan", b"inf", b"abc", b"1\\2", b"1\\2\\3", b"nan\\nan\\nan", b"1e300\\1e300\\1e300",
    b"1\\0\\0\\0\\1\\0", b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\1\\0\\0", b"1e-300\\1e-300", b"-1\\-1", b"1e200\\1e200",
    b"\\\\\\", b"2147483648", b"3000000000", b"MONOCHROME1", b"RGB", b"PALETTE COLOR", b"YBR_FULL_422",
    b"\xff\xfe\x80", b"A" * 300,
)  # fmt: skip
SYNTAXES = tuple(
    f"1.2.840.10008.1.2{rest}"
    for rest in ("", ".1", ".1.99", ".2", ".5", ".4.50", ".4.57", ".4.70", ".4.80", ".4.90", ".9")
)


def damaged(seed: Seed) -> st.SearchStrategy[dict[str, bytes]]:
    """Changed contents of a seed's files."""
    if seed.kind == "weights":
        return _weights(seed)
    if seed.kind in ("table", "training"):
        return st.one_of(_one_file(seed, _bytes_of), _one_file(seed, _cells))
    if seed.path in ("", "DICOMDIR") or seed.path.endswith(".dcm"):
        return st.one_of(_one_file(seed, _bytes_of), _one_file(seed, _dicom), _all_files(seed))
    if seed.path.endswith((".mgz", ".zip")):
        return _one_file(seed, _bytes_of)
    if ".nii" in seed.path or seed.path.endswith(".hdr"):
        return st.one_of(_one_file(seed, _bytes_of), _one_file(seed, _nifti))
    return st.one_of(_one_file(seed, _bytes_of), _one_file(seed, _header_text))


@st.composite
def _one_file(draw, seed: Seed, strategy) -> dict[str, bytes]:
    name = draw(st.sampled_from(sorted(seed.files)))
    return {**seed.files, name: draw(strategy(seed.files[name], name))}


@st.composite
def _bytes_of(draw, content: bytes, name: str) -> bytes:
    """Up to four changes of bytes; a compressed file is changed as it is, or inside."""
    inside = is_compressed(name) and draw(st.booleans())
    data = bytearray(gzip.decompress(content) if inside else content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, min(HEADER_BYTES, len(data)))) if draw(st.booleans()) else None
        start = draw(st.integers(0, len(data))) if start is None else start
        change = draw(st.sampled_from(("flip", "set", "cut", "insert", "remove", "repeat")))
        length = draw(st.sampled_from((1, 2, 4, 8, 64)))
        if change == "flip" and start < len(data):
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif change == "set":
            data[start : start + length] = bytes([draw(st.sampled_from((0, 1, 32, 127, 128, 255)))]) * length
        elif change == "cut":
            del data[start:]
        elif change == "insert":
            data[start:start] = draw(st.binary(min_size=1, max_size=16))
        elif change == "remove":
            del data[start : start + length]
        else:
            data[start:start] = data[start : start + length] * draw(st.sampled_from((1, 100)))
    return gzip.compress(bytes(data), mtime=0) if inside else bytes(data)


@st.composite
def _nifti(draw, content: bytes, name: str) -> bytes:
    data = bytearray(gzip.decompress(content) if is_compressed(name) else content)
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            offset, number = draw(st.sampled_from(NIFTI_SHORTS)), draw(st.sampled_from(NUMBERS))
            struct.pack_into("<H", data, offset, number & 0xFFFF)
        elif draw(st.booleans()):
            struct.pack_into("<f", data, draw(st.sampled_from(NIFTI_FLOATS)), draw(st.sampled_from(FLOATS)))
        else:
            # The header of a pair ends before the last of these
            data[min(draw(st.sampled_from(NIFTI_OTHERS)), len(data) - 1)] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        struct.pack_into("<8h", data, 40, 3, *draw(st.tuples(*[st.sampled_from((-1, 0, 1, 4, 30000))] * 3)), 1, 1, 1, 1)
    return gzip.compress(bytes(data), mtime=0) if is_compressed(name) else bytes(data)


@st.composite
def _header_text(draw, content: bytes, name: str) -> bytes:
    """NRRD and MetaImage: values of up to three fields replaced, or fields dropped, doubled or put in."""
    end = content.find(b"\n\n") if content.startswith(b"NRRD") else content.find(b"LOCAL")
    end = len(content) if end < 0 else end
    mark = b": " if content.startswith(b"NRRD") else b" = "
    lines = content[:end].split(b"\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key = lines[at].split(mark)[0]
        change = draw(st.sampled_from(("value", "value", "value", "drop", "double", "add")))
        value = draw(st.sampled_from(TEXTS)).encode()
        if change == "value":
            lines[at] = key + mark + value
        elif change == "drop" and len(lines) > 1:
            del lines[at]
        elif change == "double":
            lines.insert(at, lines[at])
        else:
            lines.insert(max(1, at), draw(st.sampled_from(EXTRA_FIELDS)) + mark + value)
    return b"\n".join(lines) + content[end:]


@st.composite
def _cells(draw, content: bytes, name: str) -> bytes:
    """Numbers, words and cells of a text replaced by others."""
    text = content.decode()
    for _ in range(draw(st.integers(1, 4))):
        found = list(re.finditer(r"[\w./-]+|(?<=,)(?=,)", text))
        place = draw(st.sampled_from(found)) if found else None
        new = draw(st.sampled_from(TEXTS + WORDS))
        text = text[: place.start()] + new + text[place.end() :] if place else new
    return text.encode("utf-8", "surrogatepass")


@st.composite
def _changes(draw) -> list[tuple[str, object]]:
    numbers = st.tuples(st.sampled_from(sorted(DICOM_NUMBERS)), st.sampled_from([n for n in NUMBERS if 0 <= n < 65536]))
    texts = st.tuples(st.sampled_from(DICOM_TEXTS), st.sampled_from(DICOM_VALUES))
    syntax = st.tuples(st.just("TransferSyntaxUID"), st.sampled_from(SYNTAXES))
    gone = st.tuples(st.sampled_from((*sorted(DICOM_NUMBERS), *DICOM_TEXTS, "PixelData")), st.none())
    short = st.tuples(st.just("PixelData"), st.sampled_from((0, 1, 100, 959, 961)))
    return draw(st.lists(st.one_of(numbers, numbers, texts, texts, syntax, gone, short), min_size=1, max_size=3))


@st.composite
def _dicom(draw, content: bytes, name: str) -> bytes:
    return _changed_dicom(content, draw(_changes()))


@st.composite
def _all_files(draw, seed: Seed) -> dict[str, bytes]:
    """The same change in every slice, so that they still agree with each other."""
    changes = draw(_changes())
    return {name: _changed_dicom(content, changes) for name, content in seed.files.items()}


def _changed_dicom(content: bytes, changes: list[tuple[str, object]]) -> bytes:
    import pydicom
    from pydicom.dataelem import RawDataElement
    from pydicom.filewriter import write_dataset, write_file_meta_info
    from pydicom.tag import Tag

    data = pydicom.dcmread(io.BytesIO(content))
    implicit = data.file_meta.TransferSyntaxUID.is_implicit_VR
    for key, value in changes:
        tag = Tag(key)
        if key == "TransferSyntaxUID":
            data.file_meta.TransferSyntaxUID = value
        elif value is None:
            data.pop(tag, None)
        elif key == "PixelData":
            if tag in data:
                data[tag]._value = data[tag].value[:value]
                data[tag].is_undefined_length = False
        elif key in DICOM_NUMBERS:
            setattr(data, key, value)
        else:
            vr = pydicom.datadict.dictionary_VR(tag)
            padded = value + b" " * (len(value) % 2)
            # As raw bytes: pydicom would refuse to write most of these values.
            data._dict[tag] = RawDataElement(tag, vr, len(padded), padded, 0, implicit, True)
    # In parts: as a whole, pydicom would not write pixels of another encoding than the file says.
    out = pydicom.filebase.DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, implicit
    out.write(bytes(128) + b"DICM")
    write_file_meta_info(out, data.file_meta, enforce_standard=False)
    write_dataset(out, data)
    return out.getvalue()


JSON = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from((1e300, 0.5)) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def _weights(draw, seed: Seed) -> dict[str, bytes]:
    """Weights or card changed; mostly with a card that names the changed weights' hash."""
    weights, card = seed.files["tiny.safetensors"], json.loads(seed.files["tiny.json"])
    if draw(st.booleans()):
        weights = draw(st.one_of(_bytes_of(weights, ""), _tensor_table(weights)))
        card["sha256"] = hashlib.sha256(weights).hexdigest()
    else:
        holder = draw(st.sampled_from((card, card["network"])))
        holder[draw(st.sampled_from(sorted(holder)))] = draw(JSON)
        if draw(st.integers(0, 5)) == 0:
            del card[draw(st.sampled_from(sorted(card)))]
    text = json.dumps(card).encode()
    if draw(st.integers(0, 4)) == 0:
        text = draw(_bytes_of(text, ""))
    return {"tiny.safetensors": weights, "tiny.json": text}


@st.composite
def _tensor_table(draw, weights: bytes) -> bytes:
    """safetensors: its table of names, types, shapes and places changed, or the table's length."""
    length = struct.unpack_from("<Q", weights)[0]
    table, numbers = json.loads(weights[8 : 8 + length]), weights[8 + length :]
    entry = table[draw(st.sampled_from(sorted(table)))]
    key = draw(st.sampled_from(sorted(entry)))
    entry[key] = draw(st.one_of(JSON, st.sampled_from(([2**40], [-1, 4], [0], [0, 2**62], "F64", "BF16", "I8"))))
    text = json.dumps(table).encode()
    told = draw(st.sampled_from((len(text), len(text), len(text), 0, len(text) + 1, 2**31, 2**63, 2**64 - 1)))
    return struct.pack("<Q", told) + text + numbers
