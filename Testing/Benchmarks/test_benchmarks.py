"""The benchmark's own arithmetic, and one of its measurements for real."""

import json
import os
import subprocess
import sys

import pytest
import torch
from cycleinr.network.model import CycleINR
from cycleinr.weights import NetworkConfig, Slicing
from places import REPOSITORY
from torch.utils.flop_counter import FlopCounterMode

BENCHMARKS = REPOSITORY / "Testing" / "Benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_counted_operations_are_those_of_the_network(benchmarks):
    """Encoder and decoder, without the element-wise operations, which the counter of PyTorch leaves out."""
    from stage_clock import stage_flops

    config = NetworkConfig()
    model = CycleINR(config).eval().requires_grad_(False)
    slicing, steps = Slicing(1.0, 8.0, 5.0).to_tensor(), torch.rand(1, 35)
    counted = stage_flops(config, 64, 8, 35)
    for stage, compute in (
        ("encode", lambda: model.encode(torch.randn(1, 8, 16, 16), slicing)),
        ("decode", lambda: model.decoder(torch.randn(1, 35, config.width, 8, 8), steps, slicing)),
    ):
        with FlopCounterMode(display=False) as counter:
            compute()
        assert counter.get_total_flops() == pytest.approx(counted[stage], rel=0.05)


def test_time_in_an_inner_stage_counts_once(benchmarks, monkeypatch):
    import stage_clock

    now = [0.0]
    monkeypatch.setattr(stage_clock.time, "perf_counter", lambda: now[0])

    def passing(seconds, then=lambda: None):
        now[0] += seconds
        then()

    clock = stage_clock.StageClock()
    inner = clock.timed("decode", lambda: passing(2))
    clock.timed("sample", lambda: passing(3, inner))()

    assert (clock.seconds["sample"], clock.seconds["decode"]) == (3, 2)


def test_a_run_is_measured_stage_by_stage():
    wanted = json.dumps({"shape": [8, 32, 40], "stages": True})
    command = [sys.executable, str(BENCHMARKS / "measurements.py"), "run", wanted]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}

    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["voxels_in"], found["voxels_out"]) == (8 * 32 * 40, 36 * 32 * 40)
    assert sum(found["seconds"].values()) == pytest.approx(found["total_s"])
    assert all(found["seconds"][stage] > 0 for stage in ("read", "encode", "sample", "decode", "consistency", "write"))
    assert 0.05 < found["peak_gb"] < 4


def test_a_scan_has_the_size_that_was_asked_for(benchmarks):
    from scans import make_scan, shape_for

    scan = make_scan(shape_for(1e6, 12))

    slices, rows, columns = scan.shape_kji
    assert (5 * (slices - 1) + 1) * rows * columns == pytest.approx(1e6, rel=0.05)
    assert len(set(scan.array[0, :50, 30])) > 10
