"""Pages for people: their links lead somewhere."""

import re
import subprocess

import pytest
from places import REPOSITORY

LINK = re.compile(r"\]\(([^)#\s]+)")


def test_links_lead_to_files():
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout, to tell the project's files from others")
    pages = [REPOSITORY / name for name in listed.stdout.split()]
    links = [(page, target) for page in pages for target in LINK.findall(page.read_text(encoding="utf-8"))]
    own = [(page, target) for page, target in links if not target.startswith("http")]
    assert own
    assert [f"{page.name}: {target}" for page, target in own if not (page.parent / target).exists()] == []
