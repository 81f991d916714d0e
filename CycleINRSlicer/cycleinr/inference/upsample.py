"""The main job: a thick-slice volume in, a finer volume out."""

from __future__ import annotations

import gc
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..errors import Cancelled, NonFiniteError, OutOfMemoryError, RequestWarning
from ..grid import from_axis_first, to_axis_first
from ..host_memory import empty_result
from ..intensity import IntensityScale, intensity_scale
from ..network.conditioning import Slicing
from ..network.config import NetworkConfig
from ..network.model import CycleINR
from ..network.weights import load_network
from ..result import Provenance, Result
from ..slice_brightness import evened, gains_of_result, log_gains, put_back
from ..volume import Volume
from .arrays import Arrays
from .bounded import REACH_PIXELS, BoundedConsistency, consistency_for
from .consistency import Consistency, covering_grid
from .devices import Device, choose_device, cpu
from .execution import products
from .gpu_memory import SMALLEST_CELLS, GpuCost, execution_within, limit_bytes
from .noise_matching import match_noise
from .options import Progress, ProgressCallback, UpsampleOptions, never_cancelled, no_progress
from .plan import Plan, plan
from .strip import StripNetwork
from .tiling import Tiling
from .transfers import Transfers, transfers_for

DERIVED = "Derived by CycleINR, not acquired. Not for primary diagnosis."

_LOG = logging.getLogger(__name__)
_NETWORK_SHARE = 0.97


def upsample(
    volume: Volume,
    options: UpsampleOptions,
    progress: ProgressCallback = no_progress,
    cancelled: Callable[[], bool] = never_cancelled,
) -> Result:
    """Super-resolve a volume along its through-plane axis.

    Integer types stay, HU stay HU, no voxel leaves the input's own range, in-plane samples never move, and re-slicing
    the result with the scan's slice profile gives the acquired slices back. The input is not modified.

    Args:
        volume: The acquired scan.
        options: What is wanted; see ``UpsampleOptions``.
        progress: Called often, from this thread.
        cancelled: Asked often; True ends the work at once.

    Raises:
        Cancelled: ``cancelled`` said so.
        CycleinrError: Of the kind that ``plan`` and ``choose_device`` raise for what cannot be done.
        NonFiniteError: The network gave NaN or infinity: broken weights, or a device that computes wrongly.
        OutOfMemoryError: Even the smallest part does not fit into the CPU's memory.

    Warns:
        RequestWarning: The request is outside what the weights were trained for; ``Plan.warnings`` has the same texts.
    """
    progress(Progress("Preparing", 0.0))
    work = plan(volume, options)
    for text in work.warnings:
        warnings.warn(text, RequestWarning, stacklevel=2)
    choice = choose_device(options.device)
    _LOG.info("%s %s", choice.reason, work.model_reason)
    gains = log_gains(to_axis_first(volume.array, work.grid.axis)) if options.equalize_slices else None
    run = _Run(_evened(volume, work, gains), work, progress, cancelled, options.memory_limit_gb)
    array, device = run.compute(choice.device)
    if gains is not None:
        array = _with_brightness(array, volume, work, gains)
    progress(Progress("Done", 1.0, 0.0))
    result = volume.with_array(array, work.ijk_to_ras)
    return Result(result, provenance(work, device, options), work.warnings)


def _evened(volume: Volume, work: Plan, gains: np.ndarray | None) -> Volume:
    if gains is None:
        return volume
    stack = evened(to_axis_first(volume.array, work.grid.axis), gains)
    return volume.with_array(from_axis_first(stack, work.grid.axis))


def _with_brightness(array: np.ndarray, volume: Volume, work: Plan, gains: np.ndarray) -> np.ndarray:
    """A result of evened slices with the scan's own brightness, type and range."""
    result = empty_result(work.shape_kji, volume.array.dtype)
    fine, out = (to_axis_first(each, work.grid.axis) for each in (array, result))
    put_back(fine, gains_of_result(gains, work.grid), float(volume.array.min()), float(volume.array.max()), out)
    return result


def provenance(work: Plan, device: Device, options: UpsampleOptions) -> Provenance:
    """What travels with a result so that it can be judged and made again; ``warnings`` is there if there are any."""
    more = {"equalized_slices": "yes" if options.equalize_slices else "no"}
    if work.warnings:
        more["warnings"] = " ".join(work.warnings)
    return Provenance(
        software="CycleINR",
        version=__version__,
        torch=torch.__version__,
        model=str(work.card.get("name", work.weights.stem)),
        weights_sha256=str(work.card["sha256"]),
        ratio=work.grid.ratio,
        spacing_mm=work.grid.spacing_out_mm,
        axis=work.grid.axis,
        extent="centres" if work.grid.first_mm == 0 else "edges",
        tau=work.tau,
        slice_profile=work.tau_reason,
        device=device.label,
        derived=DERIVED,
        more=more,
    )


@lru_cache(maxsize=4)
def _network(weights: Path, sha256: str, device: str) -> CycleINR:
    """A network stays loaded between runs; the hash makes changed weights a different entry."""
    return load_network(weights, sha256).requires_grad_(False).to(device)


@dataclass(frozen=True)
class _Tools:
    """What works on one strip after the other."""

    network: StripNetwork
    consistency: Consistency | BoundedConsistency
    transfers: Transfers


class _Run:
    """One volume's computation, strip by strip, with progress, cancel and retreat from memory shortage."""

    def __init__(
        self,
        volume: Volume,
        work: Plan,
        progress: ProgressCallback,
        cancelled: Callable[[], bool],
        memory_limit_gb: float | None,
    ):
        self.work, self.progress, self.cancelled = work, progress, cancelled
        self.memory_limit_gb = memory_limit_gb
        self.acquired = to_axis_first(volume.array, work.grid.axis)
        self.array = empty_result(work.shape_kji, volume.array.dtype)
        self.result = to_axis_first(self.array, work.grid.axis)
        self.low, self.high = float(volume.array.min()), float(volume.array.max())
        self.scale = intensity_scale(volume.array, work.modality)
        self.covering = covering_grid(work.grid, work.tau)
        self.done_rows, self.started = 0, time.monotonic()

    def compute(self, device: Device) -> tuple[np.ndarray, Device]:
        """All rows on ``device``; a GPU without enough memory gets smaller strips, then the CPU takes over."""
        if self.work.grid.is_identity:
            self.result[:] = self.acquired
            return self.array, device
        tiling = self._tiling(device)
        while True:
            try:
                with torch.inference_mode():
                    self._all_strips(device, tiling)
                match_noise(self.result, self.acquired, self.work, self.covering, self._check_cancel)
                return self.array, device
            # Not torch.OutOfMemoryError, the same class, which older releases do not have
            except torch.cuda.OutOfMemoryError as error:
                self._free(device)
                tiling = tiling.halved()
                if tiling.cells < SMALLEST_CELLS:
                    device, tiling = self._retreat(device, error)
                _LOG.warning("Out of memory; trying again with %d rows at a time on %s.", tiling.rows, device.label)
            except (MemoryError, RuntimeError) as error:
                if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
                    raise
                raise OutOfMemoryError(
                    "The computer ran out of memory. Close other programs, set a lower memory limit, or ask for fewer "
                    "slices."
                ) from error

    def _tiling(self, device: Device) -> Tiling:
        """The plan's, or on a GPU with memory of its own what fits there."""
        limit = limit_bytes(device.name, self.memory_limit_gb)
        if limit is None:
            return self.work.tiling
        config = NetworkConfig.from_dict(self.work.card["network"])
        execution = execution_within(device.name, self.memory_limit_gb)
        n_in, rows, columns = self.acquired.shape
        return GpuCost(config, n_in, len(self.covering.positions), columns, execution).tiling_within(limit, rows)

    def _retreat(self, device: Device, error: Exception) -> tuple[Device, Tiling]:
        if device.name == "cpu":
            raise OutOfMemoryError("The computer ran out of memory even for the smallest part.") from error
        self.progress(Progress(f"{device.label} has too little memory; going on with the CPU", 0.0))
        return cpu(), self.work.tiling

    @staticmethod
    def _free(device: Device) -> None:
        gc.collect()
        if device.name.startswith("cuda"):
            torch.cuda.empty_cache()

    def _all_strips(self, device: Device, tiling: Tiling) -> None:
        work, covering = self.work, self.covering
        model = _network(work.weights, work.card["sha256"], device.name)
        slicing = Slicing(work.tau, work.anisotropy, work.grid.ratio)
        execution = execution_within(device.name, self.memory_limit_gb)
        network = StripNetwork(model, slicing, covering.positions, work.grid.n_in, execution)
        integer = self.array.dtype.kind in "iu"
        arrays, hu = Arrays.torch(network.device), self.scale.hu
        consistency = consistency_for(covering.profile, self.low, self.high, hu, integer, arrays)
        parts = list(tiling.strips(self.acquired.shape[1]))
        total = sum(low.stop - low.start for low, _ in parts) * network.ticks
        self.done_rows, self.started = 0, time.monotonic()
        with products(execution), transfers_for(network.device, self.acquired, self.result, self.scale) as transfers:
            tools = _Tools(network, consistency, transfers)
            stacks = transfers.strips([computed for computed, _ in parts])
            for (computed, kept), stack in zip(parts, stacks, strict=True):
                shape = len(covering.positions), kept.stop - kept.start, stack.shape[2]
                fine = torch.empty(shape, device=network.device)
                network.run(stack.__getitem__, fine, lambda size=stack.shape[1]: self._tick(size, total), kept.start)
                self._finish(tools, fine, stack, kept.start, computed.start)
            transfers.finish()

    def _finish(self, tools: _Tools, fine: torch.Tensor, stack: torch.Tensor, first: int, computed: int) -> None:
        """Back to the input's units, made consistent, cropped to the asked grid and written into the result.

        ``fine`` begins at row ``first`` of ``stack``, which begins at row ``computed`` of the scan.
        """
        consistency, column_bytes = tools.consistency, tools.network.execution.column_bytes
        before = self.covering.before
        asked = slice(before, before + self.work.grid.n_out)
        at_once = max(1, int(column_bytes / (4 * fine.shape[0] * fine.shape[2])))
        for row in range(0, fine.shape[1], at_once):
            self._check_cancel()
            columns = _to_units(fine[:, row : row + at_once], self.scale)
            first_row = computed + first + row
            # Before the clamp to the input's range, which would turn an infinite value into a plausible one
            self._check_finite(columns, first_row)
            margin = min(first + row, REACH_PIXELS)
            around = slice(first + row - margin, first + row + columns.shape[1] + REACH_PIXELS)
            acquired = _to_units(stack[:, around], self.scale)
            acquired = acquired.round_() if consistency.integer else acquired
            consistency.apply(columns, acquired, margin)
            self._check_finite(columns, first_row)
            tools.transfers.store(columns[asked], slice(first_row, first_row + columns.shape[1]))

    def _check_finite(self, values: torch.Tensor, first_row: int) -> None:
        if not torch.isfinite(values).all():
            raise NonFiniteError(
                f"The network gave values that are no finite numbers, from image row {first_row} on; nothing was "
                f"written. The scan's values ({self.low:g} to {self.high:g}) are too large for it, the weights are "
                "broken, or the device computes wrongly: look at the scan, compute on the CPU, or install the weights "
                "again."
            )

    def _tick(self, amount: int, total: int) -> None:
        self._check_cancel()
        self.done_rows += amount
        fraction = _NETWORK_SHARE * self.done_rows / total
        elapsed = time.monotonic() - self.started
        remaining = elapsed * (1 - fraction) / fraction if fraction > 0.01 else self.work.seconds
        self.progress(Progress("Computing slices", fraction, remaining))

    def _check_cancel(self) -> None:
        if self.cancelled():
            raise Cancelled("Cancelled; nothing was written.")


def _to_units(values: torch.Tensor, scale: IntensityScale) -> torch.Tensor:
    return values * scale.scale + scale.centre
