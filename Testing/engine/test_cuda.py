"""The GPU's way of computing: what needs no GPU is proven here on the CPU, the rest is skipped without CUDA."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cycleinr.errors import Cancelled
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample as upsample_module
from cycleinr.inference.devices import choose_device
from cycleinr.inference.execution import CPU, CUDA
from cycleinr.inference.options import UpsampleOptions
from cycleinr.inference.tiling import Tiling
from cycleinr.inference.transfers import OverlappedTransfers, PlainTransfers
from cycleinr.inference.upsample import upsample
from cycleinr.intensity import IntensityScale
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


def fine(volume: Volume, device: str = "cpu") -> np.ndarray:
    return upsample(volume, UpsampleOptions(Target(ratio=3), device=device)).volume.array


def with_execution(monkeypatch, execution):
    monkeypatch.setattr(upsample_module, "execution_within", lambda *_: execution)


@pytest.mark.parametrize("chunk_slices", [1, 3, 5, 12])
def test_large_pieces_give_the_result_of_small_ones(thick, chunk_slices, monkeypatch):
    expected = fine(thick)
    cells = 21 * 19
    with_execution(monkeypatch, replace(CUDA, chunk_bytes=(chunk_slices + 0.5) * cells * 64 * 4))

    assert np.abs(fine(thick) - expected).max() <= 0.01


def test_half_precision_breaks_no_bound_by_much_but_is_not_exact(thick, monkeypatch):
    expected = fine(thick)
    with_execution(monkeypatch, replace(CPU, dtype=torch.float16))

    error_hu = np.abs(fine(thick) - expected)

    assert 0 < error_hu.max() <= 4
    assert (error_hu <= 1).mean() >= 0.999


class HostLanes:
    """Copies on the host that happen only when they are waited for, as late as a device's may."""

    def __init__(self):
        self.log, self.pending = [], []

    def buffer(self, shape, dtype):
        return torch.empty(shape, dtype=dtype)

    def upload(self, host):
        copy = torch.empty_like(host)
        self.pending.append(lambda: copy.copy_(host))
        self.log.append("upload")
        return lambda: (self.uploaded(), copy)[1]

    def uploaded(self):
        while self.pending:
            self.pending.pop(0)()

    def download(self, values, host):
        self.log.append("download")
        return lambda: host.copy_(values)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.float32])
def test_overlapped_transfers_move_what_plain_ones_do(dtype):
    acquired = np.random.default_rng(2).integers(0, 250, (5, 23, 7)).astype(dtype)
    parts = [slice(n, min(n + 4, 23)) for n in range(0, 23, 4)]
    scale, results = IntensityScale(40.0, 30.0), []
    ways = [lambda r: PlainTransfers(acquired, r, scale, torch.device("cpu"))]
    ways.append(lambda r: OverlappedTransfers(acquired, r, scale, HostLanes()))
    for way in ways:
        result = np.zeros_like(acquired)
        with way(result) as transfers:
            for rows, stack in zip(parts, transfers.strips(parts), strict=True):
                transfers.store((stack * scale.scale + scale.centre).round(), rows)
            transfers.finish()
        results.append(result)

    assert np.array_equal(results[0], acquired)
    assert np.array_equal(results[1], acquired)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint32, np.int64, np.uint64, np.float64])
def test_overlapped_transfers_stay_within_the_scans_own_values(dtype):
    """Values from beyond the range, as an interpolation may give them, in types that float32 does not hold exactly."""
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(np.float32)
    acquired = np.zeros((2, 6, 3), dtype)
    acquired[0, 0], acquired[1, 5] = limits.min, limits.max
    for way in (lambda *a: PlainTransfers(*a, torch.device("cpu")), lambda *a: OverlappedTransfers(*a, HostLanes())):
        result = np.zeros_like(acquired)
        with way(acquired, result, IntensityScale(0, 1)) as transfers:
            transfers.store(torch.full((2, 3, 3), 3e38), slice(0, 3))
            transfers.store(torch.full((2, 3, 3), -3e38), slice(3, 6))
            transfers.finish()
        upper, lower = result[:, :3].astype(float), result[:, 3:].astype(float)
        assert (upper >= min(0.99 * float(limits.max), 2.9e38)).all()
        assert (lower <= max(0.99 * float(limits.min), -2.9e38)).all()


def test_a_copy_that_fails_is_heard_of():
    class Broken(HostLanes):
        def upload(self, host):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    acquired = np.zeros((2, 4, 3), np.int16)
    transfers = OverlappedTransfers(acquired, acquired.copy(), IntensityScale(0, 1), Broken())
    with pytest.raises(torch.cuda.OutOfMemoryError), transfers:
        list(transfers.strips([slice(0, 4)]))


@needs_cuda
def test_a_gpu_agrees_with_the_cpu_within_1_hu(thick):
    assert np.abs(fine(thick, "cuda") - fine(thick)).max() <= 1


@needs_cuda
def test_several_strips_on_a_gpu_agree_with_one(thick, monkeypatch):
    whole = fine(thick, "cuda")
    monkeypatch.setattr(upsample_module._Run, "_tiling", lambda run, _: Tiling(4, run.work.tiling.config))

    assert np.abs(fine(thick, "cuda") - whole).max() <= 0.05


@needs_cuda
def test_cancelling_ends_the_work_on_a_gpu(thick):
    heard = []
    with pytest.raises(Cancelled):
        upsample(
            thick,
            UpsampleOptions(Target(ratio=3), device="cuda"),
            heard.append,
            cancelled=lambda: len(heard) >= 3,
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
