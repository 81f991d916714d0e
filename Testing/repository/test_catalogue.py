"""What Slicer's catalogue of extensions checks of an entry before it takes it, as far as no network is needed.

The rules are those of the catalogue's own ``check_description_files.py``. That the pictures' addresses answer and that
the repository carries the topic ``3d-slicer-extension`` shows only once it is public under its name.
"""

import json
import re
import subprocess
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest
from PIL import Image
from places import REPOSITORY

ENTRY_FILE = REPOSITORY / "CycleINRSlicer.json"
ENTRY = json.loads(ENTRY_FILE.read_text(encoding="utf-8"))
CMAKE = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
SIZE_LIMIT_MB = 100

# Version 1.0.2 of the schema: each key, its type, and whether there has to be one
KEYS = {
    "$schema": (str, True), "category": (str, True), "scm_url": (str, True), "scm_revision": (str, False),
    "scm_type": (str, False), "build_dependencies": (list, False), "dicom_support_rule": (str, False),
    "build_subdirectory": (str, False), "enabled": (bool, False), "tier": (int, False),
}  # fmt: skip


def addresses(variable: str) -> list[str]:
    """The addresses in a variable of the top CMakeLists.txt, found as the catalogue finds them."""
    (value,) = re.findall(rf'set\s*\({variable}\s*"([^"]+)"\s*\)', CMAKE)
    return value.split()


def repository_name() -> str:
    return PurePosixPath(urlsplit(ENTRY["scm_url"]).path).stem


def test_schema():
    assert ENTRY["$schema"].partition("#")[0].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json")
    assert {key for key, (_kind, required) in KEYS.items() if required} <= set(ENTRY) <= set(KEYS)
    for key, value in ENTRY.items():
        assert type(value) is KEYS[key][0], key
    assert ENTRY["scm_type"] in ("git", "local") and 1 <= ENTRY["tier"] <= 5
    assert all(isinstance(name, str) for name in ENTRY["build_dependencies"])


def test_the_entrys_lines_end_as_the_catalogue_wants():
    assert b"\r" not in ENTRY_FILE.read_bytes()


def test_category():
    assert ENTRY["category"] == "Filtering", "one of the categories that the catalogue has"


def test_address_of_the_source():
    parts = urlsplit(ENTRY["scm_url"])
    assert parts.scheme in ("https", "git") and parts.netloc and parts.path.endswith(".git")


def test_names():
    assert not ENTRY_FILE.stem.lower().startswith("slicer"), "of the extension"
    assert repository_name().startswith("Slicer"), "of the repository"


def test_project_is_called_as_the_entry():
    assert re.findall(r"project\s*\(\s*([^\s)]+)", CMAKE)[0] == ENTRY_FILE.stem


def test_licence_is_where_it_is_looked_for():
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize(("variable", "least"), [("EXTENSION_ICONURL", 1), ("EXTENSION_SCREENSHOTURLS", 1)])
def test_pictures_are_files_of_the_repository(variable, least):
    start = f"https://raw.githubusercontent.com/CycleINRSlicer/{repository_name()}/{ENTRY['scm_revision']}/"
    assert len(addresses(variable)) >= least
    for address in addresses(variable):
        assert address.startswith(start)
        with Image.open(REPOSITORY / address.removeprefix(start)) as picture:
            assert picture.format in ("PNG", "JPEG", "GIF")


def test_size():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout, to tell the project's files from others")
    paths = [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    assert sum(path.stat().st_size for path in paths if path.is_file()) < SIZE_LIMIT_MB * 1e6


def test_one_name_of_the_repository_everywhere():
    """Files that name the repository at GitHub name the one that the entry does, so that renaming needs no change."""
    own = re.compile(r"(?:github|githubusercontent)\.com/CycleINRSlicer/([\w-]+)")
    suffixes = (".md", ".py", ".txt", ".json", ".s4ext", ".toml", ".ui")
    folders = [REPOSITORY, REPOSITORY / "docs", *(REPOSITORY / "CycleINRSlicer").rglob("*/")]
    files = [path for folder in folders for path in folder.iterdir() if path.suffix in suffixes]
    found = {name for path in files for name in own.findall(path.read_text(encoding="utf-8"))}
    assert found == {repository_name()}
