"""The encoder as a stream of slices: each block holds two chunks of them, however deep the scan is.

The result equals ``Encoder.forward`` on the whole stack. Nothing is computed twice, which tiles in depth with a
receptive field of eight slices to each side would do several times over. The modulations by tau and anisotropy are
folded into the convolutions once. A chunk is one slice on a CPU and several on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ..network.encoder import DIFFERENCE_GAIN, NEGATIVE_SLOPE, Encoder, EncoderBlock


@dataclass(frozen=True)
class FoldedBlock:
    """An encoder block with its modulation folded in; the three ``through`` parts are (C in, C out)."""

    inplane_weight: torch.Tensor
    inplane_bias: torch.Tensor
    before: torch.Tensor
    centre: torch.Tensor
    after: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def fold(cls, block: EncoderBlock, scale: torch.Tensor, shift: torch.Tensor, dtype: torch.dtype) -> FoldedBlock:
        """scale and shift (C,) of this scan's slicing."""
        weight = block.inplane.weight * (1 + scale)[:, None, None, None]
        before, centre, after = (w.t().contiguous() for w in block.through.weight[:, :, 0, 0].chunk(3, dim=1))
        return cls(
            weight.to(dtype, memory_format=torch.channels_last),
            (block.inplane.bias * (1 + scale) + shift).to(dtype),
            before.to(dtype),
            centre.to(dtype),
            after.to(dtype),
            block.through.bias.to(dtype),
        )

    def stream(self, chunks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Chunks of slices (n, C, h, w) in, the block's output for them out, one chunk behind; takes the chunks over.

        What a chunk's output gets from the chunk after it is added when that one comes, so that no block holds more
        than one unfinished output and one chunk of hidden values.
        """
        unfinished = before = None
        for codes in chunks:
            hidden = self._inplane(codes)
            finished, unfinished = unfinished, self._mix(codes, hidden, before)
            before = hidden
            if finished is not None:
                cells = codes.shape[2] * codes.shape[3]
                rows_of(finished)[-cells:].addmm_(hidden[:cells], self.after)
                yield finished
        yield unfinished

    def _inplane(self, codes: torch.Tensor) -> torch.Tensor:
        hidden = F.conv2d(codes, self.inplane_weight, self.inplane_bias, padding=1)
        return rows_of(F.leaky_relu_(hidden, NEGATIVE_SLOPE))

    def _mix(self, codes: torch.Tensor, hidden: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        """The output but for the share of the slice after the chunk's last; in the memory of ``codes``."""
        slices, _, height, width = codes.shape
        cells = height * width
        mixed = rows_of(codes).add_(self.bias).addmm_(hidden, self.centre)
        if slices > 1:
            mixed[cells:].addmm_(hidden[:-cells], self.before)
            mixed[:-cells].addmm_(hidden[cells:], self.after)
        if before is not None:
            mixed[:cells].addmm_(before[-cells:], self.before)
        return mixed.view(slices, height, width, -1).permute(0, 3, 1, 2)


def rows_of(codes: torch.Tensor) -> torch.Tensor:
    """(n, C, h, w) in channels-last memory -> (n * h * w, C), no copy."""
    return codes.permute(0, 2, 3, 1).reshape(-1, codes.shape[1])


class EncoderStream:
    """An encoder made ready for one scan's slicing.

    Args:
        encoder: The trained encoder, on the device to compute on.
        slicing: (1, 3) features of tau, anisotropy and ratio.
        dtype: Of codes and weights; the slices and their differences are formed in fp32.
    """

    def __init__(self, encoder: Encoder, slicing: torch.Tensor, dtype: torch.dtype):
        self.cell, self.dtype = encoder.cell, dtype
        self.stem_weight = encoder.stem.weight.to(dtype, memory_format=torch.channels_last)
        self.stem_bias = encoder.stem.bias.to(dtype)
        modulations = encoder.modulations(slicing)[:, :, 0]
        self.blocks = [FoldedBlock.fold(b, *m, dtype) for b, m in zip(encoder.blocks, modulations, strict=True)]

    def codes(self, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Chunks (n, H, W) of slices of whole cells in, each slice's (h * w, C) codes out, in order."""
        stream = self._stem(iter(chunks))
        for block in self.blocks:
            stream = block.stream(stream)
        for chunk in stream:
            yield from rows_of(chunk).split(chunk.shape[2] * chunk.shape[3])

    def _stem(self, chunks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        current = next(chunks)
        before = torch.zeros_like(current[:1])
        for following in chunks:
            after = DIFFERENCE_GAIN * (following[:1] - current[-1:])
            yield self._stem_chunk(current, before, after)
            current, before = following, -after
        yield self._stem_chunk(current, before, torch.zeros_like(before))

    def _stem_chunk(self, slices: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """What ``with_differences`` shows the stem; the differences to the neighbouring chunks are given."""
        within = DIFFERENCE_GAIN * slices.diff(dim=0)
        planes = torch.stack([slices, torch.cat([before, -within]), torch.cat([within, after])], dim=1)
        cells = F.pixel_unshuffle(planes, self.cell).to(self.dtype, memory_format=torch.channels_last)
        return F.conv2d(cells, self.stem_weight, self.stem_bias, padding=1)
