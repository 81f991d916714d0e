"""What the self-check tells of the true error: fine scans made coarse, made fine again, and compared with the truth.

    python Testing/Benchmarks/self_check.py fine_ct.nii.gz fine_mr.nii.gz ...

k must be the slice direction. Works on the middle 160 x 160 pixels of the middle 120 slices.
research/docs/check.md has figures that this printed.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "CycleINRSlicer"))

from cycleinr.checks.run import check_result  # noqa: E402
from cycleinr.files import read_volume  # noqa: E402
from cycleinr.grid import Target  # noqa: E402
from cycleinr.inference import upsample  # noqa: E402
from cycleinr.inspection import inspect  # noqa: E402
from cycleinr.request import UpsampleOptions  # noqa: E402
from cycleinr.volume import Volume  # noqa: E402
from scans import middle  # noqa: E402

EVERY = (3, 5)
CROP_KJI = (120, 160, 160)
NEIGHBOURHOOD = 5
WORST_PERCENT = 5


def main(paths: list[str]) -> None:
    for path in paths:
        fine = middle(read_volume(path), CROP_KJI)
        for tau in (0, 1):
            for every in EVERY:
                print(Path(path).name, f"tau {tau}, every {every}:", compare(fine, tau, every), flush=True)


def coarse(fine: Volume, tau: int, every: int) -> tuple[Volume, int]:
    """Thin slices with gaps (tau 0) or contiguous slabs (tau 1), and the fine slice that the first one's centre is."""
    count = len(fine.array) // every
    stack = fine.array[: count * every]
    first = (every - 1) // 2 if tau else 0
    slabs = np.rint(stack.reshape(count, every, *stack.shape[1:]).mean(axis=1)).astype(stack.dtype)
    affine = fine.ijk_to_ras.copy()
    affine[:3, 3] = fine.ras_of_ijk((0, 0, first))
    affine[:3, 2] *= every
    return Volume(slabs if tau else stack[::every], affine, inspect(fine).checked_modality()), first


def compare(fine: Volume, tau: int, every: int) -> str:
    from scipy.ndimage import uniform_filter

    scan, first = coarse(fine, tau, every)
    options = UpsampleOptions(Target(ratio=every), thickness_mm=tau * scan.spacing_ijk_mm[2])
    result = upsample(scan, options).volume
    found = check_result(scan, result, options).self_check
    error = np.abs(result.array.astype(np.float32) - fine.array[first : first + len(result.array)])
    reach = every // 2
    true = np.stack([error[n * every - reach : n * every + reach + 1].mean(axis=0) for n in found.slices])
    told = found.error_map.array
    size = (0, NEIGHBOURHOOD, NEIGHBOURHOOD)
    local = np.corrcoef(uniform_filter(true, size).ravel(), uniform_filter(told, size).ravel())[0, 1]
    per_slice = np.corrcoef(true.mean(axis=(1, 2)), told.mean(axis=(1, 2)))[0, 1]
    worst = told >= np.percentile(told, 100 - WORST_PERCENT)
    rms = np.sqrt(np.square(error).mean()), np.sqrt(np.square(found.rms).mean())
    return (
        f"true RMS {rms[0]:.1f}, self-check RMS {rms[1]:.1f}, ratio {rms[0] / rms[1]:.2f}; correlation per slice "
        f"{per_slice:.2f}, over {NEIGHBOURHOOD} x {NEIGHBOURHOOD} pixels {local:.2f}; true error in the worst "
        f"{WORST_PERCENT} % {true[worst].mean() / true.mean():.1f} times the mean"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
