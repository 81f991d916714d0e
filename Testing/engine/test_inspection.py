"""What a look at all voxels tells: padding, range, CT or MR by evidence, and odd slices that lie beside even ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cycleinr import ModalityError
from cycleinr.files import read_volume
from cycleinr.inspection import inspect, interleaved_displacement
from cycleinr.volume import Volume
from places import REPOSITORY

DATA = REPOSITORY / "Testing" / "data"


@pytest.fixture(scope="module")
def ct() -> np.ndarray:
    return read_volume(DATA / "ct_chest_0p8mm.nii.gz").array[:20]


@pytest.fixture(scope="module")
def mr() -> np.ndarray:
    return read_volume(DATA / "mr_head_1mm.nii.gz").array[:20]


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    return read_volume(REPOSITORY / "CycleINRSlicer/Resources/SampleData/ct_head_5mm.nii.gz").array


def seen(array: np.ndarray, modality: str | None = None):
    return inspect(Volume(array, np.eye(4), modality))


def windowed(ct: np.ndarray, width: float, level: float) -> np.ndarray:
    return np.rint(np.clip((ct - level) / width + 0.5, 0, 1) * 255).astype(np.uint8)


def pet(ct: np.ndarray) -> np.ndarray:
    """Uptake as of a body: little in most tissue, much in few places."""
    rng = np.random.default_rng(1)
    uptake = np.where(ct > -300, rng.gamma(8, 0.1, ct.shape), 0.02).astype(np.float32)
    uptake[8:12, 30:40, 30:40] *= 15
    return uptake


class TestModality:
    def test_what_the_scan_says_goes_before_its_values(self, ct):
        assert seen(ct, "MR").modality == "MR"

    def test_real_crops_are_told_apart(self, ct, mr):
        assert seen(ct).modality == "CT" and "as air is in CT" in seen(ct).reason
        assert seen(mr).modality == "MR"

    @pytest.mark.parametrize("scaled", [lambda mr: (mr - mr.mean()) / mr.std(), lambda mr: mr / mr.max()])
    def test_mr_in_other_units_is_mr_if_its_background_shows(self, mr, scaled):
        assert seen(scaled(np.pad(mr, ((0, 0), (20, 20), (20, 20)))).astype(np.float32)).modality == "MR"

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (lambda ct, head: (ct + 1024).astype(np.uint16), r"CT stored with \+ 1024.*--intensity-offset -1024"),
            (lambda ct, head: windowed(ct, 400, 40), "windowed to 8 bits"),
            (lambda ct, head: windowed(ct, 1500, -600), "windowed to 8 bits"),
            (lambda ct, head: pet(ct), "look like PET"),
            (lambda ct, head: (ct > -300).astype(np.uint8), "a mask: 2 whole numbers"),
            (lambda ct, head: np.digitize(ct, [-800, -300, 0, 200]).astype(np.float32), "a mask: 5 whole"),
            (lambda ct, head: head[11:23, 187:235, 155:203], "as soft tissue does in CT"),
            (lambda ct, head: ct[:, 60:, 60:].clip(-300), "negative, unlike in MR"),
            (lambda ct, head: np.random.default_rng(0).integers(-4096, 4096, ct.shape), "less than air"),
        ],
        ids=["+1024", "soft tissue window", "lung window", "PET", "mask", "labels", "brain", "no air", "phase"],
    )  # fmt: skip
    def test_weak_or_other_evidence_asks(self, ct, head, made, said):
        with pytest.raises(ModalityError, match=said):
            seen(made(ct, head)).checked_modality()

    def test_an_offset_makes_hounsfield_units(self, ct):
        stored = Volume((ct.astype(int) + 1024).astype(np.uint16), np.eye(4))
        assert inspect(stored, -1024).modality == "CT"
        assert "The intensity offset -1024 had been added" in inspect(Volume(ct, np.eye(4)), -1024).reason

    def test_it_is_right_on_real_scans(self, scans):
        for path in sorted((scans / "demo").glob("*.nii.gz")):
            assert inspect(read_volume(path)).modality == path.name[:2].upper(), path.name


class TestPadding:
    def test_without_any_there_is_no_mask(self, ct):
        found = seen(ct)
        assert found.valid is None and not found.padding and not found.note
        assert (found.low, found.high) == (ct.min(), ct.max())

    @pytest.mark.parametrize("value", [np.nan, np.inf, -2000, -3024, -32768])
    def test_what_was_not_measured_is_found(self, ct, value):
        array = ct.astype(np.float32)
        array[:, :9] = value
        found = seen(array)
        expected = np.ones(ct.shape, bool)
        expected[:, :9] = False
        np.testing.assert_array_equal(found.valid, expected)
        assert (found.low, found.high) == (ct[:, 9:].min(), ct[:, 9:].max())
        assert found.padding == 20 * 9 * 96 and found.note.startswith("9.4 % of the voxels (17280)")
        assert found.modality == "CT"

    def test_the_scans_own_mask_counts_too(self, ct):
        valid = ct > -1000
        found = inspect(Volume(ct, np.eye(4), "CT", valid=valid))
        np.testing.assert_array_equal(found.valid, valid)
        assert found.low == ct[valid].min()

    def test_low_values_that_are_noise_or_no_ct_stay(self, ct):
        air = np.where(ct < -900, ct - 100, ct).clip(-1100)
        assert seen(air.astype(np.int16), "CT").valid is None
        padded = ct.copy()
        padded[:, :9] = -2000
        assert seen(padded, "MR").valid is None

    def test_a_scan_of_nothing_says_so(self, ct):
        assert "holds no measured value" in seen(np.full(ct.shape, np.nan)).problem
        assert "nothing to sharpen" in seen(np.where(ct > 0, 7.0, np.nan)).problem


def test_the_look_does_not_change_the_scan(ct):
    scan = Volume(ct.copy(), np.eye(4))
    inspect(replace(scan, modality="CT"))
    np.testing.assert_array_equal(scan.array, ct)


@pytest.mark.parametrize("pixels", [(0.0, 1.0), (-0.7, 0.7)])
def test_a_displacement_of_odd_slices_is_measured_to_its_size(pixels):
    from scipy.ndimage import shift

    still = read_volume(DATA / "mr_head_1mm.nii.gz").array[:48:2]
    array = still.astype(np.float32)
    array[1::2] = [shift(slice_, pixels, order=1, mode="nearest") for slice_ in array[1::2]]

    (found, share), (before, _) = interleaved_displacement(array), interleaved_displacement(still)

    assert np.allclose(found, pixels, atol=0.1) and share >= 0.9
    assert np.hypot(*before) < 0.1
