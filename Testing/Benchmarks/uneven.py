"""What uneven slices cost: a change of spacing and missing slices against the same scan with even slices.

    python Testing/Benchmarks/uneven.py fine_ct.nii.gz ...

k must be the slice direction. Thick and thin slices are made of the middle 128 x 128 x 96 voxels with the engine's own
operator; PSNR is over 2000 HU. docs/method.md has figures that this printed.
"""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "CycleINRSlicer"))

from cycleinr import RequestWarning  # noqa: E402
from cycleinr.files import read_volume  # noqa: E402
from cycleinr.geometry import Acquisition  # noqa: E402
from cycleinr.grid import Target  # noqa: E402
from cycleinr.inference import upsample  # noqa: E402
from cycleinr.request import UpsampleOptions  # noqa: E402
from cycleinr.resampling import SliceProfile, acquire  # noqa: E402
from cycleinr.volume import Volume  # noqa: E402
from scans import middle  # noqa: E402

PIXELS, SLICES = 128, 96
LOW, HIGH = 2, 4
"""Fine slices of an acquired one on either side of the change: 2.5 and 5 mm where they are 1.25 mm thick."""

RANGE_HU = 2000.0


def main(paths: list[str]) -> None:
    warnings.simplefilter("ignore", RequestWarning)
    for path in paths:
        fine = middle(replace(read_volume(path), modality="CT"), (SLICES, PIXELS, PIXELS))
        for tau in (1.0, 0.0):
            for low, high in ((LOW, HIGH), (HIGH, LOW)):
                print(Path(path).name, f"tau {tau:g},", change_of_spacing(fine, tau, low, high), flush=True)
            for missing in (1, 3):
                print(Path(path).name, f"tau {tau:g},", missing_slices(fine, tau, missing), flush=True)


def scan_of(fine: Volume, centres: np.ndarray, sizes: np.ndarray, tau: float) -> Volume:
    """Slices of ``sizes`` times ``tau`` fine slices around ``centres``, which are counted in fine slices."""
    profile = SliceProfile(len(fine.array), centres, sizes.astype(float), np.full(len(sizes), tau))
    array = np.rint(acquire(fine.array, profile)).astype(np.int16)
    mm = fine.spacing_ijk_mm[2]
    own = Acquisition((centres - centres[0]) * mm, sizes * mm * tau)
    affine = fine.ijk_to_ras.copy()
    affine[:3, 3] = fine.ras_of_ijk([0, 0, centres[0]])
    affine[:3, 2] *= own.spacing_mm / mm
    # A part takes no acquisition along where it is even
    return Volume(array, affine, "CT", acquisition=own)[:]


def errors(fine: Volume, scan: Volume, tau: float, **options) -> dict[int, float]:
    """Mean square error of the result's slices, by the number of the fine slice that they are to be."""
    mm = fine.spacing_ijk_mm[2]
    wanted = UpsampleOptions(Target(spacing_mm=mm), extent="edges" if tau else "centres", device="cpu", **options)
    result = upsample(scan, wanted).volume
    first = np.linalg.norm(result.ijk_to_ras[:3, 3] - fine.ijk_to_ras[:3, 3]) / mm
    assert abs(first - round(first)) < 1e-3, first
    difference = result.array - fine.array[round(first) :][: len(result.array)].astype(np.float64)
    return dict(enumerate(np.square(difference).mean(axis=(1, 2)).tolist(), round(first)))


def loss_db(found: dict[int, float], even: dict[int, float], slices: range) -> str:
    """PSNR of some slices with even slices, and how much lower it is with uneven ones."""
    known = [n for n in slices if n in found and n in even and even[n]]
    psnr = [10 * np.log10(RANGE_HU**2 / np.mean([each[n] for n in known])) for each in (even, found)]
    return f"{psnr[0]:.2f} dB {psnr[1] - psnr[0]:+.2f}"


def even_centres(fine: Volume, size: int, through: int, tau: float) -> np.ndarray:
    """Centres of even slices over the whole scan, whose outer face or centre lies on fine slice ``through``."""
    offset = (size - 1) / 2 if tau else 0
    return np.arange(through % size, len(fine.array) - size + 1, size) + offset


def change_of_spacing(fine: Volume, tau: float, low: int, high: int) -> str:
    """Each side of a change against the scan with that side's spacing all along; the two slices there left out."""
    change = len(fine.array) // 2 // 4 * 4
    below, above = (even_centres(fine, size, change, tau) for size in (low, high))
    even = [errors(fine, scan_of(fine, c, np.full(len(c), s), tau), tau) for c, s in ((below, low), (above, high))]
    below, above = below[below < change], above[above > change - 0.25]
    sizes = np.repeat([low, high], [len(below), len(above)])
    found = errors(fine, scan_of(fine, np.concatenate([below, above]), sizes, tau), tau)
    sides = range(change - low), range(change + high, len(fine.array))
    told = (loss_db(found, each, side) for each, side in zip(even, sides, strict=True))
    return f"{low} then {high} fine slices: below {next(told)}, above {next(told)}"


def missing_slices(fine: Volume, tau: float, missing: int) -> str:
    """A scan without some slices against the whole one: beside the gap, farther away, and in it."""
    centres = even_centres(fine, HIGH, 0, tau)
    sizes = np.full(len(centres), HIGH)
    even = errors(fine, scan_of(fine, centres, sizes, tau), tau)
    gone = np.arange(missing) + len(centres) // 2
    scan = scan_of(fine, np.delete(centres, gone), np.delete(sizes, gone), tau)
    found = errors(fine, scan, tau, fill_gaps=True)
    first, last = int(np.floor(centres[gone[0] - 1])), int(np.ceil(centres[gone[-1] + 1]))
    everything = range(len(fine.array))
    inside, beside = range(first + 1, last), range(first - HIGH + 1, last + HIGH)
    away = [n for n in everything if n not in inside]
    farther = [n for n in everything if n not in beside]
    parts = ("outside", away), ("an interval away", farther), ("inside", inside)
    return f"{missing} missing: " + ", ".join(f"{name} {loss_db(found, even, part)}" for name, part in parts)


if __name__ == "__main__":
    main(sys.argv[1:])
