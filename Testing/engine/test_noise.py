"""Noise matching: new slices of a thin CT are as noisy as the acquired ones beside them, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample as upsample_module
from cycleinr.inference.consistency import covering_grid
from cycleinr.inference.options import UpsampleOptions
from cycleinr.inference.plan import plan
from cycleinr.inference.upsample import upsample
from cycleinr.noise import matched, slice_sigmas
from cycleinr.profile import SliceProfile, acquire
from cycleinr.volume import Volume
from places import REPOSITORY


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
        patch.setattr(upsample_module, "match_noise", lambda *arguments: None)
        return upsample(volume, options).volume.array


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_an_image_gets_the_wanted_noise_level(thin, gain):
    image = thin.array[4].astype(np.float32)
    wanted = gain * slice_sigmas(image[None])[0]

    assert slice_sigmas(matched(image, wanted)[None])[0] == pytest.approx(wanted, rel=2e-3)


def test_detail_is_scaled_within_bounds_only(thin):
    image = thin.array[4].astype(np.float32)
    level = slice_sigmas(image[None])[0]

    assert slice_sigmas(matched(image, 100 * level)[None])[0] < 5 * level
    assert slice_sigmas(matched(image, 0.0)[None])[0] > 0.1 * level
    flat = np.full((20, 20), 7, np.float32)
    assert np.allclose(matched(flat, 5.0), flat)


def test_new_slices_of_a_thin_ct_are_as_noisy_as_their_neighbours(thin):
    result = upsample(thin, request(3, thickness_mm=0.0)).volume.array

    wanted = np.interp(np.arange(len(result)) / 3, np.arange(len(thin.array)), slice_sigmas(thin.array))
    assert np.array_equal(result[::3], thin.array)
    assert slice_sigmas(result) == pytest.approx(wanted, rel=0.02)
    assert result.min() >= thin.array.min() and result.max() <= thin.array.max()


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


@pytest.mark.parametrize("how", [{"thickness_mm": None}, {"thickness_mm": 0.0, "model": "mr"}])
def test_slabs_and_mr_are_left_alone(thin, how, monkeypatch):
    volume = replace(thin, modality=None) if "model" in how else thin
    options = request(2, **how)

    assert np.array_equal(upsample(volume, options).volume.array, without_matching(monkeypatch, volume, options))
