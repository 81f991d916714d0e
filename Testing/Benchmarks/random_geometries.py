"""Random valid scans made finer: geometry exact, and every value inside the scan's own range.

    python Testing/Benchmarks/random_geometries.py --cases 400 --seed 1

Small crops of the bundled CT and MR get random sizes, axes, rotations, handedness, types (sentinels at the type's
maximum among them) and requests; some lack slices, or the distance between slices changes. Each result is compared with
its scan in spacing, directions, first slice, number of slices, type and range, then written to a file and read back
beside a file of another scan whose name differs by its ending only. The scan itself must stay as it was. Prints what
failed and ends with exit code 1 if anything did.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), str(TESTING.parent / "CycleINRSlicer")]

from cycleinr import CycleinrError, RequestWarning  # noqa: E402
from cycleinr.files import read_volume, write_volume  # noqa: E402
from cycleinr.geometry import Acquisition  # noqa: E402
from cycleinr.grid import AXIS_OF_ARRAY, COLUMN_OF_AXIS, Target  # noqa: E402
from cycleinr.inference import upsample  # noqa: E402
from cycleinr.inference.plan import plan  # noqa: E402
from cycleinr.request import UpsampleOptions  # noqa: E402
from cycleinr.volume import Volume  # noqa: E402

TYPES = (
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
    ">i2", ">f4",
)  # fmt: skip
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
TWINS = {
    ".nii": ".nii.gz", ".nii.gz": ".nii", ".nrrd": ".nrrd.nii", ".nhdr": ".mhd", ".mha": ".mha.nii", ".mhd": ".nhdr",
}  # fmt: skip
FILE_TOLERANCE_MM = 2e-4
"""NIfTI keeps its geometry in float32."""


@dataclass(frozen=True)
class Case:
    """A scan, what is wanted of it, and the file format that its result goes into."""

    scan: Volume
    options: UpsampleOptions
    ending: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    sources = [read_volume(TESTING / "data" / name).array for name in ("ct_chest_0p8mm.nii.gz", "mr_head_1mm.nii.gz")]
    warnings.simplefilter("ignore", RequestWarning)  # many of these requests are outside what the weights were made for
    outcomes, started = Counter(), time.monotonic()
    for number in range(wanted.cases):
        random = np.random.default_rng((wanted.seed, number))
        with tempfile.TemporaryDirectory() as folder:
            wrong = check(random_case(random, sources), Path(folder))
        outcomes["wrong" if wrong else "right"] += 1
        if wrong:
            print(f"case {number}: {'; '.join(wrong)}", flush=True)
    print(f"{wanted.cases} cases in {time.monotonic() - started:.0f} s: {dict(outcomes)}")
    return 1 if outcomes["wrong"] else 0


def random_case(random: np.random.Generator, sources: list[np.ndarray]) -> Case:
    """A scan of 4 to 14 slices that lie farther apart than pixels, along any axis, turned any way."""
    source = sources[random.integers(2)]
    step, slices = int(random.integers(1, 4)), int(random.integers(4, 15))
    size = random.integers(8, 18, 2)
    start = [int(random.integers(0, n - m + 1)) for n, m in zip(source.shape[1:], size, strict=True)]
    crop = source[::step][:slices, start[0] : start[0] + size[0], start[1] : start[1] + size[1]]
    stack = of_type(crop, np.dtype(TYPES[random.integers(len(TYPES))]), random)
    axis = "ijk"[random.integers(3)]
    array = np.ascontiguousarray(np.moveaxis(stack, 0, AXIS_OF_ARRAY[axis]))
    spacing = random.uniform(0.4, 1.5, 3)
    spacing[COLUMN_OF_AXIS[axis]] = random.uniform(2, 8)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing * random.choice([-1, 1], 3)
    affine[:3, 3] = random.uniform(-300, 300, 3)
    scan = Volume(array, affine, ("CT", "MR")[random.integers(2)], (None, 0.0, spacing.max())[random.integers(3)])
    options = random_options(random, axis, spacing[COLUMN_OF_AXIS[axis]])
    return Case(made_uneven(scan, axis, random), options, ENDINGS[random.integers(len(ENDINGS))])


def made_uneven(scan: Volume, axis: str, random: np.random.Generator) -> Volume:
    """The scan, in a third of the cases with slices taken away, or with the later ones twice as far apart."""
    count, kind = scan.shape_kji[AXIS_OF_ARRAY[axis]], random.integers(6)
    if kind > 1 or count < 8:
        return scan
    steps = np.ones(count - 1)
    kept = np.arange(count)
    if kind == 0:
        kept = np.delete(kept, random.choice(np.arange(1, count - 1), random.integers(1, count - 6), replace=False))
    else:
        steps[random.integers(3, count - 4) :] = 2
    column, affine = COLUMN_OF_AXIS[axis], scan.ijk_to_ras.copy()
    positions = np.concatenate([[0], np.cumsum(steps)])[kept]
    own = Acquisition(positions * scan.spacing_ijk_mm[column], axis=axis)
    affine[:3, column] *= own.spacing_mm / scan.spacing_ijk_mm[column]
    array = np.ascontiguousarray(np.take(scan.array, kept, AXIS_OF_ARRAY[axis]))
    return replace(scan, array=array, ijk_to_ras=affine, acquisition=own)


def of_type(crop: np.ndarray, dtype: np.dtype, random: np.random.Generator) -> np.ndarray:
    """The crop in a type, in a third of the cases with a block at the type's maximum."""
    values = crop.astype(np.float64)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(values / (20 if dtype.itemsize == 1 else 1), limits.min, limits.max)
    stack = (values * (1 if dtype.kind in "iu" else random.uniform(0.001, 1.3))).astype(dtype)
    if dtype.kind in "iu" and random.integers(3) == 0:
        stack[1:3, 2:5, 3:6] = limits.max
    # Never a constant scan, even of air alone
    stack[0, 0, 0], stack[-1, -1, -1] = (stack.min() - 1 if dtype.kind == "f" else limits.min), 100
    return stack


def random_options(random: np.random.Generator, axis: str, spacing_mm: float) -> UpsampleOptions:
    targets = (
        Target(ratio=float(random.uniform(1.1, 5))),
        Target(ratio=float(random.integers(2, 5))),
        Target(spacing_mm=float(spacing_mm / random.uniform(1.1, 5))),
        Target(isotropic=True),
    )
    extent = ("centres", "edges")[random.integers(2)]
    return UpsampleOptions(targets[random.integers(len(targets))], axis, extent, device="cpu", fill_gaps=True)


def check(case: Case, folder: Path) -> list[str]:
    """What is wrong with the result of a case, in words."""
    scan, before = case.scan, case.scan.array.copy()
    try:
        work, result = plan(scan, case.options), upsample(scan, case.options).volume
    except CycleinrError as error:
        return [f"{type(error).__name__}: {error}"]
    wrong = []
    if result.array.dtype.newbyteorder("=") != scan.array.dtype.newbyteorder("="):
        wrong.append(f"type {result.array.dtype} of {scan.array.dtype}")
    if not np.isfinite(result.array).all() or result.array.min() < before.min() or result.array.max() > before.max():
        wrong.append(
            f"{result.array.min()} to {result.array.max()} of {before.min()} to {before.max()}, {before.dtype}"
        )
    if not np.array_equal(before, scan.array):
        wrong.append("the scan was changed")
    if result.shape_kji != expected_shape(scan, work):
        wrong.append(f"shape {result.shape_kji}")
    if not np.allclose(result.ijk_to_ras, expected_affine(scan, work), rtol=0, atol=1e-9):
        wrong.append("geometry")
    return wrong + check_file(result, folder, case.ending)


def expected_shape(scan: Volume, work) -> tuple[int, ...]:
    shape = list(scan.shape_kji)
    shape[AXIS_OF_ARRAY[work.grid.axis]] = work.grid.n_out
    return tuple(shape)


def expected_affine(scan: Volume, work) -> np.ndarray:
    """The scan's, with one column shortened and the first slice moved along it."""
    column, affine = COLUMN_OF_AXIS[work.grid.axis], scan.ijk_to_ras.copy()
    unit = affine[:3, column] / np.linalg.norm(affine[:3, column])
    affine[:3, 3] += unit * work.grid.first_mm
    affine[:3, column] = unit * work.grid.spacing_out_mm
    return affine


def check_file(result: Volume, folder: Path, ending: str) -> list[str]:
    """Whether a file gives the result back, beside a file of a name that differs by its ending only."""
    path, twin = folder / f"fine{ending}", folder / f"fine{TWINS[ending]}"
    other = result.with_array(np.zeros_like(result.array))
    write_volume(result, path)
    write_volume(other, twin)
    back = read_volume(path)
    wrong = [] if np.array_equal(back.array, result.array) else ["the file's voxels are others"]
    if not np.allclose(back.ijk_to_ras, result.ijk_to_ras, rtol=1e-6, atol=FILE_TOLERANCE_MM):
        wrong.append("the file's geometry is another")
    return wrong if not read_volume(twin).array.any() else [*wrong, "the twin's voxels are others"]


if __name__ == "__main__":
    sys.exit(main())
