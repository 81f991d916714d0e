"""Which output slices the network computes together: those between slices that lie equally far apart.

The network is told one slicing, and knows positions in units of acquired slices only. An even scan takes one pass.
Where the spacing changes, or where a slice is missing, the intervals of each spacing take a pass of their own, in which
the slices around them count as neighbours however far away they are. Measured on CT, this is better than filling in
what is missing by interpolation, and as good as slices of the same spacing all along (docs/method.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..grid import SliceGrid
from ..network.config import Slicing
from .consistency import CoveringGrid

_DIGITS = 3
"""To which spacings in mm and thicknesses in spacings count as the same."""


@dataclass(frozen=True, eq=False)
class Pass:
    """Output slices that are computed with one slicing.

    Attributes:
        slicing: What the network is told.
        acquired: The acquired slices that it sees.
        outputs: (m,) which slices of the covering grid, rising.
        positions: (m,) where they lie, in units of the acquired slices that it sees.
    """

    slicing: Slicing
    acquired: slice
    outputs: np.ndarray
    positions: np.ndarray


def passes(
    grid: SliceGrid, covering: CoveringGrid, tau: float | np.ndarray, pixel_mm: float, reach: int
) -> tuple[Pass, ...]:
    """Divide a covering grid's slices.

    Args:
        grid: What was asked for.
        covering: The same with all slices that are computed.
        tau: Slice thickness / slice spacing, of each acquired slice where they differ.
        pixel_mm: In-plane spacing.
        reach: Acquired slices to either side of an interval that its output slices depend on.
    """
    own, positions = grid.acquisition, covering.positions
    if own is None:
        slicing = Slicing(float(tau), grid.spacing_in_mm / pixel_mm, grid.ratio)
        return (Pass(slicing, slice(0, grid.n_in), np.arange(len(positions)), positions),)
    apart = own.interval_mm
    thickness = tau * own.local_spacing_mm
    taus = np.concatenate(
        [np.full(part.last - part.first, np.median(thickness[part.first : part.last + 1])) for part in own.parts]
    ) / apart
    interval = np.clip(np.floor(positions), 0, grid.n_in - 2).astype(int)
    # An acquired slice lies in two intervals; the finer one knows more of it
    finer = (positions == interval) & (interval > 0) & (apart[interval - 1] < apart[interval])
    interval -= finer
    kinds, of_interval = np.unique(np.round(np.stack([apart, taus]), _DIGITS), axis=1, return_inverse=True)
    found = []
    for kind in range(kinds.shape[1]):
        outputs = np.flatnonzero(of_interval.reshape(-1)[interval] == kind)
        if len(outputs):
            around = interval[outputs]
            acquired = slice(max(0, around.min() - reach), min(grid.n_in, around.max() + 2 + reach))
            mm, tau_here = kinds[:, kind]
            slicing = Slicing(float(tau_here), mm / pixel_mm, mm / grid.spacing_out_mm)
            found.append(Pass(slicing, acquired, outputs, positions[outputs] - acquired.start))
    return tuple(found)
