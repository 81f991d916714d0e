"""Files of almost the same name lie side by side: each must give its own voxels, never those of the other."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cycleinr import InputError
from cycleinr.files import read_volume, write_volume
from cycleinr.grid import Target
from cycleinr.jobs import Job, run_job
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from places import REPOSITORY

NAMES = (
    "scan.nii", "scan.nii.gz", "scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd",
    "scan.nrrd.nii", "scan.nhdr.nii.gz", "scan.mha.nii", "scan.mhd.nii.gz", "scan.nii.nii", "scan.nii.gz.nii",
)  # fmt: skip


def volume_of(value: int) -> Volume:
    array = np.full((5, 6, 7), value, np.int16)
    array[0, 0, 0] = 0
    return Volume(array, np.diag([1.0, 1.0, 5.0, 1.0]))


def test_each_of_many_neighbours_gives_its_own_voxels(tmp_path):
    values = {name: 100 + n for n, name in enumerate(NAMES)}
    for name, value in values.items():
        write_volume(volume_of(value), tmp_path / name)

    assert {name: int(read_volume(tmp_path / name).array.max()) for name in NAMES} == values


@pytest.mark.parametrize("names", [("scan.nii.gz", "scan.nii"), ("scan.nii", "scan.nii.gz")])
def test_a_smaller_twin_of_another_size_changes_nothing(tmp_path, names):
    write_volume(volume_of(7), tmp_path / names[0])
    other = Volume(np.full((2, 3, 4), 9, np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    write_volume(other, tmp_path / names[1])

    assert np.array_equal(read_volume(tmp_path / names[0]).array, volume_of(7).array)
    assert np.array_equal(read_volume(tmp_path / names[1]).array, other.array)


@pytest.mark.parametrize("twin", ["scan.img", "scan.hdr", "scan.nii.hdr", "scan.nii.img"])
def test_a_pair_of_the_old_format_beside_a_scan_changes_nothing(tmp_path, twin):
    write_volume(volume_of(7), tmp_path / "scan.nii")
    (tmp_path / "pair").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(volume_of(9).array), str(tmp_path / "pair" / "scan.img"))
    (tmp_path / "pair" / f"scan{Path(twin).suffix}").rename(tmp_path / twin)

    assert int(read_volume(tmp_path / "scan.nii").array.max()) == 7


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_both_files_of_a_pair_give_the_voxels_that_belong_to_them(tmp_path, packed):
    write_volume(volume_of(5), tmp_path / "scan.nii")
    for name, value in (("scan", 7), ("scan_1", 9)):
        sitk.WriteImage(sitk.GetImageFromArray(volume_of(value).array), str(tmp_path / f"{name}.img{packed}"))

    for end in ("hdr", "img"):
        assert int(read_volume(tmp_path / f"scan.{end}{packed}").array.max()) == 7
        assert int(read_volume(tmp_path / f"scan_1.{end}{packed}").array.max()) == 9
    assert int(read_volume(tmp_path / "scan.nii").array.max()) == 5
    (tmp_path / f"scan.img{packed}").unlink()
    with pytest.raises(InputError, match=r"scan\.img is not beside it"):
        read_volume(tmp_path / f"scan.hdr{packed}")


def test_a_header_that_keeps_its_voxels_in_another_file_is_refused(tmp_path):
    """Under the magic "ni1" the NIfTI library looks for an .img of the same name."""
    write_volume(volume_of(7), tmp_path / "scan.nii")
    sitk.WriteImage(sitk.GetImageFromArray(volume_of(9).array), str(tmp_path / "scan.img"))
    data = bytearray((tmp_path / "scan.nii").read_bytes())
    data[344:348] = b"ni1\0"
    (tmp_path / "scan.nii").write_bytes(data)

    with pytest.raises(InputError, match=r"\.hdr and \.img"):
        read_volume(tmp_path / "scan.nii")


def test_a_name_says_less_than_the_content_about_compression(tmp_path):
    write_volume(volume_of(7), tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "b.nii.gz")

    assert int(read_volume(tmp_path / "b.nii.gz").array.max()) == 7


def test_a_damaged_file_is_named_by_its_own_name(tmp_path):
    write_volume(volume_of(7), tmp_path / "scan.nii")
    data = bytearray((tmp_path / "scan.nii").read_bytes())
    struct.pack_into("<h", data, 70, 1)  # a type of voxel that ITK does not read
    (tmp_path / "scan.nii").write_bytes(data)

    with pytest.raises(InputError, match="scan.nii") as error:
        read_volume(tmp_path / "scan.nii")
    assert "image.nii" not in str(error.value)


def test_a_result_is_that_of_the_scan_that_was_asked_for_and_reads_back_as_such(tmp_path):
    """The whole way, from one of two twins to a result that has a twin itself."""
    scan = read_volume(REPOSITORY / "Testing" / "data" / "ct_chest_0p8mm.nii.gz")
    affine = scan.ijk_to_ras.copy()
    affine[:3, 2] *= 5
    thick = Volume(scan.array[::5][:6, 10:26, 20:36], affine, "CT")
    write_volume(thick, tmp_path / "scan.nii.gz")
    write_volume(thick.with_array(thick.array[::-1].copy()), tmp_path / "scan.nii")
    options = UpsampleOptions(Target(ratio=2), thickness_mm=0.0, device="cpu")

    for name in ("fine.nii.gz", "fine.nii"):
        run_job(Job(tmp_path / name.replace("fine", "scan"), tmp_path / name, options))

    for name, expected in (("fine.nii.gz", thick.array), ("fine.nii", thick.array[::-1])):
        assert np.array_equal(read_volume(tmp_path / name).array[::2], expected)


def with_data_named(folder: Path, header: str, name: str) -> Path:
    """A valid detached header, changed to name another data file."""
    write_volume(volume_of(7), folder / header)
    path = folder / header
    old = {".mhd": "ElementDataFile = scan.zraw", ".nhdr": "data file: scan.raw.gz"}[path.suffix]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, f"{old.split('scan')[0]}{name}"))
    return path


@pytest.mark.parametrize("header", ["scan.mhd", "scan.nhdr"])
@pytest.mark.parametrize(
    "name",
    ["{data}", "../{data.name}", "part/../../{data.name}", r"..\other.raw", r"C:\secret.raw", r"\\server\share\a.raw",
     "~/a.raw", "{data.parent}/s%d.raw 1 5 1", "../s%d.raw 1 5 1"],
)  # fmt: skip
def test_a_header_that_names_data_elsewhere_is_refused(tmp_path, header, name):
    inside = tmp_path / "inside"
    (inside / "part").mkdir(parents=True)
    data = tmp_path / ("secret.zraw" if header == "scan.mhd" else "secret.raw.gz")
    path = with_data_named(inside, header, name.format(data=data))
    next(file for file in inside.iterdir() if file.suffix in (".zraw", ".gz")).rename(data)

    with pytest.raises(InputError, match="outside its own folder"):
        read_volume(path)


@pytest.mark.parametrize("header", ["scan.mhd", "scan.nhdr"])
def test_a_list_of_data_files_elsewhere_is_refused_too(tmp_path, header):
    for number in range(5):
        (tmp_path / f"s{number}").write_bytes(bytes(84))
    inside = tmp_path / "inside"
    inside.mkdir()
    listed = "".join(f"\n../s{number}" for number in range(5))
    path = with_data_named(inside, header, "LIST" + listed)

    with pytest.raises(InputError, match="outside its own folder"):
        read_volume(path)


@pytest.mark.parametrize("header", ["scan.mhd", "scan.nhdr"])
def test_data_in_a_folder_below_are_read(tmp_path, header):
    suffix = {".mhd": "zraw", ".nhdr": "raw.gz"}[Path(header).suffix]
    path = with_data_named(tmp_path, header, f"part/scan.{suffix}")
    (tmp_path / "part").mkdir()
    (tmp_path / f"scan.{suffix}").rename(tmp_path / "part" / f"scan.{suffix}")

    assert int(read_volume(path).array.max()) == 7
