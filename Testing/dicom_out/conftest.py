"""CT and MR series with their finer results, made once."""

from __future__ import annotations

import pytest
from cycleinr.dicom_out import write_dicom_series
from cycleinr.grid import Target
from cycleinr.request import UpsampleOptions
from dicom_out.series_sources import (
    Scan,
    enhanced_scan,
    scan_of,
    write_padded,
    write_source,
    write_tilted,
    write_uneven,
)


@pytest.fixture(scope="session")
def ct(tmp_path_factory) -> Scan:
    """An oblique CT series, 1.5 mm instead of 4 mm."""
    return scan_of(write_source(tmp_path_factory.mktemp("ct") / "series", "CT"))


@pytest.fixture(scope="session")
def mr(tmp_path_factory) -> Scan:
    """An oblique MR series without rescale, 1.5 mm instead of 4 mm."""
    return scan_of(write_source(tmp_path_factory.mktemp("mr") / "series", "MR"))


@pytest.fixture(scope="session", params=[write_tilted, write_uneven, write_padded], ids=["tilted", "uneven", "padded"])
def odd(request, tmp_path_factory) -> Scan:
    """CT series as hospitals have them, too, 2.5 mm instead of 4 mm."""
    options = UpsampleOptions(Target(spacing_mm=2.5), device="cpu")
    return scan_of(request.param(tmp_path_factory.mktemp("odd") / "series"), options)


@pytest.fixture(scope="session", params=["CT", "MR"])
def enhanced(request, tmp_path_factory) -> Scan:
    """A scan in one multi-frame object."""
    return enhanced_scan(tmp_path_factory.mktemp("enhanced"), request.param)


@pytest.fixture
def write(tmp_path):
    """Write a scan's result as a series into a fresh folder."""

    def written(scan: Scan, settings=None, volume=None, folder="derived"):
        volume = volume or scan.result.volume
        return write_dicom_series(volume, scan.files, tmp_path / folder, scan.result.provenance, settings)

    return written
