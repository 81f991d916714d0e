"""The network on a GPU: ``CycleINR`` itself on strips of image rows, through all slices at once.

A strip is encoded once; output slices are then sampled and decoded a few at a time. Any device of PyTorch will do, the
CPU included, on which the tests run.

GPUs compute in fp32. What half precision and TF32 would save they lose in agreement with the CPU: on head, chest and
abdomen CT the largest difference was 3.2 HU in fp16, 8 HU in bf16 and 1.2 HU with TF32 convolutions, where 1 HU is the
bound (research/docs/speed-log.md).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ..computer import Device, DeviceFailed
from ..network import load_network
from ..network.model import CycleINR
from ..resampling import NEIGHBOURS
from ..weights import NetworkConfig, Slicing
from .consistency import Arrays
from .tiling import Tiling

SMALLEST_CELLS = 4
"""Rows of cells at a time; with fewer, nearly all of the work would be done twice, and the CPU is faster."""

_SLICES_AT_ONCE = 8
"""Output slices that are sampled and decoded together."""

_SHARE = 0.8
"""Of the free memory; the rest is for cuDNN's workspace and for what other programs take meanwhile."""

_ENCODER_COPIES = 7
"""Arrays of all slices' codes that an encoder block holds at its peak: its input and output, hidden values, these three
times side by side, and what the convolution works with."""

_SAMPLING_COPIES = 4 * NEIGHBOURS
"""Arrays of codes that sampling holds for each output slice."""

_FLOAT_BYTES = 4


class GpuNetwork:
    """The network made ready for one scan: ``cpu_network.StripNetwork``, with tensors and a model on its device."""

    def __init__(self, model: CycleINR, slicing: Slicing, positions: np.ndarray, slices: int):
        self.model, self.config, self.device = model, model.config, next(model.parameters()).device
        self.arrays, self.features = Arrays.torch(self.device), slicing.to_tensor(self.device)
        inside = np.clip(positions, 0, slices - 1)
        self.positions = self.arrays.of(inside)
        # A thin slice that was acquired is known; there is nothing to predict at its position.
        self.known = np.flatnonzero(inside == np.round(inside)) if slicing.tau == 0 else np.empty(0, int)
        self.sources = np.round(inside[self.known]).astype(int)

    @property
    def ticks(self) -> int:
        """How often ``run`` calls its ``tick``."""
        return 1 + -(-len(self.positions) // _SLICES_AT_ONCE)

    @staticmethod
    @contextmanager
    def guard() -> Iterator[None]:
        """For all that a device does: DeviceFailed where it cannot. Callers' functions are called outside."""
        try:
            with torch.no_grad(), _full_precision():
                yield
        except RuntimeError as error:
            raise DeviceFailed(str(error).strip().partition("\n")[0]) from error

    def load(self, values: np.ndarray) -> torch.Tensor:
        """Onto the device."""
        with self.guard():
            return self.arrays.of(values)

    def run(self, stack: torch.Tensor, kept: slice, tick: Callable[[], None]) -> torch.Tensor:
        """As ``StripNetwork.run``; DeviceFailed where the device cannot."""
        with self.guard():
            codes = self.model.encode(stack[None], self.features)
        tick()
        parts = []
        for some in self.positions.split(_SLICES_AT_ONCE):
            with self.guard():
                parts.append(self.model.decode(codes, stack[None], some[None], self.features)[0, :, kept].clone())
            tick()
        with self.guard():
            fine = torch.cat(parts)
            fine[self.known] = stack[self.sources, kept]
        return fine

    @staticmethod
    def host(values: torch.Tensor) -> np.ndarray:
        """Back from the device."""
        return values.cpu().numpy()


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products and convolutions in fp32; then as it was before. PyTorch lets cuDNN use TF32 unless told otherwise."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    # Since PyTorch 2.9; the older switches can then be neither read nor put back wherever the user set the newer ones
    if hasattr(matmul, "fp32_precision"):
        switches, name, exact = (matmul, cudnn.conv), "fp32_precision", "ieee"  # type: ignore[attr-defined]
    else:
        switches, name, exact = (matmul, cudnn), "allow_tf32", False
    before = [getattr(switch, name) for switch in switches]
    try:
        for switch in switches:
            setattr(switch, name, exact)
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            setattr(switch, name, value)


def model_on_device(weights: Path, sha256: str, device: Device) -> CycleINR:
    """A network on a device."""
    with GpuNetwork.guard():
        return load_network(weights, sha256).requires_grad_(False).to(device.name)


def free_memory(device: Device) -> None:
    """Hand back what an attempt that failed has left."""
    gc.collect()
    if device.name.startswith("cuda"):
        torch.cuda.empty_cache()


def tiling_on(
    device: Device, config: NetworkConfig, stack_shape: tuple[int, ...], n_fine: int, memory_limit_gb: float | None
) -> Tiling | None:
    """Strips as high as a GPU's own memory allows by estimate; None for devices that share the computer's.

    ``stack_shape`` is (slices, rows, columns) of the scan, and ``n_fine`` the output slices with those that are cropped
    afterwards. Without a limit, the free memory is the bound.
    """
    if not device.name.startswith("cuda") or not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info(device.name)
    # What this process holds from earlier runs and does not use is free as well
    free += torch.cuda.memory_reserved(device.name) - torch.cuda.memory_allocated(device.name)
    limit_bytes = _SHARE * free if memory_limit_gb is None else min(_SHARE * free, memory_limit_gb * 1e9)
    n_in, rows, columns = stack_shape
    encoding = (_ENCODER_COPIES + 2 * (config.members - 1)) * n_in
    sampling = (3 + config.members) * n_in + _SAMPLING_COPIES * _SLICES_AT_ONCE
    codes = columns / config.cell**2 * config.width * max(encoding, sampling)
    per_row = _FLOAT_BYTES * (codes + columns * (4 * n_in + 3 * n_fine))
    fitting = limit_bytes / per_row - 2 * config.receptive_pixels
    return Tiling.within(max(fitting, SMALLEST_CELLS * config.cell), rows, config)
