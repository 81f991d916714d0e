"""The batch command as its users run it, killed in the middle and started again."""

import os
import signal
import subprocess
import sys

import pytest
from batch.conftest import batch, manifest, unfinished, visible
from command_line import COMMAND, ENVIRONMENT, cycleinr
from cycleinr import OutputError
from cycleinr.cli import app
from cycleinr.files import read_volume
from psutil import Process, wait_procs


def command(folder) -> list[str]:
    return [*COMMAND, "batch", str(folder / "in"), str(folder / "out"), "--ratio", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory, small_scans):
    """A batch of six scans, the third one damaged, killed with SIGKILL once two are finished.

    Returns:
        The scans' folder, the output folder, and whether a second batch was refused meanwhile.
    """
    folder = tmp_path_factory.mktemp("killed")
    for number, name in enumerate("abdef"):
        small_scans.write(folder / "in" / f"{name}.nii.gz", number, size=40)
    small_scans.damaged(folder / "in" / "c.nii.gz")
    process = subprocess.Popen(
        command(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    refusal = ""
    for line in process.stderr:
        if line.startswith("[1/"):
            with pytest.raises(OutputError) as raised:
                batch([folder / "in"], folder / "out")
            refusal = str(raised.value)
        if line.startswith("[2/"):
            break
    children = Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    _, alive = wait_procs(children, timeout=60)
    return folder / "in", folder / "out", refusal, children, alive


def test_a_second_batch_was_refused_while_it_ran(killed):
    assert "Another batch is writing" in killed[2]


def test_no_process_outlives_a_killed_batch(killed):
    assert len(killed[3]) > 0 and killed[4] == []


def test_a_killed_batch_leaves_whole_results_only(killed):
    _, out, *_ = killed
    results = [name for name in visible(out) if name.endswith(".nii.gz")]

    assert {"a.nii.gz", "b.nii.gz"} <= set(results) < {f"{name}.nii.gz" for name in "abcdef"}
    for name in results:
        assert read_volume(out / name).shape_kji == (15, 40, 40)


def test_the_same_command_does_the_rest_and_only_that(killed):
    scans, out, *_ = killed
    made_ns = {name: (out / name).stat().st_mtime_ns for name in ("a.nii.gz", "b.nii.gz")}

    rest = cycleinr("batch", scans, out, "--ratio", 2, "--device", "cpu", "--workers", 2)
    rows = manifest(out)

    assert rest.returncode == 10, rest.stderr
    assert {name: row["status"] for name, row in rows.items()} == {
        f"{name}.nii.gz": "failed" if name == "c" else "done" for name in "abcdef"
    }
    assert made_ns == {name: (out / name).stat().st_mtime_ns for name in made_ns}
    assert "FAILED (InputError)" in rest.stderr and "Traceback" not in rest.stderr
    assert "were done before" in rest.stdout and "Not for primary diagnosis" in rest.stdout
    assert unfinished(out) == []

    (scans / "c.nii.gz").unlink()
    nothing_left = cycleinr("batch", scans, out, "--ratio", 2, "--device", "cpu")
    assert nothing_left.returncode == 0, nothing_left.stderr
    assert "5 scans; 5 were done before" in nothing_left.stderr


def test_ctrl_c_ends_workers_too_and_says_that_the_same_command_goes_on(tmp_path, small_scans):
    for number, name in enumerate("abc"):
        small_scans.write(tmp_path / "in" / f"{name}.nii.gz", number, size=40)
    process = subprocess.Popen(
        command(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    for line in process.stderr:
        if line.startswith("[1/"):
            process.send_signal(signal.SIGINT)
            break
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Finished scans are kept" in said and "Traceback" not in said
    assert [row["status"] for row in manifest(tmp_path / "out").values()].count("done") in (1, 2)
    assert unfinished(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["in", "out"], 4, "--spacing"),
        (["in", "out", "--ratio", "2", "--spacing", "1"], 4, "exactly one"),
        (["in", "out", "--ratio", "2", "--format", "png"], 4, "'png'"),
        (["in", "out", "--ratio", "2", "--workers", "0"], 4, "workers is 0"),
        (["in", "out", "--ratio", "2", "--model", "none.safetensors"], 6, "none.safetensors"),
        (["none*.nii.gz", "out", "--ratio", "2"], 3, "Nothing matches"),
        (["in", "in/a.nii.gz", "--ratio", "2"], 5, "a.nii.gz"),
        (["out"], 2, "OUTPUT_DIR"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_runs(
    tmp_path, small_scans, monkeypatch, capsys, arguments, code, says
):
    small_scans.write(tmp_path / "in" / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cycleinr", "batch", *arguments])

    assert app.run() == code
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said
