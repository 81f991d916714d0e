"""What a volume can do by itself: parts in their place, other orientations, comparison, and other libraries' images."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from cycleinr.errors import GeometryError, InputError, RequestError
from cycleinr.volume import Volume
from hypothesis import given
from hypothesis import strategies as st
from places import REPOSITORY

HEAD = REPOSITORY / "CycleINRSlicer" / "Resources" / "SampleData" / "ct_head_5mm.nii.gz"
MR = REPOSITORY / "Testing" / "data" / "mr_head_1mm.nii.gz"


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
            sheared = np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
            Volume.from_nibabel(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), sheared))


def test_a_part_is_saved_where_it_was(tmp_path):
    scan = Volume.read(HEAD)
    scan[10:14, ::-1, 50:60].save(tmp_path / "part.nrrd")
    part = Volume.read(tmp_path / "part.nrrd")
    assert part.geometry_equal(scan[10:14, ::-1, 50:60])
    np.testing.assert_array_equal(part.array, scan.array[10:14, ::-1, 50:60])
