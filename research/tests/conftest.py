"""Pieces that the tests of research have in common: synthetic volumes, and the weights of LPIPS."""

import os
from pathlib import Path

import numpy as np
import pytest
from cycleinr.volume import Volume


@pytest.fixture(scope="session")
def lpips_folder() -> Path:
    """Weights of the LPIPS squeeze metric, which $CYCLEINR_LPIPS names; skips the test where there are none."""
    folder = os.environ.get("CYCLEINR_LPIPS")
    if not folder:
        pytest.skip("needs the weights of LPIPS: set CYCLEINR_LPIPS to their folder")
    return Path(folder)


@pytest.fixture
def oblique_affine() -> np.ndarray:
    """Spacing 0.7, 0.9, 1.25 mm along i, j, k, turned about two axes, with an arbitrary origin."""
    a, b = 0.3, -0.2
    about_k = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_i = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_k @ about_i @ np.diag([0.7, 0.9, 1.25])
    affine[:3, 3] = [-31.0, 12.5, 77.0]
    return affine


@pytest.fixture
def noisy_ct() -> Volume:
    """A CT-like volume of 41 slices of 24 x 20 pixels, 1 mm apart: a smooth shape and noise of 12 HU."""
    k, j, i = np.meshgrid(np.arange(41), np.arange(24), np.arange(20), indexing="ij")
    smooth = 400 * np.sin(k / 6.0) * np.cos(j / 7.0) + 10 * i
    noise = np.random.default_rng(5).normal(0, 12, smooth.shape)
    return Volume((smooth + noise).astype(np.int16), np.eye(4), modality="CT", name="synthetic")
