"""The noise level of slices, and how to give new slices the noise level of the acquired ones beside them."""

from __future__ import annotations

import math

import numpy as np

_HIGH_PASS_SIGMA_PIXELS = 1.0
_LOWEST_GAIN, _HIGHEST_GAIN = 0.25, 4.0
_TOLERANCE = 1e-3
_ATTEMPTS = 30
_PIXELS_AT_A_TIME = 1 << 21


def slice_sigmas(volume: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Noise sigma of every slice along K, in the volume's units, (K,); of the pixels in ``valid`` unless it is None.

    sqrt(pi/2)/6 times the mean absolute response to [1 -2 1; -2 4 -2; 1 -2 1], which is blind to planes and to edges
    along the axes. Source: Immerkaer, Computer Vision and Image Understanding 64(2), 1996.
    """
    per_block = max(1, _PIXELS_AT_A_TIME // (volume.shape[1] * volume.shape[2]))
    blocks = [slice(start, start + per_block) for start in range(0, volume.shape[0], per_block)]
    if valid is None:
        return np.concatenate([_level(_response(_floats(volume[block])), (1, 2)) for block in blocks])
    inner = [_inner(mask) for mask in valid]
    seen = np.flatnonzero([mask.any() for mask in inner])
    if not len(seen):
        return np.zeros(len(volume))
    levels = [_level(_response(_floats(volume[n : n + 1]))[0][inner[n]], None) for n in seen]
    # What shows nothing may not be taken as free of noise
    return np.interp(np.arange(len(volume)), seen, levels)


def matched(
    image: np.ndarray, wanted: float, largest_detail: float | None = None, valid: np.ndarray | None = None
) -> np.ndarray:
    """An image whose fine detail is scaled until its noise sigma is the wanted one.

    The detail is the image minus its Gaussian of 1 pixel; its gain stays between 0.25 and 4.

    Args:
        image: (rows, columns) float32.
        wanted: Noise sigma in the image's units.
        largest_detail: What is beyond this is an edge, and is not scaled; None scales all.
        valid: (rows, columns) of bool, the pixels whose noise counts; None for all.

    Returns:
        A new image.
    """
    smooth = smoothed(image, _HIGH_PASS_SIGMA_PIXELS)
    detail = image - smooth
    if largest_detail is not None:
        np.clip(detail, -largest_detail, largest_detail, out=detail)
        smooth = image - detail
    # The estimator is linear up to its absolute value, so its two parts serve every gain that is tried.
    parts = _response(smooth[None])[0], _response(detail[None])[0]
    if valid is not None and _inner(valid).any():
        parts = tuple(part[_inner(valid)] for part in parts)
    return smooth + np.float32(_gain(*parts, wanted)) * detail


def _gain(smooth: np.ndarray, detail: np.ndarray, wanted: float) -> float:
    """Gain whose sigma is the wanted one, by regula falsi (Illinois) between the allowed gains."""

    def surplus(gain: float) -> float:
        return float(_level(smooth + np.float32(gain) * detail, None)) - wanted

    low, high = _LOWEST_GAIN, _HIGHEST_GAIN
    below, above = surplus(low), surplus(high)
    if below >= 0:
        return low
    if above <= 0:
        return high
    for _ in range(_ATTEMPTS):
        gain = (low * above - high * below) / (above - below)
        value = surplus(gain)
        if abs(value) <= _TOLERANCE * wanted:
            break
        if value < 0:
            low, below, above = gain, value, above / 2
        else:
            high, above, below = gain, value, below / 2
    return gain


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


def _level(response: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    return math.sqrt(math.pi / 2) / 6 * np.abs(response).mean(axis=axes, dtype=np.float64)


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
