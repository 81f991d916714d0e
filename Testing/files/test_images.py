"""Image files come in and go out at the same place in the patient, with the same values."""

from __future__ import annotations

import gzip
import os
import re
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from cycleinr import GeometryError, InputError, OutOfMemoryError, OutputError, computer
from cycleinr.files import IMAGE_SUFFIXES, read_volume, write_volume
from cycleinr.volume import Volume

INTEGERS_AND_FLOATS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64)


@pytest.fixture
def volume(oblique_affine) -> Volume:
    values = np.random.default_rng(0).integers(0, 100, (6, 5, 4)).astype(np.int16)
    return Volume(values, oblique_affine, name="scan")


def left_handed(affine: np.ndarray) -> np.ndarray:
    return affine @ np.diag([1, 1, -1, 1.0])


def written_by_itk(path: Path, size=(4, 5, 6), pixel=sitk.sitkInt16, components=0) -> Path:
    image = sitk.Image(list(size), pixel, components) if components else sitk.Image(list(size), pixel)
    sitk.WriteImage(image, str(path))
    return path


def nifti_with_sform(path: Path, matrix) -> Path:
    """A NIfTI-1 file of 4 x 5 x 6 ascending int16 values whose sform, in RAS, was put there by hand."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 4, 5, 6, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    lengths = np.linalg.norm(np.array(matrix, float)[:3, :3], axis=0)
    struct.pack_into("<4f", header, 76, 1, *lengths)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *np.array(matrix, float)[:3].ravel())
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + np.arange(120, dtype="<i2").tobytes())
    return path


def only_files(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


class TestReading:
    def test_a_nifti_sform_is_taken_as_ras_as_it_stands(self, tmp_path):
        matrix = [[-0.5, 0, 0, 100], [0, 0.7, 0, -20], [0, 0, 4, 7], [0, 0, 0, 1]]
        volume = read_volume(nifti_with_sform(tmp_path / "a.nii", matrix))
        np.testing.assert_allclose(volume.ijk_to_ras, matrix, rtol=1e-6)
        assert volume.array[0, 0, 1] == 1
        assert volume.array[0, 1, 0] == 4
        assert volume.array[1, 0, 0] == 20

    def test_an_nrrd_in_lps_space_has_x_and_y_turned_around(self, tmp_path):
        path = tmp_path / "a.nrrd"
        path.write_bytes(
            b"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\n"
            b"space directions: (0.5,0,0) (0,0.6,0) (0,0,3)\nendian: little\nencoding: raw\n"
            b"space origin: (10,20,30)\n\n" + bytes(range(8))
        )
        volume = read_volume(path)
        expected = [[-0.5, 0, 0, -10], [0, -0.6, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]
        np.testing.assert_allclose(volume.ijk_to_ras, expected)
        np.testing.assert_array_equal(volume.array, np.arange(8).reshape(2, 2, 2))

    def test_an_nrrd_in_ras_space_is_placed_without_a_turn(self, tmp_path):
        path = tmp_path / "a.nrrd"
        path.write_bytes(
            b"NRRD0004\ntype: uint8\ndimension: 3\nspace: right-anterior-superior\nsizes: 2 2 2\n"
            b"space directions: (0.5,0,0) (0,0.6,0) (0,0,3)\nendian: little\nencoding: raw\n"
            b"space origin: (10,20,30)\n\n" + bytes(8)
        )
        expected = [[0.5, 0, 0, 10], [0, 0.6, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]]
        np.testing.assert_allclose(read_volume(path).ijk_to_ras, expected)

    def test_a_meta_image_offset_is_lps(self, tmp_path):
        path = tmp_path / "a.mha"
        path.write_bytes(
            b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 10 20 30\nElementSpacing = 0.5 0.6 3\nDimSize = 2 2 2\n"
            b"ElementType = MET_UCHAR\nElementDataFile = LOCAL\n" + bytes(8)
        )
        expected = [[-0.5, 0, 0, -10], [0, -0.6, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]
        np.testing.assert_allclose(read_volume(path).ijk_to_ras, expected)

    def test_the_name_is_the_file_name_without_its_suffix(self, tmp_path, volume):
        write_volume(volume, tmp_path / "knee.left.nii.gz")
        assert read_volume(tmp_path / "knee.left.nii.gz").name == "knee.left"

    def test_a_fourth_dimension_of_one_is_no_dimension(self, tmp_path):
        assert read_volume(written_by_itk(tmp_path / "a.nii", (4, 5, 6, 1))).shape_kji == (6, 5, 4)
        assert read_volume(written_by_itk(tmp_path / "a.nrrd", (4, 5, 6, 1))).shape_kji == (6, 5, 4)

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
    def test_a_frame_of_a_time_series_is_asked_for_and_read(self, tmp_path, suffix):
        values = np.arange(3 * 6 * 5 * 4, dtype=np.int16).reshape(3, 6, 5, 4)
        frames = sitk.JoinSeries([sitk.GetImageFromArray(each) for each in values])
        sitk.WriteImage(frames, str(tmp_path / f"a{suffix}"))
        with pytest.raises(
            InputError, match=r"4-dimensional with size 4 x 5 x 6 x 3: 3 frames.*--frame N .*table the column frame"
        ):
            read_volume(tmp_path / f"a{suffix}")
        with pytest.raises(InputError, match="no frame 4"):
            read_volume(tmp_path / f"a{suffix}", frame=4)
        np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}", frame=2).array, values[1])

    def test_a_colour_image_is_refused(self, tmp_path):
        path = written_by_itk(tmp_path / "a.nrrd", pixel=sitk.sitkVectorUInt8, components=3)
        with pytest.raises(InputError, match="3 values per voxel"):
            read_volume(path)

    def test_a_flat_image_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="2-D image of 4 x 5 pixels"):
            read_volume(written_by_itk(tmp_path / "a.mha", (4, 5)))

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("codes", [(0, 2), (1, 1)])
    def test_a_nifti_of_a_tilted_gantry_is_straightened(self, tmp_path, suffix, codes):
        sheared = np.array([[-0.5, 0, 0, 10], [0, 0.5, 1.0, 20], [0, 0, 5, 30], [0, 0, 0, 1.0]])
        array = np.arange(5 * 6 * 4, dtype=np.int16).reshape(5, 6, 4)
        image = nibabel.Nifti1Image(array, sheared)
        image.set_sform(sheared, codes[1])
        image.set_qform(sheared, codes[0], strip_shears=True)
        nibabel.save(image, tmp_path / f"a{suffix}")
        volume = read_volume(tmp_path / f"a{suffix}")
        assert volume.shape_kji == (4, 12, 5) and volume.notes == ("Gantry tilt of 11.3 degrees removed.",)
        np.testing.assert_allclose(volume.ijk_to_ras[:3, :3], np.diag([-0.5, 0.5, 5]), atol=1e-6)
        for k in range(4):
            place = sheared @ (1, 2, k, 1)
            i, j, at = np.rint(np.linalg.solve(volume.ijk_to_ras, place))[:3].astype(int)
            assert at == k and volume.array[k, j, i] == array[1, 2, k]
        assert volume.valid.sum() == array.size

    def test_a_sheared_nrrd_is_straightened_along_whichever_axis_leans(self, tmp_path):
        path = tmp_path / "a.nrrd"
        path.write_bytes(
            b"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 3 2\n"
            b"space directions: (1,0,0) (1,4,0) (0,0,1)\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
            + bytes(range(12))
        )
        volume = read_volume(path)
        assert volume.shape_kji == (2, 3, 4) and volume.acquisition.axis == "j"
        np.testing.assert_array_equal(volume.array[1], [[6, 7, 0, 0], [0, 8, 9, 0], [0, 0, 10, 11]])
        np.testing.assert_allclose(volume.spacing_ijk_mm, (1, 4, 1))

    @pytest.mark.parametrize("matrix", [np.diag([1e-4, 1e-4, 5, 1]), np.diag([1e17, 1e17, 3e37, 1])])
    def test_a_lean_that_no_scan_can_have_is_refused(self, tmp_path, matrix):
        matrix[1, 2] = 0.5 * matrix[2, 2]
        path = nifti_with_sform(tmp_path / "a.nii", matrix)
        with pytest.raises(GeometryError, match="geometry is damaged"):
            read_volume(path)

    def test_a_volume_that_leans_every_way_is_refused_with_the_remedy(self, tmp_path):
        path = nifti_with_sform(tmp_path / "a.nii", [[1, 0.2, 0.5, 0], [0, 1, 0.5, 0], [0, 0.3, 3, 0], [0, 0, 0, 1]])
        with pytest.raises(GeometryError, match="meet at .* degrees.*Resample"):
            read_volume(path)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(InputError, match="no file or folder .*gone.nii"):
            read_volume(tmp_path / "gone.nii")

    def test_a_file_that_may_not_be_opened_is_named_with_the_cause(self, tmp_path, volume, monkeypatch):
        write_volume(volume, tmp_path / "a.nii")

        def forbidden(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("cycleinr.files.samples.open", forbidden, raising=False)
        with pytest.raises(InputError, match="a.nii cannot be opened .Permission denied"):
            read_volume(tmp_path / "a.nii")

    def test_an_unknown_format_is_answered_with_the_known_ones(self, tmp_path):
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(InputError, match=r"notes.txt.*\.nii\.gz.*\.nrrd.*DICOM folder"):
            read_volume(tmp_path / "notes.txt")

    @pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
    def test_text_or_nothing_under_the_name_of_an_image_is_refused(self, tmp_path, suffix):
        for content in ("", "hello"):
            path = tmp_path / f"a{suffix}"
            path.write_text(content)
            with pytest.raises(InputError, match=f"a{suffix}"):
                read_volume(path)

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
    @pytest.mark.parametrize("kept", [0.5, 0.97])
    def test_a_truncated_file_is_refused(self, tmp_path, suffix, kept):
        values = np.random.default_rng(0).integers(0, 30000, (20, 30, 40)).astype(np.int16)
        path = tmp_path / f"a{suffix}"
        write_volume(Volume(values, np.eye(4)), path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(InputError, match="a.n|a.m"):
            read_volume(path)

    @pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
    def test_a_header_without_its_data_is_refused(self, tmp_path, volume, suffix):
        # ITK's message quotes the path, so that words in it must not decide what is said
        folder = tmp_path / "failed to allocate memory"
        folder.mkdir()
        write_volume(volume, folder / f"a{suffix}")
        for data in folder.glob("a*raw*"):
            data.unlink()
        with pytest.raises(InputError, match=f"a{suffix} cannot be read"):
            read_volume(folder / f"a{suffix}")

    def test_too_little_memory_for_what_itk_fails_on_is_said(self, tmp_path, volume, monkeypatch):
        write_volume(volume, tmp_path / "a.nhdr")
        packed = (tmp_path / "a.raw.gz").read_bytes()
        (tmp_path / "a.raw.gz").write_bytes(packed[: len(packed) // 2])
        needed = volume.array.nbytes
        for free, kind in ((1.5 * needed, OutOfMemoryError), (2.5 * needed, InputError)):
            monkeypatch.setattr(computer, "available_memory_bytes", lambda free=free: free)
            with pytest.raises(kind):
                read_volume(tmp_path / "a.nhdr")

    @pytest.mark.parametrize(
        ("field", "wrong", "says"),
        [
            (r"CompressedDataSize = \d+", "CompressedDataSize = 6", "end too early"),
            (r"CompressedDataSize = \d+", "CompressedDataSize = six", "field compresseddatasize"),
            ("BinaryData = True", "BinaryData = False", "are text"),
            (r"(CompressedData =) True(\nCompressedDataSize =) \d+", r"\1 10\2 6", "end too early"),
        ],
    )
    def test_packed_data_that_itk_would_read_in_part_are_refused(self, tmp_path, volume, field, wrong, says):
        """ITK leaves in the voxels what was in the memory."""
        write_volume(volume, tmp_path / "a.mhd")
        text = (tmp_path / "a.mhd").read_text()
        (tmp_path / "a.mhd").write_text(re.sub(field, wrong, text))
        with pytest.raises(InputError, match=says):
            read_volume(tmp_path / "a.mhd")

    def test_one_flipped_byte_in_a_compressed_nifti_is_noticed(self, tmp_path, volume):
        write_volume(volume, tmp_path / "a.nii.gz")
        content = bytearray((tmp_path / "a.nii.gz").read_bytes())
        content[-6] ^= 0xFF
        (tmp_path / "a.nii.gz").write_bytes(content)
        with pytest.raises(InputError, match="compressed data are damaged"):
            read_volume(tmp_path / "a.nii.gz")


class TestWriting:
    @pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
    @pytest.mark.parametrize("kind", INTEGERS_AND_FLOATS)
    def test_values_and_their_type_come_back_under_a_name_of_any_language(self, tmp_path, volume, suffix, kind):
        path = tmp_path / f"Müller 患者{suffix}"
        write_volume(volume.with_array(volume.array.astype(kind)), path)
        back = read_volume(path).array
        assert back.dtype == kind
        np.testing.assert_array_equal(back, volume.array)

    @pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
    @pytest.mark.parametrize("turned", [np.copy, left_handed])
    def test_the_place_in_the_patient_comes_back(self, tmp_path, volume, suffix, turned):
        affine = turned(volume.ijk_to_ras)
        write_volume(volume.with_array(volume.array, affine), tmp_path / f"a{suffix}")
        np.testing.assert_allclose(read_volume(tmp_path / f"a{suffix}").ijk_to_ras, affine, atol=1e-4)

    @pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
    def test_other_programs_find_the_volume_at_its_lps_place(self, tmp_path, volume, suffix):
        write_volume(volume, tmp_path / f"a{suffix}")
        point = sitk.ReadImage(str(tmp_path / f"a{suffix}")).TransformIndexToPhysicalPoint((3, 2, 1))
        right, anterior, superior = volume.ras_of_ijk([3, 2, 1])
        np.testing.assert_allclose(point, (-right, -anterior, superior), atol=1e-4)

    def test_a_nifti_file_holds_the_ras_affine_itself(self, tmp_path, volume):
        write_volume(volume, tmp_path / "a.nii")
        sform = struct.unpack_from("<12f", (tmp_path / "a.nii").read_bytes(), 280)
        np.testing.assert_allclose(np.reshape(sform, (3, 4)), volume.ijk_to_ras[:3], atol=1e-5)

    def test_views_and_foreign_byte_orders_are_written_as_they_look(self, tmp_path, volume):
        turned = np.moveaxis(volume.array, 0, 2).astype(">i2")
        write_volume(Volume(turned, np.eye(4)), tmp_path / "a.nrrd")
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array, turned)

    def test_half_precision_becomes_single(self, tmp_path, volume):
        write_volume(volume.with_array(volume.array.astype(np.float16)), tmp_path / "a.nrrd")
        assert read_volume(tmp_path / "a.nrrd").array.dtype == np.float32

    @pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
    def test_nothing_but_the_output_is_left_in_the_folder(self, tmp_path, volume, suffix):
        write_volume(volume, tmp_path / f"a{suffix}")
        extra = {".nhdr": {"a.raw.gz"}, ".mhd": {"a.zraw"}}.get(suffix, set())
        assert only_files(tmp_path) == {f"a{suffix}"} | extra

    @pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
    def test_metadata_travel_in_the_header(self, tmp_path, volume, suffix):
        note = {"derived": "by CycleINR,\n not acquired", "model hash": "1f", "none": ""}
        write_volume(volume, tmp_path / f"a{suffix}", note)
        image = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
        assert image.GetMetaData("CycleINR_derived") == "by CycleINR, not acquired"
        assert image.GetMetaData("CycleINR_model_hash") == "1f"

    def test_metadata_cannot_change_the_geometry(self, tmp_path, volume):
        write_volume(volume, tmp_path / "a.mha", {"Offset": "9 9 9", "x": "1\nElementSpacing = 9 9 9"})
        np.testing.assert_allclose(read_volume(tmp_path / "a.mha").ijk_to_ras, volume.ijk_to_ras, atol=1e-9)

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_nifti_carries_the_start_of_the_metadata(self, tmp_path, volume, suffix):
        write_volume(volume, tmp_path / f"a{suffix}", {"derived": "by CycleINR, für Ärzte", "long": "x" * 200})
        note = sitk.ReadImage(str(tmp_path / f"a{suffix}")).GetMetaData("descrip")
        assert note.startswith("derived=by CycleINR, f?r ?rzte; long=xxx")

    def test_an_unsupported_suffix_is_answered_with_the_supported_ones(self, tmp_path, volume):
        with pytest.raises(OutputError, match=r"a\.png .*\.nii\.gz, \.nii, \.nrrd"):
            write_volume(volume, tmp_path / "a.png")
        assert only_files(tmp_path) == set()

    def test_a_missing_folder_is_not_invented(self, tmp_path, volume):
        with pytest.raises(OutputError, match="does not exist. Create it"):
            write_volume(volume, tmp_path / "gone" / "a.nii")

    def test_a_folder_is_no_output_file(self, tmp_path, volume):
        (tmp_path / "a.nii").mkdir()
        with pytest.raises(OutputError, match="is a folder"):
            write_volume(volume, tmp_path / "a.nii", overwrite=True)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_a_read_only_folder_is_reported(self, tmp_path, volume):
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="permissions"):
            write_volume(volume, tmp_path / "a.nii")

    @pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
    def test_an_existing_file_is_replaced_only_on_request(self, tmp_path, volume, suffix):
        path = tmp_path / f"a{suffix}"
        write_volume(volume, path)
        before = path.read_bytes()
        other = volume.with_array(volume.array + 1)
        with pytest.raises(OutputError, match="exists already.*overwrite"):
            write_volume(other, path)
        assert path.read_bytes() == before
        write_volume(other, path, overwrite=True)
        np.testing.assert_array_equal(read_volume(path).array, other.array)
        assert len(only_files(tmp_path)) == (2 if suffix in (".nhdr", ".mhd") else 1)

    @pytest.mark.parametrize(("suffix", "data"), [(".mhd", "a.zraw"), (".nhdr", "a.raw.gz")])
    def test_a_data_file_of_someone_else_is_left_alone(self, tmp_path, volume, suffix, data):
        (tmp_path / data).write_bytes(b"mine")
        write_volume(volume, tmp_path / f"a{suffix}")
        assert (tmp_path / data).read_bytes() == b"mine"
        np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}").array, volume.array)


def test_reading_a_gzip_made_of_several_members_works(tmp_path, volume):
    write_volume(volume, tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array, volume.array)


@pytest.mark.parametrize("at, form", [(280 + 6 * 4, "<f"), (256, "<f"), (84, "<f")], ids=["sform", "qform", "spacing"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_transform_that_is_not_finite_is_refused(tmp_path, at, form, value):
    """ITK's reader never ends on some of these."""
    path = tmp_path / "scan.nii"
    write_volume(Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1.0, 1.0, 3.0, 1.0])), path)
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, at, value)
    path.write_bytes(content)

    with pytest.raises(InputError, match="scan.nii is damaged: its header places it nowhere"):
        read_volume(path)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_nan_stays_nan_in_every_format(tmp_path, oblique_affine, suffix, kind):
    """ITK's NIfTI reader makes zeros of them: water, in a CT."""
    array = np.random.default_rng(0).normal(0, 100, (30, 100, 101)).astype(kind)
    array[:, :40, :30] = np.nan
    write_volume(Volume(array, oblique_affine), tmp_path / f"scan{suffix}")
    np.testing.assert_array_equal(read_volume(tmp_path / f"scan{suffix}").array, array)


def test_nan_behind_extensions_and_in_the_other_byte_order(tmp_path):
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    array[1, 2, 3] = np.nan
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(array.T.astype(">f4"), np.diag([1.0, 1.0, 3.0, 1.0]), header)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 700))
    nibabel.save(image, tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii.gz").array, array)
