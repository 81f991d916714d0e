"""An independent judge of the standard, dciodvfy, finds nothing wrong with what is written."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from cycleinr.dicom_out import DicomSettings
from dicom_out.series_sources import scan_of, write_source
from dicom_out.validators import REQUIRED, program

PACKAGE = "dicom3tools"


def complaints(file) -> set[str]:
    """Errors and warnings about one file."""
    done = subprocess.run([program("dciodvfy", PACKAGE), str(file)], capture_output=True, text=True, timeout=60)
    lines = (done.stderr + done.stdout).splitlines()
    return {line.strip() for line in lines if line.startswith(("Error", "Warning"))}


def errors(file) -> set[str]:
    return {line for line in complaints(file) if line.startswith("Error")}


@pytest.mark.parametrize("name", ["ct", "mr"])
@pytest.mark.parametrize(
    "settings",
    [DicomSettings(), DicomSettings(deterministic_uids=True), DicomSettings(compress=True)],
    ids=["plain", "deterministic", "rle"],
)
def test_a_derived_series_has_no_errors_and_no_warnings_but_its_sources(name, settings, write, request):
    scan = request.getfixturevalue(name)
    files = write(scan, settings).files
    for file in (files[0], files[len(files) // 2], files[-1]):
        assert errors(file) == set()
        assert complaints(file) <= complaints(scan.files[0])


@pytest.mark.parametrize("name", ["ct", "mr"])
def test_source_and_result_agree_on_patient_study_and_frame_of_reference(name, write, request):
    scan = request.getfixturevalue(name)
    assert_one_study(scan, write(scan))


def assert_one_study(scan, derived) -> None:
    """dcentvfy compares the attributes of every entity over all files that belong to it."""
    files = [str(file) for file in (*scan.files, *derived.files)]
    done = subprocess.run([program("dcentvfy", PACKAGE), *files], capture_output=True, text=True, timeout=60)
    assert "Error" not in done.stderr + done.stdout, done.stderr


def test_tilted_uneven_and_padded_series_are_no_worse_than_their_sources(odd, write):
    derived = write(odd)
    for file in (derived.files[0], derived.files[-1]):
        assert errors(file) == set()
        assert complaints(file) <= complaints(odd.files[0])
    assert_one_study(odd, derived)


def test_rescaled_mr_values_and_padding_have_no_errors(mr, write):
    rescaled = mr.result.volume.with_array(np.sqrt(mr.result.volume.array.astype(np.float32)))
    series = write(mr, volume=rescaled)
    assert series.max_error > 0
    assert errors(series.files[3]) == set()


def test_padding_has_no_errors(tmp_path, write):
    scan = scan_of(write_source(tmp_path / "series", PixelPaddingValue=24))
    assert errors(write(scan).files[0]) == set()


def test_a_poor_source_makes_no_new_errors(tmp_path, write):
    """What the source lacks cannot be made up, but nothing gets worse."""
    lacking = dict.fromkeys(["PositionReferenceIndicator", "StudyID", "PatientSex", "BodyPartExamined", "KVP"])
    scan = scan_of(write_source(tmp_path / "series", **lacking))
    assert errors(scan.files[0]) != set()
    assert errors(write(scan).files[0]) == set()
    assert errors(write(scan, DicomSettings(multi_frame=True), folder="one").files[0]) == set()


def test_the_judge_can_tell(ct, write):
    import pydicom

    file = write(ct).files[0]
    data = pydicom.dcmread(file)
    del data.ImageType
    data.save_as(file)
    assert any("ImageType" in line for line in errors(file))


def test_a_missing_judge_is_a_failure_where_none_may_be_missing(monkeypatch):
    monkeypatch.setenv(REQUIRED, "required")
    with pytest.raises(pytest.fail.Exception, match="apt-get install nothing"):
        program("no-such-program", "nothing")
    monkeypatch.delenv(REQUIRED)
    with pytest.raises(pytest.skip.Exception, match="apt-get install nothing"):
        program("no-such-program", "nothing")
