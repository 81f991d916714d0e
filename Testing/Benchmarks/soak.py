"""Many runs in one warm engine process, cancels and bad requests among them: does it grow?

    python Testing/Benchmarks/soak.py --runs 200

Prints the process's memory, open files, threads, child processes and temporary files after 10, 25, 50, 75 and 100 % of
the runs. Ends with exit code 1 if, from the second of these on, memory has grown by more than 32 MB or 5 %, whichever
is more, or if any of the other numbers has grown at all. Needs Linux's /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, astuple, dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINE = REPOSITORY / "CycleINRSlicer"
sys.path.insert(0, str(ENGINE))

from cycleinr.files import read_volume  # noqa: E402
from cycleinr.grid import Target  # noqa: E402
from cycleinr.request import UpsampleOptions  # noqa: E402
from cycleinr.worker.protocol import FOLDER_PREFIX, UpsampleRequest, VolumeMessage, format_line  # noqa: E402

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
BASELINE = 1
GROWTH_MB, GROWTH_SHARE = 32, 0.05
SCANS = (("mr_head_1mm.nii.gz", "MR"), ("ct_chest_0p8mm.nii.gz", "CT"))
RATIOS = (2.0, 2.5, 3.0, 5 / 3)
CROP = (slice(0, 60, 5), slice(16, 64), slice(16, 64))
_LOOKS, _BETWEEN_LOOKS_S = 5, 0.02


@dataclass(frozen=True)
class Sample:
    """What the process holds after some runs."""

    runs: int
    memory_mb: float
    open_files: int
    threads: int
    children: int
    temporary_files: int


class Engine:
    """The engine's process, as Slicer starts it."""

    def __init__(self, root: Path):
        self.folder, self.temporary = root / f"{FOLDER_PREFIX}soak", root / "temporary"
        self.folder.mkdir()
        self.temporary.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cycleinr", "worker"],
            cwd=ENGINE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(self.temporary)},
        )
        self.say({"folder": str(self.folder)})
        self.hear()

    def say(self, message: dict | bytes) -> None:
        self.process.stdin.write(message if isinstance(message, bytes) else format_line(message))
        self.process.stdin.flush()

    def hear(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def outcome(self, cancel: int | None = None) -> str:
        """How the current request ends; ``cancel`` is the id to cancel once slices are computed."""
        while (event := self.hear())["event"] == "progress":
            if cancel is not None and event["phase"] == "Computing slices":
                self.say({"do": "cancel", "id": cancel})
                cancel = None
        return event["event"]

    def sample(self, runs: int) -> Sample:
        # The event of a run is sent before all of it is let go; the next answer comes after that.
        self.say({"do": "prepare", "id": 0})
        self.outcome()
        proc = Path("/proc") / str(self.process.pid)
        fields = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        tasks = _settled(proc / "task")
        return Sample(
            runs,
            round(int(fields["VmRSS"].split()[0]) / 1024, 1),
            len(list((proc / "fd").iterdir())),
            len(tasks),
            sum(len((task / "children").read_text().split()) for task in tasks),
            sum(1 for folder in (self.folder, self.temporary) for _ in folder.rglob("*")),
        )

    def end(self) -> int:
        self.process.stdin.close()
        return self.process.wait(timeout=30)


def write_scans(folder: Path) -> list[VolumeMessage]:
    """Small thick-slice crops of the bundled scans in the engine's folder."""
    messages = []
    for name, modality in SCANS:
        scan = read_volume(REPOSITORY / "Testing" / "data" / name)
        affine = scan.ijk_to_ras.copy()
        affine[:3, 2] *= CROP[0].step
        file = f"{modality}.npy"
        np.save(folder / file, scan.array[CROP])
        messages.append(VolumeMessage(file, affine.tolist(), modality))
    (folder / "damaged.npy").write_bytes(b"\x93NUMPY\x01\x00garbage")
    return messages


def requests(scans: list[VolumeMessage], runs: int):
    """(kind, message) of each run: most are whole runs; every 5th is cancelled, every 7th is bad in some way."""
    bad = cycle(
        (
            lambda wanted: {**wanted, "input": {**wanted["input"], "file": "damaged.npy"}},
            lambda wanted: {**wanted, "input": {**wanted["input"], "file": "missing.npy"}},
            lambda wanted: {**wanted, "options": {**wanted["options"], "device": "cuda:99"}},
            lambda wanted: {**wanted, "options": {}},
            lambda wanted: b"no json\n",
        )
    )
    for number in range(1, runs + 1):
        scan, ratio = scans[number % len(scans)], RATIOS[number % len(RATIOS)]
        options = UpsampleOptions(Target(ratio=ratio), device="cpu")
        wanted = UpsampleRequest(scan, options, "out.npy").to_message(number)
        wanted["input"] = asdict(scan)
        if number % 7 == 0:
            yield "failed", next(bad)(wanted)
        else:
            yield ("cancelled" if number % 5 == 0 else "done"), wanted


def soak(runs: int, tell=print) -> list[Sample]:
    """Run and sample.

    Raises:
        RuntimeError: A run ended otherwise than it should, or the process left something behind.
    """
    due = {max(1, round(share * runs)) for share in SHARES}
    samples, counts, started = [], {"done": 0, "cancelled": 0, "failed": 0}, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cycleinr-soak-") as root:
        engine = Engine(Path(root))
        try:
            for number, (expected, message) in enumerate(requests(write_scans(engine.folder), runs), 1):
                engine.say(message)
                outcome = engine.outcome(number if expected == "cancelled" else None)
                # A small scan may be done before the cancel arrives.
                if outcome != expected and {outcome, expected} != {"done", "cancelled"}:
                    raise RuntimeError(f"Run {number} ended with {outcome} instead of {expected}.")
                counts[outcome] += 1
                if number in due:
                    samples.append(engine.sample(number))
                    tell(_line(samples[-1]))
            if engine.end() != 0 or engine.folder.exists() or any(engine.temporary.iterdir()):
                raise RuntimeError("The process left something behind, or did not end well.")
        finally:
            engine.process.kill()
            engine.process.wait()
    ended = ", ".join(f"{count} {name}" for name, count in counts.items())
    tell(f"{runs} runs in {time.monotonic() - started:.0f} s: {ended}")
    return samples


def _settled(tasks: Path) -> list[Path]:
    """A process's threads: the least of several looks, since one that has ended takes a moment to leave the list."""
    looks = []
    for _ in range(_LOOKS):
        looks.append(list(tasks.iterdir()))
        time.sleep(_BETWEEN_LOOKS_S)
    return min(looks, key=len)


def growth(samples: list[Sample]) -> list[str]:
    """What has grown beyond the rule above, in words."""
    before, after = samples[min(BASELINE, len(samples) - 1)], samples[-1]
    allowed = before.memory_mb + max(GROWTH_MB, GROWTH_SHARE * before.memory_mb)
    found = [f"memory from {before.memory_mb} to {after.memory_mb} MB"] if after.memory_mb > allowed else []
    names = ("open_files", "threads", "children", "temporary_files")
    for name in names:
        old, new = getattr(before, name), getattr(after, name)
        if new > old:
            found.append(f"{name.replace('_', ' ')} from {old} to {new}")
    return found


def _line(sample: Sample) -> str:
    return "run {:>4}: {:>6.1f} MB, {} open files, {} threads, {} children, {} temporary files".format(*astuple(sample))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    grown = growth(soak(parser.parse_args().runs, lambda line: print(line, flush=True)))
    print(f"Grown: {'; '.join(grown)}." if grown else "Nothing has grown.")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
