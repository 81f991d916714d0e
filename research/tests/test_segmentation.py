"""Masks and their agreement, on shapes whose answers are known."""

import math
import sys

import numpy as np
import pytest
from cycleinr import InputError
from cycleinr.volume import Volume
from cycleinr_research.evaluation import segmentation as seg


@pytest.fixture
def chest() -> Volume:
    """A body of 40 HU on a table, with two lungs of about 15 ml, a bubble of 0.1 ml and a vertebra."""
    array = np.full((30, 60, 60), -1000, np.int16)
    array[:, 10:50, 5:55] = 40
    array[2:28, 15:40, 10:33] = -850
    array[2:28, 15:40, 34:52] = -850
    array[10:14, 44:48, 25:31] = -900
    array[:, 42:46, 26:30] = 700
    array[:, 55:57, :] = 100
    return Volume(array, np.eye(4), "CT")


def test_threshold_masks_find_what_they_say(chest):
    bone, lung, body = (seg.CT_SEGMENTERS[name](chest) for name in ("bone", "lung", "skin"))
    np.testing.assert_array_equal(bone, chest.array == 700)
    np.testing.assert_array_equal(lung, chest.array == -850)
    expected = np.zeros_like(body)
    expected[:, 10:50, 5:55] = True
    np.testing.assert_array_equal(body, expected)


def test_dice_of_halves():
    a, b = np.zeros((2, 4, 4, 4), bool)
    a[:2], b[1:3] = True, True
    assert seg.dice(a, b) == 0.5 and seg.dice(a, a) == 1 and seg.dice(a, ~a) == 0
    assert math.isnan(seg.dice(a & False, a & False))


def test_surface_dice_knows_the_spacing():
    a, b = np.zeros((2, 20, 12, 12), bool)
    a[:10], b[:11] = True, True
    # The surfaces are the planes 9 and 10: one slice apart.
    assert seg.surface_dice(a, b, (1.0, 1, 1), (0.9, 1.0)) == {0.9: 0.0, 1.0: 1.0}
    assert seg.surface_dice(a, b, (1.5, 1, 1), (1.0, 2.0)) == {1.0: 0.0, 2.0: 1.0}
    assert seg.surface_dice(a, a, (1.5, 1, 1), (1.0,)) == {1.0: 1.0}


def test_surface_dice_counts_the_part_within_tolerance():
    a, b = np.zeros((2, 30, 8, 8), bool)
    a[:10], b[:10] = True, True
    b[:20, :, 4:] = True
    share = seg.surface_dice(a, b, (1.0, 1.0, 1.0), (1.0,))[1.0]
    assert 0.3 < share < 0.7


def test_empty_masks():
    full, empty = np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool)
    full[0] = False
    assert seg.surface_dice(full, empty, (1, 1, 1), (1.0,)) == {1.0: 0.0}
    assert math.isnan(seg.surface_dice(empty, empty, (1, 1, 1), (1.0,))[1.0])


def test_the_same_segmenter_sees_both_volumes(chest):
    moved = chest.with_array(np.roll(chest.array, 1, axis=2))
    result = seg.compare_segmentations(moved, chest, seg.bone)
    assert result.dsc == pytest.approx(0.75)
    assert result.nsd == {1.0: 1.0, 2.0: 1.0}


PROGRAM = """
import sys, SimpleITK as sitk
image = sitk.ReadImage(sys.argv[1])
sitk.WriteImage(sitk.Cast((image > 300) * 2 + (image < -400) * 1, sitk.sitkUInt8), sys.argv[2])
"""


def test_any_program_can_be_the_segmenter(chest, tmp_path):
    script = tmp_path / "threshold it.py"
    script.write_text(PROGRAM)
    command = f"{sys.executable} '{script}' {{input}} {{output}}"
    np.testing.assert_array_equal(seg.CommandSegmenter(command, labels=(2,))(chest), chest.array == 700)
    np.testing.assert_array_equal(seg.CommandSegmenter(command)(chest), (chest.array == 700) | (chest.array < -400))


def test_programs_that_fail_are_named_with_their_last_words(chest, tmp_path):
    with pytest.raises(InputError, match="no program"):
        seg.CommandSegmenter("no-such-segmenter {input} {output}")(chest)
    script = tmp_path / "fail.py"
    script.write_text("import sys; sys.exit('no weights found')")
    with pytest.raises(InputError, match="no weights found"):
        seg.CommandSegmenter(f"{sys.executable} {script} {{input}} {{output}}")(chest)
    script.write_text("")
    with pytest.raises(InputError, match="wrote no file"):
        seg.CommandSegmenter(f"{sys.executable} {script} {{input}} {{output}}")(chest)
