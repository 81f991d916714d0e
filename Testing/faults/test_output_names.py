"""Names that a result cannot have are refused before the work, with the reason and the exit code for outputs."""

import os
import sys

import pytest
from cycleinr.cli import app
from faults.conftest import contents

LONG = "x" * 300


@pytest.mark.parametrize(
    ("output", "more"),
    [
        (f"{'x' * 246}.nii.gz", []),
        (f"{LONG}.nii.gz", []),
        (f"{LONG}.nii.gz", ["--overwrite"]),
        # Its .json would be too long.
        (f"{'x' * 245}.nii.gz", []),
        (f"{LONG}/fine.nii.gz", []),
        (LONG, ["--format", "dicom"]),
        ("fine.nii.gz", ["--report", LONG]),
        ("bad\udcff.nii.gz", []),
        ("fine.nii.gz", ["--report", "bad\udcff"]),
    ],
    ids=range(9),
)
def test_a_name_that_no_result_can_have_is_refused_at_once(scan, out, monkeypatch, capsys, output, more):
    more = [str(out / one) if one == LONG or "bad" in one else one for one in more]
    command = ["cycleinr", "upsample", str(scan), str(out / output), "--ratio", "2", "--device", "cpu", *more]
    monkeypatch.setattr(sys, "argv", command)

    assert app.run() == 5
    said = capsys.readouterr().err
    assert said.count("cycleinr: ") == 1 and ("characters" in said or "UTF-8" in said)
    assert contents(out) == {}


def test_a_link_to_nothing_is_refused_at_once(scan, out, monkeypatch, capsys):
    (out / "fine.nii.gz").symlink_to(out / "missing.nii.gz")
    monkeypatch.setattr(sys, "argv", ["cycleinr", "upsample", str(scan), str(out / "fine.nii.gz"), "--ratio", "2"])

    assert app.run() == 5
    assert "fine.nii.gz exists already" in capsys.readouterr().err


def test_whether_a_scan_can_be_read_shows_when_it_is_read(scan, monkeypatch):
    """With the exit code for inputs; what `os.access` says is wrong on some file systems."""
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode != os.R_OK)
    monkeypatch.setattr(sys, "argv", ["cycleinr", "info", str(scan)])

    assert app.run() == 0


@pytest.mark.parametrize("command", [["demo"], ["batch", "--ratio", "2"]])
def test_a_folder_that_cannot_be_made_is_refused_at_once(scan, out, monkeypatch, capsys, command):
    name, *options = command
    monkeypatch.setattr(sys, "argv", ["cycleinr", name, str(scan), str(out / LONG), *options])

    assert app.run() == 5
    assert "cannot be made (File name too long)" in capsys.readouterr().err
