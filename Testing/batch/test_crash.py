"""A job that is killed at any moment leaves its old result, or its new one, or none, and is then done again."""

import logging
import os
import shutil
from functools import partial

import pytest
from batch.conftest import jobs_of, settings, unfinished, visible
from cycleinr import Cancelled
from cycleinr.batch.folder import BatchFolder, run_recorded
from cycleinr.batch.results import DONE, FAILED
from cycleinr.files import read_volume
from dicom_maker import PATIENT

RENAMES = 7
"""Its record (started), image and .json finished, its record (hashes), both published, its record (done)."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.fixture
def task_of(tmp_path, small_scans):
    scan = small_scans.write(tmp_path / "in" / "scan.nii.gz")

    def make(folder, ratio=2.0):
        (task,) = jobs_of(scan, folder, settings(ratio))
        return task

    return make


def run(task_of, out, ratio=2.0):
    with BatchFolder.opened(out) as folder:
        return run_recorded(folder, *task_of(folder, ratio))


def killed_at_rename(monkeypatch, number, action):
    """Run something and stop it before a rename; clearing away does not happen, as after SIGKILL."""
    count = 0
    real = {name: getattr(os, name) for name in ("replace", "link")}

    def counting(name, *paths):
        nonlocal count
        count += 1
        if count == number:
            raise Killed
        real[name](*paths)

    with monkeypatch.context() as patch:
        for name in real:
            patch.setattr(os, name, partial(counting, name))
        patch.setattr(shutil, "rmtree", lambda *args, **options: None)
        with pytest.raises(Killed):
            action()


@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_a_new_result_is_whole_or_missing(tmp_path, monkeypatch, task_of, number):
    out = tmp_path / "out"
    out.mkdir()
    killed_at_rename(monkeypatch, number, lambda: run(task_of, out))

    for name in visible(out):
        assert name.endswith(".json") or read_volume(out / name).shape_kji[0] == 15
    record = run(task_of, out)

    assert record.status == DONE
    assert visible(out) == ["scan.nii.gz", "scan.nii.gz.json"]
    assert unfinished(out) == []


@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_a_replaced_result_is_the_old_or_the_new_one_and_then_the_new_one(tmp_path, monkeypatch, task_of, number):
    out = tmp_path / "out"
    out.mkdir()
    run(task_of, out, ratio=3.0)
    killed_at_rename(monkeypatch, number, lambda: run(task_of, out))

    slices = read_volume(out / "scan.nii.gz").shape_kji[0]
    with BatchFolder.opened(out) as folder:
        record = folder.read_record("scan.nii.gz")
        believed = folder.is_done(task_of(folder, 3.0)[1], record)
    # What is taken for the old result must be the old result.
    assert slices == 22 if believed else slices in (15, 22)
    assert run(task_of, out).status == DONE
    assert read_volume(out / "scan.nii.gz").shape_kji[0] == 15


@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_a_result_that_somebody_edited_is_never_lost(tmp_path, monkeypatch, task_of, number):
    out = tmp_path / "out"
    out.mkdir()
    run(task_of, out, ratio=3.0)
    (out / "scan.nii.gz").write_bytes(b"edited")

    killed_at_rename(monkeypatch, number, lambda: run(task_of, out))
    run(task_of, out)

    assert (out / "scan.nii.gz.kept").read_bytes() == b"edited"
    assert visible(out) == ["scan.nii.gz", "scan.nii.gz.json", "scan.nii.gz.kept"]


def test_all_renames_of_a_job_were_tried(tmp_path, monkeypatch, task_of):
    out = tmp_path / "out"
    out.mkdir()

    with pytest.raises(pytest.fail.Exception):
        killed_at_rename(monkeypatch, RENAMES + 1, lambda: run(task_of, out))


def test_a_job_handed_out_twice_is_run_once(tmp_path, task_of):
    out = tmp_path / "out"
    out.mkdir()
    first = run(task_of, out)
    changed_s = (out / "scan.nii.gz").stat().st_mtime_ns

    assert run(task_of, out) == first
    assert (out / "scan.nii.gz").stat().st_mtime_ns == changed_s


def test_a_straggler_of_an_older_batch_writes_nothing(tmp_path, task_of):
    out = tmp_path / "out"
    out.mkdir()
    with BatchFolder.opened(out) as old:
        task = task_of(old)
    with BatchFolder.opened(out), pytest.raises(Cancelled):
        run_recorded(old, *task)

    assert visible(out) == []
    with BatchFolder.opened(out) as folder:
        assert folder.records() == {}


def test_a_file_that_no_batch_made_is_never_replaced(tmp_path, task_of):
    out = tmp_path / "out"
    out.mkdir()
    (out / "scan.nii.gz").write_bytes(b"precious")

    for _ in range(2):
        record = run(task_of, out)
        assert (record.status, record.error_kind) == (FAILED, "OutputError")
    assert (out / "scan.nii.gz").read_bytes() == b"precious"


def test_a_damaged_record_means_that_the_job_is_done_again(tmp_path, task_of):
    out = tmp_path / "out"
    out.mkdir()
    run(task_of, out)
    (record,) = (out / ".cycleinr-batch" / "cases").iterdir()
    record.write_bytes(b"{")

    assert run(task_of, out).status == DONE
    with BatchFolder.opened(out) as folder:
        assert list(folder.records()) == ["scan.nii.gz"]


def test_an_unforeseen_error_is_told_without_its_text(tmp_path, monkeypatch, task_of, caplog):
    """The text may quote a header."""
    caplog.set_level(logging.DEBUG)
    out = tmp_path / "out"
    out.mkdir()

    def broken(*arguments):
        raise ValueError(PATIENT)

    monkeypatch.setattr("cycleinr.batch.folder.run_job", broken)
    record = run(task_of, out)

    assert record.status == FAILED and "Unforeseen ValueError in test_crash.py" in record.error
    assert "in broken" in caplog.text and PATIENT not in caplog.text + str(record)
