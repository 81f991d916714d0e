"""The GPU's way of computing: what needs no GPU is proven here on the CPU, the rest is skipped without CUDA."""

import numpy as np
import pytest
import torch
from cycleinr import Cancelled, inference
from cycleinr.computer import Device, DeviceChoice, choose_device
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.inference.consistency import DataConsistency
from cycleinr.inference.tiling import Tiling
from cycleinr.network.model import CycleINR
from cycleinr.request import UpsampleOptions
from cycleinr.result import Monitor
from cycleinr.volume import Volume
from places import REPOSITORY

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU and a PyTorch built for it")


@pytest.fixture(scope="module")
def thick() -> Volume:
    """A small float CT with 12 slices, five times as far apart as acquired; not rounded."""
    ct = read_volume(REPOSITORY / "Testing" / "data" / "ct_chest_0p8mm.nii.gz")
    affine = ct.ijk_to_ras.copy()
    affine[:3, 2] *= 5
    return Volume(ct.array[::5][:12, 10:51, 20:57].astype(np.float32), affine, "CT")


def fine(volume: Volume, device: str = "cpu", progress=None) -> np.ndarray:
    result = upsample(volume, UpsampleOptions(Target(ratio=3), device=device), Monitor(progress))
    assert result.provenance["device"].startswith("CPU") == (device == "cpu")
    return result.volume.array


@pytest.fixture
def pretended(monkeypatch):
    """PyTorch on the CPU as the device of a run."""
    gpu = Device("cpu:0", "A pretended GPU", 2.0)
    monkeypatch.setattr(inference, "choose_device", lambda name: DeviceChoice(gpu, "for a test"))


@pytest.mark.parametrize("thickness_mm", [None, 0.0])
def test_the_way_of_a_gpu_gives_the_result_of_the_cpus(thick, thickness_mm, monkeypatch):
    options = UpsampleOptions(Target(ratio=2.5), device="cpu", thickness_mm=thickness_mm)
    expected = upsample(thick, options).volume.array
    gpu = Device("cpu:0", "A pretended GPU", 2.0)
    monkeypatch.setattr(inference, "choose_device", lambda name: DeviceChoice(gpu, "for a test"))

    assert np.abs(upsample(thick, options).volume.array - expected).max() <= 0.05


def _precision() -> tuple:
    """All that PyTorch can be told of TF32; what it refuses to say where older and newer switches were mixed, too."""
    backends = torch.backends
    switches = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    try:
        older = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    except RuntimeError:
        older = None
    return tuple(switch.fp32_precision for switch in switches), older, torch.get_num_threads()


@pytest.fixture(
    params=[
        "pass",
        "torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True",
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    ]
)
def told_by_the_user(request):
    before, *_ = _precision()
    exec(request.param)
    yield _precision()
    torch.set_float32_matmul_precision("highest")
    backends = torch.backends
    switches = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    for switch, value in zip(switches, before, strict=True):
        switch.fp32_precision = value


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="since PyTorch 2.9")
def test_a_users_settings_of_pytorch_stay_during_and_after_a_run(thick, pretended, told_by_the_user, monkeypatch):
    outside, inside, encode = [], [], CycleINR.encode
    monkeypatch.setattr(CycleINR, "encode", lambda *args: (inside.append(_precision()), encode(*args))[1])

    fine(thick, "auto", lambda _: outside.append(_precision()))
    with pytest.raises(ZeroDivisionError):
        fine(thick, "auto", lambda progress: 1 / (progress.fraction == 0))

    assert {switches[:2] for switches, *_ in inside} == {("ieee", "ieee")}
    assert {_precision(), *outside} == {told_by_the_user}


def test_what_a_caller_raises_is_no_failure_of_the_device(thick, pretended):
    def report(progress):
        if progress.fraction > 0.1:
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        fine(thick, "auto", report)


@pytest.mark.parametrize("where", ["encode", "apply"])
def test_a_device_that_fails_in_words_only_gets_smaller_strips_too(thick, where, monkeypatch, request):
    """As Apple's does for want of memory; in the network, and in the consistency after it."""
    expected, kind = fine(thick), CycleINR if where == "encode" else DataConsistency
    real, calls = getattr(kind, where), []

    def failing(*args):
        calls.append(args)
        if len(calls) == 1:
            raise RuntimeError("MPS backend out of memory")
        return real(*args)

    monkeypatch.setattr(kind, where, failing)
    request.getfixturevalue("pretended")
    result = upsample(thick, UpsampleOptions(Target(ratio=3)))
    assert len(calls) > 2 and result.provenance["device"] == "A pretended GPU"
    assert np.abs(result.volume.array - expected).max() <= 0.05


@needs_cuda
def test_a_gpu_agrees_with_the_cpu_within_1_hu(thick):
    assert np.abs(fine(thick, "cuda") - fine(thick)).max() <= 1


@needs_cuda
def test_several_strips_on_a_gpu_agree_with_one(thick, monkeypatch):
    whole = fine(thick, "cuda")
    monkeypatch.setattr(inference._Run, "_tiling", lambda run, _: Tiling(4, run.work.tiling.config))

    assert np.abs(fine(thick, "cuda") - whole).max() <= 0.05


@needs_cuda
def test_cancelling_ends_the_work_on_a_gpu(thick):
    heard = []
    with pytest.raises(Cancelled):
        upsample(
            thick,
            UpsampleOptions(Target(ratio=3), device="cuda"),
            Monitor(heard.append, lambda: len(heard) >= 3),
        )


@needs_cuda
def test_a_gpu_agrees_with_the_cpu_on_mr_within_a_thousandth():
    mr = read_volume(REPOSITORY / "Testing" / "data" / "mr_head_1mm.nii.gz")
    affine = mr.ijk_to_ras.copy()
    affine[:3, 2] *= 4
    thick = Volume(mr.array[::4][:10].astype(np.float32), affine, "MR")

    assert np.abs(fine(thick, "cuda") - fine(thick)).max() <= 0.001 * np.ptp(thick.array)


@needs_cuda
def test_a_gpu_with_little_memory_left_gives_the_same_result(thick):
    """Real shortage: PyTorch is allowed a part of the card that the whole strip does not fit into."""
    expected = fine(thick, "cuda")
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(48e6 / torch.cuda.get_device_properties(0).total_memory)
    try:
        scarce = fine(thick, "cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert np.abs(scarce - expected).max() <= 1


@needs_cuda
def test_a_gpu_that_works_is_the_automatic_device():
    choice = choose_device("auto")

    assert choice.device.name == "cuda:0" and choice.device.memory_gb > 0
    assert choice.device.label in choice.reason
