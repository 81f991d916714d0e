"""The encoder as a stream of slices: each block holds three of them, however deep the scan is.

The result equals ``Encoder.forward`` on the whole stack. Nothing is computed twice, which tiles in depth with a
receptive field of eight slices to each side would do several times over. The modulations by tau and anisotropy are
folded into the convolutions once.
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
    def fold(cls, block: EncoderBlock, scale: torch.Tensor, shift: torch.Tensor) -> FoldedBlock:
        """scale and shift (C,) of this scan's slicing."""
        weight = block.inplane.weight * (1 + scale)[:, None, None, None]
        before, centre, after = (w.t().contiguous() for w in block.through.weight[:, :, 0, 0].chunk(3, dim=1))
        return cls(
            weight.contiguous(memory_format=torch.channels_last),
            block.inplane.bias * (1 + scale) + shift,
            before,
            centre,
            after,
            block.through.bias,
        )

    def stream(self, slices: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """(1, C, h, w) slices in, the block's output slices out, one behind."""
        current = next(slices)
        before, hidden = None, self._inplane(current)
        for following in slices:
            after = self._inplane(following)
            yield self._mix(current, before, hidden, after)
            before, current, hidden = hidden, following, after
        yield self._mix(current, before, hidden, None)

    def _inplane(self, codes: torch.Tensor) -> torch.Tensor:
        hidden = F.conv2d(codes, self.inplane_weight, self.inplane_bias, padding=1)
        return rows_of(F.leaky_relu_(hidden, NEGATIVE_SLOPE))

    def _mix(self, codes, before, hidden, after) -> torch.Tensor:
        mixed = torch.addmm(self.bias, hidden, self.centre)
        if before is not None:
            mixed.addmm_(before, self.before)
        if after is not None:
            mixed.addmm_(after, self.after)
        mixed.add_(rows_of(codes))
        height, width = codes.shape[-2:]
        return mixed.view(1, height, width, -1).permute(0, 3, 1, 2)


def rows_of(codes: torch.Tensor) -> torch.Tensor:
    """(1, C, h, w) in channels-last memory -> (h * w, C), no copy."""
    return codes.permute(0, 2, 3, 1).reshape(-1, codes.shape[1])


class EncoderStream:
    """An encoder made ready for one scan's slicing.

    Args:
        encoder: The trained encoder, on the device to compute on.
        slicing: (1, 3) features of tau, anisotropy and ratio.
    """

    def __init__(self, encoder: Encoder, slicing: torch.Tensor):
        self.cell = encoder.cell
        self.stem_weight = encoder.stem.weight.contiguous(memory_format=torch.channels_last)
        self.stem_bias = encoder.stem.bias
        modulations = encoder.modulations(slicing)[:, :, 0]
        self.blocks = [FoldedBlock.fold(b, *m) for b, m in zip(encoder.blocks, modulations, strict=True)]

    def codes(self, slices: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """(H, W) slices of whole cells in, (h * w, C) codes out, in order."""
        stream = self._stem(iter(slices))
        for block in self.blocks:
            stream = block.stream(stream)
        return map(rows_of, stream)

    def _stem(self, slices: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        current = next(slices)
        before = torch.zeros_like(current)
        for following in slices:
            after = DIFFERENCE_GAIN * (following - current)
            yield self._stem_slice(current, before, after)
            current, before = following, -after
        yield self._stem_slice(current, before, torch.zeros_like(current))

    def _stem_slice(self, *planes: torch.Tensor) -> torch.Tensor:
        cells = F.pixel_unshuffle(torch.stack(planes).unsqueeze(0), self.cell)
        return F.conv2d(
            cells.contiguous(memory_format=torch.channels_last), self.stem_weight, self.stem_bias, padding=1
        )
