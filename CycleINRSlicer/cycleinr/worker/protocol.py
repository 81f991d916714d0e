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
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, BinaryIO, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from ..errors import InputError, ProtocolError
from ..inference.options import UpsampleOptions
from ..volume import Volume
from .events import CheckAnswer, ExportAnswer, PrepareAnswer, UpsampleAnswer

PROTOCOL = 2
MAX_LINE_BYTES = 1_000_000
FOLDER_PREFIX = "cycleinr-"
"""The private folder's name starts so; the worker removes no other folder."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class AcquisitionMessage:
    """``Acquisition.to_dict`` as it travels; whether its numbers fit together, ``Acquisition`` finds out."""

    positions_mm: list[float]
    thickness_mm: list[float] | None = None
    shift_ras_mm: list[list[float]] | None = None
    axis: str = "k"


@dataclass(frozen=True)
class VolumeMessage:
    """A volume as it travels: the name of its array's file, and what places it in the patient.

    Attributes:
        file: Name of an ``.npy`` file (K, J, I) in the private folder.
        ijk_to_ras: Four rows of four numbers, mm.
        modality: ``"CT"``, ``"MR"`` or None.
        slice_thickness_mm: None where it is unknown.
        acquisition: Of slices that are not even; None where they are.
        valid: Name of the ``.npy`` file of ``Volume.valid``; None where all voxels are measured.
        notes: ``Volume.notes``.
    """

    file: str
    ijk_to_ras: list[list[float]]
    modality: str | None = None
    slice_thickness_mm: float | None = None
    acquisition: AcquisitionMessage | None = None
    valid: str | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in (self.file, *([] if self.valid is None else [self.valid])):
            file_name(name)
        if [len(row) for row in self.ijk_to_ras] != [4] * 4:
            raise ProtocolError("ijk_to_ras must be four rows of four numbers.")
        if self.modality not in (None, "CT", "MR"):
            raise ProtocolError(f"The modality is {self.modality!r:.80}; CT, MR or null is needed.")

    @classmethod
    def of(cls, volume: Volume, file: str, valid: str | None = None) -> VolumeMessage:
        """The message of a volume whose arrays are in these files."""
        acquired = None if volume.acquisition is None else AcquisitionMessage(**volume.acquisition.to_dict())
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

    def __post_init__(self) -> None:
        file_name(self.output)


@dataclass(frozen=True)
class CheckRequest(_Request):
    """One result to check; ``output`` names the file that receives the error map, which some results do not have."""

    do: ClassVar[str] = "check"
    Answer: ClassVar[type] = CheckAnswer
    input: VolumeMessage
    result: VolumeMessage
    options: UpsampleOptions
    output: str

    def __post_init__(self) -> None:
        file_name(self.output)


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

    def __post_init__(self) -> None:
        file_name(self.sources, ".json")


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
    folder = _read(str, parse_line(line).get("folder"), "folder")
    if not Path(folder).is_dir():
        raise ProtocolError(f"The folder {folder!r:.200} does not exist.")
    return Path(folder)


def request_id(message: dict) -> int | None:
    """The message's id; None where it has none that can be used."""
    number = message.get("id")
    return number if type(number) is int else None


def parse_request(message: dict) -> tuple[int, Request]:
    """A request and its number. Fields that have a default may be left away, as older callers do.

    Raises:
        ProtocolError: There is no such request, or a field is missing, unknown, or of the wrong type.
        RequestError: The target contradicts itself.
    """
    kind = next((each for each in get_args(Request) if each.do == message.get("do")), None)
    if kind is None:
        raise ProtocolError(f"There is no request {message.get('do')!r:.80}.")
    number = _read(int, message.get("id"), "id")
    return number, _read_fields(kind, {name: value for name, value in message.items() if name not in ("id", "do")})


def write_sources(path: Path, sources: list[str]) -> None:
    """Write the paths of an export's source files."""
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


_Kind = TypeVar("_Kind")
_types_of = cache(get_type_hints)


def _read_fields(kind: type[_Kind], message: object) -> _Kind:
    """A JSON object as the dataclass whose fields it holds."""
    if not isinstance(message, dict):
        raise ProtocolError(f"{message!r:.80} stands where an object is needed.")
    needed = {each.name for each in fields(kind) if each.default is each.default_factory is MISSING}
    if wrong := (needed - set(message)) | (set(message) - {each.name for each in fields(kind)}):
        raise ProtocolError(f"Missing or unknown in a message: {', '.join(sorted(map(str, wrong))):.200}.")
    types = _types_of(kind)
    return kind(**{name: _read(types[name], value, name) for name, value in message.items()})


def _read(kind: Any, value: Any, name: str) -> Any:
    """A JSON value as the type with which a dataclass's field is annotated."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _read_fields(kind, value)
    if origin is UnionType:
        return None if value is None else _read(inner[0], value, name)
    if origin is list and isinstance(value, list):
        return [_read(inner[0], each, name) for each in value]
    if origin is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(map(_read, inner, value, [name] * len(value)))
    if origin is dict and isinstance(value, dict):
        return {key: _read(inner[1], each, name) for key, each in value.items()}
    # A JSON integer may be too large for a float
    if kind is float and (type(value) is float or (type(value) is int and abs(value) < 1e300)):
        return float(value)
    if (kind is str and _is_text(value)) or (kind in (bool, int) and type(value) is kind):
        return value
    raise ProtocolError(f"{name} is {value!r:.80}; {kind if inner else kind.__name__} is needed.")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _too_long(length: int) -> ProtocolError:
    return ProtocolError(f"A message of {length} bytes or more is too long; at most {MAX_LINE_BYTES} are allowed.")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")
