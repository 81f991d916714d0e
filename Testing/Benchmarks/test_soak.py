"""One warm engine process does many runs, cancels and bad requests among them, and does not grow."""

import sys

import pytest
from places import REPOSITORY

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "Testing" / "Benchmarks"))
    import soak

    return soak


def test_a_dozen_runs_end_as_they_should_and_nothing_grows(soak):
    said = []
    samples = soak.soak(12, said.append)

    assert [sample.runs for sample in samples] == [1, 3, 6, 9, 12]
    assert soak.growth(samples) == []
    assert "1 failed" in said[-1]


@pytest.mark.parametrize(
    ("later", "says"),
    [
        ({"memory_mb": 340.0}, "memory from 300.0 to 340.0 MB"),
        ({"open_files": 6}, "open files from 5 to 6"),
        ({"children": 1}, "children from 0 to 1"),
    ],
)
def test_growth_is_found(soak, later, says):
    first, second = soak.Sample(1, 250.0, 5, 2, 0, 4), soak.Sample(3, 300.0, 5, 2, 0, 4)
    last = soak.Sample(**{**vars(second), "runs": 12, **later})

    assert soak.growth([first, second, last]) == [says]
    assert soak.growth([first, second, second]) == []
