"""A region is computed as the whole scan's run computes it."""

from dataclasses import replace

import numpy as np
import pytest
from cycleinr import RequestError
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.request import Region, UpsampleOptions
from cycleinr.volume import Volume
from places import REPOSITORY

DATA = REPOSITORY / "Testing" / "data"


@pytest.fixture(scope="module")
def mr() -> Volume:
    scan = read_volume(DATA / "mr_head_1mm.nii.gz")
    return replace(scan[: 4 * 24 : 4], modality="MR", slice_thickness_mm=0.0)


@pytest.fixture(scope="module")
def ct() -> Volume:
    scan = read_volume(DATA / "ct_chest_0p8mm.nii.gz")[:, :96, :96]
    slabs = scan.array[: len(scan.array) // 4 * 4].reshape(-1, 4, *scan.array.shape[1:]).mean(axis=1)
    affine = scan.ijk_to_ras.copy()
    affine[:3, 2] *= 4
    return Volume(np.rint(slabs).astype(np.int16), affine, "CT", float(np.linalg.norm(affine[:3, 2])))


def both(scan: Volume, region: Region, **options) -> tuple[np.ndarray, np.ndarray]:
    """The region out of the whole result, and computed alone; they lie in the same places."""
    options = UpsampleOptions(**options)
    whole, part = upsample(scan, options).volume, upsample(scan, replace(options, region=region)).volume
    first = np.linalg.inv(whole.ijk_to_ras) @ part.ijk_to_ras[:, 3]
    i, j, k = np.round(first[:3]).astype(int)
    np.testing.assert_allclose(first[:3], (i, j, k), atol=1e-6)
    there = tuple(slice(n, n + size) for n, size in zip((k, j, i), part.shape_kji, strict=True))
    assert whole[there].geometry_equal(part)
    return whole.array[there].astype(float), part.array.astype(float)


@pytest.mark.parametrize("target, extent", [(Target(ratio=5 / 3), "centres"), (Target(ratio=2.0), "edges")])
def test_part_of_mr_is_that_of_the_whole_result(mr, target, extent):
    expected, found = both(mr, Region((75, 96), (70, 90), (12, 14)), target=target, extent=extent)
    assert found.size and np.abs(expected - found).max() <= 0.001 * mr.array.max()


@pytest.mark.parametrize("target", [Target(ratio=3.0), Target(ratio=5 / 3)])
def test_part_of_thin_ct_is_that_of_the_whole_result(target):
    scan = read_volume(DATA / "ct_chest_0p8mm.nii.gz")[::3, :96, :96]
    expected, found = both(scan, Region((36, 60), (30, 66), (2, 8)), target=target, thickness_mm=0.0)
    assert np.mean(np.abs(expected - found) > 1) <= 1e-4


@pytest.mark.parametrize("k", [(2, -2), (0, 5)])
def test_part_of_ct_slabs_is_that_of_the_whole_result(ct, k):
    region = Region((30, 70), (20, 66), (k[0], k[1] % len(ct.array)))
    expected, found = both(ct, region, target=Target(ratio=4.0))
    assert np.mean(np.abs(expected - found) > 1) <= 1e-4


def test_uneven_brightness_is_judged_by_the_whole_scan(mr):
    gains = np.where(np.arange(len(mr.array)) % 2, 1.1, 1.0)
    banded = mr.with_array(mr.array * gains[:, None, None].astype(np.float32))
    region = Region((75, 96), (70, 90), (12, 14))
    expected, found = both(banded, region, target=Target(ratio=2.0), equalize_slices=True)
    assert np.abs(expected - found).max() <= 0.001 * banded.array.max()


def test_one_voxel_gives_the_slices_around_its_centre(mr):
    part = upsample(mr, UpsampleOptions(Target(ratio=4.0), region=Region((5, 6), (7, 8), (3, 4))))
    assert part.volume.shape_kji == (4, 1, 1) and part.provenance["region"] == "5:6,7:8,3:4"
    assert "Largest in slice 4, counted from 1" in part.provenance["agreement"]


@pytest.mark.parametrize(
    "text, said", [("0:997,0:5,0:5", "0:997 along i"), ("0:5,5:5,0:5", "along j"), ("0:5,0:5,-1:3", "-1:3 along k")]
)
def test_region_beyond_the_scan_is_refused(mr, text, said):
    with pytest.raises(RequestError, match=said):
        upsample(mr, UpsampleOptions(Target(ratio=2.0), region=Region.of(text)))


@pytest.mark.parametrize("text", ["", "1:2,3:4", "a:b,c:d,e:f", "1-2,3-4,5-6"])
def test_text_that_is_no_region_says_how_one_is_written(text):
    with pytest.raises(RequestError, match="for example"):
        Region.of(text)
