"""The checks' numbers against literal recomputations on real volumes, and what the self-check finds."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cycleinr import Cancelled, RequestError
from cycleinr.checks.report import write_report
from cycleinr.checks.run import check_result, numbers
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.request import UpsampleOptions
from cycleinr.result import Monitor
from cycleinr.volume import Volume
from cycleinr_research.evaluation.metrics import snli
from places import REPOSITORY

EVERY, SPACING_MM = 4, 3.2


@pytest.fixture(scope="module")
def fine() -> Volume:
    return replace(read_volume(REPOSITORY / "Testing/data/ct_chest_0p8mm.nii.gz"), modality="CT")


@pytest.fixture(scope="module")
def slabs(fine) -> Volume:
    """A chest CT of 10 contiguous 3.2 mm slabs."""
    stack = fine.array[: 10 * EVERY, 20:60, 16:64]
    means = np.rint(stack.reshape(10, EVERY, 40, 48).mean(axis=1)).astype(np.int16)
    return _scan(fine, means)


@pytest.fixture(scope="module")
def thin(fine) -> Volume:
    """A chest CT of 10 thin slices, 3.2 mm apart."""
    return _scan(fine, fine.array[: 10 * EVERY : EVERY, 20:60, 16:64])


def _scan(fine: Volume, array: np.ndarray) -> Volume:
    affine = fine.ijk_to_ras.copy()
    affine[:3, 2] *= SPACING_MM / np.linalg.norm(affine[:3, 2])
    return Volume(array, affine, "CT")


def _options(thickness_mm: float, **target) -> UpsampleOptions:
    return UpsampleOptions(Target(**(target or {"ratio": EVERY})), thickness_mm=thickness_mm, device="cpu")


def _checked(scan: Volume, options: UpsampleOptions):
    result = upsample(scan, options).volume
    return result, check_result(scan, result, options)


def test_the_self_check_of_thin_slices_is_the_cycle_done_by_hand(thin):
    options = _options(0.0)
    result, check = _checked(thin, options)

    affine = thin.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, 2] / 2
    between = Volume(result.array[EVERY // 2 :: EVERY], affine, "CT")
    again = upsample(between, options).volume.array[EVERY // 2 :: EVERY]
    error = np.abs(again.astype(float) - thin.array[1:-1])

    found = check.self_check
    assert found.slices.tolist() == list(range(1, 9))
    assert np.array_equal(found.error_map.array, error)
    assert np.allclose(found.mean_absolute, error.mean(axis=(1, 2)))
    assert np.allclose(found.rms, np.sqrt((error**2).mean(axis=(1, 2))))
    assert error.mean() > 1
    assert np.allclose(found.error_map.ijk_to_ras[:3, 3], thin.ras_of_ijk((0, 0, 1)))
    assert np.allclose(found.error_map.ijk_to_ras[:3, :3], thin.ijk_to_ras[:3, :3])


def test_the_self_check_of_slabs_compares_slabs_of_the_same_thickness(slabs):
    options = _options(3.2)
    result, check = _checked(slabs, options)

    def half_way(stack):
        """Means over slabs that begin half-way in one acquired slab and end half-way in the next."""
        weights = np.array([0.5, 1, 1, 1, 0.5]) / EVERY
        return np.stack([np.tensordot(weights, stack[n : n + 5].astype(float), 1) for n in range(0, len(stack) - 1, 4)])

    affine = slabs.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, 2] / 2
    between = Volume(np.rint(half_way(result.array)).astype(np.int16), affine, "CT")
    error = np.abs(half_way(upsample(between, options).volume.array) - slabs.array[1:-1])

    assert np.allclose(check.self_check.error_map.array, error, atol=1e-2)
    assert np.allclose(check.self_check.mean_absolute, error.mean(axis=(1, 2)), atol=1e-3)


@pytest.mark.parametrize(("ratio", "offset"), [(3, 1 / 3), (5 / 3, 0.5), (2.5, 0.5)])
def test_thin_slices_are_never_interpolated_for_the_self_check(thin, ratio, offset):
    _, check = _checked(thin, _options(0.0, ratio=ratio))

    assert check.self_check.new_slices_offset == pytest.approx(offset)
    assert check.self_check.new_slices_from == ("result" if ratio == 3 else "second pass")
    assert check.self_check.slices.tolist() == list(range(1, 9))


@pytest.mark.parametrize("damage", ["in the scan", "in the result"])
def test_the_self_check_points_at_the_damaged_place(slabs, damage):
    options = _options(3.2)
    if damage == "in the scan":
        array = slabs.array.copy()
        array[6, 10:30, 10:30] += 300
        damaged = slabs.with_array(array)
        _, check = _checked(damaged, options)
    else:
        result = upsample(slabs, options).volume
        array = result.array.copy()
        array[5 * EVERY + 2 : 6 * EVERY, 10:30, 10:30] += 300
        check = check_result(slabs, result.with_array(array), options)
    _, sound = _checked(slabs, options)

    rise = check.self_check.rms - sound.self_check.rms
    near = np.isin(check.self_check.slices, (5, 6, 7))
    assert rise[near].max() > 20
    assert rise[near].max() > 5 * np.abs(rise[~near]).max()
    error = check.self_check.error_map.array
    worst = error[int(np.argmax(rise))]
    assert worst[10:30, 10:30].mean() > 3 * worst[32:, 32:].mean()


@pytest.mark.parametrize("axis", ["i", "j"])
def test_slices_may_lie_along_any_axis(slabs, axis):
    """The same scan stored with other axes has the same numbers, and its map lies at the same place."""
    _, upright = _checked(slabs, _options(3.2))
    order = {"i": (1, 2, 0), "j": (1, 0, 2)}[axis]
    columns = [2 - order[2 - column] for column in range(3)]
    affine = slabs.ijk_to_ras.copy()
    affine[:3, :3] = affine[:3, columns]
    turned = Volume(np.ascontiguousarray(slabs.array.transpose(order)), affine, "CT")

    _, check = _checked(turned, _options(3.2))

    assert np.allclose(check.self_check.rms, upright.self_check.rms, rtol=1e-3)
    assert np.allclose(check.noise_after, upright.noise_after, rtol=1e-3)
    assert check.self_check.error_map.shape_kji == tuple(upright.self_check.error_map.shape_kji[n] for n in order)
    assert np.allclose(check.self_check.error_map.ijk_to_ras[:3, 3], upright.self_check.error_map.ijk_to_ras[:3, 3])


def test_the_residual_is_that_of_reslicing_the_result(slabs):
    result, check = _checked(slabs, _options(3.2, ratio=2))
    spoilt = result.array.copy()
    spoilt[8, 3, 3] += 400
    spoilt[8, 3, 4] += 2
    spoilt_check = check_result(slabs, result.with_array(spoilt), _options(3.2, ratio=2))

    # At ratio 2, slab n reaches from half of fine slice 2n - 1 to half of fine slice 2n + 1
    weights = np.array([0.25, 0.5, 0.25])
    for stack, found in ((result.array, check.residual), (spoilt, spoilt_check.residual)):
        again = [np.tensordot(weights, stack[2 * n - 1 : 2 * n + 2].astype(float), 1) for n in range(1, 9)]
        error = np.abs(np.stack(again) - slabs.array[1:-1])
        assert found.slices.tolist() == list(range(1, 9))
        assert found.largest == pytest.approx(error.max(), abs=1e-3)
        assert found.percentile_99_9 == pytest.approx(np.percentile(error, 99.9), abs=1e-3)
        assert found.share_within_limit == pytest.approx((error <= 1).mean(), abs=1e-9)
    assert spoilt_check.residual.largest > check.residual.largest + 50


def test_noise_and_its_jumps_are_measured_along_the_slices(slabs):
    result, check = _checked(slabs, _options(3.2))
    told = numbers(check)["noise"]

    assert len(told["sigma_before"]) == 10 and len(told["sigma_after"]) == 37
    assert told["snli_before"] == pytest.approx(snli(slabs.array))
    assert told["snli_after"] == pytest.approx(snli(result.array))


def test_mr_residuals_are_judged_by_the_range(slabs):
    scan = replace(slabs, modality="MR", array=(slabs.array + 1024).astype(np.uint16))
    _, check = _checked(scan, _options(3.2))

    top = np.percentile(scan.array, 99.9) - scan.array.min()
    assert check.unit == "MR units"
    assert check.residual.limit == pytest.approx(top / 1000)


@pytest.mark.parametrize(("slices", "ratio", "says"), [(4, 2, "4 slices"), (10, 1, "own slices")])
def test_what_cannot_be_self_checked_is_said(slabs, slices, ratio, says):
    scan = slabs.with_array(slabs.array[:slices], slabs.ijk_to_ras)
    _, check = _checked(scan, _options(3.2, ratio=ratio))

    assert check.self_check is None
    assert says in numbers(check)["self_check"]["left_out"]
    assert check.residual.share_within_limit > 0.4


def test_another_volume_is_no_result(slabs):
    options = _options(3.2)
    result = upsample(slabs, options).volume
    moved = result.ijk_to_ras.copy()
    moved[0, 3] += 1

    with pytest.raises(RequestError, match="no result of this scan"):
        check_result(slabs, result, _options(3.2, ratio=2))
    with pytest.raises(RequestError, match="elsewhere"):
        check_result(slabs, result.with_array(result.array, moved), options)


@pytest.mark.parametrize("thickness_mm", [0.0, 3.2])
def test_the_result_of_another_scan_on_the_same_grid_is_told_as_such(slabs, thickness_mm):
    options = _options(thickness_mm, ratio=2)
    result = upsample(slabs, options).volume
    noise = np.random.default_rng(0).normal(0, 20, result.shape_kji).astype(np.int16)

    for array in (result.array[:, :, ::-1], np.roll(result.array, 2, axis=0)):
        verdict = check_result(slabs, result.with_array(array), options).verdict
        assert verdict.startswith("This is no result of this scan: re-sliced, it differs from the acquired slices by ")
    for array in (result.array, result.array + noise):
        assert "typically within" in check_result(slabs, result.with_array(array), options).verdict


@pytest.mark.parametrize("shape", [(1, 9), (2, 2)])
def test_slices_of_a_few_pixels_are_checked(slabs, shape, tmp_path):
    scan = slabs[:, : shape[0], : shape[1]]
    options = _options(0.0, ratio=2)
    result = upsample(scan, options)
    check = check_result(scan, result.volume, options)

    write_report(check, result.provenance, ("scan", "fine"), tmp_path)

    assert json.loads((tmp_path / "report.json").read_text())["noise"]["mean_sigma_before"] == 0
    assert np.array_equal(result.volume.array[::2], scan.array)


def test_progress_rises_to_the_end_and_cancelling_ends_it(slabs):
    options = _options(3.2)
    result = upsample(slabs, options).volume
    before = slabs.array.copy(), result.array.copy()
    heard = []
    check_result(slabs, result, options, Monitor(heard.append))

    fractions = [progress.fraction for progress in heard]
    assert fractions == sorted(fractions) and fractions[-1] == 1 and len(set(fractions)) > 10
    for moment in ("Measuring noise", "Checking the result with itself"):
        told = []
        with pytest.raises(Cancelled):
            check_result(slabs, result, options, Monitor(told.append, lambda: told[-1].phase == moment))  # noqa: B023
    assert np.array_equal(slabs.array, before[0]) and np.array_equal(result.array, before[1])


class TestPadding:
    @pytest.mark.parametrize("value", [-3024, np.nan])
    def test_it_takes_no_part_in_any_number(self, slabs, value):
        options, plain = _options(SPACING_MM), slabs[:, :30]
        padded = np.full_like(slabs.array, value, np.int16 if value == value else np.float32)
        padded[:, :30] = plain.array
        expected, found = (numbers(_checked(scan, options)[1]) for scan in (plain, slabs.with_array(padded)))
        assert found["window"] == expected["window"]
        # Not the same: a crop ends where the other scan goes on
        for part, key in (
            ("residual", "median"), ("residual", "percentile_99"), ("noise", "mean_sigma_before"),
            ("noise", "mean_sigma_after"), ("self_check", "rms_of_all"), ("trust", "typical"),
        ):  # fmt: skip
            np.testing.assert_allclose(found[part][key], expected[part][key], rtol=0.25, atol=0.5, err_msg=key)

    def test_maps_are_empty_there(self, slabs):
        scan = slabs.with_array(np.where(np.arange(40)[:, None] < 30, slabs.array, -3024))
        check = _checked(scan, _options(SPACING_MM))[1]
        for each in (check.self_check.error_map, check.expected_error):
            assert not each.array[:, 30:].any() and each.array[:, :30].any()


def test_an_intensity_offset_is_reported_in_hounsfield_units(slabs):
    options = replace(_options(SPACING_MM), model="ct")
    stored = replace(slabs, array=(slabs.array + 1024).astype(np.uint16), modality=None)
    expected = numbers(_checked(slabs, options)[1])
    found = numbers(_checked(stored, replace(options, intensity_offset=-1024.0))[1])
    assert found["window"] == expected["window"] and found["unit"] == "HU"
    assert found["trust"]["typical"] == pytest.approx(expected["trust"]["typical"], rel=0.05)
