"""The command line as its users run it: real processes, real files."""

import json
import os
import shutil
import signal
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from command_line import COMMAND, ENVIRONMENT, cycleinr
from cycleinr import __version__
from cycleinr.files import read_volume, write_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from dicom_maker import write_series
from places import REPOSITORY


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """A thick-slice MR of 12 slices, made from the bundled crop."""
    fine = read_volume(REPOSITORY / "Testing/data/mr_head_1mm.nii.gz")
    affine = fine.ijk_to_ras.copy()
    affine[:3, 2] *= 5
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    write_volume(Volume(fine.array[::5][:12, :40, :36], affine, "MR"), path)
    return path


def leftovers(folder: Path, *expected: str) -> list[str]:
    return sorted(set(os.listdir(folder)) - set(expected))


def test_upsample_writes_the_finer_volume_and_says_how_it_was_made(scan, tmp_path):
    done = cycleinr("upsample", scan, tmp_path / "fine.nrrd", "--ratio", "2.5", "--device", "cpu")

    assert done.returncode == 0, done.stderr
    result = read_volume(tmp_path / "fine.nrrd")
    direct = upsample(read_volume(scan), UpsampleOptions(Target(ratio=2.5), device="cpu")).volume
    assert np.array_equal(result.array, direct.array)
    assert np.allclose(result.ijk_to_ras, direct.ijk_to_ras, atol=1e-5)
    assert json.loads((tmp_path / "fine.nrrd.json").read_text())["ratio"] == "2.5"
    assert "Not for primary diagnosis" in done.stdout


def test_json_progress_prints_one_object_a_line_ending_with_everything_done(scan, tmp_path):
    done = cycleinr("upsample", scan, tmp_path / "fine.mha", "--isotropic", "--json-progress", "--device", "cpu")

    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert messages[0]["phase"] == "Reading"
    assert max(m["fraction"] for m in messages if "phase" in m) == 1.0
    assert {"phase", "fraction", "remaining_s"} == set(messages[0])


def test_info_tells_geometry_size_memory_and_time_without_running(scan):
    done = cycleinr("info", scan, "--spacing", "1")

    assert done.returncode == 0, done.stderr
    assert "36 x 40 x 12" in done.stdout
    assert "36 x 40 x 56" in done.stdout
    assert "Peak memory" in done.stdout and "Time" in done.stdout


@pytest.mark.parametrize("command", ["upsample", "check", "info", "batch", "demo"])
def test_every_command_explains_itself(command):
    done = cycleinr(command, "--help")

    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["missing.nii.gz", "out.nii.gz", "--ratio", "2"], 3, "missing.nii.gz"),
        (["SCAN", "out.nii.gz"], 4, "exactly one is needed"),
        (["SCAN", "out.nii.gz", "--ratio", "2", "--spacing", "1"], 4, "exactly one is needed"),
        (["SCAN", "out.nii.gz", "--spacing", "9"], 4, "coarser"),
        (["SCAN", "out.nii.gz", "--ratio", "2", "--series", "3"], 3, "has no series 3"),
        (["SCAN", "out.nii.gz", "--ratio", "2", "--compress"], 4, "are for DICOM series"),
        (["SCAN", "out.nii.gz", "--ratio", "2", "--window", "bone"], 4, "--report FOLDER"),
        (["SCAN", "out.nii.gz", "--ratio", "2", "--region", "0:9,0:9,0:9", "--report", "r"], 4, "needs all"),
        (["SCAN", "out.nii.gz", "--ratio", "2", "--thickness", "thin"], 4, "thin"),
        (["SCAN", "out.jpg", "--ratio", "2"], 5, "out.jpg"),
        (["SCAN", "nowhere/out.nii.gz", "--ratio", "2"], 5, "nowhere"),
        (["SCAN", "out.nii.gz", "--ratio", "2", "--model", "none.safetensors"], 6, "none.safetensors"),
        (["SCAN", "out.nii.gz", "--ratio", "2", "--device", "cuda:9"], 7, "cuda:9"),
        (["SCAN", "out.nii.gz", "--ratio", "2", "--memory-limit", "0.0001"], 8, "memory limit"),
        (["SCAN", "out.nii.gz", "--ratio", "two"], 2, "'--ratio': 'two' is no number"),
        (["SCAN", "out.nii.gz", "--ratio", "1/0"], 2, "'1/0' is no number"),
        (["SCAN", "SCAN", "--ratio", "2", "--overwrite"], 5, "would replace the scan itself"),
    ],
)
def test_what_cannot_be_done_ends_with_one_line_and_its_exit_code(scan, tmp_path, arguments, code, says):
    arguments = [str(scan) if a == "SCAN" else a for a in arguments]

    done = cycleinr("upsample", *arguments, cwd=tmp_path)

    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(tmp_path) == []


def test_an_existing_result_is_replaced_only_when_asked(scan, tmp_path):
    output = tmp_path / "fine.nii.gz"
    output.write_bytes(b"precious")

    refused = cycleinr("upsample", scan, output, "--ratio", "2")
    kept = output.read_bytes()
    replaced = cycleinr("upsample", scan, output, "--ratio", "2", "--overwrite", "--device", "cpu")

    assert refused.returncode == 5 and "--overwrite" in refused.stderr
    assert kept == b"precious"
    assert replaced.returncode == 0 and read_volume(output).shape_kji[0] == 23


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGINT"])
def test_a_process_killed_while_computing_leaves_no_result(tmp_path, signal_name):
    big = tmp_path / "big.nii.gz"
    noise = np.random.default_rng(0).normal(500, 100, (24, 256, 256)).astype(np.int16)
    write_volume(Volume(noise, np.diag([1.0, 1.0, 5.0, 1.0]), "MR"), big)
    command = [*COMMAND, "upsample", str(big), str(tmp_path / "fine.nii.gz"), "--ratio", "5"]
    process = subprocess.Popen(
        [*command, "--json-progress", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    for line in process.stdout:
        if 0.02 < json.loads(line)["fraction"] < 0.9:
            process.send_signal(getattr(signal, signal_name))
            break
    process.communicate(timeout=60)

    assert process.returncode == (130 if signal_name == "SIGINT" else -signal.SIGKILL)
    assert leftovers(tmp_path, "big.nii.gz") == []


def test_the_demo_writes_the_finer_volume_and_a_picture(scan, tmp_path):
    done = cycleinr("demo", scan, tmp_path / "out", "--spacing", "2", "--device", "cpu")

    assert done.returncode == 0, done.stderr
    assert leftovers(tmp_path / "out") == ["scan_2mm.nii.gz", "scan_2mm.nii.gz.json", "scan_2mm.png"]
    assert (tmp_path / "out" / "scan_2mm.png").read_bytes().startswith(b"\x89PNG")
    assert "12 slices became 28" in done.stdout


def test_a_saved_result_is_checked_with_the_numbers_of_the_report(scan, tmp_path):
    cpu = ("--device", "cpu")
    made = cycleinr("upsample", scan, tmp_path / "fine.mha", "--ratio", "4", "--report", tmp_path / "at-once", *cpu)
    before = read_volume(tmp_path / "fine.mha").array

    told = cycleinr("check", scan, tmp_path / "fine.mha", "--report", tmp_path / "later", *cpu)
    numbers = cycleinr("check", scan, tmp_path / "fine.mha", "--json", *cpu)

    assert made.returncode == told.returncode == numbers.returncode == 0, made.stderr + told.stderr + numbers.stderr
    at_once, later = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("at-once", "later"))
    assert later == at_once and json.loads(numbers.stdout).items() <= at_once.items()
    assert at_once["verdict"] in told.stdout and "Re-slicing error" in told.stdout
    assert np.array_equal(read_volume(tmp_path / "fine.mha").array, before)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["SCAN", "SCAN"], 3, "scan.nii.gz.json"),
        (["SCAN", "missing.nii.gz"], 3, "missing.nii.gz.json"),
        (["SCAN", "SCAN", "--report", "."], 5, "holds other files"),
    ],
)
def test_what_cannot_be_checked_is_said(scan, tmp_path, arguments, code, says):
    shutil.copy(scan, tmp_path)

    done = cycleinr("check", *(scan.name if a == "SCAN" else a for a in arguments), cwd=tmp_path)

    assert done.returncode == code and says in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert leftovers(tmp_path, scan.name) == []


def test_a_dicom_folder_goes_in_like_any_other_scan(tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    write_series(series)

    done = cycleinr("upsample", series, tmp_path / "fine.nii.gz", "--ratio", "2", "--device", "cpu")

    assert done.returncode == 0, done.stderr
    assert read_volume(tmp_path / "fine.nii.gz").shape_kji == (11, 6, 5)
    assert json.loads((tmp_path / "fine.nii.gz.json").read_text())["tau"] == "0.9"


def test_a_command_of_another_package_that_cannot_be_loaded_spoils_no_other(tmp_path):
    package = tmp_path / "broken-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[cycleinr.commands]\nbroken = no_such_module:command\n")
    path = os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])

    done = cycleinr("--help", environment={"PYTHONPATH": path})

    assert done.returncode == 0 and "upsample" in done.stdout
    assert "The command broken cannot be loaded" in done.stderr and "Traceback" not in done.stderr


def test_the_version_is_printed():
    done = cycleinr("--version")

    assert (done.returncode, done.stdout) == (0, f"cycleinr {__version__}\n")


@pytest.mark.parametrize(("text", "code"), [("5/3", 0), ("2", 0), ("5/0", 2), ("1/3", 4), ("thrice", 2)])
def test_a_ratio_may_be_a_fraction(scan, text, code):
    done = cycleinr("info", scan, "--ratio", text)

    assert done.returncode == code, done.stderr
    assert code or f"Ratio            {float(Fraction(text)):.4g}" in done.stdout
