"""What a batch run again leaves alone: files that it did not make, and results that somebody changed."""

import json
import os
import shutil
from dataclasses import replace

import pytest
from batch.conftest import jobs_of, settings, unfinished, visible
from cycleinr.batch.folder import BatchFolder, run_recorded
from cycleinr.batch.results import DONE, FAILED
from cycleinr.files import nifti, read_volume
from cycleinr.request import UpsampleOptions
from dicom_out.series_sources import write_source

NAME = "scan.nii.gz"
HASH_RATIO = "9142cb7b40945f6ef6350ec5689a92859cfcd69a2869ff62b5bde4f6067e723d"
HASH_EDGES = "5707f09cdc98f452968357767a15d46f617756586a59689c26781bcf2fdd531a"
"""Of two settings, as the first releases computed them."""


@pytest.fixture
def scan(tmp_path, small_scans):
    return small_scans.write(tmp_path / "in" / NAME)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def run(source, out, wanted=None):
    """Run one scan's job as a batch does, in this process."""
    with BatchFolder.opened(out) as folder:
        owners = {name: record.identity for name, record in folder.records().items()}
        (task,) = jobs_of(source, folder, wanted or settings(), owners)
        record = run_recorded(folder, *task)
    assert record.status == DONE, record.error
    return record


def without_hashes(out):
    """Make the records what the releases before there were hashes wrote."""
    for path in (out / ".cycleinr-batch" / "cases").iterdir():
        record = json.loads(path.read_text())
        del record["marks"], record["earlier"]
        path.write_text(json.dumps(record))


def edit(path):
    """Change a file by hand and keep its size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return bytes(content)


def test_what_was_added_to_a_series_stays_and_the_series_is_done(tmp_path, out):
    source = write_source(tmp_path / "series")
    wanted = replace(settings(), format="dicom")
    record = run(source, out, wanted)
    (out / record.output / "notes.txt").write_text("mine")

    assert run(source, out, wanted) == record
    assert (out / record.output / "notes.txt").read_text() == "mine"


def test_a_series_with_something_added_is_kept_whole_when_it_is_done_again(tmp_path, out):
    source = write_source(tmp_path / "series")
    name = run(source, out, replace(settings(), format="dicom")).output
    (out / name / "notes.txt").write_text("mine")
    slices = len(list((out / name).iterdir()))

    record = run(source, out, replace(settings(3.0), format="dicom"))

    assert (out / f"{name}.kept" / "notes.txt").read_text() == "mine"
    assert len(list((out / f"{name}.kept").iterdir())) == slices
    assert f"{name}.kept" in record.notes
    assert read_volume(out / name).shape_kji[0] == 28
    assert run(source, out, replace(settings(2.0), format="dicom")).notes == ""
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == sorted(
        [name, f"{name}.json", f"{name}.kept"]
    )


def test_what_was_added_to_a_report_stays(scan, out):
    run(scan, out, replace(settings(), report=True))
    (out / f"{NAME}.check" / "notes.txt").write_text("mine")

    run(scan, out, settings(3.0))

    assert (out / f"{NAME}.check.kept" / "notes.txt").read_text() == "mine"
    assert (out / f"{NAME}.check.kept" / "report.html").is_file()
    assert not (out / f"{NAME}.kept").exists() and not (out / f"{NAME}.check").exists()


@pytest.mark.parametrize("ratio", [2.0, 3.0])
def test_a_result_that_was_edited_is_kept_and_made_again(scan, out, ratio):
    run(scan, out)
    edited = edit(out / NAME)

    record = run(scan, out, settings(ratio))

    assert (out / f"{NAME}.kept").read_bytes() == edited
    assert f"{NAME}.kept" in record.notes
    assert read_volume(out / NAME).shape_kji[0] == (15 if ratio == 2 else 22)
    assert run(scan, out, settings(ratio)) == record


def test_files_put_in_a_results_place_get_another_name_each(scan, out):
    run(scan, out)
    for number in range(2):
        (out / NAME).unlink()
        (out / NAME).write_text(f"mine {number}")
        run(scan, out)
    (out / f"{NAME}.json").write_text("{}")
    run(scan, out)

    assert (out / f"{NAME}.kept").read_text() == "mine 0"
    assert (out / f"{NAME}.kept-2").read_text() == "mine 1"
    assert (out / f"{NAME}.json.kept").read_text() == "{}"
    assert read_volume(out / NAME).shape_kji[0] == 15


def test_a_link_in_a_results_place_is_kept_and_what_it_leads_to_too(scan, out):
    run(scan, out)
    shutil.copy2(out / NAME, out / "elsewhere")
    (out / NAME).unlink()
    (out / NAME).symlink_to(out / "elsewhere")
    before = (out / "elsewhere").read_bytes()

    run(scan, out, settings(3.0))

    assert (out / f"{NAME}.kept").is_symlink() and (out / "elsewhere").read_bytes() == before


def test_results_of_our_own_are_replaced_without_a_trace(scan, out):
    run(scan, out, replace(settings(), report=True))

    assert run(scan, out, settings(3.0)).notes == ""
    assert visible(out) == [NAME, f"{NAME}.json"]


def test_a_copied_folder_is_done_and_hashed_only_once(scan, out, tmp_path):
    run(scan, out)
    shutil.copytree(out, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").iterdir():
        os.utime(path, ns=(0, 1_000_000_000))

    with BatchFolder.opened(tmp_path / "copy") as folder:
        before = folder.read_record(NAME)
    run(scan, tmp_path / "copy")
    with BatchFolder.opened(tmp_path / "copy") as folder:
        after = folder.read_record(NAME)

    assert (tmp_path / "copy" / NAME).stat().st_mtime_ns == 1_000_000_000
    assert before.marks[""].sha256 == after.marks[""].sha256 and before.marks[""].stamp != after.marks[""].stamp


def test_results_of_before_there_were_hashes_are_done(scan, out):
    record = run(scan, out)
    without_hashes(out)
    made_ns = (out / NAME).stat().st_mtime_ns

    again = run(scan, out)

    assert (again.output, again.finished) == (record.output, record.finished)
    assert (out / NAME).stat().st_mtime_ns == made_ns and unfinished(out) == []


def test_a_series_of_before_there_were_hashes_is_done_whatever_was_added(tmp_path, out):
    source = write_source(tmp_path / "series")
    wanted = replace(settings(), format="dicom")
    name = run(source, out, wanted).output
    without_hashes(out)
    (out / name / "Thumbs.db").write_bytes(b"mine")
    made_ns = (out / name / "IM0001.dcm").stat().st_mtime_ns

    run(source, out, wanted)

    assert (out / name / "Thumbs.db").is_file() and (out / name / "IM0001.dcm").stat().st_mtime_ns == made_ns


@pytest.mark.parametrize("change", ["settings", "size", "description"])
def test_results_of_before_there_were_hashes_are_the_users_when_anything_disagrees(scan, out, change):
    run(scan, out)
    without_hashes(out)
    described = json.loads((out / f"{NAME}.json").read_text())
    if change == "size":
        (out / NAME).write_bytes((out / NAME).read_bytes() + b"mine")
    if change == "description":
        (out / f"{NAME}.json").write_text(json.dumps({**described, "weights_sha256": "other"}))
    changed = out / (f"{NAME}.json" if change == "description" else NAME)
    there = changed.read_bytes()

    run(scan, out, settings(3.0 if change == "settings" else 2.0))

    assert changed.with_name(f"{changed.name}.kept").read_bytes() == there
    assert changed.read_bytes() != there


def test_a_result_of_before_there_were_hashes_is_made_again_where_it_may_hold_another_scans_voxels(
    scan, out, small_scans
):
    """Versions of then read scan.nii where scan.nii.gz was meant."""
    run(scan, out)
    without_hashes(out)
    small_scans.write(scan.with_name("scan.nii"), 7)
    shutil.copy2(out / NAME, out / f"{NAME}.before")
    os.utime(out / NAME, ns=(0, 0))

    run(scan, out)

    assert (out / NAME).stat().st_mtime_ns > 0


def test_a_job_that_fails_forgets_nothing_that_is_ours(scan, out, small_scans):
    run(scan, out)
    small_scans.damaged(scan)
    with BatchFolder.opened(out) as folder:
        (task,) = jobs_of(scan, folder, settings())
        assert run_recorded(folder, *task).status == FAILED
    small_scans.write(scan, 5)

    assert run(scan, out).notes == ""
    assert visible(out) == [NAME, f"{NAME}.json"]


def test_the_settings_of_earlier_releases_keep_their_hash():
    """Else every result of an earlier release would be made again."""
    assert settings().sha256 == HASH_RATIO
    edges = UpsampleOptions(replace(settings().options.target, ratio=None, spacing_mm=1.0), "k", "edges", 0.0, "ct")
    assert replace(settings(), options=edges, report=True).sha256 == HASH_EDGES


def test_a_full_disk_is_told_with_the_place_that_the_result_was_to_get(scan, out, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nifti, "write_nifti", full)
    with BatchFolder.opened(out) as folder:
        (task,) = jobs_of(scan, folder, settings(), {})
        record = run_recorded(folder, *task)

    assert record.error.startswith(f"{out / NAME} could not be written (No space left on device).")
