"""A DICOM series becomes the volume that the scanner acquired, or is refused with the reason."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from cycleinr import GeometryError, InputError
from cycleinr.files import read_volume
from dicom_maker import OTHER_SERIES, PATIENT, PATIENT_ID, pixels_of_slice, write_series, write_slice
from pydicom.uid import generate_uid

TILTED_ROWS = [1, 0, 0, 0, 0.8, 0.6]
CORONAL_ROWS = [1, 0, 0, 0, 0, -1]
SAGITTAL_ROWS = [0, 1, 0, 0, 0, -1]


@pytest.fixture(scope="module")
def real_series(scans, tmp_path_factory):
    """Folder with a real JPEG Lossless head CT."""
    folder = tmp_path_factory.mktemp("real")
    with zipfile.ZipFile(scans / "demo" / "dicom_ct_head_5mm.zip") as archive:
        archive.extractall(folder)
    return folder


def refusal(path, kind=InputError) -> str:
    """The message that a path is refused with; it never names the patient."""
    with pytest.raises(kind) as caught:
        read_volume(path)
    message = str(caught.value)
    assert "Doe" not in message
    assert PATIENT_ID not in message
    return message


class TestRealSeries:
    def test_a_compressed_head_ct_is_the_same_scan_as_its_nifti_copy(self, real_series, scans):
        volume = read_volume(real_series)
        copy = read_volume(scans / "demo" / "ct_head_5mm.nii.gz")
        i, j, k = np.round(np.linalg.solve(volume.ijk_to_ras, copy.ijk_to_ras[:, 3]))[:3].astype(int)
        depth, height, width = copy.shape_kji
        part = volume.array[k : k + depth, j : j + height, i : i + width]
        # The copy has the padding outside the field of view (-3024) raised to air.
        np.testing.assert_array_equal(np.maximum(part, -1024), copy.array)
        np.testing.assert_allclose(volume.ras_of_ijk([i, j, k]), copy.ras_of_ijk([0, 0, 0]), atol=1e-3)
        np.testing.assert_allclose(volume.ras_of_ijk([i + 9, j + 8, k + 7]), copy.ras_of_ijk([9, 8, 7]), atol=1e-3)

    def test_it_is_described_by_its_tags(self, real_series):
        volume = read_volume(real_series)
        assert volume.array.dtype == np.int16
        assert (volume.modality, volume.slice_thickness_mm, volume.name) == ("CT", 5.0, "CT series 2")
        np.testing.assert_allclose(volume.spacing_ijk_mm, (0.488281, 0.488281, 5.0))

    def test_one_file_stands_for_its_series(self, real_series):
        one = next(iter(real_series.glob("*.dcm")))
        np.testing.assert_array_equal(read_volume(one).array, read_volume(real_series).array)

    def test_a_missing_file_leaves_the_others_where_they_are(self, real_series, tmp_path, capfd):
        for file in sorted(real_series.glob("*.dcm")):
            shutil.copy(file, tmp_path)
        whole = read_volume(tmp_path)
        (tmp_path / "0010.dcm").unlink()
        gapped = read_volume(tmp_path)
        assert capfd.readouterr() == ("", "")
        np.testing.assert_allclose(gapped.acquisition.positions_mm, np.delete(5.0 * np.arange(34), 10), atol=1e-3)
        np.testing.assert_array_equal(gapped.array, np.delete(whole.array, 10, axis=0))
        np.testing.assert_allclose(gapped.ijk_to_ras, whole.ijk_to_ras, atol=1e-3)

    def test_a_truncated_compressed_file_is_named(self, real_series, tmp_path):
        for file in sorted(real_series.glob("*.dcm"))[14:20]:
            shutil.copy(file, tmp_path)
        damaged = tmp_path / "0017.dcm"
        damaged.chmod(0o600)
        damaged.write_bytes(damaged.read_bytes()[:60_000])
        assert "0017.dcm" in refusal(tmp_path)


class TestPlaceInThePatient:
    def test_an_axial_series_lies_where_it_was_worked_out_by_hand(self, tmp_path):
        volume = read_volume(write_series(tmp_path))
        assert volume.shape_kji == (6, 6, 5)
        expected = [[-0.6, 0, 0, 10], [0, -0.7, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]]
        np.testing.assert_allclose(volume.ijk_to_ras, expected, atol=1e-9)

    def test_a_coronal_series_lies_where_it_was_worked_out_by_hand(self, tmp_path):
        volume = read_volume(write_series(tmp_path, step=(0, 5, 0), ImageOrientationPatient=CORONAL_ROWS))
        expected = [[-0.6, 0, 0, 10], [0, 0, -5, 20], [0, -0.7, 0, 30], [0, 0, 0, 1]]
        np.testing.assert_allclose(volume.ijk_to_ras, expected, atol=1e-9)

    def test_a_sagittal_series_lies_where_it_was_worked_out_by_hand(self, tmp_path):
        volume = read_volume(write_series(tmp_path, step=(-5, 0, 0), ImageOrientationPatient=SAGITTAL_ROWS))
        expected = [[0, 0, 5, 10], [-0.6, 0, 0, 20], [0, -0.7, 0, 30], [0, 0, 0, 1]]
        np.testing.assert_allclose(volume.ijk_to_ras, expected, atol=1e-9)

    def test_an_oblique_series_lies_where_it_was_worked_out_by_hand(self, tmp_path):
        volume = read_volume(write_series(tmp_path, step=(0, -3, 4), ImageOrientationPatient=TILTED_ROWS))
        expected = [[-0.6, 0, 0, 10], [0, -0.56, 3, 20], [0, 0.42, 4, 30], [0, 0, 0, 1]]
        np.testing.assert_allclose(volume.ijk_to_ras, expected, atol=1e-9)

    def test_slices_are_sorted_by_position_whatever_their_names_and_numbers_say(self, tmp_path):
        volume = read_volume(write_series(tmp_path, InstanceNumber=lambda n: (5 * n) % 6))
        np.testing.assert_array_equal(volume.array, np.stack([pixels_of_slice(n) for n in range(6)]).astype(int) - 1024)

    def test_a_series_acquired_downwards_is_the_same_volume(self, tmp_path):
        up = read_volume(write_series(tmp_path / "up"))
        down = read_volume(
            write_series(
                tmp_path / "down", step=(0, 0, -5), origin=(-10, -20, 55), pixels=lambda n: pixels_of_slice(5 - n)
            )
        )
        np.testing.assert_array_equal(up.array, down.array)
        np.testing.assert_allclose(up.ijk_to_ras, down.ijk_to_ras)

    def test_itk_reads_the_same_values_at_the_same_place(self, tmp_path):
        write_series(tmp_path, step=(0, -3, 4), ImageOrientationPatient=TILTED_ROWS)
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
        image = sitk.ReadImage(names)
        volume = read_volume(tmp_path)
        for index in ((0, 0, 0), (4, 5, 3)):
            right, anterior, superior = volume.ras_of_ijk(index)
            np.testing.assert_allclose(
                image.TransformIndexToPhysicalPoint(index), (-right, -anterior, superior), atol=1e-4
            )
            assert image[index] == volume.array[index[::-1]]

    def test_the_spacing_comes_from_the_positions_not_from_the_tags(self, tmp_path):
        volume = read_volume(write_series(tmp_path, SpacingBetweenSlices=9.0))
        assert volume.spacing_ijk_mm[2] == pytest.approx(5)
        assert volume.slice_thickness_mm == 4.5

    @pytest.mark.parametrize("thickness", ["", 0])
    def test_an_unknown_thickness_stays_unknown(self, tmp_path, thickness):
        assert read_volume(write_series(tmp_path, SliceThickness=thickness)).slice_thickness_mm is None

    def test_positions_rounded_by_the_scanner_are_no_irregular_spacing(self, tmp_path):
        rounded = read_volume(write_series(tmp_path, position=lambda n: (-10, -20, round(n * 10 / 3, 2))))
        assert rounded.spacing_ijk_mm[2] == pytest.approx(10 / 3, abs=0.002)


def blob_slices(positions, centre=(-8.1, -17.3, 43.2), shape=(32, 30), pixel_mm=(0.7, 0.6)) -> list[np.ndarray]:
    """Stored values of axial slices at some positions (LPS mm) of a blob in air, 1000 HU above it."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    return [
        np.rint(24 + 1000 * np.exp(-_square_mm(x, y, z, centre, row * pixel_mm[0], column * pixel_mm[1]) / 18))
        for x, y, z in positions
    ]


def _square_mm(x, y, z, centre, down_mm, across_mm):
    return (x + across_mm - centre[0]) ** 2 + (y + down_mm - centre[1]) ** 2 + (z - centre[2]) ** 2


def blob_series(folder, positions, **tags):
    pixels = [values.astype(np.uint16) for values in blob_slices(positions)]
    return write_series(folder, len(positions), position=lambda n: positions[n], pixels=lambda n: pixels[n], **tags)


def blob_centre_ras(volume) -> np.ndarray:
    """Centroid of what is above air, with every slice's share of the axis as its weight."""
    k, j, i = np.indices(volume.shape_kji)
    share = np.gradient(
        np.arange(len(volume.array), dtype=float) if volume.acquisition is None else volume.acquisition.positions_mm
    )
    weights = (volume.array + 1000.0).clip(0) * share[:, None, None]
    places = volume.ras_of_ijk(np.stack([i, j, k], axis=-1))
    return (places * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()


TRUE_CENTRE_RAS = (8.1, 17.3, 43.2)


class TestTiltedAndUneven:
    @pytest.mark.parametrize(
        ("degrees", "along", "said"),
        [
            (12, 1, "Gantry tilt of 12.0 degrees removed."),
            (-15, 0, "15.0 degrees"),
            (35, 1, "35.0"),
            (0.3, 1, "0.30 degrees removed"),
        ],
    )
    def test_a_tilted_gantry_leaves_the_patient_where_he_was(self, tmp_path, degrees, along, said):
        lean = np.zeros(3)
        lean[along] = np.tan(np.deg2rad(degrees))
        positions = [np.round((-16.5, -28.5, 30 + 2.0 * n) + lean * (2.0 * n - 13), 6) for n in range(14)]
        volume = read_volume(blob_series(tmp_path, positions))
        np.testing.assert_allclose(blob_centre_ras(volume), TRUE_CENTRE_RAS, atol=0.02)
        np.testing.assert_allclose(volume.spacing_ijk_mm, (0.6, 0.7, 2), atol=1e-6)
        assert volume.array.max() == pytest.approx(
            max(values.max() for values in blob_slices(positions)) - 1024, abs=12
        )
        assert volume.array[~volume.valid].max() <= volume.array.min()
        np.testing.assert_allclose(volume.acquisition.shift_ras_mm[:, 2], 0, atol=1e-9)
        assert said in volume.notes[0]

    def test_only_the_header_of_a_tilted_series_is_as_large_as_the_volume(self, tmp_path):
        positions = [(-10, -20 + n, 5 * n) for n in range(6)]
        folder = write_series(tmp_path, position=lambda n: positions[n])
        header, volume = read_volume(folder, header_only=True), read_volume(folder)
        assert header.geometry_equal(volume) and header.shape_kji == (6, 14, 5) and header.notes == volume.notes

    def test_whole_pixels_are_moved_without_a_change(self, tmp_path):
        volume = read_volume(write_series(tmp_path, step=(0, 0.7, 5), pixels=lambda n: pixels_of_slice(0)))
        assert volume.shape_kji == (6, 11, 5)
        for n in range(6):
            np.testing.assert_array_equal(volume.array[n, n : n + 6], pixels_of_slice(0).astype(int) - 1024)
            np.testing.assert_array_equal(volume.valid[n, :, 0], np.isin(np.arange(11), np.arange(n, n + 6)))

    def test_padding_bleeds_into_no_slice_that_is_moved(self, tmp_path):
        row, column = np.mgrid[:24, :24]
        outside = (row - 11.5) ** 2 + (column - 11.5) ** 2 > 11**2
        pixels = np.where(outside, -2000, 40).astype(np.int16)
        step = (0, 0.7 * 0.5, 5)
        volume = read_volume(write_series(tmp_path, step=step, pixels=lambda n: pixels, RescaleIntercept=0))
        assert set(np.unique(volume.array)) == {-2000, 40}
        np.testing.assert_array_equal(volume.valid, volume.array == 40)

    def test_a_tilted_series_of_nothing_but_padding_is_still_read(self, tmp_path):
        pixels = np.full((6, 5), -3024, np.int16)
        folder = write_series(tmp_path, step=(0, 0.35, 5), pixels=lambda n: pixels, RescaleIntercept=0)
        assert not read_volume(folder).valid.any()

    def test_less_than_a_tenth_of_a_pixel_is_told_and_left_alone(self, tmp_path):
        volume = read_volume(write_series(tmp_path, step=(0, 0.01, 5)))
        assert "0.11 degrees" in volume.notes[0] and "nothing was moved" in volume.notes[0]
        assert volume.shape_kji == (6, 6, 5) and volume.acquisition is None and volume.valid is None

    def test_a_slice_that_lies_beside_the_line_is_put_where_it_is(self, tmp_path):
        volume = read_volume(write_series(tmp_path, position=lambda n: (-10 + 1.2 * (n == 3), -20, 5 * n)))
        assert "up to 1.20 mm sideways" in volume.notes[0]
        assert volume.array[3, 0, 2] == pixels_of_slice(3)[0, 0] - 1024
        assert volume.array[2, 0, 0] == pixels_of_slice(2)[0, 0] - 1024

    @pytest.mark.parametrize(
        "heights",
        [
            np.delete(30 + 2.0 * np.arange(14), 4),
            np.cumsum([30, *[1.5] * 18, *[3.0] * 4]),
            np.round(30 + 1.25 * np.arange(22), 1),
            30 + 2.5 * np.arange(12) + 0.03 * (-1) ** np.arange(12),
        ],
        ids=["missing", "two spacings", "rounded", "jitter"],
    )
    def test_uneven_slices_lie_where_they_were_acquired(self, tmp_path, heights):
        volume = read_volume(blob_series(tmp_path, [(-16.5, -28.5, z) for z in heights]))
        np.testing.assert_allclose(blob_centre_ras(volume), TRUE_CENTRE_RAS, atol=0.02)
        places = volume.ras_of_ijk([(0, 0, k) for k in range(len(heights))])[:, 2]
        np.testing.assert_allclose(places, heights, atol=0.06)

    def test_jitter_is_told(self, tmp_path):
        volume = read_volume(write_series(tmp_path, position=lambda n: (-10, -20, 5 * n + 0.03 * (-1) ** n)))
        assert volume.acquisition is None and "deviate by up to 0.03" in volume.notes[0]

    def test_thicknesses_that_differ_are_known_of_every_slice(self, tmp_path):
        volume = read_volume(
            write_series(
                tmp_path,
                position=lambda n: (-10, -20, 5 * n + 5 * max(n - 2, 0)),
                SliceThickness=lambda n: 5 if n < 3 else 10,
            )
        )
        np.testing.assert_array_equal(volume.acquisition.thickness_mm, [5, 5, 5, 10, 10, 10])


class TestValues:
    def test_rescaled_ct_is_int16_in_hounsfield_units(self, tmp_path):
        volume = read_volume(write_series(tmp_path))
        assert volume.array.dtype == np.int16
        assert volume.array[0, 0, 0] == 1000 - 1024

    def test_each_slice_is_rescaled_by_its_own_slope(self, tmp_path):
        volume = read_volume(write_series(tmp_path, RescaleSlope=lambda n: 1 + n, RescaleIntercept=lambda n: -n))
        expected = np.stack([pixels_of_slice(n).astype(int) * (1 + n) - n for n in range(6)])
        np.testing.assert_array_equal(volume.array, expected)

    def test_fractional_slopes_are_kept_although_the_first_slice_needs_none(self, tmp_path):
        slopes = [1, 0.5, 1.25, 0.1, 2, 1]
        volume = read_volume(write_series(tmp_path, Modality="MR", RescaleSlope=lambda n: slopes[n]))
        expected = np.stack([pixels_of_slice(n).astype(float) * slopes[n] - 1024 for n in range(6)])
        assert volume.array.dtype == np.float32
        np.testing.assert_allclose(volume.array, expected, rtol=1e-6)

    def test_mr_without_rescale_keeps_its_stored_values(self, tmp_path):
        volume = read_volume(write_series(tmp_path, Modality="MR", RescaleSlope=None, RescaleIntercept=None))
        assert (volume.modality, volume.array.dtype, volume.name) == ("MR", np.int16, "MR series 3")
        np.testing.assert_array_equal(volume.array[2], pixels_of_slice(2))

    def test_values_beyond_int16_get_the_type_that_holds_them(self, tmp_path):
        bright = write_series(tmp_path / "a", pixels=lambda n: pixels_of_slice(n) + 60_000, RescaleIntercept=0)
        assert read_volume(bright).array.dtype == np.uint16
        both = write_series(tmp_path / "b", pixels=lambda n: pixels_of_slice(n) + np.uint16(60_000 * (n % 2)))
        assert read_volume(both).array.dtype == np.int32
        assert read_volume(both).array.max() == 60_000 + pixels_of_slice(5).max() - 1024

    def test_signed_stored_values_are_read_as_such(self, tmp_path):
        signed = write_series(tmp_path, pixels=lambda n: pixels_of_slice(n).astype(np.int16) - 2000, RescaleIntercept=0)
        assert read_volume(signed).array[0, 0, 0] == -1000


class TestWhatBelongsToTheSeries:
    def test_two_series_are_listed_without_the_patient(self, tmp_path):
        write_series(tmp_path)
        write_series(tmp_path, slices=4, prefix="b", SeriesInstanceUID=OTHER_SERIES, SeriesNumber=7, Modality="MR")
        message = refusal(tmp_path)
        assert "2 DICOM series" in message
        assert "series 3: 6 CT images, axial, 5 mm apart" in message
        assert "series 7: 4 MR images, axial, 5 mm apart, for example b001.dcm" in message

    def test_one_file_selects_its_series_of_several(self, tmp_path):
        write_series(tmp_path)
        write_series(tmp_path, slices=4, prefix="b", SeriesInstanceUID=OTHER_SERIES)
        assert read_volume(tmp_path / "a002.dcm").shape_kji[0] == 6
        assert read_volume(tmp_path / "b002.dcm").shape_kji[0] == 4

    def test_scouts_are_dropped_from_the_same_series(self, tmp_path):
        write_series(tmp_path)
        write_slice(
            tmp_path / "scout.dcm", (0, 0, 0), pixels_of_slice(0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
        )
        assert read_volume(tmp_path).shape_kji[0] == 6
        assert "scout" in refusal(tmp_path / "scout.dcm")

    def test_numbers_of_a_scout_that_make_no_sense_are_no_obstacle(self, tmp_path):
        write_series(tmp_path)
        scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SliceThickness": [1, 2], "RescaleSlope": [1, 2]}
        write_slice(tmp_path / "scout.dcm", (0, 0, 0), pixels_of_slice(0), **scout)
        assert read_volume(tmp_path).shape_kji[0] == 6

    def test_objects_that_are_no_images_are_ignored(self, tmp_path):
        write_series(tmp_path)
        write_slice(
            tmp_path / "report.dcm", (0, 0, 0), pixels_of_slice(0), Modality="SR", SeriesInstanceUID=OTHER_SERIES,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22", Rows=None, Columns=None, ImagePositionPatient=None,
        )  # fmt: skip
        write_slice(
            tmp_path / "screen.dcm", (0, 0, 0), pixels_of_slice(0), SeriesInstanceUID=OTHER_SERIES,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.7", ImagePositionPatient=None,
        )  # fmt: skip
        (tmp_path / "README").write_text("about this disc")
        (tmp_path / ".DS_Store").write_bytes(bytes(100))
        (tmp_path / "thumbs.db").write_bytes(bytes(100))
        assert read_volume(tmp_path).shape_kji[0] == 6

    def test_files_without_a_suffix_are_read(self, tmp_path):
        for n, file in enumerate(sorted(write_series(tmp_path).iterdir())):
            file.rename(tmp_path / f"IM{n}")
        assert read_volume(tmp_path).shape_kji[0] == 6
        assert read_volume(tmp_path / "IM3").shape_kji[0] == 6

    def test_a_folder_without_dicom_is_refused(self, tmp_path):
        (tmp_path / "README").write_text("about this disc")
        assert "no DICOM images" in refusal(tmp_path)

    def test_other_modalities_are_refused_by_name(self, tmp_path):
        assert "modality PT" in refusal(write_series(tmp_path, Modality="PT"))

    @pytest.mark.parametrize("odd", [0, 5])
    def test_one_image_of_another_modality_in_a_series_is_refused(self, tmp_path, odd):
        folder = write_series(tmp_path, Modality=lambda n: "PT" if n == odd else "CT", PixelPaddingValue=0)
        assert "modality PT" in refusal(folder)

    def test_another_modality_beside_a_ct_is_no_second_choice(self, tmp_path):
        write_series(tmp_path)
        write_series(tmp_path, prefix="b", SeriesInstanceUID=generate_uid(), Modality="PT")
        assert read_volume(tmp_path).modality == "CT"

    def test_the_name_of_the_volume_says_nothing_about_the_patient(self, tmp_path):
        name = read_volume(write_series(tmp_path, SeriesDescription=PATIENT)).name
        assert name == "CT series 3"


class TestWhatIsRefused:
    def test_a_single_slice(self, tmp_path):
        assert "one slice" in refusal(write_series(tmp_path, slices=1), GeometryError)

    def test_two_slices_at_one_position(self, tmp_path):
        write_series(tmp_path)
        write_slice(tmp_path / "again.dcm", (-10, -20, 40), pixels_of_slice(3))
        message = refusal(tmp_path, GeometryError)
        assert "1 of 7 slices lie where another slice lies" in message
        assert "position 4" in message

    def test_slices_that_are_not_parallel(self, tmp_path):
        turned = write_series(tmp_path, ImageOrientationPatient=lambda n: [1, 0, 0, 0, 1, 0] if n else TILTED_ROWS)
        assert "orientation" in refusal(turned, GeometryError)

    @pytest.mark.parametrize("slope", [np.tan(np.deg2rad(40)), 3])
    def test_slices_that_no_gantry_stacks(self, tmp_path, slope):
        assert "no CT gantry" in refusal(write_series(tmp_path, step=(0, 5 * slope, 5)), GeometryError)

    def test_a_slice_that_lies_beside_the_others(self, tmp_path):
        shifted = write_series(tmp_path, position=lambda n: (-10 + 20 * (n == 2), -20, 5 * n))
        assert "Slice 3 of 6 lies 16.4 mm beside" in refusal(shifted, GeometryError)

    def test_slices_of_different_size(self, tmp_path):
        message = refusal(write_series(tmp_path, pixels=lambda n: pixels_of_slice(n, columns=5 if n else 8)))
        assert "differ in size" in message

    def test_slices_of_different_pixel_spacing(self, tmp_path):
        message = refusal(write_series(tmp_path, PixelSpacing=lambda n: [0.7, 0.6 if n else 0.8]))
        assert "pixel spacing" in message

    def test_colour_pixels(self, tmp_path):
        assert "RGB" in refusal(write_series(tmp_path, PhotometricInterpretation="RGB"))

    def test_more_pixels_than_a_file_can_hold_are_refused_before_memory_is_taken(self, tmp_path):
        assert "cannot be decoded" in refusal(write_series(tmp_path, Rows=60_000, Columns=60_000))

    @pytest.mark.parametrize(
        "tags", [{"BitsAllocated": 1}, {"BitsAllocated": 8, "BitsStored": 8}, {"BitsAllocated": 32}, {"Rows": 3}]
    )
    def test_pixels_of_another_length_than_the_header_promises(self, tmp_path, tags):
        assert "there are 60 bytes, and its header promises" in refusal(write_series(tmp_path, **tags))

    @pytest.mark.parametrize("padding", [10, 58])
    def test_padding_behind_the_pixels_is_none(self, tmp_path, padding):
        whole = read_volume(write_series(tmp_path)).array
        for file in tmp_path.iterdir():
            data = pydicom.dcmread(file)
            data.PixelData += bytes(padding)
            data.save_as(file)
        assert np.array_equal(read_volume(tmp_path).array, whole)

    @pytest.mark.parametrize("kept", [0, 50, 200, 600, 0.95])
    def test_a_truncated_file_by_its_name(self, tmp_path, kept):
        write_series(tmp_path)
        content = (tmp_path / "a001.dcm").read_bytes()
        (tmp_path / "a001.dcm").write_bytes(content[: kept if kept >= 1 or kept == 0 else int(len(content) * kept)])
        assert "a001.dcm" in refusal(tmp_path)

    def test_a_file_of_noise_by_its_name(self, tmp_path):
        write_series(tmp_path)
        (tmp_path / "a001.dcm").write_bytes(np.random.default_rng(0).bytes(3000))
        assert "a001.dcm" in refusal(tmp_path)

    def test_an_empty_file_without_a_suffix_by_its_name(self, tmp_path):
        for n, file in enumerate(sorted(write_series(tmp_path).iterdir())):
            file.rename(tmp_path / f"IM{n}")
        (tmp_path / "IM0").write_bytes(b"")
        assert "IM0" in refusal(tmp_path)

    @pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"])
    def test_a_slice_without_its_place_by_its_name(self, tmp_path, missing):
        write_series(tmp_path)
        write_slice(tmp_path / "a001.dcm", (-10, -20, 55), pixels_of_slice(5), **{missing: None})
        assert "a001.dcm does not say where its slice lies, how large it is" in refusal(tmp_path)


class TestPadding:
    @pytest.mark.parametrize(
        ("padding", "tags"),
        [
            (-2000, {"PixelPaddingValue": -2000}),
            (-2010, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -2020}),
            (5000, {"PixelPaddingValue": 5000}),
        ],
        ids=["signed", "range", "above all tissue"],
    )
    def test_what_the_header_calls_padding_is_not_measured(self, tmp_path, padding, tags):
        pixels = np.tile(np.arange(6, dtype=np.int16), (6, 1))
        pixels[:, 4:] = padding
        volume = read_volume(write_series(tmp_path / "s", pixels=pixels, RescaleIntercept=0, **tags))
        np.testing.assert_array_equal(volume.valid, volume.array != padding)

    def test_its_sign_may_be_missing(self, tmp_path):
        pixels = np.tile(np.array([0, 1, 2, 3, -2000, -2000], np.int16), (6, 1))
        folder = write_series(tmp_path / "s", pixels=pixels, RescaleIntercept=0, PixelPaddingValue=-2000)
        for file in folder.iterdir():
            signed = b"\x28\x00\x20\x01SS\x02\x00\x30\xf8"
            assert signed in file.read_bytes()
            file.write_bytes(file.read_bytes().replace(signed, signed.replace(b"SS", b"US")))
        assert read_volume(folder).valid[0, 0].tolist() == [True] * 4 + [False] * 2

    @pytest.mark.parametrize(("modality", "padding"), [("CT", -1024), ("MR", 0)])
    def test_a_value_that_air_has_too_is_no_padding(self, tmp_path, modality, padding):
        pixels = np.full((6, 6), 100, np.int16)
        pixels[:, 4:] = padding
        folder = write_series(
            tmp_path / "s", pixels=pixels, RescaleIntercept=0, PixelPaddingValue=padding, Modality=modality
        )
        assert read_volume(folder).valid is None

    def test_a_tilted_series_keeps_it_and_is_not_blurred_by_it(self, tmp_path):
        pixels = np.full((30, 30), 40, np.int16)
        pixels[:, 20:] = -3024
        volume = read_volume(
            write_series(tmp_path / "s", step=(0, 0.4, 2), pixels=pixels, RescaleIntercept=0, PixelPaddingValue=-3024)
        )
        assert volume.shape_kji[1] > 30 and set(np.unique(volume.array)) == {-3024, 40}
        np.testing.assert_array_equal(volume.valid, volume.array == 40)
