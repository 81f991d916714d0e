"""A result as one enhanced (multi-frame) object: the same voxels and places as in a series of single slices."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from cycleinr.dicom_out import DicomSettings
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.jobs import Job, run_job
from cycleinr.request import UpsampleOptions
from dicom_maker import rescaled
from dicom_out.test_standard import assert_one_study, errors

ONE_OBJECT = DicomSettings(multi_frame=True)


@pytest.mark.parametrize("name", ["ct", "mr"])
@pytest.mark.parametrize("compress", [False, True])
def test_it_has_the_voxels_the_place_and_no_errors(name, compress, write, request):
    scan = request.getfixturevalue(name)
    series = write(scan, DicomSettings(multi_frame=True, compress=compress))

    assert [file.name for file in series.files] == ["IM0001.dcm"]
    again = read_volume(series.folder)
    np.testing.assert_array_equal(again.array, scan.result.volume.array)
    assert again.geometry_equal(scan.result.volume)
    assert (again.modality, again.slice_thickness_mm) == (scan.volume.modality, 1.5)
    assert errors(series.files[0]) == set()
    assert_one_study(scan, series)


def test_each_frame_says_what_its_slice_would(ct, write):
    single = [pydicom.dcmread(file) for file in write(ct, folder="single").files]
    data = pydicom.dcmread(write(ct, ONE_OBJECT).files[0])

    assert data.SOPClassUID == pydicom.uid.EnhancedCTImageStorage and data.NumberOfFrames == len(single)
    values = data.pixel_array * float(single[0].RescaleSlope) + float(single[0].RescaleIntercept)
    for n in (0, len(single) - 1):
        groups = data.PerFrameFunctionalGroupsSequence[n]
        assert groups.PlanePositionSequence[0].ImagePositionPatient == single[n].ImagePositionPatient
        named = groups.DerivationImageSequence[0].SourceImageSequence
        assert [item.ReferencedSOPInstanceUID for item in named] == [
            item.ReferencedSOPInstanceUID for item in single[n].SourceImageSequence
        ]
        np.testing.assert_array_equal(values[n], rescaled(single[n]))
    shared = data.SharedFunctionalGroupsSequence[0]
    assert shared.FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert shared.FrameVOILUTSequence[0].WindowCenter == 40
    assert "Not for primary diagnosis" in data.ImageComments and data.ContentQualification == "RESEARCH"


def test_the_same_run_gives_the_same_file_where_that_is_asked_for(mr, write):
    settings = DicomSettings(multi_frame=True, deterministic_uids=True)
    first, second = (write(mr, settings, folder=name).files[0].read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_job_writes_it_on_request(ct, tmp_path):
    options = UpsampleOptions(Target(ratio=2), device="cpu")
    result = run_job(Job(ct.folder, tmp_path / "fine", options, "dicom-enhanced"))

    (file,) = (tmp_path / "fine").iterdir()
    np.testing.assert_array_equal(read_volume(file).array, result.volume.array)
