"""What is wanted of one scan of a batch, and the hash by which a change of it is noticed. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from ..dicom_out.settings import DicomSettings
from ..errors import ModelError, RequestError
from ..files import image_suffix
from ..grid import AXIS_OF_ARRAY, EXTENTS, Target
from ..inference.models import BUNDLED, bundled_weights
from ..inference.options import UpsampleOptions
from ..network.weights import read_card

FORMATS = ("auto", "nii.gz", "nii", "nrrd", "mha", "dicom", "dicom-enhanced")
_ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}
_ALWAYS_SAID = ("target", "axis", "extent", "thickness_mm", "model")
"""Options that the key of every case holds; a newer one is said only where it is used, so that results stay valid."""

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
        """Everything that decides the result, as JSON holds it; weights by their hash."""
        wanted = {**_telling(self.options), "format": self.format, "dicom": _chosen(self.dicom)}
        # Without one nothing is said of it, so that batches from before there were reports are not done again
        return {**wanted, "report": True} if self.report else wanted

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

    def to_json(self) -> dict:
        made = {"options": asdict(self.options), "format": self.format, "dicom": asdict(self.dicom)}
        return {**made, "report": self.report}

    @classmethod
    def from_json(cls, content: Mapping) -> Settings:
        options = {**content["options"], "target": Target(**content["options"]["target"])}
        return cls(UpsampleOptions(**options), content["format"], DicomSettings(**content["dicom"]), content["report"])


def _chosen(dicom: DicomSettings) -> dict:
    """Without what came later and is not used, so that results from before stay valid."""
    return {name: value for name, value in asdict(dicom).items() if name != "multi_frame" or value}


def _telling(options: UpsampleOptions) -> dict:
    """The options that decide the result."""
    default = {one.name: one.default for one in fields(options)}
    return {
        name: value
        for name, value in asdict(options).items()
        if name in _ALWAYS_SAID or (name not in _DOES_NOT_CHANGE_THE_RESULT and value != default[name])
    }


def digest(content: object) -> str:
    """SHA-256 of anything that JSON can hold, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=64)
def _hash_of_weights(name: str) -> str:
    weights = bundled_weights(name) if name in BUNDLED else Path(name)
    # pathlib would raise for a name that is too long.
    if not os.path.isfile(weights):
        raise ModelError(f"There are no weights {weights}. Give auto, ct, mr, or the path of a .safetensors file.")
    return str(read_card(weights).get("sha256"))


def _one_of(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RequestError(f"The {what} is {value!r}. Choose one of {', '.join(choices)}.")
