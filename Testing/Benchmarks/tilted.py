"""What a tilted gantry costs: a sheared scan against the same scan with straight slices.

    python Testing/Benchmarks/tilted.py fine_ct.nii.gz ...

k must be the slice direction. Slabs of four fine slices are made of the middle of each scan, their fields of view are
moved along j by so many pixels a slice, and the sheared stack is read and made finer again as any other. Moves by whole
pixels take other pixels; those by fractions go through a Fourier shift, and the straight slices that they are compared
with have been moved by as much and back. PSNR is over 2000 HU, where all slices lie and 12 pixels from their edges.
"""

import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "CycleINRSlicer"))

from cycleinr import RequestWarning  # noqa: E402
from cycleinr.files import read_volume  # noqa: E402
from cycleinr.grid import Target  # noqa: E402
from cycleinr.inference import upsample  # noqa: E402
from cycleinr.request import UpsampleOptions  # noqa: E402
from cycleinr.straighten import rectangular  # noqa: E402
from scans import middle  # noqa: E402

SLABS, FINE_PER_SLAB, ROWS, COLUMNS = 20, 4, 128, 96
MARGIN_PX = 12
STEPS_PX = (1.0, 2.0, 0.5, 1.5, 0.37)
RANGE_HU = 2000.0


def main(paths: list[str]) -> None:
    warnings.simplefilter("ignore", RequestWarning)
    for path in paths:
        scan = read_volume(path)
        fine = middle(scan, (SLABS * FINE_PER_SLAB, scan.shape_kji[1], COLUMNS)).array.astype(np.float64)
        for step in STEPS_PX:
            print(Path(path).name, f"{step:g} px a slice:", compared(fine, step), flush=True)


def compared(fine: np.ndarray, step_px: float) -> str:
    """PSNR of the straight slices, and how much lower that of the sheared ones is."""
    slabs = np.rint(fine.reshape(SLABS, FINE_PER_SLAB, *fine.shape[1:]).mean(axis=1))
    moves = step_px * (np.arange(SLABS) - SLABS // 2)
    first = (fine.shape[1] - ROWS) // 2
    whole = moves == np.rint(moves)
    # Values at row + move
    moved = np.stack([shifted(each, -move) for each, move in zip(slabs, moves, strict=True)])
    control = np.stack([shifted(each, move) for each, move in zip(moved, moves, strict=True)])
    control[whole] = slabs[whole]
    straight = np.rint(control[:, first : first + ROWS])
    sheared = np.rint(moved[:, first : first + ROWS])
    for k in np.flatnonzero(whole):
        sheared[k] = slabs[k, first + int(moves[k]) :][:ROWS]
    reach = int(np.ceil(np.abs(moves).max())) + MARGIN_PX
    truth = fine[:, first + reach : first + ROWS - reach, MARGIN_PX:-MARGIN_PX]
    found = [finer(array, lean, first) for array, lean in ((straight, 0.0), (sheared, step_px))]
    psnr = []
    for array, row in found:
        part = array[:, first + reach - row :][:, : truth.shape[1], MARGIN_PX:-MARGIN_PX]
        psnr.append(10 * np.log10(RANGE_HU**2 / np.square(part - truth).mean()))
    return f"{psnr[0]:.2f} dB {psnr[1] - psnr[0]:+.2f}"


def finer(array: np.ndarray, lean_px: float, first_row: int) -> tuple[np.ndarray, int]:
    """The stack with fine slices, and the row of the scan that its first row is."""
    affine = np.diag([1.0, 1.0, FINE_PER_SLAB, 1.0])
    affine[1, 2] = lean_px
    affine[1, 3] = first_row - lean_px * (SLABS // 2)
    scan = rectangular(array.astype(np.int16), affine, modality="CT", slice_thickness_mm=float(FINE_PER_SLAB))
    result = upsample(scan, UpsampleOptions(Target(ratio=FINE_PER_SLAB), extent="edges", device="cpu")).volume
    row = result.ijk_to_ras[1, 3]
    assert abs(row - round(row)) < 1e-6, row
    return result.array.astype(np.float64), round(row)


def shifted(image: np.ndarray, rows: float) -> np.ndarray:
    """A slice moved towards higher rows by a Fourier shift; what lies beyond its ends is it mirrored."""
    mirrored = np.concatenate([image, image[::-1]])
    waves = np.fft.rfft(mirrored, axis=0)
    turns = np.exp(-2j * np.pi * np.fft.rfftfreq(len(mirrored)) * rows)
    # The highest frequency has no phase of its own
    turns[-1] = turns[-1].real
    return np.fft.irfft(waves * turns[:, None], len(mirrored), axis=0)[: len(image)]


if __name__ == "__main__":
    main(sys.argv[1:])
