"""Output grids lie where they are promised to lie."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cycleinr import GeometryError, RequestError
from cycleinr.grid import (
    AXIS_OF_ARRAY,
    SliceGrid,
    Target,
    from_axis_first,
    output_ijk_to_ras,
    output_shape_kji,
    plan_grid,
    plane_of,
    through_plane_axis,
    to_axis_first,
)
from cycleinr.volume import Volume
from hypothesis import given
from hypothesis import strategies as st

AXIAL = [[-0.5, 0, 0, 100], [0, -0.5, 0, 120], [0, 0, 6, -30], [0, 0, 0, 1]]
SAGITTAL = [[0, 0, 6, -60], [-0.5, 0, 0, 120], [0, -0.5, 0, 90], [0, 0, 0, 1]]
CORONAL = [[-0.5, 0, 0, 100], [0, 0, 6, -80], [0, -0.5, 0, 90], [0, 0, 0, 1]]
LEFT_HANDED = [[-0.5, 0, 0, 100], [0, -0.5, 0, 120], [0, 0, -6, 30], [0, 0, 0, 1]]
# i and k turned by the angle of a 3-4-5 triangle about A-P, so that every number stays readable.
OBLIQUE = [[-0.4, 0, 3.6, 10], [0, -0.5, 0, 20], [0.3, 0, 4.8, 30], [0, 0, 0, 1]]

HAND_WRITTEN_GRIDS = {
    "axial, centres": (
        AXIAL, "centres", 13, [[-0.5, 0, 0, 100], [0, -0.5, 0, 120], [0, 0, 2, -30], [0, 0, 0, 1]],
    ),
    "axial, edges": (
        AXIAL, "edges", 15, [[-0.5, 0, 0, 100], [0, -0.5, 0, 120], [0, 0, 2, -32], [0, 0, 0, 1]],
    ),
    "sagittal, centres": (
        SAGITTAL, "centres", 13, [[0, 0, 2, -60], [-0.5, 0, 0, 120], [0, -0.5, 0, 90], [0, 0, 0, 1]],
    ),
    "sagittal, edges": (
        SAGITTAL, "edges", 15, [[0, 0, 2, -62], [-0.5, 0, 0, 120], [0, -0.5, 0, 90], [0, 0, 0, 1]],
    ),
    "coronal, centres": (
        CORONAL, "centres", 13, [[-0.5, 0, 0, 100], [0, 0, 2, -80], [0, -0.5, 0, 90], [0, 0, 0, 1]],
    ),
    "coronal, edges": (
        CORONAL, "edges", 15, [[-0.5, 0, 0, 100], [0, 0, 2, -82], [0, -0.5, 0, 90], [0, 0, 0, 1]],
    ),
    "left-handed, centres": (
        LEFT_HANDED, "centres", 13, [[-0.5, 0, 0, 100], [0, -0.5, 0, 120], [0, 0, -2, 30], [0, 0, 0, 1]],
    ),
    "left-handed, edges": (
        LEFT_HANDED, "edges", 15, [[-0.5, 0, 0, 100], [0, -0.5, 0, 120], [0, 0, -2, 32], [0, 0, 0, 1]],
    ),
    "oblique, centres": (
        OBLIQUE, "centres", 13, [[-0.4, 0, 1.2, 10], [0, -0.5, 0, 20], [0.3, 0, 1.6, 30], [0, 0, 0, 1]],
    ),
    "oblique, edges": (
        OBLIQUE, "edges", 15, [[-0.4, 0, 1.2, 8.8], [0, -0.5, 0, 20], [0.3, 0, 1.6, 28.4], [0, 0, 0, 1]],
    ),
}  # fmt: skip


def volume_with(affine, shape_kji=(5, 7, 8), **known) -> Volume:
    return Volume(np.zeros(shape_kji, np.int16), np.array(affine, float), **known)


def axial_volume(slices=5, spacing_mm=6.0, pixel_mm=0.5) -> Volume:
    return volume_with(np.diag([pixel_mm, pixel_mm, spacing_mm, 1]), (slices, 7, 8))


@st.composite
def any_volume(draw):
    """A volume of any orientation, handedness and spacing, with at least 4 slices along every axis."""
    numbers = draw(st.lists(st.floats(-1, 1), min_size=9, max_size=9))
    turn, _ = np.linalg.qr(np.array(numbers).reshape(3, 3) + 3 * np.eye(3))
    spacing = draw(st.tuples(*[st.floats(0.2, 12)] * 3))
    flips = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    order = draw(st.permutations([0, 1, 2]))
    affine = np.eye(4)
    affine[:3, :3] = (turn * np.array(spacing) * np.array(flips))[:, order]
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return volume_with(affine, draw(st.tuples(*[st.integers(4, 9)] * 3)))


class TestThroughPlaneAxis:
    @pytest.mark.parametrize(
        ("spacing_ijk", "axis"),
        [
            ((0.5, 0.5, 6), "k"),
            ((0.5, 6, 0.5), "j"),
            ((6, 0.5, 0.5), "i"),
            ((1, 1, 1), "k"),
            ((3, 3, 1), "j"),
            ((1, 1.0000001, 1), "k"),
        ],
    )
    def test_it_is_the_axis_with_the_largest_spacing_and_ties_prefer_k(self, spacing_ijk, axis):
        assert through_plane_axis(volume_with(np.diag([*spacing_ijk, 1]))) == axis

    @pytest.mark.parametrize(("degrees", "called"), [(0, "axial"), (4.9, "axial"), (5.1, "oblique axial")])
    def test_slices_more_than_five_degrees_off_are_oblique(self, degrees, called):
        turned, turn = np.diag([0.5, 0.5, 6, 1]), math.radians(degrees)
        turned[:3:2, :3:2] = [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]] * np.array([0.5, 6])
        assert [plane_of(volume_with(turned), axis) for axis in "jk"] == ["coronal", called]

    def test_moving_an_axis_to_the_front_and_back_changes_nothing_and_copies_nothing(self):
        array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
        for axis, dimension in AXIS_OF_ARRAY.items():
            first = to_axis_first(array, axis)
            assert first.shape[0] == array.shape[dimension]
            assert np.shares_memory(first, array)
            np.testing.assert_array_equal(from_axis_first(first, axis), array)


class TestTarget:
    @pytest.mark.parametrize("given", [{}, {"ratio": 2, "spacing_mm": 1}, {"ratio": 2, "isotropic": True}])
    def test_exactly_one_wish_is_taken(self, given):
        with pytest.raises(RequestError, match="exactly one"):
            Target(**given)

    @pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf])
    def test_a_spacing_is_a_positive_number(self, bad):
        with pytest.raises(RequestError, match="positive"):
            Target(spacing_mm=bad)

    @pytest.mark.parametrize("bad", [0, 0.5, -2, math.nan, math.inf])
    def test_a_ratio_is_one_or_more(self, bad):
        with pytest.raises(RequestError, match="ratio"):
            Target(ratio=bad)

    def test_a_spacing_coarser_than_the_input_is_refused_with_both_numbers(self):
        with pytest.raises(RequestError, match=r"7 mm is coarser than the input's 6 mm"):
            plan_grid(axial_volume(), Target(spacing_mm=7))

    def test_more_slices_than_any_scan_has_are_refused(self):
        with pytest.raises(RequestError, match=r"1e-06 mm over .* more than 1000000"):
            plan_grid(axial_volume(), Target(spacing_mm=1e-6))

    def test_isotropic_means_the_mean_of_the_two_in_plane_spacings(self):
        volume = volume_with(np.diag([0.6, 0.8, 6, 1]))
        assert plan_grid(volume, Target(isotropic=True)).spacing_out_mm == pytest.approx(0.7)

    @pytest.mark.parametrize("spacing_mm", [0.5, 0.5001])
    def test_an_isotropic_volume_has_nothing_to_be_made_isotropic(self, spacing_mm):
        with pytest.raises(RequestError, match="isotropic already"):
            plan_grid(axial_volume(spacing_mm=spacing_mm), Target(isotropic=True))


class TestPlanGrid:
    @pytest.mark.parametrize(
        ("affine", "extent", "slices", "expected"), HAND_WRITTEN_GRIDS.values(), ids=HAND_WRITTEN_GRIDS.keys()
    )
    def test_the_output_lies_where_it_was_worked_out_by_hand(self, affine, extent, slices, expected):
        volume = volume_with(affine)
        grid = plan_grid(volume, Target(spacing_mm=2), extent=extent)
        assert output_shape_kji(volume, grid) == (slices, 7, 8)
        np.testing.assert_allclose(output_ijk_to_ras(volume, grid), expected, atol=1e-12)

    def test_the_through_plane_axis_may_be_any_array_axis(self):
        volume = volume_with([[6, 0, 0, 1], [0, 0.5, 0, 2], [0, 0, 0.5, 3], [0, 0, 0, 1]])
        grid = plan_grid(volume, Target(ratio=3), extent="edges")
        assert grid.axis == "i"
        assert output_shape_kji(volume, grid) == (5, 7, 24)
        np.testing.assert_allclose(
            output_ijk_to_ras(volume, grid), [[2, 0, 0, -1], [0, 0.5, 0, 2], [0, 0, 0.5, 3], [0, 0, 0, 1]]
        )

    def test_an_axis_can_be_chosen_against_the_spacing(self):
        grid = plan_grid(axial_volume(), Target(ratio=2), axis="j")
        assert (grid.axis, grid.n_in, grid.n_out, grid.spacing_out_mm) == ("j", 7, 13, 0.25)

    def test_a_fractional_ratio_stops_at_or_before_the_last_slice(self):
        grid = plan_grid(axial_volume(slices=5, spacing_mm=5), Target(spacing_mm=3))
        assert grid.n_out == 7
        np.testing.assert_allclose(grid.positions(), [0, 0.6, 1.2, 1.8, 2.4, 3.0, 3.6])

    def test_slabs_from_edge_to_edge_start_half_a_slice_outside(self):
        grid = plan_grid(axial_volume(slices=4), Target(ratio=2), extent="edges")
        assert grid.first_mm == -1.5
        np.testing.assert_allclose(grid.positions(), [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25])

    def test_whole_ratios_hit_every_acquired_slice_exactly(self):
        for ratio in range(1, 12):
            positions = plan_grid(axial_volume(slices=80, spacing_mm=4.7), Target(ratio=ratio)).positions()
            np.testing.assert_array_equal(positions[::ratio], np.arange(80))

    def test_a_spacing_that_a_header_rounded_still_means_the_input_grid(self):
        volume = axial_volume(spacing_mm=float(np.float32(4.8)))
        for asked in (4.8, float(np.float32(4.8))):
            assert plan_grid(volume, Target(spacing_mm=asked)).is_identity

    def test_the_requested_spacing_is_kept_exactly(self):
        assert plan_grid(axial_volume(), Target(spacing_mm=1.1)).spacing_out_mm == 1.1

    @pytest.mark.parametrize(("slices", "said"), [(1, "one slice"), (3, "3 slices")])
    def test_too_few_slices_are_refused(self, slices, said):
        with pytest.raises(GeometryError, match=rf"has {said} along its through-plane axis;.*at least 4"):
            plan_grid(axial_volume(slices=slices), Target(ratio=2))


class TestAnyGrid:
    @given(volume=any_volume(), ratio=st.floats(1, 9))
    def test_centres_never_leave_the_input_and_reach_its_last_slice_as_far_as_fits(self, volume, ratio):
        grid = plan_grid(volume, Target(ratio=ratio))
        positions = grid.positions()
        assert grid.n_out == math.floor((grid.n_in - 1) * grid.spacing_in_mm / grid.spacing_out_mm + 1e-6) + 1
        assert positions[0] == 0
        assert positions[-1] <= grid.n_in - 1
        assert positions[-1] + grid.spacing_out_mm / grid.spacing_in_mm > grid.n_in - 1

    @given(volume=any_volume(), ratio=st.floats(1, 9))
    def test_slabs_never_leave_the_outer_faces_of_the_input(self, volume, ratio):
        grid = plan_grid(volume, Target(ratio=ratio), extent="edges")
        half = grid.spacing_out_mm / grid.spacing_in_mm / 2
        assert grid.n_out == math.floor(grid.n_in * grid.spacing_in_mm / grid.spacing_out_mm + 1e-6)
        assert grid.positions()[0] - half == pytest.approx(-0.5)
        assert grid.positions()[-1] + half <= grid.n_in - 0.5 + 1e-5

    @given(volume=any_volume(), ratio=st.floats(1, 9), extent=st.sampled_from(["centres", "edges"]))
    def test_every_output_slice_lies_in_the_patient_where_its_position_says(self, volume, ratio, extent):
        grid = plan_grid(volume, Target(ratio=ratio), extent=extent)
        result = Volume(np.zeros(output_shape_kji(volume, grid), np.int8), output_ijk_to_ras(volume, grid))
        column = "ijk".index(grid.axis)
        outputs, inputs = np.full((grid.n_out, 3), 2.0), np.full((grid.n_out, 3), 2.0)
        outputs[:, column] = np.arange(grid.n_out)
        inputs[:, column] = grid.positions()
        np.testing.assert_allclose(result.ras_of_ijk(outputs), volume.ras_of_ijk(inputs), atol=1e-3)

    @given(volume=any_volume(), extent=st.sampled_from(["centres", "edges"]))
    def test_ratio_one_is_the_input_grid_to_the_last_bit(self, volume, extent):
        grid = plan_grid(volume, Target(ratio=1), extent=extent)
        assert grid.is_identity
        np.testing.assert_array_equal(grid.positions(), np.arange(grid.n_in))
        np.testing.assert_array_equal(output_ijk_to_ras(volume, grid), volume.ijk_to_ras)

    @given(volume=any_volume(), ratio=st.floats(1, 9))
    def test_in_plane_samples_and_handedness_stay(self, volume, ratio):
        grid = plan_grid(volume, Target(ratio=ratio))
        affine = output_ijk_to_ras(volume, grid)
        for letter, column in (("i", 0), ("j", 1), ("k", 2)):
            if letter != grid.axis:
                np.testing.assert_array_equal(affine[:, column], volume.ijk_to_ras[:, column])
        assert np.linalg.det(affine) * np.linalg.det(volume.ijk_to_ras) > 0

    def test_positions_are_in_units_of_input_slices(self):
        assert SliceGrid(5, 6.0, 9, 3.0).ratio == 2
        np.testing.assert_array_equal(SliceGrid(5, 6.0, 3, 3.0, first_mm=1.5).positions(), [0.25, 0.75, 1.25])
