"""LPIPS-squeeze v0.1, the perceptual distance.

The weights are two files that the user has: the SqueezeNet 1.1 backbone and the linear heads. Where they are missing,
the metric is not available, and the reason is said. Neither torchvision nor the ``lpips`` package is needed.
Source: Zhang, Isola, Efros, Shechtman and Wang, CVPR 2018; Iandola et al., arXiv 1602.07360.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from cycleinr import ModelError
from torch import nn
from torch.nn import functional

from ..weights import load_pickled_numbers

FOLDER_VARIABLE = "CYCLEINR_LPIPS"
BACKBONE_FILE = "squeeze.backbone.pth"
HEADS_FILE = Path("lin") / "v0.1_squeeze.pth"

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_TAPS = ((0, 2), (2, 5), (5, 8), (8, 10), (10, 11), (11, 12), (12, 13))
"""First and last-plus-one layer of the seven stages that LPIPS looks at."""
_TAP_CHANNELS = (64, 128, 256, 384, 384, 512, 512)
_PIXELS_AT_A_TIME = 250_000


class Fire(nn.Module):
    """SqueezeNet's block: squeeze to few channels, then expand by 1x1 and 3x3 convolutions side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.squeeze(x))
        return functional.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


def squeezenet_features() -> nn.Sequential:
    """The convolutional part of SqueezeNet 1.1, numbered as torchvision's ``features``."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool(),
        Fire(128, 32, 128), Fire(256, 32, 128), pool(),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    )  # fmt: skip


class LpipsSqueeze(nn.Module):
    """LPIPS v0.1 with the squeeze backbone.

    Args:
        folder: Holds squeeze.backbone.pth and lin/v0.1_squeeze.pth.

    Raises:
        ModelError: A file is missing, or holds other weights.
    """

    def __init__(self, folder: str | Path):
        super().__init__()
        self.backbone = squeezenet_features()
        _load(self.backbone, Path(folder) / BACKBONE_FILE)
        heads = _read(Path(folder) / HEADS_FILE)
        try:
            weights = [heads[f"lin{n}.model.1.weight"].reshape(1, c, 1, 1) for n, c in enumerate(_TAP_CHANNELS)]
        except (KeyError, RuntimeError) as error:
            raise _foreign_weights(Path(folder) / HEADS_FILE, error) from error
        for number, weight in enumerate(weights):
            self.register_buffer(f"head{number}", weight)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.eval()
        self.requires_grad_(False)

    def forward(self, ours: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """Distance of each pair of images: (N, 3, H, W) in [-1, 1], twice -> (N,)."""
        return self._distances_and_features(ours, true)[0]

    def _distances_and_features(self, ours, true):
        """Distances (N,) and the last stage's channel means of both, each (N, 512)."""
        ours, true = (ours - self.shift) / self.scale, (true - self.shift) / self.scale
        total = ours.new_zeros(ours.shape[0])
        for number, (first, last) in enumerate(_TAPS):
            ours, true = self.backbone[first:last](ours), self.backbone[first:last](true)
            difference = (_unit_length(ours) - _unit_length(true)).square_()
            total = total + (difference * getattr(self, f"head{number}")).sum(1).mean((1, 2))
        return total, ours.mean((2, 3)), true.mean((2, 3))

    @torch.inference_mode()
    def compare(self, prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compare two stacks slice by slice, a few slices at a time.

        Args:
            prediction: (K, J, I) on the range [0, 1]; what lies outside is clipped.
            truth: The same shape and range.

        Returns:
            Distance of each slice (K,), and 512 features of each slice of both, (K, 512), for
            ``frechet.frechet_distance``.
        """
        device = self.shift.device
        per_batch = max(1, _PIXELS_AT_A_TIME // (truth.shape[1] * truth.shape[2]))
        parts = []
        for start in range(0, truth.shape[0], per_batch):
            images = (as_images(stack[start : start + per_batch], device) for stack in (prediction, truth))
            parts.append([part.cpu().numpy() for part in self._distances_and_features(*images)])
        distances, ours, true = (np.concatenate(column) for column in zip(*parts, strict=True))
        return distances, ours, true


def find_lpips(folder: str | Path | None = None) -> tuple[LpipsSqueeze | None, str]:
    """LPIPS-squeeze if its weights are there.

    Args:
        folder: The weights' folder; None looks into the environment variable CYCLEINR_LPIPS.

    Returns:
        The metric and "", or None and the reason why it is not available.
    """
    folder = folder or os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None, f"LPIPS-squeeze is not available: no folder with its weights was given ({FOLDER_VARIABLE})."
    try:
        return LpipsSqueeze(folder), ""
    except ModelError as error:
        return None, f"LPIPS-squeeze is not available: {error}"


def as_images(stack: np.ndarray, device: torch.device) -> torch.Tensor:
    """(K, J, I) on [0, 1], what lies outside is clipped -> (K, 3, J, I) on [-1, 1]."""
    grey = torch.from_numpy(np.clip(stack, 0, 1).astype(np.float32)).to(device) * 2 - 1
    return grey[:, None].expand(-1, 3, -1, -1)


def _unit_length(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _load(network: nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(_read(path))
    except RuntimeError as error:
        raise _foreign_weights(path, error) from error


def _read(path: Path) -> dict:
    if not path.is_file():
        raise ModelError(f"There is no file {path}. Give a folder with {BACKBONE_FILE} and {HEADS_FILE}.")
    try:
        return load_pickled_numbers(path)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path} cannot be read as weights: {error} Get the file again.") from error


def _foreign_weights(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path} holds weights of another network: {error} Get the file again.")
