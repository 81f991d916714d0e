"""Folders as discs and archives hold them: several series, phases, copies, scouts; what is meant is taken or asked."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from cycleinr import InputError
from cycleinr.files import read_volume
from cycleinr.files.dicom_series import chosen_series
from dicom_maker import (
    OTHER_SERIES,
    PATIENT,
    frame,
    pixels_of_slice,
    write_enhanced,
    write_file,
    write_series,
    write_slice,
)
from dicom_out.series_sources import acquired_pixels
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesInstanceUID": generate_uid()}


def hu(n: int) -> np.ndarray:
    return pixels_of_slice(n).astype(int) - 1024


def bright(n: int) -> np.ndarray:
    """Slice n of a second phase."""
    return pixels_of_slice(n) + np.uint16(7)


def refusal(path, **which) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path, **which)
    assert PATIENT.split("^")[0] not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def disc(tmp_path):
    """Two thick series and a scout in folders of a disc, with its catalogue and other files."""
    for n, name in enumerate(("A0", "B0")):
        (tmp_path / "DICOM" / name).mkdir(parents=True)
        own = {"SeriesInstanceUID": generate_uid(), "SeriesNumber": 4 + n}
        write_series(tmp_path / "DICOM" / name, pixels=bright if n else pixels_of_slice, **own)
    write_slice(tmp_path / "DICOM" / "scout", (0, 0, 0), pixels_of_slice(0), **SCOUT)
    catalogue = Dataset()
    catalogue.file_meta = FileMetaDataset()
    catalogue.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    catalogue.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    catalogue.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    catalogue.FileSetID = "DISC"
    write_file(tmp_path / "DICOMDIR", catalogue)
    (tmp_path / "autorun.inf").write_text("[autorun]")
    return tmp_path


class TestDiscs:
    @pytest.mark.parametrize("name", ["", "DICOMDIR"])
    def test_the_series_below_are_listed_and_chosen_by_their_numbers(self, disc, name):
        message = refusal(disc / name)
        assert "series 4: 6 CT images, axial, 5 mm apart" in message and "--series 4" in message
        assert "for example A0/" in message and "for example B0/" in message

        chosen = read_volume(disc / name, series="5")

        np.testing.assert_array_equal(chosen.array[2], hu(2) + 7)
        assert chosen.notes == ("1 scout image was left out.", "Series 5 was taken.")
        assert "no series 9" in refusal(disc / name, series="9")

    def test_a_link_to_a_folder_is_not_followed_below(self, disc):
        (disc / "DICOM" / "loop").symlink_to(disc)
        assert read_volume(disc, series="4").shape_kji[0] == 6

    def test_a_damaged_file_matters_beside_the_chosen_series_only(self, disc):
        (disc / "DICOM" / "A0" / "a002.dcm").write_bytes(b"")
        assert read_volume(disc, series="5").shape_kji[0] == 6
        assert "a002.dcm" in refusal(disc, series="4")


class TestWhichIsMeant:
    def test_the_only_thick_series_is_taken_and_said(self, tmp_path):
        write_series(tmp_path, SeriesNumber=2)
        thin = {"SeriesInstanceUID": OTHER_SERIES, "SeriesNumber": 3}
        write_series(tmp_path, slices=12, step=(0, 0, 1.25), prefix="b", **thin)

        volume = read_volume(tmp_path)

        assert volume.spacing_ijk_mm[2] == pytest.approx(5)
        assert volume.notes == ("Series 2 was taken; left out: 3.",)
        assert read_volume(tmp_path, series="3").shape_kji[0] == 12

    def test_what_cannot_be_made_finer_is_no_choice(self, tmp_path):
        write_series(tmp_path)
        write_series(tmp_path, slices=2, prefix="b", SeriesInstanceUID=OTHER_SERIES, SeriesNumber=7)
        write_series(tmp_path, prefix="c", SeriesInstanceUID=generate_uid(), SeriesNumber=8, Modality="PT")

        assert read_volume(tmp_path).notes == (
            "Series 3 was taken; left out: 7 (fewer than 4 slices); 8 (its modality PT is neither CT nor MR).",
        )

    def test_series_of_one_number_are_told_apart(self, tmp_path):
        write_series(tmp_path)
        write_series(tmp_path, prefix="b", pixels=bright, SeriesInstanceUID=OTHER_SERIES)
        message = refusal(tmp_path, series="3")
        assert "Several series" in message and "series 3.1" in message and "series 3.2" in message
        np.testing.assert_array_equal(read_volume(tmp_path, series="3.2").array[0], hu(0) + 7)

    def test_planes_under_one_uid_are_series_of_their_own(self, tmp_path):
        write_series(tmp_path)
        write_series(tmp_path, prefix="b", step=(0, 5, 0), ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
        assert "coronal" in (message := refusal(tmp_path)) and "2 volumes" in message
        assert read_volume(tmp_path, frame=2).orientation == "LIP"


class TestCopiesAndPhases:
    def test_exact_copies_are_dropped_with_a_note(self, tmp_path):
        write_series(tmp_path)
        (tmp_path / "again").mkdir()
        for file in list(tmp_path.glob("*.dcm")):
            shutil.copy(file, tmp_path / "again")
        write_slice(tmp_path / "exported_again.dcm", (-10, -20, 40), pixels_of_slice(2))

        volume = read_volume(tmp_path)

        assert volume.shape_kji[0] == 6
        assert volume.notes == ("7 exact copies of images were dropped from series 3.",)
        assert len(chosen_series(tmp_path).files) == 6
        assert read_volume(tmp_path / "again" / "a001.dcm").shape_kji[0] == 6
        shutil.copy(tmp_path / "a001.dcm", tmp_path / "again" / "b.dcm")
        assert read_volume(tmp_path / "again").notes == ("1 exact copy of an image was dropped from series 3.",)

    @pytest.mark.parametrize(
        ("keyword", "values", "says"),
        [
            ("AcquisitionNumber", (1, 2), "acquisition 2"),
            ("EchoTime", (12.5, 80), "echo time 80 ms"),
            ("TriggerTime", (0, 250), "trigger time 250 ms"),
            ("AcquisitionTime", ("101112", "101147.5"), "35.5 s after the first"),
            (
                "ImageType",
                (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
                "image type ORIGINAL/PRIMARY/P",
            ),
        ],
    )
    def test_phases_of_one_series_are_listed_and_chosen(self, tmp_path, keyword, values, says):
        # The top slice is alike in both: it is no copy
        for prefix, value, pixels in (("a", values[0], pixels_of_slice), ("b", values[1], bright)):
            own = {keyword: value, "Modality": "MR", "RescaleIntercept": 0}
            write_series(
                tmp_path, prefix=prefix, pixels=lambda n, p=pixels: p(n) if n < 5 else pixels_of_slice(n), **own
            )

        message = refusal(tmp_path)

        assert "Series 3 holds 2 volumes" in message and says in message and "--frame" in message
        assert "in a batch's table the column frame" in message and "cycleinr upsample --all-frames" in message
        for which in ({"frame": 2}, {"series": "3.2"}):
            np.testing.assert_array_equal(read_volume(tmp_path, **which).array[0], bright(0))
        np.testing.assert_array_equal(read_volume(tmp_path / "b001.dcm").array[0], bright(0))
        assert "no frame 3" in refusal(tmp_path, frame=3)
        assert {file.name[0] for file in chosen_series(tmp_path, frame=2).files} == {"b"}

    def test_a_time_of_its_own_for_each_image_gives_phases_by_its_order(self, tmp_path):
        for phase, prefix in enumerate("abc"):
            write_series(
                tmp_path,
                prefix=prefix,
                pixels=lambda n, p=phase: pixels_of_slice(n) + np.uint16(p),
                AcquisitionTime=lambda n, p=phase: f"1011{10 + 12 * p + n:02d}",
            )
        assert "3 volumes" in refusal(tmp_path)
        for phase in range(3):
            np.testing.assert_array_equal(read_volume(tmp_path, frame=phase + 1).array[3], hu(3) + phase)

    def test_frames_of_an_enhanced_image_are_told_apart(self, tmp_path):
        frames = [
            (
                pixels_of_slice(n) + np.uint16(e),
                {**frame(n)[1], "MREchoSequence": {"EffectiveEchoTime": 10.0 * (e + 1)}},
            )
            for n in range(5)
            for e in range(2)
        ]
        file = write_enhanced(tmp_path / "echoes.dcm", frames)
        assert "3.2: echo time 20 ms" in refusal(file)
        np.testing.assert_array_equal(read_volume(file, frame=2).array[4], hu(4) + 1)


def test_bright_as_low_is_how_it_is_shown_not_what_it_means(tmp_path):
    """HU are what slope and intercept make of the stored values (PS3.3 C.7.6.3.1.2, C.11.1), packed or not."""
    import pydicom

    pixels = acquired_pixels("CT")
    for name, kind in (("shown", "MONOCHROME1"), ("plain", "MONOCHROME2")):
        write_series(tmp_path / name, 10, pixels=lambda n: pixels[n], PhotometricInterpretation=kind)
    packed = tmp_path / "shown" / "a003.dcm"
    data = pydicom.dcmread(packed)
    data.compress(pydicom.uid.RLELossless)
    data.save_as(packed)

    np.testing.assert_array_equal(read_volume(tmp_path / "shown").array, read_volume(tmp_path / "plain").array)
    enhanced = write_enhanced(tmp_path / "e.dcm", [frame(n) for n in range(5)], PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_volume(enhanced).array[2], hu(2))


def test_itk_says_nothing_of_slices_that_are_not_even(tmp_path, capfd):
    """Its warnings come from C++, with the names of its sources on the computer that built it."""
    write_series(tmp_path)
    (tmp_path / "a003.dcm").unlink()
    read_volume(tmp_path)
    assert capfd.readouterr() == ("", "")
