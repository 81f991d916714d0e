"""The noise level of slices and of places within them, and how to give a place another level."""

from __future__ import annotations

import math

import numpy as np

REACH_PIXELS = 12
"""How far away what is seen may change a scaled pixel: its detail (4), the response to it (1) and the window (7)."""

STEP_PIXELS = 4
"""Levels of windows change so little from pixel to pixel that every fourth one along rows and columns tells enough."""

_REACH = 7
_WINDOW_PIXELS = 2 * _REACH + 1
"""Small enough that a part of a scan can be computed alone; windows of 33 and 97 pixels do no better."""

_DETAIL_SIGMA_PIXELS = 1.0
_LOWEST_GAIN, _HIGHEST_GAIN = 0.5, 2.0
_LEAST_SLOPE = 0.02
_TINY = 1e-6
_IMMERKAER = math.sqrt(math.pi / 2) / 6
_PIXELS_AT_A_TIME = 1 << 21


def slice_sigmas(volume: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Noise sigma of every slice along K, in the volume's units, (K,); of the pixels in ``valid`` unless it is None.

    sqrt(pi/2)/6 times the mean absolute response to [1 -2 1; -2 4 -2; 1 -2 1], which is blind to planes and to edges
    along the axes. Source: Immerkaer, Computer Vision and Image Understanding 64(2), 1996.
    """
    per_block = max(1, _PIXELS_AT_A_TIME // (volume.shape[1] * volume.shape[2]))
    blocks = [slice(start, start + per_block) for start in range(0, volume.shape[0], per_block)]
    if valid is None:
        return np.concatenate([_mean_sigma(_response(_floats(volume[block])), (1, 2)) for block in blocks])
    inner = [_inner(mask) for mask in valid]
    seen = np.flatnonzero([mask.any() for mask in inner])
    if not len(seen):
        return np.zeros(len(volume))
    levels = [_mean_sigma(_response(_floats(volume[n : n + 1]))[0][inner[n]], None) for n in seen]
    # What shows nothing may not be taken as free of noise
    return np.interp(np.arange(len(volume)), seen, levels)


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
    slope = np.maximum(np.float32(_IMMERKAER) * _windowed(slope), _LEAST_SLOPE * own + _TINY)
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
    return _response(np.pad(image, 1, mode="edge")[None])[0]


def _floats(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def _inner(valid: np.ndarray) -> np.ndarray:
    """(J, I) -> (J - 2, I - 2): where the kernel sees valid pixels only."""
    rows = valid[2:] & valid[1:-1] & valid[:-2]
    return rows[:, 2:] & rows[:, 1:-1] & rows[:, :-2]


def _response(stack: np.ndarray) -> np.ndarray:
    """(K, J, I) -> (K, J - 2, I - 2); the kernel is the outer product of two second differences."""
    along_rows = stack[:, 2:] - 2 * stack[:, 1:-1] + stack[:, :-2]
    return along_rows[:, :, 2:] - 2 * along_rows[:, :, 1:-1] + along_rows[:, :, :-2]


def _mean_sigma(response: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    return _IMMERKAER * np.abs(response).mean(axis=axes, dtype=np.float64)


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
        weights = (weights / weights.sum()).astype(np.float32)
        margins = [(radius, radius) if a == axis else (0, 0) for a in (0, 1)]
        wide = np.moveaxis(np.pad(image, margins, mode="symmetric"), axis, 0)
        size = image.shape[axis]
        total = weights[0] * wide[:size]
        for step in range(1, len(weights)):
            total += weights[step] * wide[step : step + size]
        image = np.moveaxis(total, 0, axis)
    return np.ascontiguousarray(image)
