"""FID: the Frechet distance of Inception's features, with the network and the weights that ``torchmetrics`` loads.

Only the weights of the original FID are taken (torch-fidelity's port). torchvision's own Inception weights are others,
and a distance on their features is no FID.
Source: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from .frechet import frechet_of_group
from .library_weights import load_from_library
from .lpips_squeeze import as_images
from .summary import Group, GroupKey

_SLICES_AT_A_TIME = 8
FID_SLICES = 2048
"""With fewer slices than features, FID is biased upwards, so that values from other counts cannot be compared."""


class Inception:
    """The feature extractor of ``torchmetrics``' FID, without its running sums.

    Construction raises what the packages raise; ``find_inception`` turns it into a reason.
    """

    def __init__(self):
        from torchmetrics.image.fid import FrechetInceptionDistance

        self.network = FrechetInceptionDistance().inception

    @torch.inference_mode()
    def features(self, stack: np.ndarray) -> np.ndarray:
        """(K, J, I) on [0, 1], what lies outside is clipped -> (K, 2048), one row per slice."""
        parts = []
        for start in range(0, len(stack), _SLICES_AT_A_TIME):
            images = as_images(stack[start : start + _SLICES_AT_A_TIME], torch.device("cpu"))
            parts.append(self.network(((images + 1) * 127.5).round().to(torch.uint8)).numpy())
        return np.concatenate(parts)


def find_inception() -> tuple[Inception | None, str]:
    """Inception where ``torchmetrics`` and ``torch-fidelity`` are installed; its weights are fetched when first used.

    Returns:
        The extractor and "", or None and the reason why FID is not available.
    """
    return load_from_library("FID", Inception)


def fid_of_groups(out_dir: str | Path, groups: Iterable[Group]) -> Mapping[tuple[GroupKey, str], float]:
    """FID of every method over all compared slices of all cases of a group; nan where some case has no features."""
    return {(g.key, name): frechet_of_group(out_dir, g, name, "inception") for g in groups for name in g.methods}
