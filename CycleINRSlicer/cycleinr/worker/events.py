"""What the engine's process answers: what each kind of request is done with, and the events on the way there::

    {"event": "ready", "protocol": 2, "version": "0.1.0", "pid": 4711}
    {"event": "progress", "id": 2, "phase": "Computing slices", "fraction": 0.31, "remaining_s": 12.5}
    {"event": "done", "id": 2, ...}
    {"event": "failed", "id": 2, "kind": "OutOfMemoryError", "message": "..."}
    {"event": "cancelled", "id": 2}

A failure without an id answers a line that could not be read, so nobody knows which request it was.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import ClassVar

from ..errors import CycleinrError, ProtocolError, error_of, kind_of


@dataclass(frozen=True)
class PrepareAnswer:
    """The computer's devices, each with ``name``, ``label`` and ``memory_gb`` (None: none of its own); the name of the
    one that is taken by itself, and why; PyTorch's version."""

    devices: list[dict]
    auto: str
    reason: str
    torch: str


@dataclass(frozen=True)
class UpsampleAnswer:
    """What the result in the request's file is, how it was made, and how long the computation took."""

    shape_kji: list[int]
    dtype: str
    ijk_to_ras: list[list[float]]
    provenance: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class CheckAnswer:
    """``cycleinr.checks.run.numbers``, and what the error map in the request's file is; None without a self-check."""

    numbers: dict
    shape_kji: list[int] | None
    ijk_to_ras: list[list[float]] | None


@dataclass(frozen=True)
class ExportAnswer:
    """Of the series in the request's folder, the number of files and the largest rounding error."""

    files: int
    max_error: float


@dataclass(frozen=True)
class ProgressEvent:
    """How far the request is; ``remaining_s`` is None while unknown."""

    event: ClassVar[str] = "progress"
    phase: str
    fraction: float
    remaining_s: float | None


@dataclass(frozen=True)
class DoneEvent:
    """The request is done; ``values`` are the fields of its answer."""

    event: ClassVar[str] = "done"
    values: dict

    def answer(self, kind: type):
        """The values as the answer of the request that was made.

        Raises:
            ProtocolError: They are those of another one.
        """
        try:
            return kind(**self.values)
        except TypeError as error:
            raise ProtocolError(f"The engine's answer is no {kind.__name__}: {error}.") from error


@dataclass(frozen=True)
class FailedEvent:
    """``kind`` is one of ``cycleinr.errors.KINDS``, ``message`` is for people."""

    event: ClassVar[str] = "failed"
    kind: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> FailedEvent:
        """The event that tells of an error; one that nobody raised on purpose is named by its class."""
        text = str(error) if isinstance(error, CycleinrError) else f"{type(error).__name__}: {error}"
        return cls(kind_of(error), text)

    def error(self) -> CycleinrError:
        """The error as it was raised there."""
        return error_of(self.kind, self.message)


@dataclass(frozen=True)
class CancelledEvent:
    """The request was given up, as asked for."""

    event: ClassVar[str] = "cancelled"


Event = ProgressEvent | DoneEvent | FailedEvent | CancelledEvent
_EVENTS = {kind.event: kind for kind in (ProgressEvent, FailedEvent, CancelledEvent)}


def event_message(number: int | None, event: Event) -> dict:
    """An event of a request as a JSON object."""
    values = event.values if isinstance(event, DoneEvent) else asdict(event)
    return {"event": event.event, "id": number, **values}


def parse_event(message: dict) -> Event:
    """Read what ``event_message`` wrote.

    Raises:
        ProtocolError: There is no such event, or its fields are others.
    """
    values = {key: value for key, value in message.items() if key not in ("event", "id")}
    if message.get("event") == DoneEvent.event:
        return DoneEvent(values)
    name = message.get("event")
    kind = _EVENTS.get(name) if isinstance(name, str) else None
    if kind is None or set(values) != {field.name for field in fields(kind)}:
        raise ProtocolError(f"The engine said what nobody understands: {message!r:.200}.")
    return kind(**values)
