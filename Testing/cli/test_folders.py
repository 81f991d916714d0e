"""What the command line tells of folders with several series and of time series, and what it makes of them."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from command_line import cycleinr
from cycleinr.files import read_volume, write_frames
from dicom_maker import OTHER_SERIES, pixels_of_slice, write_series
from series_kinds import KINDS

CPU = ("--device", "cpu")


@pytest.fixture
def two_series(tmp_path):
    """Two thick series and one that is too short."""
    folder = write_series(tmp_path / "in", RescaleIntercept=0, Modality="MR")
    write_series(folder, slices=5, prefix="b", SeriesInstanceUID=OTHER_SERIES, SeriesNumber=9, Modality="MR")
    write_series(folder, slices=2, prefix="c", SeriesInstanceUID="1.2.3", SeriesNumber=10)
    return folder


def test_info_lists_all_series_and_says_why_nothing_is_done(two_series):
    said = cycleinr("info", two_series)
    told = json.loads(cycleinr("info", two_series, "--json").stdout)

    assert said.returncode == 0
    assert "3: 6 MR images, axial, 5 mm apart" in said.stdout and "fewer than 4 slices" in said.stdout
    assert "Not possible" in said.stdout and "--series 3" in said.stdout
    assert told["possible"] is False and "--series" in told["reason"] and told["scan"] is None
    assert [(one["series"], one["possible"]) for one in told["series"]] == [("3", True), ("9", True), ("10", False)]


def test_info_says_what_would_be_done_with_the_series_that_is_named(two_series):
    told = json.loads(cycleinr("info", two_series, "--json", "--series", "9", "--spacing", "2").stdout)

    assert told["possible"] is True and told["reason"] is None
    assert told["scan"]["size"] == [5, 6, 5] and told["scan"]["orientation"] == "LPS"
    assert told["scan"]["slices"] == "axial" and told["result"]["size"] == [5, 6, 11]
    assert told["notes"] == ["Series 9 was taken."]
    refused = cycleinr("info", two_series, "--series", "9", "--spacing", "20")
    assert refused.returncode == 0 and "Orientation      LPS, axial slices" in refused.stdout
    assert "Not possible     " in refused.stdout and "20 mm" in refused.stdout
    assert cycleinr("info", two_series / "gone").returncode == 3


def test_all_series_of_a_folder_in_one_go(two_series, tmp_path):
    done = cycleinr("upsample", two_series, tmp_path / "out", "--ratio", "2", "--all-series", "--json-progress", *CPU)

    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "series-3.nii.gz", "series-3.nii.gz.json", "series-9.nii.gz", "series-9.nii.gz.json",
    ]  # fmt: skip
    assert read_volume(tmp_path / "out" / "series-9.nii.gz").shape_kji == (9, 6, 5)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ends = [n for n, event in enumerate(events) if event.get("event") == "done"]
    assert [events[n]["path"] for n in ends] == [str(tmp_path / "out" / f"series-{n}.nii.gz") for n in (3, 9)]
    assert events[ends[0]]["provenance"]["ratio"] == "2"
    assert [events[n]["provenance"]["reading"] for n in ends] == ["Series 3 was taken.", "Series 9 was taken."]
    phases = [event["phase"] for event in events[: ends[0]] if "phase" in event]
    assert phases[-2:] == ["Writing", "Done"] and phases.count("Done") == 1
    assert {"event": "warning"}.items() <= events[ends[0] - 1].items()


def test_what_is_for_dicom_series_alone_is_refused_where_all_series_become_images(two_series, tmp_path):
    done = cycleinr("upsample", two_series, tmp_path / "out", "--ratio", "2", "--all-series", "--compress", *CPU)

    assert done.returncode == 4 and "--format dicom" in done.stderr and not (tmp_path / "out").exists()


def test_errors_are_events_too(two_series, tmp_path):
    done = cycleinr("upsample", two_series, tmp_path / "a.nii.gz", "--ratio", "2", "--json-progress", *CPU)

    last = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 3 and done.stderr.startswith("cycleinr: ")
    assert (last["event"], last["kind"], last["exit_code"]) == ("error", "InputError", 3)
    assert "--series" in last["text"]


def test_a_frame_or_all_frames_of_a_time_series(tmp_path):
    series = read_volume(write_series(tmp_path / "one"))
    frames = [series.with_array(series.array + np.int16(n)) for n in range(2)]
    write_frames(frames, tmp_path / "4d.nii.gz", frame_s=1.5)
    request = ("--ratio", "2", "--model", "ct", *CPU)

    info = json.loads(cycleinr("info", tmp_path / "4d.nii.gz", "--json").stdout)
    one = cycleinr("upsample", tmp_path / "4d.nii.gz", tmp_path / "second.nii.gz", "--frame", "2", *request)
    both = cycleinr("upsample", tmp_path / "4d.nii.gz", tmp_path / "all.nii.gz", "--all-frames", *request)
    alone = cycleinr("upsample", tmp_path / "one", tmp_path / "alone.nii.gz", "--all-frames", *request)

    assert "2 frames of 5 x 6 x 11" in both.stdout and "1 frame of 5 x 6 x 11" in alone.stdout, alone.stderr
    assert info["possible"] is False and "--frame" in info["reason"] and info["scan"]["frames"] == 2
    assert one.returncode == both.returncode == 0, one.stderr + both.stderr
    image = nibabel.load(tmp_path / "all.nii.gz")
    assert image.shape == (5, 6, 11, 2) and image.header.get_zooms()[3] == 1.5
    second = nibabel.load(tmp_path / "second.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 1], np.asarray(second.dataobj))
    assert json.loads((tmp_path / "all.nii.gz.json").read_text())["frames"] == "2"
    checked = [
        cycleinr("check", tmp_path / "4d.nii.gz", tmp_path / name, "--frame", "2")
        for name in ("all.nii.gz", "second.nii.gz")
    ]
    assert checked[0].stdout == checked[1].stdout != "", checked[0].stderr


def test_phases_of_a_dicom_series_become_frames(tmp_path):
    for phase, prefix in enumerate("ab"):
        pixels = {"pixels": lambda n, p=phase: pixels_of_slice(n) + np.uint16(p)}
        write_series(tmp_path / "in", prefix=prefix, AcquisitionNumber=phase, **pixels)
    request = ("--ratio", "2", "--model", "ct", "--all-frames", *CPU)

    done = cycleinr("upsample", tmp_path / "in", tmp_path / "all.nii", *request)
    refused = cycleinr("upsample", tmp_path / "in", tmp_path / "all.nrrd", *request)

    assert done.returncode == 0, done.stderr
    assert nibabel.load(tmp_path / "all.nii").shape == (5, 6, 11, 2)
    assert refused.returncode == 4 and "NIfTI" in refused.stderr


def test_info_tells_thicknesses_that_change(tmp_path):
    said = cycleinr("info", KINDS["2.5 mm, then 5 mm"](tmp_path / "series")).stdout

    assert "Slice thickness  2.5 to 5 mm\n" in said
