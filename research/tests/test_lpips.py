"""LPIPS-squeeze against the published check, and the Frechet distance against closed forms."""

import numpy as np
import pytest
import torch
from cycleinr import ModelError
from cycleinr_research.evaluation import lpips_squeeze
from cycleinr_research.evaluation.frechet import frechet_distance
from scipy.linalg import sqrtm


@pytest.fixture(scope="session")
def lpips(lpips_folder):
    metric, reason = lpips_squeeze.find_lpips(lpips_folder)
    if metric is None:
        pytest.skip(reason)
    return metric


def test_published_value_is_reproduced(lpips):
    torch.manual_seed(123)
    first, second = torch.rand(10, 3, 100, 100) * 2 - 1, torch.rand(10, 3, 100, 100) * 2 - 1
    with torch.inference_mode():
        assert float(lpips(first, second).mean()) == pytest.approx(0.1008, abs=5e-5)


def test_batches_do_not_change_the_result(lpips, monkeypatch):
    truth = np.random.default_rng(0).random((5, 40, 48)).astype(np.float32)
    prediction = truth * 0.9
    together, features, _ = lpips.compare(prediction, truth)
    assert together.shape == (5,) and features.shape == (5, 512)
    monkeypatch.setattr(lpips_squeeze, "_PIXELS_AT_A_TIME", 1)
    np.testing.assert_allclose(lpips.compare(prediction, truth)[0], together, rtol=1e-4)
    assert np.all(lpips.compare(truth, truth)[0] == 0)


def test_missing_weights_are_not_available_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.delenv(lpips_squeeze.FOLDER_VARIABLE, raising=False)
    metric, reason = lpips_squeeze.find_lpips()
    assert metric is None and "not available" in reason and "CYCLEINR_LPIPS" in reason
    metric, reason = lpips_squeeze.find_lpips(tmp_path)
    assert metric is None and "squeeze.backbone.pth" in reason


def test_foreign_and_damaged_weights_are_named(tmp_path):
    path = tmp_path / lpips_squeeze.BACKBONE_FILE
    torch.save({"0.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="another network"):
        lpips_squeeze.LpipsSqueeze(tmp_path)
    path.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be read"):
        lpips_squeeze.LpipsSqueeze(tmp_path)


def test_frechet_distance_of_gaussians_follows_the_definition():
    rng = np.random.default_rng(8)
    ours, true = rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6)) + 2, rng.normal(size=(50, 6))
    c1, c2 = np.cov(ours.T), np.cov(true.T)
    expected = np.sum((ours.mean(0) - true.mean(0)) ** 2) + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))
    assert frechet_distance(ours, true) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(ours, ours + 3) == pytest.approx(6 * 9)
    assert frechet_distance(ours[:, :2], ours[:, :2]) == pytest.approx(0, abs=1e-9)
    assert np.isnan(frechet_distance(ours[:1], true))
