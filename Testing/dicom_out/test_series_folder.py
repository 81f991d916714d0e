"""The folder of a series appears whole or not at all, and never in place of anybody's files."""

from __future__ import annotations

import os

import pydicom
import pytest
from cycleinr import OutputError
from cycleinr.batch.find import find_scans
from cycleinr.dicom_out import check_series_folder, write_dicom_series
from cycleinr.files import read_volume
from cycleinr.files.atomic import new_folder
from cycleinr.files.dicom_series import series_at


def content(path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def written(scan, path, overwrite=False):
    # Slicer's database gives names
    files = [str(file) for file in scan.files]
    return write_dicom_series(scan.result.volume, files, path, scan.result.provenance, overwrite=overwrite)


def test_files_are_named_by_their_number_and_nothing_else_appears(ct, tmp_path):
    series = written(ct, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [f"IM{n:04d}.dcm" for n in range(1, 26)]
    assert os.listdir(tmp_path) == ["out"]
    assert [f.name for f in series.files] == sorted(os.listdir(tmp_path / "out"))
    assert {pydicom.dcmread(f, stop_before_pixels=True).SeriesInstanceUID for f in series.files} == {series.series_uid}


def test_an_empty_folder_is_filled(ct, tmp_path):
    (tmp_path / "out").mkdir()
    written(ct, tmp_path / "out")
    assert len(content(tmp_path / "out")) == 25


def test_our_own_series_is_replaced_only_when_asked(ct, mr, tmp_path):
    written(ct, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(OutputError, match="--overwrite"):
        written(mr, tmp_path / "out")
    assert content(tmp_path / "out") == before
    written(mr, tmp_path / "out", overwrite=True)
    after = content(tmp_path / "out")
    assert len(after) == len(mr.result.volume.array) and not set(after.values()) & set(before.values())
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["notes.txt", "IM0099.dcm", "sub/IM0001.dcm"])
def test_a_folder_with_anything_else_is_never_touched(ct, tmp_path, name):
    written(ct, tmp_path / "out")
    (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / name).write_bytes(b"precious")
    before = content(tmp_path / "out")
    with pytest.raises(OutputError, match="left as it was"):
        written(ct, tmp_path / "out", overwrite=True)
    assert content(tmp_path / "out") == before


def test_an_acquired_series_is_never_replaced_even_under_our_names(ct, tmp_path):
    (tmp_path / "out").mkdir()
    for n, file in enumerate(ct.files, 1):
        (tmp_path / "out" / f"IM{n:04d}.dcm").write_bytes(file.read_bytes())
    before = content(tmp_path / "out")
    with pytest.raises(OutputError, match="left as it was"):
        written(ct, tmp_path / "out", overwrite=True)
    assert content(tmp_path / "out") == before


def test_the_sources_own_folder_is_refused_even_if_we_wrote_it(ct, tmp_path):
    first = written(ct, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(OutputError, match="source series"):
        write_dicom_series(ct.result.volume, first.files, tmp_path / "out", ct.result.provenance, overwrite=True)
    assert content(tmp_path / "out") == before


def test_a_link_to_a_folder_stays_a_link(ct, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    written(ct, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(content(tmp_path / "real")) == 25


def test_a_failure_half_way_leaves_what_was_there(ct, tmp_path):
    written(ct, tmp_path / "out")
    before = content(tmp_path / "out")
    with (
        pytest.raises(OutputError, match="No space left"),
        new_folder(tmp_path / "out", lambda: check_series_folder(tmp_path / "out", True, ct.folder)) as staged,
    ):
        (staged / "IM0001.dcm").write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert content(tmp_path / "out") == before
    assert os.listdir(tmp_path) == ["out"]


def test_files_that_appear_meanwhile_are_kept(ct, tmp_path):
    with (
        pytest.raises(OutputError, match="left as it was"),
        new_folder(tmp_path / "out", lambda: check_series_folder(tmp_path / "out", True, ct.folder)) as staged,
    ):
        (staged / "IM0001.dcm").write_bytes(b"new")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes.txt").write_bytes(b"precious")
    assert content(tmp_path) == {"out/notes.txt": b"precious"}


@pytest.mark.parametrize(("make", "says"), [("missing/out", "does not exist"), ("file", "is a file")])
def test_impossible_places_are_refused_before_the_work(tmp_path, make, says):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=says):
        check_series_folder(tmp_path / make, True)


def test_beside_its_source_a_result_is_told_and_not_made_finer_again(ct, tmp_path):
    for file in ct.files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    written(ct, tmp_path / "out")
    source, result = series_at(tmp_path).series
    assert "made by CycleINR" in str(result) and "made by" not in str(source)
    volume = read_volume(tmp_path)
    assert len(volume.array) == len(ct.files) and "made by CycleINR" in " ".join(volume.notes)
    notes: list[str] = []
    assert len(find_scans(tmp_path, notes)) == 1 and "made by CycleINR" in " ".join(notes)
    again = read_volume(tmp_path / "out")
    assert len(again.array) == 25 and again.made_by_cycleinr and not volume.made_by_cycleinr
