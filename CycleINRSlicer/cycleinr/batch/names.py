"""Names of results: inside the output folder, one for each scan, and the same ones in every run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..errors import RequestError
from ..files import image_suffix
from .settings import digest

STATE = ".cycleinr-batch"
"""Hidden folder in a batch's output folder; see `folder`."""

MANIFEST = "manifest"
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_MAX_PART = 200
_HASH_DIGITS = 8


def safe_name(text: str) -> str:
    """A result's name from a CSV: relative, with / between folders.

    :raises RequestError: it is absolute, leads out of the folder, is hidden, is the manifest's, or holds characters
        that some file system forbids.
    """
    parts = text.split("/")
    if _FORBIDDEN.search(text) or any(not p or p.startswith(".") or p[-1] in " ." or len(p) > _MAX_PART for p in parts):
        raise RequestError(
            f"The output name {text!r} is not allowed: it must be a name inside the output folder, such as "
            'ct/case1.nii.gz, without "..", a leading "/" or ".", and without any of < > : " | ? * \\.'
        )
    if parts[0].casefold() in {MANIFEST, f"{MANIFEST}.json", f"{MANIFEST}.csv"}:
        raise RequestError(f"The output name {text!r} is the manifest's. Choose another one.")
    return str(PurePosixPath(*parts))


def path_inside(folder: Path, name: str) -> Path:
    """The path of a result.

    :raises RequestError: a link leads out of the output folder.
    """
    root = folder.resolve()
    path = root / safe_name(name)
    if not path.resolve().is_relative_to(root):
        raise RequestError(f"The output {name} leads out of {folder} through a link. Remove the link.")
    return path


def with_ending(name: str, ending: str, given: str) -> str:
    """A name from a CSV with its ending.

    :param ending: what the settings ask for; "" for a DICOM series.
    :param given: the format in the settings; with "auto" the name's own ending counts.
    :raises RequestError: name and format contradict each other.
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
    """Names to try for a scan, the plainest first; the later ones belong to this scan alone."""
    own = f"{stem}-{digest(identity)[:_HASH_DIGITS]}"
    yield stem + ending
    yield own + ending
    number = 2
    while True:
        yield f"{own}-{number}{ending}"
        number += 1


def occupied(name: str) -> set[str]:
    """What a result takes in the folder, its .json included, as file systems compare names that ignore case."""
    return {name.casefold(), f"{name}.json".casefold()}
