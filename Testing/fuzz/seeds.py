"""Small valid files of everything that the engine reads, from a real MR; fuzzing starts from these."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cycleinr.files import image_suffix, read_volume, write_volume
from cycleinr.volume import Volume
from places import REPOSITORY

CROP = (slice(0, 40, 5), slice(30, 54), slice(30, 50))


@dataclass(frozen=True)
class Seed:
    """Valid files and what reads them.

    Attributes:
        kind: "volume", "weights", "table" or "training"; see ``reader_process``.
        files: Contents by file name.
        path: Name of the file to read, "" for the folder.
    """

    kind: str
    files: dict[str, bytes]
    path: str

    def __repr__(self) -> str:
        return f"Seed({self.kind}, {self.path or 'folder'})"


def make_seeds(folder: Path) -> dict[str, Seed]:
    """All seeds by name; ``folder`` is written into."""
    images = {suffix: _image(folder, suffix) for suffix in (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")}
    raw = {f"raw{suffix}": _raw_image(folder, suffix) for suffix in (".nrrd", ".nhdr", ".mha", ".mhd")}
    series = {name: _series(folder, name) for name in ("explicit", "implicit", "rle", "JPEG", "JPEG2000")}
    series["disc"] = _disc(folder, series["explicit"])
    series |= {name: _enhanced(folder, name) for name in ("enhanced", "enhanced rle")}
    one = {"dicom file": Seed("volume", series["explicit"].files, next(iter(series["explicit"].files)))}
    others = {"weights": _weights(folder), "table": _table(), "training": _training()}
    images |= {name: _by_nibabel(folder, name) for name in (".hdr", ".nii 2", ".mgz")}
    images[".zip"] = _zipped(series["rle"])
    return {**images, **raw, **{f"dicom {name}": seed for name, seed in series.items()}, **one, **others}


def scan() -> Volume:
    """A thick-slice crop of the bundled MR, 8 x 24 x 20 voxels."""
    fine = read_volume(REPOSITORY / "Testing/data/mr_head_1mm.nii.gz")
    affine = fine.ijk_to_ras.copy()
    affine[:3, 2] *= CROP[0].step
    return Volume(fine.array[CROP], affine, "MR")


def _files_of(folder: Path, kind: str, path: str) -> Seed:
    return Seed(kind, {file.name: file.read_bytes() for file in sorted(folder.iterdir())}, path)


def _image(folder: Path, suffix: str) -> Seed:
    place = folder / f"image{suffix}"
    place.mkdir()
    write_volume(scan(), place / f"scan{suffix}")
    return _files_of(place, "volume", f"scan{suffix}")


def _raw_image(folder: Path, suffix: str) -> Seed:
    """Uncompressed, as many programs write it."""
    import SimpleITK as sitk

    place = folder / f"raw{suffix}"
    place.mkdir()
    image = sitk.GetImageFromArray(scan().array)
    image.SetSpacing(scan().spacing_ijk_mm)
    sitk.WriteImage(image, str(place / f"scan{suffix}"), useCompression=False)
    return _files_of(place, "volume", f"scan{suffix}")


def _by_nibabel(folder: Path, name: str) -> Seed:
    import nibabel

    kinds = {".hdr": nibabel.Nifti1Pair, ".nii 2": nibabel.Nifti2Image, ".mgz": nibabel.MGHImage}
    place = folder / name
    place.mkdir()
    file = f"scan{name.partition(' ')[0]}"
    nibabel.save(kinds[name](scan().array.astype(np.int16).T, scan().ijk_to_ras), place / file)
    return _files_of(place, "volume", file)


def _zipped(series: Seed) -> Seed:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in series.files.items():
            archive.writestr(zipfile.ZipInfo(f"series/{name}"), data, zipfile.ZIP_DEFLATED)
    return Seed("volume", {"scan.zip": content.getvalue()}, "scan.zip")


def _disc(folder: Path, series: Seed) -> Seed:
    """A series with its catalogue, each slice twice."""
    import pydicom
    from dicom_maker import write_file

    first = pydicom.dcmread(io.BytesIO(next(iter(series.files.values()))), stop_before_pixels=True)
    catalogue = pydicom.Dataset()
    catalogue.file_meta = first.file_meta
    catalogue.file_meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    catalogue.FileSetID = "DISC"
    write_file(folder / "DICOMDIR", catalogue)
    copies = {f"copy-{name}": content for name, content in series.files.items()}
    return Seed("volume", {**series.files, **copies, "DICOMDIR": (folder / "DICOMDIR").read_bytes()}, "DICOMDIR")


def _series(folder: Path, encoding: str) -> Seed:
    import pydicom
    import SimpleITK as sitk
    from dicom_maker import write_series

    place = write_series(
        folder / f"dicom-{encoding}", len(scan().array), pixels=lambda n: scan().array[n].astype(np.uint16)
    )
    for file in sorted(place.iterdir()):
        data = pydicom.dcmread(file)
        if encoding == "implicit":
            data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
            pydicom.dcmwrite(file, data, implicit_vr=True, little_endian=True)
        elif encoding == "rle":
            data.compress(pydicom.uid.RLELossless)
            data.save_as(file)
        elif encoding in ("JPEG", "JPEG2000"):
            whole = pydicom.dcmread(file)
            part = file.with_suffix(".tmp.dcm")
            image = sitk.GetImageFromArray(whole.pixel_array[None].astype(np.int16))
            writer = sitk.ImageFileWriter()
            writer.SetFileName(str(part))
            writer.UseCompressionOn()
            writer.SetCompressor(encoding)
            writer.Execute(image)
            coded = pydicom.dcmread(part)
            for key in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
                whole[key] = coded[key]
            whole.file_meta.TransferSyntaxUID = coded.file_meta.TransferSyntaxUID
            whole.save_as(file)
            part.unlink()
    return _files_of(place, "volume", "")


def _enhanced(folder: Path, encoding: str) -> Seed:
    """All slices in one file; those of the compressed one have a rescale each."""
    import pydicom
    from dicom_maker import frame, write_enhanced

    place = folder / f"dicom-{encoding}"
    place.mkdir()
    frames = []
    for n, pixels in enumerate(scan().array):
        own = {"PixelValueTransformationSequence": {"RescaleSlope": n + 1, "RescaleIntercept": 0}}
        frames.append((pixels.astype(np.uint16), frame(n, **(own if encoding == "enhanced rle" else {}))[1]))
    file = write_enhanced(place / "enhanced.dcm", frames)
    if encoding == "enhanced rle":
        data = pydicom.dcmread(file)
        data.compress(pydicom.uid.RLELossless)
        data.save_as(file)
    return _files_of(place, "volume", "enhanced.dcm")


def _weights(folder: Path) -> Seed:
    from cycleinr.network.model import CycleINR
    from cycleinr.weights import NetworkConfig
    from cycleinr_research.weights import save_network

    place = folder / "weights"
    sizes = NetworkConfig(width=4, blocks=1, heads=2, decoder_width=4, decoder_layers=1, conditioning_width=4)
    save_network(CycleINR(sizes), place / "tiny.safetensors", {"name": "tiny", "modality": "MR"})
    return _files_of(place, "weights", "tiny.safetensors")


def _table() -> Seed:
    text = (
        "input,output,spacing,ratio,isotropic,axis,thickness,model,extent,format\n"
        "a.nii.gz,ct/a.nii.gz,1.5,,,k,3,ct,centres,nii.gz\n"
        "b.nrrd,b,,2,no,auto,auto,auto,edges,auto\n"
        '"c, d.mha",,,,yes,,0,mr,,\n'
    )
    return Seed("table", {"scans.csv": text.encode()}, "scans.csv")


def _training() -> Seed:
    text = (REPOSITORY / "research" / "training" / "ct_cycle.toml").read_bytes()
    return Seed("training", {"training.toml": text}, "training.toml")


def is_compressed(name: str) -> bool:
    """Whether a file is gzip as a whole."""
    return image_suffix(name) == ".nii.gz" or name.endswith((".raw.gz", ".mgz"))
