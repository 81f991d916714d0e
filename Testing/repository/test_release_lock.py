"""requirements-release.txt pins what the project needs, by version and hash, and names no index and no machine."""

import re
import sys

import pytest
from places import REPOSITORY

if sys.version_info < (3, 11):
    pytest.skip("reads pyproject.toml with tomllib", allow_module_level=True)
import tomllib

LOCK = (REPOSITORY / "requirements-release.txt").read_text(encoding="utf-8")
PINNED = dict(re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE))
TORCH = {"torch"}
ITSELF = {"cycleinr"}
EXTRAS = ("gpu", "batch")


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed() -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    return {plain(re.match(r"[\w.-]+", line)[0]) for line in lines if "python_version < '3.11'" not in line}


def test_all_that_the_project_needs_is_pinned():
    assert needed() - TORCH - ITSELF <= set(PINNED)


def test_versions_are_those_that_the_tests_ran_with():
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    both = {plain(name): version for name, version in tested.items() if plain(name) in PINNED}

    assert len(both) > 5
    assert {name: PINNED[name] for name in both} == both


def test_every_package_has_hashes_and_nothing_else_stands_in_the_file():
    blocks = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)
    package = re.compile(r"[\w.-]+==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n")

    assert all(line.startswith("#") for line in blocks[0].splitlines())
    assert len(blocks) > 50 and all(package.fullmatch(block) for block in blocks[1:])
