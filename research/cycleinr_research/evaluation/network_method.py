"""CycleINR itself as one of the compared methods, with the options that users have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cycleinr import RequestError
from cycleinr.grid import SliceGrid, Target
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from cycleinr.weights import CYCLEINR, architecture, read_card

from ..networks import network_class
from .methods import Method
from .peers.bare_method import bare_method


def method_of_weights(name: str, weights: Path, device: str = "auto") -> Method:
    """The method that a weights file stands for: CycleINR as users have it, a peer bare.

    Raises:
        ModelError: The file or its card is missing or damaged.
    """
    kind = architecture(read_card(weights))
    if kind == CYCLEINR:
        return network_method(name, f"CycleINR {name}", weights, device)
    label = network_class(kind).__name__
    return bare_method(name, label if name == kind else f"{label} {name}", weights, device)


def network_method(name: str, label: str, model: str | Path = "auto", device: str = "auto") -> Method:
    """A method that super-resolves with the bundled or other weights.

    Args:
        model: "auto", "ct", "mr" or the path of a weights file.
    """

    def run(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
        from cycleinr.inference import upsample

        extent = "centres" if grid.first_mm == 0 else "edges"
        options = UpsampleOptions(Target(spacing_mm=grid.spacing_out_mm), "k", extent, model=str(model), device=device)
        result = upsample(volume_lr, options).volume.array
        if len(result) < grid.n_out:
            raise RequestError(f"The grid has {grid.n_out} slices, but CycleINR makes {len(result)} of this input.")
        return result[: grid.n_out].astype(np.float32)

    return Method(name, label, run)
