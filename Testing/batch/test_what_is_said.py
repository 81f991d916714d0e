"""What a batch shows on a terminal and writes into its manifest, whatever the scans are called."""

import csv
import io
import sys
from types import SimpleNamespace

import pytest
from cycleinr.batch.folder import BatchFolder, write_manifest
from cycleinr.batch.results import DONE, FAILED, PENDING, STARTED, Record
from cycleinr.cli.batch import _live_report

NAMES = ["a[/b].nii.gz", "[bold]x.nii.gz", "[link=http://x]y.nii.gz"]


def batch_with(*notes):
    return SimpleNamespace(total=2, kept=0, left=[None, None], notes=notes)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_markup_on_a_terminal(monkeypatch, name):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "200")

    with _live_report(batch_with(f"Left out: {name}")) as tell:
        tell(Record(name, STARTED, name, ""), 0.0)
        tell(Record(name, STARTED, name, ""), 0.5)
        tell(Record(name, PENDING, name, "", error="its process was ended"), 0.0)
        tell(Record(name, STARTED, name, ""), 0.0)
        tell(Record(name, FAILED, name, "", error=name), 1.0)

    assert sys.stderr.getvalue().count(name) >= 4


def test_escape_sequences_in_names_do_not_reach_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())

    with _live_report(batch_with("Left out in \x1b]0;title\x07\x9b2J: x")):
        pass

    assert "\x1b]0;" not in sys.stderr.getvalue() and "\x9b" not in sys.stderr.getvalue()


@pytest.mark.parametrize(("notes", "says"), [(21, "... and 1 more note;"), (22, "... and 2 more notes;")])
def test_what_is_counted_is_one_or_many(monkeypatch, notes, says):
    monkeypatch.setattr(sys, "stderr", Terminal())

    with _live_report(batch_with(*["Left out: x"] * notes)):
        pass

    assert says in sys.stderr.getvalue()


@pytest.mark.parametrize("name", ["=1+1.nii.gz", "+cmd.nii.gz", "-x.nii.gz", "@SUM(A1).nii.gz"])
def test_a_spreadsheet_takes_no_name_for_a_formula(tmp_path, name):
    with BatchFolder.opened(tmp_path) as folder:
        write_manifest(folder, [Record(name, DONE, "/in/a", "", seconds=-1.5, error=f"{name} is bad")], [])

    with open(tmp_path / "manifest.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["output"] == f"'{name}" and row["error"] == f"'{name} is bad"
    assert (row["input"], row["seconds"]) == ("/in/a", "-1.5")
