"""Real pairs of scans by the command line, and tables that name none."""

import numpy as np
import pytest
from cycleinr import InputError
from cycleinr.files import read_volume, write_volume
from cycleinr.volume import Volume
from cycleinr_research.commands.evaluate import evaluate_command
from cycleinr_research.evaluation.pair_table import read_pairs
from cycleinr_research.evaluation.table import read_rows
from places import REPOSITORY


def test_a_table_of_pairs_is_measured(tmp_path, capsys):
    thin = read_volume(REPOSITORY / "Testing/data/ct_chest_0p8mm.nii.gz")
    thin = Volume(np.ascontiguousarray(thin.array[:40, 20:60, 20:60]), thin.ijk_to_ras, "CT")
    affine = thin.ijk_to_ras.copy()
    affine[:3, 3] += 1.5 * affine[:3, 2]
    affine[:3, 2] *= 4
    slabs = thin.array.reshape(10, 4, 40, 40).mean(axis=1).round().astype(np.int16)
    (tmp_path / "scans").mkdir()
    write_volume(thin, tmp_path / "scans" / "thin.nii.gz")
    write_volume(Volume(slabs, affine, "CT"), tmp_path / "scans" / "thick.nii.gz")
    table = tmp_path / "pairs.csv"
    table.write_text("thick,thin\nscans/thick.nii.gz,scans/thin.nii.gz\n")

    evaluate_command(table, tmp_path / "out", methods="linear,cycleinr", device="cpu", figures=False)

    rows = {row.method: row for row in read_rows(tmp_path / "out" / "rows.csv")}
    assert {row.condition for row in rows.values()} == {"pair"} and {row.ratio for row in rows.values()} == {"4"}
    assert rows["cycleinr"].psnr_all_db > rows["linear"].psnr_all_db + 1
    assert "real pairs of thick and thin scans" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "thick,thin"),
        ("a,b\n1,2\n", "a, b"),
        ("thick,thin\none.nii.gz,\n", "Line 2"),
    ],
)
def test_a_table_without_pairs_says_what_is_missing(tmp_path, text, says):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        read_pairs(tmp_path / "pairs.csv")


def test_a_missing_table_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path / "pairs.csv")
