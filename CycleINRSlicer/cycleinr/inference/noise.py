"""The noise level of slices and of places within them. CT: new slices get that of the acquired ones, so that a stack of
them does not flicker.

Levels are measured around every pixel, so a part of a scan that is computed alone gets what it has in the whole.
docs/method.md says what thin and thick slices get. What thin slices' noise would be under thick ones is unknown, but it
does not know where the thick ones were: what repeats with them is taken from the level, whose slow course along the
scan follows the acquired slices'. Only fine detail of the size of noise is scaled, and no voxel leaves the range of its
own value and the acquired ones around it.

For MR the same step costs 0.2 to 0.5 dB (research/docs/results.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..grid import AXIS_OF_ARRAY, SliceGrid
from ..intensity import ValueRange
from ..resampling import SliceProfile, linear_weights, profile_matrix, smoothed
from ..result import Monitor
from .consistency import Arrays, Consistency, rows_at_once, within_plane

if TYPE_CHECKING:
    from .plan import Plan

NOISE_REACH_PIXELS = 12
"""How far away what is seen may change a scaled pixel: its detail (4), the response to it (1) and the window (7)."""

STEP_PIXELS = 4
"""Levels of windows change so little from pixel to pixel that every fourth one along rows and columns tells enough."""

_REACH = 7
_WINDOW_PIXELS = 2 * _REACH + 1
"""Small enough that a part of a scan can be computed alone; windows of 33 and 97 pixels do no better."""

_DETAIL_SIGMA_PIXELS = 1.0
_LOWEST_GAIN, _HIGHEST_GAIN = 0.5, 2.0
_TEXTURE_REACH_SIGMAS = 2.5
_TEXTURE_SHARE = 0.9
"""Of the acquired slices' texture that a new thin slice has at least. Far from acquired ones it has as little as half;
all of it would cost up to 0.08 dB at x2 and x3."""

_LEAST_SLOPE = 0.02
_EPSILON = 1e-6
_IMMERKAER = math.sqrt(math.pi / 2) / 6


def slice_sigmas(volume: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Noise sigma of every slice along K, in the volume's units, (K,); of the pixels in ``valid`` unless it is None.

    sqrt(pi/2)/6 times the mean absolute response to [1 -2 1; -2 4 -2; 1 -2 1], which is blind to planes and to edges
    along the axes. Source: Immerkaer, Computer Vision and Image Understanding 64(2), 1996.
    """
    if min(volume.shape[1:]) < 3:
        # Its 3 x 3 pixels do not fit
        return np.zeros(len(volume))
    seen, levels = [], []
    for n, image in enumerate(volume):
        response = np.abs(_response(image))
        if valid is not None:
            response = response[_inner(valid[n])]
        if response.size:
            seen.append(n)
            levels.append(_IMMERKAER * response.mean(dtype=np.float64))
    # What shows nothing may not be taken as free of noise
    return np.interp(np.arange(len(volume)), seen, levels) if seen else np.zeros(len(volume))


def local_sigmas(image: np.ndarray) -> np.ndarray:
    """Noise sigma around every pixel of an image (rows, columns), float32: that of ``slice_sigmas`` over 15 x 15."""
    return np.float32(_IMMERKAER) * _windowed(np.abs(_response_everywhere(image)))


def with_local_sigmas(
    image: np.ndarray, own: np.ndarray, wanted: np.ndarray, largest_detail: float = math.inf
) -> np.ndarray:
    """An image whose fine detail is scaled until the noise around every pixel is as wanted, to first order.

    The detail is the image minus its Gaussian of 1 pixel; its gain stays between 0.5 and 2.

    Args:
        image: (rows, columns) float32.
        own: Its ``local_sigmas``.
        wanted: What they should be.
        largest_detail: What is beyond this is an edge, and is not scaled.

    Returns:
        A new image.
    """
    detail = image - smoothed(image, _DETAIL_SIGMA_PIXELS)
    np.clip(detail, -largest_detail, largest_detail, out=detail)
    # How the level changes with the gain of the detail
    slope = np.copysign(np.float32(1), _response_everywhere(image)) * _response_everywhere(detail)
    slope = np.maximum(np.float32(_IMMERKAER) * _windowed(slope), _LEAST_SLOPE * own + _EPSILON)
    detail *= np.clip((wanted - own) / slope, _LOWEST_GAIN - 1, _HIGHEST_GAIN - 1)
    return image + detail


def _windowed(image: np.ndarray) -> np.ndarray:
    """Mean over the window around every pixel; the outermost pixels are repeated outwards."""
    for axis, size in enumerate(image.shape):
        wide = np.pad(image, [(_REACH, _REACH) if n == axis else (0, 0) for n in (0, 1)], mode="edge")
        image, start = np.zeros_like(image), 0
        # 15 = 1 + 2 + 4 + 8, and a sum over twice as many is that of two neighbours
        for width in (1, 2, 4, 8):
            image += _shifted(wide, axis, start, size)
            start += width
            wide = _shifted(wide, axis, 0, -width) + _shifted(wide, axis, width, None)
    image *= np.float32(1 / _WINDOW_PIXELS**2)
    return image


def _shifted(image: np.ndarray, axis: int, start: int, size: int | None) -> np.ndarray:
    """A view of ``size`` rows or columns from ``start`` on."""
    part = slice(start, size if size is None or size < 0 else start + size)
    return image[part] if axis == 0 else image[:, part]


def _response_everywhere(image: np.ndarray) -> np.ndarray:
    return _response(np.pad(image, 1, mode="edge"))


def _inner(valid: np.ndarray) -> np.ndarray:
    """(J, I) -> (J - 2, I - 2): where the kernel sees valid pixels only."""
    rows = valid[2:] & valid[1:-1] & valid[:-2]
    return rows[:, 2:] & rows[:, 1:-1] & rows[:, :-2]


def _response(image: np.ndarray) -> np.ndarray:
    """(J, I) -> (J - 2, I - 2) float32; the kernel is the outer product of two second differences."""
    image = np.asarray(image, np.float32)
    along_rows = image[2:] - 2 * image[1:-1] + image[:-2]
    return along_rows[:, 2:] - 2 * along_rows[:, 1:-1] + along_rows[:, :-2]


_HARMONICS = 2
"""Of the acquired slices' spacing; more would fit what is no period."""

_PERIODS = 12
"""Acquired intervals to either side that tell what repeats."""

_SLOW_SLICES = 3
"""A course over this many acquired slices is one of the anatomy."""

_LEVEL_EXPONENT, _COURSE_EXPONENT = 0.1, 0.4
"""The acquired slices' mean level times thickness in result slices to the one power, their course to the other.

Noise that slices do not share grows with the power 0.5, the course of real thin slices as here. A mean level as high
would be more than the network predicts."""

_LARGEST_CHANGE = 0.4
_DETAIL_SIGMAS = 3.5
"""Of an acquired slice; what is beyond is an edge."""


@dataclass(frozen=True, eq=False)
class Stacks:
    """Slices before and after; all of a scan, or those of one spacing.

    Attributes:
        result: (n_out, rows, columns), in the scan's units.
        acquired: (n_in, rows, columns).
        positions: (n_out,) of the result's slices in units of acquired slices.
        values: The range of the whole scan.
        valid: Which pixels of the acquired slices are no padding; None for all.
    """

    result: np.ndarray
    acquired: np.ndarray
    positions: np.ndarray
    values: ValueRange
    valid: np.ndarray | None = None

    def of(self, slices: slice, outputs: slice) -> Stacks:
        """Some acquired slices and the result's slices between them."""
        valid, positions = self.valid if self.valid is None else self.valid[slices], self.positions[outputs]
        return Stacks(self.result[outputs], self.acquired[slices], positions - slices.start, self.values, valid)

    def shares(self) -> np.ndarray:
        """(n_out, n_in): what linear interpolation takes of each acquired slice."""
        return linear_weights(self.positions, len(self.acquired))


def match_noise(stacks: Stacks, work: Plan, levels: np.ndarray, monitor: Monitor) -> None:
    """Scale the fine detail of the new slices in place; re-slicing still gives acquired thin slices back.

    ``levels`` are ``slice_sigmas`` of all of the scan's slices, and ``stacks`` those of the part that was computed.
    """
    grid, covering = work.grid, work.covering
    own = slice(covering.before, covering.before + grid.n_out)
    profile, matrix = covering.profile.of(slice(None), own), profile_matrix(covering.profile)[:, own]
    for slices, outputs in _parts(grid, stacks.positions):
        part, some = profile.of(slices, outputs), stacks.of(slices, outputs)
        if part.is_thin:
            _match_thin(some, part, matrix[slices, outputs], monitor)
        else:
            # A part of an even scan follows the course of the whole
            even = grid.acquisition is None
            of_all = levels if even else levels[slices]
            course = _sliding_mean_weights(np.arange(len(of_all)), _SLOW_SLICES) @ of_all
            here = course[work.part.source[AXIS_OF_ARRAY[grid.axis]]] if even else course
            even_out(some, here, float(of_all.mean()), float(np.median(part.width)), monitor)


def _parts(grid: SliceGrid, positions: np.ndarray) -> list[tuple[slice, slice]]:
    """Acquired and output slices of each part with one spacing."""
    if grid.acquisition is None:
        return [(slice(0, grid.n_in), slice(0, grid.n_out))]
    parts = grid.acquisition.parts
    ends = [0, *(int(np.searchsorted(positions, part.last)) for part in parts[:-1]), grid.n_out]
    found = [(slice(part.first, part.last + 1), slice(*each)) for part, each in zip(parts, pairwise(ends), strict=True)]
    return [(slices, outputs) for slices, outputs in found if outputs.stop - outputs.start > 1]


def _match_thin(stacks: Stacks, profile: SliceProfile, seen: np.ndarray, monitor: Monitor) -> None:
    """``match_noise`` of thin slices; ``seen`` (n_in, n_out) is what acquired slices see of the result, less than 1 in
    all where they see beyond it."""
    inside = seen.sum(axis=1) > 1 - _EPSILON
    new = stacks.positions != np.round(stacks.positions)
    new &= ~(seen[~inside] > 0).any(axis=0)
    shares = stacks.shares()
    levels = lru_cache(2)(lambda n: _levels_and_texture(stacks.acquired[n].astype(np.float32))[0])
    for index in np.flatnonzero(new):
        monitor.check()
        image = stacks.result[index].astype(np.float32)
        nearest = np.flatnonzero(shares[index]).tolist()
        wanted_sigmas, wanted_size = sum(np.float32(shares[index, n]) * levels(n) for n in nearest)
        (sigmas, size), texture = _levels_and_texture(image)
        texture *= np.clip(_TEXTURE_SHARE * wanted_size / (size + _EPSILON), 1, _HIGHEST_GAIN) - 1
        stacks.values.write(with_local_sigmas(image, sigmas, wanted_sigmas) + texture, stacks.result[index])
    if (seen[:, new] > 0).any():
        _restore(stacks, profile.of(inside), inside)


def _levels_and_texture(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The noise sigma around every pixel and the mean size of the texture, (2, rows, columns), and the texture: what is
    coarser than noise from pixel to pixel and finer than anatomy."""
    coarse = smoothed(image, 2 * _DETAIL_SIGMA_PIXELS, _TEXTURE_REACH_SIGMAS)
    texture = smoothed(image, _DETAIL_SIGMA_PIXELS) - coarse
    return np.stack([local_sigmas(image), _windowed(np.abs(texture))]), texture


def _restore(stacks: Stacks, profile: SliceProfile, inside: np.ndarray) -> None:
    """Data consistency once more with the slices ``inside``, where acquired slices lie between two new ones."""
    values, result = stacks.values, stacks.result
    acquired, valid = (each if each is None else each[inside] for each in (stacks.acquired, stacks.valid))
    integer = result.dtype.kind in "iu"
    consistency = Consistency(profile, float(values.low), float(values.high), integer, Arrays.numpy())
    at_once = rows_at_once(result)
    for row in range(0, result.shape[1], at_once):
        rows = slice(row, row + at_once)
        fine, known = (stack[:, rows].astype(np.float32) for stack in (result, acquired))
        consistency.apply(fine, known, valid=None if valid is None else consistency.of(valid[:, rows]))
        values.write(fine, result[:, rows])


def even_out(stacks: Stacks, levels: np.ndarray, mean_level: float, thickness: float, monitor: Monitor) -> None:
    """Scale the fine detail of slices made of thick ones in place until their noise level is free of the period.

    ``levels`` (n_in,) is the slow course of the whole acquired slices' noise levels, ``mean_level`` that of all of the
    scan's slices, and ``thickness`` that of an acquired slice in result slices.
    """
    course = stacks.shares() @ np.maximum(levels, _EPSILON)
    own = _coarse_levels(stacks.result)
    wanted = _wanted_levels(stacks, own, course, mean_level, thickness)
    nearest = np.clip(np.round(stacks.positions), 0, len(stacks.acquired) - 1).astype(int).tolist()
    around = lru_cache(1)(lambda n: _around(stacks.acquired, n))
    for index, target in enumerate(stacks.result):
        monitor.check()
        floor, ceiling = around(nearest[index])
        before = target.astype(np.float32)
        levels_here = (_at_every_pixel(coarse[index], before.shape) for coarse in (own, wanted))
        image = with_local_sigmas(before, *levels_here, _DETAIL_SIGMAS * course[index])
        np.clip(image, np.minimum(before, floor), np.maximum(before, ceiling), out=image)
        stacks.values.write(image, target)


def _wanted_levels(
    stacks: Stacks, own: np.ndarray, course: np.ndarray, mean_level: float, thickness: float
) -> np.ndarray:
    """Levels at every fourth pixel of the result's slices, as ``own`` has them before; ``course`` (n_out,) is that of
    the acquired slices.

    Each slice's own levels without what repeats with the acquired slices, but for their slow course: that becomes the
    acquired slices', made as much lower or higher as slices of the result's thickness would have it.
    """
    without_period, slow = _without_period(stacks.positions), _sliding_mean_weights(stacks.positions, _SLOW_SLICES)
    wanted_course = thickness**_LEVEL_EXPONENT * mean_level + thickness**_COURSE_EXPONENT * (course - mean_level)
    ratio = np.clip(wanted_course / course, 0, None)
    of_own, of_acquired = without_period - slow @ without_period, slow @ (ratio[:, None] * stacks.shares())
    wanted = np.tensordot(np.float32(of_own), own, 1)
    wanted += np.tensordot(np.float32(of_acquired), _coarse_levels(stacks.acquired), 1)
    return np.clip(wanted, (1 - _LARGEST_CHANGE) * own, (1 + _LARGEST_CHANGE) * own, out=wanted)


def _coarse_levels(stack: np.ndarray) -> np.ndarray:
    return np.stack([local_sigmas(image.astype(np.float32))[::STEP_PIXELS, ::STEP_PIXELS] for image in stack])


def _at_every_pixel(coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return coarse.repeat(STEP_PIXELS, 0).repeat(STEP_PIXELS, 1)[: shape[0], : shape[1]]


def _without_period(positions: np.ndarray) -> np.ndarray:
    """(n_out, n_out): levels of slices around each one to its level without what repeats with the acquired slices.

    Least squares of a mean, a slope and the harmonics, over the intervals to either side.
    """
    waves = np.cos(2 * np.pi * np.arange(1, _HARMONICS + 1) * positions[:, None])
    found = np.eye(len(positions))
    for own, position in enumerate(positions):
        near = np.flatnonzero(np.abs(positions - position) <= _PERIODS)
        mean = waves[near].mean(axis=0)
        basis = np.column_stack([np.ones(len(near)), positions[near] - position, waves[near] - mean])
        found[own, near] -= (waves[own] - mean) @ np.linalg.pinv(basis, rcond=1e-3)[2:]
    return found


def _sliding_mean_weights(places: np.ndarray, width: float) -> np.ndarray:
    """(n, n): the mean over all places that are at most half of ``width`` away from each one."""
    near = np.abs(places[:, None] - places) <= width / 2
    return near / near.sum(axis=1, keepdims=True)


def _around(acquired: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest acquired value around every pixel of slice n, as `BoundedConsistency` sees them."""
    near = acquired[max(n - 1, 0) : n + 2]
    return tuple(
        within_plane(extreme, extreme.reduce(near, axis=0, keepdims=True))[0].astype(np.float32)
        for extreme in (np.minimum, np.maximum)
    )
