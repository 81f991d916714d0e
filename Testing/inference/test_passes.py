"""Scans whose slices are not even, from request to result: each part as good as an even scan, gaps refused or told."""

from dataclasses import replace

import numpy as np
import pytest
from cycleinr import GeometryError, RequestError, RequestWarning, inference
from cycleinr.checks.run import check_result
from cycleinr.computer import Device, DeviceChoice
from cycleinr.files import read_volume
from cycleinr.geometry import Acquisition
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.inference.consistency import Arrays, DataConsistency
from cycleinr.inference.plan import plan
from cycleinr.inference.tiling import Tiling
from cycleinr.request import Region, UpsampleOptions
from cycleinr.resampling import SliceProfile, acquire
from cycleinr.result import Result
from cycleinr.volume import Volume
from places import REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore::cycleinr.RequestWarning")


@pytest.fixture(scope="module")
def fine() -> Volume:
    chest = read_volume(REPOSITORY / "Testing" / "data" / "ct_chest_0p8mm.nii.gz")
    return replace(chest[:, 4:36, 8:44], modality="CT")


def scan_of(fine: Volume, starts: list[int], sizes: list[int]) -> Volume:
    """Contiguous slabs of so many fine slices from ``starts`` on."""
    centres = np.array(starts) + (np.array(sizes) - 1) / 2
    profile = SliceProfile(len(fine.array), centres, np.array(sizes, float), np.ones(len(sizes)))
    mm = fine.spacing_ijk_mm[2]
    own = Acquisition((centres - centres[0]) * mm, np.array(sizes) * mm)
    affine = fine.ijk_to_ras.copy()
    affine[:3, 3] = fine.ras_of_ijk([0, 0, centres[0]])
    affine[:3, 2] *= own.spacing_mm / mm
    return Volume(np.rint(acquire(fine.array, profile)).astype(np.int16), affine, "CT", acquisition=own)[:]


def at_fine(fine: Volume, **options) -> UpsampleOptions:
    """A result with the fine scan's own slices."""
    return UpsampleOptions(Target(spacing_mm=fine.spacing_ijk_mm[2]), extent="edges", device="cpu", **options)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(2000**2 / np.square(one.astype(float) - other).mean())


LOW, HIGH = (list(range(0, 24, 2)), 2), (list(range(24, 48, 4)), 4)


@pytest.fixture(scope="module")
def changing(fine) -> Volume:
    """12 slabs of two fine slices below 6 of four."""
    return scan_of(fine, LOW[0] + HIGH[0], [2] * 12 + [4] * 6)


@pytest.fixture(scope="module")
def even(fine) -> dict[int, np.ndarray]:
    """Results of even scans, by the thickness of their slabs."""
    return {
        size: upsample(scan_of(fine, list(range(0, 48, size)), [size] * (48 // size)), at_fine(fine)).volume.array
        for size in (2, 4)
    }


@pytest.fixture(scope="module")
def result(fine, changing) -> Result:
    return upsample(changing, at_fine(fine))


def test_each_part_is_as_good_as_an_even_scan_of_its_spacing(fine, even, result):
    found = result.volume
    assert found.acquisition is None
    assert found.geometry_equal(fine[:48].with_array(found.array))
    for part, size in ((slice(0, 22), 2), (slice(28, 48), 4)):
        assert psnr(found.array[part], fine.array[part]) > psnr(even[size][part], fine.array[part]) - 0.2
    assert "1.6 mm from slice 1 to 12" in result.provenance["warnings"]


def test_a_missing_slice_costs_nothing_away_from_the_gap_and_is_marked(fine, even):
    starts = list(range(0, 48, 4))
    scan = scan_of(fine, starts[:6] + starts[7:], [4] * 11)
    with pytest.warns(RequestWarning, match="One slice is missing after slice 6"):
        result = upsample(scan, at_fine(fine))
    away = np.ones(48, bool)
    # The gap and the interval beside it
    away[18:34] = False
    assert result.provenance["gaps"] == "slices 23 to 30"
    found = result.volume.array
    assert psnr(found[away], fine.array[:48][away]) > psnr(even[4][away], fine.array[:48][away]) - 0.2


def test_more_missing_slices_are_refused_unless_asked_for(fine):
    starts = list(range(0, 48, 4))
    scan = scan_of(fine, starts[:3] + starts[5:9] + starts[10:], [4] * 9)
    with pytest.raises(GeometryError, match=r"3 slices are missing.*2 after slice 3.*1 after slice 7.*--fill-gaps"):
        plan(scan, at_fine(fine))
    work = plan(scan, at_fine(fine, fill_gaps=True))
    assert [(gap.start, gap.stop) for gap in work.gaps] == [(10, 22), (34, 42)]
    assert len(work.passes) == 3 and sum(len(each.outputs) for each in work.passes) == len(work.covering.positions)
    whole = upsample(scan, at_fine(fine, fill_gaps=True))
    assert whole.provenance["gaps"] == "slices 11 to 22, 35 to 42"
    for slices, first, gaps in (((4, 6), 24, ()), ((6, 9), 32, (range(2, 10),))):
        part = upsample(scan, at_fine(fine, region=Region((0, 36), (0, 32), slices)))
        there = whole.volume.array[first : first + len(part.volume.array)]
        assert part.provenance.gaps == gaps and np.abs(part.volume.array.astype(int) - there).max() <= 3


def test_strips_give_the_same_voxels(fine, changing, result, monkeypatch):
    monkeypatch.setattr(Tiling, "within", lambda fitting, rows, config: Tiling(4, config))
    strips = upsample(changing, at_fine(fine)).volume.array
    assert np.abs(strips.astype(int) - result.volume.array).max() <= 1
    assert len(plan(changing, at_fine(fine)).passes) == 2


def test_a_gpu_gathers_the_passes_as_the_cpu_does(fine, changing, result, monkeypatch):
    # Any device of PyTorch's will do
    gpu = Device("cpu:0", "A pretended GPU", 2.0)
    monkeypatch.setattr(inference, "choose_device", lambda name: DeviceChoice(gpu, "for a test"))
    there = upsample(changing, at_fine(fine))
    assert there.provenance["device"] == "A pretended GPU"
    # Where a float lies on the edge of a bound, the last bit of a sum decides
    difference = np.abs(there.volume.array.astype(int) - result.volume.array)
    assert difference.max() <= 2 and (difference > 1).mean() < 1e-4


def test_thin_slices_beside_thick_ones_stay_what_they_are(fine, changing):
    result = upsample(changing, replace(at_fine(fine), target=Target(ratio=1.0))).volume
    mm = 2 * fine.spacing_ijk_mm[2]
    assert result.spacing_ijk_mm[2] == pytest.approx(mm) and len(result.array) == 24
    np.testing.assert_allclose(result.array[:11], changing.array[:11], atol=1)
    # A slab of two fine slices is the mean of what it sees
    assert np.abs(result.array[14:].reshape(5, 2, 32, 36).mean(axis=1) - changing.array[13:]).mean() < 5


def test_thick_and_thin_slices_are_each_made_consistent_as_they_are_alone(fine):
    sizes = np.array([1.0] * 6 + [4.0] * 3)
    profile = SliceProfile(18, np.array([0, 1, 2, 3, 4, 5, 7.5, 11.5, 15.5]), sizes, np.ones(9))
    truth = fine.array[:18].astype(np.float32)
    acquired = acquire(truth, profile)
    found, thick_alone = truth + 30, truth[6:] + 30
    DataConsistency(profile, -1024, 3000, 1.0, False, Arrays.numpy()).apply(found, acquired)
    alone = profile.of(slice(6, 9), slice(6, 18))
    DataConsistency(alone, -1024, 3000, 1.0, False, Arrays.numpy()).apply(thick_alone, acquired[6:])
    np.testing.assert_allclose(found[:6], truth[:6], atol=0.3)
    np.testing.assert_allclose(found[6:], thick_alone, atol=0.01)


def test_only_the_uneven_axis_can_be_resampled(fine, changing):
    with pytest.raises(RequestError, match="slices along axis k are not even"):
        plan(changing, at_fine(fine, axis="i"))
    with pytest.raises(RequestError, match=r"coarser than the input's 1\.6 mm"):
        plan(changing, UpsampleOptions(Target(spacing_mm=2.0)))
    assert plan(changing, UpsampleOptions(Target(ratio=2.0), device="cpu")).grid.spacing_out_mm == pytest.approx(0.8)


def test_a_turned_scan_gives_the_turned_result(fine, changing, result):
    turned = upsample(changing.reorient("SLP"), at_fine(fine)).volume
    assert turned.geometry_equal(result.volume.reorient("SLP"))
    np.testing.assert_array_equal(turned.array, result.volume.reorient("SLP").array)


def test_the_check_compares_all_acquired_slices_and_predicts_those_of_the_longest_even_part(fine, changing, result):
    options = at_fine(fine)
    check = check_result(changing, result.volume, options)
    assert len(check.residual.slices) == 18 and check.residual.median < 5
    low = check_result(changing[:12], upsample(changing[:12], options).volume, options)
    np.testing.assert_array_equal(check.self_check.slices, low.self_check.slices)
    np.testing.assert_allclose(check.self_check.rms, low.self_check.rms, rtol=0.02)
