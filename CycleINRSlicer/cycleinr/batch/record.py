"""What is known about one scan's job, a line of the manifest; and what a batch tells while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timezone

DONE, FAILED, STARTED, PENDING = "done", "failed", "started", "pending"


@dataclass(frozen=True)
class Mark:
    """What tells a part of a result from anything else that has its name; see ``ownership``.

    Attributes:
        sha256: Hash of its contents.
        stamp: Hash of its files' sizes and times of change, which is cheap to compare.
    """

    sha256: str
    stamp: str


@dataclass(frozen=True)
class Record:
    """How a job stands. The columns of manifest.csv, in order; docs/batch.md explains them.

    Attributes:
        identity: What tells the scan from all others; see ``Found``. Not in the CSV, nor are the fields below it.
        key: Hash of the scan's identity, the settings and the weights.
        fingerprint: Of the scan's files; see ``Found``.
        batch: Id of the batch that it is a job of.
        settings: All that decides the result.
        marks: Of each part of the result that is published, or about to be.
        earlier: Hashes of what earlier runs published under this name and this one has not replaced yet.
    """

    output: str
    status: str
    input: str
    series: str
    seconds: float = 0.0
    attempts: int = 0
    finished: str = ""
    version: str = ""
    torch: str = ""
    model: str = ""
    weights_sha256: str = ""
    settings_sha256: str = ""
    device: str = ""
    bytes: int = 0
    error_kind: str = ""
    error: str = ""
    notes: str = ""
    identity: str = ""
    key: str = ""
    fingerprint: str = ""
    batch: str = ""
    settings: dict = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()

    @property
    def hashes(self) -> tuple[str, ...]:
        """Of all that may lie under this result's name and was made by a batch."""
        return tuple(sorted({*self.earlier, *(mark.sha256 for mark in self.marks.values())}))

    def after(self, before: Record | None) -> Record:
        """The same, knowing what an earlier run left under this name."""
        return replace(self, earlier=before.hashes) if before else self

    def is_about(self, wanted: Record) -> bool:
        """Whether neither the scan's files nor its settings nor the weights have changed since."""
        return (self.key, self.fingerprint) == (wanted.key, wanted.fingerprint) and bool(self.fingerprint)

    def as_failed(self, kind: str, text: str, seconds: float = 0.0) -> Record:
        """The same job, failed."""
        return replace(
            self, status=FAILED, error_kind=kind, error=text, seconds=round(seconds, 3), finished=timestamp()
        )

    @classmethod
    def from_json(cls, content: Mapping) -> Record:
        """A record from JSON; unknown fields are passed over, and a TypeError says that it is none."""
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in dict(content).items() if name in known}
        marks = {end: Mark(**mark) for end, mark in values.get("marks", {}).items()}
        return cls(**{**values, "marks": marks, "earlier": tuple(values.get("earlier", ()))})


def timestamp() -> str:
    """Now, in UTC, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Started:
    """A process has begun with a job."""

    output: str
    pid: int


@dataclass(frozen=True)
class Advanced:
    """How far a running job is."""

    output: str
    phase: str
    fraction: float


@dataclass(frozen=True)
class Finished:
    """A job has ended, well or not."""

    record: Record


@dataclass(frozen=True)
class Lost:
    """The process of a job has died; the job is tried once more."""

    output: str
    reason: str


Event = Started | Advanced | Finished | Lost
