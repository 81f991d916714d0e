"""The slice profile: how an acquired slice averages the anatomy along the through-plane axis, and how to undo it.

The operator A maps a fine stack of slices to acquired ones, along one axis only. Fine slices are taken as slabs of
the fine spacing; acquired slice ``n`` at position ``z_n`` is the mean of the fine volume over
``[z_n - w/2, z_n + w/2]`` with ``w = max(tau * acquired spacing, fine spacing)``. So

- contiguous slabs (tau = 1) at a whole ratio s are plain means of s slices,
- thin slices with gaps (tau = 0) reproduce the fine slice they lie on, and interpolate linearly between two,
- every ratio and every tau in between is continuous.

Data consistency uses the same A: ``x += A^T (A A^T)^-1 (y - A x)`` moves x by the least amount (in the
least-squares sense) that makes re-slicing it return the acquired y. A A^T is a small band matrix over slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .errors import RequestError

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
        tau: Slice thickness / slice spacing of the acquired slices; 0 = thin slices with gaps, 1 = contiguous slabs.
            (n_acquired,) where it changes.
        softness: Standard deviation of the Gaussian that the averaging window is convolved with, as a share of its
            width. 0 is an exact box; at 0.35 the profile is nearly a Gaussian. No scanner's slice is an exact box.
    """

    n_fine: int
    centres: np.ndarray
    spacing: float | np.ndarray
    tau: float | np.ndarray
    softness: float = 0.0

    def __post_init__(self):
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
        return SliceProfile(stop - first, self.centres[acquired] - first, spacing, tau, self.softness)


def profile_matrix(profile: SliceProfile) -> np.ndarray:
    """The operator A as a dense matrix, (n_acquired, n_fine), rows summing to 1.

    The part of a window that lies outside the fine stack is left out and the rest is scaled up, so the outermost
    acquired slices are means over what is there.

    Raises:
        RequestError: An acquired slice lies wholly outside the fine stack.
    """
    edges = np.arange(profile.n_fine + 1) - 0.5
    # The window's share up to each edge; its differences are what each fine slice contributes.
    width = profile.width[:, None]
    share = _share_below(edges - profile.centres[:, None], width, profile.softness * width)
    overlap = np.clip(np.diff(share, axis=1), 0.0, None)
    covered = overlap.sum(axis=1, keepdims=True)
    if np.any(covered < 1e-9):
        lost = int(np.argmax(covered[:, 0] < 1e-9))
        raise RequestError(
            f"Acquired slice {lost} at position {profile.centres[lost]:.2f} lies outside the fine stack of "
            f"{profile.n_fine} slices. Use a grid that covers every acquired slice."
        )
    return overlap / covered


def _share_below(place: np.ndarray, width: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Integral up to ``place`` of a centred box of this width and unit height, convolved with a Gaussian."""
    if not deviation.any():
        return np.clip(place + width / 2, 0.0, width)
    return _gaussian_ramp(place + width / 2, deviation) - _gaussian_ramp(place - width / 2, deviation)


def _gaussian_ramp(place: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """max(place, 0) convolved with a Gaussian."""
    score = place / deviation
    density = np.exp(-0.5 * score**2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(score / math.sqrt(2)))
    return place * below + deviation * density


def triangle_matrix(profile: SliceProfile) -> np.ndarray:
    """As ``profile_matrix``, for slices that see a triangle whose width at half its height is the window's.

    What the two matrices make of the same fine stack differs by what not knowing a scanner's profile amounts to.
    """
    inner = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    distance = np.abs(np.arange(profile.n_fine)[:, None] + inner - profile.centres[:, None, None])
    seen = np.clip(1 - distance / profile.width[:, None, None], 0, None).mean(axis=2)
    return seen / seen.sum(axis=1, keepdims=True)


def acquire(fine: np.ndarray, profile: SliceProfile) -> np.ndarray:
    """Re-acquire a fine stack with the scanner's slice profile: A x along axis 0.

    Args:
        fine: (n_fine, rows, columns), any real type.
        profile: Positions and thickness of the acquired slices.

    Returns:
        (n_acquired, rows, columns), float32.
    """
    matrix = profile_matrix(profile).astype(np.float32)
    flat = np.ascontiguousarray(fine, dtype=np.float32).reshape(fine.shape[0], -1)
    return (matrix @ flat).reshape(matrix.shape[0], *fine.shape[1:])


def consistency_matrix(matrix: np.ndarray) -> np.ndarray:
    """A^T (A A^T)^-1 for an operator A, (n_fine, n_acquired).

    The pseudo-inverse stands in for (A A^T)^-1, so that overlapping slabs (tau > 1), whose A A^T is nearly singular,
    do not blow noise up; what such slabs contradict in each other is left as it is.
    """
    return matrix.T @ np.linalg.pinv(matrix @ matrix.T, rcond=1e-4, hermitian=True)
