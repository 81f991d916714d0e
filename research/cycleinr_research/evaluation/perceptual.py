"""The networks that compare slices: LPIPS with each of its backbones, and Inception for FID."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cycleinr import RequestError

if TYPE_CHECKING:
    from .fid import Inception
    from .lpips_packaged import LpipsPackaged
    from .lpips_squeeze import LpipsSqueeze

LPIPS_NETS = ("squeeze", "alex", "vgg")


@dataclass(frozen=True, eq=False)
class Compared:
    """What the networks say of two stacks of K slices.

    Attributes:
        distances: LPIPS of each slice by backbone, (K,), nan where not available.
        squeeze: (K, 512) features of the prediction and of the truth, (0, 0) where not available.
        inception: (K, 2048) features likewise.
    """

    distances: Mapping[str, np.ndarray]
    squeeze: tuple[np.ndarray, np.ndarray]
    inception: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Perceptual:
    """The networks that were asked for and could be loaded.

    Attributes:
        packaged: Those of the ``lpips`` package, by backbone.
        notes: One sentence per network that was asked for and is not available.
    """

    squeeze: LpipsSqueeze | None = None
    packaged: Mapping[str, LpipsPackaged] = field(default_factory=dict)
    inception: Inception | None = None
    notes: tuple[str, ...] = ()

    def compare(self, prediction: np.ndarray, truth: np.ndarray) -> Compared:
        """Compare two stacks (K, J, I) on the range [0, 1], slice by slice; what lies outside is clipped."""
        stacks = prediction, truth
        distances = {net: np.full(len(truth), math.nan) for net in LPIPS_NETS}
        squeeze = inception = (np.empty((0, 0), np.float32),) * 2
        if self.squeeze:
            distances["squeeze"], *squeeze = self.squeeze.compare(*stacks)
        for net, metric in self.packaged.items():
            distances[net] = metric.compare(*stacks)
        if self.inception:
            inception = tuple(self.inception.features(stack) for stack in stacks)
        return Compared(distances, tuple(squeeze), inception)


def find_perceptual(lpips_folder: str | Path | None, nets: Sequence[str], fid: bool) -> Perceptual:
    """Load what is asked for, where that is possible.

    Args:
        lpips_folder: Holds the weights of LPIPS-squeeze; None looks into CYCLEINR_LPIPS.
        nets: Of "squeeze", "alex" and "vgg"; the last two are fetched from the internet when first used.
        fid: Whether to load Inception too, which is fetched likewise.

    Raises:
        RequestError: There is no such backbone.
    """
    unknown = [net for net in nets if net not in LPIPS_NETS]
    if unknown:
        raise RequestError(f"LPIPS has no backbone {', '.join(unknown)}. Choose of {', '.join(LPIPS_NETS)}.")
    try:
        from .fid import find_inception
        from .lpips_packaged import find_packaged_lpips
        from .lpips_squeeze import find_lpips
    except ImportError as error:
        return Perceptual(notes=(f"LPIPS and FID are not available: {error}.",))
    squeeze, *notes = find_lpips(lpips_folder) if "squeeze" in nets else (None,)
    packaged = {}
    for net in dict.fromkeys(net for net in nets if net != "squeeze"):
        packaged[net], note = find_packaged_lpips(net)
        notes.append(note)
    inception, note = find_inception() if fid else (None, "")
    loaded = {net: metric for net, metric in packaged.items() if metric}
    return Perceptual(squeeze, loaded, inception, tuple(filter(None, (*notes, note))))
