"""What one Series Instance UID holds: stacks of different orientation, copies of images, phases, echoes, repetitions.

Only images at a place where another one lies are told apart: many series change their acquisition from slice to slice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from ..grid import MIN_SLICES
from .bridges import without_itk_warnings
from .dicom_header import TELLING
from .dicom_slices import SAME_POSITION_MM, SliceHeader, difference

_MOST_TELLING = 3
_NUMBER = "InstanceNumber"
_RANKED = ("TriggerTime", "AcquisitionTime", "ContentTime", _NUMBER)
"""In the order of these, images at one place are counted where no value is shared by all images of a phase."""

_WORDS = {
    "EchoTime": "echo time {} ms", "EchoNumbers": "echo {}", "TemporalPositionIdentifier": "time point {}",
    "AcquisitionNumber": "acquisition {}", "DiffusionBValue": "b-value {}", "InversionTime": "inversion time {} ms",
    "TriggerTime": "trigger time {} ms", "NominalPercentageOfCardiacPhase": "{} % of the heart's cycle",
    "ImageType": "image type {}", "KVP": "{} kV",
}  # fmt: skip
"""What tells a phase apart, in words; times of day are none of them, and are told as seconds after the first."""


def stacks(slices: list[SliceHeader]) -> list[list[SliceHeader]]:
    """Stacks of another orientation or size, as reformatted planes have them; one where a few images do not fit."""
    groups: list[list[SliceHeader]] = []
    for s in slices:
        fitting = next((group for group in groups if not difference(group[0], s)), None)
        if fitting is None:
            groups.append([s])
        else:
            fitting.append(s)
    return groups if all(len(group) >= MIN_SLICES for group in groups) else [slices]


def heights_mm(slices: Sequence[SliceHeader]) -> np.ndarray:
    """Positions along the first slice's normal, in mm."""
    return np.array([s.position_lps_mm for s in slices]) @ slices[0].normal_lps


def _places(slices: Sequence[SliceHeader]) -> list[int]:
    """A number for each slice, the same for those at the same height."""
    heights = heights_mm(slices)
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order], prepend=heights[order[:1]]) >= SAME_POSITION_MM
    places = np.empty(len(slices), int)
    places[order] = np.cumsum(steps)
    return places.tolist()


def without_copies(slices: list[SliceHeader]) -> list[SliceHeader]:
    """One of each set of images that are the same in place, in all that tells phases apart, and in every pixel."""
    keys = [
        (place, s.slope, s.intercept, *sorted((key, str(told)) for key, told in s.tells.items() if key != _NUMBER))
        for s, place in zip(slices, _places(slices), strict=True)
    ]
    alike = {key for key, count in Counter(keys).items() if count > 1}
    seen: set[tuple] = set()
    kept = []
    for s, key in zip(slices, keys, strict=True):
        if key in alike and s.frame is None:
            same = (key, _pixels_hash(s.path))
            if same in seen:
                continue
            seen.add(same)
        kept.append(s)
    return kept


def _pixels_hash(path: Path) -> str:
    """Hash of the decoded pixels; of the file where they cannot be decoded, which is told when they are read."""
    # Later than the worker's own reading of a request, which tells what cannot be loaded
    import hashlib

    import SimpleITK as sitk

    try:
        with without_itk_warnings():
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
        return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
    except RuntimeError:
        return hashlib.sha256(path.read_bytes()).hexdigest()


def phases(slices: list[SliceHeader]) -> list[tuple[str, list[SliceHeader]]]:
    """Volumes of slices at places that repeat, each with what tells it apart; all slices where nothing does."""
    places = _places(slices)
    if len(set(places)) == len(places):
        return [("", slices)]
    telling = [key for key in TELLING if len({s.tells.get(key) for s in slices}) > 1 and key != _NUMBER]
    choices = [keys for n in range(1, _MOST_TELLING + 1) for keys in combinations(telling, n)]
    for keys in choices:
        groups = _grouped(slices, places, [tuple(s.tells.get(key) for key in keys) for s in slices])
        if groups:
            first = groups[0][0]
            return [(_words(keys, value, first), own) for value, own in groups]
    for key in _RANKED:
        if ranked := _ranked(slices, places, key):
            return [(f"volume {n} of {len(ranked)}", own) for n, own in enumerate(ranked, 1)]
    groups = _grouped(slices, places, [(str(s.path.parent),) for s in slices])
    return [(f"folder {n} of {len(groups)}", own) for n, (_, own) in enumerate(groups, 1)] or [("", slices)]


def _grouped(slices: list[SliceHeader], places: list[int], values: list[tuple]) -> list[tuple[tuple, list]]:
    """Slices by value, in order of it; nothing where a group has two slices at one place, or too few slices."""
    groups: dict[tuple, list[int]] = {}
    for n, value in enumerate(values):
        groups.setdefault(value, []).append(n)
    sound = all(
        len(own) >= min(MIN_SLICES, len(set(places))) and len({places[n] for n in own}) == len(own)
        for own in groups.values()
    )
    if not sound:
        return []
    # Values that some slices lack come last
    ordered = sorted(groups.items(), key=lambda item: [(v is None, isinstance(v, tuple), v or 0) for v in item[0]])
    return [(value, [slices[n] for n in own]) for value, own in ordered]


def _ranked(slices: list[SliceHeader], places: list[int], key: str) -> list[list[SliceHeader]]:
    """The first at every place, the second at every place and so on, as time goes on; none where that says nothing."""
    at: dict[int, list[SliceHeader]] = {}
    for s, place in zip(slices, places, strict=True):
        at.setdefault(place, []).append(s)
    counts = {len(own) for own in at.values()}
    values = [[s.tells.get(key) for s in own] for own in at.values()]
    told = all(isinstance(value, float) for own in values for value in own)
    if len(counts) > 1 or not told or any(len(set(own)) < len(own) for own in values):
        return []
    in_order = [sorted(own, key=lambda s: s.tells[key]) for own in at.values()]
    return [[own[n] for own in in_order] for n in range(counts.pop())]


def _words(keys: Sequence[str], value: tuple, first: tuple) -> str:
    """What tells a phase apart; times of day as seconds after the first phase, which say nothing about the patient."""
    texts = []
    for key, one, start in zip(keys, value, first, strict=True):
        if one is None:
            texts.append(f"without {key}")
        elif key in _WORDS:
            texts.append(_WORDS[key].format("/".join(one) if isinstance(one, tuple) else f"{one:g}"))
        elif isinstance(one, float) and isinstance(start, float):
            texts.append(f"{one - start:g} s after the first")
    return ", ".join(texts)
