"""Scans whose slices are not even: their parts and gaps, and volumes that never say that they are even."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from cycleinr import GeometryError
from cycleinr.files import write_volume
from cycleinr.geometry import Acquisition, EvenPart, Gap, fit_positions
from cycleinr.volume import Volume
from engine.test_volume import places_of_values

LOW_2_5_HIGH_5 = np.cumsum([0.0, *[2.5] * 8, 3.75, *[5.0] * 6])


def uneven(affine: np.ndarray, positions_mm, **more) -> Volume:
    """Every voxel has another value."""
    array = np.arange(len(positions_mm) * 42, dtype=np.int16).reshape(-1, 6, 7)
    affine = affine.copy()
    affine[:3, 2] *= np.median(np.diff(positions_mm)) / np.linalg.norm(affine[:3, 2])
    return Volume(array, affine, "CT", acquisition=Acquisition(positions_mm, **more))


class TestPartsAndGaps:
    @pytest.mark.parametrize(
        ("steps", "parts", "gaps"),
        [
            ([2.5] * 6, [EvenPart(0, 6, 2.5)], []),
            ([2.5, 2.5, 2.5, 5, 5, 5, 5], [EvenPart(0, 3, 2.5), EvenPart(3, 7, 5.0)], []),
            ([2.5, 2.5, 2.5, 3.75, 5, 5, 5], [EvenPart(0, 3, 2.5), EvenPart(3, 7, 5.0)], []),
            ([5, 5, 5, 3, 2.5, 2.5, 2.5], [EvenPart(0, 3, 5.0), EvenPart(3, 7, 2.5)], []),
            ([2, 2, 2, 4, 2, 2, 2], [EvenPart(0, 7, 2.0)], [Gap(3, 1, 6.0, 10.0)]),
            ([2, 2, 2, 8, 2, 4, 2], [EvenPart(0, 7, 2.0)], [Gap(3, 3, 6.0, 14.0), Gap(5, 1, 16.0, 20.0)]),
            ([2.05, 1.95, 2, 2.04, 1.97], [EvenPart(0, 5, 2.0)], []),
            ([2, 2, 2, 10, 5, 5, 5], [EvenPart(0, 3, 2.0), EvenPart(3, 7, 5.0)], [Gap(3, 1, 6.0, 16.0)]),
        ],
    )
    def test_a_change_of_spacing_makes_parts_and_a_wide_step_a_gap(self, steps, parts, gaps):
        found = Acquisition(np.cumsum([0, *steps]))
        assert (list(found.parts), list(found.gaps)) == (parts, gaps)

    def test_positions_that_do_not_rise_from_0_are_refused(self):
        for positions in ([0, 2, 2], [1, 2, 3], [0, 3, 2], []):
            with pytest.raises(GeometryError, match="begin with 0 and rise"):
                Acquisition(positions)

    def test_the_longest_even_part_ends_where_spacing_or_thickness_change_or_a_slice_is_missing(self):
        changing = np.cumsum([0, *[2.5] * 4, *[5] * 6])
        assert Acquisition(changing).longest_even == range(4, 11)
        assert Acquisition(changing, [2.5] * 8 + [5] * 3).longest_even == range(5)
        assert Acquisition(np.delete(2.0 * np.arange(12), 7)).longest_even == range(7)


class TestFit:
    def test_even_positions_stay_as_they_are(self):
        fit = fit_positions(-41.3 + 2.5 * np.arange(20))
        assert fit.acquisition is None and fit.note == ""
        assert (fit.first_mm, fit.spacing_mm) == (-41.3, pytest.approx(2.5))

    def test_rounded_and_jittered_positions_are_taken_as_lying_on_a_line(self):
        rounded = fit_positions(np.round(1.25 * np.arange(40), 1))
        assert rounded.acquisition is None and "even" in rounded.note
        assert rounded.spacing_mm == pytest.approx(1.25, abs=1e-3)
        jittered = fit_positions(3 * np.arange(30) + np.random.default_rng(0).uniform(-0.03, 0.03, 30))
        assert jittered.acquisition is None and "deviate by up to 0.0" in jittered.note
        assert jittered.first_mm == pytest.approx(0, abs=0.02)

    def test_a_missing_slice_among_jittered_ones_is_one_on_the_line(self):
        numbers = np.delete(np.arange(20), 7)
        fit = fit_positions(3 * numbers + np.random.default_rng(1).uniform(-0.05, 0.05, 19))
        assert [(gap.after, gap.missing) for gap in fit.acquisition.gaps] == [(6, 1)]
        np.testing.assert_allclose(fit.acquisition.positions_mm, numbers * fit.spacing_mm, atol=1e-9)

    def test_a_change_of_spacing_stays_a_change(self):
        fit = fit_positions(7 + LOW_2_5_HIGH_5)
        np.testing.assert_array_equal(fit.acquisition.positions_mm, LOW_2_5_HIGH_5)
        assert fit.first_mm == 7 and fit.note == ""


class TestVolume:
    def test_parts_and_turned_views_keep_every_slice_in_its_place(self, oblique_affine):
        scan = uneven(oblique_affine, LOW_2_5_HIGH_5, shift_ras_mm=np.outer(LOW_2_5_HIGH_5, [0, 0.2, 0]))
        everything = places_of_values(scan)
        np.testing.assert_allclose(
            scan.ras_of_ijk([0, 0, 9])[:3] - scan.ras_of_ijk([0, 0, 8]), 3.75 * scan.directions[:, 2], atol=1e-9
        )
        for part in (scan[5:14, 1:3], scan[::-1], scan[12:3:-2, :, ::2], scan.reorient("PIR"), scan.reorient("LPS")):
            assert places_of_values(part) == {value: everything[value] for value in part.array.ravel().tolist()}
        turned = scan[::-1].acquisition
        np.testing.assert_array_equal(turned.shift_ras_mm, scan.acquisition.shift_ras_mm[::-1])

    def test_an_even_part_is_an_even_scan(self, oblique_affine):
        scan = uneven(oblique_affine, LOW_2_5_HIGH_5, thickness_mm=[2.5] * 9 + [5.0] * 7)
        low, high = scan[:9], scan[9:]
        assert low.acquisition is None and high.acquisition is None
        assert (low.slice_thickness_mm, high.slice_thickness_mm) == (2.5, 5.0)
        assert low.spacing_ijk_mm[2] == pytest.approx(2.5) and high.spacing_ijk_mm[2] == pytest.approx(5)
        np.testing.assert_allclose(high.ras_of_ijk([0, 0, 0]), scan.ras_of_ijk([0, 0, 9]))

    def test_the_nominal_grid_alone_is_not_the_same_geometry(self, oblique_affine):
        scan = uneven(oblique_affine, LOW_2_5_HIGH_5)
        even = replace(scan, acquisition=None)
        assert scan.geometry_equal(scan) and scan[2:].geometry_equal(scan[2:])
        assert not scan.geometry_equal(even) and not even.geometry_equal(scan)

    def test_nothing_that_has_one_spacing_takes_it(self, oblique_affine, tmp_path):
        scan = uneven(oblique_affine, LOW_2_5_HIGH_5)
        for write in (scan.to_simpleitk, scan.to_nibabel, lambda: write_volume(scan, tmp_path / "scan.nii.gz")):
            with pytest.raises(GeometryError, match=r"slices lie 2\.5 to 5 mm apart\. Upsample the scan first"):
                write()
        assert not list(tmp_path.iterdir())
        assert sitk.GetArrayFromImage(scan[:9].to_simpleitk()).shape == (9, 6, 7)

    def test_the_mask_follows_the_samples(self, oblique_affine):
        scan = uneven(oblique_affine, LOW_2_5_HIGH_5)
        scan = replace(scan, valid=scan.array % 5 != 0)
        for part in (scan[3:9, ::-1, 2:], scan.reorient("SRA")):
            np.testing.assert_array_equal(part.valid, part.array % 5 != 0)
        assert scan.with_array(scan.array[1:], scan.ijk_to_ras).valid is None
        with pytest.raises(GeometryError, match="mask of valid samples"):
            replace(scan, valid=scan.valid[1:])

    def test_json_holds_it(self):
        one = Acquisition(LOW_2_5_HIGH_5, np.full(16, 2.5), axis="j")
        again = Acquisition(**json.loads(json.dumps(one.to_dict())))
        assert again.to_dict() == one.to_dict() and again.shift_ras_mm is None
        assert again.to_dict() != replace(one, thickness_mm=None).to_dict()
