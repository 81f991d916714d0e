"""Display windows: which one a scan is read in, by what it shows or by what was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from . import RequestError
from .inspection import sampled
from .volume import Volume

_BODY_HU, _BONE_HU = -300.0, 300.0
_BRAIN_HU = (0.0, 80.0)
_LUNG_HU = (-950.0, -500.0)
_HEAD_BONE_SHARE, _HEAD_BRAIN_SHARE = 0.1, 0.45
_CHEST_LUNG_SHARE = 0.25
_MR_PERCENTILES = (1.0, 99.5)


@dataclass(frozen=True)
class DisplayWindow:
    """What is drawn from black to white.

    Attributes:
        name: In a reader's words, "brain" for example.
        tissue: What is looked at in it, as the beginning of a sentence.
        width, level: In HU or the scan's own units.
    """

    name: str
    tissue: str
    width: float
    level: float

    @property
    def low(self) -> float:
        return self.level - self.width / 2

    @property
    def high(self) -> float:
        return self.level + self.width / 2


CT_WINDOWS = {
    "brain": DisplayWindow("brain", "Brain tissue", 80.0, 40.0),
    "soft-tissue": DisplayWindow("soft tissue", "Soft tissue", 400.0, 40.0),
    "abdomen": DisplayWindow("abdomen", "Abdominal organs", 350.0, 40.0),
    "lung": DisplayWindow("lung", "Lung", 1500.0, -600.0),
    "bone": DisplayWindow("bone", "Bone", 2000.0, 500.0),
}


def window_for(volume: Volume, modality: str, wanted: str = "auto") -> DisplayWindow:
    """The window that a scan is shown in.

    Args:
        volume, modality: The acquired scan, "CT" or "MR".
        wanted: ``"auto"``, one of ``CT_WINDOWS``, or WIDTH/LEVEL in the scan's units, ``"350/50"`` for example.

    Raises:
        RequestError: ``wanted`` is none of these.
    """
    if asked := check_window(wanted):
        return asked
    values = sampled(volume.array, volume.valid)
    values = values[np.isfinite(values)]
    if modality == "CT":
        return CT_WINDOWS[_what_ct_shows(values)]
    low, high = map(float, np.percentile(values, _MR_PERCENTILES))
    return DisplayWindow("whole range", "Tissue", max(high - low, 1e-6), (high + low) / 2)


def check_window(wanted: str) -> DisplayWindow | None:
    """The window that is asked for, None for "auto"; ``RequestError`` unless it is what ``window_for`` takes."""
    if wanted == "auto" or wanted in CT_WINDOWS:
        return CT_WINDOWS.get(wanted)
    number = r"([-+]?(?:\d+\.?\d*|\.\d+))"
    found = re.fullmatch(f"{number}/{number}", wanted)
    if not found or float(found[1]) <= 0:
        raise RequestError(
            f"The window is {wanted!r}. Give auto, {', '.join(CT_WINDOWS)}, or WIDTH/LEVEL, for example 350/50."
        )
    width, level = map(float, found.groups())
    return DisplayWindow(f"{width:g}/{level:g}", "Tissue in the window", width, level)


def _what_ct_shows(values: np.ndarray) -> str:
    """Head, chest, limb or trunk, told apart by how much of the body is bone, brain or lung.

    Shares of 11 CT scans: bone 13 to 25 % in heads and an ankle, below 6 % elsewhere; values of brain 55 % and more in
    heads, 34 % in the ankle; lung 26 to 42 % of lung and body in chests, below 18 % in abdomens.
    """
    body = values[values > _BODY_HU]
    if not body.size:
        return "lung"
    if (body > _BONE_HU).mean() > _HEAD_BONE_SHARE:
        brain = (body > _BRAIN_HU[0]) & (body < _BRAIN_HU[1])
        return "brain" if brain.mean() > _HEAD_BRAIN_SHARE else "bone"
    lung = np.count_nonzero((values > _LUNG_HU[0]) & (values < _LUNG_HU[1]))
    return "lung" if lung / (lung + body.size) > _CHEST_LUNG_SHARE else "soft-tissue"
