"""What Slicer and the engine's process say to each other: one JSON object per line, in both directions.

Requests, on the worker's standard input::

    {"id": 1, "do": "prepare"}                          import PyTorch and try the devices, before anyone waits for it
    {"id": 2, "do": "upsample", "input": {...}, "options": {...}, "output": "result.npy"}
    {"id": 3, "do": "check", "input": {...}, "result": {...}, "options": {...}, "output": "error.npy"}
    {"id": 4, "do": "export", "result": {...}, "sources": [...], "folder": "...", "provenance": {...}}
    {"id": 2, "do": "cancel"}

Events, on its standard output; every request but cancel ends with exactly one of done, failed, cancelled::

    {"event": "ready", "protocol": 1, "version": "0.1.0", "pid": 4711}
    {"event": "progress", "id": 2, "phase": "Computing slices", "fraction": 0.31, "remaining_s": 12.5}
    {"event": "done", "id": 2, ...}
    {"event": "failed", "id": 2, "kind": "OutOfMemoryError", "message": "..."}
    {"event": "cancelled", "id": 2}

Volumes travel as uncompressed ``.npy`` files inside one private folder; a message names a file in it, never a path.
Only export names paths: the DICOM files that the scan came from, and the new folder that the user chose.
The worker ends when its standard input closes, so it cannot outlive the application that started it.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..errors import CycleinrError
from ..grid import Target
from ..inference.options import UpsampleOptions

PROTOCOL = 1
MAX_LINE_BYTES = 1_000_000
FOLDER_PREFIX = "cycleinr-"
"""The private folder's name starts so; the worker removes no other folder."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.npy")


class ProtocolError(CycleinrError):
    """A message that does not follow the protocol; the connection goes on."""

    exit_code = 2


@dataclass(frozen=True)
class VolumeMessage:
    """A volume as it travels: the name of its array's file, and what places it in the patient.

    Attributes:
        file: Name of an ``.npy`` file (K, J, I) in the private folder.
        ijk_to_ras: Four rows of four numbers, mm.
        modality: ``"CT"``, ``"MR"`` or None.
        slice_thickness_mm: None where it is unknown.
    """

    file: str
    ijk_to_ras: list[list[float]]
    modality: str | None = None
    slice_thickness_mm: float | None = None


@dataclass(frozen=True)
class UpsampleRequest:
    """One volume to make finer; ``output`` names the file that receives the result's array."""

    id: int
    input: VolumeMessage
    options: UpsampleOptions
    output: str

    def to_message(self) -> dict:
        return {"do": "upsample", **asdict(self)}


@dataclass(frozen=True)
class CheckRequest:
    """One result to check; ``output`` names the file that receives the error map, which some results do not have."""

    id: int
    input: VolumeMessage
    result: VolumeMessage
    options: UpsampleOptions
    output: str

    def to_message(self) -> dict:
        return {"do": "check", **asdict(self)}


@dataclass(frozen=True)
class ExportRequest:
    """One result to write as a DICOM series.

    Attributes:
        sources: Paths of the series that the result was computed from.
        folder: Path of the new folder for the series.
        provenance: How the result was made.
    """

    id: int
    result: VolumeMessage
    sources: list[str]
    folder: str
    provenance: dict[str, str]

    def to_message(self) -> dict:
        return {"do": "export", **asdict(self)}


def parse_line(line: str | bytes) -> dict:
    """One line as a message.

    Raises:
        ProtocolError: It is too long, no JSON object, or holds numbers that JSON does not know.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"A message has {len(line)} bytes; at most {MAX_LINE_BYTES} are allowed.")
    try:
        message = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A message is no JSON: {error}.") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"A message is a JSON {type(message).__name__}; an object is needed.")
    return message


def format_line(message: dict) -> bytes:
    """A message as one line of bytes; None stands for numbers that JSON does not know."""
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in message.items()
    }
    return json.dumps(clean, allow_nan=False).encode() + b"\n"


def request_id(message: dict) -> int | None:
    """The message's id, None where it has no usable one."""
    number = message.get("id")
    return number if type(number) is int else None


def parse_upsample(message: dict) -> UpsampleRequest:
    """Read an upsample request.

    Raises:
        ProtocolError: A field is missing, unknown, or of the wrong type.
        RequestError: The target contradicts itself.
    """
    _expect_keys(message, {"id", "do", "input", "options", "output"})
    number = _required_id(message)
    volume, options = _volume(message["input"]), _options(message["options"])
    return UpsampleRequest(number, volume, options, file_name(message["output"]))


def parse_check(message: dict) -> CheckRequest:
    """Read a check request; raises as ``parse_upsample``."""
    _expect_keys(message, {"id", "do", "input", "result", "options", "output"})
    number = _required_id(message)
    volumes = _volume(message["input"]), _volume(message["result"])
    return CheckRequest(number, *volumes, _options(message["options"]), file_name(message["output"]))


def parse_export(message: dict) -> ExportRequest:
    """Read an export request; raises ``ProtocolError`` as ``parse_upsample``."""
    _expect_keys(message, {"id", "do", "result", "sources", "folder", "provenance"})
    number = _required_id(message)
    sources, folder, provenance = message["sources"], message["folder"], message["provenance"]
    if not (isinstance(sources, list) and sources and all(map(_is_text, sources))):
        raise ProtocolError("sources must be a list of paths.")
    if not (isinstance(provenance, dict) and all(map(_is_text, provenance.values()))):
        raise ProtocolError("provenance must be an object of texts.")
    if not _is_text(folder):
        raise ProtocolError(f"folder is {folder!r:.80}; a path is needed.")
    return ExportRequest(number, _volume(message["result"]), sources, folder, provenance)


def file_name(name: object) -> str:
    """``name`` if it is the plain name of an ``.npy`` file.

    Raises:
        ProtocolError: It is something else, a path for instance.
    """
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise ProtocolError(f"{name!r} is no plain .npy file name; volumes lie in the private folder only.")
    return name


def file_in(folder: Path, name: str) -> Path:
    """The path of a file that a message names."""
    return folder / file_name(name)


def _required_id(message: dict) -> int:
    number = request_id(message)
    if number is None:
        raise ProtocolError(f"The id is {message.get('id')!r}; a whole number is needed.")
    return number


def _volume(message: object) -> VolumeMessage:
    _expect_keys(message, {field.name for field in fields(VolumeMessage)})
    rows = message["ijk_to_ras"]
    if not (isinstance(rows, list) and len(rows) == 4 and all(_is_row(row) for row in rows)):
        raise ProtocolError("ijk_to_ras must be four rows of four numbers.")
    modality = message["modality"]
    if modality not in (None, "CT", "MR"):
        raise ProtocolError(f"The modality is {modality!r}; CT, MR or null is needed.")
    thickness = _number_or_none(message["slice_thickness_mm"], "slice_thickness_mm")
    return VolumeMessage(file_name(message["file"]), rows, modality, thickness)


def _options(message: object) -> UpsampleOptions:
    _expect_keys(message, {field.name for field in fields(UpsampleOptions)})
    target = message["target"]
    _expect_keys(target, {field.name for field in fields(Target)})
    if type(target["isotropic"]) is not bool:
        raise ProtocolError(f"isotropic is {target['isotropic']!r}; true or false is needed.")
    if type(message["equalize_slices"]) is not bool:
        raise ProtocolError(f"equalize_slices is {message['equalize_slices']!r}; true or false is needed.")
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
        equalize_slices=message["equalize_slices"],
        **texts,
    )


def _expect_keys(message: object, names: set[str]) -> None:
    if not isinstance(message, dict):
        raise ProtocolError(f"{message!r:.80} stands where an object is needed.")
    if set(message) != names:
        wrong = sorted(map(str, set(message) ^ names))
        raise ProtocolError(f"Missing or unknown in a message: {', '.join(wrong):.200}.")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


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


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")
