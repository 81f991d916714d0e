"""Batches killed with SIGKILL at random moments and started again: are all results those of an undisturbed batch?

    python Testing/Benchmarks/kill_batches.py --kills 20 --scans 12 --seed 1

Each kill ends, at random, the batch, one of its workers, or all of its processes. Looked at after every kill: no result
is half-written, no input has changed, no process is left. At the end all results have the hashes of those of a batch
that nobody killed, nothing hidden is left, and nothing was kept under another name. Exit code 1 if any of this fails.
Needs Linux.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from psutil import NoSuchProcess, Process, wait_procs

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINE = REPOSITORY / "CycleINRSlicer"
sys.path[:0] = [str(ENGINE), str(REPOSITORY / "Testing")]

from batch.conftest import Scans, unfinished  # noqa: E402
from command_line import COMMAND, ENVIRONMENT  # noqa: E402
from cycleinr.files import read_volume  # noqa: E402

VICTIMS = ("batch", "worker", "all")
_DONE, _INCOMPLETE = 0, 10


@dataclass
class Outcome:
    """What was seen.

    Attributes:
        kills: Number of kills by victim.
        starts: Number of times that the batch was started.
        faults: What was not as it should be.
    """

    kills: Counter = field(default_factory=Counter)
    starts: int = 0
    faults: list[str] = field(default_factory=list)


def hashes(folder: Path) -> dict[str, str]:
    """Hash of every visible file but the manifest, which holds times."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {str(path.relative_to(folder)): path for path in files}
    wanted = {name: path for name, path in names.items() if not name.startswith((".", "manifest."))}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(wanted.items())}


def start(scans: Path, out: Path) -> subprocess.Popen:
    wanted = ("batch", scans, out, "--ratio", 2, "--device", "cpu", "--workers", 2)
    command = [*COMMAND, *map(str, wanted)]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=nowhere, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def kill(process: subprocess.Popen, victim: str) -> None:
    family = Process(process.pid).children(recursive=True)
    chosen = {
        "batch": [process.pid],
        "worker": [one.pid for one in family],
        "all": [process.pid, *(p.pid for p in family)],
    }
    targets = chosen[victim]
    for pid in random.sample(targets, 1) if victim == "worker" and targets else targets:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def check(scans: Path, before: dict[str, str], out: Path, outcome: Outcome) -> None:
    """What has to hold at any moment."""
    if hashes(scans) != before:
        outcome.faults.append("an input has changed")
    for path in out.glob("*.nii.gz"):
        try:
            read_volume(path)
        except Exception as error:
            outcome.faults.append(f"{path.name} is half-written: {error}")


def disturbed(scans: Path, out: Path, kills: int) -> Outcome:
    """A batch that is killed some times, and started again until it is done."""
    outcome, before = Outcome(), hashes(scans)
    while True:
        process = start(scans, out)
        outcome.starts += 1
        family = []
        if sum(outcome.kills.values()) < kills:
            lines = random.randint(1, 3)
            for line in process.stderr:
                lines -= line.startswith(("[", "0 scans")) or " scans; " in line
                if lines <= 0:
                    break
            time.sleep(random.uniform(0, 0.7))
            try:
                family = Process(process.pid).children(recursive=True)
                victim = random.choice(VICTIMS)
                kill(process, victim)
                outcome.kills[victim] += 1
            except NoSuchProcess:
                family = []
        said = process.communicate()[1]
        if wait_procs(family, timeout=30)[1]:
            outcome.faults.append("a process outlives its batch")
        check(scans, before, out, outcome)
        if process.returncode in (_DONE, _INCOMPLETE):
            if process.returncode == _INCOMPLETE:
                outcome.faults.append(f"scans failed: {said[-500:]}")
            if sum(outcome.kills.values()) >= kills:
                return outcome
            # All is done and kills are left: something has to be made again.
            for path in random.sample(sorted(out.glob("*.nii.gz")), 3):
                path.unlink()
        elif process.returncode != -signal.SIGKILL:
            outcome.faults.append(f"ended with {process.returncode}: {said[-500:]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    random.seed(given.seed)
    with tempfile.TemporaryDirectory(prefix="cycleinr-kills-") as folder:
        scans, out, undisturbed = (Path(folder) / name for name in ("in", "out", "undisturbed"))
        maker = Scans()
        for number in range(given.scans):
            maker.write(scans / f"scan{number:02d}.nii.gz", number, size=56)
        start(scans, undisturbed).communicate()
        outcome = disturbed(scans, out, given.kills)
        expected, found = hashes(undisturbed), hashes(out)
        if found != expected:
            outcome.faults.append(f"results differ: {sorted(set(expected.items()) ^ set(found.items()))}")
        if unfinished(out):
            outcome.faults.append("hidden files are left")
    kinds = ", ".join(f"{count} {victim}" for victim, count in sorted(outcome.kills.items()))
    print(f"{sum(outcome.kills.values())} kills ({kinds}) in {outcome.starts} starts; {len(expected)} files compared.")
    print(
        "\n".join(outcome.faults) or "All results are those of the undisturbed batch; nothing was lost or half-written."
    )
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
