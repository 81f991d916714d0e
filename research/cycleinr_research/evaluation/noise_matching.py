"""Noise matching: an unlearned remedy for slices that interpolation has smoothed."""

from __future__ import annotations

import numpy as np

from ..noise import matched, slice_sigmas


def match_noise(slices: np.ndarray, positions: np.ndarray, acquired: np.ndarray) -> np.ndarray:
    """Scale the fine detail of each generated slice so that its noise sigma is its acquired neighbours'.

    The aim is interpolated linearly between the sigmas of the neighbouring acquired slices; slices at acquired
    positions are not touched.

    :param slices: (n_out, rows, columns) float32, interpolated slices; changed in place.
    :param positions: (n_out,) their centres, in units of acquired slices.
    :param acquired: (n_in, rows, columns).
    :returns: `slices`.
    """
    wanted = np.interp(positions, np.arange(acquired.shape[0]), slice_sigmas(acquired))
    for index in np.flatnonzero(positions != np.round(positions)):
        slices[index] = matched(slices[index], wanted[index])
    return slices
