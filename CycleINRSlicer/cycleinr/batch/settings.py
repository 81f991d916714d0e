"""What is wanted of one scan of a batch, and the hash by which a change of it is noticed. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from ..dicom_out import DicomSettings
from ..errors import RequestError
from ..files import image_suffix
from ..grid import AXIS_OF_ARRAY, EXTENTS
from ..request import BUNDLED, UpsampleOptions, find_weights
from ..weights import read_card

FORMATS = ("auto", "nii.gz", "nii", "nrrd", "mha", "dicom", "dicom-enhanced")
_ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}
_ALWAYS_SAID = ("target", "axis", "extent", "thickness_mm", "model")
"""Options that every hash covers; a newer one is said only where it is used, so that results stay valid."""

_DOES_NOT_CHANGE_THE_RESULT = ("device", "memory_limit_gb")


@dataclass(frozen=True)
class Settings:
    """One scan's options.

    Attributes:
        options: As for a single scan.
        format: "nii.gz", "nii", "nrrd", "mha", "dicom", "dicom-enhanced", or "auto" for the input's own format and
            .nii.gz for DICOM.
        dicom: How DICOM series are written.
        report: Also check the result without ground truth, into a folder beside it.

    Raises:
        RequestError: Axis, extent, format or thickness are none that there are.
    """

    options: UpsampleOptions
    format: str = "auto"
    dicom: DicomSettings = DicomSettings()
    report: bool = False

    def __post_init__(self) -> None:
        _one_of("format", self.format, FORMATS)
        _one_of("axis", self.options.axis, ("auto", *AXIS_OF_ARRAY))
        _one_of("extent", self.options.extent, EXTENTS)
        thickness = self.options.thickness_mm
        if thickness is not None and not (math.isfinite(thickness) and thickness >= 0):
            raise RequestError(f"The thickness is {thickness:g} mm. Give 0 or more, or auto.")

    @property
    def content(self) -> dict:
        """Everything that decides the result, as JSON holds it."""
        default = {one.name: one.default for one in fields(UpsampleOptions)}
        wanted = {
            name: value
            for name, value in asdict(self.options).items()
            if name in _ALWAYS_SAID or (name not in _DOES_NOT_CHANGE_THE_RESULT and value != default[name])
        }
        # What came later is said only where it is used, so that batches from before are not done again
        dicom = {name: value for name, value in asdict(self.dicom).items() if name != "multi_frame" or value}
        return {**wanted, "format": self.format, "dicom": dicom, **({"report": True} if self.report else {})}

    @property
    def sha256(self) -> str:
        """Hash of ``content``."""
        return digest(self.content)

    def weights_sha256(self) -> dict[str, str]:
        """Hashes of the weights that may be used, by name; for "auto" those of both modalities.

        Raises:
            ModelError: There are no such weights, or their card is damaged.
        """
        names = BUNDLED if self.options.model == "auto" else (self.options.model,)
        return {name: _hash_of_weights(name) for name in names}

    def ending(self, input: Path) -> str:
        """How the result's name ends: ".nii.gz" and so on, "" for a DICOM series."""
        if self.format == "auto":
            suffix = image_suffix(input)
            return _ONE_FILE.get(suffix, suffix) or ".nii.gz"
        return "" if self.format.startswith("dicom") else f".{self.format}"


def digest(content: object) -> str:
    """SHA-256 of anything that JSON can hold, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _one_of(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RequestError(f"The {what} is {value!r}. Choose one of {', '.join(choices)}.")


@lru_cache(maxsize=64)
def _hash_of_weights(name: str) -> str:
    return str(read_card(find_weights(name)).get("sha256"))
