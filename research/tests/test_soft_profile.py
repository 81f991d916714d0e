"""Profiles of training's slices that are no exact boxes."""

import numpy as np
import pytest
from cycleinr.resampling import SliceProfile, profile_matrix
from cycleinr_research.training.patches import SoftProfile, soft_profile_matrix


@pytest.mark.parametrize("softness", [0.05, 0.2, 0.35])
@pytest.mark.parametrize(("ratio", "tau"), [(5.0, 1.0), (3.3, 0.6)])
def test_a_soft_profile_is_the_box_blurred_by_a_gaussian(ratio, tau, softness):
    width = tau * ratio
    profile = SoftProfile(61, np.array([30.2]), ratio, tau, softness)
    fine = np.random.default_rng(3).normal(size=(61, 1))
    shifts = softness * width * np.random.default_rng(4).normal(size=400)

    got = soft_profile_matrix(profile) @ fine

    shifted = [profile_matrix(SliceProfile(61, np.array([30.2 + s]), ratio, tau)) @ fine for s in shifts]
    spread = np.std(shifted) / np.sqrt(len(shifts))
    assert abs(np.mean(shifted) - got) < 4 * spread
    assert soft_profile_matrix(profile).sum() == pytest.approx(1)


def test_softness_goes_to_the_box_without_a_step():
    box = profile_matrix(SliceProfile(21, np.array([5.0, 10.0, 15.0]), 5.0, 1.0))

    nearly = soft_profile_matrix(SoftProfile(21, np.array([5.0, 10.0, 15.0]), 5.0, 1.0, 1e-4))

    assert np.allclose(box, nearly, atol=1e-3)
