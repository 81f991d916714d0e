"""What surrounds a run: temporary folder, limits of the system, the clock, the input, the weights, another run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading

import pytest
from command_line import COMMAND, cycleinr
from cycleinr import CycleinrError, InputError, ModelError, OutputError
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.jobs import Job, run_job
from cycleinr.request import UpsampleOptions
from cycleinr.result import Monitor, Progress
from dicom_out.series_sources import write_source
from faults.conftest import contents, said_clearly
from places import REPOSITORY

MODELS = REPOSITORY / "CycleINRSlicer/Resources/Models"


def job(scan, output, **changes) -> Job:
    return Job(scan, output, UpsampleOptions(Target(ratio=2.0), device="cpu", **changes), "image")


def test_no_temporary_folder_and_no_home_are_needed(scan, out, tmp_path):
    nowhere = {"TMPDIR": str(tmp_path / "none"), "HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere"}

    done = cycleinr("upsample", scan, out / "fine.nii.gz", "--ratio", 2, "--device", "cpu", environment=nowhere)

    assert done.returncode == 0, done.stderr
    assert sorted(contents(out)) == ["fine.nii.gz", "fine.nii.gz.json"]


def test_a_name_in_letters_that_the_console_lacks_does_not_end_the_work(scan, out):
    """As on Windows, where what goes into a file or pipe has the letters of one region only."""
    windows = {"PYTHONIOENCODING": "cp1252:surrogateescape"}
    done = cycleinr("upsample", scan, out / "患者.nii", "--ratio", 2, environment=windows)

    assert done.returncode == 0 and r"\u60a3\u8005.nii: " in done.stdout, done.stderr


LIMITED = """
import resource, sys
from cycleinr.cli import upsample
import cycleinr.inference, SimpleITK
name, value, *sys.argv[1:] = sys.argv[1:]
run_job = upsample.run_job
held = [open("/dev/null") for _ in range(40)]

def limited(*arguments):
    resource.setrlimit(getattr(resource, name), (int(value), int(value)))
    return run_job(*arguments)

upsample.run_job = limited
from cycleinr.cli.app import run
sys.exit(run())
"""
"""The command line with a limit that begins with the work; Python itself needs more than that to start."""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sets Linux's limits")
@pytest.mark.parametrize(
    ("limit", "value", "code", "word"),
    [("RLIMIT_FSIZE", 4096, 5, "free space"), ("RLIMIT_NOFILE", 24, 3, "Too many open files")],
)
def test_limits_of_the_system_end_in_a_message(scan, out, limit, value, code, word):
    arguments = ["upsample", scan, out / "fine.nii.gz", "--ratio", 2, "--device", "cpu"]
    command = [sys.executable, "-c", LIMITED, limit, value, *arguments]

    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)

    assert done.returncode == code and said_clearly(done, word), done.stderr
    assert contents(out) == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sets Linux's limits")
def test_too_little_memory_to_load_the_libraries_is_said(scan, out):
    """What NumPy and the image library need before any of our code can look."""
    script = "import resource, sys\nresource.setrlimit(resource.RLIMIT_AS, (int(sys.argv.pop(1)),) * 2)\n"
    script += "from cycleinr.cli.app import run\nsys.exit(run())"
    arguments = [300 * 2**20, "upsample", scan, out / "fine.nii.gz", "--ratio", 2, "--device", "cpu"]

    done = subprocess.run(
        list(map(str, [sys.executable, "-c", script, *arguments])), capture_output=True, text=True, check=False
    )

    assert done.returncode == 8 and said_clearly(done, "memory"), done.stderr
    assert contents(out) == {}


@pytest.mark.parametrize("jump_s", [-1e6, 1e6])
def test_a_clock_that_jumps_changes_nothing_but_the_times(scan, out, monkeypatch, jump_s):
    """The wall clock is set while the run goes on; durations come from the steady one."""
    import time

    real, calls = time.time, []

    def jumping():
        calls.append(1)
        return real() + (jump_s if len(calls) % 2 else 0)

    monkeypatch.setattr(time, "time", jumping)
    told = []
    run_job(job(scan, out / "fine.nii.gz"), Monitor(told.append))

    assert all(progress.remaining_s is None or 0 <= progress.remaining_s < 600 for progress in told)
    assert read_volume(out / "fine.nii.gz").shape_kji[0] == 15


def during(phase: str, action):
    """A monitor that does something once, when a phase begins."""
    done = []

    def report(progress: Progress) -> None:
        if phase in progress.phase and not done:
            done.append(phase)
            action()

    return Monitor(report)


def test_an_output_folder_that_disappears_is_said(scan, out):
    with pytest.raises(OutputError, match="out"):
        run_job(job(scan, out / "fine.nii.gz"), during("Computing", lambda: shutil.rmtree(out)))
    assert not out.exists()


def test_an_input_that_disappears_after_it_was_read_changes_nothing(scan, out):
    expected = run_job(job(scan, out / "first.nii.gz")).volume.array

    run_job(job(scan, out / "fine.nii.gz"), during("Computing", scan.unlink))

    assert (read_volume(out / "fine.nii.gz").array == expected).all()


def test_a_dicom_source_that_disappears_during_the_run_is_said_and_nothing_is_written(out, tmp_path):
    series = write_source(tmp_path / "series")
    work = Job(series, out / "fine", UpsampleOptions(Target(ratio=2.0), device="cpu"), "dicom")

    with pytest.raises(InputError):
        run_job(work, during("Computing", lambda: shutil.rmtree(series)))

    assert contents(out) == {}


def test_weights_that_are_swapped_during_a_run_are_refused(scan, out, tmp_path):
    """Between reading the model card and loading the weights; a result names the weights that made it."""
    for name in ("mr.json", "mr.safetensors"):
        shutil.copy(MODELS / name, tmp_path / name)
    weights = tmp_path / "mr.safetensors"
    work = job(scan, out / "fine.nii.gz", model=str(weights))

    with pytest.raises(ModelError, match="not those of their model card"):
        run_job(work, during("Preparing", lambda: shutil.copy(MODELS / "ct.safetensors", weights)))
    assert contents(out) == {}

    shutil.copy(MODELS / "mr.safetensors", weights)
    run_job(work, during("Computing", lambda: shutil.copy(MODELS / "ct.safetensors", weights)))
    card = json.loads((MODELS / "mr.json").read_text())
    assert json.loads((out / "fine.nii.gz.json").read_text())["weights_sha256"] == card["sha256"]


@pytest.mark.parametrize("name", ["fine.nii.gz", "fine.mhd"])
def test_of_two_runs_on_one_output_one_wins_whole(scan, out, name):
    """Both have found the name free; they meet again when they write."""
    meet, ends = threading.Barrier(2), []

    def run(ratio: float) -> None:
        def report(progress: Progress) -> None:
            if progress.phase == "Writing":
                meet.wait(timeout=60)

        try:
            job = Job(scan, out / name, UpsampleOptions(Target(ratio=ratio), device="cpu"), "image")
            ends.append(run_job(job, Monitor(report)))
        except CycleinrError as error:
            ends.append(error)

    threads = [threading.Thread(target=run, args=(ratio,)) for ratio in (2.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    refused = [end for end in ends if isinstance(end, OutputError)]
    won = [end for end in ends if not isinstance(end, CycleinrError)]
    assert len(refused) == len(won) == 1 and "exists already" in str(refused[0])
    assert (read_volume(out / name).array == won[0].volume.array).all()
    described = json.loads((out / f"{name}.json").read_text())
    assert described["ratio"] == won[0].provenance["ratio"]
    assert not any(part.startswith(".cycleinr-") for part in contents(out))


def test_damaged_compressed_data_do_not_hang(tmp_path):
    """ITK's reader of MetaImages never ends on these; it is not asked."""
    from cycleinr.files import write_volume
    from faults.conftest import thick_scan

    write_volume(thick_scan(), tmp_path / "scan.mhd")
    data = tmp_path / "scan.zraw"
    whole = data.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:40] + bytes(200) + whole[240:], b"y" + whole[1:]):
        data.write_bytes(damaged)
        told = [*COMMAND, "info", str(tmp_path / "scan.mhd")]
        done = subprocess.run(told, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0 and "Not possible     scan.mhd is damaged: its compressed data" in done.stdout
