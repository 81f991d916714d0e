"""Batches on a Dask cluster of two worker processes on this computer."""

import os
import signal

import dask
import pytest
from batch.conftest import batch, manifest, unfinished, visible
from cycleinr.batch.cluster import Cluster, ClusterError
from cycleinr.batch.record import Advanced, Finished, Lost, Started
from cycleinr.batch.run import Outset
from cycleinr.errors import OutputError
from cycleinr.files import read_volume


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, resources={"GPU": 1}, dashboard_address=":0", silence_logs="CRITICAL"
        ) as local,
    ):
        yield Cluster(local.scheduler_address, "GPU")


def test_a_resource_that_no_worker_offers_is_refused(cluster, tmp_path, small_scans):
    small_scans.write(tmp_path / "in" / "a.nii.gz")

    with pytest.raises(ClusterError, match="offers the resource TPU; there is GPU"):
        batch([tmp_path / "in"], tmp_path / "out", cluster=Cluster(cluster.address, "TPU"))


def test_a_killed_worker_loses_no_case_and_doubles_none(cluster, tmp_path, small_scans):
    for number, name in enumerate("abcd"):
        small_scans.write(tmp_path / "in" / f"{name}.nii.gz", number)
    small_scans.damaged(tmp_path / "in" / "bad.nii.gz")
    out, events, killed, pids = tmp_path / "out", [], [], {}

    def kill_once(event):
        events.append(event)
        if isinstance(event, Started):
            pids[event.output] = event.pid
        # From the first progress on, the case is known to have begun.
        if isinstance(event, Advanced) and event.output == "b.nii.gz" and not killed:
            os.kill(pids[event.output], signal.SIGKILL)
            killed.append(event.output)

    summary = batch([tmp_path / "in"], out, kill_once, cluster=cluster)
    rows = manifest(out)

    finished = [event.record.output for event in events if isinstance(event, Finished)]
    assert sorted(finished) == ["a.nii.gz", "b.nii.gz", "bad.nii.gz", "c.nii.gz", "d.nii.gz"]
    assert [record.output for record in summary.failed] == ["bad.nii.gz"]
    assert rows["b.nii.gz"]["attempts"] == "2" and rows["a.nii.gz"]["status"] == "done"
    assert "b.nii.gz" in {event.output for event in events if isinstance(event, Lost)}
    assert any(isinstance(event, Advanced) for event in events)
    for name in "abcd":
        assert read_volume(out / f"{name}.nii.gz").shape_kji[0] == 15
    assert len(visible(out)) == 4 * 2 + 2 and unfinished(out) == []

    again = batch([tmp_path / "in" / f"{name}.nii.gz" for name in "abcd"], out, cluster=cluster)
    assert again.kept == 4 and not again.ran


def test_a_case_that_kills_every_worker_fails_alone(cluster, tmp_path, small_scans):
    for number, name in enumerate("ab"):
        small_scans.write(tmp_path / "in" / f"{name}.nii.gz", number)

    def kill_a(event):
        if isinstance(event, Started) and event.output == "a.nii.gz":
            os.kill(event.pid, signal.SIGKILL)

    batch([tmp_path / "in"], tmp_path / "out", kill_a, cluster=cluster)
    rows = manifest(tmp_path / "out")

    assert (rows["a.nii.gz"]["status"], rows["a.nii.gz"]["error_kind"]) == ("failed", "WorkerLost")
    assert rows["b.nii.gz"]["status"] == "done"


def test_a_full_disk_stops_the_batch_and_not_the_case_alone(cluster, tmp_path, small_scans):
    """The output folder cannot be written by the workers, which run elsewhere: here, its work folder is a file."""
    small_scans.write(tmp_path / "in" / "a.nii.gz")
    out = tmp_path / "out"

    def spoil(event):
        if isinstance(event, Outset):
            (out / ".cycleinr-batch" / "work").rmdir()
            (out / ".cycleinr-batch" / "work").write_bytes(b"")

    with pytest.raises(OutputError):
        batch([tmp_path / "in"], out, spoil, cluster=cluster)


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, small_scans, monkeypatch):
    monkeypatch.setattr("cycleinr.batch.cluster._CONNECT_S", 0.2)
    small_scans.write(tmp_path / "in" / "a.nii.gz")

    with pytest.raises(ClusterError, match="tcp://127.0.0.1:9"):
        batch([tmp_path / "in"], tmp_path / "out", cluster=Cluster("tcp://127.0.0.1:9"))
    assert manifest(tmp_path / "out")["a.nii.gz"]["status"] == "pending"
