"""What a batch knows of a result: its name, what is recorded about it, and which files of it a batch made.

A result has three parts: the image file or the folder of a DICOM series, the .json beside it, and the folder of its
report. In the two folders only files with names of ours belong to the part. Files of ours are told by their hashes;
whatever else lies in the output folder is the user's.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from .. import RequestError
from ..checks.report import is_report_file
from ..dicom_out.write import is_slice_name
from ..files import image_suffix
from ..files.atomic import DEVICE

STATE = ".cycleinr-batch"
"""Hidden folder in a batch's output folder; see ``folder``."""

MANIFEST = "manifest"
REPORT = ".check"
PARTS = ("", ".json", REPORT)
"""What is appended to a result's name for each of its parts."""

DONE, FAILED, STARTED, PENDING = "done", "failed", "started", "pending"

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff<>:"|?*\\]')
_MAX_PART, _MAX_PART_BYTES = 200, 240
"""File systems take 255 bytes; the rest is for what is appended to a result's name."""

_HASH_DIGITS = 8
_OWN_PART = 1 + _HASH_DIGITS + 20  # a hash, a number and an ending
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Mark:
    """What tells a part of a result from anything else that has its name.

    Attributes:
        sha256: Hash of its contents; of a file what sha256sum prints.
        stamp: Hash of its files' sizes and times of change, which is cheap to compare.
    """

    sha256: str
    stamp: str


@dataclass(frozen=True)
class Record:
    """How a scan's job stands. The columns of manifest.csv, in order; docs/batch.md explains them.

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

    def as_failed(self, kind: str, text: str) -> Record:
        """The same job, failed."""
        return replace(self, status=FAILED, error_kind=kind, error=text, finished=timestamp())

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


def digest(content: object) -> str:
    """SHA-256 of anything that JSON can hold, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# -- names


def safe_name(text: str) -> str:
    """A result's name from a CSV: relative, with / between folders; a RequestError says what is wrong with it."""
    parts = text.split("/")
    if not all(map(_is_possible, parts)):
        raise RequestError(
            f"The output name {text!r} is not allowed: it must be a name inside the output folder, such as "
            'ct/case1.nii.gz, without "..", a leading "/" or ".", and without any of < > : " | ? * \\.'
        )
    if _is_manifest(parts[0]):
        raise RequestError(f"The output name {text!r} is the manifest's. Choose another one.")
    return str(PurePosixPath(*parts))


def path_inside(folder: Path, name: str) -> Path:
    """The path of a result; RequestError where a link leads out of the output folder."""
    root = folder.resolve()
    path = root / safe_name(name)
    if not path.resolve().is_relative_to(root):
        raise RequestError(f"The output {name} leads out of {folder} through a link. Remove the link.")
    return path


def part(result: Path, end: str) -> Path:
    """Where a part of a result is; ``end`` is one of ``PARTS``."""
    return result.with_name(f"{result.name}{end}")


def with_ending(name: str, ending: str, given: str) -> str:
    """A name from a CSV with the ending of the format that is given; RequestError where it has another one already.

    With "auto" the name's own counts.
    """
    own = image_suffix(name)
    if not own:
        return name + ending
    if own not in (".nii.gz", ".nii", ".nrrd", ".mha") or (given != "auto" and own != ending):
        raise RequestError(
            f"The output name {name!r} ends in {own}, and the format is {given}. Leave one of them away; a result is "
            ".nii.gz, .nii, .nrrd, .mha, or a DICOM series, whose name has no ending."
        )
    return name


def candidates(stem: str, ending: str, identity: str) -> Iterator[str]:
    """Names to try for a scan, the plainest first; the later ones belong to this scan alone.

    A scan's own name may be impossible on other systems, or the manifest's: the later ones replace what is wrong in it.
    """
    plain = stem + ending
    if _is_possible(plain) and not DEVICE.fullmatch(stem) and not _is_manifest(plain):
        yield plain
    possible = _FORBIDDEN.sub("_", stem).lstrip(".")
    while len(possible) + _OWN_PART > _MAX_PART or len(os.fsencode(possible)) + _OWN_PART > _MAX_PART_BYTES:
        possible = possible[:-1]
    own = f"{possible}-{digest(identity)[:_HASH_DIGITS]}"
    yield own + ending
    for number in itertools.count(2):
        yield f"{own}-{number}{ending}"


def occupied(name: str) -> set[str]:
    """What a result and its parts take in the folder, as file systems compare names that ignore case."""
    return {f"{name}{end}".casefold() for end in PARTS}


def _is_possible(part: str) -> bool:
    """Whether a file or folder may have this name, here and on other systems."""
    if not part or part.startswith(".") or part[-1] in " ." or _FORBIDDEN.search(part):
        return False
    return len(part) <= _MAX_PART and len(os.fsencode(part)) <= _MAX_PART_BYTES


def _is_manifest(part: str) -> bool:
    return part.casefold() in {MANIFEST, f"{MANIFEST}.json", f"{MANIFEST}.csv"}


# -- whose files are there


def marks_of(result: Path, known: Mapping[str, Mark] | None = None) -> dict[str, Mark]:
    """Marks of the parts that are there, by what is appended to the result's name.

    Args:
        known: Earlier marks: only where sizes or times of change differ from theirs, as after copying, is anything
            hashed, since results may be terabytes.
    """
    found = {}
    for end in PARTS:
        path, files = part(result, end), _own_files(result, end)
        if files:
            stamps = "".join(f"{status.st_size} {status.st_mtime_ns}\n" for status in map(os.stat, files))
            stamp = hashlib.sha256(stamps.encode()).hexdigest()
            mark = (known or {}).get(end)
            found[end] = mark if mark and mark.stamp == stamp else Mark(_sha256_of(path, files), stamp)
    return found


def size_of(result: Path) -> int:
    """Bytes of the file, or of the slices of a DICOM series; -1 if there are none."""
    return sum(file.stat().st_size for file in _own_files(result, "")) or -1


def is_ours(result: Path, end: str, hashes: Collection[str]) -> bool:
    """Whether a part is what a batch published (its hash says so), with nothing added, so may be replaced."""
    path, files = part(result, end), _own_files(result, end)
    if path.is_symlink() or (path.is_dir() and len(files) != sum(1 for _ in path.iterdir())):
        return False
    return bool(files) and _sha256_of(path, files) in hashes


def is_as_of_old(record: Record, result: Path) -> bool:
    """Whether a result is as its record of release 0.1 says, which had no marks: it agrees with the .json and the size.

    The scan must have no twin: that release could take the voxels of scan.nii for those of scan.nii.gz.
    """
    name, packed = os.path.splitext(record.input)
    twin = {".gz": name, ".nii": f"{record.input}.gz"}.get(packed.lower(), "")
    try:
        described = json.loads(part(result, ".json").read_text(encoding="utf-8"))
        told = [(described[name], getattr(record, name)) for name in ("version", "model", "weights_sha256")]
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return all(one == other for one, other in told) and size_of(result) == record.bytes and not os.path.exists(twin)


def _own_files(result: Path, end: str) -> list[Path]:
    """The part's file, or those of its folder's files that have names of ours."""
    path = part(result, end)
    if not path.is_dir():
        return [path] if path.is_file() else []
    ours = is_report_file if end == REPORT else is_slice_name
    return sorted(entry for entry in path.iterdir() if ours(entry.name) and entry.is_file())


def _sha256_of(path: Path, files: list[Path]) -> str:
    """Hash of a part: of a file its content's, of a folder that of its files' names and hashes."""
    if files != [path]:
        return hashlib.sha256("".join(f"{one.name} {_sha256_of(one, [one])}\n" for one in files).encode()).hexdigest()
    described = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            described.update(block)
    return described.hexdigest()
