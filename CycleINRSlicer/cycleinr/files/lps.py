"""The only place where RAS and LPS meet. ITK and DICOM use LPS; both axes that differ change their sign."""

from __future__ import annotations

import numpy as np

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_from_lps(affine: np.ndarray) -> np.ndarray:
    """4x4 matrix from index to RAS mm, of one from index to LPS mm."""
    return np.asarray(_FLIP @ affine)


def lps_from_ras(affine: np.ndarray) -> np.ndarray:
    """4x4 matrix from index to LPS mm, of one from index to RAS mm."""
    return np.asarray(_FLIP @ affine)
