"""What a batch tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from .record import Record


@dataclass(frozen=True)
class Started:
    """A process has begun with a case; `host` is "" on this computer."""

    output: str
    pid: int
    host: str = ""


@dataclass(frozen=True)
class Advanced:
    """How far a running case is."""

    output: str
    phase: str
    fraction: float


@dataclass(frozen=True)
class Finished:
    """A case has ended, well or not."""

    record: Record


@dataclass(frozen=True)
class Lost:
    """The process of a case has died; the case is tried once more."""

    output: str
    reason: str


Event = Started | Advanced | Finished | Lost
