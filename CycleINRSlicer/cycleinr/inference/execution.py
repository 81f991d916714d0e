"""How a device computes the network: in which precision, and how much of it at a time.

A CPU is fastest on pieces that stay in a core's cache; a GPU needs large pieces, or the time goes into starting small
ones. The arithmetic is the same code for both.

Every device computes in fp32. What half precision and TF32 would save on a GPU they lose in agreement with the CPU:
on head, chest and abdomen CT the largest difference was 3.2 HU in fp16, 8 HU in bf16 and 1.2 HU with TF32
convolutions, where 1 HU is the bound (docs/speed-log.md). They are kept for measuring.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

_SHORTEST_BLOCK = 512


@dataclass(frozen=True)
class Execution:
    """Precision and piece sizes.

    Attributes:
        chunk_bytes: The encoder takes as many slices at a time as have codes of this size, one at least.
        block: Positions times output slices that sampling and decoder take at a time.
        column_bytes: Result values that data consistency takes at a time.
        dtype: Of codes, activations and weights in encoder, sampling and decoder. Sums of products, attention scores,
            interpolation, residual composition and data consistency are fp32 always.
        tf32_convolutions: Whether a GPU may round the inputs of fp32 convolutions to 10 bits.
    """

    chunk_bytes: float
    block: int
    column_bytes: float
    dtype: torch.dtype = torch.float32
    tf32_convolutions: bool = False

    @property
    def queries_at_once(self) -> int:
        """Output slices that sampling and decoder take at a time; more would leave blocks of too few positions."""
        return max(1, self.block // _SHORTEST_BLOCK)

    def slices_at_once(self, cells: int, width: int) -> int:
        """Slices of ``cells`` codes of ``width`` channels that the encoder takes at a time."""
        return max(1, int(self.chunk_bytes / (cells * width * self.dtype.itemsize)))

    def within(self, limit_bytes: float) -> Execution:
        """Smaller pieces where these would take more than their share of a small memory."""
        share = min(1.0, limit_bytes / _AMPLE_BYTES)
        return replace(
            self,
            chunk_bytes=self.chunk_bytes * share,
            block=max(_SHORTEST_BLOCK, int(self.block * share)),
            column_bytes=self.column_bytes * share,
        )


_AMPLE_BYTES = 8e9
"""Memory with which a GPU's pieces are as large as they get."""

CPU = Execution(chunk_bytes=0, block=4096, column_bytes=32e6)
"""Blocks of 4096: 64 channels of these are 1 MB, about a core's second-level cache. Columns below 32 MiB, beyond
which the C library hands memory back to the system after each use."""

UNIFIED = Execution(chunk_bytes=0, block=65536, column_bytes=32e6)
"""For a GPU that shares the computer's memory, whose limit has no room for chunks of slices."""

CUDA = Execution(chunk_bytes=64e6, block=400_000, column_bytes=64e6)


def execution_on(device: torch.device) -> Execution:
    """What suits a device."""
    return {"cpu": CPU, "cuda": CUDA}.get(device.type, UNIFIED)


@contextmanager
def products(execution: Execution) -> Iterator[None]:
    """Products of matrices in full fp32, and convolutions too unless TF32 is allowed; then as it was before.

    PyTorch lets cuDNN use TF32 unless it is told otherwise.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, matmul.allow_fp16_reduced_precision_reduction, cudnn.allow_tf32
    matmul.allow_tf32, matmul.allow_fp16_reduced_precision_reduction = False, False
    cudnn.allow_tf32 = execution.tf32_convolutions
    try:
        yield
    finally:
        matmul.allow_tf32, matmul.allow_fp16_reduced_precision_reduction, cudnn.allow_tf32 = before
