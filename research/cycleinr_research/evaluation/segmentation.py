"""Does a segmentation of the result agree with the same segmenter's of the truth?

The built-in segmenters are thresholds, simple enough to be described in a sentence each. Any program that reads and
writes image files can stand in for them: see ``CommandSegmenter``.
"""

from __future__ import annotations

import math
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cycleinr import InputError
from cycleinr.files import read_volume, write_volume
from cycleinr.volume import Volume

Segmenter = Callable[[Volume], np.ndarray]
"""Volume -> mask of bool, (K, J, I)."""

BONE_HU = 300.0
AIR_HU = -500.0
LUNG_HU = -400.0
MIN_LUNG_ML = 10.0
TOLERANCES_MM = (1.0, 2.0)
_ERROR_LINES = 5


def bone(volume: Volume) -> np.ndarray:
    """CT: everything above 300 HU; strong contrast agent and metal are in it too."""
    return volume.array > BONE_HU


def body(volume: Volume) -> np.ndarray:
    """CT: the largest connected part above -500 HU, its holes filled slice by slice; its surface is the skin."""
    from scipy.ndimage import binary_fill_holes, label

    parts, count = label(volume.array > AIR_HU)
    if count == 0:
        return np.zeros(volume.shape_kji, bool)
    sizes = np.bincount(parts.ravel())
    largest = parts == 1 + int(np.argmax(sizes[1:]))
    return np.stack([binary_fill_holes(plane) for plane in largest])


def lung(volume: Volume) -> np.ndarray:
    """CT: parts of at least 10 ml below -400 HU inside the body; large airways and much bowel gas are in it too."""
    from scipy.ndimage import label

    parts, _ = label(body(volume) & (volume.array < LUNG_HU))
    voxels = MIN_LUNG_ML * 1000 / math.prod(volume.spacing_ijk_mm)
    large = np.bincount(parts.ravel()) >= voxels
    large[0] = False
    return large[parts]


CT_SEGMENTERS: dict[str, Segmenter] = {"bone": bone, "lung": lung, "skin": body}
"""Built-in segmenters by name. MR has no absolute intensities, so none is built in for it."""


def segmenters_for(modality: str, segmenters: Mapping[str, Segmenter]) -> dict[str, Segmenter]:
    """Those that can be used on a modality: the built-in ones are for CT alone."""
    built_in = list(CT_SEGMENTERS.values())
    return {name: found for name, found in segmenters.items() if modality == "CT" or found not in built_in}


@dataclass(frozen=True)
class CommandSegmenter:
    """A segmentation program, run once per volume.

    Attributes:
        command: A command line with {input} and {output}, which become the paths of .nii.gz files; for example
            "TotalSegmentator -i {input} -o {output} --ml". No shell sees it.
        labels: The values of the program's label map that belong to the structure; None takes all but 0.
        timeout_s: Longest time that one run may take.
    """

    command: str
    labels: tuple[int, ...] | None = None
    timeout_s: float = 3600.0

    def __call__(self, volume: Volume) -> np.ndarray:
        """Mask of one volume.

        Raises:
            InputError: The program is missing, fails, takes too long, or writes no label map of the same shape.
        """
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "input.nii.gz", Path(folder) / "output.nii.gz"
            write_volume(volume, source)
            words = shlex.split(self.command)
            self._run([word.replace("{input}", str(source)).replace("{output}", str(target)) for word in words])
            if not target.is_file():
                raise InputError(f"The segmenter {words[0]} wrote no file to {{output}}. Check its command line.")
            found = read_volume(target).array
        if found.shape != volume.shape_kji:
            raise InputError(
                f"The segmenter {words[0]} returned shape {found.shape} for a volume of {volume.shape_kji} (K, J, I)."
            )
        return found != 0 if self.labels is None else np.isin(found, self.labels)

    def _run(self, words: list[str]) -> None:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=self.timeout_s, check=False)
        except FileNotFoundError as error:
            raise InputError(f"There is no program {words[0]}. Install it, or give its full path.") from error
        except subprocess.TimeoutExpired as error:
            raise InputError(f"The segmenter {words[0]} took longer than {self.timeout_s:g} s.") from error
        if done.returncode != 0:
            last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_ERROR_LINES:])
            raise InputError(f"The segmenter {words[0]} failed with exit code {done.returncode}:\n{last}")


@dataclass(frozen=True)
class Overlap:
    """Agreement of two masks; nan where both are empty.

    Attributes:
        dsc: Dice similarity coefficient, 0 to 1.
        nsd: Normalised surface Dice by tolerance in mm, 0 to 1.
    """

    dsc: float
    nsd: Mapping[float, float]


def compare_segmentations(ours: Volume, true: Volume, segmenter: Segmenter) -> Overlap:
    """Segment both volumes with the same segmenter and compare the masks at tolerances of 1 mm and 2 mm."""
    return compare_masks(segmenter(ours), segmenter(true), true.spacing_ijk_mm[::-1])


def compare_masks(ours: np.ndarray, true: np.ndarray, spacing_kji_mm: tuple[float, float, float]) -> Overlap:
    """Agreement of two masks (K, J, I) at tolerances of 1 mm and 2 mm."""
    return Overlap(dice(ours, true), surface_dice(ours, true, spacing_kji_mm, TOLERANCES_MM))


def dice(ours: np.ndarray, true: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two masks; nan where both are empty."""
    total = np.count_nonzero(ours) + np.count_nonzero(true)
    return 2 * np.count_nonzero(ours & true) / total if total else math.nan


def surface_dice(
    ours: np.ndarray, true: np.ndarray, spacing_kji_mm: tuple[float, float, float], tolerances_mm: tuple[float, ...]
) -> dict[float, float]:
    """Share of both surfaces that lies within a tolerance of the other; nan where both masks are empty.

    The surface of a mask is its voxels with a neighbour outside, across a face; faces of the array do not count as
    outside. Every surface voxel counts once, whatever area it stands for.

    Source: Nikolov et al., arXiv 1809.04430 (there with areas of surface elements instead of voxels).
    """
    from scipy.ndimage import distance_transform_edt

    surfaces = [_surface(mask) for mask in (ours, true)]
    counts = [np.count_nonzero(surface) for surface in surfaces]
    if min(counts) == 0:
        return dict.fromkeys(tolerances_mm, math.nan if max(counts) == 0 else 0.0)
    to_true, to_ours = (distance_transform_edt(~surface, sampling=spacing_kji_mm) for surface in surfaces[::-1])
    distances = np.concatenate([to_true[surfaces[0]], to_ours[surfaces[1]]])
    # Distances are sums of squared spacings; a tolerance that is one of them must not depend on rounding.
    return {tolerance: float(np.mean(distances <= tolerance * (1 + 1e-6))) for tolerance in tolerances_mm}


def _surface(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask, border_value=1)
