"""Padding does not bleed into the image, and is in the result as it was in the scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.intensity import filled, valid_in_result
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from places import REPOSITORY

DATA = REPOSITORY / "Testing" / "data"


def finer(volume: Volume, **options):
    return upsample(volume, UpsampleOptions(Target(ratio=4), device="cpu", **options))


def crop(name: str, modality: str) -> Volume:
    fine = read_volume(DATA / name)
    return replace(fine[::4, 16:80, 16:80], modality=modality)[:8]


@pytest.fixture(scope="module")
def ct() -> Volume:
    return crop("ct_chest_0p8mm.nii.gz", "CT")


@pytest.fixture(scope="module")
def field(ct) -> np.ndarray:
    """A round field of view, (K, J, I)."""
    rows, columns = np.indices(ct.shape_kji[1:])
    return np.broadcast_to(np.hypot(rows - 31.5, columns - 31.5) < 28, ct.shape_kji)


@pytest.fixture(scope="module")
def whole(ct):
    return {thickness: finer(ct, thickness_mm=thickness).volume.array for thickness in (0.0, None)}


@pytest.mark.parametrize("thickness", [0.0, None], ids=["thin", "slabs"])
@pytest.mark.parametrize("value", [-2000, np.nan])
def test_padding_comes_back_and_does_not_bleed(ct, field, whole, thickness, value):
    """Against the scan that goes on outside; what is within 8 pixels of the border cannot know what is there."""
    kind = np.int16 if value == value else np.float32
    scan = ct.with_array(np.where(field, ct.array, value).astype(kind))
    result = finer(scan, thickness_mm=thickness)
    outside = ~field[:1].repeat(29, axis=0)
    np.testing.assert_array_equal(result.volume.array[outside], np.full(outside.sum(), value, kind))
    np.testing.assert_array_equal(result.volume.valid, ~outside)
    error = np.abs(result.volume.array - whole[thickness])
    rows, columns = np.indices(field.shape[1:])
    border = 28 - np.hypot(rows - 31.5, columns - 31.5)
    assert error[:, (border > 0) & (border <= 8)].mean() < 2
    assert error[:, border > 8].mean() < 0.5
    inside = result.volume.array[~outside]
    assert ct.array[field].min() <= inside.min() and inside.max() <= ct.array[field].max()
    assert "padding" in result.provenance.more and "are padding" in result.provenance["padding"]


def test_mr_is_scaled_by_what_was_measured(field):
    mr = crop("mr_head_1mm.nii.gz", "MR")
    plain = finer(mr).volume.array
    for value in (-30000.0, 30000.0):
        scan = replace(mr.with_array(np.where(field, mr.array, value).astype(np.float32)), valid=field)
        result = finer(scan).volume.array
        middle = np.abs(result - plain)[:, 20:44, 20:44]
        assert middle.mean() < 0.002 * mr.array.max()
        assert (result[:, 0, 0] == value).all()


def test_equalized_slices_have_padding_too(field):
    mr = crop("mr_head_1mm.nii.gz", "MR")
    scan = mr.with_array(np.where(field, mr.array, np.nan).astype(np.float32))
    result = finer(scan, equalize_slices=True).volume
    assert np.array_equal(np.isnan(result.array), ~result.valid) and not result.valid[:, 0, 0].any()


def test_the_nearest_acquired_slice_decides():
    valid = np.array([True, False, False, True]).reshape(4, 1, 1)
    positions = np.arange(13) / 4
    expected = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(valid_in_result(valid, positions).ravel(), np.array(expected, bool))
    assert valid_in_result(valid, np.array([-0.4, 3.4])).all()


def test_filling_makes_no_edge(ct, field):
    scan = replace(ct.with_array(np.where(field, ct.array, -3024).astype(np.int16)), valid=field)
    full = filled(scan, "k")
    np.testing.assert_array_equal(full.array[field], ct.array[field])
    assert full.array.min() >= ct.array[field].min() and full.array.max() <= ct.array[field].max()
    empty = field.copy()
    empty[3] = False
    np.testing.assert_array_equal(filled(replace(scan, valid=empty), "k").array[3], full.array[2])
    assert filled(ct, "k") is ct


def test_an_offset_acts_on_the_way_to_the_network_only(ct, whole):
    stored = replace(ct.with_array((ct.array.astype(int) + 1024).astype(np.uint16)), modality=None)
    result = finer(stored, thickness_mm=0.0, intensity_offset=-1024.0)
    assert result.provenance["model"].startswith("ct") and result.provenance["intensity_offset"] == "-1024"
    np.testing.assert_allclose(result.volume.array.astype(int) - 1024, whole[0.0], atol=2)
