"""A disk that fills up, or a folder that closes, at every step of writing a result."""

from __future__ import annotations

import shutil

import pytest
from cycleinr import OutputError
from cycleinr.checks import report
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.jobs import Job, run_job
from cycleinr.request import UpsampleOptions
from dicom_out.series_sources import acquired_pixels, write_source
from faults.conftest import contents
from faults.injection import INJECTOR, disk_full, permission_lost

MAX_STEPS = 200


def job_of(kind: str, scan, out, tmp_path, overwrite: bool = False) -> Job:
    """A run whose result is of a kind: a file name's ending, one with a report, or a DICOM series."""
    wanted = UpsampleOptions(Target(ratio=2.0), device="cpu")
    if kind == "dicom":
        series = write_source(tmp_path / "series", stored=acquired_pixels("CT")[:5, :16, :16])
        return Job(series, out / "fine", wanted, "dicom", overwrite)
    report = out / "report" if kind.endswith("report") else None
    return Job(scan, out / f"fine{kind.split()[0]}", wanted, "image", overwrite, report=report)


@pytest.fixture(autouse=True)
def pictures_drawn_once(monkeypatch) -> None:
    """The report's pictures are made in memory, no step of writing: later runs of a test take those of its first."""
    for name in ("three_planes", "curves", "map_over_slice"):
        monkeypatch.setattr(report, name, once(getattr(report, name)))


def once(draw):
    drawn = []

    def picture(*arguments, **labels) -> bytes:
        drawn.append(drawn[0] if drawn else draw(*arguments, **labels))
        return drawn[0]

    return picture


def failures(job: Job, out, fault):
    """Run once for each step, that step failing, until no step is left; gives each message and what it left."""
    for step in range(1, MAX_STEPS):
        with INJECTOR.armed(out, step, fault) as injector:
            try:
                run_job(job)
            except OutputError as error:
                yield str(error), contents(out)
            else:
                # A step that failed without harm is no end yet
                if injector.seen < step:
                    return
                yield "", contents(out)
    raise AssertionError(f"more than {MAX_STEPS} steps")


def emptied(folder) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("kind", "fault", "reason"),
    [
        (".nii.gz", disk_full, "No space left"),
        (".nii.gz", permission_lost, "Permission denied"),
        (".nrrd", disk_full, "No space left"),
        (".mhd", disk_full, "No space left"),
        (".nii.gz report", disk_full, "No space left"),
        ("dicom", disk_full, "No space left"),
        ("dicom", permission_lost, "Permission denied"),
    ],
)
def test_every_step_may_fail(kind, fault, reason, scan, out, tmp_path):
    """There is nothing of the result, or it is whole and the message says what is missing beside it."""
    job = job_of(kind, scan, out, tmp_path)
    source = job.input if job.input.is_dir() else job.input.parent
    before, messages = contents(source), []

    for message, left in failures(job, out, fault):
        messages.append(message)
        assert contents(source) == before
        assert not any(".cycleinr-" in name for name in left)
        if left and message:
            assert "written and complete" in message and read_volume(job.output).shape_kji[0] > 8
        assert reason in message or not message
        assert ".cycleinr-" not in message
        emptied(out)

    assert len([message for message in messages if message]) >= 4
    assert len([message for message in messages if "written and complete" in message]) <= (2 if job.report else 1)
    assert read_volume(job.output).shape_kji[0] > 8 and (out / f"{job.output.name}.json").exists()


@pytest.mark.parametrize("kind", [".nii.gz", ".mhd", "dicom"])
def test_a_result_that_is_to_be_replaced_stays_until_the_new_one_is_whole(kind, scan, out, tmp_path):
    job = job_of(kind, scan, out, tmp_path, overwrite=True)
    run_job(job)
    former = read_volume(job.output).array

    for message, left in failures(job, out, disk_full):
        assert not any(".cycleinr-" in name for name in left)
        assert (read_volume(job.output).array == former).all(), message
        assert (out / f"{job.output.name}.json").exists()
