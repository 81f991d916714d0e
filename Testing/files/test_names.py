"""Names that the libraries cannot open end in one sentence, and so do things that are no files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import cycleinr
from cycleinr import InputError, OutputError
from cycleinr.files import IMAGE_SUFFIXES, read_volume, says_made_by_cycleinr, write_volume
from cycleinr.files.atomic import sidecar
from cycleinr.volume import Volume
from dicom_maker import write_series

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="other systems do not take any bytes as a name"
)

NOT_UTF8 = os.fsdecode(b"bad\xff")


@pytest.fixture
def volume() -> Volume:
    return Volume(np.arange(120, dtype=np.int16).reshape(6, 5, 4), np.eye(4))


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize("where", ["file", "folder"])
def test_an_image_of_a_name_that_is_not_utf8_is_refused(tmp_path, volume, suffix, where):
    write_volume(volume, tmp_path / f"a{suffix}")
    if where == "file":
        path = tmp_path / f"{NOT_UTF8}{suffix}"
        (tmp_path / f"a{suffix}").rename(path)
    else:
        (tmp_path / NOT_UTF8).mkdir()
        for file in tmp_path.glob("a*"):
            file.rename(tmp_path / NOT_UTF8 / file.name)
        path = tmp_path / NOT_UTF8 / f"a{suffix}"

    with pytest.raises(InputError, match="not UTF-8") as error:
        read_volume(path)
    str(error.value).encode()


def test_a_dicom_series_in_such_a_folder_or_with_such_a_file_is_refused(tmp_path):
    folder = write_series(tmp_path / NOT_UTF8)
    with pytest.raises(InputError, match="not UTF-8"):
        read_volume(folder)

    folder = folder.rename(tmp_path / "good")
    first = sorted(folder.iterdir())[0]
    first.rename(folder / f"{NOT_UTF8}.dcm")
    with pytest.raises(InputError, match="not UTF-8"):
        read_volume(folder)


def test_a_link_of_another_name_to_it_can_be_read(tmp_path, volume):
    write_volume(volume, tmp_path / "a.nrrd")
    (tmp_path / "a.nrrd").rename(tmp_path / f"{NOT_UTF8}.nrrd")
    (tmp_path / "link.nrrd").symlink_to(tmp_path / f"{NOT_UTF8}.nrrd")

    assert np.array_equal(read_volume(tmp_path / "link.nrrd").array, volume.array)


@pytest.mark.parametrize("name", [NOT_UTF8, "x" * 252, "é" * 126])
@pytest.mark.parametrize("suffix", [".nii.gz", ".mhd"])
def test_a_result_cannot_have_such_a_name_or_a_longer_one_than_the_disk_takes(tmp_path, volume, name, suffix):
    for write in (write_volume, lambda _, path: sidecar(path, {}).__enter__()):
        with pytest.raises(OutputError, match="not UTF-8|shorter"):
            write(volume, tmp_path / f"{name}{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_or_a_device_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "scan.nii.gz")
    for path in (tmp_path / "scan.nii.gz", "/dev/zero"):
        with pytest.raises(InputError, match="pipe or a device"):
            read_volume(path)


def test_data_that_are_a_pipe_are_refused_at_once(tmp_path, volume):
    write_volume(volume, tmp_path / "a.mhd")
    (tmp_path / "a.zraw").unlink()
    os.mkfifo(tmp_path / "a.zraw")

    with pytest.raises(InputError, match="no plain file"):
        read_volume(tmp_path / "a.mhd")


def test_a_name_that_the_locale_cannot_say_is_refused(tmp_path, volume):
    """SimpleITK would end the process."""
    folder = tmp_path / "ü"
    folder.mkdir()
    write_volume(volume, folder / "a.mha")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = cycleinr("upsample", folder / "a.mha", folder / "b.mha", "--ratio", 2, environment=locale)

    assert done.returncode == 3 and "not UTF-8" in done.stderr, done.stderr


def test_a_file_that_cannot_be_read_any_more_says_nothing_of_its_making():
    assert not says_made_by_cycleinr(Path("/proc/self/mem"))
