"""How noisy each slice is before and after, and how much that jumps from slice to slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..grid import to_axis_first
from ..noise import slice_sigmas
from ..volume import Volume


@dataclass(frozen=True, eq=False)
class Noise:
    """Immerkaer's sigma of every slice across the through-plane axis, in the scan's units.

    :param before: of the acquired slices, (n_in,).
    :param after: of the result's slices, (n_out,).
    """

    before: np.ndarray
    after: np.ndarray

    @property
    def snli_before(self) -> float:
        """Slice-wise noise level inconsistency of the scan: standard deviation of its slices' sigma."""
        return float(np.std(self.before))

    @property
    def snli_after(self) -> float:
        """The same of the result."""
        return float(np.std(self.after))


def noise(volume: Volume, result: Volume, axis: str) -> Noise:
    """Measure both volumes along ``axis``; see `cycleinr.noise.slice_sigmas` for what is measured."""
    return Noise(*(slice_sigmas(to_axis_first(each.array, axis)) for each in (volume, result)))
