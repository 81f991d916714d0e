"""What a reader sees: display windows, false extremes, and how well the truth itself fits the assumed profile."""

import math
from dataclasses import replace

import numpy as np
import pytest
from cycleinr.files import read_volume
from cycleinr.resampling import SliceProfile, acquire
from cycleinr.volume import Volume
from cycleinr_research.evaluation.pairs import make_pair_case
from cycleinr_research.evaluation.protocol import make_case
from cycleinr_research.evaluation.reader import dark_near_bone, false_extremes, reader_figures, truth_residual
from places import REPOSITORY


@pytest.fixture(scope="module")
def chest() -> Volume:
    scan = read_volume(REPOSITORY / "Testing" / "data" / "ct_chest_0p8mm.nii.gz")
    return replace(scan, array=scan.array[:, :40, :44], modality="CT", name="chest")


@pytest.fixture(scope="module")
def case(chest):
    return make_case(chest, "slabs", 3)


def test_an_error_counts_in_the_windows_that_show_it(case):
    """6 HU more everywhere: 20 log10(width / 6) where all of the values are shown, less error where some are not."""
    shifted = case.truth + 6.0

    found = reader_figures(case, shifted)

    assert found["psnr_lung_db"] >= 20 * math.log10(1500 / 6) - 1e-3
    assert found["psnr_brain_db"] > 20 * math.log10(120 / 6)
    shown = np.clip(shifted[case.compared], -160, 240) - np.clip(case.truth[case.compared], -160, 240)
    assert found["psnr_soft_db"] == pytest.approx(10 * math.log10(400**2 / np.mean(np.square(shown, dtype=float))))
    assert "psnr_display_db" not in found and 0 < found["ssim_soft"] < 1


def test_the_truth_has_no_false_extremes_and_a_planted_patch_is_found(case):
    true = case.truth[case.compared].astype(np.float32)
    ours = true.copy()
    ours[4, 10:13, 10:14] = true.min() - 31
    ours[8, 30, 30] = true.max() + 31
    ours[8, 31, 31] = true.max() + 31

    assert false_extremes(true, true, 30) == {
        "false_dark_percent": 0, "false_bright_percent": 0, "false_patch_voxels": 0,
    }  # fmt: skip
    found = false_extremes(ours, true, 30)
    assert found["false_dark_percent"] == pytest.approx(100 * 12 / true.size)
    assert found["false_bright_percent"] == pytest.approx(100 * 2 / true.size)
    assert found["false_patch_voxels"] == 12


@pytest.mark.parametrize(("columns", "false"), [(2, False), (3, True)])
def test_a_value_of_the_truths_neighbourhood_is_not_false(case, columns, false):
    true = case.truth[case.compared].astype(np.float32)
    moves = zip(true.shape, (1, -2, columns), strict=True)
    places = np.ix_(*(np.clip(np.arange(size) + by, 0, size - 1) for size, by in moves))

    found = false_extremes(true[places], true, 0)

    assert (found["false_dark_percent"] + found["false_bright_percent"] > 0) == false


def test_mr_is_judged_in_its_display_range(chest):
    mr = replace(chest, modality="MR", array=(chest.array + 1100).astype(np.int16))
    case = make_case(mr, "subsampled", 2)

    found = reader_figures(case, case.truth + 0.05 * case.range.width)

    assert found["psnr_display_db"] >= 20 * math.log10(1 / 0.05) - 1e-3
    assert found["false_bright_percent"] > 0 and "psnr_brain_db" not in found
    assert "truth_residual_rms" not in found


def pair(chest: Volume, change: float):
    """The chest as thick slices of 3, that are ``change`` HU brighter, beside itself."""
    profile = SliceProfile(len(chest.array), np.arange(1, len(chest.array) - 1, 3.0), 3.0, 1.0)
    affine = chest.ijk_to_ras.copy()
    affine[:3, 3] = chest.ras_of_ijk(np.array([0.0, 0.0, 1.0]))
    affine[:3, 2] *= 3
    thick = Volume(acquire(chest.array, profile) + np.float32(change), affine, "CT", name="thick")
    return make_pair_case(thick, chest)


def test_the_truths_residual_says_how_far_the_assumed_profile_is_from_the_scans(chest):
    assert truth_residual(pair(chest, 0)) == pytest.approx(0, abs=1e-2)
    assert truth_residual(pair(chest, 7)) == pytest.approx(7, abs=1e-2)


def test_dark_spots_in_brain_beside_bone_are_counted():
    array = np.full((16, 20, 20), 40, np.int16)
    array[:, :, 10:] = 900
    case = pair(Volume(array, np.diag([1.0, 1.0, 1.0, 1.0]), "CT", name="skull"), 0)
    ours = case.truth[case.compared].astype(np.float32)

    assert dark_near_bone(case, ours) == 0
    ours[:, :, 9] = -30
    assert 0 < dark_near_bone(case, ours) <= 50
    ours[:, :, :8] = -30
    assert dark_near_bone(case, ours) <= 50, "brain away from bone does not count"
