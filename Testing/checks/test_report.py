"""The report as its readers get it: from the command line, as files."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command_line import cycleinr
from cycleinr import Cancelled, OutputError, RequestError
from cycleinr.checks.run import check_result
from cycleinr.files import read_volume, write_volume
from cycleinr.grid import Target
from cycleinr.inference.noise import slice_sigmas
from cycleinr.jobs import Job, check_job, run_job
from cycleinr.request import UpsampleOptions
from cycleinr.result import Monitor
from cycleinr.volume import Volume
from cycleinr_research.evaluation.metrics import snli
from dicom_maker import PATIENT, write_series
from places import REPOSITORY

FILES = ["expected_error.nii.gz", "report.html", "report.json", "self_check.nii.gz"]
NAME = 'scan <b>&amp; "more".nii.gz'


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """A thick-slice MR of 8 slices with a name that HTML must escape."""
    fine = read_volume(REPOSITORY / "Testing/data/mr_head_1mm.nii.gz")
    affine = fine.ijk_to_ras.copy()
    affine[:3, 2] *= 5
    path = tmp_path_factory.mktemp("private patient folder") / NAME
    write_volume(Volume(fine.array[::5][:8, :40, :36], affine, "MR"), path)
    return path


@pytest.fixture(scope="module")
def folder(scan, tmp_path_factory) -> Path:
    """Where the command line wrote a result and its report."""
    folder = tmp_path_factory.mktemp("out")
    done = cycleinr("upsample", scan, "fine.nii.gz", "--ratio", 2, "--device", "cpu", "--report", "report", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    return folder


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def _page(folder: Path) -> _Page:
    page = _Page()
    page.feed((folder / "report.html").read_text(encoding="utf-8"))
    return page


def _job(scan: Path, folder: Path, **changes) -> Job:
    options = UpsampleOptions(Target(ratio=2), device="cpu")
    return Job(scan, options=options, **{"output": folder / "fine.nii.gz", "report": folder / "report", **changes})


def test_the_folder_holds_page_numbers_and_map(folder):
    assert sorted(os.listdir(folder)) == ["fine.nii.gz", "fine.nii.gz.json", "report"]
    assert sorted(os.listdir(folder / "report")) == FILES


def test_numbers_are_those_of_the_files(scan, folder):
    """Everything is recomputed from the files alone."""
    told = json.loads((folder / "report" / "report.json").read_text())
    acquired, result = read_volume(scan).array.astype(float), read_volume(folder / "fine.nii.gz").array
    error = read_volume(folder / "report" / "self_check.nii.gz")

    assert told["input"] == NAME and told["output"] == "fine.nii.gz"
    assert told["noise"]["sigma_before"] == pytest.approx(slice_sigmas(acquired).tolist(), rel=1e-4)
    assert told["noise"]["snli_after"] == pytest.approx(snli(result), rel=1e-4)
    assert told["self_check"]["slices"] == [1, 2, 3, 4, 5, 6] and told["self_check"]["slices_left_out"] == [0, 7]
    assert told["self_check"]["mean_absolute"] == pytest.approx(error.array.mean(axis=(1, 2)).tolist(), rel=1e-4)
    rms = np.sqrt(np.square(error.array, dtype=float).mean(axis=(1, 2)))
    assert told["self_check"]["rms"] == pytest.approx(rms.tolist(), rel=1e-4)
    assert told["self_check"]["worst_slice"] == 1 + int(rms.argmax())
    again = [np.tensordot([0.25, 0.5, 0.25], result[2 * n - 1 : 2 * n + 2].astype(float), 1) for n in range(1, 7)]
    residual = np.abs(np.stack(again) - acquired[1:-1])
    assert told["residual"]["largest"] == pytest.approx(residual.max(), abs=1e-2)
    assert told["residual"]["share_within_limit"] == pytest.approx((residual <= told["residual"]["limit"]).mean())
    assert told["made"] == json.loads((folder / "fine.nii.gz.json").read_text())


def test_the_map_lies_on_the_compared_slices(scan, folder):
    acquired, error = read_volume(scan), read_volume(folder / "report" / "self_check.nii.gz")

    assert error.shape_kji == (6, 40, 36) and error.array.dtype == np.float32
    assert np.allclose(error.ras_of_ijk((0, 0, 0)), acquired.ras_of_ijk((0, 0, 1)), atol=1e-3)
    assert np.allclose(error.ras_of_ijk((35, 39, 5)), acquired.ras_of_ijk((35, 39, 6)), atol=1e-3)


def test_the_page_needs_nothing_else_and_names_no_folder(scan, folder):
    page = _page(folder / "report")
    text = (folder / "report" / "report.html").read_text(encoding="utf-8")

    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]+", "", text))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "a", "object"})
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 4 and all(source.startswith("data:image/png;base64,iVBOR") for source in pictures)
    assert scan.parent.name not in text and str(folder) not in text


def test_the_page_says_the_numbers_and_what_they_do_not_prove(folder):
    page, told = _page(folder / "report"), json.loads((folder / "report" / "report.json").read_text())

    assert NAME in page.text and not any(tag == "b" for tag, _ in page.tags)
    for number in (told["self_check"]["rms_of_all"], told["noise"]["snli_after"], told["residual"]["largest"]):
        assert f"{number:.4g} MR units" in page.text
    assert f"{told['self_check']['worst_slice'] + 1} (counted from 1 along k)" in page.text
    assert "Not for primary diagnosis" in page.text and "no proof" in page.text
    assert "Left out, too near to an end1, 8" in page.text


def test_the_page_begins_with_a_verdict_in_words_and_shows_no_raw_keys(folder):
    page, told = _page(folder / "report"), json.loads((folder / "report" / "report.json").read_text())

    after_title = page.text.partition("Check of fine.nii.gz")[2].partition("Check of fine.nii.gz")[2]
    assert after_title.strip().startswith(told["verdict"]) and "typically within" in told["verdict"]
    assert not re.search(r"weights_sha256|\btau\b|spacing_mm|slice_profile|SNLI_", page.text)


def test_a_window_that_is_none_is_refused_before_any_work(scan, tmp_path):
    with pytest.raises(RequestError, match="WIDTH/LEVEL"):
        check_job(_job(scan, tmp_path, window="liver"))


def test_a_scan_too_short_for_the_self_check_still_gets_a_report(scan, tmp_path):
    whole = read_volume(scan)
    short = tmp_path / "short.nii.gz"
    write_volume(Volume(whole.array[:4], whole.ijk_to_ras), short)

    run_job(_job(short, tmp_path))

    assert sorted(os.listdir(tmp_path / "report")) == FILES[1:3]
    assert "Left out. The scan's 4 slices" in _page(tmp_path / "report").text


def test_a_dicom_series_gets_a_report_without_the_patient(tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    write_series(series)

    run_job(_job(series, tmp_path, output=tmp_path / "derived"))

    assert json.loads((tmp_path / "report" / "report.json").read_text())["output"] == "derived"
    surname = PATIENT.split("^")[0]
    assert surname not in (tmp_path / "report" / "report.json").read_text()
    # Base64 may hold any letters by chance
    assert surname not in re.sub(r"base64,[^\"]+", "", (tmp_path / "report" / "report.html").read_text())


def test_a_report_is_replaced_only_when_asked_and_only_a_report(scan, tmp_path):
    job = _job(scan, tmp_path)
    run_job(job)
    first = (tmp_path / "report" / "report.json").stat().st_mtime_ns

    with pytest.raises(OutputError, match="--overwrite"):
        check_job(_job(scan, tmp_path, output=tmp_path / "other.nii.gz"))
    run_job(_job(scan, tmp_path, overwrite=True))
    assert (tmp_path / "report" / "report.json").stat().st_mtime_ns != first
    (tmp_path / "report" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="other files"):
        check_job(_job(scan, tmp_path, overwrite=True))
    assert (tmp_path / "report" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("report", ["nowhere/report", "fine.nii.gz", "fine.nii.gz/report"])
def test_a_report_that_cannot_be_written_is_refused_at_once(scan, tmp_path, report):
    with pytest.raises(OutputError):
        check_job(_job(scan, tmp_path, report=tmp_path / report))


@pytest.mark.parametrize("phase", ["Computing slices", "Measuring noise", "Checking the result with itself"])
def test_a_cancelled_job_leaves_neither_result_nor_report(scan, tmp_path, phase):
    heard = []

    with pytest.raises(Cancelled):
        run_job(_job(scan, tmp_path), Monitor(heard.append, lambda: heard[-1].phase == phase))

    assert os.listdir(tmp_path) == []


def test_a_failed_report_leaves_neither_result_nor_report(scan, tmp_path, monkeypatch):
    """The disk is full when the page is written."""
    from cycleinr.checks import report

    def full(*_arguments, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "page", full)
    with pytest.raises(OutputError, match="No space left"):
        run_job(_job(scan, tmp_path))

    assert os.listdir(tmp_path) == []


def test_checking_does_not_change_the_result(scan, folder):
    volume, options = read_volume(scan), UpsampleOptions(Target(ratio=2), device="cpu")
    result = read_volume(folder / "fine.nii.gz")

    check = check_result(volume, result, options)

    told = json.loads((folder / "report" / "report.json").read_text())
    assert told["self_check"]["rms"] == pytest.approx(check.self_check.rms.tolist(), rel=1e-4)
