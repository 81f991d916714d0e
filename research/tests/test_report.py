"""Statistics, tables and figures."""

import math
from dataclasses import replace

import numpy as np
import pytest
from cycleinr_research.evaluation import figures, gallery, report
from cycleinr_research.evaluation.methods import METHODS
from cycleinr_research.evaluation.protocol import make_case
from cycleinr_research.evaluation.runner import EvaluationPlan, evaluate
from cycleinr_research.evaluation.summary import groups, statistic
from cycleinr_research.evaluation.table import Row

LABELS = {name: method.label for name, method in METHODS.items()}
BLANK = Row(
    "a", "CT", "slabs", "3", "linear", 40.0, 39.0, 0.9, 0.9, 0.9, math.nan, math.nan, 1.0, 0.5, 0.7, 0.1, 0.1, 1.5,
    30, 20, 29.0,
)  # fmt: skip


def rows_of(method: str, values: list[float], **changes) -> list[Row]:
    return [replace(BLANK, volume=f"v{n}", method=method, psnr_generated_db=v, **changes) for n, v in enumerate(values)]


def test_mean_and_sample_standard_deviation_over_cases():
    result = statistic([1.0, 2.0, 4.0])
    assert (result.mean, result.sd, result.n) == pytest.approx((7 / 3, np.std([1, 2, 4], ddof=1), 3))
    assert math.isnan(statistic([3.0]).sd) and math.isnan(statistic([]).mean)


def test_methods_are_compared_on_the_cases_that_all_of_them_have():
    group = groups(rows_of("linear", [30, 40]) + rows_of("bspline", [31, 42, 60]))[0]
    gain = group.gain("bspline", "linear")
    assert (gain.mean, gain.n) == (1.5, 2)
    assert group.statistic("bspline", "psnr_generated_db").mean == 36.5
    assert group.left_out == ["v2"] and "Left out" in report.markdown([group], LABELS, frechet_of(group))


def test_a_perfect_result_is_infinite_not_missing():
    group = groups(rows_of("linear", [30, 31]) + rows_of("perfect", [math.inf, math.inf]))[0]
    assert group.best("psnr_generated_db") == "perfect"
    assert "**inf**" in report.markdown([group], LABELS, frechet_of(group))


def test_groups_are_sorted_by_the_size_of_the_ratio():
    rows = [replace(BLANK, ratio=ratio) for ratio in ("5", "3.5", "5/3", "3")]
    assert [group.key[2] for group in groups(rows)] == ["5/3", "3", "3.5", "5"]


def test_a_winner_is_tested_only_where_cases_suffice():
    few = groups(rows_of("linear", [30, 31, 32, 33]) + rows_of("bspline", [31, 32, 33, 34]))[0]
    claim = next(claim for claim in few.claims() if claim.metric == "psnr_generated_db")
    assert (claim.best, claim.second, claim.n, claim.p) == ("bspline", "linear", 4, None)
    assert "n = 4 is too small" in report.markdown([few], LABELS, frechet_of(few))
    more = groups(rows_of("linear", list(range(30, 38))) + rows_of("bspline", [31.1 + n * 1.01 for n in range(8)]))[0]
    claim = next(claim for claim in more.claims() if claim.metric == "psnr_generated_db")
    assert claim.p == pytest.approx(2 / 2**8)


def frechet_of(group) -> dict:
    return {(group.key, name): math.nan for name in group.methods}


def test_tables_bold_the_winner_and_say_what_is_not_available():
    group = groups(rows_of("linear", [30.0, 31.0]) + rows_of("bspline", [31.0, 33.0]))[0]
    text = report.markdown([group], LABELS, frechet_of(group))
    assert "**32.00 ± 1.41**" in text and "30.50 ± 0.71" in text and "not available" in text
    assert "+1.50 ± 0.71" in text and "x3 (2 cases; noise and residuals in HU)" in text
    tex = report.latex([group], LABELS)
    assert r"\textbf{32.00 $\pm$ 1.41}" in tex and tex.count(r"\\") == 3 and "_" not in tex.replace(r"\_", "")


def test_report_and_figures_of_a_run(noisy_ct, tmp_path):
    plan = EvaluationPlan((5 / 3, 3))
    evaluation = evaluate(noisy_ct, tmp_path, plan)
    markdown, latex = report.write_report(tmp_path, METHODS, evaluation)
    text = markdown.read_text(encoding="utf-8")
    assert text.count("## CT") == 4 and "Lanczos" in text and "## Not available" in text
    assert latex.read_text(encoding="utf-8").count(r"\begin{table}") == 2 * 4
    case = ("synthetic", "subsampled", "3")
    drawn = {
        "error.png": figures.draw_against_ratio(groups(evaluation.rows), "psnr_generated_db", "PSNR (dB)", LABELS),
        "noise.svg": figures.draw_noise_curve(tmp_path, case, list(METHODS), LABELS, "HU"),
        "planes.png": figures.draw_comparison(tmp_path, case, list(METHODS), LABELS, figures.window_of("CT")),
        "strip.pdf": figures.draw_ratio_strip(make_case(noisy_ct, "slabs", 3).lowres, METHODS["bspline"]),
    }
    for name, figure in drawn.items():
        assert figures.save_figure(figure, tmp_path / name).stat().st_size > 2000
    assert len(drawn["strip.pdf"].axes) == 1 + len(figures.STRIP_RATIOS)
    assert len(drawn["noise.svg"].axes[0].lines) == len(METHODS) + 1


def test_every_figure_of_a_folder_is_drawn(noisy_ct, tmp_path):
    evaluate(noisy_ct, tmp_path, EvaluationPlan((2, 5 / 3), ("subsampled",), {"linear": METHODS["linear"]}))

    drawn = gallery.draw_all(tmp_path, METHODS)
    strip = gallery.draw_strip(make_case(noisy_ct, "slabs", 3).lowres, METHODS["linear"], tmp_path / "strip.png")

    names = {path.name for path in drawn}
    assert {"psnr_generated_db.png", "sigma_deviation.png", "noise_synthetic_subsampled_5-3.png"} <= names
    assert "planes_synthetic_subsampled_2.png" in names and "lpips_squeeze_generated.png" not in names
    assert all(path.stat().st_size > 2000 for path in [*drawn, strip])
