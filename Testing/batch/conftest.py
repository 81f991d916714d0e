"""Small real scans for batches, and what batches leave behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from cycleinr.batch.folder import BatchFolder
from cycleinr.batch.run import Batch, make_jobs, scans_of
from cycleinr.batch.table import Line, Settings
from cycleinr.files import read_volume, write_volume
from cycleinr.grid import Target
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from places import REPOSITORY


class Scans:
    """Writes thick-slice crops of the bundled MR, each from another place in it."""

    def __init__(self):
        fine = read_volume(REPOSITORY / "Testing/data/mr_head_1mm.nii.gz")
        self._array, self._affine = fine.array[::5], fine.ijk_to_ras.copy()
        self._affine[:3, 2] *= 5

    def crop(self, number: int = 0, size: int = 32) -> Volume:
        return Volume(self._array[:8, 20 + number : 20 + number + size, 30 : 30 + size], self._affine, "MR")

    def write(self, path: Path, number: int = 0, size: int = 32) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(self.crop(number, size), path, overwrite=True)
        return path

    def damaged(self, path: Path) -> Path:
        """A scan whose end is missing."""
        whole = self.write(path).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return path


@pytest.fixture(scope="session")
def small_scans() -> Scans:
    return Scans()


def settings(ratio: float = 2.0, **options) -> Settings:
    return Settings(UpsampleOptions(Target(ratio=ratio), device="cpu", **options))


def jobs_of(source, folder: BatchFolder, wanted: Settings, owners=None) -> list:
    """Jobs and records of all scans in one place."""
    line = Line(str(source), wanted)
    return make_jobs([(scan, line) for scan in scans_of(line, [])], folder, owners or {})


def opened(inputs, out_dir: Path, wanted: Settings | None = None):
    return Batch.opened([str(path) for path in inputs], out_dir, wanted or settings())


def batch(inputs, out_dir: Path, tell=lambda *news: None, wanted: Settings | None = None, **options) -> Batch:
    """Run a batch in this process, with its workers in their own."""
    with opened(inputs, out_dir, wanted) as found:
        found.run(tell, **options)
    return found


def manifest(out_dir: Path) -> dict[str, dict[str, str]]:
    """Rows of manifest.csv by the results' names."""
    with open(out_dir / "manifest.csv", encoding="utf-8", newline="") as file:
        return {row["output"]: row for row in csv.DictReader(file)}


def manifest_json(out_dir: Path) -> dict:
    return json.loads((out_dir / "manifest.json").read_text(encoding="utf-8"))


def visible(folder: Path) -> list[str]:
    """Files below a folder, the batch's own hidden ones left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not path.parts[0].startswith("."))


def unfinished(out_dir: Path) -> list[Path]:
    """What a batch left half done."""
    return list((out_dir / ".cycleinr-batch" / "work").glob("*"))
