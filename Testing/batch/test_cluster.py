"""Batches on a Dask cluster of two worker processes on this computer."""

import os
import shutil
import signal

import dask
import pytest
from batch.conftest import batch, manifest, opened, unfinished, visible
from cycleinr import ClusterError, OutputError
from cycleinr.files import read_volume

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def local():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, resources={"GPU": 1}, dashboard_address=":0", silence_logs="CRITICAL"
        ) as local,
    ):
        yield local


@pytest.fixture
def cluster(local):
    return {"cluster": local.scheduler_address, "gpu_resource": "GPU"}


@pytest.fixture
def kill_worker_of(local):
    """Kills the process that has the job of a result."""

    def kill(output):
        pids = {nanny.worker_address: nanny.pid for nanny in local.workers.values()}
        busy = {address: worker.processing for address, worker in local.scheduler.workers.items()}
        (at,) = [address for address, tasks in busy.items() if any(task.key.endswith(output) for task in tasks)]
        os.kill(pids[at], signal.SIGKILL)

    return kill


def test_a_resource_that_no_worker_offers_is_refused(cluster, tmp_path, small_scans):
    small_scans.write(tmp_path / "in" / "a.nii.gz")

    with pytest.raises(ClusterError, match="offers the resource TPU; there is GPU"):
        batch([tmp_path / "in"], tmp_path / "out", **{**cluster, "gpu_resource": "TPU"})


def test_a_killed_worker_loses_no_case_and_doubles_none(cluster, kill_worker_of, tmp_path, small_scans):
    for number, name in enumerate("abcd"):
        small_scans.write(tmp_path / "in" / f"{name}.nii.gz", number)
    small_scans.damaged(tmp_path / "in" / "bad.nii.gz")
    out, told, advanced = tmp_path / "out", [], set()

    def kill_once(record, fraction):
        # From the first progress on, the case is known to have begun.
        if fraction and record.output == "b.nii.gz" and "b.nii.gz" not in advanced:
            kill_worker_of(record.output)
        told.append(record)
        advanced.update([record.output] if fraction else [])

    summary = batch([tmp_path / "in"], out, kill_once, **cluster)
    rows = manifest(out)

    assert sorted(record.output for record in summary.ran) == [f"{name}.nii.gz" for name in ("a", "b", "bad", "c", "d")]
    assert [record.output for record in summary.failed] == ["bad.nii.gz"]
    assert rows["b.nii.gz"]["attempts"] == "2" and rows["a.nii.gz"]["status"] == "done"
    assert {record.output for record in told if record.status == "pending"} >= {"b.nii.gz"}
    for name in "abcd":
        assert read_volume(out / f"{name}.nii.gz").shape_kji[0] == 15
    assert len(visible(out)) == 4 * 2 + 2 and unfinished(out) == []

    again = batch([tmp_path / "in" / f"{name}.nii.gz" for name in "abcd"], out, **cluster)
    assert again.kept == 4 and not again.ran


def test_a_case_that_kills_every_worker_fails_alone(cluster, kill_worker_of, tmp_path, small_scans):
    for number, name in enumerate("ab"):
        small_scans.write(tmp_path / "in" / f"{name}.nii.gz", number)

    def kill_a(record, fraction):
        if (record.output, record.status, fraction) == ("a.nii.gz", "started", 0.0):
            kill_worker_of(record.output)

    batch([tmp_path / "in"], tmp_path / "out", kill_a, **cluster)
    rows = manifest(tmp_path / "out")

    assert (rows["a.nii.gz"]["status"], rows["a.nii.gz"]["error_kind"]) == ("failed", "WorkerLost")
    assert rows["b.nii.gz"]["status"] == "done"


def test_a_full_disk_stops_the_batch_and_not_the_case_alone(cluster, tmp_path, small_scans):
    """The output folder cannot be written by the workers, which run elsewhere: here, its work folder is a file."""
    small_scans.write(tmp_path / "in" / "a.nii.gz")
    work = tmp_path / "out" / ".cycleinr-batch" / "work"

    with pytest.raises(OutputError), opened([tmp_path / "in"], tmp_path / "out") as found:
        shutil.rmtree(work)
        work.write_bytes(b"")
        found.run(lambda *news: None, **cluster)


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, small_scans, monkeypatch):
    monkeypatch.setattr("cycleinr.batch.workers._CONNECT_S", 0.2)
    small_scans.write(tmp_path / "in" / "a.nii.gz")

    with pytest.raises(ClusterError, match="tcp://127.0.0.1:9"):
        batch([tmp_path / "in"], tmp_path / "out", cluster="tcp://127.0.0.1:9")
    assert manifest(tmp_path / "out")["a.nii.gz"]["status"] == "pending"
