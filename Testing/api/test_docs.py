"""Every public function has an example that runs, and the API page is made from the docstrings."""

from __future__ import annotations

import doctest
import subprocess
import sys

import cycleinr as ci
import pytest
from places import REPOSITORY

_FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
_WITHOUT = {"Check", "Forecast", "Progress"}
"""Made by functions only, whose examples show them."""


def public_objects() -> dict[str, object]:
    own = {name: getattr(ci, name) for name in ci.__all__}
    return {"cycleinr": ci} | {name: each for name, each in own.items() if not _is_error(each)}


def _is_error(each: object) -> bool:
    return isinstance(each, type) and issubclass(each, Exception)


@pytest.mark.parametrize("name", public_objects())
def test_the_examples_run(name, examples):
    thing = public_objects()[name]
    found = doctest.DocTestFinder(recurse=name != "cycleinr").find(thing, name, module=False)
    runner = doctest.DocTestRunner(optionflags=_FLAGS)
    complaints: list[str] = []
    for each in found:
        runner.run(each, out=complaints.append)
    assert not complaints, "".join(complaints)
    assert any(each.examples for each in found) or name in _WITHOUT


def test_the_page_is_built_and_shows_every_public_name(tmp_path):
    command = [sys.executable, "Testing/scripts/make_docs.py", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    page = (tmp_path / "cycleinr.html").read_text(encoding="utf-8")
    assert [name for name in ci.__all__ if f'id="{name}"' not in page] == []
    for method in ("Check.verdict", "Volume.reorient", "Volume.to_simpleitk", "Result.save", "Upsampler.plan"):
        assert f'id="{method}"' in page
    assert page.index('id="upsample"') < page.index('id="Volume"') < page.index('id="CycleinrError"')
    # Types in the words of the source, not what they are made of
    assert "_NestedSequence" not in page and "typing.Union" not in page
    # Sphinx's markup would stand on the page as it is
    assert ":param" not in page and "http" not in page.split("<main")[1].split("</main>")[0]
