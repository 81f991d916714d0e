"""Noise: new slices of a thin CT are as noisy as the acquired ones beside them, those of a thick one do not flicker."""

from dataclasses import replace

import numpy as np
import pytest
from cycleinr import inference
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.inference.consistency import covering_grid
from cycleinr.inference.noise import Stacks, even_out, local_sigmas, slice_sigmas, with_local_sigmas
from cycleinr.inference.plan import plan
from cycleinr.intensity import ValueRange
from cycleinr.request import UpsampleOptions
from cycleinr.resampling import SliceProfile, acquire, bspline_weights, resampled, smoothed
from cycleinr.result import Monitor
from cycleinr.volume import Volume
from cycleinr_research.evaluation.metrics import sigma_deviation
from cycleinr_research.evaluation.protocol import make_case
from places import REPOSITORY
from scipy.ndimage import maximum_filter, minimum_filter


@pytest.fixture(scope="module")
def thin() -> Volume:
    """A chest CT of which every third slice is left."""
    scan = read_volume(REPOSITORY / "Testing" / "data" / "ct_chest_0p8mm.nii.gz")
    affine = scan.ijk_to_ras.copy()
    affine[:3, 2] *= 3
    return Volume(scan.array[::3, :64, :60], affine, "CT")


def request(ratio, **options):
    return UpsampleOptions(Target(ratio=ratio), device="cpu", **options)


def without_matching(monkeypatch, volume, options):
    with monkeypatch.context() as patch:
        patch.setattr(inference, "match_noise", lambda *arguments: None)
        return upsample(volume, options).volume.array


@pytest.mark.parametrize("gain", [0.7, 1.0, 1.4])
def test_an_image_gets_the_wanted_noise_level_everywhere(thin, gain):
    image = thin.array[4].astype(np.float32)
    own = local_sigmas(image)

    assert local_sigmas(with_local_sigmas(image, own, gain * own)) == pytest.approx(gain * own, rel=0.05)


def test_detail_is_scaled_within_bounds_only(thin):
    image = thin.array[4].astype(np.float32)
    own = local_sigmas(image)

    assert (local_sigmas(with_local_sigmas(image, own, 100 * own)) < 3 * own).all()
    assert (local_sigmas(with_local_sigmas(image, own, 0 * own)) > 0.3 * own).all()
    flat = np.full((20, 20), 7, np.float32)
    assert np.allclose(with_local_sigmas(flat, local_sigmas(flat), flat), flat)
    assert np.abs(with_local_sigmas(image, own, 2 * own, 5.0) - image).max() <= 5


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (40, 1)])
def test_small_images_have_noise_levels_too(shape):
    assert local_sigmas(np.ones(shape, np.float32)).shape == shape


def test_new_slices_of_a_thin_ct_are_as_noisy_as_their_neighbours(thin):
    result = upsample(thin, request(3, thickness_mm=0.0)).volume.array

    wanted = np.interp(np.arange(len(result)) / 3, np.arange(len(thin.array)), slice_sigmas(thin.array))
    assert np.array_equal(result[::3], thin.array)
    assert slice_sigmas(result) == pytest.approx(wanted, rel=0.02)
    assert result.min() >= thin.array.min() and result.max() <= thin.array.max()


def test_new_slices_far_from_acquired_ones_have_nearly_their_texture(thin, monkeypatch):
    options = request(5, thickness_mm=0.0)

    def texture(stack):
        bands = (smoothed(image, 1.0) - smoothed(image, 2.0) for image in np.float32(stack))
        return np.stack([smoothed(np.abs(band), 5.0) for band in bands])

    def share_without(stack):
        """Of pixels whose neighbourhood has less than four fifths of the acquired slices' texture, half-way between."""
        return (texture(stack[2::5]) < 0.8 * np.minimum(acquired[:-1], acquired[1:])).mean()

    acquired = texture(thin.array)
    found = share_without(upsample(thin, options).volume.array)

    assert found < 0.1 * share_without(without_matching(monkeypatch, thin, options))


@pytest.mark.parametrize("ratio", [3.5, 5 / 3])
def test_acquired_slices_between_two_new_ones_are_still_their_mean(thin, monkeypatch, ratio):
    options = request(ratio, thickness_mm=0.0)
    work = plan(thin, options)
    result = upsample(thin, options).volume.array
    plain = without_matching(monkeypatch, thin, options)

    profile = covering_grid(work.grid, work.tau).profile
    whole = profile.centres + 0.5 <= work.grid.n_out - 0.5
    again = acquire(result, SliceProfile(work.grid.n_out, profile.centres[whole], ratio, 0.0))
    wanted = np.interp(work.grid.positions(), np.arange(len(thin.array)), slice_sigmas(thin.array))
    assert np.abs(again - thin.array[whole]).max() <= 2
    assert (np.abs(again - thin.array[whole]) <= 1).mean() > 0.999
    assert np.abs(slice_sigmas(result) - wanted).mean() < 0.6 * np.abs(slice_sigmas(plain) - wanted).mean()


def test_mr_is_left_alone(thin, monkeypatch):
    for thickness_mm in (0.0, None):
        options = request(2, thickness_mm=thickness_mm, model="mr")
        volume = replace(thin, modality=None)

        assert np.array_equal(upsample(volume, options).volume.array, without_matching(monkeypatch, volume, options))


@pytest.mark.parametrize("ratio", [3.0, 5 / 3])
def test_the_noise_of_slices_made_of_thick_ones_follows_the_truths_better_than_a_bsplines(ratio):
    scan = replace(read_volume(REPOSITORY / "Testing" / "data" / "ct_chest_0p8mm.nii.gz"), modality="CT")
    case = make_case(scan, "slabs", ratio)

    ours = upsample(case.lowres, UpsampleOptions(Target(ratio=ratio), "k", "edges", device="cpu")).volume.array

    plain = resampled(bspline_weights(case.grid.positions(), case.grid.n_in), case.lowres.array)
    found = [stack[case.compared] for stack in (ours, plain, case.truth)]
    assert sigma_deviation(found[0], found[2]) < sigma_deviation(found[1], found[2])


def test_slices_lose_the_period_of_the_thick_slices_and_follow_the_course_of_the_scan(thin):
    acquired = thin.array[:, :40, :40]
    positions = (np.arange(3 * len(acquired)) - 1) / 3
    result = np.repeat(acquired, 3, axis=0)
    middles = result[1::3].astype(np.float32)
    result[1::3] = np.rint(1.2 * middles - 0.2 * np.stack([smoothed(image, 1.0) for image in middles]))
    level = slice_sigmas(acquired)
    course = np.linspace(0.8, 1.2, len(acquired)) * level.mean()
    before = slice_sigmas(result) / np.repeat(level, 3)

    even_out(Stacks(result, acquired, positions, ValueRange.of(acquired)), course, level.mean(), 3.0, Monitor())

    after = slice_sigmas(result) / np.repeat(level, 3)
    assert before[1::3].mean() / before[::3].mean() > 1.15
    assert after[1::3].mean() / after[::3].mean() == pytest.approx(1, abs=0.04)
    assert after[-9:].mean() / after[:9].mean() > 1.1 * before[-9:].mean() / before[:9].mean()


def test_evening_out_noise_makes_no_voxel_more_extreme_than_the_acquired_ones_around(thin):
    acquired = thin.array[:, :40, :40]
    result = np.repeat(acquired, 3, axis=0)
    result[1::3] = np.round(np.mean([result[0::3], result[1::3]], axis=0) * 0.97)
    before, positions = result.copy(), (np.arange(len(result)) - 1) / 3

    level = slice_sigmas(acquired)
    even_out(Stacks(result, acquired, positions, ValueRange.of(acquired)), level, level.mean(), 3.0, Monitor())

    assert (result != before).any()
    nearest = np.clip(np.round(positions), 0, len(acquired) - 1).astype(int)
    low, high = (find(acquired, (3, 5, 5), mode="nearest")[nearest] for find in (minimum_filter, maximum_filter))
    assert (result >= np.minimum(low, before)).all() and (result <= np.maximum(high, before)).all()
