"""The commands that this package brings, as their users run them: real processes, real files."""

import subprocess
import sys

import pytest
from cycleinr import RequestError
from cycleinr.files import read_volume, write_volume
from cycleinr.volume import Volume
from cycleinr_research.commands.evaluate import evaluate_command
from places import REPOSITORY


def cycleinr(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cycleinr", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_they_stand_in_the_help_beside_the_engines_own():
    done = cycleinr("--help")

    assert done.returncode == 0, done.stderr
    assert {"upsample", "batch", "train", "evaluate"} <= set(done.stdout.split())


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_every_command_explains_itself(command):
    done = cycleinr(command, "--help")

    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_evaluate_compares_methods_and_goes_on_where_it_was(tmp_path):
    folder = tmp_path / "fine"
    folder.mkdir()
    fine = read_volume(REPOSITORY / "Testing/data/ct_chest_0p8mm.nii.gz")
    write_volume(Volume(fine.array[:31, :40, :40], fine.ijk_to_ras, "CT"), folder / "chest.nii.gz")
    arguments = ("evaluate", folder, tmp_path / "out", "--ratios", "3", "--conditions", "subsampled", "--device", "cpu")

    evaluate_command(folder, tmp_path / "out", "3", "subsampled", "linear", figures=False, device="cpu")
    weights = REPOSITORY / "CycleINRSlicer/Resources/Models/ct.safetensors"
    done = cycleinr(*arguments, "--methods", f"linear,other={weights}", "--segment", "bone,skin")

    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "out" / "rows.csv").read_text().splitlines()
    assert [row.split(",")[4] for row in rows[1:]] == ["linear", "other"]
    assert "CycleINR other" in done.stdout
    segments = [row.split(",")[4:6] for row in (tmp_path / "out" / "segments.csv").read_text().splitlines()[1:]]
    assert segments == [[method, structure] for method in ("linear", "other") for structure in ("bone", "skin")]
    assert (tmp_path / "out" / "figures" / "planes_chest_subsampled_3.png").stat().st_size > 2000


def test_evaluate_names_what_it_does_not_know(tmp_path):
    done = cycleinr("evaluate", tmp_path, tmp_path / "out", "--methods=sharpest")

    assert done.returncode == 4 and "sharpest" in done.stderr
    for wrong in ({"segment": "liver"}, {"segmenter": ["liver=segment {input}"]}):
        with pytest.raises(RequestError, match="liver"):
            evaluate_command(tmp_path, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
