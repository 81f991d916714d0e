"""How far ahead of plain interpolation the network is, on central blocks of the validation volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from cycleinr.resampling import SliceProfile, acquire
from cycleinr.weights import Slicing
from torch import nn

from cycleinr_research.torch_linear import linear

from .patches import FineVolume

CONDITIONS = ((2, 0.0), (3, 0.0), (5, 0.0), (3, 1.0))
"""Ratio and tau of the blocks that progress is watched on."""

_BLOCK_PIXELS = 96
_BLOCK_SLICES = 61


@dataclass(frozen=True)
class ValidationCase:
    """One block under one condition, ready for the network."""

    name: str
    stack: torch.Tensor
    positions: torch.Tensor
    slicing: torch.Tensor
    truth: torch.Tensor


def validation_cases(volumes: list[FineVolume], only_ratio: int | None = None) -> list[ValidationCase]:
    """Every volume's central block under every condition, without one acquired interval at each end.

    Args:
        volumes: Fine volumes.
        only_ratio: For a network that is made for one ratio; None takes all.
    """
    conditions = [c for c in CONDITIONS if only_ratio in (None, c[0])]
    return [_case(volume, ratio, tau) for volume in volumes for ratio, tau in conditions]


def _case(volume: FineVolume, ratio: int, tau: float) -> ValidationCase:
    sizes = [min(_BLOCK_SLICES, volume.array.shape[0]), *(min(_BLOCK_PIXELS, s) for s in volume.array.shape[1:])]
    starts = [(whole - size) // 2 for whole, size in zip(volume.array.shape, sizes, strict=True)]
    cut = tuple(slice(a, a + size) for a, size in zip(starts, sizes, strict=True))
    fine = volume.scale.to_network(volume.array[cut])
    margin = (ratio - 1) / 2 if tau else 0.0
    count = int((fine.shape[0] - 1 - 2 * margin) // ratio) + 1
    profile = SliceProfile(fine.shape[0], margin + ratio * np.arange(count), float(ratio), tau)
    asked = np.arange(math.ceil(profile.centres[1]), math.floor(profile.centres[-2]) + 1)
    across = volume.spacing_kji_mm[1:]
    slicing = Slicing(tau, ratio * volume.spacing_kji_mm[0] / (sum(across) / 2), float(ratio))
    return ValidationCase(
        f"{volume.name} x{ratio} {'slabs' if tau else 'thin'}",
        torch.from_numpy(acquire(fine, profile))[None],
        torch.from_numpy((asked - profile.centres[0]) / ratio)[None].float(),
        slicing.to_tensor(),
        torch.from_numpy(fine[asked])[None],
    )


@torch.no_grad()
def validate(model: nn.Module, cases: list[ValidationCase]) -> dict[str, float]:
    """Gain in PSNR over linear interpolation by case, in dB, and the mean over all cases under ``"mean"``."""
    device = next(model.parameters()).device
    gains = {}
    for case in cases:
        stack, positions, slicing, truth = (
            t.to(device) for t in (case.stack, case.positions, case.slicing, case.truth)
        )
        error = (model(stack, positions, slicing) - truth).square().mean()
        plain = (linear(stack, positions) - truth).square().mean()
        gains[case.name] = float(10 * torch.log10(plain / error))
    gains["mean"] = sum(gains.values()) / len(gains)
    return gains
