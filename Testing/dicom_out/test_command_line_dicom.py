"""``cycleinr upsample --format dicom`` as its users run it: real processes, real files."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pydicom
import pytest
from command_line import cycleinr
from cycleinr import CycleinrError
from cycleinr.dicom_out import write_dicom_series
from cycleinr.files import read_volume, write_volume
from cycleinr.grid import Target
from cycleinr.jobs import Job, run_job
from cycleinr.request import UpsampleOptions
from dicom_maker import PATIENT, PATIENT_ID
from dicom_out.series_sources import write_source
from series_kinds import write_blob

TWICE = UpsampleOptions(Target(ratio=2), device="cpu")


def upsample(*arguments) -> subprocess.CompletedProcess:
    return cycleinr("upsample", *arguments, "--device", "cpu", environment={"CYCLEINR_LOG": "INFO"})


def test_a_series_becomes_a_series_and_nothing_names_the_patient(ct, tmp_path):
    done = upsample(ct.folder, tmp_path / "fine", "--spacing", "1.5", "--format", "dicom")

    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(read_volume(tmp_path / "fine").array, ct.result.volume.array)
    assert sorted(os.listdir(tmp_path)) == ["fine", "fine.json"]
    sidecar = (tmp_path / "fine.json").read_text()
    assert json.loads(sidecar)["spacing_mm"] == "1.5"
    assert "Not for primary diagnosis" in done.stdout
    said = done.stdout + done.stderr + sidecar + " ".join(os.listdir(tmp_path / "fine"))
    for secret in (*PATIENT.split("^"), PATIENT_ID, "ACC42", "19700101", "Roe", "Scanner Works"):
        assert secret not in said


def test_a_result_is_replaced_only_when_asked_and_a_name_without_ending_means_dicom(ct, tmp_path):
    write_dicom_series(ct.result.volume, ct.files, tmp_path / "fine", ct.result.provenance)
    arguments = (ct.files[3], tmp_path / "fine", "--ratio", "2", "--deterministic-uids", "--compress")

    refused = upsample(*arguments)
    kept = len(os.listdir(tmp_path / "fine"))
    replaced = upsample(*arguments, "--overwrite")

    assert (refused.returncode, replaced.returncode) == (5, 0), replaced.stderr
    assert "--overwrite" in refused.stderr and "Traceback" not in refused.stderr
    assert (kept, len(os.listdir(tmp_path / "fine"))) == (25, 19)
    data = pydicom.dcmread(tmp_path / "fine" / "IM0001.dcm")
    assert data.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    assert "SeriesDate" not in data


def test_gaps_are_filled_when_asked_and_each_slice_in_one_says_so(tmp_path):
    heights = 2.5 * np.arange(12.0)
    source = write_blob(tmp_path / "series", np.delete(heights, [4, 8, 9]))
    arguments = (source, tmp_path / "fine", "--spacing", "1.25")

    refused = upsample(*arguments)
    filled = upsample(*arguments, "--fill-gaps")

    assert (refused.returncode, filled.returncode) == (3, 0), filled.stderr
    assert "1 after slice 4, at 7.5 mm; 2 after slice 7, at 17.5 mm" in refused.stderr and not refused.stdout
    gaps = json.loads((tmp_path / "fine.json").read_text())["gaps"]
    assert gaps == "slices 8 to 10, 16 to 20" and gaps in " ".join(filled.stdout.split())
    slices = [pydicom.dcmread(file) for file in sorted((tmp_path / "fine").iterdir())]
    marked = [float(one.ImagePositionPatient[2]) for one in slices if one.ImageComments.startswith("Slices are miss")]
    assert marked == [8.75, 10, 11.25, 18.75, 20, 21.25, 22.5, 23.75]
    assert "Nothing was acquired at 8 of these slices" in slices[0].DerivationDescription


def test_a_job_tells_that_values_were_rounded(mr, tmp_path):
    folder = write_source(tmp_path / "series", "MR", RescaleSlope=0.37, RescaleIntercept=0)

    rounded = run_job(Job(folder, tmp_path / "rounded", TWICE, "dicom"))
    exact = run_job(Job(mr.folder, tmp_path / "exact", TWICE, "dicom"))

    assert "largest rounding error" in rounded.warnings[0]
    assert exact.warnings == ()


@pytest.mark.parametrize(
    ("source", "output", "format", "code", "says"),
    [
        ("image", "fine", "dicom", 4, "no patient and no study"),
        ("series", "fine.nii.gz", "dicom", 4, "name of an image file"),
        ("series", "fine", "png", 4, "png"),
        ("series", "fine.jpg", "auto", 5, "--format dicom"),
        ("image", "fine", "auto", 5, "--format dicom"),
        ("missing", "fine", "dicom", 3, "missing"),
        ("series", "nowhere/fine", "dicom", 5, "nowhere"),
        ("series", "full", "dicom", 5, "left as it was"),
        ("series", "series", "dicom", 5, "source series"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_exit_code(ct, tmp_path, source, output, format, code, says):
    write_volume(ct.volume, tmp_path / "image.nii.gz")
    (tmp_path / "series").symlink_to(ct.folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    inputs = {"image": tmp_path / "image.nii.gz", "series": ct.folder, "missing": tmp_path / "missing"}

    with pytest.raises(CycleinrError, match=says) as caught:
        run_job(Job(inputs[source], tmp_path / output, TWICE, format, overwrite=True))

    assert caught.value.exit_code == code
    assert sorted(os.listdir(tmp_path)) == ["full", "image.nii.gz", "series"]
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_a_sidecar_that_would_be_replaced_is_noticed_before_the_work(ct, tmp_path):
    for name, source in (("fine", ct.folder), ("fine.nrrd", ct.folder)):
        (tmp_path / f"{name}.json").write_text("{}")
        with pytest.raises(CycleinrError, match=f"{name}.json"):
            run_job(Job(source, tmp_path / name, TWICE))
    assert sorted(os.listdir(tmp_path)) == ["fine.json", "fine.nrrd.json"]
