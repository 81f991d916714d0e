"""One measurement, in this process alone: ``measurements.py NAME JSON`` prints its result as one JSON line."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
for _folder in ("CycleINRSlicer", "research", "Testing"):
    sys.path.insert(0, str(REPOSITORY / _folder))

_SPACING_MM = 1.0


def convolution_rate(repeats: int = 40, pixels: int = 192) -> dict:
    """This machine's rate on a 3x3 convolution of 64 channels, channels-last, fp32: what shares are shares of."""
    import torch

    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    image = torch.randn(1, 64, pixels, pixels).contiguous(memory_format=torch.channels_last)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(repeats):
            started = time.perf_counter()
            layer(image)
            best = min(best, time.perf_counter() - started)
    return {"gflops": 2 * 9 * 64 * 64 * pixels**2 / best / 1e9}


def run(shape: list[int], memory_limit_gb: float | None = None, device: str = "cpu", stages: bool = False) -> dict:
    """A whole run from file to file with the bundled CT weights; ``stages``: timed by stages, for one thread."""
    from cycleinr.computer import keep_freed_memory
    from cycleinr.files import read_volume, write_volume
    from cycleinr.grid import Target
    from cycleinr.request import UpsampleOptions
    from stage_clock import StageClock, stage_flops

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        source = _source(shape, Path(folder))
        _reset_peak()
        started = time.perf_counter()
        from cycleinr.inference import upsample
        from cycleinr.inference.plan import plan

        imported = time.perf_counter()
        clock = StageClock(_waiting_for(device))
        if stages:
            clock.watch_engine()
        volume = clock.timed("read", read_volume)(source)
        target = Target(spacing_mm=_SPACING_MM)
        options = UpsampleOptions(target, model="ct", device=device, memory_limit_gb=memory_limit_gb)
        work = plan(volume, options)
        computing = time.perf_counter()
        result = upsample(volume, options)
        computed = time.perf_counter() - computing
        clock.timed("write", write_volume)(result.volume, Path(folder) / "fine.nrrd")
        total = time.perf_counter() - imported
    clock.seconds["other"] = total - sum(clock.seconds.values())
    config = _network_config(work)
    cells = -(-shape[1] // config.cell) * -(-shape[2] // config.cell)
    return {
        "seconds": clock.seconds,
        "import_s": imported - started,
        "compute_s": computed,
        "total_s": total,
        "flops": stage_flops(config, cells, shape[0], work.grid.n_out),
        "voxels_in": volume.array.size,
        "voxels_out": result.volume.array.size,
        "peak_gb": _peak_gb(),
        "volumes_gb": (volume.array.nbytes + result.volume.array.nbytes) / 1e9,
        "rows": min(work.tiling.rows, shape[1]),
    }


def resample(shape: list[int], interpolator: str) -> dict:
    """SimpleITK's resampling to 1 mm slices, for comparison."""
    import SimpleITK as sitk
    from scans import make_scan

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(int(os.environ["OMP_NUM_THREADS"]))
    volume = make_scan(tuple(shape))
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.spacing_ijk_mm)
    size = [shape[2], shape[1], 5 * (shape[0] - 1) + 1]
    spacing = [*volume.spacing_ijk_mm[:2], _SPACING_MM]
    kind = {"linear": sitk.sitkLinear, "bspline": sitk.sitkBSpline3}[interpolator]
    started = time.perf_counter()
    result = sitk.Resample(image, size, sitk.Transform(), kind, image.GetOrigin(), spacing, image.GetDirection(), 0.0)
    seconds = time.perf_counter() - started
    return {"compute_s": seconds, "voxels_out": result.GetNumberOfPixels(), "peak_gb": _peak_gb()}


def literal(slices: int = 6, pixels: int = 32, queries: int = 60) -> dict:
    """The tests' literal implementation: one query at a time, per output voxel, with its encoder's share."""
    import torch
    from cycleinr.network import load_network
    from cycleinr.request import bundled_weights
    from cycleinr.weights import Slicing
    from network import reference_network

    model = load_network(bundled_weights("ct")).requires_grad_(False)
    slicing = Slicing(1.0, 10.0, 5.0).to_tensor()
    stack = torch.randn(slices, pixels, pixels)
    with torch.inference_mode():
        started = time.perf_counter()
        codes = reference_network.encode(model, stack, slicing)
        encoded = time.perf_counter() - started
        started = time.perf_counter()
        for n in range(queries):
            z, place = 1 + (slices - 3) * n / queries, n * 37 % pixels**2
            reference_network.query(model, stack, codes, slicing, z, place // pixels, place % pixels)
        asked = time.perf_counter() - started
    return {"per_voxel_s": encoded / stack.numel() / 5 + asked / queries, "peak_gb": _peak_gb()}


def module(slices: int = 12, pixels: int = 96) -> dict:
    """``CycleINR.forward`` as training calls it, per output voxel at x5."""
    import torch
    from cycleinr.computer import keep_freed_memory
    from cycleinr.network import load_network
    from cycleinr.request import bundled_weights

    keep_freed_memory()
    return _forward(load_network(bundled_weights("ct")).to(memory_format=torch.channels_last), slices, pixels)


def arssr(slices: int = 12, pixels: int = 32) -> dict:
    """ArSSR's published architecture with random weights, per output voxel at x5."""
    from cycleinr.computer import keep_freed_memory
    from cycleinr_research.evaluation.peers.arssr import ArSSR

    keep_freed_memory()
    network = ArSSR()
    return _forward(network.to(memory_format=network.memory_format), slices, pixels)


def worker(shape: list[int]) -> dict:
    """Time from starting the worker process to its first progress, and again in the same process."""
    import subprocess

    import numpy as np
    from cycleinr.grid import Target
    from cycleinr.request import UpsampleOptions
    from cycleinr.worker.protocol import FOLDER_PREFIX, UpsampleRequest, VolumeMessage, format_line, parse_line
    from scans import make_scan

    volume = make_scan(tuple(shape))
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as folder:
        np.save(Path(folder) / "input.npy", volume.array)
        options = UpsampleOptions(Target(spacing_mm=_SPACING_MM), device="cpu")
        scan = VolumeMessage("input.npy", volume.ijk_to_ras.tolist(), "CT")
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "CycleINRSlicer")}
        times = []
        started = time.perf_counter()
        command = [sys.executable, "-m", "cycleinr", "worker"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
            process.stdin.write(format_line({"folder": folder}))
            for number in (1, 2):
                request = UpsampleRequest(scan, options, f"result{number}.npy")
                started = started if number == 1 else time.perf_counter()
                process.stdin.write(format_line(request.to_message(number)))
                process.stdin.flush()
                times.append(_first_progress(process.stdout, parse_line, number) - started)
            process.stdin.close()
    return {"cold_s": times[0], "warm_s": times[1]}


def profile(shape: list[int], top: int = 12) -> dict:
    """The functions that take the most time of their own in a run on one thread."""
    import cProfile
    import pstats

    from cycleinr.computer import keep_freed_memory
    from cycleinr.grid import Target
    from cycleinr.inference import upsample
    from cycleinr.request import UpsampleOptions
    from scans import make_scan

    keep_freed_memory()
    volume = make_scan(tuple(shape))
    options = UpsampleOptions(Target(spacing_mm=_SPACING_MM), model="ct", device="cpu")
    os.environ["OMP_NUM_THREADS"] = "1"
    with cProfile.Profile() as watched:
        upsample(volume, options)
    found = sorted(pstats.Stats(watched).stats.items(), key=lambda entry: -entry[1][2])
    total = sum(timed[2] for _, timed in found)
    rows = [(place[2], timed[1], timed[2], timed[2] / total) for place, timed in found[:top]]
    return {"operators": rows}


def _waiting_for(device: str):
    """A call that returns when a GPU has done its work."""
    if not device.startswith("cuda"):
        return lambda: None
    import torch

    return torch.cuda.synchronize


def _first_progress(lines, parse_line, number: int) -> float:
    """When the first slices were done; reads on until the request has ended."""
    first = None
    for line in lines:
        message = parse_line(line)
        if message.get("id") != number:
            continue
        if message["event"] == "progress" and message["fraction"] > 0 and first is None:
            first = time.perf_counter()
        if message["event"] in ("failed", "cancelled"):
            raise RuntimeError(message)
        if message["event"] == "done":
            return first
    raise RuntimeError("The worker ended without a result.")


def _forward(network, slices: int, pixels: int) -> dict:
    import torch
    from cycleinr.weights import Slicing

    stack = torch.randn(1, slices, pixels, pixels)
    positions = torch.arange(5 * (slices - 1) + 1)[None] / 5
    slicing = Slicing(1.0, 10.0, 5.0).to_tensor()
    best = float("inf")
    with torch.inference_mode():
        for _ in range(2):
            started = time.perf_counter()
            out = network(stack, positions, slicing)
            best = min(best, time.perf_counter() - started)
    return {"per_voxel_s": best / out.numel(), "peak_gb": _peak_gb()}


def _source(shape: list[int], folder: Path) -> Path:
    """The scan as a file, made by another process so that its memory is not this one's."""
    import subprocess

    path = folder / "scan.nrrd"
    code = (
        "import sys; from pathlib import Path; from scans import make_scan; from cycleinr.files import write_volume;"
        f"write_volume(make_scan({tuple(shape)}), Path(sys.argv[1]))"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), str(REPOSITORY / "CycleINRSlicer")])
    subprocess.run([sys.executable, "-c", code, str(path)], env={**os.environ, "PYTHONPATH": paths}, check=True)
    return path


def _network_config(work):
    from cycleinr.weights import NetworkConfig

    return NetworkConfig.from_dict(work.card["network"])


def _reset_peak() -> None:
    """Linux counts the peak from here on."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def _peak_gb() -> float:
    """Highest resident memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


MEASUREMENTS = {f.__name__: f for f in (convolution_rate, run, resample, literal, module, arssr, worker, profile)}

if __name__ == "__main__":
    print(json.dumps(MEASUREMENTS[sys.argv[1]](**json.loads(sys.argv[2]))))
