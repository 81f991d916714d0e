"""Cases: geometry, which slices are compared, and that re-slicing the truth gives the input."""

from dataclasses import replace

import numpy as np
import pytest
from cycleinr import GeometryError, RequestError
from cycleinr.grid import output_ijk_to_ras
from cycleinr.volume import Volume
from cycleinr_research.evaluation import protocol
from cycleinr_research.evaluation.measure import consistency_residual
from cycleinr_research.evaluation.methods import METHODS
from cycleinr_research.evaluation.pairs import make_pair_case

RATIOS = (2, 3, 5, 5 / 3, 2.5, 3.5)


def centres_ras(ijk_to_ras: np.ndarray, n: int) -> np.ndarray:
    """RAS positions of the first pixel of slices 0 ... n - 1."""
    ijk = np.zeros((n, 3))
    ijk[:, 2] = np.arange(n)
    return ijk @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]


def ramp(affine: np.ndarray, n_slices: int = 47) -> Volume:
    """A volume whose value is the slice's position in mm along k, from the origin of RAS."""
    along = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    values = centres_ras(affine, n_slices) @ along
    array = np.broadcast_to(values[:, None, None], (n_slices, 4, 3)).astype(np.float64)
    return Volume(array, affine, modality="CT", name="ramp")


def tolerance_mm(condition: str, ratio: float) -> float:
    """Slabs that end inside a fine slice take its value for the part they cover, which shifts them a little.

    A covered share f counts at the slice's centre instead of its own, an error of f (1 - f) / 2 <= 1/8 slice, over a
    slab of `ratio` slices.
    """
    return 1e-4 + 1.25 / 8 / ratio if condition == "slabs" and ratio % 1 else 1e-4


@pytest.mark.parametrize("condition", protocol.CONDITIONS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_input_result_and_truth_lie_at_the_same_place_in_the_patient(oblique_affine, condition, ratio):
    fine = ramp(oblique_affine)
    case = protocol.make_case(fine, condition, ratio)
    along = fine.directions[:, 2]
    # The input's values are positions too, so each low-resolution slice says where it was acquired.
    where = centres_ras(case.lowres.ijk_to_ras, case.grid.n_in) @ along
    np.testing.assert_allclose(case.lowres.array[:, 0, 0], where, atol=tolerance_mm(condition, ratio))
    assert case.lowres.spacing_ijk_mm == pytest.approx((0.7, 0.9, 1.25 * ratio))
    result = centres_ras(output_ijk_to_ras(case.lowres, case.grid), case.grid.n_out)
    np.testing.assert_allclose(result, centres_ras(fine.ijk_to_ras, case.grid.n_out), atol=1e-9)
    np.testing.assert_allclose(result @ along, case.truth[:, 0, 0], atol=1e-9)
    cut = case.compared_volume(case.truth)
    np.testing.assert_allclose(centres_ras(cut.ijk_to_ras, len(cut.array)) @ along, cut.array[:, 0, 0], atol=1e-9)


@pytest.mark.parametrize("condition", protocol.CONDITIONS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_linear_interpolation_restores_a_ramp_on_all_compared_slices(oblique_affine, condition, ratio):
    case = protocol.make_case(ramp(oblique_affine), condition, ratio)
    result = METHODS["linear"].run(case.lowres, case.grid)
    assert result.shape == case.truth.shape
    np.testing.assert_allclose(result[case.compared], case.truth[case.compared], atol=tolerance_mm(condition, ratio))


@pytest.mark.parametrize("condition", protocol.CONDITIONS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_truth_itself_is_consistent_with_the_input(noisy_ct, condition, ratio):
    case = protocol.make_case(noisy_ct, condition, ratio)
    assert consistency_residual(case, case.truth) == pytest.approx((0, 0), abs=1e-3)
    assert consistency_residual(case, case.truth + 7.0) == pytest.approx((7, 7), abs=1e-3)


def test_subsampling_keeps_every_third_slice_and_drops_one_interval_at_each_end(noisy_ct):
    case = protocol.make_case(noisy_ct, "subsampled", 3)
    np.testing.assert_array_equal(case.lowres.array, noisy_ct.array[:40:3].astype(np.float32))
    assert (case.grid.n_out - 1) % 3 == 0 and case.grid.n_out == 40
    assert (case.compared.start, case.compared.stop) == (3, 37)
    assert np.flatnonzero(~case.generated).tolist() == list(range(0, 40, 3))
    assert case.lowres.slice_thickness_mm == 0


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
def test_slabs_are_means_of_s_slices_and_none_of_them_is_a_true_slice(noisy_ct, ratio):
    case = protocol.make_case(noisy_ct, "slabs", ratio)
    n = 41 // ratio
    means = noisy_ct.array[: n * ratio].reshape(n, ratio, 24, 20).mean(axis=1)
    np.testing.assert_allclose(case.lowres.array, means, atol=1e-3)
    assert case.grid.n_out == n * ratio and case.generated.all()
    assert case.lowres.slice_thickness_mm == pytest.approx(ratio)
    centres = (ratio - 1) / 2 + ratio * np.arange(n)
    assert case.compared.start == np.ceil(centres[1]) and case.compared.stop - 1 == np.floor(centres[-2])


def test_a_fractional_ratio_copies_only_where_the_grids_meet(noisy_ct):
    case = protocol.make_case(noisy_ct, "subsampled", 5 / 3)
    assert np.flatnonzero(~case.generated).tolist() == list(range(0, 41, 5))
    between = 2 / 3 * noisy_ct.array[3].astype(float) + 1 / 3 * noisy_ct.array[4]
    np.testing.assert_allclose(case.lowres.array[2], between, atol=1e-3)


def test_impossible_requests_say_why(noisy_ct):
    with pytest.raises(GeometryError, match="41 slices"):
        protocol.make_case(noisy_ct, "subsampled", 20)
    with pytest.raises(RequestError, match="condition"):
        protocol.make_case(noisy_ct, "thick", 2)
    with pytest.raises(RequestError, match="ratio"):
        protocol.make_case(noisy_ct, "slabs", 1)
    with pytest.raises(RequestError, match="modality"):
        protocol.make_case(Volume(noisy_ct.array, np.eye(4)), "slabs", 2)


@pytest.mark.parametrize(("text", "ratio"), [("3", 3.0), ("3.5", 3.5), ("5/3", 5 / 3)])
def test_ratios_are_written_as_people_write_them(text, ratio):
    assert protocol.parse_ratio(text) == ratio and protocol.ratio_text(ratio) == text


@pytest.mark.parametrize("text", ["x2", "0", "1/0", "-3"])
def test_ratios_that_are_none_are_refused(text):
    with pytest.raises(RequestError, match="ratio"):
        protocol.parse_ratio(text)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_a_pair_is_compared_where_both_scans_are(oblique_affine, flipped, shift):
    affine = oblique_affine.copy()
    affine[:3, 3] += affine[:3, 2] * (2 + shift)
    thick = protocol.make_case(ramp(affine, 40), "slabs", 4).lowres
    thin = ramp(oblique_affine, 31)
    if flipped:
        turned = oblique_affine.copy()
        turned[:3, 3] = thin.ras_of_ijk(np.array([0.0, 0.0, 30.0]))
        turned[:3, 2] *= -1
        thin = Volume(thin.array[::-1], turned, modality="CT")
    case = make_pair_case(thick, thin)
    assert case.condition == "pair" and case.ratio == pytest.approx(4) and case.generated.all()
    result = METHODS["linear"].run(case.lowres, case.grid)
    np.testing.assert_allclose(result[case.compared], case.truth[case.compared], atol=1e-3)
    # The first thick centre is at fine slice 3.5 + shift; the next one starts the comparison, the thin scan ends it.
    assert case.compared.start == 4 and case.compared.stop - 1 == int(30 - 3.5 - shift)
    assert case.compared_mm == pytest.approx((case.compared.stop - 5) * 1.25)


def test_pairs_that_do_not_match_are_refused(noisy_ct):
    thick = protocol.make_case(noisy_ct, "slabs", 3).lowres
    aside, above = np.eye(4), np.eye(4)
    aside[0, 3], above[2, 3] = 0.5, 100.0
    with pytest.raises(GeometryError, match="0.50 pixels"):
        make_pair_case(thick, Volume(noisy_ct.array, aside))
    with pytest.raises(GeometryError, match="inside both"):
        make_pair_case(thick, Volume(noisy_ct.array, above))
    with pytest.raises(GeometryError, match=r"24, 20\) pixels .* in-plane"):
        make_pair_case(thick, Volume(noisy_ct.array[:, 1:], aside))


def test_a_pair_of_different_crops_is_compared_where_both_are(noisy_ct):
    thick = protocol.make_case(noisy_ct, "slabs", 3).lowres
    moved = np.eye(4)
    moved[:2, 3] = 2.0, 5.0
    whole = make_pair_case(thick, noisy_ct)
    case = make_pair_case(
        replace(thick, array=thick.array[:, :20]), Volume(noisy_ct.array[:, 5:, 2:17], moved, modality="CT")
    )

    assert case.lowres.shape_kji[1:] == (15, 15)
    np.testing.assert_array_equal(case.truth, whole.truth[:, 5:20, 2:17])
    np.testing.assert_array_equal(case.lowres.array, thick.array[:, 5:20, 2:17])
    assert np.allclose(case.lowres.ras_of_ijk(np.zeros(3)), thick.ras_of_ijk(np.array([2.0, 5.0, 0.0])))
