"""Cases from real pairs: a thick-slice scan as the input and a thin-slice scan of the same anatomy as the truth."""

from __future__ import annotations

import numpy as np
from cycleinr import GeometryError, RequestError
from cycleinr.grid import Target, plan_grid
from cycleinr.resampling import MAX_TAU, linear_weights
from cycleinr.volume import Volume

from .metrics import metric_range
from .protocol import PAIR, Case, compared_slices, covered_profile

IN_PLANE_TOLERANCE_PIXELS = 0.1
DIRECTION_TOLERANCE = 1e-3
_MIN_COMPARED = 4


def make_pair_case(thick: Volume, thin: Volume) -> Case:
    """Compare what is made of ``thick`` with ``thin``.

    The result's grid has the thin scan's spacing and starts at the first thick slice. The truth is the thin scan
    interpolated linearly along k at the result's slices; where the two grids coincide it is the thin slice itself.
    Only slices inside the thin scan count, and one thick interval is dropped at each end of the thick one. All slices
    count as generated. The thick slices are taken as contiguous slabs where their thickness is unknown.

    Args:
        thick: The input, modality known; k is the through-plane axis of both.
        thin: The truth, on the same in-plane grid, of which either may be a crop; its slices may run the other way
            along the same axis.

    Raises:
        GeometryError: The in-plane grids differ, the axes are not parallel, or the scans hardly overlap.
        RequestError: The modality is unknown, or ``thin`` is not finer.
    """
    if thick.modality is None:
        raise RequestError(
            f"The modality of {thick.name or 'the thick scan'} is unknown. Set it to 'CT' or 'MR' first."
        )
    thick, thin = _common_pixels(thick, thin)
    _check_same_plane(thick, thin)
    grid = plan_grid(thick, Target(spacing_mm=thin.spacing_ijk_mm[2]), "k")
    along = thick.directions[:, 2]
    to_thin = np.sign(along @ thin.directions[:, 2]) / thin.spacing_ijk_mm[2]
    start = float((thick.ijk_to_ras[:3, 3] - thin.ijk_to_ras[:3, 3]) @ along) * to_thin
    in_thin = start + np.arange(grid.n_out) * grid.spacing_out_mm * to_thin
    centres = np.arange(grid.n_in) * grid.ratio
    compared = _overlap(in_thin, thin.shape_kji[0], compared_slices(np.arange(grid.n_out), centres))
    tau = 1.0 if thick.slice_thickness_mm is None else min(thick.slice_thickness_mm / grid.spacing_in_mm, MAX_TAU)
    profile, acquired = covered_profile(grid.n_out, centres, grid.ratio, tau)
    weights = linear_weights(in_thin, thin.shape_kji[0]).astype(np.float32)
    truth = (weights @ thin.array.astype(np.float32).reshape(len(thin.array), -1)).reshape(-1, *thin.shape_kji[1:])
    return Case(
        thick.name, thick.modality, PAIR, grid.ratio, thick, grid, truth, compared, np.ones(grid.n_out, bool),
        profile, acquired, metric_range(thin.array, thick.modality),
    )  # fmt: skip


def _common_pixels(thick: Volume, thin: Volume) -> tuple[Volume, Volume]:
    """Both scans' rows and columns that the other one has too, where their grids are shifted by whole pixels.

    What does not fit together is left as it is; ``_check_same_plane`` says why.
    """
    shift = (np.linalg.inv(thin.ijk_to_ras) @ thick.ijk_to_ras[:, 3])[:2]
    first = np.round(shift).astype(int)
    if np.any(np.abs(shift - first) > IN_PLANE_TOLERANCE_PIXELS):
        return thick, thin
    sizes = np.array(thick.shape_kji[:0:-1]), np.array(thin.shape_kji[:0:-1])
    low, high = np.maximum(first, 0), np.minimum(first + sizes[0], sizes[1])
    if np.any(high <= low):
        return thick, thin
    return _cropped(thick, low - first, high - first), _cropped(thin, low, high)


def _cropped(volume: Volume, low: np.ndarray, high: np.ndarray) -> Volume:
    """Columns and rows (I, J) from ``low`` to before ``high``, in their place."""
    part = volume[:, low[1] : high[1], low[0] : high[0]]
    return part.with_array(np.ascontiguousarray(part.array))


def _check_same_plane(thick: Volume, thin: Volume) -> None:
    if thick.shape_kji[1:] != thin.shape_kji[1:]:
        raise GeometryError(
            f"The thick slices have {thick.shape_kji[1:]} pixels (J, I) and the thin ones {thin.shape_kji[1:]}. "
            "Crop or resample both to the same in-plane grid first."
        )
    cosines = np.abs(np.sum(thick.directions * thin.directions, axis=0))
    if np.any(cosines < 1 - DIRECTION_TOLERANCE):
        raise GeometryError("The two scans' axes are not parallel. Resample one to the other's orientation first.")
    # Pixel by pixel the same grid means that opposite corners coincide, up to a shift along k.
    corners = np.array([[0, 0, 0], [thick.shape_kji[2] - 1, thick.shape_kji[1] - 1, 0]], dtype=float)
    difference = (thick.ras_of_ijk(corners) - thin.ras_of_ijk(corners)) @ thick.directions[:, :2]
    worst = float(np.max(np.abs(difference) / thick.spacing_ijk_mm[:2]))
    if worst > IN_PLANE_TOLERANCE_PIXELS:
        raise GeometryError(
            f"The two scans' pixels lie up to {worst:.2f} pixels apart in the plane. "
            "Resample one to the other's in-plane grid first."
        )


def _overlap(in_thin: np.ndarray, n_thin: int, compared: slice) -> slice:
    """The part of ``compared`` that lies inside the thin scan; ``in_thin`` are positions in units of thin slices."""
    inside = (in_thin >= -1e-3) & (in_thin <= n_thin - 1 + 1e-3)
    indices = np.flatnonzero(inside)
    indices = indices[(indices >= compared.start) & (indices < compared.stop)]
    if len(indices) < _MIN_COMPARED:
        raise GeometryError(
            f"Only {len(indices)} slices of the result lie inside both scans; {_MIN_COMPARED} are needed. "
            "Check that both scans show the same part of the body."
        )
    return slice(int(indices[0]), int(indices[-1]) + 1)
