"""A CSV file that names real pairs of scans: columns ``thick`` and ``thin``, one pair a line."""

from __future__ import annotations

import csv
from pathlib import Path

from cycleinr import InputError

_COLUMNS = {"thick", "thin"}


def read_pairs(path: Path) -> list[tuple[Path, Path]]:
    """The pairs (thick, thin) of a file; relative names are taken relative to the file's folder.

    Raises:
        InputError: It cannot be read, lacks a column, or has a line without both names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The table of pairs {path.name} cannot be read: {error}.") from error
    reader = csv.DictReader(text.splitlines())
    columns = reader.fieldnames or ()
    if not _COLUMNS.issubset(columns):
        raise InputError(
            f"The table of pairs {path.name} has the columns {', '.join(columns) or 'of an empty file'}. "
            "Its first line must be: thick,thin."
        )
    pairs = []
    for number, record in enumerate(reader, start=2):
        if not (record["thick"] and record["thin"]):
            raise InputError(f"Line {number} of {path.name} names no thick or no thin scan. Give both, or remove it.")
        pairs.append((path.parent / record["thick"].strip(), path.parent / record["thin"].strip()))
    return pairs
