"""NIfTI-1, NIfTI-2, Analyze and MGH files as nibabel and ITK read and write them."""

from __future__ import annotations

import gzip
import shutil
import struct
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from cycleinr import GeometryError, InputError
from cycleinr.files import read_volume, write_frames, write_volume
from cycleinr.volume import Volume
from places import REPOSITORY

TYPES = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
HEAD = REPOSITORY / "Testing" / "data" / "mr_head_1mm.nii.gz"


@pytest.fixture
def head(oblique_affine) -> Volume:
    """Part of a real head, obliquely."""
    return Volume(read_volume(HEAD).array[10:16, 30:42, 30:40].astype(np.int16), oblique_affine)


def saved(path, array_kji, affine, kind=nibabel.Nifti1Image, **header):
    image = kind(np.asarray(array_kji).T, affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_all_types_of_both_formats_are_read_as_nibabel_wrote_them(tmp_path, head, kind, ending):
    for name in TYPES:
        array = head.array.astype(name)
        image = kind(array.T, head.ijk_to_ras, dtype=array.dtype)
        nibabel.save(image, tmp_path / f"a.{ending}")

        found = read_volume(tmp_path / f"a.{ending}")

        assert found.array.dtype == array.dtype
        np.testing.assert_array_equal(found.array, array)
        np.testing.assert_allclose(found.ijk_to_ras, head.ijk_to_ras, atol=1e-5)
        assert read_volume(tmp_path / f"a.{ending}", header_only=True).array.dtype == array.dtype


def test_a_pair_of_nifti_2_and_a_foreign_byte_order(tmp_path, head):
    saved(tmp_path / "a.img", head.array, head.ijk_to_ras, nibabel.nifti2.Nifti2Pair)
    big = nibabel.Nifti1Image(head.array.T, head.ijk_to_ras).header.as_byteswapped(">")
    nibabel.save(nibabel.Nifti1Image(head.array.T, head.ijk_to_ras, big), tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes()[:4] == struct.pack(">i", 348)

    for name in ("a.hdr", "a.img", "b.nii"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, head.array)


@pytest.mark.parametrize(("name", "slope", "intercept"), [("int16", 2.5, 3), ("uint8", 2, 0), ("float64", 0.1, -7)])
def test_rescaled_values_and_their_type_are_those_of_itk(tmp_path, head, name, slope, intercept):
    path = saved(tmp_path / "a.nii", head.array.astype(name), head.ijk_to_ras)
    content = bytearray(path.read_bytes())
    struct.pack_into("<2f", content, 112, slope, intercept)
    path.write_bytes(content)

    by_itk = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))

    found = read_volume(path).array
    assert found.dtype == by_itk.dtype
    np.testing.assert_allclose(found, by_itk, rtol=1e-6)


@pytest.mark.parametrize("ending", ["mgz", "mgh"])
@pytest.mark.parametrize("name", ["uint8", "int16", "int32", "float32"])
def test_freesurfers_volumes_lie_where_nibabel_puts_them(tmp_path, head, name, ending):
    path = saved(tmp_path / f"a.{ending}", head.array.astype(name), head.ijk_to_ras, nibabel.MGHImage)

    found = read_volume(path)

    assert found.array.dtype == name and found.name == "a"
    np.testing.assert_array_equal(found.array, head.array.astype(name))
    np.testing.assert_allclose(found.ijk_to_ras, nibabel.load(path).affine, atol=1e-4)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=f"a.{ending} is damaged"):
        read_volume(path)


def test_without_an_ending_the_content_says_what_a_file_is(tmp_path, head):
    for name in ("a.nii", "b.nii.gz", "c.nrrd", "d.mha"):
        write_volume(head, tmp_path / name)
    saved(tmp_path / "e.mgz", head.array, head.ijk_to_ras, nibabel.MGHImage)

    for file in list(tmp_path.iterdir()):
        for other in ("plain", "scan.gz", "scan.nrrd"):
            shutil.copy(file, tmp_path / other)
            np.testing.assert_array_equal(read_volume(tmp_path / other).array, head.array)


def test_numbers_that_are_none_stay_so(tmp_path, head):
    values = head.array.astype(np.float32)
    values[2, 3, 4] = np.nan
    found = read_volume(saved(tmp_path / "a.nii.gz", values, head.ijk_to_ras))
    np.testing.assert_array_equal(found.array, values)


class TestPlaces:
    @pytest.mark.parametrize("codes", [(0, 0), (1, 0), (2, 0), (0, 2), (0, 4), (1, 1), (1, 4), (4, 1)])
    def test_one_place_is_that_of_itk_and_its_codes_are_written_again(self, tmp_path, head, codes):
        """ITK, and so 3D Slicer; of the place of neither qform nor sform, too."""
        image = nibabel.Nifti1Image(head.array.T, head.ijk_to_ras)
        image.set_qform(head.ijk_to_ras, codes[0])
        image.set_sform(head.ijk_to_ras, codes[1])
        nibabel.save(image, tmp_path / "a.nii")
        by_itk = Volume.from_simpleitk(sitk.ReadImage(str(tmp_path / "a.nii")))

        found = read_volume(tmp_path / "a.nii")
        write_volume(found, tmp_path / "b.nii.gz")

        np.testing.assert_allclose(found.ijk_to_ras, by_itk.ijk_to_ras, atol=1e-4)
        assert any(codes) != ("neither qform nor sform" in " ".join(found.notes))
        header = nibabel.load(tmp_path / "b.nii.gz").header
        assert (int(header["qform_code"]), int(header["sform_code"])) == codes
        again = Volume.from_simpleitk(sitk.ReadImage(str(tmp_path / "b.nii.gz")))
        assert again.geometry_equal(found)
        if codes != (0, 0):
            np.testing.assert_allclose(nibabel.load(tmp_path / "b.nii.gz").affine, found.ijk_to_ras, atol=1e-4)

    @pytest.mark.parametrize(
        ("codes", "spacing", "taken", "kept"),
        [((1, 2), 3, "qform", (1, 0)), ((2, 1), 3, "sform", (0, 1)), ((1, 2), 1, "sform", (0, 2))],
    )
    def test_two_places_that_differ_are_told_with_the_one_that_was_taken(self, tmp_path, codes, spacing, taken, kept):
        path = saved(tmp_path / "a.nii", np.arange(120, dtype=np.int16).reshape(6, 5, 4), np.diag([1, 1, 5.0, 1]))
        content = bytearray(path.read_bytes())
        struct.pack_into("<2h", content, 252, *codes)
        struct.pack_into("<4f", content, 76, 1, 1, 1, spacing)
        path.write_bytes(content)

        found = read_volume(path)

        assert f"the {taken} was taken" in found.notes[0] and "apart" in found.notes[0]
        assert found.spacing_ijk_mm[2] == (5 if taken == "sform" else spacing)
        assert found.nifti_codes == kept

    def test_metres_and_micrometres_are_lengths_too(self, tmp_path):
        for unit, factor in ((1, 1000), (2, 1), (3, 0.001)):
            affine = np.diag([1 / factor, 1 / factor, 5 / factor, 1])
            path = saved(tmp_path / "a.nii", np.zeros((6, 5, 4), np.int16), affine, xyzt_units=unit)
            assert read_volume(path).spacing_ijk_mm == pytest.approx((1, 1, 5))

    def test_an_analyze_file_is_read_with_the_warning_that_its_sides_are_unknown(self, tmp_path, head):
        path = saved(tmp_path / "a.img", head.array, np.diag([2, 2, 5.0, 1]), nibabel.AnalyzeImage)
        found = read_volume(path)
        np.testing.assert_array_equal(found.array, head.array)
        assert found.spacing_ijk_mm == (2, 2, 5) and "left" in found.notes[0]

    def test_a_left_handed_or_turned_grid_has_the_qform_that_nibabel_would_write(self, tmp_path, head):
        for turn in (np.eye(4), np.diag([1, 1, -1, 1.0]), np.diag([-1, -1, 1, 1.0]), np.eye(4)[[1, 2, 0, 3]]):
            turned = replace(head, ijk_to_ras=turn @ head.ijk_to_ras)
            write_volume(turned, tmp_path / "a.nii", overwrite=True)
            np.testing.assert_allclose(nibabel.load(tmp_path / "a.nii").get_qform(), turned.ijk_to_ras, atol=1e-4)


def test_frames_are_written_as_one_file_that_others_read(tmp_path, head):
    frames = [head.with_array(head.array + n) for n in range(3)]
    write_frames(frames, tmp_path / "a.nii.gz", {"k": "v"}, frame_s=2.5)

    image = nibabel.load(tmp_path / "a.nii.gz")
    assert image.shape == (10, 12, 6, 3) and image.header.get_zooms()[3] == 2.5
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, [frame.array for frame in frames])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz", frame=3).array, frames[2].array)
    # The same again is the same, byte for byte
    write_frames(frames, tmp_path / "b.nii.gz", {"k": "v"}, frame_s=2.5)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_scan_of_complex_numbers_is_refused_as_such(tmp_path, head):
    path = saved(tmp_path / "a.nii", head.array.astype(np.complex64), head.ijk_to_ras)
    with pytest.raises(InputError, match="complex"):
        read_volume(path)


def test_a_single_leaning_slice_is_refused(tmp_path):
    path = saved(tmp_path / "a.nii", np.zeros((1, 5, 4), np.int16), np.diag([1, 1, 5.0, 1]))
    content = bytearray(path.read_bytes())
    struct.pack_into("<12f", content, 280, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 5, 0)
    path.write_bytes(content)
    with pytest.raises(GeometryError, match="sheared"):
        read_volume(path)


def test_data_that_end_too_early_are_noticed_in_every_frame(tmp_path, head):
    write_frames([head, head], tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()[:-10]
    (tmp_path / "a.nii").write_bytes(content)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content))
    for name in ("a.nii", "b.nii.gz"):
        with pytest.raises(InputError, match="it ends too early"):
            read_volume(tmp_path / name, frame=2)
    assert read_volume(tmp_path / "a.nii", frame=1).geometry_equal(head)


def test_voxels_that_begin_far_beyond_the_end_are_refused(tmp_path):
    write_volume(Volume(np.zeros((4, 6, 5), np.int16), np.eye(4)), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", content, 108, 1e30)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputError, match="too short"):
        read_volume(tmp_path / "a.nii")
