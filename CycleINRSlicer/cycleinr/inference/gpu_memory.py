"""How many image rows a GPU computes at a time, so that they fit into the memory that it has left."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..network.config import NetworkConfig
from .execution import Execution, execution_on
from .tiling import Tiling

SMALLEST_CELLS = 4
"""Rows of cells at a time; with fewer, nearly all of the work would be done twice, and the CPU is faster."""

_SHARE = 0.8
"""Of the free memory; the rest is for cuDNN's workspace and for what other programs take meanwhile."""

_FLOAT = 4
_STAGE_CHUNKS = 2
"""Chunks of slices that each encoder block holds while it streams."""

_WINDOW = 3 * 4 + 5
"""Slices' projections and codes around an interval."""

_BLOCK_COPIES = 5
"""Arrays of a block's size that sampling and decoder hold at a time."""

_COLUMN_COPIES = 8
"""Arrays of the columns' size that data consistency holds at a time."""


def limit_bytes(device: str, memory_limit_gb: float | None) -> float | None:
    """Bound on a run's memory on a GPU of its own memory; None for devices that share the computer's.

    Args:
        device: torch's name.
        memory_limit_gb: What the user allows; None for no bound but the free memory.
    """
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # What this process holds from earlier runs and does not use is free as well
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    allowed = _SHARE * free
    return allowed if memory_limit_gb is None else min(allowed, memory_limit_gb * 1e9)


@dataclass(frozen=True)
class GpuCost:
    """Memory that a strip takes on a GPU.

    Attributes:
        config: The network's sizes.
        n_in: Acquired slices.
        n_fine: Output slices, with those that are cropped afterwards.
        columns: Of the image.
        execution: Sizes of the pieces.
    """

    config: NetworkConfig
    n_in: int
    n_fine: int
    columns: int
    execution: Execution

    @property
    def fixed_bytes(self) -> float:
        """Pieces whose size does not depend on the strip's."""
        execution, width = self.execution, self.config.width
        chunks = _STAGE_CHUNKS * (self.config.blocks + 1) * execution.chunk_bytes
        block = _BLOCK_COPIES * execution.block * width * execution.dtype.itemsize
        return chunks + block + _COLUMN_COPIES * execution.column_bytes

    @property
    def bytes_per_row(self) -> float:
        """Two strips on their way in, the result, one slice per encoder stage at least, and an interval's window."""
        code = self.config.width / self.config.cell**2 * self.execution.dtype.itemsize
        slices = _STAGE_CHUNKS * (self.config.blocks + 1) + _WINDOW
        per_interval = 6 * self.n_fine / max(1, self.n_in - 1)
        return self.columns * (code * slices + _FLOAT * (4 * self.n_in + self.n_fine + per_interval))

    def tiling_within(self, limit_bytes: float, rows: int) -> Tiling:
        """Strips as high as the limit allows by this estimate; the smallest worth a try where not even that fits."""
        fitting = (limit_bytes - self.fixed_bytes) / self.bytes_per_row - 2 * self.config.receptive_pixels
        return Tiling.within(max(fitting, SMALLEST_CELLS * self.config.cell), rows, self.config)


def execution_within(device: str, memory_limit_gb: float | None) -> Execution:
    """What suits a device, with smaller pieces on a GPU with little memory."""
    execution, limit = execution_on(torch.device(device)), limit_bytes(device, memory_limit_gb)
    return execution if limit is None else execution.within(limit)
