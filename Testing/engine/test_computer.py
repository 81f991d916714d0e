"""What a run may take of the memory, results that are larger than it, and the devices that are found and tried."""

import resource
import subprocess
import sys

import numpy as np
import pytest
from cycleinr import DeviceError, OutOfMemoryError, computer
from cycleinr.files import read_volume, write_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from places import REPOSITORY


def test_the_default_limit_is_half_of_a_small_memory(monkeypatch):
    monkeypatch.setattr(computer, "available_memory_bytes", lambda: 0.8e9)
    assert computer.limit_bytes(None) == 0.4e9
    monkeypatch.setattr(computer, "available_memory_bytes", lambda: 100e9)
    assert computer.limit_bytes(None) == computer.DEFAULT_LIMIT_BYTES
    assert computer.limit_bytes(3.5) == 3.5e9


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("2900000000\n")
    monkeypatch.setattr(computer, "_CGROUP", tmp_path)
    assert computer.available_memory_bytes() == 0.1e9
    (tmp_path / "memory.max").write_text("max\n")
    assert computer.available_memory_bytes() > 0.1e9


@pytest.mark.parametrize("kind", [resource.RLIMIT_DATA, resource.RLIMIT_AS])
def test_the_processs_own_limit_counts(kind):
    script = (
        "from cycleinr.computer import available_memory_bytes as left; import resource;"
        f"resource.setrlimit({int(kind)}, (2_000_000_000, 2_000_000_000)); print(left())"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0.5e9 < float(answer.stdout) < 2e9


def is_mapped(array):
    """Whether an array is a view, of whatever depth, of a file."""
    return isinstance(array, np.memmap) or (isinstance(array, np.ndarray) and is_mapped(array.base))


def test_a_result_larger_than_the_memory_goes_to_disk_and_is_the_same(monkeypatch, tmp_path):
    scan = read_volume(REPOSITORY / "Testing" / "data" / "ct_chest_0p8mm.nii.gz")
    thick_ct = Volume(scan.array[:12, 10:50, 20:60], scan.ijk_to_ras, "CT")
    options = UpsampleOptions(Target(ratio=2.0), memory_limit_gb=0.2)
    monkeypatch.setattr(computer.tempfile, "tempdir", str(tmp_path))
    in_memory = upsample(thick_ct, options).volume
    monkeypatch.setattr(computer, "available_memory_bytes", lambda: 1.5 * in_memory.array.nbytes)

    on_disk = upsample(thick_ct, options).volume

    assert is_mapped(on_disk.array) and not is_mapped(in_memory.array)
    assert not list(tmp_path.glob("cycleinr-*"))
    assert np.array_equal(on_disk.array, in_memory.array)
    write_volume(on_disk, tmp_path / "result.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "result.nii.gz").array, in_memory.array)


def test_a_full_temporary_folder_leaves_the_result_in_memory(monkeypatch):
    monkeypatch.setattr(computer, "available_memory_bytes", lambda: 1000.0)
    monkeypatch.setattr(computer, "_DISK_RESERVE_BYTES", 1e18)
    array = computer.empty_result((4, 30, 20), np.dtype(np.int16))
    assert array.base is None and array.shape == (4, 30, 20)


def test_a_missing_temporary_folder_leaves_the_result_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(computer, "available_memory_bytes", lambda: 1000.0)
    monkeypatch.setattr(computer.tempfile, "tempdir", str(tmp_path / "gone"))
    assert computer.empty_result((4, 30, 20), np.dtype(np.int16)).base is None


def test_no_room_anywhere_is_a_clear_message(monkeypatch):
    monkeypatch.setattr(computer, "_DISK_RESERVE_BYTES", 1e18)
    with pytest.raises(OutOfMemoryError, match="8000000000.0 GB.*temporary folder"):
        computer.empty_result((2_000_000, 1_000_000, 2_000_000), np.dtype(np.int16))


def test_an_unknown_device_is_refused_with_a_list_of_those_there():
    with pytest.raises(DeviceError, match="cpu"):
        computer.choose_device("cuda:7")


def test_the_automatic_device_comes_with_a_reason():
    choice = computer.choose_device("auto")

    assert choice.device.name in [device.name for device in computer.list_devices()]
    assert choice.reason


@pytest.mark.parametrize(
    ("system", "machine", "driver", "found"),
    [
        ("linux", "x86_64", "nvidiactl", True),
        ("linux", "x86_64", "nothing", False),
        ("win32", "AMD64", "System32/nvcuda.dll", True),
        ("win32", "AMD64", "nothing", False),
        ("darwin", "arm64", "nothing", True),
        ("darwin", "x86_64", "nothing", False),
    ],
)
def test_a_gpu_is_looked_for_without_pytorch(tmp_path, monkeypatch, system, machine, driver, found):
    (tmp_path / driver).parent.mkdir(exist_ok=True)
    (tmp_path / driver).touch()
    monkeypatch.setattr(computer, "_DRIVER_FILES", (str(tmp_path / "nvidiactl"),))
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    monkeypatch.setattr(computer.sys, "platform", system)
    monkeypatch.setattr(computer.platform, "machine", lambda: machine)
    assert computer.has_gpu_driver() == found
