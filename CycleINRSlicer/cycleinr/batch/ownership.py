"""Which files of an output folder a batch made, told by their hashes; whatever else lies there is the user's.

A result has three parts: the image file or the folder of a DICOM series, the .json beside it, and the folder of its
report. In the two folders only files with names of ours belong to the part.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from ..checks.report import is_report_file
from ..dicom_out.write import is_slice_name
from .names import PARTS, REPORT, part
from .record import Mark, Record

_DESCRIBED = ("version", "model", "weights_sha256")
_KEPT = ".kept"
_BLOCK_BYTES = 2**20


def marks_of(result: Path) -> dict[str, Mark]:
    """Marks of the parts that are there, by what is appended to the result's name."""
    return {end: _mark_of(part(result, end), files) for end in PARTS if (files := _own_files(result, end))}


def size_of(result: Path) -> int:
    """Bytes of the file, or of the slices of a DICOM series; -1 if there are none."""
    return sum(file.stat().st_size for file in _own_files(result, "")) or -1


def is_ours(result: Path, end: str, hashes: Collection[str]) -> bool:
    """Whether a part is what a batch published (its hash says so), with nothing added, so may be replaced."""
    path, files = part(result, end), _own_files(result, end)
    if path.is_symlink() or (path.is_dir() and len(files) != sum(1 for _ in path.iterdir())):
        return False
    return bool(files) and _mark_of(path, files).sha256 in hashes


def keep(path: Path) -> Path:
    """Give what is there another name, on the same disk; returns it."""
    number = 1
    while os.path.lexists(kept := path.with_name(f"{path.name}{_KEPT}{f'-{number}' if number > 1 else ''}")):
        number += 1
    os.rename(path, kept)
    return kept


def current_marks(record: Record, result: Path) -> dict[str, Mark] | None:
    """Marks of a result that is as its record says; None if it is missing or was changed.

    What was added to its folders does not count. Times of change are looked at first: only where they differ, as after
    copying, is anything hashed. Records from before there were marks have to agree with the .json and the size, and the
    scan must have no twin: versions of then could take the voxels of scan.nii for those of scan.nii.gz.
    """
    if not record.marks:
        return {} if _agrees(record, result) and not _has_twin(record.input) else None
    found = {}
    for end, mark in record.marks.items():
        path, files = part(result, end), _own_files(result, end)
        if not files:
            return None
        found[end] = mark if _stamp(files) == mark.stamp else _mark_of(path, files)
        if found[end].sha256 != mark.sha256:
            return None
    return found


def _agrees(record: Record, result: Path) -> bool:
    try:
        described = json.loads(part(result, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = isinstance(described, Mapping) and all(described.get(name) == getattr(record, name) for name in _DESCRIBED)
    return same and size_of(result) == record.bytes


def _has_twin(scan: str) -> bool:
    name, packed = os.path.splitext(scan)
    twin = {".gz": name, ".nii": f"{scan}.gz"}.get(packed.lower(), "")
    return os.path.exists(twin)


def _own_files(result: Path, end: str) -> list[Path]:
    """The part's file, or those of its folder's files that have names of ours."""
    path = part(result, end)
    if not path.is_dir():
        return [path] if path.is_file() else []
    ours = is_report_file if end == REPORT else is_slice_name
    return sorted(entry for entry in path.iterdir() if ours(entry.name) and entry.is_file())


def _mark_of(path: Path, files: list[Path]) -> Mark:
    """The mark of a file, whose hash is what sha256sum prints, or of files in a folder."""
    if files == [path]:
        return Mark(_sha256_of(path), _stamp(files))
    hashes = "".join(f"{file.name} {_sha256_of(file)}\n" for file in files)
    return Mark(hashlib.sha256(hashes.encode()).hexdigest(), _stamp(files))


def _sha256_of(file: Path) -> str:
    with open(file, "rb") as stream:
        described = hashlib.sha256()
        while block := stream.read(_BLOCK_BYTES):
            described.update(block)
    return described.hexdigest()


def _stamp(files: list[Path]) -> str:
    stamps = "".join(f"{status.st_size} {status.st_mtime_ns}\n" for status in (file.stat() for file in files))
    return hashlib.sha256(stamps.encode()).hexdigest()
