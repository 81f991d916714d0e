"""Fuzzing of everything that reads files, for as long as you like.

    python Testing/Benchmarks/fuzz_readers.py --cases 5000 --seed 1

Small valid files (NIfTI, NRRD, MetaImage, DICOM, weights and model card, batch table, training configuration) are
damaged and read in another process. Each case must end in a valid result or in an error of the engine's own, with no
crash, no hang and no large allocation. Prints a line for each kind of file; keeps the files of failures in --keep and
ends with exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), *(str(TESTING.parent / name) for name in ("CycleINRSlicer", "research"))]

from fuzz.fuzzing import fuzz  # noqa: E402
from fuzz.seeds import make_seeds  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000, help="in all; shared out among the kinds of files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    parser.add_argument("--keep", type=Path, help="new folder for the files of failures; by default a temporary one")
    wanted = parser.parse_args()
    keep = wanted.keep or Path(tempfile.mkdtemp(prefix="cycleinr-fuzz-"))
    total, failed, started = Counter(), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seeds = {name: seed for name, seed in make_seeds(Path(folder)).items() if wanted.only in name}
        for name, seed in seeds.items():
            tally = fuzz(name, seed, max(1, wanted.cases // len(seeds)), keep, wanted.seed)
            total += tally.outcomes
            failed += len(tally.failures)
            print(f"{name:16} {_counts(tally.outcomes)}", flush=True)
            for text, place in tally.failures.items():
                print(f"--- {place}\n{text}\n", flush=True)
    print(f"{total.total()} cases in {time.monotonic() - started:.0f} s: {_counts(total)}")
    return 1 if failed else 0


def _counts(outcomes: Counter) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))


if __name__ == "__main__":
    sys.exit(main())
