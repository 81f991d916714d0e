"""Linear operators on a stack: how a scanner averages along the slices, how that is undone, how nearly it gives the
acquired slices back, interpolation, and filters within the slices.

The slice profile A maps a fine stack to acquired slices. Fine slices are slabs of the fine spacing; acquired slice
``n`` at ``z_n`` is the mean over ``[z_n - w/2, z_n + w/2]`` with ``w = max(tau * acquired spacing, fine spacing)``. So

- contiguous slabs (tau = 1) at a whole ratio s are plain means of s slices,
- thin slices with gaps (tau = 0) reproduce the fine slice they lie on, and interpolate linearly between two,
- every ratio and every tau in between is continuous.

A result, re-acquired, is compared with a slice where its whole averaging window lies inside the result: half a slab is
another slice than the slab. Interpolation is a matrix of weights that all pixel columns share; positions are in units
of acquired slices.

Cubic convolution: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29 (1981),
a = -1/2.
Cubic B-spline: M. Unser, "Splines: a perfect fit for signal and image processing", IEEE SPM 16 (1999).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from . import RequestError

if TYPE_CHECKING:
    from .result import Monitor

NEIGHBOURS = 4
"""Acquired slices that cubic convolution and the network look at, two on each side of the position."""

_NEGLIGIBLE_WEIGHT = 1e-12

MAX_TAU = 2.0
_ROUNDING = 1e-6

_SAMPLES = 16
"""Points of a fine slice at which a profile that is not constant is looked at."""

TRAINED_TAU_MAX = 1.2
"""The thickest slices in training, in slice spacings; the thinnest have thickness 0."""


@dataclass(frozen=True)
class SliceProfile:
    """Where acquired slices lie on a fine grid, and how thick they are; all lengths in fine-slice spacings.

    Attributes:
        n_fine: Number of fine slices, at positions 0, 1, ..., n_fine - 1.
        centres: Positions of the acquired slices' centres, increasing, (n_acquired,).
        spacing: Distance between neighbouring acquired slices; (n_acquired,) where it changes.
        tau: Slice thickness / slice spacing of the acquired slices; (n_acquired,) where it changes.
    """

    n_fine: int
    centres: np.ndarray
    spacing: float | np.ndarray
    tau: float | np.ndarray

    def __post_init__(self) -> None:
        if not (np.min(self.tau) >= 0.0 and np.max(self.tau) <= MAX_TAU):
            raise RequestError(
                f"The slice thickness is {np.max(self.tau):.2f} times the slice spacing; only 0 to {MAX_TAU:g} times "
                "makes sense. Check the thickness, or give 0 for thin slices with gaps."
            )

    @property
    def width(self) -> np.ndarray:
        """Width of each slice's averaging window, never below one fine slice, (n_acquired,)."""
        return np.broadcast_to(np.maximum(self.tau * self.spacing, 1.0), self.centres.shape)

    @property
    def thin(self) -> np.ndarray:
        """Whether each acquired slice is no thicker than a fine one, (n_acquired,)."""
        return self.width <= 1.0 + _ROUNDING

    @property
    def is_thin(self) -> bool:
        """Whether all are."""
        return bool(self.thin.all())

    def of(self, acquired: np.ndarray | slice, fine: slice = slice(None)) -> SliceProfile:
        """The same for some of the acquired slices, on some of the fine ones."""
        first, stop, _ = fine.indices(self.n_fine)
        spacing, tau = (np.broadcast_to(each, self.centres.shape)[acquired] for each in (self.spacing, self.tau))
        return SliceProfile(stop - first, self.centres[acquired] - first, spacing, tau)


def profile_matrix(profile: SliceProfile) -> np.ndarray:
    """The operator A as a dense matrix, (n_acquired, n_fine), rows summing to 1.

    The part of a window that lies outside the fine stack is left out and the rest is scaled up, so the outermost
    acquired slices are means over what is there.

    Raises:
        RequestError: An acquired slice lies wholly outside the fine stack.
    """
    edges, width = np.arange(profile.n_fine + 1) - 0.5, profile.width[:, None]
    # The window's share up to each edge; its differences are what each fine slice contributes.
    overlap = np.diff(np.clip(edges - profile.centres[:, None] + width / 2, 0.0, width), axis=1)
    covered = overlap.sum(axis=1, keepdims=True)
    if covered.min() < 1e-9:
        lost = int(covered.argmin())
        raise RequestError(
            f"Acquired slice {lost + 1} at position {profile.centres[lost]:.2f} lies outside the fine stack of "
            f"{profile.n_fine} slices. Use a grid that covers every acquired slice."
        )
    return overlap / covered


def triangle_matrix(profile: SliceProfile) -> np.ndarray:
    """As ``profile_matrix``, for slices that see a triangle whose width at half its height is the window's.

    What the two matrices make of the same fine stack differs by what not knowing a scanner's profile amounts to.
    """
    inner = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    distance = np.abs(np.arange(profile.n_fine)[:, None] + inner - profile.centres[:, None, None])
    seen = np.clip(1 - distance / profile.width[:, None, None], 0, None).mean(axis=2)
    return seen / seen.sum(axis=1, keepdims=True)


def acquire(fine: np.ndarray, profile: SliceProfile) -> np.ndarray:
    """Re-acquire a fine stack (n_fine, rows, columns) with the scanner's slice profile, float32."""
    return resampled(profile_matrix(profile), fine)


def consistency_matrix(matrix: np.ndarray) -> np.ndarray:
    """A^T (A A^T)^-1 for an operator A, (n_fine, n_acquired).

    The pseudo-inverse stands in for (A A^T)^-1, so that overlapping slabs (tau > 1), whose A A^T is nearly singular,
    do not blow noise up; what such slabs contradict in each other is left as it is.
    """
    return matrix.T @ np.linalg.pinv(matrix @ matrix.T, rcond=1e-4, hermitian=True)


def whole_windows(profile: SliceProfile) -> np.ndarray:
    """Indices of the slices whose averaging window lies inside the fine stack, rising."""
    return np.flatnonzero(_covered(profile) >= 1 - _ROUNDING)


def _covered(profile: SliceProfile) -> np.ndarray:
    """Share of each averaging window that lies inside the fine stack."""
    half = profile.width / 2
    low, high = (np.clip(profile.centres + reach, -0.5, profile.n_fine - 0.5) for reach in (-half, half))
    return (high - low) / profile.width


def resliced(fine: np.ndarray, profile: SliceProfile, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """Re-acquire some slices: rows ``wanted`` of A x, as ``acquire`` computes all of them.

    Only the few fine slices under one window are held as floating point at a time.

    Args:
        fine: (n_fine, rows, columns), any real type.
        wanted: Indices into the profile's slices.

    Yields:
        (rows, columns) float32, in the order of ``wanted``.
    """
    matrix = profile_matrix(profile.of(wanted)).astype(np.float32)
    for weights in matrix:
        slice_ = np.zeros(fine.shape[1:], np.float32)
        for n in np.flatnonzero(weights):
            slice_ += weights[n] * np.asarray(fine[n], dtype=np.float32)
        yield slice_


def digits(value: float, number: int = 3) -> str:
    """A value for people, with so many significant digits and no exponent: 1200 instead of 1.2e+03."""
    return f"{float(f'{value:.{number}g}'):.15g}"


def counted(count: int, one: str, many: str = "") -> str:
    """A number with what it counts: "1 slice", "2 slices"; ``many`` is given where an s does not make it of ``one``."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


@dataclass(frozen=True, eq=False)
class Agreement:
    """Absolute difference between the re-sliced result and the acquired slices, in the scan's units.

    Attributes:
        slices: Indices of the compared acquired slices, counted from 0: of whole windows, or, where there is none (as
            in a small region), of those that are covered most.
        rms: Root mean square of each of these slices.
        median, percentile_99, percentile_99_9, largest: Over all compared pixels.
        limit: What counts as equal; see ``intensity.unit_of``.
        share_within_limit: Share of the pixels that differ by no more, 0 to 1.
    """

    slices: np.ndarray
    rms: np.ndarray
    median: float
    percentile_99: float
    percentile_99_9: float
    largest: float
    limit: float
    share_within_limit: float

    def text(self, unit: str, first: int = 0) -> str:
        """In words; slices are counted from 1, of a part of a scan that begins with slice ``first``."""
        worst = int(self.rms.argmax())
        return (
            f"Re-sliced, the result differs from the acquired slices by {digits(self.median, 2)} {unit} (median) and "
            f"{digits(self.percentile_99)} {unit} (99th percentile); {100 * self.share_within_limit:.0f} % are within "
            f"{digits(self.limit, 2)} {unit}. Largest in slice {first + self.slices[worst] + 1}, counted from 1: "
            f"{digits(self.rms[worst])} {unit} RMS."
        )


def agreement(
    result: np.ndarray,
    acquired: np.ndarray,
    profile: SliceProfile,
    limit: float,
    valid: np.ndarray | None = None,
    most_pixels: int | None = None,
    monitor: Monitor | None = None,
) -> Agreement:
    """Measure a result; holds one float copy of the pixels that are compared.

    Args:
        result: (n_out, rows, columns), in the scan's units.
        acquired: (n_in, rows, columns).
        profile: Where the acquired slices lie among the result's.
        limit: What counts as equal.
        valid: Which pixels of the acquired slices are no padding; None for all.
        most_pixels: Compare an even sample of about as many; None for all.

    Raises:
        Cancelled: ``monitor`` said so.
    """
    step = 1 if most_pixels is None else max(1, round((acquired.size / most_pixels) ** 0.5))
    result, acquired = result[:, ::step, ::step], acquired[:, ::step, ::step]
    covered = _covered(profile)
    slices = np.flatnonzero(covered >= covered.max() - _ROUNDING)
    counted = None if valid is None else valid[slices, ::step, ::step]
    errors, rms = np.empty((len(slices), *acquired.shape[1:]), np.float32), np.zeros(len(slices))
    for n, slice_ in enumerate(resliced(result, profile, slices)):
        if monitor is not None:
            monitor.check()
        seen = np.abs(slice_ - acquired[slices[n]], out=errors[n])
        seen = seen if counted is None else seen[counted[n]]
        rms[n] = np.sqrt(np.square(seen, dtype=np.float64).sum() / max(1, seen.size))
    errors = errors.reshape(-1) if counted is None or not counted.any() else errors[counted]
    within, largest = np.count_nonzero(errors <= limit) / errors.size, float(errors.max())
    median, high, highest = map(float, np.percentile(errors, (50, 99, 99.9), overwrite_input=True))
    return Agreement(slices, rms, median, high, highest, largest, limit, within)


def resampled(weights: np.ndarray, stack: np.ndarray) -> np.ndarray:
    """Weights (n_out, n_in) applied to slices (n_in, rows, columns); float32 (n_out, rows, columns)."""
    stack = np.ascontiguousarray(stack, dtype=np.float32)
    return (weights.astype(np.float32) @ stack.reshape(len(stack), -1)).reshape(len(weights), *stack.shape[1:])


def nearest_weights(positions: np.ndarray, slices: int) -> np.ndarray:
    """Weights (n_out, slices) of the nearest slice; halfway between two, of the later one."""
    weights = np.zeros((len(positions), slices))
    weights[np.arange(len(positions)), np.clip(np.floor(positions + 0.5), 0, slices - 1).astype(int)] = 1.0
    return weights


def linear_weights(positions: np.ndarray, slices: int) -> np.ndarray:
    """Weights (n_out, slices) of linear interpolation; the outermost slices are repeated outwards."""
    clamped = np.clip(positions, 0, slices - 1)
    return np.clip(1.0 - np.abs(clamped[:, None] - np.arange(slices)), 0.0, 1.0)


def neighbour_indices(positions: np.ndarray, slices: int) -> tuple[np.ndarray, np.ndarray]:
    """The four nearest of two or more slices, (..., 4), and the offsets ``position - index`` from them.

    Indices are -1 or ``slices`` where a neighbour is missing. Positions outside the stack take the outermost interval.
    """
    first = np.clip(np.floor(positions), 0, slices - 2).astype(np.int64) - 1
    indices = first[..., None] + np.arange(NEIGHBOURS)
    return indices, positions[..., None] - indices


def cubic_weights(positions: np.ndarray, slices: int) -> np.ndarray:
    """Keys's weights for the four slices of ``neighbour_indices``, (..., 4), zero for missing ones.

    A missing neighbour is replaced by linear extrapolation from the two next to it; positions outside the stack take
    the outermost slice's value.
    """
    indices, offsets = neighbour_indices(np.clip(positions, 0, slices - 1), slices)
    x = np.abs(offsets)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    w0, w3 = weights[..., 0] * (indices[..., 0] < 0), weights[..., 3] * (indices[..., 3] >= slices)
    return weights + np.stack([-w0, 2 * w0 - w3, 2 * w3 - w0, -w3], axis=-1)


def bspline_weights(positions: np.ndarray, slices: int) -> np.ndarray:
    """Weights (..., slices) of cubic B-spline interpolation, mirrored at the ends; they fall by 3.7 a slice."""
    at_slices = _cubic_basis(np.arange(slices, dtype=np.float64), slices)
    weights = _cubic_basis(np.asarray(positions, dtype=np.float64), slices) @ np.linalg.inv(at_slices)
    # At an acquired slice only rounding is left beside the 1; without it the slice is returned bit by bit.
    weights[np.abs(weights) < _NEGLIGIBLE_WEIGHT] = 0.0
    return weights


def _cubic_basis(positions: np.ndarray, slices: int) -> np.ndarray:
    """The basis functions at the positions, those of mirrored slices added to their originals', (..., slices)."""
    first = np.floor(positions).astype(np.int64) - 1
    basis = np.zeros((*positions.shape, slices))
    for tap in range(NEIGHBOURS):
        knots = first + tap
        x = np.abs(positions - knots)
        value = np.where(x < 1, 2 / 3 - x * x + x**3 / 2, np.clip(2 - x, 0, None) ** 3 / 6)
        # Reflected about the centres of the first and last slice: -1 -> 1, n -> n - 2
        turn = max(1, 2 * slices - 2)
        folded = np.abs(knots) % turn
        mirrored = np.minimum(folded, turn - folded)[..., None]
        np.put_along_axis(basis, mirrored, np.take_along_axis(basis, mirrored, -1) + value[..., None], -1)
    return basis


def smoothed(image: np.ndarray, sigma_pixels: float | tuple[float, float], reach_sigmas: float = 4.0) -> np.ndarray:
    """A (rows, columns) image convolved with a Gaussian, mirrored at its edges, float32.

    Args:
        image: Of at least one pixel.
        sigma_pixels: Along rows and columns, or one number for both.
        reach_sigmas: Where the Gaussian is cut off.
    """
    for axis, sigma in enumerate(np.broadcast_to(sigma_pixels, 2)):
        radius = math.floor(reach_sigmas * sigma + 0.5)
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        image = _filter(image, axis, weights / weights.sum(), "symmetric")
    return image


@lru_cache(maxsize=8)
def low_pass(taps: int) -> tuple[float, ...]:
    """Hamming-windowed sinc that passes what lies below 0.7 of the Nyquist frequency; its weights sum to 1.

    1 tap filters nothing.
    """
    weights = np.sinc(0.7 * (np.arange(taps) - (taps - 1) / 2)) * np.hamming(taps)
    return tuple((weights / weights.sum()).tolist())


@lru_cache(maxsize=8)
def high_pass(taps: int) -> tuple[float, ...]:
    """Powers of [1 -2 1] / 4, which passes the Nyquist frequency whole and a mean not at all."""
    weights = np.ones(1)
    for _ in range(taps // 2):
        weights = np.convolve(weights, [0.25, -0.5, 0.25])
    return tuple(weights.tolist())


def filtered(planes: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Planes (N, C, rows, columns) convolved along columns and rows; the outermost pixels are repeated outwards.

    Args:
        weights: Symmetric, of odd number.
    """
    done = np.empty_like(planes)
    for index in np.ndindex(planes.shape[:2]):
        _filter(_filter(planes[index], 1, weights), 0, weights, out=done[index])
    return done


def _filter(
    plane: np.ndarray, axis: int, weights: Sequence[float], mode: str = "edge", out: np.ndarray | None = None
) -> np.ndarray:
    """Sum of shifted planes, pairs of equal weight together; ``mode`` (``numpy.pad``) says what lies beyond."""
    taps, size = len(weights), plane.shape[axis]
    reach = taps // 2
    wide = np.pad(plane, [(reach, reach) if n == axis else (0, 0) for n in range(2)], mode=mode)
    shifted = [wide[n : n + size] if axis == 0 else wide[:, n : n + size] for n in range(taps)]
    total = np.multiply(shifted[reach], np.float32(weights[reach]), out=out)
    pair = np.empty_like(total)
    for n in range(reach):
        np.add(shifted[n], shifted[-1 - n], out=pair)
        np.multiply(pair, np.float32(weights[n]), out=pair)
        np.add(total, pair, out=total)
    return total
