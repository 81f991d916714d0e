"""Strips of image rows on their way to a device and back, beside the computation where the device can do that.

On a CPU nothing has to move, and the plain way is the fastest. A CUDA card copies by itself, in both directions at
once, while it computes: strip n + 1 is on its way in and what was done before strip n on its way out meanwhile. That
needs host memory that the system does not move ("pinned"), two buffers for either direction, and one thread for each
that fills or empties them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch

from ..intensity import IntensityScale, ValueRange

_CARRIED = {np.dtype(name): getattr(torch, name) for name in ("uint8", "int8", "int16")}
"""Types that travel as they are, with every value of theirs a float32; voxels of other types travel as float32."""


class PlainTransfers:
    """Strips one after the other, each when it is asked for.

    Args:
        acquired: (n_in, rows, columns), the scan's own values.
        result: (n_out, rows, columns) takes the result.
        scale: Between the scan's values and the network's.
        device: Where the strips go.
    """

    def __init__(self, acquired: np.ndarray, result: np.ndarray, scale: IntensityScale, device: torch.device):
        self.acquired, self.result, self.scale, self.device = acquired, result, scale, device
        self.range = ValueRange.of(acquired)

    def __enter__(self) -> PlainTransfers:
        return self

    def __exit__(self, *raised) -> None:
        """Nothing is under way."""

    def strips(self, parts: Sequence[slice]) -> Iterator[torch.Tensor]:
        """Each part's rows through all slices, (n_in, rows, columns) network values on the device, in order."""
        return map(self.load, parts)

    def load(self, rows: slice) -> torch.Tensor:
        """One part's rows."""
        return torch.from_numpy(self.scale.to_network(self.acquired[:, rows])).to(self.device)

    def store(self, values: torch.Tensor, rows: slice) -> None:
        """Write (n_out, rows, columns) values of the scan's own unit into the result, within the scan's range."""
        self.range.write(values.cpu().numpy(), self.result[:, rows])

    def finish(self) -> None:
        """Return when all of the result is written."""


class Lanes(Protocol):
    """A device's copies that run beside its computation, one lane in and one out; each in the order of the calls."""

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Host memory that the device can read and write by itself."""

    def upload(self, host: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Start copying to the device. The returned call gives the copy to the computation."""

    def uploaded(self) -> None:
        """Wait, on the host, until all uploads so far are done."""

    def download(self, values: torch.Tensor, host: torch.Tensor) -> Callable[[], None]:
        """Start copying from the device what is computed so far. The returned call waits until it is there."""


class OverlappedTransfers:
    """Strips that move while others are computed; the interface of ``PlainTransfers``.

    Used as a context, whose end waits for what is under way. What a copy raised is raised by the next call.
    """

    def __init__(self, acquired: np.ndarray, result: np.ndarray, scale: IntensityScale, lanes: Lanes):
        self.acquired, self.result, self.scale, self.lanes = acquired, result, scale, lanes
        self.range = ValueRange.of(acquired)
        self._incoming, self._outgoing = (ThreadPoolExecutor(1, f"cycleinr-{way}") for way in ("in", "out"))
        self._sent: list[Future] = []
        self._buffers: dict[tuple[str, int], torch.Tensor] = {}

    def __enter__(self) -> OverlappedTransfers:
        return self

    def __exit__(self, *raised) -> None:
        for pool in (self._incoming, self._outgoing):
            pool.shutdown(wait=True, cancel_futures=True)

    def strips(self, parts: Sequence[slice]) -> Iterator[torch.Tensor]:
        """Each part's rows, as ``PlainTransfers.strips``; the next part is on its way while one is worked on."""
        coming = self._incoming.submit(self._fetch, 0, parts[0])
        for number in range(len(parts)):
            arrived = coming.result()
            if number + 1 < len(parts):
                coming = self._incoming.submit(self._fetch, number + 1, parts[number + 1])
            # numpy's order of operations in IntensityScale.to_network, so that the values are the same
            yield arrived().float().sub_(self.scale.centre).mul_(1 / self.scale.scale)

    def store(self, values: torch.Tensor, rows: slice) -> None:
        """Start writing values into the result; at most two calls' values are under way."""
        number = len(self._sent)
        if number >= 2:
            self._sent[number - 2].result()
        carried = values.to(torch.float32)
        if (dtype := _CARRIED.get(self.result.dtype)) is not None:
            carried = carried.clamp(float(self.range.low), float(self.range.high)).to(dtype)
        host = self._buffer("out", number % 2, carried.shape, carried.dtype)
        arrived = self.lanes.download(carried, host)
        self._sent.append(self._outgoing.submit(self._write, arrived, host, rows))

    def finish(self) -> None:
        """Return when all of the result is written."""
        for sent in self._sent:
            sent.result()

    def _fetch(self, number: int, rows: slice) -> Callable[[], torch.Tensor]:
        source = self.acquired[:, rows]
        # The buffer's last strip left two strips ago, but the device may still be reading it
        self.lanes.uploaded()
        host = self._buffer("in", number % 2, source.shape, _CARRIED.get(source.dtype, torch.float32))
        np.copyto(host.numpy(), source, casting="unsafe")
        return self.lanes.upload(host)

    def _write(self, arrived: Callable[[], None], host: torch.Tensor, rows: slice) -> None:
        arrived()
        if self.result.dtype in _CARRIED:
            self.result[:, rows] = host.numpy()
        else:
            self.range.write(host.numpy(), self.result[:, rows])

    def _buffer(self, way: str, number: int, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A part of the way's buffer of this number, made anew where it is too small."""
        size = int(np.prod(shape))
        whole = self._buffers.get((way, number))
        if whole is None or whole.numel() < size:
            whole = self._buffers[way, number] = self.lanes.buffer((size,), dtype)
        return whole[:size].view(*shape)


class CudaLanes:
    """Two CUDA streams beside the one that computes."""

    def __init__(self, device: torch.device):
        self.device = device
        self._in, self._out = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def upload(self, host: torch.Tensor) -> Callable[[], torch.Tensor]:
        with torch.cuda.stream(self._in):
            copy = host.to(self.device, non_blocking=True)
            done = self._in.record_event()

        def arrived() -> torch.Tensor:
            computing = torch.cuda.current_stream(self.device)
            computing.wait_event(done)
            # The memory belongs to the copying stream, which must not take it back while it is computed with
            copy.record_stream(computing)
            return copy

        return arrived

    def uploaded(self) -> None:
        self._in.synchronize()

    def download(self, values: torch.Tensor, host: torch.Tensor) -> Callable[[], None]:
        self._out.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._out):
            host.copy_(values, non_blocking=True)
            values.record_stream(self._out)
            return self._out.record_event().synchronize


Transfers = PlainTransfers | OverlappedTransfers


def transfers_for(device: torch.device, acquired: np.ndarray, result: np.ndarray, scale: IntensityScale) -> Transfers:
    """The way that suits a device."""
    if device.type == "cuda":
        return OverlappedTransfers(acquired, result, scale, CudaLanes(device))
    return PlainTransfers(acquired, result, scale, device)
