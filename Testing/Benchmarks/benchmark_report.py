"""The benchmark's findings as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, fields

from stage_clock import STAGES


@dataclass(frozen=True)
class Findings:
    """Results of measurements.py by what they are about; one that failed holds ``failed`` alone."""

    machine: dict[str, str]
    quick: bool
    threads: int
    rates: dict[int, dict]
    main: dict
    stages: dict
    sizes: list[dict]
    by_threads: dict[int, dict]
    by_limit: dict[float | None, dict]
    by_device: dict[str, dict]
    linear: dict
    bspline: dict
    literal: dict
    module: dict
    arssr: dict
    worker: dict
    profile: dict

    def failures(self) -> list[str]:
        """One line for each measurement that failed."""
        found = []
        for field in fields(self):
            value = getattr(self, field.name)
            inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
            entries = [entry for entry in (value, *inner) if isinstance(entry, dict)]
            found += [f"{field.name}: {entry['failed']}" for entry in entries if "failed" in entry]
        return found

    def rate(self, threads: int | None = None) -> float:
        """The machine's fp32 convolution rate in GFLOP/s."""
        return self.rates[threads or self.threads]["gflops"]


def write_report(found: Findings) -> str:
    """The whole page."""
    parts = [
        "# Benchmarks\n",
        "Written by `make benchmark` (`Testing/Benchmarks/`). Times are wall-clock, each from a process of its own; "
        "ratios within one run are what counts.\n",
        "**Quick mode: small crops, on which fixed costs weigh more.**\n" if found.quick else "",
        _table(["Machine", ""], [[name, text] for name, text in found.machine.items()]),
        _rates(found),
        "## A whole run\n",
        _whole(found),
        "## Stages\n",
        _stages(found),
        "## Growth of cost\n",
        _runs("result", [(f"{r['voxels_out'] / 1e6:.1f} million voxels", r) for r in _good(found.sizes)], found),
        "## Threads\n",
        _runs("threads", [(_threads(n), r) for n, r in found.by_threads.items() if "failed" not in r], found),
        "## Memory limit\n",
        "The limit bounds memory beside the scan, the result and the program itself. Less memory means narrower "
        "strips of image rows, whose overlap is computed twice.\n",
        _runs("limit", [(_limit(n), r) for n, r in found.by_limit.items() if "failed" not in r], found),
        _devices(found),
        "## Beside others\n",
        _others(found),
        _worker(found),
        _profile(found),
    ]
    return "\n".join(part for part in parts if part)


def _rates(found: Findings) -> str:
    good = {n: rate["gflops"] for n, rate in found.rates.items() if "failed" not in rate}
    rates = [f"{gflops:.0f} GFLOP/s on {_threads(n)}" for n, gflops in good.items()]
    return f"The machine's own rate, a 3x3 convolution of 64 channels in fp32 (best of 40): {', '.join(rates)}.\n"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _good(results: list[dict]) -> list[dict]:
    return [result for result in results if "failed" not in result]


def _whole(found: Findings) -> str:
    run = found.main
    if "failed" in run:
        return f"Failed: {run['failed']}\n"
    gflops, speed = (amount / run["total_s"] for amount in (sum(run["flops"].values()) / 1e9, run["voxels_out"] / 1e6))
    return (
        f"{run['voxels_in'] / 1e6:.1f} million voxels in, {run['voxels_out'] / 1e6:.1f} million out (x5, slabs), file "
        f"to file on {_threads(found.threads)}: **{run['total_s']:.1f} s**, {speed:.2f} million "
        f"voxels per second, {gflops:.0f} GFLOP/s or **{gflops / found.rate():.0%}** of the machine's rate, "
        f"{run['peak_gb']:.2f} GB at the peak (scan and result: {run['volumes_gb']:.2f} GB), {run['rows']} rows at a "
        f"time. Importing the program took {run['import_s']:.1f} s more.\n"
    )


def _stages(found: Findings) -> str:
    run, rate = found.stages, found.rate(1)
    if "failed" in run:
        return f"Failed: {run['failed']}\n"
    lines = []
    for stage in STAGES:
        seconds, flops = run["seconds"][stage], run["flops"].get(stage)
        speed = [f"{flops / seconds / 1e9:.0f}", f"{flops / seconds / 1e9 / rate:.0%}"] if flops else ["", ""]
        lines.append([stage, f"{seconds:.2f}", f"{seconds / run['total_s']:.0%}", *speed])
    flops = sum(run["flops"].values())
    whole = flops / run["total_s"] / 1e9
    lines.append(["**all**", f"**{run['total_s']:.2f}**", "100%", f"{whole:.0f}", f"{whole / rate:.0%}"])
    head = "The same run on one thread, where one stage comes after the other; several threads are at different ones.\n"
    note = (
        "\nCompose: interpolation, the filter over the decoder's pixels, residual and gate. Convert: between the "
        "scan's units and the network's.\n"
    )
    return head + "\n" + _table(["Stage", "s", "share", "GFLOP/s", "of the machine's rate"], lines) + note


def _runs(label: str, runs: list[tuple[str, dict]], found: Findings) -> str:
    lines = [
        [
            name,
            f"{run['total_s']:.1f}",
            f"{1e9 * run['total_s'] / run['voxels_out']:.0f}",
            f"{run['voxels_out'] / run['total_s'] / 1e6:.2f}",
            f"{sum(run['flops'].values()) / run['total_s'] / 1e9:.0f}",
            f"{run['peak_gb']:.2f}",
            f"{run['peak_gb'] - run['volumes_gb']:.2f}",
            str(run["rows"]),
        ]
        for name, run in runs
    ]
    heads = [label, "s", "ns per voxel out", "Mvoxel/s", "GFLOP/s", "peak GB", "beside volumes GB", "rows at a time"]
    return _table(heads, lines)


def _limit(limit: float | None) -> str:
    return "default" if limit is None else f"{limit:g} GB"


def _devices(found: Findings) -> str:
    if not found.by_device:
        return "## Devices\n\nNo GPU here works with the installed PyTorch; only the CPU was measured.\n"
    return "## Devices\n\n" + _runs("device", list(found.by_device.items()), found)


def _others(found: Findings) -> str:
    if "failed" in found.main:
        return ""
    voxels = found.main["voxels_out"]
    ours = found.main["compute_s"] / voxels
    lines = [["CycleINR, the engine", f"{1e9 * ours:.0f}", f"{found.main['compute_s']:.1f}", "1", ""]]
    for name, run in (("Linear, SimpleITK", found.linear), ("Cubic B-spline, SimpleITK", found.bspline)):
        if "failed" not in run:
            lines.append(_other(name, run["compute_s"] / run["voxels_out"], ours, voxels, ""))
    for name, run in (
        ("CycleINR, the network as training calls it", found.module),
        ("CycleINR, literal reference", found.literal),
        ("ArSSR's architecture (RDN and MLP)", found.arssr),
    ):
        if "failed" not in run:
            lines.append(_other(name, run["per_voxel_s"], ours, voxels, "extrapolated per output voxel"))
    heads = ["Method", "ns per voxel out", "s for this scan", "times the engine's", ""]
    note = (
        "\nComputation alone, without files. The extrapolated ones ran on a small block at x5; the literal reference, "
        "on one thread, answers one pixel of one slice at a time. ArSSR has random weights, which its time does not "
        "depend on.\n"
    )
    return _table(heads, lines) + note


def _other(name: str, per_voxel_s: float, ours: float, voxels: int, note: str) -> list[str]:
    return [name, f"{1e9 * per_voxel_s:.0f}", f"{per_voxel_s * voxels:.1f}", f"{per_voxel_s / ours:.3g}", note]


def _worker(found: Findings) -> str:
    if "failed" in found.worker:
        return ""
    return (
        "## Worker\n\nFrom starting Slicer's worker process to its first computed slices: "
        f"{found.worker['cold_s']:.1f} s. The next run in the same process: {found.worker['warm_s']:.2f} s.\n"
    )


def _profile(found: Findings) -> str:
    if "failed" in found.profile:
        return ""
    operators = found.profile["operators"]
    lines = [[f"`{name}`", str(count), f"{s:.2f}", f"{share:.0%}"] for name, count, s, share in operators]
    head = "## Where the time goes\n\nFunctions by their own time in a run of one thread on a crop.\n\n"
    return head + _table(["Operator", "calls", "s", "share"], lines)


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = ["| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *lines]]
    return "\n".join(rows) + "\n"
