"""An enhanced (multi-frame) image is the volume that the same slices in single files are."""

import shutil

import numpy as np
import pydicom
import pytest
from cycleinr import GeometryError, InputError
from cycleinr.batch.find import find_scans
from cycleinr.files import read_volume
from dicom_maker import PATIENT_ID, frame, pixels_of_slice, write_enhanced, write_series
from pydicom.uid import RLELossless

RESCALE = "PixelValueTransformationSequence"


@pytest.fixture
def single_slices(tmp_path):
    return read_volume(write_series(tmp_path / "single"))


def same(found, expected):
    assert found.array.dtype == expected.array.dtype
    assert np.array_equal(found.array, expected.array)
    assert np.allclose(found.ijk_to_ras, expected.ijk_to_ras)
    assert found.slice_thickness_mm == expected.slice_thickness_mm
    assert found.modality == expected.modality


def refusal(path, kind=InputError) -> str:
    with pytest.raises(kind) as caught:
        read_volume(path)
    assert PATIENT_ID not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 0, 5, 1, 4, 3]])
def test_frames_in_any_order(tmp_path, single_slices, order):
    file = write_enhanced(tmp_path / "enhanced.dcm", [frame(n) for n in order])
    same(read_volume(file), single_slices)


def test_the_folder_stands_for_its_one_file(tmp_path, single_slices):
    (tmp_path / "series").mkdir()
    write_enhanced(tmp_path / "series" / "enhanced.dcm", [frame(n) for n in range(6)])
    same(read_volume(tmp_path / "series"), single_slices)


def test_each_frame_in_a_file_of_its_own(tmp_path, single_slices):
    (tmp_path / "series").mkdir()
    for n in range(6):
        write_enhanced(tmp_path / "series" / f"{9 - n}.dcm", [frame(n)])
    same(read_volume(tmp_path / "series"), single_slices)


def test_compressed_frames(tmp_path, single_slices):
    file = write_enhanced(tmp_path / "enhanced.dcm", [frame(n) for n in range(6)])
    data = pydicom.dcmread(file)
    data.compress(RLELossless)
    data.save_as(file)
    same(read_volume(file), single_slices)


def test_geometry_and_rescale_of_each_frame(tmp_path, single_slices):
    """All groups per frame, the rescale another one in each."""
    groups = {
        "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        "PixelMeasuresSequence": {"PixelSpacing": [0.7, 0.6], "SliceThickness": 4.5},
    }
    frames = [frame(n, **groups, **{RESCALE: {"RescaleSlope": n + 1, "RescaleIntercept": -10 * n}}) for n in range(6)]
    file = write_enhanced(tmp_path / "enhanced.dcm", frames, shared={"FrameAnatomySequence": {}})

    found = read_volume(file)

    expected = np.stack([pixels_of_slice(n).astype(int) * (n + 1) - 10 * n for n in range(6)])
    assert np.array_equal(found.array, expected)
    assert found.array.dtype == np.int16
    assert np.allclose(found.ijk_to_ras, single_slices.ijk_to_ras)


def test_one_rescale_in_the_frames(tmp_path, single_slices):
    """Where a reader that looks at the shared groups alone would find none."""
    shared = {
        "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        "PixelMeasuresSequence": {"PixelSpacing": [0.7, 0.6], "SliceThickness": 4.5},
    }
    frames = [frame(n, **{RESCALE: {"RescaleSlope": 1, "RescaleIntercept": -1024}}) for n in range(6)]
    same(read_volume(write_enhanced(tmp_path / "enhanced.dcm", frames, shared)), single_slices)


def test_fractional_rescale_gives_real_numbers(tmp_path):
    frames = [frame(n, **{RESCALE: {"RescaleSlope": 0.5 + n, "RescaleIntercept": 0}}) for n in range(4)]
    found = read_volume(write_enhanced(tmp_path / "enhanced.dcm", frames))
    assert found.array.dtype == np.float32
    assert np.allclose(found.array[2], pixels_of_slice(2) * 2.5)


def test_scouts_among_the_frames_are_left_out(tmp_path, single_slices):
    scout = frame(0, CTImageFrameTypeSequence={"FrameType": ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]})
    file = write_enhanced(tmp_path / "enhanced.dcm", [scout, *(frame(n) for n in range(6))])
    same(read_volume(file), single_slices)


@pytest.mark.parametrize(
    "broken",
    [
        {"PerFrameFunctionalGroupsSequence": None},
        {"PerFrameFunctionalGroupsSequence": []},
        {"SharedFunctionalGroupsSequence": []},
    ],
)
def test_frames_without_a_place_are_refused_with_a_way_out(tmp_path, broken):
    message = refusal(write_enhanced(tmp_path / "e.dcm", [frame(n) for n in range(4)], **broken))
    assert "e.dcm" in message
    assert "dcm2niix" in message


@pytest.mark.parametrize("spacing", [[0.7, -0.6], [0.7], [0.7, 0]])
def test_an_impossible_pixel_spacing_is_refused(tmp_path, spacing):
    frames = [frame(n, PixelMeasuresSequence={"PixelSpacing": spacing}) for n in range(4)]
    assert "e.dcm" in refusal(write_enhanced(tmp_path / "e.dcm", frames))


def test_a_value_that_nobody_understands_and_nobody_needs_is_no_obstacle(tmp_path, single_slices):
    noted = [frame(n, FrameContentSequence={"FrameComments": "abcdef"}) for n in range(6)]
    file = write_enhanced(tmp_path / "e.dcm", noted)
    text, number = (b"\x20\x00\x58\x91" + kind + b"\x06\x00abcdef" for kind in (b"LT", b"FD"))
    assert file.read_bytes().count(text) == 6
    file.write_bytes(file.read_bytes().replace(text, number))
    same(read_volume(file), single_slices)


def test_fewer_groups_than_frames_are_refused(tmp_path):
    file = write_enhanced(tmp_path / "e.dcm", [frame(n) for n in range(4)])
    data = pydicom.dcmread(file)
    del data.PerFrameFunctionalGroupsSequence[-1]
    data.save_as(file)
    assert "e.dcm" in refusal(file)


def test_several_echoes_in_one_file_are_refused(tmp_path):
    file = write_enhanced(tmp_path / "e.dcm", [frame(n // 2) for n in range(8)])
    assert "lie where another slice lies already" in refusal(file, GeometryError)


def test_a_truncated_file_is_refused_by_its_name(tmp_path):
    file = write_enhanced(tmp_path / "e.dcm", [frame(n) for n in range(4)])
    file.write_bytes(file.read_bytes()[:-40])
    assert "e.dcm" in refusal(file)


def test_a_batch_finds_it(tmp_path):
    (tmp_path / "in").mkdir()
    shutil.move(write_enhanced(tmp_path / "e.dcm", [frame(n) for n in range(6)]), tmp_path / "in")
    notes = []
    assert len(find_scans(tmp_path / "in", notes)) == 1
    assert notes == []
