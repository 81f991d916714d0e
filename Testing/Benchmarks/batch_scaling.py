"""How a batch scales from 1 to N worker processes, one core each:

    python Testing/Benchmarks/batch_scaling.py [--workers 1,2] [--scans 8] [--shape 24,160,160] [--docs docs/batch.md]

Each row is `cycleinr batch` on as many cores as it has workers, so that threads do not help the smaller numbers. The
start of the processes is part of the time, as it is for users; more scans make it smaller.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from machine import cores, describe_machine
from scans import make_scan

REPOSITORY = Path(__file__).resolve().parents[2]
_BEGIN, _END = "<!-- scaling: ", "<!-- end of scaling -->"


@dataclass(frozen=True)
class Measured:
    """One batch: its workers, its wall time, and the sum of its cases' own times."""

    workers: int
    wall_s: float
    cases_s: float


def write_scans(folder: Path, count: int, shape_kji: tuple[int, int, int]) -> None:
    """Scans of one size, each a file of its own."""
    from cycleinr.files import write_volume

    scan = make_scan(shape_kji)
    for number in range(count):
        write_volume(scan, folder / f"scan{number:04d}.nii.gz")


def measure(scans: Path, out: Path, workers: int) -> Measured:
    """Run one batch on `workers` cores."""
    mine = sorted(os.sched_getaffinity(0))[:workers]
    command = [sys.executable, "-m", "cycleinr", "batch", str(scans), str(out), "--spacing", "1", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "CycleINRSlicer")}
    started = time.monotonic()
    subprocess.run(
        [*command, "--workers", str(workers)],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, mine),
    )
    wall_s = time.monotonic() - started
    with open(out / "manifest.csv", encoding="utf-8", newline="") as file:
        cases_s = sum(float(row["seconds"]) for row in csv.DictReader(file))
    return Measured(workers, wall_s, cases_s)


def report(rows: list[Measured], count: int, shape_kji: tuple[int, int, int]) -> str:
    """The rows as text for docs/batch.md."""
    machine = describe_machine()
    size = " x ".join(map(str, shape_kji))
    lines = [
        f"{count} scans of {size} voxels, 5 mm made 1 mm; one core for each worker. {machine['Processor']}, "
        f"load before {machine['Load before']}, {machine['Date']}.",
        "",
        "| workers | time | scans an hour | times faster | time of a scan |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.workers} | {row.wall_s:.0f} s | {3600 * count / row.wall_s:.0f} | "
            f"{rows[0].wall_s / row.wall_s:.2f} | {row.cases_s / count:.1f} s |"
        )
    return "\n".join(lines)


def put_into(docs: Path, text: str) -> None:
    """Replace what stands between the marks of a page."""
    page = docs.read_text(encoding="utf-8")
    pattern = re.compile(rf"({re.escape(_BEGIN)}[^\n]*\n).*?({re.escape(_END)})", re.DOTALL)
    docs.write_text(pattern.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="How a batch scales with its number of workers.")
    parser.add_argument("--workers", default=",".join(map(str, range(1, cores() + 1))))
    parser.add_argument("--scans", type=int, default=8)
    parser.add_argument("--shape", default="24,160,160", help="slices, rows, columns")
    parser.add_argument("--docs", type=Path, help="also put the table into this page")
    arguments = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY / "CycleINRSlicer"))
    shape = tuple(map(int, arguments.shape.split(",")))
    with tempfile.TemporaryDirectory() as name:
        scans = Path(name) / "scans"
        scans.mkdir()
        write_scans(scans, arguments.scans, shape)
        numbers = [int(text) for text in arguments.workers.split(",")]
        rows = [measure(scans, Path(name) / f"out{workers}", workers) for workers in numbers]
    text = report(rows, arguments.scans, shape)
    print(text)
    if arguments.docs:
        put_into(arguments.docs, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
