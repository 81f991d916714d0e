"""Stored values mean what was computed, at the place where it belongs, to every reader."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from cycleinr import InputError
from cycleinr.dicom_out import DicomSettings, write_dicom_series
from cycleinr.files import read_volume
from cycleinr.grid import Target
from cycleinr.request import UpsampleOptions
from cycleinr.volume import Volume
from dicom_maker import rescaled
from dicom_out.series_sources import acquired_pixels, scan_of, write_source

_SLICER_READS = """
import sys
from pathlib import Path
import numpy as np, slicer
from vtk.util.numpy_support import vtk_to_numpy
for folder in map(Path, sys.argv[1:]):
    names = [str(file) for file in sorted(folder.glob("*.dcm"))]
    reader = slicer.vtkITKArchetypeImageSeriesScalarReader()
    reader.SetArchetype(names[0])
    for name in names:
        reader.AddFileName(name)
    reader.SetSingleFile(False)
    reader.SetOutputScalarTypeToNative()
    reader.SetDesiredCoordinateOrientationToNative()
    reader.SetUseNativeOriginOn()
    reader.Update()
    image, matrix = reader.GetOutput(), reader.GetRasToIjkMatrix()
    ras_to_ijk = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    np.savez(folder.with_suffix(".npz"), array=array, ijk_to_ras=np.linalg.inv(ras_to_ijk))
"""
"""Reads as Slicer's volume storage node does; slicer-core would change this process, so it gets one of its own."""


def with_simpleitk(files) -> tuple[np.ndarray, np.ndarray]:
    """Array (K, J, I) and ijk_to_lps by ITK's own reader, slices in the order that GDCM finds."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(files[0].parent))
    image = sitk.ReadImage(names)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ affine


def with_pydicom(files) -> np.ndarray:
    """Values (K, J, I) in order of Instance Number, by pydicom's own decoding and rescale."""
    data = sorted((pydicom.dcmread(file) for file in files), key=lambda d: d.InstanceNumber)
    return np.stack([rescaled(d) for d in data])


def same_place(affine: np.ndarray, volume: Volume) -> None:
    np.testing.assert_allclose(affine, volume.ijk_to_ras, atol=2e-4)


class TestReadersAgree:
    @pytest.fixture(params=["ct", "mr"])
    def scan(self, request):
        return request.getfixturevalue(request.param)

    @pytest.mark.parametrize("compress", [False, True], ids=["uncompressed", "rle"])
    def test_our_own_simpleitk_and_pydicom(self, scan, write, compress):
        written, volume = write(scan, DicomSettings(compress=compress)), scan.result.volume
        again = read_volume(written.folder)
        np.testing.assert_array_equal(again.array, volume.array)
        np.testing.assert_allclose(again.ijk_to_ras, volume.ijk_to_ras, atol=1e-5)
        assert again.modality == volume.modality
        array, affine = with_simpleitk(written.files)
        np.testing.assert_array_equal(array, volume.array)
        same_place(affine, volume)
        np.testing.assert_array_equal(with_pydicom(written.files), volume.array)
        assert written.max_error == 0

    def test_compression_is_declared(self, scan, write):
        plain, packed = write(scan, folder="plain"), write(scan, DicomSettings(compress=True), folder="packed")
        assert pydicom.dcmread(packed.files[0]).file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
        assert pydicom.dcmread(plain.files[0]).file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian


def test_slicer_reads_the_same_volumes(ct, mr, write, tmp_path):
    if importlib.util.find_spec("slicer") is None:
        pytest.skip("needs slicer-core: pip install '.[host]'")
    scans = {str(write(scan, folder=name).folder): scan for name, scan in (("ct", ct), ("mr", mr))}
    command = [sys.executable, "-c", _SLICER_READS, *scans]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    for folder, scan in scans.items():
        read = np.load(f"{folder}.npz")
        np.testing.assert_array_equal(read["array"], scan.result.volume.array)
        same_place(read["ijk_to_ras"], scan.result.volume)


class TestGeometryTags:
    def test_finer_slices(self, ct, write):
        first, second = (pydicom.dcmread(file) for file in write(ct).files[:2])
        assert (first.SpacingBetweenSlices, first.SliceThickness) == (1.5, 1.5)
        assert list(first.PixelSpacing) == [0.7, 0.6]
        assert list(first.ImageOrientationPatient) == [1, 0, 0, 0, 0.8, 0.6]
        step = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient).astype(float)
        np.testing.assert_allclose(step, (0, -0.9, 1.2), atol=1e-6)
        assert float(second.SliceLocation) - float(first.SliceLocation) == pytest.approx(1.5)

    @pytest.mark.parametrize(("spacing", "thickness"), [(4.0, 3.5), (3.8, 3.5), (2.0, 2.0)])
    def test_slices_are_never_called_thicker_than_acquired_ones(self, tmp_path, write, spacing, thickness):
        scan = scan_of(write_source(tmp_path / "series"), UpsampleOptions(Target(spacing_mm=spacing), device="cpu"))
        assert pydicom.dcmread(write(scan).files[0]).SliceThickness == thickness

    @pytest.mark.parametrize(("axis", "size"), [("i", (10, 32, 55)), ("j", (10, 63, 28))])
    def test_an_axis_within_the_slice(self, tmp_path, write, axis, size):
        options = UpsampleOptions(Target(ratio=2), axis=axis, device="cpu")
        scan = scan_of(write_source(tmp_path / "series"), options)
        written = write(scan)
        data = pydicom.dcmread(written.files[0])
        assert (len(written.files), data.Rows, data.Columns) == size
        assert list(data.PixelSpacing) == ([0.35, 0.6] if axis == "j" else [0.7, 0.3])
        assert (data.SliceThickness, data.SpacingBetweenSlices) == (3.5, 4)
        array, affine = with_simpleitk(written.files)
        np.testing.assert_array_equal(array, scan.result.volume.array)
        same_place(affine, scan.result.volume)

    def test_edges_put_the_first_slice_outside_the_first_acquired_one(self, tmp_path, write):
        options = UpsampleOptions(Target(spacing_mm=1.0), extent="edges", device="cpu")
        scan = scan_of(write_source(tmp_path / "series"), options)
        written = write(scan)
        same_place(with_simpleitk(written.files)[1], scan.result.volume)
        assert len(written.files) == 40

    def test_a_left_handed_volume_keeps_its_place(self, ct, write):
        volume = ct.result.volume
        affine = volume.ijk_to_ras.copy()
        affine[:3, 3] += affine[:3, 2] * (volume.shape_kji[0] - 1)
        affine[:3, 2] *= -1
        flipped = Volume(volume.array[::-1], affine, "CT")
        again = read_volume(write(ct, volume=flipped).folder)
        np.testing.assert_array_equal(again.array, volume.array)
        np.testing.assert_allclose(again.ijk_to_ras, volume.ijk_to_ras, atol=1e-5)


class TestValues:
    def written(self, tmp_path, array, **tags):
        """A volume with any values, written into the study of a series with any rescale."""
        scan = scan_of(write_source(tmp_path / "series", **tags), UpsampleOptions(Target(ratio=1), device="cpu"))
        volume = scan.volume.with_array(array(scan.volume.array) if callable(array) else array)
        series = write_dicom_series(volume, scan.files, tmp_path / "out", scan.result.provenance)
        return volume, series, read_volume(series.folder)

    def test_ct_keeps_the_sources_rescale(self, ct, write):
        data = pydicom.dcmread(write(ct).files[0])
        assert (data.RescaleSlope, data.RescaleIntercept, data.PixelRepresentation) == (1, -1024, 0)
        assert data.RescaleType == "HU"

    def test_padding_keeps_its_meaning(self, tmp_path):
        stored = acquired_pixels("CT")
        stored[:, :3] = 24
        _, series, _ = self.written(tmp_path, lambda a: a, stored=stored, PixelPaddingValue=24)
        data = pydicom.dcmread(series.files[0])
        assert data.PixelPaddingValue == 24
        assert (data.pixel_array[:3] == 24).all()

    @pytest.mark.parametrize("value", [-2000, 4095])
    def test_what_is_no_measured_value_is_named_as_padding(self, tmp_path, value):
        def padded(array):
            array = array.copy()
            array[:, :3] = value
            return array

        _, series, again = self.written(tmp_path, padded)
        data = pydicom.dcmread(series.files[0])
        if value < -1024:
            assert data.pixel_array[0, 0] == data.PixelPaddingValue
            assert not again.valid[:, :3].any() and again.valid[:, 3:].all()
        else:
            assert "PixelPaddingValue" not in data

    def test_values_below_the_sources_range_get_signed_pixels(self, tmp_path):
        volume, series, again = self.written(tmp_path, lambda a: a - 3000)
        assert series.max_error == 0
        np.testing.assert_array_equal(again.array, volume.array)

    @pytest.mark.parametrize("modality", ["CT", "MR"])
    @pytest.mark.parametrize("low", [0, -32768, -40000, 70000])
    def test_every_span_of_16_bits_is_exact(self, tmp_path, modality, low):
        ramp = np.linspace(low, low + 65535, 10 * 32 * 28).round().astype(np.int32).reshape(10, 32, 28)
        volume, series, again = self.written(tmp_path, ramp, modality=modality)
        assert series.max_error == 0
        np.testing.assert_array_equal(again.array, volume.array)
        np.testing.assert_array_equal(with_pydicom(series.files), volume.array)

    def test_whole_numbers_in_a_float_volume_are_exact(self, tmp_path):
        volume, series, again = self.written(tmp_path, lambda a: a.astype(np.float32))
        assert series.max_error == 0
        np.testing.assert_array_equal(again.array, volume.array)

    @pytest.mark.parametrize("slope", [0.5, 0.1, 2.44])
    def test_multiples_of_the_sources_slope_are_exact(self, tmp_path, slope):
        volume, series, again = self.written(
            tmp_path, lambda a: a, modality="MR", RescaleSlope=slope, RescaleIntercept=-3.5
        )
        assert volume.array.dtype == np.float32
        assert series.max_error == 0
        np.testing.assert_array_equal(again.array, volume.array)

    def test_other_floats_are_rounded_and_the_error_is_told_and_true(self, tmp_path):
        volume, series, again = self.written(tmp_path, lambda a: np.sqrt(a.astype(np.float32) + 2000), modality="MR")
        step = float(np.ptp(volume.array)) / 65535
        error = float(np.abs(again.array.astype(float) - volume.array).max())
        assert 0 < series.max_error <= 0.51 * step
        assert error == pytest.approx(series.max_error, rel=0.1, abs=2e-6)
        data = pydicom.dcmread(series.files[0])
        assert f"largest rounding error is {series.max_error:.3g}" in data.DerivationDescription

    def test_more_than_16_bits_are_rounded_and_the_error_is_told(self, tmp_path):
        ramp = (np.arange(10 * 32 * 28) * 20).reshape(10, 32, 28)
        volume, series, again = self.written(tmp_path, ramp, modality="MR")
        assert 0 < series.max_error <= 0.51 * ramp.max() / 65535
        np.testing.assert_allclose(again.array, volume.array, atol=series.max_error * 1.01)

    def test_values_that_are_no_numbers_are_refused(self, tmp_path):
        def with_nan(array):
            array = array.astype(np.float32)
            array[2, 3, 4] = np.nan
            return array

        with pytest.raises(InputError, match="finite"):
            self.written(tmp_path, with_nan)
        assert not (tmp_path / "out").exists()
