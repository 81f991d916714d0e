"""The runner: complete rows, resuming, and a file that is never half-written."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from cycleinr import InputError, OutOfMemoryError, RequestError
from cycleinr.files import read_volume, write_volume
from cycleinr.volume import Volume
from cycleinr_research.evaluation import table
from cycleinr_research.evaluation.methods import METHODS, Method
from cycleinr_research.evaluation.report import write_report
from cycleinr_research.evaluation.runner import (
    ROWS_FILE,
    SEGMENTS_FILE,
    EvaluationPlan,
    evaluate,
    evaluate_pairs,
    find_volumes,
)
from cycleinr_research.evaluation.segmentation import CT_SEGMENTERS
from cycleinr_research.evaluation.views import load_views, views_path


class Interrupted(BaseException):
    """Stands for Ctrl-C or a kill."""


def plan_of(*methods: Method, **changes) -> EvaluationPlan:
    chosen = {method.name: method for method in methods or (METHODS["linear"], METHODS["bspline"])}
    return EvaluationPlan(**{"ratios": (2, 5 / 3), "methods": chosen, **changes})


def test_every_case_and_method_gets_a_row(noisy_ct, tmp_path):
    evaluation = evaluate(noisy_ct, tmp_path, plan_of())
    assert not evaluation.failures and len(evaluation.notes) == 1 and "not available" in evaluation.notes[0]
    keys = {row.key for row in evaluation.rows}
    assert len(keys) == len(evaluation.rows) == 2 * 2 * 2
    assert ("synthetic", "subsampled", "5/3", "bspline") in keys
    for row in evaluation.rows:
        absent = {"psnr_display_db", "ssim_display", "dark_near_bone_percent", "truth_residual_rms"}
        measured = [f.name for f in fields(row) if f.type == "float" and "lpips" not in f.name and f.name not in absent]
        assert all(math.isfinite(getattr(row, name)) for name in measured) and math.isnan(row.lpips_squeeze)
        assert load_views(views_path(tmp_path, row.key[:3], row.method)).sigmas.shape == (row.n_compared,)
    assert len(table.read_rows(tmp_path / ROWS_FILE)) == 8


def test_a_perfect_method_is_perfect(noisy_ct, tmp_path):
    perfect = Method("perfect", "Perfect", lambda lowres, grid: noisy_ct.array[: grid.n_out].astype(np.float32))
    for row in evaluate(noisy_ct, tmp_path, plan_of(perfect)).rows:
        assert row.psnr_all_db == row.psnr_generated_db == math.inf
        assert row.ssim_axial == row.ssim_coronal == pytest.approx(1)
        assert row.snli == row.snli_truth and row.sigma_deviation == 0 and row.consistency_max < 1e-3
    assert table.read_rows(tmp_path / ROWS_FILE)[0].psnr_all_db == math.inf


def test_copied_slices_raise_the_psnr_of_all_slices_by_3_db_at_x2(noisy_ct, tmp_path):
    row = evaluate(noisy_ct, tmp_path, plan_of(METHODS["linear"], ratios=(2,), conditions=("subsampled",))).rows[0]
    share = row.n_generated / row.n_compared
    assert row.psnr_all_db - row.psnr_generated_db == pytest.approx(-10 * math.log10(share), abs=1e-3)


def test_an_interrupted_run_goes_on_where_it_was(noisy_ct, tmp_path):
    calls = []

    def counted(lowres, grid):
        calls.append(grid.ratio)
        if len(calls) == 3:
            raise Interrupted
        return METHODS["linear"].run(lowres, grid)

    plan = plan_of(Method("counted", "Counted", counted))
    with pytest.raises(Interrupted):
        evaluate(noisy_ct, tmp_path, plan)
    first = table.read_rows(tmp_path / ROWS_FILE)
    assert len(first) == 2
    assert len(evaluate(noisy_ct, tmp_path, plan).rows) == 4 and len(calls) == 5
    evaluate(noisy_ct, tmp_path, plan)
    assert len(calls) == 5
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_failing_write_leaves_the_old_file_whole(noisy_ct, tmp_path, monkeypatch):
    row = evaluate(noisy_ct, tmp_path, plan_of(METHODS["linear"], ratios=(2,), conditions=("slabs",))).rows[0]
    before = (tmp_path / ROWS_FILE).read_bytes()

    def broken(*_, **__):
        raise Interrupted

    monkeypatch.setattr(table, "publish", broken)
    with pytest.raises(Interrupted):
        table.write_rows(tmp_path / ROWS_FILE, [row, replace(row, method="other")])
    assert (tmp_path / ROWS_FILE).read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_one_failing_method_or_case_does_not_stop_the_others(noisy_ct, tmp_path):
    def greedy(lowres, grid):
        raise OutOfMemoryError("Too big. Use smaller tiles.")

    def shorter(lowres, grid):
        return METHODS["linear"].run(lowres, grid)[1:]

    methods = (Method("greedy", "G", greedy), Method("shorter", "S", shorter), METHODS["linear"])
    evaluation = evaluate(noisy_ct, tmp_path, plan_of(*methods, ratios=(2, 30), conditions=("subsampled",)))
    assert [row.method for row in evaluation.rows] == ["linear"]
    assert len(evaluation.failures) == 3
    assert "smaller tiles" in evaluation.failures[0] and "shape" in evaluation.failures[1]
    assert "x30" in evaluation.failures[2]


def test_foreign_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / ROWS_FILE
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns"):
        table.read_rows(path)
    path.write_text(",".join(table.COLUMNS) + "\nonly,a,part")
    with pytest.raises(InputError, match="damaged"):
        table.read_rows(path)


def test_folders_are_searched_and_equal_names_refused(noisy_ct, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    with_air = noisy_ct.with_array(noisy_ct.array.copy())
    with_air.array[:, :3] = -1000
    write_volume(with_air, tmp_path / "in" / "a.nii.gz")
    write_volume(with_air, tmp_path / "in" / "sub" / "b.nrrd")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert [path.name for path in find_volumes(tmp_path / "in")] == ["a.nii.gz", "b.nrrd"]
    plan = plan_of(METHODS["linear"], ratios=(3,), conditions=("slabs",))
    rows = evaluate(tmp_path / "in", tmp_path / "out", plan).rows
    assert [row.volume for row in rows] == ["a", "b"] and rows[0].modality in ("CT", "MR")
    with pytest.raises(InputError, match="synthetic"):
        evaluate([noisy_ct, noisy_ct], tmp_path / "out", plan)
    with pytest.raises(InputError, match="nothing"):
        evaluate([], tmp_path / "out", plan)


def test_pairs_get_rows_and_are_resumed(noisy_ct, tmp_path):
    affine = np.eye(4)
    affine[2, 2], affine[2, 3] = 3.0, 1.0
    thick = Volume(noisy_ct.array[:39].reshape(13, 3, 24, 20).mean(1), affine, "CT", 3.0, "thick")
    for _ in range(2):
        rows = evaluate_pairs([(thick, noisy_ct)], tmp_path, plan_of()).rows
        assert [(row.condition, row.ratio, row.method) for row in rows] == [
            ("pair", "3", "linear"),
            ("pair", "3", "bspline"),
        ]
    assert rows[0].n_compared == rows[0].n_generated == 31 and rows[0].compared_mm == pytest.approx(30)
    cropped = evaluate_pairs([(thick, noisy_ct)], tmp_path, plan_of(METHODS["linear"], crop_pixels=16)).rows[-1]
    assert cropped.volume == "thick_crop16" and cropped.psnr_all_db != rows[0].psnr_all_db


def test_a_real_crop_is_measured_in_both_conditions(tmp_path):
    volume = read_volume(Path(__file__).parents[2] / "Testing" / "data" / "ct_chest_0p8mm.nii.gz")
    crop = replace(volume, array=volume.array[:40, 20:84, 20:84], name="crop", modality="CT")
    plan = EvaluationPlan((3,), methods=dict(METHODS))
    rows = {(row.condition, row.method): row for row in evaluate(crop, tmp_path, plan).rows}
    for condition in ("subsampled", "slabs"):
        assert rows[condition, "bspline"].psnr_generated_db > rows[condition, "nearest"].psnr_generated_db
    matched, linear = rows["subsampled", "noise_matched"], rows["subsampled", "linear"]
    assert matched.sigma_deviation < linear.sigma_deviation
    assert matched.consistency_max == pytest.approx(0, abs=1e-3)


def test_segmentations_are_compared_and_resumed(noisy_ct, tmp_path):
    array = noisy_ct.array.copy()
    array[:, 6:18, 5:15] = 1000
    volume = replace(noisy_ct, array=array)
    perfect = Method("perfect", "Perfect", lambda lowres, grid: array[: grid.n_out].astype(np.float32))
    plan = plan_of(perfect, METHODS["nearest"], ratios=(3,), conditions=("slabs",))
    evaluate(volume, tmp_path, plan)
    assert not (tmp_path / SEGMENTS_FILE).exists()
    calls = []

    def counted(scan):
        calls.append(scan.shape_kji)
        return CT_SEGMENTERS["bone"](scan)

    for _ in range(2):
        evaluation = evaluate(volume, tmp_path, replace(plan, segmenters={"bone": counted}))
        # Two results and one truth, in the first round only.
        assert len(calls) == 3 and len(evaluation.rows) == 2 and not evaluation.failures
    rows = {row.method: row for row in table.read_rows(tmp_path / SEGMENTS_FILE, table.SegmentRow)}
    assert (rows["perfect"].structure, rows["perfect"].dsc, rows["perfect"].nsd_1mm) == ("bone", 1, 1)
    assert 0.8 < rows["nearest"].dsc < 1
    text = write_report(tmp_path)[0].read_text(encoding="utf-8")
    assert "Segmentation agreement, CT" in text and "bone NSD 2 mm" in text
    assert "bone DSC" in (tmp_path / "summary.tex").read_text(encoding="utf-8")


def test_built_in_segmenters_are_for_ct(noisy_ct, tmp_path):
    scan = replace(noisy_ct, modality="MR", array=noisy_ct.array - noisy_ct.array.min())
    plan = plan_of(METHODS["linear"], ratios=(3,), conditions=("slabs",), segmenters=dict(CT_SEGMENTERS))

    assert len(evaluate(scan, tmp_path, plan).rows) == 1

    assert not (tmp_path / SEGMENTS_FILE).exists()


def test_a_crop_is_the_middle_of_the_volume_in_its_place(noisy_ct, tmp_path):
    seen = []

    def look(lowres, grid):
        seen.append(lowres)
        return METHODS["linear"].run(lowres, grid)

    plan = plan_of(Method("look", "Look", look), ratios=(2,), conditions=("subsampled",), crop_pixels=16)
    rows = evaluate(noisy_ct, tmp_path, plan).rows

    assert [row.volume for row in rows] == ["synthetic_crop16"]
    np.testing.assert_array_equal(seen[0].array, noisy_ct.array[::2, 4:20, 2:18])
    np.testing.assert_allclose(seen[0].ras_of_ijk(np.zeros(3)), noisy_ct.ras_of_ijk(np.array([2.0, 4.0, 0.0])))
    with pytest.raises(RequestError, match="at least"):
        evaluate(noisy_ct, tmp_path, replace(plan, crop_pixels=3))


def test_missing_views_are_an_error_that_says_what_to_do(tmp_path):
    from cycleinr_research.evaluation.views import load_views

    with pytest.raises(InputError, match="Move the whole output folder away"):
        load_views(tmp_path / "views" / "gone.npz")
