"""Values of DICOM headers, which may hold anything, reach no console, log, message or manifest."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest
from command_line import cycleinr
from cycleinr import CycleinrError
from cycleinr.files import read_volume
from cycleinr.files.dicom_series import series_of_files, slices_of_files
from dicom_maker import frame, write_enhanced, write_series
from places import REPOSITORY
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

SECRET = "ZZTEST"
KEYWORDS = (
    "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "NumberOfFrames", "SpecificCharacterSet",
    "PhotometricInterpretation", "Modality", "ImageType", "SeriesNumber", "SliceThickness", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept", "PatientName", "PatientID",
    "SeriesDescription", "PatientBirthDate", "StudyDate", "StudyInstanceUID", "FrameOfReferenceUID",
)  # fmt: skip
VALUES = (SECRET, f"{SECRET}^PATIENT", f"1.2.0{SECRET}", f"{SECRET}\\{SECRET}", f"{SECRET}\xe4\x1b$B")


def with_values(folder: Path, keywords: Sequence[str], value: str) -> Path:
    """A series of which every file holds raw bytes that the standard does not allow there."""
    write_series(folder)
    raw = value.encode("latin-1")
    raw += b" " * (len(raw) % 2)
    for file in sorted(folder.iterdir()):
        data = pydicom.dcmread(file)
        for tag in map(Tag, keywords):
            data._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(raw), raw, 0, False, True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.save_as(file)
    return folder


def said_by(*calls) -> str:
    """All messages of errors and warnings."""
    said = []
    for call in calls:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                call()
            except CycleinrError as error:
                said.append(str(error))
        said += [str(warning.message) for warning in heard]
    return "\n".join(said)


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_reading_a_series_repeats_no_value(tmp_path, keyword, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    for n, value in enumerate(VALUES):
        folder = with_values(tmp_path / f"scan{n}", [keyword], value)
        files = sorted(folder.iterdir())
        capfd.readouterr(), caplog.clear()

        said = said_by(
            lambda folder=folder: read_volume(folder),
            lambda files=files: slices_of_files(files),
            lambda files=files: series_of_files(files),
        )

        out, err = capfd.readouterr()
        assert SECRET not in said + out + err + caplog.text


@pytest.mark.parametrize("keyword", ["Modality", "PhotometricInterpretation", "SOPInstanceUID", "NumberOfFrames"])
def test_reading_an_enhanced_image_repeats_no_value(tmp_path, keyword, capfd):
    path = write_enhanced(tmp_path / "enhanced.dcm", [frame(n) for n in range(5)])
    data = pydicom.dcmread(path)
    tag = Tag(keyword)
    data._dict[tag] = RawDataElement(tag, dictionary_VR(tag), 12, b"ZZTEST^JANE ", 0, False, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.save_as(path)

    said = said_by(lambda: read_volume(path))

    out, err = capfd.readouterr()
    assert SECRET not in said + out + err


def test_a_whole_batch_repeats_no_value(tmp_path):
    """Standard error, the log at its most talkative, and what a batch writes."""
    (tmp_path / "scans").mkdir()
    with_values(tmp_path / "scans" / "a", ["SeriesInstanceUID", "SpecificCharacterSet", "SOPClassUID"], VALUES[2])
    with_values(tmp_path / "scans" / "b", ["Modality"], VALUES[2])
    with_values(tmp_path / "scans" / "c", ["PhotometricInterpretation"], VALUES[2])
    wanted = ("batch", "scans", "out", "--ratio", 2, "--device", "cpu")

    done = cycleinr(*wanted, environment={"CYCLEINR_LOG": "DEBUG"}, cwd=tmp_path)

    written = [file.read_text("utf-8", "replace") for file in (tmp_path / "out").rglob("*.*") if file.is_file()]
    names = [str(file) for file in (tmp_path / "out").rglob("*")]
    assert done.returncode == 0, done.stderr
    assert written and "pixels are of kind unknown" in "".join(written)
    assert SECRET not in done.stdout + done.stderr + "".join(written) + "".join(names)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux does")
def test_an_element_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path):
    folder = write_series(tmp_path / "scan")
    file = sorted(folder.iterdir())[0]
    data = bytearray(file.read_bytes())
    at = data.index(b"\x02\x00\x01\x00OB")
    data[at + 8 : at + 12] = (800_000_000).to_bytes(4, "little")
    file.write_bytes(data)
    script = f"""
        import sys
        import pydicom, SimpleITK
        from cycleinr import InputError
        from cycleinr.files import read_volume

        def peak_bytes():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmPeak")) * 1024

        before = peak_bytes()
        try:
            read_volume({str(folder)!r})
        except InputError as error:
            sys.exit(0 if {file.name!r} in str(error) and peak_bytes() < before + 200e6 else "too much")
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "CycleINRSlicer")}

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True)

    assert done.returncode == 0, done.stderr
