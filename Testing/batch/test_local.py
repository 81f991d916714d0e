"""Batches with real worker processes on this computer."""

import json
import multiprocessing
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from batch.conftest import batch, manifest, manifest_json, opened, settings, unfinished, visible
from cycleinr import OutputError, RequestError, WorkerError
from cycleinr.batch import workers
from cycleinr.batch.folder import BatchFolder
from cycleinr.files import read_volume
from cycleinr.inference import upsample
from cycleinr.threads import usable_cores
from dicom_maker import OTHER_SERIES, PATIENT_ID, SERIES, write_series

TABLE = """input,output,spacing,ratio,isotropic,axis,thickness,extent,format
tree/one/a.nii.gz,,,3,,,0,,
tree/one/a.nii.gz,sub/edges.mha,2,,,,,edges,
tree/two,dicom_out/case,,2,,,,,dicom
tree/gone.nii.gz,,,,,,,,
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory, small_scans):
    """NIfTI and DICOM, mixed, with damaged ones between them."""
    root = tmp_path_factory.mktemp("scans") / "tree"
    small_scans.write(root / "one" / "a.nii.gz")
    small_scans.damaged(root / "one" / "b.nii.gz")
    small_scans.write(root / "three" / "a.nii.gz", 3)
    small_scans.write(root / "three" / "c.nrrd", 4)
    write_series(root / "two")
    write_series(root / "gap", SeriesInstanceUID=OTHER_SERIES, position=lambda n: (0, 0, 5.0 * n + 9 * (n > 3)))
    return root


@pytest.fixture(scope="module")
def first_run(tree, tmp_path_factory):
    """The whole tree in one worker: output folder, the batch, and what it told."""
    out, told = tmp_path_factory.mktemp("batch") / "out", []
    return out, batch([tree], out, lambda *news: told.append(news)), told


def test_damaged_scans_in_the_middle_do_not_stop_the_others(first_run):
    out, summary, _ = first_run
    rows = manifest(out)

    assert [row["status"] for row in rows.values()].count("done") == 4
    assert {row["error_kind"] for row in rows.values() if row["status"] == "failed"} == {"InputError", "GeometryError"}
    assert "damaged" in rows["b.nii.gz"]["error"]
    assert len(summary.failed) == 2 and summary.kept == 0
    assert unfinished(out) == []


def test_results_are_those_of_a_single_run(first_run, tree):
    out, _, _ = first_run
    direct = upsample(read_volume(tree / "three" / "c.nrrd"), settings().options).volume

    result = read_volume(out / "c.nrrd")

    assert np.array_equal(result.array, direct.array)
    assert np.allclose(result.ijk_to_ras, direct.ijk_to_ras)


def test_the_manifest_says_how_each_result_was_made(first_run, tree):
    out, _, _ = first_run
    row = manifest(out)["c.nrrd"]
    content = manifest_json(out)

    assert row["input"] == str(tree / "three" / "c.nrrd")
    assert row["model"].startswith("mr") and len(row["weights_sha256"]) == len(row["settings_sha256"]) == 64
    assert float(row["seconds"]) > 0 and row["attempts"] == "1" and row["version"] and row["finished"]
    assert int(row["bytes"]) == (out / "c.nrrd").stat().st_size
    assert content["counts"] == {"done": 4, "failed": 2, "started": 0, "pending": 0}
    assert "Not for primary diagnosis" in content["derived"]
    assert {case["output"]: case["settings"]["target"]["ratio"] for case in content["cases"]}["c.nrrd"] == 2.0


def test_nothing_written_names_a_patient_or_a_series(first_run):
    out, _, _ = first_run
    texts = [path.read_text() for path in out.rglob("*") if path.suffix in (".csv", ".json")]
    names = " ".join(str(path.relative_to(out)) for path in out.rglob("*"))

    assert len(texts) > 6
    for secret in ("Doe", PATIENT_ID, SERIES, OTHER_SERIES):
        assert secret not in names and not any(secret in text for text in texts)


def test_progress_is_told_case_by_case(first_run):
    _, done, told = first_run

    assert (done.total, done.kept, len(done.ran)) == (6, 0, 6)
    for ran in done.ran:
        news = [(record.status, fraction) for record, fraction in told if record.output == ran.output]
        assert news[0] == ("started", 0.0) and news[-1] == (ran.status, 1.0)
        assert {status for status, _ in news[:-1]} == {"started"}
    assert any(0 < fraction < 1 for _, fraction in told)


def test_what_is_done_is_kept_and_what_changed_or_failed_is_done_again(first_run, tree, tmp_path, small_scans):
    before, _, _ = first_run
    out = tmp_path / "out"
    shutil.copytree(before, out)
    made_ns = {name: (out / name).stat().st_mtime_ns for name in visible(out)}
    a, c = (tree / "three" / name for name in ("a.nii.gz", "c.nrrd"))

    (of_a,) = [name for name, row in manifest(out).items() if row["input"] == str(a)]
    (out / of_a).unlink()
    small_scans.write(tree / "one" / "b.nii.gz", 5)
    os.utime(c, ns=(0, 1_000_000_000))
    summary = batch([tree / "one", tree / "three"], out)
    small_scans.damaged(tree / "one" / "b.nii.gz")

    assert sorted(record.output for record in summary.ran) == sorted(["b.nii.gz", "c.nrrd", of_a])
    assert summary.kept == 1 and not summary.failed
    assert (out / "a.nii.gz").stat().st_mtime_ns == made_ns["a.nii.gz"]
    # The series of the first run is in no input now, and stays listed.
    assert len(manifest(out)) == 6


def test_a_table_gives_each_scan_its_own_options(tree, tmp_path):
    table = tree.parent / "scans.csv"
    table.write_text(TABLE, encoding="utf-8")
    out = tmp_path / "out"

    summary = batch([table], out)
    rows = manifest(out)

    assert [record.output for record in summary.failed] == ["gone.nii.gz"]
    assert "gone.nii.gz" in rows["gone.nii.gz"]["error"]
    assert read_volume(out / "a.nii.gz").shape_kji[0] == 22
    assert read_volume(out / "sub" / "edges.mha").shape_kji[0] == 20
    assert read_volume(out / "dicom_out" / "case").shape_kji[0] == 11
    assert rows["dicom_out/case"]["series"].startswith("series-")
    assert (out / "dicom_out" / "case.json").is_file()


def test_a_killed_worker_costs_its_case_one_attempt_and_the_others_nothing(tmp_path, small_scans):
    for number in range(3):
        small_scans.write(tmp_path / "in" / f"{'abc'[number]}.nii.gz", number)
    out = tmp_path / "out"

    def kill_some(record, fraction):
        begins = record.status == "started" and not fraction
        if begins and (record.output == "b.nii.gz" or (record.output == "a.nii.gz" and record.attempts == 1)):
            (worker,) = multiprocessing.active_children()
            worker.kill()

    summary = batch([tmp_path / "in"], out, kill_some)
    rows = manifest(out)

    assert {name: row["status"] for name, row in rows.items()} == {
        "a.nii.gz": "done", "b.nii.gz": "failed", "c.nii.gz": "done"
    }  # fmt: skip
    assert rows["b.nii.gz"]["error_kind"] == "WorkerLost" and "SIGKILL" in rows["b.nii.gz"]["error"]
    assert rows["b.nii.gz"]["attempts"] == "2"
    assert len(summary.ran) == 3 and unfinished(out) == []
    assert visible(out) == sorted(
        ["a.nii.gz", "a.nii.gz.json", "c.nii.gz", "c.nii.gz.json", "manifest.csv", "manifest.json"]
    )


def test_the_last_scan_of_a_batch_gets_no_more_threads_than_the_others(tmp_path, small_scans):
    """Their number changes results by rounding, so that a batch that was killed would end with other results."""
    small_scans.write(tmp_path / "in" / "a.nii.gz")

    summary = batch([tmp_path / "in"], tmp_path / "out", workers=usable_cores())

    assert summary.ran[0].device == "CPU, 1 thread"


class Unlucky(workers._Worker):
    """Real processes, some of which are killed before they are ready."""

    made = 0
    killed = ()

    def __init__(self, *arguments):
        super().__init__(*arguments)
        Unlucky.made += 1
        if Unlucky.made in self.killed:
            self.process.kill()


def test_a_worker_that_is_killed_before_it_is_ready_is_replaced(tmp_path, small_scans, monkeypatch):
    small_scans.write(tmp_path / "in" / "a.nii.gz")
    monkeypatch.setattr(workers, "_Worker", Unlucky)
    monkeypatch.setattr(Unlucky, "made", 0)
    monkeypatch.setattr(Unlucky, "killed", (1, 2))

    summary = batch([tmp_path / "in"], tmp_path / "out")

    assert [record.status for record in summary.ran] == ["done"] and Unlucky.made == 3


def test_workers_that_never_get_ready_end_the_batch(tmp_path, small_scans, monkeypatch):
    small_scans.write(tmp_path / "in" / "a.nii.gz")
    monkeypatch.setattr(workers, "_Worker", Unlucky)
    monkeypatch.setattr(Unlucky, "made", 0)
    monkeypatch.setattr(Unlucky, "killed", range(100))

    with pytest.raises(WorkerError, match="in a row ended before they could start.*SIGKILL"):
        batch([tmp_path / "in"], tmp_path / "out")
    assert Unlucky.made == 3


def test_a_second_batch_is_locked_out_while_the_first_one_runs(tmp_path, small_scans):
    small_scans.write(tmp_path / "in" / "a.nii.gz")

    with BatchFolder.opened(_made(tmp_path / "out")), pytest.raises(OutputError, match="Another batch"):
        batch([tmp_path / "in"], tmp_path / "out")


def test_scans_in_the_output_folder_are_refused(tmp_path, small_scans):
    small_scans.write(tmp_path / "a.nii.gz")

    with pytest.raises(RequestError, match="lies in the output folder"):
        batch([tmp_path], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_an_output_folder_below_the_inputs_is_not_searched(first_run, tmp_path, small_scans):
    small_scans.write(tmp_path / "a.nii.gz")
    shutil.copytree(first_run[0], tmp_path / "old")
    with BatchFolder.opened(_made(tmp_path / "out")):
        pass
    small_scans.write(tmp_path / "out" / "b.nii.gz")

    with opened([tmp_path], tmp_path / "out") as found:
        assert found.total == 1


def _made(folder):
    folder.mkdir()
    return folder


def test_each_result_is_checked_where_that_is_asked_for(tree, tmp_path):
    scan, out = [tree / "three" / "a.nii.gz"], tmp_path / "out"
    batch(scan, out)
    assert not (out / "a.nii.gz.check").exists()

    for _ in range(2):
        summary = batch(scan, out, wanted=replace(settings(), report=True))

    assert summary.kept == 1 and not summary.failed
    numbers = json.loads((out / "a.nii.gz.check" / "report.json").read_text())
    assert numbers and "<script" not in (out / "a.nii.gz.check" / "report.html").read_text()
    assert unfinished(out) == []
    assert not batch(scan, out).failed and not (out / "a.nii.gz.check").exists()
