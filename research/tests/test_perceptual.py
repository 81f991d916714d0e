"""LPIPS-alex, LPIPS-vgg and FID: what happens without their packages, and how their values travel.

The real weights come from the internet. A stand-in package with the real one's interface and a small real network
takes its place here.
"""

import math
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from cycleinr import RequestError
from cycleinr.files import write_volume
from cycleinr_research.commands.evaluate import evaluate_command
from cycleinr_research.evaluation.methods import METHODS
from cycleinr_research.evaluation.perceptual import find_perceptual
from cycleinr_research.evaluation.report import write_report
from cycleinr_research.evaluation.runner import ROWS_FILE, EvaluationPlan, evaluate

METHODS_USED = {name: METHODS[name] for name in ("linear", "bspline")}


class StandInLpips(torch.nn.Module):
    """lpips.LPIPS: two (1, 3, H, W) images on [-1, 1] -> a distance (1, 1, 1, 1)."""

    def __init__(self, net: str, verbose: bool):
        super().__init__()
        torch.manual_seed(len(net))
        self.features = torch.nn.Conv2d(3, 4, 3)

    def forward(self, ours, true):
        return (self.features(ours) - self.features(true)).square().mean((1, 2, 3), keepdim=True)


class StandInFid:
    """torchmetrics' FrechetInceptionDistance: ``inception`` takes uint8 images (N, 3, H, W)."""

    @staticmethod
    def inception(images):
        assert images.dtype == torch.uint8
        rows = images.float().mean((1, 3))
        return rows[:, :6]


def plan_of(**changes) -> EvaluationPlan:
    return EvaluationPlan(**{"ratios": (3,), "conditions": ("slabs",), "methods": METHODS_USED, **changes})


@pytest.fixture
def wide_ct(noisy_ct):
    """Slices that are large enough for every backbone."""
    return replace(noisy_ct, array=np.tile(noisy_ct.array, (1, 2, 2)))


@pytest.fixture
def packages(monkeypatch):
    """lpips and torchmetrics as stand-ins."""
    lpips = types.ModuleType("lpips")
    lpips.LPIPS = StandInLpips
    fid = types.ModuleType("torchmetrics.image.fid")
    fid.FrechetInceptionDistance = StandInFid
    for name, module in {
        "lpips": lpips,
        "torchmetrics": types.ModuleType("torchmetrics"),
        "torchmetrics.image": types.ModuleType("torchmetrics.image"),
        "torchmetrics.image.fid": fid,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def no_packages(monkeypatch):
    """As if neither were installed."""
    for name in ("lpips", "torchmetrics", "torchmetrics.image.fid"):
        monkeypatch.setitem(sys.modules, name, None)


def test_the_command_finishes_without_the_packages_and_says_what_to_install(noisy_ct, tmp_path, no_packages, capsys):
    (tmp_path / "in").mkdir()
    with_air = noisy_ct.with_array(noisy_ct.array - 600)
    write_volume(with_air, tmp_path / "in" / "scan.nii.gz")
    asked = {"methods": "linear", "ratios": "3", "conditions": "slabs", "lpips_nets": "squeeze,alex", "fid": True}

    evaluate_command(tmp_path / "in", tmp_path / "out", **asked, figures=False)

    said = capsys.readouterr()
    for metric in ("LPIPS-squeeze", "LPIPS-alex", "FID"):
        assert f"{metric} is not available" in said.err
    assert "pip install './research[perceptual]'" in said.err
    assert "LPIPS alex" not in said.out and "FID, slices" not in said.out


def test_an_unknown_backbone_is_refused():
    with pytest.raises(RequestError, match="resnet.*squeeze, alex, vgg"):
        find_perceptual(None, ["squeeze", "resnet"], fid=False)


def test_values_reach_rows_and_summaries(wide_ct, tmp_path, packages):
    plan = plan_of(lpips_nets=("alex", "vgg"), fid=True)

    evaluation = evaluate(wide_ct, tmp_path, plan)
    markdown, latex = (path.read_text() for path in write_report(tmp_path, METHODS_USED, evaluation))

    assert not evaluation.notes
    for row in evaluation.rows:
        assert row.lpips_alex > 0 and row.lpips_vgg > 0 and row.lpips_alex != row.lpips_vgg
    assert "LPIPS alex" in markdown and "LPIPS vgg" in markdown and "LPIPS alex" in latex
    line = next(line for line in markdown.splitlines() if line.startswith("FID, slices"))
    assert "not available" not in line and "too high below 2048" in line


def test_what_is_asked_for_later_is_added_and_nothing_is_lost(wide_ct, tmp_path, packages):
    calls = []

    def counted(lowres, grid):
        calls.append(grid.ratio)
        return METHODS["linear"].run(lowres, grid)

    methods = {"linear": replace(METHODS["linear"], run=counted), "bspline": METHODS["bspline"]}
    evaluate(wide_ct, tmp_path, plan_of(methods=methods, lpips_nets=("alex",), fid=True))
    first = evaluate(wide_ct, tmp_path, plan_of(methods=methods, lpips_nets=("alex",))).rows
    assert len(calls) == 1

    for _ in range(2):
        evaluation = evaluate(wide_ct, tmp_path, plan_of(methods=methods, lpips_nets=("vgg",)))
    report = write_report(tmp_path, methods, evaluation)[0].read_text()

    assert len(calls) == 2
    assert [(row.key, row.lpips_alex) for row in evaluation.rows] == [(row.key, row.lpips_alex) for row in first]
    assert all(row.lpips_vgg > 0 for row in evaluation.rows)
    assert "FID, slices" in report


def test_nothing_is_measured_again_for_a_network_that_is_not_there(noisy_ct, tmp_path, no_packages):
    calls = []

    def counted(lowres, grid):
        calls.append(grid.ratio)
        return METHODS["linear"].run(lowres, grid)

    plan = plan_of(methods={"linear": replace(METHODS["linear"], run=counted)}, lpips_nets=("alex",), fid=True)
    for _ in range(2):
        assert len(evaluate(noisy_ct, tmp_path, plan).notes) == 2

    assert len(calls) == 1


def test_rows_of_an_earlier_version_are_kept(noisy_ct, tmp_path):
    """Tables from before there were columns for alex and vgg."""
    evaluate(noisy_ct, tmp_path, plan_of())
    path = tmp_path / ROWS_FILE
    lines = [line.split(",") for line in path.read_text().splitlines()]
    kept = [n for n, name in enumerate(lines[0]) if name not in ("lpips_alex", "lpips_vgg")]
    path.write_text("\n".join(",".join(line[n] for n in kept) for line in lines) + "\n")
    before = path.stat().st_mtime_ns

    rows = evaluate(noisy_ct, tmp_path, plan_of()).rows

    assert len(rows) == 2 and all(math.isnan(row.lpips_alex) for row in rows)
    assert path.stat().st_mtime_ns == before
