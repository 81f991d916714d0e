"""How well the expected error tells the true one, and where its two coefficients come from.

    python research/scripts/expected_error.py pair THICK.nii.gz THIN.nii.gz
    python research/scripts/expected_error.py fit CT TRAINING_SCAN.nii.gz ...

``pair`` takes two reconstructions of one CT scan. Brain is what lies between 0 and 80 HU in the thin one, opened once;
a large error is above 20 HU; marked is what the map calls least certain, a quarter of the brain window or more. ``fit``
makes slabs of every second and fifth slice from the middle of fine scans (k is the slice direction), and fits by a
gamma regression with logarithmic link. research/docs/check.md has figures that this printed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from cycleinr.checks.run import Check, check_result
from cycleinr.checks.trust import MARKED_SHARE, local_rms
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.intensity import unit_of
from cycleinr.request import UpsampleOptions
from cycleinr.resampling import linear_weights
from cycleinr.volume import Volume
from cycleinr.windows import CT_WINDOWS
from cycleinr_research.evaluation.pairs import make_pair_case
from scipy.ndimage import binary_opening
from scipy.stats import spearmanr

BRAIN = CT_WINDOWS["brain"]
LARGE_HU = 20.0
MARKED_SHARE_ALLOWED = 20
SAMPLES = 20_000
FIT_CROP_KJI = (100, 150, 150)
FIT_EVERY = (2, 5)


def pair(thick: str, thin: str) -> None:
    case = make_pair_case(*(replace(read_volume(path), modality="CT") for path in (thick, thin)))
    options = UpsampleOptions(Target(spacing_mm=case.grid.spacing_out_mm), "k", device="cpu")
    result = upsample(case.lowres, options).volume
    check = check_result(case.lowres, result, options, window="brain")
    expected = _on_result(check, check.expected_error.array, case.grid.positions())[case.compared]
    true = np.abs(result.array.astype(np.float32) - case.truth)[case.compared]
    brain = binary_opening((case.truth > 0) & (case.truth < 80))[case.compared]
    true, expected = true[brain], expected[brain]
    large, marked = true > LARGE_HU, expected >= MARKED_SHARE * BRAIN.width
    at_share = expected > np.percentile(expected, 100 - MARKED_SHARE_ALLOWED)
    few = np.random.default_rng(0).integers(0, true.size, 200_000)
    print(check.verdict)
    print(
        f"{true.size} brain voxels, {large.mean():.1%} with an error above {LARGE_HU:g} HU; marked {marked.mean():.1%} "
        f"of all and {marked[large].mean():.1%} of those, precision {large[marked].mean():.1%}; with exactly "
        f"{MARKED_SHARE_ALLOWED} % marked {at_share[large].mean():.1%}; rank correlation "
        f"{spearmanr(true[few], expected[few]).statistic:.2f}; mean error {true.mean():.1f}, expected "
        f"{expected.mean():.1f} HU"
    )


def fit(modality: str, paths: list[str]) -> None:
    rng, rms, true = np.random.default_rng(0), [], []
    for path in paths:
        for every in FIT_EVERY:
            found = _samples(replace(read_volume(path), modality=modality), every, rng)
            for store, values in zip((rms, true), found, strict=True):
                store.append(values)
            print(Path(path).name, f"every {every}: mean true error {found[1].mean():.2f}", flush=True)
    factor, power = _gamma_regression(np.concatenate(rms), np.concatenate(true))
    print(f"expected error = {factor:.2f} (squared local RMS + 4)^({power:.2f} / 2)")


def _samples(volume: Volume, every: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    starts = [max(0, (have - want) // 2) for have, want in zip(volume.shape_kji, FIT_CROP_KJI, strict=True)]
    stack = volume.array[tuple(slice(s, s + size) for s, size in zip(starts, FIT_CROP_KJI, strict=True))]
    stack = stack[: len(stack) // every * every]
    slabs = np.rint(stack.reshape(-1, every, *stack.shape[1:]).mean(axis=1)).astype(stack.dtype)
    scan = Volume(slabs, volume.ijk_to_ras @ np.diag([1.0, 1.0, every, 1.0]), volume.modality)
    options = UpsampleOptions(Target(ratio=every), "k", "edges", device="cpu")
    result = upsample(scan, options).volume
    check = check_result(scan, result, options)
    positions = (np.arange(len(stack)) + 0.5) / every - 0.5
    unit = unit_of(scan, volume.modality)
    rms = _on_result(check, local_rms(check.self_check.error_map, scan, "k").array, positions) / unit
    true = np.abs(result.array.astype(np.float32) - stack) / unit
    inner = slice(every, -every)
    chosen = rng.integers(0, true[inner].size, SAMPLES)
    return rms[inner].reshape(-1)[chosen], true[inner].reshape(-1)[chosen]


def _on_result(check: Check, values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Values on the compared acquired slices, linearly at the result's slices; the end slices' are repeated."""
    places = positions - check.self_check.slices[0]
    return np.tensordot(linear_weights(places, len(values)).astype(np.float32), values, 1)


def _gamma_regression(rms: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Factor and power by Newton's method on the gamma likelihood; errors of 0 count as half a unit."""
    design = np.stack([np.ones(len(rms)), np.log(np.square(rms) + 4) / 2], axis=1)
    true, beta = np.maximum(true, 0.5), np.array([np.log(true.mean()), 0.0])
    for _ in range(50):
        quotient = true / np.exp(design @ beta)
        step = np.linalg.solve((design * quotient[:, None]).T @ design, design.T @ (1 - quotient))
        beta -= step * min(1.0, 1 / np.abs(step).max())
    return float(np.exp(beta[0])), float(beta[1])


if __name__ == "__main__":
    if sys.argv[1] == "pair":
        pair(*sys.argv[2:])
    else:
        fit(sys.argv[2], sys.argv[3:])
