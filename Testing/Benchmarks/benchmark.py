"""Speed and memory of the engine, in one table: ``make benchmark``, or

    python Testing/Benchmarks/benchmark.py [--quick] [--output research/docs/benchmarks.md]

Each measurement runs in a process of its own (measurements.py), so that peaks of memory are its own. Ratios within
one run are what counts; a busy machine makes all of it slower. --quick takes small crops, for trying things out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmark_report import Findings, write_report
from machine import cores, describe_machine
from scans import FULL_CT, shape_for

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "CycleINRSlicer"))

from cycleinr.computer import wait_politely  # noqa: E402


@dataclass(frozen=True)
class Scope:
    """How much is measured.

    Attributes:
        shape: Slices, rows and columns of the scan that most figures are about.
        output_megavoxels: Sizes of results, to show how cost grows.
        threads: Numbers of threads; the last one is used for everything else.
        memory_limits_gb: None is the default.
        quick: Whether this is the cropped mode.
    """

    shape: tuple[int, int, int]
    output_megavoxels: tuple[float, ...]
    threads: tuple[int, ...]
    memory_limits_gb: tuple[float | None, ...]
    quick: bool

    @property
    def middle(self) -> tuple[int, int, int]:
        """Shape for comparisons that need several runs."""
        return shape_for(2e6, 20) if self.quick else shape_for(24e6)


def scope(quick: bool) -> Scope:
    threads = tuple(sorted({1, cores()}))
    if quick:
        return Scope((20, 128, 128), (0.5, 2), threads, (None, 0.12), True)
    return Scope(FULL_CT, (8, 24, 78, 150, 300), threads, (None, 0.5, 0.2), False)


class Runner:
    """Starts measurements one after the other and says so."""

    def __init__(self, threads: int):
        self.threads = threads

    def __call__(self, name: str, threads: int | None = None, **arguments) -> dict:
        threads = threads or self.threads
        wait_politely()  # as the command line and the worker do; the measuring process inherits it
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [sys.executable, str(HERE / "measurements.py"), name, json.dumps(arguments)]
        print(f"{time.strftime('%H:%M:%S')} {name} {arguments or ''} on {threads} threads", file=sys.stderr, flush=True)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
        return json.loads(done.stdout.splitlines()[-1])


def measure_all(what: Scope) -> Findings:
    """Every measurement of a scope."""
    run = Runner(what.threads[-1])
    shape, middle = list(what.shape), list(what.middle)
    sizes = [list(shape_for(mega * 1e6, shape[0])) for mega in what.output_megavoxels]
    rates = {threads: run("convolution_rate", threads) for threads in what.threads}
    small = {"slices": 6, "pixels": 16} if what.quick else {}
    return Findings(
        machine=describe_machine(),
        quick=what.quick,
        threads=what.threads[-1],
        rates=rates,
        main=run("run", shape=shape),
        stages=run("run", threads=1, shape=shape, stages=True),
        sizes=[run("run", shape=size) for size in sizes],
        by_threads={threads: run("run", threads, shape=middle) for threads in what.threads},
        by_limit={limit: run("run", shape=middle, memory_limit_gb=limit) for limit in what.memory_limits_gb},
        by_device={name: run("run", shape=shape, device=name) for name in gpus()},
        linear=run("resample", shape=shape, interpolator="linear"),
        bspline=run("resample", shape=shape, interpolator="bspline"),
        literal=run("literal", threads=1, **({"queries": 20} if what.quick else {})),
        module=run("module", **small),
        arssr=run("arssr", **small),
        worker=run("worker", shape=[20, 128, 128]),
        profile=run("profile", threads=1, shape=[20, 128, 128] if what.quick else [20, 256, 256]),
    )


def gpus() -> list[str]:
    """Names of the GPUs that work, found by another process, since this one imports no torch."""
    code = "from cycleinr.computer import list_devices; print(*[d.name for d in list_devices()])"
    paths = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "CycleINRSlicer")}
    found = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True)
    return [name for name in found.stdout.split() if name != "cpu"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed and memory of the engine.")
    parser.add_argument("--quick", action="store_true", help="small crops, about a minute")
    parser.add_argument("--output", type=Path, help="also write the table here, such as research/docs/benchmarks.md")
    arguments = parser.parse_args()
    findings = measure_all(scope(arguments.quick))
    text = write_report(findings)
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    failed = findings.failures()
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
