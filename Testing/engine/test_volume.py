"""What a volume takes, and what it can do: parts in their place, orientations, comparison, other libraries' images."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from cycleinr import GeometryError, InputError, RequestError
from cycleinr.volume import Volume
from hypothesis import given
from hypothesis import strategies as st
from places import REPOSITORY

HEAD = REPOSITORY / "CycleINRSlicer" / "Resources" / "SampleData" / "ct_head_5mm.nii.gz"
MR = REPOSITORY / "Testing" / "data" / "mr_head_1mm.nii.gz"
AXIAL = [[-0.5, 0, 0, 100], [0, -0.5, 0, 120], [0, 0, 6, -30], [0, 0, 0, 1]]
# i and k turned by the angle of a 3-4-5 triangle about A-P, so that every number stays readable.
OBLIQUE = [[-0.4, 0, 3.6, 10], [0, -0.5, 0, 20], [0.3, 0, 4.8, 30], [0, 0, 0, 1]]


def volume_with(affine, **known) -> Volume:
    return Volume(np.zeros((5, 7, 8), np.int16), np.array(affine, float), **known)


@pytest.fixture
def oblique(oblique_affine) -> Volume:
    """Every voxel has another value, so that a lost or turned axis shows."""
    array = np.arange(5 * 7 * 9, dtype=np.int16).reshape(5, 7, 9)
    return Volume(array, oblique_affine, "CT", 4.0, "scan")


def places_of_values(volume: Volume) -> dict[int, tuple[float, ...]]:
    """RAS of each voxel, by its value."""
    k, j, i = np.indices(volume.shape_kji).reshape(3, -1)
    points = np.round(volume.ras_of_ijk(np.stack([i, j, k], axis=1)), 6) + 0.0
    return dict(zip(volume.array[k, j, i].tolist(), map(tuple, points.tolist()), strict=True))


class TestWhatAVolumeIs:
    def test_spacing_and_shape_come_in_the_order_that_their_names_say(self):
        volume = volume_with(np.diag([0.5, 0.7, 6, 1]))
        assert volume.spacing_ijk_mm == (0.5, 0.7, 6.0)
        assert volume.shape_kji == (5, 7, 8)

    def test_directions_are_the_unit_vectors_of_i_j_and_k(self):
        np.testing.assert_allclose(volume_with(OBLIQUE).directions, [[-0.8, 0, 0.6], [0, -1, 0], [0.6, 0, 0.8]])

    def test_ras_of_an_index_is_the_centre_of_that_sample(self):
        volume = volume_with(OBLIQUE)
        np.testing.assert_allclose(volume.ras_of_ijk([0, 0, 0]), [10, 20, 30])
        np.testing.assert_allclose(volume.ras_of_ijk([[1, 0, 0], [0, 2, 0], [0, 0, 0.5]]),
                                   [[9.6, 20, 30.3], [10, 19, 30], [11.8, 20, 32.4]])  # fmt: skip

    def test_other_samples_keep_place_and_description(self):
        volume = volume_with(AXIAL, modality="CT", slice_thickness_mm=5.0, name="head")
        other = volume.with_array(np.ones((5, 7, 8), np.float32))
        assert (other.modality, other.slice_thickness_mm, other.name) == ("CT", 5.0, "head")
        np.testing.assert_array_equal(other.ijk_to_ras, volume.ijk_to_ras)

    def test_samples_of_another_shape_need_an_affine_of_their_own(self):
        volume = volume_with(AXIAL)
        with pytest.raises(GeometryError, match="Pass the affine"):
            volume.with_array(np.zeros((9, 7, 8)))
        assert volume.with_array(np.zeros((9, 7, 8)), np.diag([1, 1, 2, 1])).spacing_ijk_mm == (1, 1, 2)

    def test_the_affine_cannot_be_changed_afterwards(self):
        affine = np.array(AXIAL, float)
        volume = volume_with(affine)
        affine[0, 3] = 999
        assert volume.ijk_to_ras[0, 3] == 100
        with pytest.raises(ValueError, match="read-only"):
            volume.ijk_to_ras[0, 3] = 1

    @pytest.mark.parametrize(
        ("array", "said"),
        [
            (np.zeros((5, 5)), "2 dimensions"),
            (np.zeros((5, 5, 5, 3)), "4 dimensions"),
            (np.zeros((5, 5, 5), complex), "complex"),
            (np.zeros((5, 5, 5), bool), "bool"),
            (np.zeros((0, 5, 5)), "empty"),
        ],
    )
    def test_an_array_that_is_no_scan_is_refused(self, array, said):
        with pytest.raises(InputError, match=said):
            Volume(array, np.eye(4))

    @pytest.mark.parametrize(
        ("affine", "said"),
        [
            (np.full((4, 4), np.nan), "finite"),
            (np.eye(3), "4 x 4"),
            (np.diag([1, 1, 1, 2.0]), "last row"),
            (np.diag([1, 1, 0, 1.0]), "no length"),
            ([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "one plane"),
            ([[1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 4, 0], [0, 0, 0, 1]], "j and k meet at 82.87 degrees"),
        ],
    )
    def test_an_affine_that_places_no_rectangular_grid_is_refused(self, affine, said):
        with pytest.raises(GeometryError, match=said):
            volume_with(affine)

    def test_rounding_in_a_header_is_no_shear(self):
        affine = np.array(OBLIQUE, float)
        affine[:3, :3] = np.round(affine[:3, :3] + 4e-5, 4)
        assert volume_with(affine).spacing_ijk_mm[2] == pytest.approx(6, abs=1e-3)

    @pytest.mark.parametrize("known", [{"modality": "PT"}, {"slice_thickness_mm": -1}, {"slice_thickness_mm": np.nan}])
    def test_descriptions_that_make_no_sense_are_refused(self, known):
        with pytest.raises(InputError):
            volume_with(AXIAL, **known)


class TestIndexing:
    ranges = st.slices(5), st.slices(7), st.slices(9)

    @given(k=ranges[0], j=ranges[1], i=ranges[2])
    def test_every_voxel_of_a_part_keeps_its_place(self, k, j, i):
        affine = np.array([[0, -0.8, 0, 3], [0.7, 0, 0, 5], [0, 0, 4, -9], [0, 0, 0, 1.0]])
        volume = Volume(np.arange(5 * 7 * 9).reshape(5, 7, 9), affine)
        if 0 in volume.array[k, j, i].shape:
            with pytest.raises(RequestError, match="holds none of the volume's"):
                volume[k, j, i]
            return
        part = volume[k, j, i]
        np.testing.assert_array_equal(part.array, volume.array[k, j, i])
        everything = places_of_values(volume)
        assert places_of_values(part) == {value: everything[value] for value in part.array.flat}

    def test_what_is_left_out_means_everything(self, oblique):
        assert oblique[1:3].geometry_equal(oblique[1:3, :, :])
        assert oblique[..., 2:4].geometry_equal(oblique[:, :, 2:4])
        assert oblique[1:3, ..., 2:4].geometry_equal(oblique[1:3, :, 2:4])
        assert oblique[...].geometry_equal(oblique)

    def test_what_is_known_of_the_scan_stays_known(self, oblique):
        part = oblique[1:3]
        assert (part.modality, part.slice_thickness_mm, part.name) == ("CT", 4.0, "scan")
        assert np.shares_memory(part.array, oblique.array)

    @pytest.mark.parametrize("key", [3, (1, 2), np.array([1, 2]), (slice(None),) * 4, "k", None])
    def test_what_is_no_range_is_refused_with_an_example(self, oblique, key):
        with pytest.raises(RequestError, match=r"for example scan\[10:40"):
            oblique[key]


class TestOrientation:
    def test_of_real_scans(self):
        assert Volume.read(HEAD).orientation == "LPS"
        assert Volume.read(MR).orientation == "".join(nibabel.aff2axcodes(Volume.read(MR).ijk_to_ras))

    @pytest.mark.parametrize("wanted", ["RAS", "LPS", "SAR", "ail", "PIR"])
    def test_each_value_stays_where_it_is(self, oblique, wanted):
        turned = oblique.reorient(wanted)
        assert turned.orientation == wanted.upper() == "".join(nibabel.aff2axcodes(turned.ijk_to_ras))
        assert places_of_values(turned) == places_of_values(oblique)

    @pytest.mark.parametrize("wanted", ["", "RA", "RASS", "RLS", "XYZ", "RAR"])
    def test_letters_that_name_no_three_axes(self, oblique, wanted):
        with pytest.raises(RequestError, match="Give three letters"):
            oblique.reorient(wanted)


class TestComparison:
    def test_equal_means_the_same_samples_in_the_same_places(self, oblique):
        moved = oblique.ijk_to_ras + np.diag([0, 0, 0, 0])
        moved[:3, 3] += 0.01
        assert oblique.geometry_equal(oblique.with_array(oblique.array * 2))
        assert not oblique.geometry_equal(oblique.with_array(oblique.array, moved))
        assert oblique.geometry_equal(oblique.with_array(oblique.array, moved), tolerance_voxels=0.1)
        assert not oblique.geometry_equal(oblique[1:])

    def test_a_spacing_that_adds_up_over_the_volume_counts(self):
        volume = Volume(np.zeros((4, 4, 500)), np.eye(4))
        assert not volume.geometry_equal(volume.with_array(volume.array, np.diag([1.00001, 1, 1, 1])))


class TestOneLine:
    def test_says_what_matters_and_no_name(self):
        volume = Volume(np.array([[[0.5, np.nan]], [[-3, 7]]], np.float32), np.diag([0.5, 0.5, 5, 1]), "MR", name="Doe")
        assert repr(volume) == "Volume(2 x 1 x 2, 0.5 x 0.5 x 5 mm, RAS, MR, -3 to 7, float32)"


class TestSimpleItk:
    def test_reading_is_what_the_file_reader_gives(self):
        ours, theirs = Volume.read(MR), Volume.from_simpleitk(sitk.ReadImage(str(MR)))
        assert theirs.geometry_equal(ours)
        np.testing.assert_array_equal(theirs.array, ours.array)

    def test_there_and_back(self, oblique):
        image = oblique.to_simpleitk()
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((2, 1, 3)),
                                   oblique.ras_of_ijk([2, 1, 3]) * (-1, -1, 1), atol=1e-9)  # fmt: skip
        back = Volume.from_simpleitk(image, modality="CT", slice_thickness_mm=4.0, name="scan")
        assert back.geometry_equal(oblique) and (back.modality, back.name) == ("CT", "scan")
        np.testing.assert_array_equal(back.array, oblique.array)

    @pytest.mark.parametrize(
        ("image", "said"),
        [
            (sitk.Image([8, 9], sitk.sitkInt16), "2-D image of 8 x 9 pixels"),
            (sitk.Image([8, 9, 5, 3], sitk.sitkInt16), "4-dimensional with size 8 x 9 x 5 x 3"),
            (sitk.Image([8, 9, 5], sitk.sitkVectorFloat32, 3), "3 values per voxel"),
            (sitk.Image([8, 9, 5], sitk.sitkComplexFloat32), "complex"),
        ],
    )
    def test_what_is_no_volume(self, image, said):
        with pytest.raises(InputError, match=said):
            Volume.from_simpleitk(image)

    def test_one_frame_of_four_dimensions_is_a_volume(self):
        assert Volume.from_simpleitk(sitk.Image([8, 9, 5, 1], sitk.sitkInt16)).shape_kji == (5, 9, 8)


class TestNibabel:
    def test_reading_is_what_the_file_reader_gives(self):
        ours, theirs = Volume.read(MR), Volume.from_nibabel(nibabel.load(MR))
        assert theirs.geometry_equal(ours)
        np.testing.assert_array_equal(theirs.array, ours.array)

    @pytest.mark.parametrize("kind", [np.int16, np.uint16, np.float32, np.int64, np.float16, ">i2"])
    def test_there_and_through_a_file_and_back(self, oblique, tmp_path, kind):
        volume = oblique.with_array(oblique.array.astype(kind))
        nibabel.save(volume.to_nibabel(), tmp_path / "scan.nii")
        back = Volume.from_nibabel(nibabel.load(tmp_path / "scan.nii"))
        assert back.geometry_equal(volume) and Volume.read(tmp_path / "scan.nii").geometry_equal(volume)
        np.testing.assert_array_equal(back.array, volume.array)

    def test_a_time_series_and_a_sheared_grid_are_refused(self):
        with pytest.raises(InputError, match="perhaps a time series"):
            Volume.from_nibabel(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)))
        with pytest.raises(GeometryError, match="sheared"):
            sheared = np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])
            Volume.from_nibabel(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), sheared))


def test_a_part_is_saved_where_it_was(tmp_path):
    scan = Volume.read(HEAD)
    scan[10:14, ::-1, 50:60].save(tmp_path / "part.nrrd")
    part = Volume.read(tmp_path / "part.nrrd")
    assert part.geometry_equal(scan[10:14, ::-1, 50:60])
    np.testing.assert_array_equal(part.array, scan.array[10:14, ::-1, 50:60])
