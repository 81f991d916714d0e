"""Inputs that people have, each made and given to the command line: what happens, beside what should.

    python Testing/Benchmarks/odd_inputs.py [WORD ...]

With words, only the inputs whose names have one of them. Prints a line for each; ends with exit code 1 if anything did
not go as it should. The scans are small crops of the bundled ones and the blob of ``series_kinds``.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), str(TESTING.parent / "CycleINRSlicer")]

from cycleinr.cli.app import run  # noqa: E402
from cycleinr.files import read_volume, write_volume  # noqa: E402
from cycleinr.volume import Volume  # noqa: E402
from dicom_maker import pixels_of_slice, write_file, write_series, write_slice  # noqa: E402
from series_kinds import KINDS, SPACING_MM, compared, write_blob  # noqa: E402

WORKS, REFUSED, ASKS = "works", "refused", "asks"
MOST_MM = 0.05
FINER = ("upsample", "--ratio", "2", "--device", "cpu")


@dataclass(frozen=True)
class Row:
    """One input.

    Attributes:
        make: Writes it into a new folder and returns what the user gives.
        should: WORKS, REFUSED, or ASKS: refused, and choosing what the message offers helps.
        says: What has to be said about it, in the order of words.
        arguments: What else the user gives.
        is_blob: Whether it is the blob, so that the result can be compared with it.
    """

    name: str
    make: Callable[[Path], Path]
    should: str = WORKS
    says: str = ""
    arguments: tuple[str, ...] = ()
    is_blob: bool = False


def main(words: list[str]) -> int:
    warnings.simplefilter("ignore")
    rows = [row for row in all_rows() if not words or any(word in row.name for word in words)]
    wrong = 0
    for row in rows:
        with tempfile.TemporaryDirectory() as folder:
            happened, text, off = outcome(row, Path(folder))
            text = text.replace(folder, "")
        right = happened == (WORKS if row.should == WORKS else REFUSED) and row.says in text and "WRONG" not in off
        wrong += not right
        shown = f"{row.says} {off}" if right else f"{text[:300]} {off}"
        print(f"{'ok ' if right else 'BAD'} {row.name}: {happened}. {shown}".rstrip(), flush=True)
    print(f"{len(rows)} inputs, {wrong} not as they should be")
    return 1 if wrong else 0


def outcome(row: Row, folder: Path) -> tuple[str, str, str]:
    """What the command line did, all that it said, also in the .json file, and how far off a blob is."""
    given, result = row.make(folder / "in"), folder / "out.nii.gz"
    before = times(folder / "in")
    if row.arguments[:1] == ("info",):
        code, text = said([*row.arguments[:1], str(given), *row.arguments[1:]])
    else:
        code, text = said([*FINER[:1], str(given), str(result), *FINER[1:], *row.arguments])
    if code == 0 and result.exists():
        told = json.loads((folder / "out.nii.gz.json").read_text())
        text += " ".join(told.get(key, "") for key in ("reading", "warnings", "gaps"))
    off = ""
    if before != times(folder / "in") or (code and result.exists()):
        off = "WRONG: the input was written, or something stayed of a run that failed"
    elif row.is_blob and code == 0:
        off_mm, off_hu = compared(read_volume(result))
        off = (
            f"{'WRONG: ' if off_mm >= MOST_MM else ''}centroid off by {off_mm:.3f} mm, values by up to {off_hu:.0f} HU"
        )
    happened = WORKS if code == 0 else REFUSED if code in (2, 3, 4) else f"exit code {code}"
    return happened, " ".join(text.split()), off


def times(folder: Path) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))]


def said(arguments: list[str]) -> tuple[int, str]:
    text, kept = io.StringIO(), sys.argv
    sys.argv = ["cycleinr", *arguments]
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            code = run()
    except Exception as error:
        return 1, f"Traceback {type(error).__name__}: {error}"
    finally:
        sys.argv = kept
    return code, text.getvalue()


# -- scans
def ct() -> Volume:
    """Thick slices of a chest, with air."""
    fine = read_volume(TESTING / "data" / "ct_chest_0p8mm.nii.gz")[::4, 24:72, 24:72]
    return replace(fine, array=np.ascontiguousarray(fine.array))


def mr() -> Volume:
    """Thick slices of a head, with air around it."""
    fine = read_volume(TESTING / "data" / "mr_head_1mm.nii.gz")[::4, 24:72, 24:72]
    return replace(fine, array=np.pad(fine.array, ((0, 0), (12, 12), (12, 12))))


def saved(volume: Volume, folder: Path, name: str = "scan.nii.gz") -> Path:
    folder.mkdir(exist_ok=True)
    write_volume(volume, folder / name)
    return folder / name


def image(
    folder: Path, array: np.ndarray, affine: np.ndarray, name: str, kind=nibabel.Nifti1Image, codes=(1, 1)
) -> Path:
    """An image that nibabel writes; the array is (I, J, K)."""
    folder.mkdir(exist_ok=True)
    made = kind(array, affine)
    if codes is not None:
        made.set_sform(affine, codes[1])
        made.set_qform(affine, codes[0])
    nibabel.save(made, folder / name)
    return folder / name


def as_image(volume: Volume, folder: Path, name: str, **how) -> Path:
    return image(folder, volume.array.T, volume.ijk_to_ras, name, **how)


def of_values(change: Callable[[np.ndarray], np.ndarray], scan: Callable[[], Volume]) -> Callable[[Path], Path]:
    return lambda folder: saved(scan().with_array(change(scan().array)), folder)


def without_field(value: float, kind=np.float32, name: str = "scan.nii.gz") -> Callable[[Path], Path]:
    """CT whose field of view is round, with one value outside it."""

    def make(folder: Path) -> Path:
        scan = ct()
        row, column = np.mgrid[:48, :48]
        array = np.where((row - 24) ** 2 + (column - 24) ** 2 > 20**2, value, scan.array).astype(kind)
        if not name.startswith("scan.nii"):
            return saved(scan.with_array(array), folder, name)
        return as_image(scan.with_array(array), folder, name)

    return make


# -- DICOM
def series(folder: Path, **tags) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_blob(folder, **tags)


def plus(*extras: Callable[[Path], object]) -> Callable[[Path], Path]:
    """The plain series, and what else lies in its folder."""

    def make(folder: Path) -> Path:
        series(folder)
        for extra in extras:
            extra(folder)
        return folder

    return make


def other_uid() -> dict:
    return {"SeriesInstanceUID": generate_uid(), "SeriesNumber": 9}


def scout(own_series: bool) -> Callable[[Path], object]:
    own = other_uid() if own_series else {}
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return lambda folder: write_slice(folder / "scout.dcm", (0, 0, 0), pixels_of_slice(0), ImageType=kind, **own)


def second_series(spacing_mm: float = SPACING_MM) -> Callable[[Path], object]:
    heights = 10 + spacing_mm * np.arange(12)
    return lambda folder: write_blob(folder / "second", heights, thickness_mm=spacing_mm, **other_uid())


def phases(folder: Path) -> Path:
    for n in (1, 2):
        write_blob(folder / str(n), AcquisitionNumber=n, ContentTime=f"10{n:02}00", values=lambda hu, n=n: hu + n)
    return folder


def disc(folder: Path, given: str) -> Path:
    write_blob(folder / "DICOM" / "ST0" / "SE0")
    catalogue = Dataset()
    catalogue.file_meta = FileMetaDataset()
    catalogue.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    catalogue.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    catalogue.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    catalogue.FileSetID = "DISC"
    write_file(folder / "DICOMDIR", catalogue)
    return folder / given


def without(*slices: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        series(folder)
        for n in slices:
            (folder / f"{n:03}.dcm").unlink()
        return folder

    return make


def twice(folder: Path) -> Path:
    series(folder)
    shutil.copytree(folder, folder / "again")
    return folder


def clutter(folder: Path) -> None:
    (folder / "thumbs.db").write_bytes(bytes(100))
    (folder / ".DS_Store").write_bytes(bytes(100))
    (folder / "report.pdf").write_bytes(b"%PDF-1.4\n" + bytes(100))


def named(name: str, read_only: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = saved(ct(), folder, name)
        if read_only:
            path.chmod(0o444)
            folder.chmod(0o555)
        return path

    return make


def linked(folder: Path) -> Path:
    saved(ct(), folder)
    os.symlink(folder / "scan.nii.gz", folder / "link.nii.gz")
    return folder / "link.nii.gz"


def capitals(folder: Path) -> Path:
    return saved(ct(), folder).rename(folder / "SCAN.NII.GZ")


# -- image files
def sheared(folder: Path) -> Path:
    scan = ct()
    affine = scan.ijk_to_ras.copy()
    affine[1, 2] += 0.7
    return image(folder, scan.array.T, affine, "scan.nii.gz", codes=(0, 1))


def disagreeing(folder: Path) -> Path:
    scan = ct()
    made = nibabel.Nifti1Image(scan.array.T, scan.ijk_to_ras)
    other = scan.ijk_to_ras.copy()
    other[:3, 2] *= 0.6
    made.set_sform(scan.ijk_to_ras, 1)
    made.set_qform(other, 1)
    folder.mkdir()
    nibabel.save(made, folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def wrong_pixdim(folder: Path) -> Path:
    scan = ct()
    made = nibabel.Nifti1Image(scan.array.T, scan.ijk_to_ras)
    made.set_sform(scan.ijk_to_ras, 2)
    made.set_qform(None, 0)
    made.header["pixdim"][1:4] = 1
    folder.mkdir()
    nibabel.save(made, folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def time_series(frames: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        scan = mr()
        array = np.stack([scan.array.T + n for n in range(frames)], axis=-1)
        return image(folder, array, scan.ijk_to_ras, "scan.nii.gz")

    return make


def by_itk(pixel: int, components: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder.mkdir()
        made = sitk.Image([16, 16, 8], pixel, components) if components else sitk.Image([16, 16, 8], pixel)
        sitk.WriteImage(made, str(folder / "scan.nii.gz"))
        return folder / "scan.nii.gz"

    return make


def unnamed(name: str) -> Callable[[Path], Path]:
    return lambda folder: saved(ct(), folder).rename(folder / name)


def hdr_img(folder: Path) -> Path:
    return as_image(ct(), folder, "scan.img", kind=nibabel.Nifti1Pair)


def mgz(folder: Path) -> Path:
    scan = mr()
    return image(folder, scan.array.T.astype(np.float32), scan.ijk_to_ras, "scan.mgz", nibabel.MGHImage, codes=None)


def part(size_kji: tuple[int, int, int], scan: Callable[[], Volume] = ct) -> Callable[[Path], Path]:
    return lambda folder: saved(scan()[tuple(slice(0, n) for n in size_kji)], folder)


def large(folder: Path) -> Path:
    return image(folder, np.tile(ct().array[:5].T, (53, 53, 1))[:2500, :2500], np.diag([0.2, 0.2, 5, 1]), "scan.nii")


def pet(folder: Path) -> Path:
    scan = mr()
    body = np.random.default_rng(0).gamma(1.0, 0.6, scan.array.shape) * (scan.array > 50)
    body[5:9, 32:40, 32:40] = 15
    return saved(scan.with_array(body.astype(np.float32)), folder)


def tilt_rows() -> Iterator[Row]:
    for degrees in (15, 3, 1, 0.5, 0.2):
        said_degrees = f"{degrees:.1f}" if degrees >= 1 else f"{degrees:.2f}"
        yield Row(
            f"gantry tilt of {degrees} degrees",
            lambda folder, degrees=degrees: series(folder, tilt_degrees=degrees),
            says=f"Gantry tilt of {said_degrees} degrees removed",
            is_blob=True,
        )
    yield Row("sheared sform", sheared, says="Gantry tilt")


def all_rows() -> list[Row]:
    """In the order of the list of inputs that people were seen to have."""
    air, soft = (
        (lambda array: array + 1024),
        (lambda array: np.clip((array + 160.0) * 255 / 400, 0, 255).astype(np.uint8)),
    )
    normed = [
        ("z-scored", lambda array: ((array - array.mean()) / array.std()).astype(np.float32)),
        ("scaled to 0..1", lambda array: (array / array.max()).astype(np.float32)),
        ("as int8", lambda array: (array / array.max() * 127).astype(np.int8)),
        *(
            (f"as {kind}", lambda array, kind=kind: array.astype(kind))
            for kind in ("int32", "int64", "uint32", "float64")
        ),
    ]
    return [
        *(Row(f"kind: {name}", make, is_blob=True) for name, make in KINDS.items()),
        *tilt_rows(),
        Row("1 slice missing", without(6), says="One slice is missing"),
        Row("1 slice missing near the end", without(12), says="One slice is missing"),
        Row("3 slices missing", without(5, 6, 7), ASKS, "--fill-gaps"),
        Row("3 slices missing, filled", without(5, 6, 7), arguments=("--fill-gaps",), says="missing"),
        Row("2.5 mm, then 5 mm", KINDS["2.5 mm, then 5 mm"], says="The distance between slices changes"),
        Row("rounded to 0.1 mm at 1.25 mm", KINDS["rounded to 0.1 mm at 1.25 mm"], says="deviate by up to"),
        Row("jitter of 0.03 mm at 2.5 mm", KINDS["jitter of 0.03 mm"], says="deviate by up to"),
        *(
            Row(f"NaN outside the field, {name}", without_field(np.nan, name=name))
            for name in ("scan.nii.gz", "scan.nrrd")
        ),
        *(Row(f"padding of {value}", without_field(value, np.int16)) for value in (-2000, -3024)),
        Row("padding of -2000 with its tag", KINDS["padding"]),
        Row("a localizer in the same series", plus(scout(False)), says="scout"),
        Row("a localizer in another series", plus(scout(True)), says="scout"),
        Row("two series in one folder", plus(second_series()), ASKS, "series 9"),
        Row(
            "two series in one folder, one chosen", plus(second_series()), arguments=("--series", "9"), says="left out"
        ),
        Row("a thick and a thin series", plus(second_series(1.0)), says="left out"),
        Row("folder of a disc", lambda folder: disc(folder, "")),
        Row("DICOMDIR", lambda folder: disc(folder, "DICOMDIR")),
        Row("zipped folder", KINDS["zip"]),
        Row("one slice twice", KINDS["duplicates"], says="copies"),
        Row("whole series twice", twice, says="copies"),
        Row("two phases in one series", phases, ASKS, "--frame"),
        Row("two phases, one chosen", phases, arguments=("--frame", "2")),
        Row("thumbs.db, .DS_Store and a PDF", plus(clutter)),
        Row("MONOCHROME1", KINDS["MONOCHROME1"]),
        Row("CR image", lambda folder: write_series(folder, 1, Modality="CR"), REFUSED, "CR"),
        Row("PET series", lambda folder: series(folder, Modality="PT"), REFUSED, "PT"),
        Row("one image", lambda folder: write_series(folder, 1), REFUSED, "one slice"),
        Row("PET as NIfTI", pet, ASKS, "PET"),
        Row("mask", of_values(lambda array: (array > -300).astype(np.uint8), ct), ASKS, "mask"),
        Row("CT windowed to 8 bits", of_values(soft, ct), ASKS, "8 bits"),
        Row("CT + 1024", of_values(air, ct), ASKS, "--intensity-offset -1024"),
        Row("CT + 1024, with the offset", of_values(air, ct), arguments=("--intensity-offset", "-1024")),
        *(Row(f"MR {name}", of_values(change, mr)) for name, change in normed),
        Row("CT 10 mm thick every 5 mm", lambda folder: series(folder, SliceThickness=2 * SPACING_MM)),
        Row("CT 3 mm thick every 5 mm", lambda folder: series(folder, SliceThickness=0.6 * SPACING_MM)),
        Row("time series", time_series(5), ASKS, "--frame"),
        Row("time series, one frame", time_series(5), arguments=("--frame", "3")),
        Row("time series, all frames", time_series(3), arguments=("--all-frames",)),
        Row("4D with one frame", time_series(1)),
        Row("colour", by_itk(sitk.sitkVectorUInt8, 3), REFUSED, "values per voxel"),
        Row("complex", by_itk(sitk.sitkComplexFloat32, 0), REFUSED, "complex"),
        Row("10 x 10 x 5 of CT", part((5, 10, 10)), arguments=("--model", "ct")),
        Row("2 x 2 x 8 of CT", part((8, 2, 2)), arguments=("--model", "ct")),
        Row("1 slice", part((1, 48, 48)), REFUSED, "at least"),
        Row("3 slices", part((3, 48, 48)), REFUSED, "at least"),
        Row("2500 x 2500 x 5, what it would take", large, arguments=("info", "--ratio", "2"), says="GB"),
        Row("qform and sform that disagree", disagreeing, says="form"),
        Row("wrong pixdim", wrong_pixdim),
        Row("no codes", lambda folder: as_image(ct(), folder, "scan.nii.gz", codes=(0, 0))),
        Row("NIfTI-2", lambda folder: as_image(ct(), folder, "scan.nii.gz", kind=nibabel.Nifti2Image)),
        Row(".gz without .nii", unnamed("scan.gz")),
        Row("no ending", unnamed("scan")),
        Row(".hdr and .img", hdr_img),
        Row(".mgz", mgz),
        *(Row(f"a file {name}", named(name)) for name in ("Schädel Ö.nii.gz", "頭部.nii.gz", "a scan (1).nii.gz")),
        Row("a symbolic link", linked),
        Row("SCAN.NII.GZ", capitals),
        Row("a read-only folder", named("scan.nii.gz", read_only=True)),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
