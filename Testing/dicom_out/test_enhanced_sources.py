"""Results of enhanced (multi-frame) objects become series of single slices in their study."""

from __future__ import annotations

import numpy as np
import pydicom
from cycleinr.dicom_out import write_dicom_series
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.jobs import Job, run_job
from cycleinr.request import UpsampleOptions
from dicom_maker import PATIENT, frame, pixels_of_slice, write_enhanced
from dicom_out.series_sources import ENHANCED_STUDY, scan_of, write_source
from dicom_out.test_standard import assert_one_study, errors
from pydicom.uid import EnhancedMRImageStorage


def test_the_series_has_the_voxels_the_place_and_no_errors(enhanced, write):
    series = write(enhanced)

    again = read_volume(series.folder)

    np.testing.assert_array_equal(again.array, enhanced.result.volume.array)
    assert again.geometry_equal(enhanced.result.volume)
    for file in (series.files[0], series.files[-1]):
        assert errors(file) == set()
    assert_one_study(enhanced, series)


def test_what_the_functional_groups_say_stands_where_single_slices_say_it(enhanced, write):
    data = pydicom.dcmread(write(enhanced).files[0])

    assert data.PatientName == PATIENT and data.AcquisitionNumber == 5 and data.StudyID == "S1"
    assert data.SeriesDescription.startswith("Routine 4.0 2 mm CycleINR")
    if data.Modality == "CT":
        assert data.SOPClassUID == pydicom.uid.CTImageStorage and list(data.ImageType)[2] == "AXIAL"
        assert (data.KVP, data.XRayTubeCurrent, data.ExposureTime, data.ConvolutionKernel) == (120, 200, 500, "B30")
        assert (data.WindowCenter, data.WindowWidth, data.RescaleType) == (40, 400, "HU")
    else:
        assert data.SOPClassUID == pydicom.uid.MRImageStorage
        assert (data.EchoTime, data.RepetitionTime, data.FlipAngle, data.EchoTrainLength) == (15.5, 500, 90, 1)
        assert (data.ScanningSequence, data.SequenceVariant, data.MRAcquisitionType) == ("SE", "NONE", "2D")
    assert not any("FunctionalGroups" in element.keyword for element in data)


def test_the_frames_that_a_slice_was_computed_from_are_named(enhanced, write):
    source = pydicom.dcmread(enhanced.files[0], stop_before_pixels=True)
    slices = [pydicom.dcmread(file) for file in write(enhanced).files]

    for data, numbers in ((slices[0], [1, 2, 3, 4]), (slices[-1], [7, 8, 9, 10])):
        (item,) = data.SourceImageSequence
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert item.ReferencedSOPClassUID == source.SOPClassUID
        assert list(item.ReferencedFrameNumber) == numbers
    assert slices[0].RelatedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID


def test_one_echo_of_several_in_one_object_becomes_a_series(tmp_path):
    frames = [
        (pixels_of_slice(n) + np.uint16(e), {**frame(n)[1], "MREchoSequence": {"EffectiveEchoTime": 10.0 * (e + 1)}})
        for n in range(5)
        for e in range(2)
    ]
    kind = {"SOPClassUID": EnhancedMRImageStorage, "Modality": "MR"}
    file = write_enhanced(tmp_path / "e.dcm", frames, **kind, **ENHANCED_STUDY)
    options = UpsampleOptions(Target(ratio=2), device="cpu")

    result = run_job(Job(file, tmp_path / "fine", options, format="dicom", series="3", frame=2))

    np.testing.assert_array_equal(read_volume(tmp_path / "fine").array, result.volume.array)
    data = pydicom.dcmread(tmp_path / "fine" / "IM0001.dcm")
    assert data.EchoTime == 20 and list(data.SourceImageSequence[0].ReferencedFrameNumber) == [2, 4, 6, 8]


def test_a_frames_value_that_cannot_be_decoded_is_no_obstacle(tmp_path):
    frames = [frame(n, FrameContentSequence={"FrameComments": "abcdef"}) for n in range(5)]
    file = write_enhanced(tmp_path / "e.dcm", frames, **ENHANCED_STUDY)
    text, number = (b"\x20\x00\x58\x91" + kind + b"\x06\x00abcdef" for kind in (b"LT", b"FD"))
    assert file.read_bytes().count(text) == 5
    file.write_bytes(file.read_bytes().replace(text, number))

    result = run_job(Job(file, tmp_path / "fine", UpsampleOptions(Target(ratio=2), device="cpu"), format="dicom"))

    np.testing.assert_array_equal(read_volume(tmp_path / "fine").array, result.volume.array)


def test_what_is_shown_bright_as_low_stays_so(tmp_path):
    scan = scan_of(write_source(tmp_path / "in", PhotometricInterpretation="MONOCHROME1"))
    series = write_dicom_series(scan.result.volume, scan.files, tmp_path / "out", scan.result.provenance)

    assert pydicom.dcmread(series.files[0]).PhotometricInterpretation == "MONOCHROME1"
    np.testing.assert_array_equal(read_volume(series.folder).array, scan.result.volume.array)
    assert errors(series.files[0]) == set()


def test_a_text_where_the_object_should_have_a_number_is_no_obstacle(tmp_path):
    file = write_enhanced(tmp_path / "e.dcm", [frame(n) for n in range(5)], **{**ENHANCED_STUDY, "KVP": "123456"})
    content = file.read_bytes()
    assert content.count(b"123456") == 1
    file.write_bytes(content.replace(b"123456", b"12 0kV"))

    run_job(Job(file, tmp_path / "fine", UpsampleOptions(Target(ratio=2), device="cpu"), format="dicom"))

    assert not pydicom.dcmread(tmp_path / "fine" / "IM0001.dcm").get("KVP")
