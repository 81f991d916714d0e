"""What Slicer and the engine's process say to each other: one JSON object per line, in both directions.

The first line of the worker's standard input names the private folder; ASCII-escaped JSON passes every launcher, which
arguments outside ASCII do not::

    {"folder": "..."}

Then come requests::

    {"id": 1, "do": "prepare"}                          import PyTorch and try the devices, before anyone waits for it
    {"id": 2, "do": "upsample", "input": {...}, "options": {...}, "output": "result.npy"}
    {"id": 3, "do": "check", "input": {...}, "result": {...}, "options": {...}, "output": "error.npy"}
    {"id": 4, "do": "export", "result": {...}, "sources": "sources.json", "folder": "...", "provenance": {...}}
    {"id": 2, "do": "cancel"}

What comes back is in ``events``; every request but cancel ends with exactly one of done, failed, cancelled.

Volumes travel as uncompressed ``.npy`` files inside the private folder; a message names a file in it, never a path.
Only export names paths: the new folder that the user chose and, in a file of the private folder since a series may have
thousands, the DICOM files that the scan came from.
The worker ends when its standard input closes, so it cannot outlive the application that started it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from ..errors import InputError, ProtocolError
from ..grid import Target
from ..inference.options import Region, UpsampleOptions
from ..volume import Volume
from .events import CheckAnswer, ExportAnswer, PrepareAnswer, UpsampleAnswer

PROTOCOL = 2
MAX_LINE_BYTES = 1_000_000
FOLDER_PREFIX = "cycleinr-"
"""The private folder's name starts so; the worker removes no other folder."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class VolumeMessage:
    """A volume as it travels: the name of its array's file, and what places it in the patient.

    Attributes:
        file: Name of an ``.npy`` file (K, J, I) in the private folder.
        ijk_to_ras: Four rows of four numbers, mm.
        modality: ``"CT"``, ``"MR"`` or None.
        slice_thickness_mm: None where it is unknown.
        acquisition: ``Acquisition.to_dict`` of slices that are not even; None where they are.
        valid: Name of the ``.npy`` file of ``Volume.valid``; None where all voxels are measured.
        notes: ``Volume.notes``. The last three may be left away.
    """

    file: str
    ijk_to_ras: list[list[float]]
    modality: str | None = None
    slice_thickness_mm: float | None = None
    acquisition: dict[str, Any] | None = None
    valid: str | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, volume: Volume, file: str, valid: str | None = None) -> VolumeMessage:
        """The message of a volume whose arrays are in these files."""
        acquired = None if volume.acquisition is None else volume.acquisition.to_dict()
        affine, thickness_mm = volume.ijk_to_ras.tolist(), volume.slice_thickness_mm
        return cls(file, affine, volume.modality, thickness_mm, acquired, valid, list(volume.notes))


class _Request:
    """What all requests have: ``do`` names the kind, and ``Answer`` is what one that is done is answered with."""

    do: ClassVar[str]

    def to_message(self, number: int) -> dict:
        """The request as a JSON object; its events carry the same number."""
        return {"id": number, "do": self.do, **asdict(self)}


@dataclass(frozen=True)
class PrepareRequest(_Request):
    """Load what the first request would wait for, and say which devices there are."""

    do: ClassVar[str] = "prepare"
    Answer: ClassVar[type] = PrepareAnswer


@dataclass(frozen=True)
class UpsampleRequest(_Request):
    """One volume to make finer; ``output`` names the file that receives the result's array."""

    do: ClassVar[str] = "upsample"
    Answer: ClassVar[type] = UpsampleAnswer
    input: VolumeMessage
    options: UpsampleOptions
    output: str


@dataclass(frozen=True)
class CheckRequest(_Request):
    """One result to check; ``output`` names the file that receives the error map, which some results do not have."""

    do: ClassVar[str] = "check"
    Answer: ClassVar[type] = CheckAnswer
    input: VolumeMessage
    result: VolumeMessage
    options: UpsampleOptions
    output: str


@dataclass(frozen=True)
class ExportRequest(_Request):
    """One result to write as a DICOM series.

    Attributes:
        sources: Name of a ``.json`` file in the private folder, a list of the paths of the series that the result was
            computed from (see ``write_sources``).
        folder: Path of the new folder for the series.
        provenance: How the result was made.
    """

    do: ClassVar[str] = "export"
    Answer: ClassVar[type] = ExportAnswer
    result: VolumeMessage
    sources: str
    folder: str
    provenance: dict[str, str]


Request = PrepareRequest | UpsampleRequest | CheckRequest | ExportRequest


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """The stream's lines, of each no more than ``parse_line`` needs to see that it is too long.

    The rest of such a line is read and dropped in pieces, so that no line takes more memory than is allowed.
    """
    begins = True
    while piece := stream.readline(MAX_LINE_BYTES + 1):
        if begins:
            yield piece
        begins = piece.endswith(b"\n")


def parse_line(line: str | bytes) -> dict:
    """One line as a message.

    Raises:
        ProtocolError: It is too long, no JSON object, or holds numbers that JSON does not know.
    """
    if len(line) > MAX_LINE_BYTES:
        raise _too_long(len(line))
    try:
        message = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A message is no JSON: {error}.") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"A message is a JSON {type(message).__name__}; an object is needed.")
    return message


def format_line(message: dict) -> bytes:
    """A message as one line of ASCII; None stands for numbers that JSON does not know.

    Raises:
        ProtocolError: It is longer than the other side reads.
    """
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in message.items()
    }
    line = json.dumps(clean, allow_nan=False).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise _too_long(len(line))
    return line


def parse_folder(line: str | bytes) -> Path:
    """The private folder that the first line names.

    Raises:
        ProtocolError: The line names none that exists.
    """
    message = parse_line(line)
    _expect_keys(message, {"folder"})
    if not (_is_text(message["folder"]) and Path(message["folder"]).is_dir()):
        raise ProtocolError(f"The folder {message['folder']!r:.200} does not exist.")
    return Path(message["folder"])


def request_id(message: dict) -> int | None:
    """The message's id, None where it has no usable one."""
    number = message.get("id")
    return number if type(number) is int else None


def parse_request(message: dict) -> tuple[int, Request]:
    """A request and its number.

    Raises:
        ProtocolError: There is no such request, or a field is missing, unknown, or of the wrong type.
        RequestError: The target contradicts itself.
    """
    do = message.get("do")
    kind = _KINDS.get(do) if isinstance(do, str) else None
    if kind is None:
        raise ProtocolError(f"There is no request {do!r:.80}.")
    _expect_keys(message, {"id", "do"} | {each.name for each in fields(kind)})
    number = request_id(message)
    if number is None:
        raise ProtocolError(f"The id is {message.get('id')!r}; a whole number is needed.")
    return number, kind(**{field.name: _FIELDS[field.name](message[field.name]) for field in fields(kind)})


def write_sources(path: Path, sources: list[str]) -> None:
    """Write the paths of an export's source files into a file of the private folder."""
    path.write_text(json.dumps(sources), encoding="ascii")


def read_sources(path: Path) -> list[Path]:
    """Read what ``write_sources`` wrote.

    Raises:
        InputError: The file is missing or no list of paths.
    """
    try:
        sources = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The list of source files {path.name} cannot be read: {error}.") from error
    if not (isinstance(sources, list) and sources and all(map(_is_text, sources))):
        raise InputError(f"The list of source files {path.name} is no list of paths.")
    return [Path(source) for source in sources]


def file_name(name: object, suffix: str = ".npy") -> str:
    """``name`` if it is the plain name of a file with that suffix.

    Raises:
        ProtocolError: It is something else, a path for instance.
    """
    stem = name.removesuffix(suffix) if isinstance(name, str) and name.endswith(suffix) else ""
    if not _FILE_NAME.fullmatch(stem):
        raise ProtocolError(f"{name!r} is no plain {suffix} file name; volumes lie in the private folder only.")
    return name


def file_in(folder: Path, name: str, suffix: str = ".npy") -> Path:
    """The path of a file that a message names."""
    return folder / file_name(name, suffix)


def _volume(message: Any) -> VolumeMessage:
    _expect_keys(message, {each.name for each in fields(VolumeMessage)}, {"acquisition", "valid", "notes"})
    rows = message["ijk_to_ras"]
    if not (isinstance(rows, list) and len(rows) == 4 and all(_is_row(row) for row in rows)):
        raise ProtocolError("ijk_to_ras must be four rows of four numbers.")
    modality = message["modality"]
    if modality not in (None, "CT", "MR"):
        raise ProtocolError(f"The modality is {modality!r}; CT, MR or null is needed.")
    thickness = _number_or_none(message["slice_thickness_mm"], "slice_thickness_mm")
    acquisition = message.get("acquisition")
    if acquisition is not None and not _is_acquisition(acquisition):
        raise ProtocolError(f"acquisition is {acquisition!r:.80}; positions_mm and what else is known is needed.")
    valid, notes = message.get("valid"), message.get("notes", [])
    if not (isinstance(notes, list) and all(map(_is_text, notes))):
        raise ProtocolError(f"notes is {notes!r:.80}; a list of texts is needed.")
    mask = None if valid is None else file_name(valid)
    return VolumeMessage(file_name(message["file"]), rows, modality, thickness, acquisition, mask, notes)


def _options(message: Any) -> UpsampleOptions:
    _expect_keys(message, {each.name for each in fields(UpsampleOptions)}, {"fill_gaps", "intensity_offset", "region"})
    target = message["target"]
    _expect_keys(target, {each.name for each in fields(Target)})
    if type(target["isotropic"]) is not bool:
        raise ProtocolError(f"isotropic is {target['isotropic']!r}; true or false is needed.")
    switches = {"equalize_slices": message["equalize_slices"], "fill_gaps": message.get("fill_gaps", False)}
    for name, value in switches.items():
        if type(value) is not bool:
            raise ProtocolError(f"{name} is {value!r}; true or false is needed.")
    texts = {name: message[name] for name in ("axis", "extent", "model", "device")}
    for name, value in texts.items():
        if not _is_text(value):
            raise ProtocolError(f"{name} is {value!r}; a text is needed.")
    return UpsampleOptions(
        target=Target(
            spacing_mm=_number_or_none(target["spacing_mm"], "spacing_mm"),
            ratio=_number_or_none(target["ratio"], "ratio"),
            isotropic=target["isotropic"],
        ),
        thickness_mm=_number_or_none(message["thickness_mm"], "thickness_mm"),
        memory_limit_gb=_number_or_none(message["memory_limit_gb"], "memory_limit_gb"),
        intensity_offset=_number_or_none(message.get("intensity_offset"), "intensity_offset") or 0.0,
        region=_region(message.get("region")),
        **switches,
        **texts,
    )


def _region(value: Any) -> Region | None:
    if value is None:
        return None
    _expect_keys(value, {each.name for each in fields(Region)})
    for ends in value.values():
        if not (isinstance(ends, list) and len(ends) == 2 and all(type(end) is int for end in ends)):
            raise ProtocolError(f"region has {ends!r:.80}; the first voxel and the one behind the last are needed.")
    return Region(**{letter: tuple(ends) for letter, ends in value.items()})


def _path_text(value: object) -> str:
    if not _is_text(value):
        raise ProtocolError(f"folder is {value!r:.80}; a path is needed.")
    return value


def _provenance(value: object) -> dict[str, str]:
    if not (isinstance(value, dict) and all(map(_is_text, value.values()))):
        raise ProtocolError("provenance must be an object of texts.")
    return value


def _sources_file(value: object) -> str:
    return file_name(value, ".json")


_KINDS: dict[str, type[_Request]] = {
    kind.do: kind for kind in (PrepareRequest, UpsampleRequest, CheckRequest, ExportRequest)
}
_FIELDS: dict[str, Callable[[object], object]] = {
    "input": _volume,
    "result": _volume,
    "options": _options,
    "output": file_name,
    "sources": _sources_file,
    "folder": _path_text,
    "provenance": _provenance,
}
"""How each field of a request is read; a name means the same in all of them."""


def _expect_keys(message: object, names: set[str], newer: set[str] = frozenset()) -> None:
    """Check a message's fields; those that older callers do not know may be missing."""
    if not isinstance(message, dict):
        raise ProtocolError(f"{message!r:.80} stands where an object is needed.")
    if set(message) | newer != names:
        wrong = sorted(map(str, (set(message) | newer) ^ names))
        raise ProtocolError(f"Missing or unknown in a message: {', '.join(wrong):.200}.")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_acquisition(value: object) -> bool:
    """What ``Acquisition.to_dict`` gives; whether its numbers fit together, ``Acquisition`` finds out."""
    return isinstance(value, dict) and "positions_mm" in value and all(map(_is_acquired, value.items()))


def _is_acquired(item: tuple[str, Any]) -> bool:
    name, value = item
    if name == "axis":
        return _is_text(value)
    rows = value if name == "shift_ras_mm" else [value]
    known = name in ("positions_mm", "thickness_mm", "shift_ras_mm") and isinstance(rows, list)
    return known and all(isinstance(row, list) and all(map(_is_number, row)) for row in rows)


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == 4 and all(_is_number(value) for value in row)


def _is_number(value: object) -> bool:
    # A JSON integer may be too large for a float
    return type(value) is float or (type(value) is int and abs(value) < 1e300)


def _number_or_none(value: object, name: str) -> float | None:
    if value is None:
        return None
    if not _is_number(value):
        raise ProtocolError(f"{name} is {value!r:.80}; a number or null is needed.")
    return float(value)


def _too_long(length: int) -> ProtocolError:
    return ProtocolError(f"A message of {length} bytes or more is too long; at most {MAX_LINE_BYTES} are allowed.")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")
