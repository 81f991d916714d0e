"""Noise matching: an unlearned remedy for slices that interpolation has smoothed."""

from __future__ import annotations

import numpy as np

from .metrics import slice_sigmas

HIGH_PASS_SIGMA_PIXELS = 1.0
LOWEST_GAIN, HIGHEST_GAIN = 0.25, 4.0
_HALVINGS = 14


def match_noise(slices: np.ndarray, positions: np.ndarray, acquired: np.ndarray) -> np.ndarray:
    """Scale the high-pass part of each generated slice so that its Immerkaer sigma is its acquired neighbours'.

    The high-pass part is the slice minus its in-plane Gaussian of 1 pixel. The aim is interpolated linearly between
    the sigmas of the neighbouring acquired slices; slices at acquired positions are not touched.

    :param slices: (n_out, rows, columns) float32, interpolated slices; changed in place.
    :param positions: (n_out,) their centres, in units of acquired slices.
    :param acquired: (n_in, rows, columns).
    :returns: `slices`.
    """
    from scipy.ndimage import gaussian_filter

    wanted = np.interp(positions, np.arange(acquired.shape[0]), slice_sigmas(acquired))
    for index in np.flatnonzero(positions != np.round(positions)):
        smooth = gaussian_filter(slices[index], HIGH_PASS_SIGMA_PIXELS)
        detail = slices[index] - smooth
        slices[index] = smooth + np.float32(_gain(smooth, detail, wanted[index])) * detail
    return slices


def _gain(smooth: np.ndarray, detail: np.ndarray, wanted: float) -> float:
    """Gain g for which smooth + g * detail has the wanted sigma, by bisection within the allowed gains."""
    low, high = LOWEST_GAIN, HIGHEST_GAIN
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if slice_sigmas((smooth + np.float32(middle) * detail)[None])[0] < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2
