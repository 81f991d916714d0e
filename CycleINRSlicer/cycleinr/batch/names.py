"""Names of results: inside the output folder, one for each scan, and the same ones in every run."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..errors import RequestError
from ..files import image_suffix
from .settings import digest

STATE = ".cycleinr-batch"
"""Hidden folder in a batch's output folder; see `folder`."""

MANIFEST = "manifest"
REPORT = ".check"
"""Appended to a result's name: the folder of its report."""

PARTS = ("", ".json", REPORT)
"""What is appended to a result's name for each of its parts."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff<>:"|?*\\]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows, with whatever ending
_MAX_PART, _MAX_PART_BYTES = 200, 240
"""File systems take 255 bytes; the rest is for what is appended to a result's name."""

_HASH_DIGITS = 8
_OWN_PART = 1 + _HASH_DIGITS + 20  # a hash, a number and an ending


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
    """A name from a CSV with the ending of the format that is given; with "auto" the name's own counts.

    Raises:
        RequestError: Name and format contradict each other.
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
    if _is_possible(plain) and not _DEVICE.fullmatch(stem) and not _is_manifest(plain):
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
