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

from ..network.encoder import DIFFERENCE_GAIN, Encoder, EncoderBlock
from ..network.layers import NEGATIVE_SLOPE
from .crew import Crew
from .execution import CPU, Execution


@dataclass(frozen=True)
class FoldedBlock:
    """An encoder block with its modulation folded in; the three ``through`` parts are (C in, C out).

    ``part`` is how many cells of a slice are mixed at a time.
    """

    inplane_weight: torch.Tensor
    inplane_bias: torch.Tensor
    before: torch.Tensor
    centre: torch.Tensor
    after: torch.Tensor
    bias: torch.Tensor
    part: int

    @classmethod
    def fold(cls, block: EncoderBlock, scale: torch.Tensor, shift: torch.Tensor, execution: Execution) -> FoldedBlock:
        """scale and shift (C,) of this scan's slicing."""
        dtype = execution.dtype
        weight = block.inplane.weight * (1 + scale)[:, None, None, None]
        before, centre, after = (w.t().contiguous() for w in block.through.weight[:, :, 0, 0].chunk(3, dim=1))
        return cls(
            weight.to(dtype, memory_format=torch.channels_last),
            (block.inplane.bias * (1 + scale) + shift).to(dtype),
            before.to(dtype),
            centre.to(dtype),
            after.to(dtype),
            block.through.bias.to(dtype),
            execution.block,
        )

    def stream(self, chunks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Chunks of slices (n, C, h, w) in, the block's output for them out, one chunk behind; takes the chunks over.

        What a chunk's output gets from the chunk after it is added when that one comes, so that no block holds more
        than one unfinished output and one chunk of hidden values.
        """
        unfinished = before = None
        for codes in chunks:
            hidden = self._inplane(codes)
            mix = self._mix_slice if len(codes) == 1 else self._mix_chunk
            finished, unfinished = unfinished, mix(codes, hidden, before, unfinished)
            before = hidden
            if finished is not None:
                yield finished
        yield unfinished

    def _inplane(self, codes: torch.Tensor) -> torch.Tensor:
        """Before the activation."""
        return rows_of(F.conv2d(codes, self.inplane_weight, self.inplane_bias, padding=1))

    def _mix_slice(
        self, codes: torch.Tensor, hidden: torch.Tensor, before: torch.Tensor | None, unfinished: torch.Tensor | None
    ) -> torch.Tensor:
        """Activate ``hidden``, finish the output before this slice, and begin this one's in the memory of ``codes``.

        In parts that stay in a core's cache from the first step to the last: memory, not arithmetic, is what several
        cores wait for.
        """
        rows = rows_of(codes)
        for start in range(0, len(rows), self.part):
            part = slice(start, start + self.part)
            here = F.leaky_relu_(hidden[part], NEGATIVE_SLOPE)
            mixed = rows[part].add_(self.bias).addmm_(here, self.centre)
            if before is not None:
                mixed.addmm_(before[-len(rows) :][part], self.before)
                rows_of(unfinished)[-len(rows) :][part].addmm_(here, self.after)
        return as_codes(rows, codes)

    def _mix_chunk(
        self, codes: torch.Tensor, hidden: torch.Tensor, before: torch.Tensor | None, unfinished: torch.Tensor | None
    ) -> torch.Tensor:
        """The same for several slices at a time, as a GPU wants them."""
        cells = codes.shape[2] * codes.shape[3]
        F.leaky_relu_(hidden, NEGATIVE_SLOPE)
        mixed = rows_of(codes).add_(self.bias).addmm_(hidden, self.centre)
        mixed[cells:].addmm_(hidden[:-cells], self.before)
        mixed[:-cells].addmm_(hidden[cells:], self.after)
        if before is not None:
            mixed[:cells].addmm_(before[-cells:], self.before)
            rows_of(unfinished)[-cells:].addmm_(hidden[:cells], self.after)
        return as_codes(mixed, codes)


def rows_of(codes: torch.Tensor) -> torch.Tensor:
    """(n, C, h, w) in channels-last memory -> (n * h * w, C), no copy."""
    return codes.permute(0, 2, 3, 1).reshape(-1, codes.shape[1])


def as_codes(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The way back from ``rows_of``, to the shape of ``like``."""
    slices, channels, height, width = like.shape
    return rows.view(slices, height, width, channels).permute(0, 3, 1, 2)


class EncoderStream:
    """An encoder made ready for one scan's slicing.

    Args:
        encoder: The trained encoder, on the device to compute on.
        slicing: (1, 3) features of tau, anisotropy and ratio.
        execution: In which precision codes and weights are, and how many cells are mixed at a time; the slices and
            their differences are formed in fp32.
    """

    def __init__(self, encoder: Encoder, slicing: torch.Tensor, execution: Execution = CPU):
        self.cell = encoder.cell
        self.dtype = dtype = execution.dtype
        self.stem_weight = encoder.stem.weight.to(dtype, memory_format=torch.channels_last)
        self.stem_bias = encoder.stem.bias.to(dtype)
        modulations = encoder.modulations(slicing)[:, :, 0]
        self.blocks = [FoldedBlock.fold(b, *m, execution) for b, m in zip(encoder.blocks, modulations, strict=True)]

    def codes(self, chunks: Iterable[torch.Tensor], crew: Crew) -> Iterator[torch.Tensor]:
        """Chunks (n, H, W) of slices of whole cells in, each slice's (h * w, C) codes out, in order."""
        stream = self._stem(iter(chunks))
        for number, block in enumerate(self.blocks, start=1):
            stream = block.stream(stream)
            if number % crew.blocks_each == 0 or number == len(self.blocks):
                stream = crew.relay(stream)
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
