"""The blocks of docs/recipes.md run as they are, and give what the front door gives."""

from __future__ import annotations

import re

import cycleinr as ci
import numpy as np
import pytest
from places import REPOSITORY

RECIPES = dict(
    re.findall(
        r"^## (\w+)\n.*?^```python\n(.*?)^```$",
        (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


def run(name: str) -> dict:
    space = {"__name__": "recipe"}
    exec(compile(RECIPES[name], f"docs/recipes.md, {name}", "exec"), space)
    return space


@pytest.fixture
def expected(examples) -> ci.Volume:
    """The part that every recipe takes, made finer."""
    return ci.upsample(ci.read("ct_head_5mm.nii.gz")[:, 200:216, 180:204], spacing=2.5, model="ct").volume


def check(array: np.ndarray, affine: np.ndarray, expected: ci.Volume) -> None:
    """``array`` is (I, J, K)."""
    assert ci.Volume(np.asarray(array).T, np.asarray(affine)).geometry_equal(expected)
    np.testing.assert_array_equal(np.asarray(array).T, expected.array)


def test_nibabel(expected):
    run("nibabel")
    fine = ci.read("fine.nii.gz")
    check(fine.array.T, fine.ijk_to_ras, expected)


def test_simpleitk(expected):
    fine = ci.Volume.from_simpleitk(run("SimpleITK")["fine"])
    check(fine.array.T, fine.ijk_to_ras, expected)


def test_torchio(expected):
    pytest.importorskip("torchio", reason="of the extra recipes")
    image = run("TorchIO")["fine"]["ct"]
    check(image.data[0].numpy(), image.affine, expected)


def test_monai(expected):
    pytest.importorskip("monai", reason="of the extra recipes")
    image = run("MONAI")["fine"]
    # MONAI reads all scans as float32
    scan = ci.read("ct_head_5mm.nii.gz")[:, 200:216, 180:204]
    exact = ci.upsample(scan.with_array(scan.array.astype(np.float32)), spacing=2.5, model="ct").volume
    assert exact.geometry_equal(expected)
    check(image[0].numpy(), image.affine, exact)
