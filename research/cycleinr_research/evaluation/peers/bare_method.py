"""Any network as one of the compared methods, bare: its output as it is, without data consistency or clamping."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cycleinr import InputError
from cycleinr.grid import SliceGrid
from cycleinr.volume import Volume
from cycleinr.weights import Slicing, read_card

from ...networks import load_network
from ..methods import Method

TILE_PIXELS = 96
OVERLAP_PIXELS = 16


def bare_method(name: str, label: str, weights: Path, device: str = "auto") -> Method:
    """A method that runs a network tile by tile.

    Tiles of 96 pixels overlap by 16 on each side. The receptive fields of SAINT and ArSSR are wider, so pixels at a
    tile's edge may differ slightly from those of an untiled run, which would take tens of gigabytes.

    Args:
        weights: Of any architecture that ``cycleinr train`` knows.

    Raises:
        ModelError: Weights or card are missing or damaged.
    """
    only_ratio = read_card(weights)["network"].get("ratio")
    network = []

    def run(volume_lr: Volume, grid: SliceGrid) -> np.ndarray:
        from cycleinr.computer import choose_device

        if not network:
            network.append(load_network(weights).requires_grad_(False))
        return run_tiles(network[0].to(choose_device(device).device.name), volume_lr, grid)

    return Method(name, label, run, only_ratio)


def run_tiles(network, volume_lr: Volume, grid: SliceGrid, tile_pixels: int = TILE_PIXELS) -> np.ndarray:
    """The network's slices on a grid, (n_out, J, I) in the volume's units.

    Raises:
        InputError: The volume's modality is unknown.
    """
    import torch
    from cycleinr.intensity import intensity_scale

    if volume_lr.modality is None:
        raise InputError(f"The modality of {volume_lr.name or 'the volume'} is unknown. Set it to 'CT' or 'MR' first.")
    device = next(network.parameters()).device
    scale = intensity_scale(volume_lr.array, volume_lr.modality)
    stack = torch.from_numpy(scale.to_network(volume_lr.array))
    positions = torch.from_numpy(grid.positions()).float()[None].to(device)
    slicing = _slicing(volume_lr, grid).to_tensor(device)
    result = np.empty((grid.n_out, *stack.shape[1:]), np.float32)
    with torch.inference_mode():
        for rows, kept_rows in tiles(stack.shape[1], tile_pixels):
            for columns, kept_columns in tiles(stack.shape[2], tile_pixels):
                fine = network(stack[None, :, rows, columns].to(device), positions, slicing)[0]
                inner = fine[:, kept_rows, kept_columns].cpu().numpy()
                result[:, _within(rows, kept_rows), _within(columns, kept_columns)] = inner * scale.scale + scale.centre
    return result


def tiles(size: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Cut an axis: the pixels to compute, and among them those to keep, relative to the first one computed."""
    for start in range(0, size, tile):
        stop = min(start + tile, size)
        low, high = max(start - OVERLAP_PIXELS, 0), min(stop + OVERLAP_PIXELS, size)
        yield slice(low, high), slice(start - low, stop - low)


def _within(computed: slice, kept: slice) -> slice:
    return slice(computed.start + kept.start, computed.start + kept.stop)


def _slicing(volume_lr: Volume, grid: SliceGrid) -> Slicing:
    thickness = volume_lr.slice_thickness_mm
    tau = 1.0 if thickness is None else thickness / grid.spacing_in_mm
    across = volume_lr.spacing_ijk_mm[:2]
    return Slicing(tau, grid.spacing_in_mm / (sum(across) / 2), grid.ratio)
