"""Reads what it is told to, in a process of its own: a crash, a hang or a huge allocation is seen from outside.

Started by `reader.Reader`. One JSON list [kind, path] per line comes in; one object per line goes out.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / folder) for folder in ("CycleINRSlicer", "research")]

import numpy as np  # noqa: E402
from cycleinr import CycleinrError  # noqa: E402
from cycleinr.grid import Target  # noqa: E402
from cycleinr.request import UpsampleOptions  # noqa: E402

ROOM_BYTES = 1 << 30
"""What a case may take at most; anything beyond fails at once."""

MOST_BYTES = 1 << 29
"""What reading one of these files of a few kilobytes may take."""


def read(kind: str, path: Path) -> None:
    """Read one input and look at all of it; whatever is wrong with it must raise a CycleinrError."""
    _KINDS[kind](path)


def _volume(path: Path) -> None:
    from cycleinr.files import read_volume
    from cycleinr.inference.plan import plan

    volume = read_volume(path)
    assert volume.array.ndim == 3 and np.isfinite(volume.ijk_to_ras).all()
    volume.array.sum()
    # What a header says of spacings reaches further than the reader
    plan(volume, UpsampleOptions(Target(ratio=2.0)))
    plan(volume, UpsampleOptions(Target(spacing_mm=1.0)))


def _weights(path: Path) -> None:
    from cycleinr.inference.plan import plan
    from cycleinr.network import load_network
    from cycleinr.volume import Volume

    scan = Volume(np.arange(512).reshape(8, 8, 8), np.diag([1.0, 1.0, 5.0, 1.0]), "MR")
    work = plan(scan, UpsampleOptions(Target(ratio=2.0), model=str(path)))
    assert isinstance(work.card["sha256"], str)
    load_network(path)


def _table(path: Path) -> None:
    from cycleinr.batch.table import Settings, read_table

    for row in read_table(path, Settings(UpsampleOptions(Target(ratio=2.0))), needs_target=False):
        row.settings.content, os.path.exists(row.source)


def _training(path: Path) -> None:
    from cycleinr_research.training.config import load_config

    config = load_config(path)
    assert config.steps > 0 and json.dumps(config.to_dict())


_KINDS = {
    "volume": _volume,
    "weights": _weights,
    "table": _table,
    "training": _training,
    # What must not happen, so that a test can see that it would be noticed
    "abort": lambda path: os.abort(),
    "terabyte": lambda path: bytearray(1 << 40),
    "large": lambda path: bytearray(MOST_BYTES + (1 << 28)),
}


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmPeak:")).split()[1]) * 1024


def main() -> None:
    # Whatever a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import pydicom  # noqa: F401
    import SimpleITK  # noqa: F401

    if "torch" in sys.argv:
        import cycleinr.network.model  # noqa: F401
    peak = _peak_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (peak + ROOM_BYTES, resource.RLIM_INFINITY))
    for line in sys.stdin:
        kind, path = json.loads(line)
        answer = {"outcome": "read"}
        try:
            read(kind, Path(path))
        except CycleinrError as error:
            answer = {"outcome": "refused", "text": f"{type(error).__name__}: {error}"}
        except BaseException:
            answer = {"outcome": "failed", "text": traceback.format_exc(limit=-4)}
        grown, peak = _peak_bytes() - peak, _peak_bytes()
        if grown > MOST_BYTES:
            answer = {"outcome": "failed", "text": f"took {grown >> 20} MB, and: {answer}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
