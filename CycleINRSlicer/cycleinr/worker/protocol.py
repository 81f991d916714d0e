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

What comes back are events; every request but cancel ends with exactly one of done, failed, cancelled. A failure without
an id answers a line that could not be read, so nobody knows which request it was::

    {"event": "ready", "protocol": 2, "version": "0.1.0", "pid": 4711}
    {"event": "progress", "id": 2, "phase": "Computing slices", "fraction": 0.31, "remaining_s": 12.5}
    {"event": "failed", "id": 2, "kind": "OutOfMemoryError", "message": "..."}
    {"event": "cancelled", "id": 2}
    {"event": "done", "id": 1, "devices": [{"name": "cpu", "label": "CPU", "memory_gb": null}], "auto": "cpu",
     "reason": "why it is taken by itself", "torch": "its version, or empty"}
    {"event": "done", "id": 2, "shape_kji": [...], "dtype": "int16", "ijk_to_ras": [...], "provenance": {...},
     "seconds": 3.5}
    {"event": "done", "id": 3, "numbers": {...}, "shape_kji": [...], "ijk_to_ras": [...]}       null: no error map
    {"event": "done", "id": 4, "files": 296, "max_error": 0.0}

Volumes travel as uncompressed ``.npy`` files inside the private folder; a message names a file in it, never a path.
Only export names paths: the new folder that the user chose and, in a file of the private folder, the DICOM files that
the scan came from.
The worker ends when its standard input closes, so it cannot outlive the application that started it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, BinaryIO, ClassVar, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from .. import Cancelled, CycleinrError, InputError, ProtocolError, error_of, kind_of
from ..request import UpsampleOptions
from ..result import Progress
from ..volume import Volume

PROTOCOL = 2
MAX_LINE_BYTES = 1_000_000
FOLDER_PREFIX = "cycleinr-"
"""The private folder's name starts so; the worker removes no other folder."""

FileName = NewType("FileName", str)
"""The plain name of a file in the private folder."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.(npy|json)")


@dataclass(frozen=True)
class AcquisitionMessage:
    """``Acquisition.to_dict`` as it travels; whether its numbers fit together, ``Acquisition`` finds out."""

    positions_mm: list[float]
    thickness_mm: list[float] | None = None
    shift_ras_mm: list[list[float]] | None = None
    axis: str = "k"


@dataclass(frozen=True)
class VolumeMessage:
    """A volume as it travels: ``file`` and ``valid`` name its arrays' files, all else is as in ``Volume``."""

    file: FileName
    ijk_to_ras: list[list[float]]
    modality: str | None = None
    slice_thickness_mm: float | None = None
    acquisition: AcquisitionMessage | None = None
    valid: FileName | None = None
    notes: list[str] = field(default_factory=list)
    made_by_cycleinr: bool = False

    @classmethod
    def of(cls, volume: Volume, file: str, valid: str | None = None) -> VolumeMessage:
        """The message of a volume whose arrays are in these files."""
        acquired = None if volume.acquisition is None else AcquisitionMessage(**volume.acquisition.to_dict())
        affine, thickness_mm, notes = volume.ijk_to_ras.tolist(), volume.slice_thickness_mm, list(volume.notes)
        return cls(file, affine, volume.modality, thickness_mm, acquired, valid, notes, volume.made_by_cycleinr)


class _Request:
    """What all requests have; ``do`` names the kind."""

    do: ClassVar[str]

    def to_message(self, number: int) -> dict:
        """The request as a JSON object; its events carry the same number."""
        return {"id": number, "do": self.do, **asdict(self)}


@dataclass(frozen=True)
class PrepareRequest(_Request):
    """Load what the first request would wait for, and say which devices there are."""

    do: ClassVar[str] = "prepare"


@dataclass(frozen=True)
class UpsampleRequest(_Request):
    """One volume to make finer; ``output`` names the file that receives the result's array."""

    do: ClassVar[str] = "upsample"
    input: VolumeMessage
    options: UpsampleOptions
    output: FileName


@dataclass(frozen=True)
class CheckRequest(_Request):
    """One result to check; ``output`` names the file that receives the error map, which some results do not have."""

    do: ClassVar[str] = "check"
    input: VolumeMessage
    result: VolumeMessage
    options: UpsampleOptions
    output: FileName


@dataclass(frozen=True)
class ExportRequest(_Request):
    """One result to write as a DICOM series into a new folder; ``sources`` names the file of ``write_sources``."""

    do: ClassVar[str] = "export"
    result: VolumeMessage
    sources: FileName
    folder: str
    provenance: dict[str, str]


Request = PrepareRequest | UpsampleRequest | CheckRequest | ExportRequest


Event = Progress | dict[str, Any] | CycleinrError
"""How far a request is; and its end: its answer, which holds what the message has for this kind of request, or why
there is none, ``Cancelled`` where that was asked for."""


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """The stream's lines; what is longer than a message may be is dropped while it is read, but for its start."""
    begins = True
    while piece := stream.readline(MAX_LINE_BYTES + 1):
        if begins:
            yield piece
        begins = piece.endswith(b"\n")


def parse_line(line: str | bytes) -> dict:
    """One line as a message; ProtocolError if it is too long, no JSON object, or holds what JSON calls no number."""
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"A message is too long; at most {MAX_LINE_BYTES} bytes are allowed.")
    try:
        message = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A message is no JSON: {error}.") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"A message is a JSON {type(message).__name__}; an object is needed.")
    return message


def format_line(message: dict) -> bytes:
    """A message as one line of ASCII."""
    return json.dumps(message, allow_nan=False).encode() + b"\n"


def parse_folder(line: str | bytes) -> Path:
    """The private folder that the first line names; ProtocolError where it names none that exists."""
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


def event_message(number: int | None, event: Progress | dict[str, Any] | Exception) -> dict:
    """An event of a request as a JSON object; an error that nobody raised on purpose is named by its class."""
    if isinstance(event, Progress):
        name, values = "progress", vars(event)
    elif isinstance(event, Cancelled):
        name, values = "cancelled", {}
    elif isinstance(event, Exception):
        text = str(event) if isinstance(event, CycleinrError) else f"{type(event).__name__}: {event}"
        name, values = "failed", {"kind": kind_of(event), "message": text}
    else:
        name, values = "done", event
    return {"event": name, "id": number, **values}


def parse_event(message: dict) -> Event:
    """Read what ``event_message`` wrote; ProtocolError where there is no such event, or its fields are others."""
    values = {key: value for key, value in message.items() if key not in ("event", "id")}
    match message.get("event"):
        case "progress":
            return _read_fields(Progress, values)
        case "cancelled":
            return Cancelled("Cancelled.")
        case "failed":
            return error_of(*(_read(str, values.get(name), name) for name in ("kind", "message")))
        case "done":
            return values
    raise ProtocolError(f"The engine said what nobody understands: {message!r:.200}.")


def write_sources(path: Path, sources: list[str]) -> None:
    """Write the paths of the files of the series that an export's result was computed from."""
    path.write_text(json.dumps(sources), encoding="ascii")


def read_sources(path: Path) -> list[Path]:
    """Read what ``write_sources`` wrote; InputError where the file is no list of paths."""
    try:
        return [Path(source) for source in json.loads(path.read_text(encoding="ascii"))]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"The list of source files {path.name} cannot be read: {error}.") from error


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
    if origin in (Union, UnionType):
        return None if value is None else _read(inner[0], value, name)
    if origin is list and isinstance(value, list):
        read = [_read(inner[0], each, name) for each in value]
        if get_origin(inner[0]) is list and len(set(map(len, read))) > 1:
            raise ProtocolError(f"{name} is no matrix: its rows have {sorted(set(map(len, read)))!s:.80} numbers.")
        return read
    if origin is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(map(_read, inner, value, [name] * len(value)))
    if origin is dict and isinstance(value, dict):
        return {key: _read(inner[1], each, name) for key, each in value.items()}
    # A JSON integer may be too large for a float
    if kind is float and (type(value) is float or (type(value) is int and abs(value) < 1e300)):
        return float(value)
    if kind is FileName and isinstance(value, str) and _FILE_NAME.fullmatch(value):
        return value
    if kind in (str, bool, int) and type(value) is kind:
        return value
    raise ProtocolError(f"{name} is {value!r:.80}; {kind if inner else kind.__name__} is needed.")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")
