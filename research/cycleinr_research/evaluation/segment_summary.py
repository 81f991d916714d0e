"""Agreement of segmentations, summed up: one table per modality, condition and ratio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .protocol import parse_ratio
from .summary import GroupKey, statistic
from .table import SegmentRow

_MEASURES = (("dsc", "DSC"), ("nsd_1mm", "NSD 1 mm"), ("nsd_2mm", "NSD 2 mm"))
_DECIMALS = 4


def segment_tables(
    rows: Iterable[SegmentRow], labels: Mapping[str, str], plus_minus: str
) -> list[tuple[GroupKey, int, list[list[str]]]]:
    """Mean and standard deviation over the volumes that every method has.

    Returns:
        For each modality, condition and ratio: the key, the number of volumes, and the table with its heading.
    """
    found: dict[GroupKey, list[SegmentRow]] = {}
    for row in rows:
        found.setdefault((row.modality, row.condition, row.ratio), []).append(row)
    ordered = sorted(found, key=lambda key: (key[0], key[1], parse_ratio(key[2])))
    return [(key, *_table(found[key], labels, plus_minus)) for key in ordered]


def _table(rows: list[SegmentRow], labels: Mapping[str, str], plus_minus: str) -> tuple[int, list[list[str]]]:
    methods = list(dict.fromkeys(row.method for row in rows))
    structures = list(dict.fromkeys(row.structure for row in rows))
    shared = set.intersection(*({row.volume for row in rows if row.method == method} for method in methods))
    lines = [["Method", *(f"{structure} {label}" for structure in structures for _, label in _MEASURES)]]
    for method in methods:
        cells = [labels.get(method, method)]
        for structure in structures:
            own = [r for r in rows if (r.method, r.structure) == (method, structure) and r.volume in shared]
            for measure, _ in _MEASURES:
                values = [value for row in own if (value := getattr(row, measure)) == value]
                cells.append(statistic(values).text(_DECIMALS, plus_minus))
        lines.append(cells)
    return len(shared), lines
