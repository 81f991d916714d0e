"""From a volume to a finer one: ``upsample`` plans it, chooses where to compute, and does it strip by strip."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import NonFiniteError, OutOfMemoryError, RequestWarning, __version__
from ..computer import Device, DeviceFailed, choose_device, cpu, empty_result, torch_version
from ..grid import AXIS_OF_ARRAY, from_axis_first, output_shape_kji, stacks_of, to_axis_first
from ..inspection import inspect
from ..intensity import (
    IntensityScale,
    ValueRange,
    filled,
    intensity_scale,
    log_gains,
    put_padding_back,
    unit_of,
)
from ..request import UpsampleOptions
from ..resampling import agreement
from ..result import Monitor, Provenance, Result, text_of_gaps
from ..volume import Volume
from ..weights import NetworkConfig, read_parameters
from .consistency import REACH_PIXELS, Array, DataConsistency, rows_at_once
from .cpu_network import StripNetwork
from .noise import Stacks, match_noise, slice_sigmas
from .plan import Plan
from .plan import plan as plan_volume
from .tiling import Tiling

if TYPE_CHECKING:
    from .gpu_network import GpuNetwork

    Network = StripNetwork | GpuNetwork

DERIVED = "Derived by CycleINR, not acquired. Not for primary diagnosis."

_LOG = logging.getLogger(__name__)
_NETWORK_SHARE = 0.97
_AGREEMENT_PIXELS = 2_000_000


def upsample(
    volume: Volume,
    options: UpsampleOptions,
    monitor: Monitor | None = None,
) -> Result:
    """Super-resolve a volume along its through-plane axis; ``cycleinr.upsample`` explains options and errors.

    No voxel leaves the input's own range. Re-slicing the result gives acquired thin slices back, and comes as near to
    thick ones as their unknown profile allows. The input is not modified.

    Raises:
        Cancelled: ``monitor`` said so.
        CycleinrError: As ``cycleinr.upsample``.

    Warns:
        RequestWarning: The request is outside what the weights were trained for; ``Plan.warnings`` has the same texts.
    """
    monitor = monitor or Monitor()
    monitor.tell("Preparing", 0.0)
    seen = inspect(volume, options.intensity_offset)
    work = plan_volume(volume, options, seen)
    for text in work.warnings:
        warnings.warn(text, RequestWarning, stacklevel=_level_of_caller())
    choice = choose_device(options.device)
    _LOG.info("%s %s", choice.reason, work.model_reason)
    acquired = replace(volume, valid=seen.valid)
    scan = filled(acquired, work.grid.axis)
    stack = to_axis_first(scan.array, work.grid.axis)
    gains = log_gains(stack) if options.equalize_slices else None
    told = scan
    if gains is not None:
        even = stack * np.exp(-gains).astype(np.float32)[:, None, None]
        told = scan.with_array(from_axis_first(even, work.grid.axis))
    array, device = _Run(told, work, options, monitor).compute(choice.device)
    if gains is not None:
        array = _with_brightness(array, scan, work, gains)
    source, kept = work.part.source, work.part.kept
    said = provenance(work, device, options, _agreement(array, scan, work), volume.notes)
    monitor.tell("Done", 1.0, 0.0)
    valid = put_padding_back(array, acquired[source], work.grid.axis, work.grid.positions())
    valid = None if valid is None else valid[kept]
    result = replace(volume.with_array(array[kept], work.ijk_to_ras), valid=valid, made_by_cycleinr=True)
    return Result(result, said, volume.notes + work.warnings)


def _agreement(array: np.ndarray, scan: Volume, work: Plan) -> str:
    """What is left between the part of the result that was asked for and the scan's slices, in words."""
    along = AXIS_OF_ARRAY[work.grid.axis]
    kept, first = work.part.kept[along], work.part.source[along].start or 0
    inside = tuple(slice(None) if n == along else place for n, place in enumerate(work.part.kept))
    acquired, valid = stacks_of(scan[work.part.source][inside], work.grid.axis)
    fine = to_axis_first(array[work.part.kept], work.grid.axis)
    profile = work.grid.profile(work.slice_tau).of(slice(None), kept)
    limit = unit_of(scan, work.modality)
    measured = agreement(fine, acquired, profile, limit, valid, _AGREEMENT_PIXELS)
    return measured.text("HU" if work.modality == "CT" else "MR units", first)


def _with_brightness(array: np.ndarray, volume: Volume, work: Plan, gains: np.ndarray) -> np.ndarray:
    """A result of evened slices with the scan's own brightness, type and range.

    At an acquired position the gain is that slice's, and between two it runs straight from one to the other: softer
    bands than those of a result that is made to give each slab's brightness back.
    """
    result, values = empty_result(array.shape, volume.array.dtype), ValueRange.of(volume.array)
    own = gains[work.part.source[AXIS_OF_ARRAY[work.grid.axis]]]
    gain = np.exp(np.interp(work.grid.positions(), np.arange(len(own)), own)).astype(np.float32)
    fine, out = (to_axis_first(each, work.grid.axis) for each in (array, result))
    for n, image in enumerate(fine):
        values.write(image * gain[n], out[n])
    return result


def provenance(
    work: Plan, device: Device, options: UpsampleOptions, agreement_text: str, reading: tuple[str, ...] = ()
) -> Provenance:
    """What travels with a result so that it can be judged and made again.

    Args:
        reading: The scan's notes; they and the plan's warnings are said where there are any.
    """
    asked_mm = options.thickness_mm if work.grid.acquisition is not None else None
    more = {
        "equalized_slices": "yes" if options.equalize_slices else "no",
        "agreement": agreement_text,
        "intensity_offset": f"{options.intensity_offset:g}" if options.intensity_offset else "",
        "region": str(options.region or ""),
        "padding": work.padding,
        "reading": " ".join(reading),
        "thickness_mm": "" if asked_mm is None else f"{asked_mm:g}",
        "gaps": text_of_gaps(work.gaps) if work.gaps else "",
        "warnings": " ".join(work.warnings),
    }
    return Provenance(
        software="CycleINR",
        version=__version__,
        torch="" if device.name == "cpu" else torch_version() or "",
        model=str(work.card.get("name", work.weights.stem)),
        weights_sha256=str(work.card["sha256"]),
        ratio=work.grid.ratio,
        spacing_mm=work.grid.spacing_out_mm,
        axis=work.grid.axis,
        extent=options.extent,
        tau=work.tau,
        slice_profile=work.tau_reason,
        device=device.label,
        derived=DERIVED,
        more={key: text for key, text in more.items() if text},
    )


def _level_of_caller() -> int:
    """How many calls above `upsample` the first one lies that is not this package's own, as warnings count them."""
    package, own = __name__.partition(".")[0], 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, own = frame.f_back, own + 1
    return own


_parameters = lru_cache(maxsize=4)(read_parameters)
"""Parameters stay loaded between runs; the hash makes changed weights a different entry."""


@lru_cache(maxsize=2)
def _gpu_model(weights: Path, sha256: str, device: Device):
    """The same for a network on a GPU."""
    from .gpu_network import model_on_device

    return model_on_device(weights, sha256, device)


class _Run:
    """One volume's computation, strip by strip, with progress, cancel and retreat from memory shortage."""

    def __init__(self, volume: Volume, work: Plan, options: UpsampleOptions, monitor: Monitor):
        self.work, self.monitor = work, monitor
        self.memory_limit_gb = options.memory_limit_gb
        part = volume[work.part.source]
        self.levels = slice_sigmas(*stacks_of(volume, work.grid.axis)) if work.modality == "CT" else None
        self.acquired, self.valid = stacks_of(part, work.grid.axis)
        self.array = empty_result(output_shape_kji(part, work.grid), volume.array.dtype)
        self.result = to_axis_first(self.array, work.grid.axis)
        self.range = ValueRange.of(volume.array)
        self.low, self.high = float(self.range.low), float(self.range.high)
        self.scale = intensity_scale(volume.array, work.modality, volume.valid, options.intensity_offset)
        self.covering = work.covering
        self.done_rows, self.started = 0, time.monotonic()

    def compute(self, device: Device) -> tuple[np.ndarray, Device]:
        """All rows on ``device``; a GPU that fails, mostly for want of memory, gets smaller strips, then the CPU."""
        if self.work.grid.is_identity:
            self.result[:] = self.acquired
            return self.array, device
        tiling = self._tiling(device)
        while not self._attempt(device, tiling):
            device, tiling = self._retreat(device, tiling)
            _LOG.warning("Trying again with %d rows at a time on %s.", tiling.rows, device.label)
        return self.array, device

    def _attempt(self, device: Device, tiling: Tiling) -> bool:
        """Compute all; False where a GPU cannot do these strips."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                self._all_strips(device, tiling)
            if self.levels is not None:
                stacks = Stacks(self.result, self.acquired, self.work.grid.positions(), self.range, self.valid)
                match_noise(stacks, self.work, self.levels, self.monitor)
        except DeviceFailed as error:
            _LOG.warning("%s failed: %s", device.label, error)
            return False
        except MemoryError as error:
            raise OutOfMemoryError(
                "The computer ran out of memory. Close other programs, set a lower memory limit, or ask for fewer "
                "slices."
            ) from error
        return True

    def _tiling(self, device: Device) -> Tiling:
        """The plan's, or on a GPU with memory of its own what fits there."""
        if device.name == "cpu":
            return self.work.tiling
        from .gpu_network import tiling_on

        config, n_fine = NetworkConfig.from_dict(self.work.card["network"]), len(self.covering.positions)
        return tiling_on(device, config, self.acquired.shape, n_fine, self.memory_limit_gb) or self.work.tiling

    def _retreat(self, device: Device, tiling: Tiling) -> tuple[Device, Tiling]:
        """Strips of half the height; where they would get too small, the CPU."""
        from .gpu_network import SMALLEST_CELLS, free_memory

        free_memory(device)
        if tiling.halved().cells >= SMALLEST_CELLS:
            return device, tiling.halved()
        self.monitor.tell(f"{device.label} failed or has too little memory; going on with the CPU", 0.0)
        return cpu(), self.work.tiling

    def _networks(self, device: Device) -> list[Network]:
        """The network on a device, made ready for each pass over this scan."""
        work, sha256 = self.work, self.work.card["sha256"]
        if device.name == "cpu":
            kind, model = StripNetwork, _parameters(work.weights, sha256)
        else:
            from .gpu_network import GpuNetwork

            kind, model = GpuNetwork, _gpu_model(work.weights, sha256, device)
        sizes = (each.acquired.stop - each.acquired.start for each in work.passes)
        return [kind(model, each.slicing, each.positions, n) for each, n in zip(work.passes, sizes, strict=True)]

    def _all_strips(self, device: Device, tiling: Tiling) -> None:
        networks, integer = self._networks(device), self.array.dtype.kind in "iu"
        profile, hu = self.covering.profile, self.scale.hu
        consistency = DataConsistency(profile, self.low, self.high, hu, integer, networks[0].arrays)
        parts = list(tiling.strips(self.acquired.shape[1]))
        total = sum(low.stop - low.start for low, _ in parts) * sum(network.ticks for network in networks)
        self.done_rows, self.started = 0, time.monotonic()
        for computed, kept in parts:
            stack = networks[0].load(self.scale.to_network(self.acquired[:, computed]))
            fine = self._fine(networks, stack, kept, lambda size=stack.shape[1]: self._tick(size, total))
            self._finish(fine, stack, kept.start, computed.start, consistency, networks[0])

    def _fine(self, networks: list[Network], stack: Array, kept: slice, tick: Callable[[], None]) -> Array:
        """All output slices of a strip, from as many passes as there are."""
        if len(networks) == 1:
            return networks[0].run(stack[self.work.passes[0].acquired], kept, tick)
        shape = len(self.covering.positions), kept.stop - kept.start, stack.shape[2]
        fine = networks[0].load(np.empty(shape, np.float32))
        for each, network in zip(self.work.passes, networks, strict=True):
            some = network.run(stack[each.acquired], kept, tick)
            with network.guard():
                fine[each.outputs] = some
        return fine

    def _finish(
        self, fine: Array, stack: Array, first: int, computed: int, consistency: DataConsistency, network: Network
    ) -> None:
        """Back to the input's units, made consistent, cropped to the asked grid and written into the result.

        ``fine`` begins at row ``first`` of ``stack``, which begins at row ``computed`` of the scan.
        """
        asked = slice(self.covering.before, self.covering.before + self.work.grid.n_out)
        at_once = rows_at_once(fine)
        for row in range(0, fine.shape[1], at_once):
            self.monitor.check()
            with network.guard():
                columns = _to_units(fine[:, row : row + at_once], self.scale)
                first_row = computed + first + row
                # Before the clamp to the input's range, which would turn an infinite value into a plausible one
                self._check_finite(consistency, columns, first_row)
                margin = min(first + row, REACH_PIXELS)
                around = slice(first + row - margin, first + row + columns.shape[1] + REACH_PIXELS)
                acquired = _to_units(stack[:, around], self.scale)
                if consistency.integer:
                    consistency.xp.round(acquired, out=acquired)
                rows = slice(first_row - margin, first_row - margin + acquired.shape[1])
                valid = None if self.valid is None else consistency.of(self.valid[:, rows])
                consistency.apply(columns, acquired, margin, valid)
                self._check_finite(consistency, columns, first_row)
                self.range.write(network.host(columns[asked]), self.result[:, first_row : first_row + columns.shape[1]])

    def _check_finite(self, consistency: DataConsistency, values: Array, first_row: int) -> None:
        if not consistency.xp.isfinite(values).all():
            raise NonFiniteError(
                f"The network gave values that are no finite numbers, from image row {first_row} on; nothing was "
                f"written. The scan's values ({self.low:g} to {self.high:g}) are too large for it, the weights are "
                "broken, or the device computes wrongly: look at the scan, compute on the CPU, or install the weights "
                "again."
            )

    def _tick(self, amount: int, total: int) -> None:
        self.monitor.check()
        self.done_rows += amount
        fraction = _NETWORK_SHARE * self.done_rows / total
        elapsed = time.monotonic() - self.started
        remaining = elapsed * (1 - fraction) / fraction if fraction > 0.01 else self.work.seconds
        self.monitor.tell("Computing slices", fraction, remaining)


def _to_units(values: Array, scale: IntensityScale) -> Array:
    return values * scale.scale + scale.centre
