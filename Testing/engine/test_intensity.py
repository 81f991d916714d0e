"""Brightness steps of 2D MR, evened out and put back: a real scan, and the same scan with known gains."""

import re
from dataclasses import replace

import numpy as np
import pytest
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.inference.plan import plan
from cycleinr.inspection import typical_step
from cycleinr.intensity import log_gains
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from places import REPOSITORY

EVERY, SLICES = 2, 24
STEP = 0.08


@pytest.fixture(scope="module")
def still() -> Volume:
    """A head MR of 24 thin slices, 2 mm apart."""
    fine = replace(read_volume(REPOSITORY / "Testing/data/mr_head_1mm.nii.gz"), modality="MR")
    affine = fine.ijk_to_ras @ np.diag([1.0, 1.0, EVERY, 1.0])
    return Volume(np.ascontiguousarray(fine.array[: SLICES * EVERY : EVERY]), affine, "MR")


@pytest.fixture(scope="module")
def banded(still) -> Volume:
    """Odd slices brighter than even ones."""
    factors = 1 + STEP * (np.arange(SLICES) % 2)
    return still.with_array(np.rint(still.array * factors[:, None, None]).astype(still.array.dtype))


def asked(thickness_mm=0.0, **changes) -> UpsampleOptions:
    return UpsampleOptions(Target(ratio=EVERY), thickness_mm=thickness_mm, device="cpu", **changes)


def test_steps_are_measured_to_their_size(still, banded):
    assert typical_step(log_gains(still.array)) < 0.01
    assert typical_step(log_gains(banded.array)) == pytest.approx(np.log(1 + STEP), abs=0.01)
    jumps = np.diff(log_gains(banded.array))[2:-2]
    assert np.allclose(jumps, np.where(np.arange(len(jumps)) % 2, -1, 1) * np.log(1 + STEP), atol=0.02)


def test_plan_tells_steps_and_motion_and_nothing_of_a_sound_scan(still, banded):
    assert plan(still, asked()).warnings == ()
    (text,) = plan(banded, asked()).warnings
    assert re.search("[78]% from slice to slice", text) and "--equalize-slices" in text
    (text,) = plan(banded, asked(equalize_slices=True)).warnings
    assert "evened out" in text
    moved = still.array.copy()
    moved[1::2, :, 1:] = moved[1::2, :, :-1]
    (text,) = plan(still.with_array(moved), asked()).warnings
    assert "0.9 mm apart" in text and "double contours" in text
    assert plan(replace(banded, modality="CT", array=banded.array.astype(np.int16)), asked()).warnings == ()


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_acquired_slices_stay_as_they_are(banded, kind):
    scan = banded.with_array(banded.array.astype(kind))

    result = upsample(scan, asked(equalize_slices=True))

    assert result.volume.array.dtype == kind
    assert np.allclose(result.volume.array[::EVERY], scan.array, atol=0.5 if kind is np.int16 else 1.0)
    assert result.provenance["equalized_slices"] == "yes" and "evened out" in result.provenance["warnings"]


def test_slices_between_are_those_of_the_scan_without_bands_with_a_gain_in_between(still, banded):
    """Half-way between a bright and a dark slice the gain is their mean."""
    plain, equalized, sound = (
        upsample(scan, options).volume.array.astype(float)
        for scan, options in (
            (banded, asked()),
            (banded, asked(equalize_slices=True)),
            (still, asked()),
        )
    )
    middle = slice(EVERY // 2, None, EVERY)
    wanted = sound[middle] * np.sqrt(1 + STEP)
    tissue = sound[middle] > 0.2 * sound.max()

    errors = [np.abs(array[middle] - wanted)[tissue].mean() for array in (plain, equalized)]
    assert errors[1] < 0.8 * errors[0]


def test_slabs_have_their_own_brightness_at_their_centres(banded):
    """At ratio 3 a slice of the result lies on each slab's centre."""
    options = UpsampleOptions(Target(ratio=3), device="cpu", equalize_slices=True)

    found = upsample(banded, options).volume.array[::3].astype(float)

    tissue = banded.array > 0.2 * banded.array.max()
    steps = [np.median(found[n][tissue[n]] / banded.array[n][tissue[n]]) for n in range(2, SLICES - 2)]
    assert np.abs(np.array(steps) - 1).max() < 0.02


def test_equalizing_a_scan_without_steps_changes_little(still):
    plain, equalized = (upsample(still, asked(equalize_slices=each)).volume.array.astype(float) for each in (0, 1))

    assert np.abs(plain - equalized).mean() < 0.01 * plain.max()
