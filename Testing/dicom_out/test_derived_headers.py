"""A derived series belongs to its source's study, says what it is, and takes along nothing that it should not."""

from __future__ import annotations

import re
import struct

import pydicom
import pytest
from cycleinr import GeometryError, InputError
from cycleinr.dicom_out import DicomSettings, write_dicom_series
from dicom_maker import OTHER_SERIES, PATIENT_ID
from dicom_out.series_sources import private_block, scan_of, write_source, write_tilted
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid


def headers(series) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(file) for file in series.files]


@pytest.fixture(scope="module")
def derived(ct, tmp_path_factory):
    """The headers of one written CT series."""
    folder = tmp_path_factory.mktemp("derived") / "series"
    return headers(write_dicom_series(ct.result.volume, ct.files, folder, ct.result.provenance))


@pytest.fixture(scope="module")
def acquired(ct):
    return [pydicom.dcmread(file) for file in ct.files]


@pytest.mark.parametrize(
    "keyword",
    [
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime"),
        *("StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID"),
        *("Modality", "SOPClassUID", "PatientPosition", "BodyPartExamined", "KVP", "WindowCenter", "WindowWidth"),
    ],
)
def test_what_ties_it_to_the_study_is_the_sources(derived, acquired, keyword):
    assert {str(data[keyword].value) for data in derived} == {str(acquired[0][keyword].value)}


def test_series_and_instances_are_new_and_every_instance_is_another(derived, acquired):
    known = {data.SOPInstanceUID for data in acquired} | {acquired[0].SeriesInstanceUID}
    instances = {data.SOPInstanceUID for data in derived}
    assert len(instances) == len(derived) == 25
    assert len({data.SeriesInstanceUID for data in derived}) == 1
    assert not known & (instances | {derived[0].SeriesInstanceUID})
    assert all(re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid) for uid in instances)
    assert all(data.file_meta.MediaStorageSOPInstanceUID == data.SOPInstanceUID for data in derived)


def test_it_says_that_it_is_derived_how_and_what_it_is_not_for(derived, ct):
    data, said = derived[0], ct.result.provenance
    assert list(data.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert re.fullmatch(r"Routine 4\.0 1\.5 mm CycleINR [0-9a-f]{4}", data.SeriesDescription)
    assert data.SeriesNumber == 1003
    assert data.BurnedInAnnotation == "NO"
    for text in (data.DerivationDescription, data.ImageComments):
        assert "not acquired" in text and "Not for primary diagnosis" in text
    assert said["weights_sha256"] in data.DerivationDescription
    assert "3.5 mm thick slices every 4 mm" in data.DerivationDescription
    (code,) = data.DerivationCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113085", "DCM")


def test_scanner_and_engine_are_told_apart(derived, ct):
    data = derived[0]
    scanner, ours = data.ContributingEquipmentSequence
    assert (scanner.Manufacturer, scanner.ManufacturerModelName) == ("Scanner Works", "One")
    assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert (ours.Manufacturer, ours.SoftwareVersions) == ("CycleINR", ct.result.provenance["version"])
    assert ours.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert ct.result.provenance["weights_sha256"] in ours.ContributionDescription
    assert data.Manufacturer == "CycleINR" and "DeviceSerialNumber" not in data


def test_every_slice_names_the_acquired_slices_around_it(derived, acquired):
    place = {data.SOPInstanceUID: data for data in acquired}
    for data in derived:
        sources = [place[item.ReferencedSOPInstanceUID] for item in data.SourceImageSequence]
        away = sorted(abs(float(source.ImagePositionPatient[2]) - data.ImagePositionPatient[2]) for source in sources)
        assert len(sources) == 4
        # Half of the source's steps along z, with room for rounding of the decimal strings.
        assert away[0] <= 0.5 * 3.2 + 1e-3
    (related,) = derived[0].RelatedSeriesSequence
    assert related.SeriesInstanceUID == acquired[0].SeriesInstanceUID


def test_values_that_change_from_slice_to_slice_do_not_travel(derived, acquired):
    assert acquired[0].XRayTubeCurrent != acquired[1].XRayTubeCurrent
    assert not any("XRayTubeCurrent" in data for data in derived)


def test_nothing_private_and_no_free_text_travels(tmp_path, write):
    extra = {
        "PatientComments": "lives next door", "OperatorsName": "Moe^Max", "ImageComments": "seen by MM",
        "AnatomicRegionSequence": lambda n: [private_block(Dataset())],
    }  # fmt: skip
    scan = scan_of(write_source(tmp_path / "series", **extra))
    data = headers(write(scan))[0]
    assert data.AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert not {"PatientComments", "OperatorsName"} & set(data.dir())
    assert "seen by" not in data.ImageComments
    text = str(data)
    assert "secret" not in text and "SCANNER WORKS" not in text and "Moe" not in text


def test_names_in_another_character_set_arrive_unchanged(tmp_path, write):
    names = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Zoë", "SeriesDescription": "Schädel 4 mm"}
    data = headers(write(scan_of(write_source(tmp_path / "series", **names))))[0]
    assert str(data.PatientName) == "Müller^Zoë"
    assert data.SeriesDescription.startswith("Schädel 4 mm 1.5 mm CycleINR")


def test_a_long_description_leaves_room_for_ours(tmp_path, write):
    data = headers(write(scan_of(write_source(tmp_path / "series", SeriesDescription="x" * 64))))[0]
    assert len(data.SeriesDescription) == 64
    assert "x 1.5 mm CycleINR " in data.SeriesDescription


def test_lossy_pixels_stay_declared_lossy(tmp_path, write):
    lossy = {"LossyImageCompression": lambda n: "01" if n == 4 else "00", "LossyImageCompressionRatio": 9}
    data = headers(write(scan_of(write_source(tmp_path / "series", **lossy))))[0]
    assert (data.LossyImageCompression, data.LossyImageCompressionRatio) == ("01", 9)


def test_numbers_run_the_way_the_sources_do(tmp_path, write, derived):
    scan = scan_of(write_source(tmp_path / "series", InstanceNumber=lambda n: 10 - n))
    downwards = headers(write(scan))
    heights = [data.ImagePositionPatient[2] for data in downwards]
    assert heights == sorted(heights, reverse=True)
    assert [data.InstanceNumber for data in downwards] == list(range(1, 26))
    heights = [data.ImagePositionPatient[2] for data in derived]
    assert heights == sorted(heights)


def test_mr_keeps_its_class_and_sequence(mr, write):
    data = headers(write(mr))[0]
    assert data.SOPClassUID == pydicom.uid.MRImageStorage
    assert (data.ScanningSequence, data.EchoTime, list(data.ImageType)) == ("SE", 15, ["DERIVED", "SECONDARY", "M_SE"])
    assert "RescaleSlope" not in data


def test_a_source_without_a_frame_of_reference_gets_a_new_one(tmp_path, write):
    scan = scan_of(write_source(tmp_path / "series", FrameOfReferenceUID=None))
    assert len({data.FrameOfReferenceUID for data in headers(write(scan))}) == 1


def patched(folder, old: bytes, new: bytes):
    """Replace bytes of every header, to get what no library would write."""
    for file in folder.iterdir():
        content = file.read_bytes()
        assert content.count(old) == 1
        file.write_bytes(content.replace(old, new))
    return folder


def test_a_value_that_cannot_be_decoded_is_left_out_and_the_rest_arrives(tmp_path, write):
    folder = write_source(tmp_path / "series", RevolutionTime=0.5)
    patched(folder, b"FD\x08\x00" + struct.pack("<d", 0.5), b"FD\x06\x00" + bytes(6))
    data = headers(write(scan_of(folder)))[0]
    assert "RevolutionTime" not in data
    assert (data.KVP, data.PatientID) == (120, PATIENT_ID)


def test_text_in_place_of_a_number_is_no_obstacle(tmp_path, write):
    folder = write_source(tmp_path / "series", SeriesNumber=1234)
    data = headers(write(scan_of(patched(folder, b"IS\x04\x001234", b"IS\x04\x00n/a "))))[0]
    assert data.SeriesNumber == 1000


class TestDeterministicUids:
    def test_the_same_run_gives_the_same_files(self, ct, write):
        first = write(ct, DicomSettings(deterministic_uids=True), folder="first")
        second = write(ct, DicomSettings(deterministic_uids=True), folder="second")
        assert [f.read_bytes() for f in first.files] == [f.read_bytes() for f in second.files]

    def test_other_settings_weights_or_voxels_give_other_uids(self, ct, tmp_path):
        settings = DicomSettings(deterministic_uids=True)
        brighter = ct.result.volume.with_array(ct.result.volume.array + 1)
        said = ct.result.provenance
        cases = [
            (ct.result.volume, said),
            (ct.result.volume, {**said, "tau": "0"}),
            (ct.result.volume, {**said, "weights_sha256": "0" * 64}),
            (brighter, said),
        ]
        uids = {
            write_dicom_series(volume, ct.files, tmp_path / str(n), provenance, settings).series_uid
            for n, (volume, provenance) in enumerate(cases)
        }
        assert len(uids) == len(cases)

    def test_the_device_does_not_matter_and_without_asking_uids_are_random(self, ct, tmp_path):
        said = ct.result.provenance
        elsewhere = {**said, "device": "another computer", "torch": "9"}
        settings = DicomSettings(deterministic_uids=True)
        uids = [
            write_dicom_series(ct.result.volume, ct.files, tmp_path / str(n), provenance, chosen).series_uid
            for n, (provenance, chosen) in enumerate([(said, settings), (elsewhere, settings), (said, None)])
        ]
        assert uids[0] == uids[1] != uids[2]


class TestRefused:
    def refusal(self, kind, volume, files, folder, provenance) -> str:
        with pytest.raises(kind) as caught:
            write_dicom_series(volume, files, folder / "out", provenance)
        assert not (folder / "out").exists()
        assert "Doe" not in str(caught.value) and PATIENT_ID not in str(caught.value)
        return str(caught.value)

    def test_a_volume_that_lies_elsewhere(self, ct, tmp_path):
        affine = ct.result.volume.ijk_to_ras.copy()
        affine[2, 3] += 500
        moved = ct.result.volume.with_array(ct.result.volume.array, affine)
        assert "outside" in self.refusal(GeometryError, moved, ct.files, tmp_path, ct.result.provenance)

    def test_two_patients_in_one_series(self, ct, tmp_path):
        folder = write_source(tmp_path / "mixed", PatientID=lambda n: PATIENT_ID if n else "MRN-4712-Y")
        files = list(folder.iterdir())
        assert "PatientID" in self.refusal(InputError, ct.result.volume, files, tmp_path, ct.result.provenance)

    def test_two_series(self, ct, tmp_path):
        folder = write_source(tmp_path / "two", SeriesInstanceUID=lambda n: OTHER_SERIES if n else generate_uid())
        files = list(folder.iterdir())
        assert "2 DICOM series" in self.refusal(InputError, ct.result.volume, files, tmp_path, ct.result.provenance)

    def test_a_missing_file_by_its_name(self, ct, tmp_path):
        files = [*ct.files, tmp_path / "gone.dcm"]
        assert "gone.dcm" in self.refusal(InputError, ct.result.volume, files, tmp_path, ct.result.provenance)

    def test_a_source_that_belongs_to_no_study(self, ct, tmp_path):
        files = list(write_source(tmp_path / "homeless", StudyInstanceUID="").iterdir())
        assert "StudyInstanceUID" in self.refusal(InputError, ct.result.volume, files, tmp_path, ct.result.provenance)

    def test_an_incomplete_provenance(self, ct, tmp_path):
        message = self.refusal(InputError, ct.result.volume, ct.files, tmp_path, {"version": "1"})
        assert "weights_sha256" in message


def test_a_tilt_that_was_removed_is_told_and_claimed_no_longer(tmp_path, write):
    scan = scan_of(write_tilted(tmp_path / "series"))
    first, *_, last = headers(write(scan))
    assert "Gantry tilt of 15.0 degrees removed." in first.DerivationDescription
    assert "GantryDetectorTilt" not in first
    assert (first.Rows, first.Columns) == scan.result.volume.shape_kji[1:] and first.Rows > 32
    way = [b - a for a, b in zip(first.ImagePositionPatient, last.ImagePositionPatient, strict=True)]
    rows, columns = first.ImageOrientationPatient[:3], first.ImageOrientationPatient[3:]
    for axis in (rows, columns):
        assert sum(a * b for a, b in zip(way, axis, strict=True)) == pytest.approx(0, abs=1e-3)
