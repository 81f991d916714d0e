"""A low-pass filter over the decoder's pixels.

The decoder gives each pixel of a cell its own output, and small differences between them repeat from cell to cell: a
grid of one pixel's period, far stronger there than anything a smooth CT kernel leaves. The filter passes what lies
below 0.7 of the Nyquist frequency.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .kernels import low_pass


def smooth_pixels(planes: torch.Tensor, taps: int) -> torch.Tensor:
    """Filter (N, C, H, W) along rows and columns; the outermost pixels are repeated outwards."""
    if taps == 1:
        return planes
    reach = taps // 2
    for dim, margins in ((3, (reach, reach, 0, 0)), (2, (0, 0, reach, reach))):
        planes = _filtered(F.pad(planes, margins, mode="replicate"), low_pass(taps), dim)
    return planes


def _filtered(planes: torch.Tensor, weights: tuple[float, ...], dim: int) -> torch.Tensor:
    """Sums of shifted planes: PyTorch's convolution of one channel by a 1x7 kernel takes 20 times as long on a CPU."""
    reach = len(weights) // 2
    size = planes.shape[dim] - 2 * reach
    total = weights[reach] * planes.narrow(dim, reach, size)
    for n in range(reach):
        pair = planes.narrow(dim, n, size) + planes.narrow(dim, 2 * reach - n, size)
        total.add_(pair, alpha=weights[n])
    return total
