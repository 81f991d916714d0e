"""The manifest: all cases of an output folder in one table, as CSV for people and JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from .. import __version__
from .folder import BatchFolder
from .names import MANIFEST
from .record import DONE, FAILED, PENDING, STARTED, Record, timestamp

COLUMNS = tuple(field.name for field in fields(Record))[: [f.name for f in fields(Record)].index("identity")]
_FORMAT = 1
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_DERIVED = "All results are derived by CycleINR, not acquired. Not for primary diagnosis."


def write_manifest(folder: BatchFolder, records: Sequence[Record], notes: Sequence[str]) -> None:
    """Compose manifest.csv and manifest.json, each written whole.

    :param notes: what was left out.
    :raises OutputError: they cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(record, column)) for column in COLUMNS] for record in records)
    folder.write(folder.root / f"{MANIFEST}.csv", text.getvalue())
    counts = Counter(record.status for record in records)
    content = {
        "format": _FORMAT,
        "software": "CycleINR",
        "version": __version__,
        "written": timestamp(),
        "derived": _DERIVED,
        "counts": {status: counts[status] for status in (DONE, FAILED, STARTED, PENDING)},
        "notes": list(notes),
        "cases": [record.to_json() for record in records],
    }
    folder.write(folder.root / f"{MANIFEST}.json", json.dumps(content, indent=1) + "\n")


def _cell(value: object) -> object:
    """A value as spreadsheets leave it alone: text that begins like a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
