"""LPIPS with the alex and vgg backbones, computed by the ``lpips`` package.

Source: Zhang, Isola, Efros, Shechtman and Wang, CVPR 2018; github.com/richzhang/PerceptualSimilarity.
"""

from __future__ import annotations

import numpy as np
import torch

from .library_weights import load_from_library
from .lpips_squeeze import as_images

MIN_PIXELS = {"alex": 31, "vgg": 16}
"""Smallest side of a slice that each backbone's pooling leaves anything of."""


class LpipsPackaged:
    """LPIPS v0.1 of one backbone.

    Construction raises what the package raises; ``find_packaged_lpips`` turns it into a reason.

    Args:
        net: "alex" or "vgg".
    """

    def __init__(self, net: str):
        import lpips

        self.net = net
        self.network = lpips.LPIPS(net=net, verbose=False).eval()

    @torch.inference_mode()
    def compare(self, prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Distance of each slice: (K, J, I) on [0, 1], twice -> (K,); nan where slices are too small for the net."""
        if min(truth.shape[1:]) < MIN_PIXELS[self.net]:
            return np.full(len(truth), np.nan)
        device = next(self.network.parameters()).device
        pairs = zip(prediction, truth, strict=True)
        return np.array([float(self.network(*(as_images(s[None], device) for s in pair))) for pair in pairs])


def find_packaged_lpips(net: str) -> tuple[LpipsPackaged | None, str]:
    """LPIPS of one backbone where the `lpips` package is installed; it fetches the backbone's weights when first used.

    Args:
        net: "alex" or "vgg".

    Returns:
        The metric and "", or None and the reason why it is not available.
    """
    return load_from_library(f"LPIPS-{net}", lambda: LpipsPackaged(net))
