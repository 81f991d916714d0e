"""The CPU's way of computing needs neither PyTorch nor safetensors, and loads neither where they are installed."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from cycleinr.files import read_volume, write_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.request import UpsampleOptions
from cycleinr.worker.protocol import PrepareRequest, UpsampleRequest, VolumeMessage, format_line
from places import REPOSITORY

BLOCKING = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def scan():
    volume = read_volume(REPOSITORY / "Testing" / "data" / "ct_chest_0p8mm.nii.gz")
    affine = volume.ijk_to_ras.copy()
    affine[:3, 2] *= 5
    array = np.ascontiguousarray(volume.array[::5][:9, :40, :44])
    return replace(volume, array=array, ijk_to_ras=affine, modality="CT")


@pytest.fixture
def without_torch(tmp_path):
    """The environment of a process in which PyTorch and safetensors cannot be imported."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKING)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(REPOSITORY / "CycleINRSlicer")])}


def python(environment, *arguments, **options):
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_gives_the_same_result(scan, without_torch, tmp_path):
    write_volume(scan, tmp_path / "scan.nii.gz")
    expected = upsample(read_volume(tmp_path / "scan.nii.gz"), UpsampleOptions(Target(ratio=3), device="cpu")).volume
    wanted = ["upsample", str(tmp_path / "scan.nii.gz"), str(tmp_path / "fine.nii.gz"), "--ratio", "3"]

    python(without_torch, "-m", "cycleinr", *wanted)

    assert np.array_equal(read_volume(tmp_path / "fine.nii.gz").array, expected.array)


def test_the_worker_computes(scan, without_torch, tmp_path):
    np.save(tmp_path / "in.npy", scan.array, allow_pickle=False)
    place = VolumeMessage("in.npy", scan.ijk_to_ras.tolist(), "CT")
    request = UpsampleRequest(place, UpsampleOptions(Target(ratio=2.0)), "out.npy")
    messages = {"folder": str(tmp_path)}, PrepareRequest().to_message(2), request.to_message(1)

    command = [sys.executable, "-m", "cycleinr", "worker"]
    with subprocess.Popen(command, env=without_torch, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        worker.stdin.write(b"".join(map(format_line, messages)))
        worker.stdin.flush()
        ended = {}
        while len(ended) < 2:
            event = json.loads(worker.stdout.readline())
            if event["event"] not in ("ready", "progress"):
                ended[event["id"]] = event
        worker.stdin.close()

    assert {event["event"] for event in ended.values()} == {"done"}, ended
    assert [device["name"] for device in ended[2]["devices"]] == ["cpu"]
    assert ended[1]["shape_kji"] == [17, 40, 44]


def test_a_broken_pytorch_is_said_and_the_cpu_computes(tmp_path):
    """As a half-finished installation leaves it, on a computer with a GPU."""
    (tmp_path / "torch.py").write_text("raise ImportError('DLL load failed')")
    code = (
        "from cycleinr import computer; computer.no_gpu_reason = lambda: None\n"
        "choice = computer.choose_device('auto'); print(choice.device.name, choice.reason)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY / "CycleINRSlicer")])}
    said = python(environment, "-c", code).strip()
    assert said == "cpu CPU, since PyTorch cannot be loaded (DLL load failed)."


def test_pytorch_reads_the_weights_without_safetensors(tmp_path):
    (tmp_path / "safetensors.py").write_text("raise ImportError('blocked')")
    code = (
        "from cycleinr.request import bundled_weights; from cycleinr.network import load_network\n"
        "print(sum(values.numel() for values in load_network(bundled_weights('ct')).parameters()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY / "CycleINRSlicer")])}
    assert int(python(environment, "-c", code)) > 10_000


def test_pytorch_is_not_loaded_where_no_gpu_is_used(tmp_path):
    code = (
        "import sys, numpy as np; from cycleinr.volume import Volume; from cycleinr.grid import Target\n"
        "from cycleinr.inference import upsample; from cycleinr.request import UpsampleOptions\n"
        "array = np.random.default_rng(0).integers(-1000, 500, (4, 8, 8)).astype('i2')\n"
        "affine = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 5, 0]])\n"
        "affine = np.vstack([affine, [0, 0, 0, 1]]).astype(float)\n"
        "upsample(Volume(array, affine, 'CT'), UpsampleOptions(Target(ratio=2), device='cpu'))\n"
        "print(sorted({'torch', 'safetensors'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "CycleINRSlicer")}
    assert python(environment, "-c", code).strip() == "[]"
