"""How far the results of a method, taken together, are from the truths, in the features of a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .summary import Group
from .views import TRUTH, load_views, views_path


def frechet_distance(ours: np.ndarray, true: np.ndarray) -> float:
    """Frechet distance of two sets of features as if Gaussian; FID on Inception's features, and on no others.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). The last trace is the nuclear norm of the product of the two centred
    data matrices, which needs no matrix root and holds for fewer slices than features, where covariances are singular.

    Source: Dowson and Landau, Journal of Multivariate Analysis 12(3), 1982.

    Args:
        ours: (N, F) features, one row per slice.
        true: (M, F).

    Returns:
        The distance; nan where either set has fewer than 2 rows.
    """
    if min(len(ours), len(true)) < 2:
        return float("nan")
    ours, true = np.asarray(ours, dtype=np.float64), np.asarray(true, dtype=np.float64)
    shift = ours.mean(0) - true.mean(0)
    a = (ours - ours.mean(0)) / np.sqrt(len(ours) - 1)
    b = (true - true.mean(0)) / np.sqrt(len(true) - 1)
    cross = np.linalg.norm(a @ b.T, ord="nuc")
    return float(max(0.0, shift @ shift + np.square(a).sum() + np.square(b).sum() - 2 * cross))


def frechet_of_group(out_dir: str | Path, group: Group, method: str, kind: str = "features") -> float:
    """Frechet distance of one method over all compared slices of all cases of a group.

    Args:
        out_dir: The output folder that the group's rows come from.
        kind: Which features of the views, "features" for squeeze or "inception".

    Returns:
        The distance; nan where the network was not available for some case.
    """
    cases = [row.key[:3] for row in group.rows if row.method == method and row.volume in group.volumes]
    pooled = []
    for name in (method, TRUTH):
        features = [getattr(load_views(views_path(out_dir, case, name)), kind) for case in cases]
        if not features or any(part.size == 0 for part in features):
            return float("nan")
        pooled.append(np.concatenate(features))
    return frechet_distance(*pooled)
