"""The network's activation, and the random weights that its layers start training from."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .config import NEGATIVE_SLOPE


def leaky(x: torch.Tensor) -> torch.Tensor:
    """The network's activation: leaky, because plain ReLU units died in training."""
    return F.leaky_relu(x, NEGATIVE_SLOPE)


def normal_(weight: torch.Tensor, std: float) -> None:
    """Fill with normal noise; nothing on the meta device, where PyTorch would load its compiler for it (1.3 s)."""
    if not weight.is_meta:
        nn.init.normal_(weight, std=std)


def kaiming_normal_(weight: torch.Tensor) -> None:
    """Noise that keeps its variance through a layer (out, in, height, width) and ``leaky`` (He et al., 2015)."""
    normal_(weight, (2 / (1 + NEGATIVE_SLOPE**2) / weight[0].numel()) ** 0.5)
