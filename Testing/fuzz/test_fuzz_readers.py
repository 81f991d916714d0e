"""Damaged files of every kind end in a valid result or in an error of ours: no crash, no hang, no huge allocation.

The same cases every time; `Testing/Benchmarks/fuzz_readers.py` tries as many others as you like.
"""

import sys

import pytest
from fuzz.fuzzing import fuzz
from fuzz.reader import Reader
from fuzz.seeds import make_seeds

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and measures memory as Linux does")

CASES = {
    ".nii": 60, ".nii.gz": 60, ".nrrd": 40, ".nhdr": 30, ".mha": 40, ".mhd": 30, "raw.nrrd": 50, "raw.nhdr": 40,
    "raw.mha": 50, "raw.mhd": 40, "dicom explicit": 25, "dicom implicit": 15, "dicom rle": 15, "dicom JPEG": 15,
    "dicom JPEG2000": 15, "dicom file": 20, "dicom enhanced": 25, "dicom disc": 15,
    ".hdr": 30, ".nii 2": 40, ".mgz": 30, ".zip": 25,
    "dicom enhanced rle": 25, "weights": 60, "table": 60, "training": 60,
}  # fmt: skip


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return make_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def reader():
    running = Reader(torch=True)
    yield running
    running.close()


@pytest.fixture(scope="module")
def light_reader():
    running = Reader()
    yield running
    running.close()


def test_all_kinds_are_fuzzed(seeds):
    assert set(seeds) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_files_that_fuzzing_starts_from_are_valid(seeds, reader, tmp_path, name):
    for file, content in seeds[name].files.items():
        (tmp_path / file).write_bytes(content)

    assert reader.read(seeds[name].kind, tmp_path / seeds[name].path)["outcome"] == "read"


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_are_read_or_refused(seeds, tmp_path, name):
    tally = fuzz(name, seeds[name], CASES[name], tmp_path)

    assert tally.failures == {}
    assert tally.cases >= 0.8 * CASES[name] and tally.outcomes["refused"] > 0


@pytest.mark.parametrize(
    ("kind", "outcome", "says"),
    [
        ("abort", "crashed", "SIGABRT"),
        ("terabyte", "failed", "MemoryError"),
        ("large", "failed", "took"),
        ("unknown", "failed", "KeyError"),
    ],
)
def test_what_must_not_happen_would_be_seen(light_reader, tmp_path, kind, outcome, says):
    answer = light_reader.read(kind, tmp_path)

    assert answer["outcome"] == outcome and says in answer["text"]
