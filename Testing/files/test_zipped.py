"""Scans in zip archives are read from a private folder that goes away; archives that are up to something are not."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cycleinr import InputError, OutputError
from cycleinr.files import list_series, read_volume, write_volume
from cycleinr.files.zipped import unpacked
from cycleinr.grid import Target
from cycleinr.jobs import Job, run_job
from cycleinr.request import UpsampleOptions
from dicom_maker import write_series
from dicom_out.series_sources import write_source


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of its own, which has to be empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def zipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_a_series_in_an_archive_is_that_of_its_folder(tmp_path):
    write_series(tmp_path / "in")
    (tmp_path / "in" / "inside").mkdir()
    write_series(tmp_path / "in" / "inside", slices=3, SeriesNumber=9, SeriesInstanceUID="1.2.3.4")
    archive = zipped(tmp_path / "scan.zip", tmp_path / "in")

    found, expected = read_volume(archive), read_volume(tmp_path / "in")

    np.testing.assert_array_equal(found.array, expected.array)
    assert found.geometry_equal(expected) and found.notes == expected.notes
    assert [one.name for one in list_series(archive).series] == ["3", "9"]


def test_an_image_file_in_an_archive_is_read_by_itself(tmp_path):
    (tmp_path / "in").mkdir()
    volume = read_volume(write_series(tmp_path / "series"))
    write_volume(volume, tmp_path / "in" / "scan.nii.gz")
    (tmp_path / "in" / "readme.txt").write_text("about")

    np.testing.assert_array_equal(read_volume(zipped(tmp_path / "a.zip", tmp_path / "in")).array, volume.array)

    write_volume(volume, tmp_path / "in" / "other.nii.gz")
    with pytest.raises(InputError, match=r"b\.zip holds 2 image files"):
        read_volume(zipped(tmp_path / "b.zip", tmp_path / "in"))


@pytest.mark.parametrize("output", ["fine.nii.gz", "fine"])
def test_a_result_of_an_archive_is_that_of_the_folder(tmp_path, output):
    folder = write_source(tmp_path / "series", "CT")
    archive = zipped(tmp_path / "scan.zip", folder)
    options = UpsampleOptions(Target(ratio=2), device="cpu")

    result = run_job(Job(archive, tmp_path / output, options))

    np.testing.assert_array_equal(read_volume(tmp_path / output).array, result.volume.array)
    assert "cycleinr-zip" not in (tmp_path / f"{output}.json").read_text()


def test_an_archive_is_not_replaced_by_its_own_result(tmp_path):
    (tmp_path / "in").mkdir()
    write_volume(read_volume(write_series(tmp_path / "series")), tmp_path / "in" / "scan.nii")
    archive = zipped(tmp_path / "scan.nii", tmp_path / "in")
    content = archive.read_bytes()

    with pytest.raises(OutputError, match="would replace the scan itself"):
        run_job(Job(archive, archive, UpsampleOptions(Target(ratio=2), device="cpu"), overwrite=True))

    assert archive.read_bytes() == content


def archive_of(path: Path, *members: tuple[str, bytes], mode: int = stat.S_IFREG) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    "name", ["../a.dcm", "in/../../a.dcm", "/tmp/a.dcm", "..\\a.dcm", "C:\\a.dcm", "C:a.dcm", "\\\\server\\a.dcm"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="leads out"):
        read_volume(archive_of(tmp_path / "a.zip", ("in/b.dcm", b"x"), (name, b"evil")))
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "a.zip"])


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, mode):
    with pytest.raises(InputError, match="links"):
        read_volume(archive_of(tmp_path / "a.zip", ("passwd", b"/etc/passwd"), mode=mode))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"_MOST_FILES": 2}, "3 files"),
        ({"_MOST_BYTES": 1000}, "more than"),
        ({"_SMALL_BYTES": 1000, "_RATIO": 10}, "times its own size"),
    ],
)
def test_too_much_is_refused_even_where_the_archive_lies_about_it(tmp_path, monkeypatch, limits, says):
    for name, limit in limits.items():
        monkeypatch.setattr(f"cycleinr.files.zipped.{name}", limit)
    path = archive_of(tmp_path / "a.zip", *((f"{n}.dcm", bytes(5000)) for n in range(3)))
    lying = tmp_path / "lying.zip"
    # Sizes stand before each file, and again in the list at the end, in four bytes each
    lying.write_bytes(path.read_bytes().replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))

    with pytest.raises(InputError, match=says), unpacked(path):
        pass
    with pytest.raises(InputError), unpacked(lying):
        pass


def test_two_files_of_one_name_a_password_and_damage_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = archive_of(tmp_path / "a.zip", ("a.dcm", b"1"), ("a.dcm", b"2"))
    with pytest.raises(InputError, match="one name"):
        read_volume(twice)
    content = bytearray(zipped(tmp_path / "b.zip", write_series(tmp_path / "in")).read_bytes())
    for at in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[at] |= 1
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(InputError, match="password"):
        read_volume(tmp_path / "b.zip")
    (tmp_path / "c.zip").write_bytes(content[:-200])
    with pytest.raises(InputError, match="damaged"):
        read_volume(tmp_path / "c.zip")
