"""What a training run is made of; read from a TOML file, kept in every checkpoint and model card."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from cycleinr import RequestError
from cycleinr.volume import MODALITIES
from cycleinr.weights import CYCLEINR, NetworkConfig, Sizes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from ..networks import network_class

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MANY = 10**9
_MAX_SEED = 2**40
"""The generators take 64 bits, and each step has a million seeds of its own."""


@dataclass(frozen=True)
class Source:
    """A folder of fine volumes to train or validate on."""

    folder: str
    modality: str
    weight: float = 1.0
    exclude: tuple[str, ...] = ()

    def __post_init__(self):
        _check_numbers(self, {"weight": (0, 1e6)})
        if self.modality not in MODALITIES:
            raise RequestError(f"A source's modality is {self.modality!r}; give one of {', '.join(MODALITIES)}.")
        if not all(isinstance(name, str) for name in self.exclude):
            raise RequestError(f"A source excludes {list(self.exclude)!r:.80}; give a list of names.")

    def paths(self) -> list[Path]:
        """The folder's volumes without the excluded ones, by name."""
        found = sorted(Path(self.folder).glob("*.nii.gz"))
        return [path for path in found if path.name.split(".")[0] not in self.exclude]

    def names(self) -> list[str]:
        return [path.name.split(".")[0] for path in self.paths()]


@dataclass(frozen=True)
class PatchConfig:
    """How a training example is cut out of a fine volume.

    Attributes:
        slices: Acquired slices in a patch.
        pixels: Rows and columns of a patch.
        queries: Fine slices that a patch is compared at.
        ratio_min, ratio_max: Range of acquired over fine slice spacing.
        ratio_even_in_log: Draw ratios evenly in their logarithm, so that the small ones that most scans need are half.
        whole_ratio_share: Share of patches whose ratio is a whole number.
        thin_share: Share of batches with thin slices and gaps (tau = 0); the cycle loss acts on these.
        native_axis_share: Chance to keep the scan's own slice direction where the spacing allows others.
        intensity_jitter: Largest relative change of contrast and of brightness.
        softness_max: Largest softness of a slice profile (``patches.SoftProfile``); 0 draws exact boxes only.
        box_share: Share of the thick examples whose profile is an exact box all the same.
        thickness_error: Largest relative error of the thickness that the network is told.
        uneven_share: Share of the thick examples in which one slice is left out or the spacing changes on the way.
        consistent_share: Share of the thick batches that are also compared after bounded consistency with the acquired
            slices, at twice the queries side by side.
        sharpness_jitter: Largest share of a pixel's value that its in-plane neighbours give or, at half of it, take.
        noise_max: Largest standard deviation of noise added to the fine slices, in network values (0.01: 15 HU).
    """

    slices: int = 9
    pixels: int = 48
    queries: int = 8
    ratio_min: float = 1.5
    ratio_max: float = 6.0
    ratio_even_in_log: bool = False
    whole_ratio_share: float = 0.5
    thin_share: float = 0.5
    native_axis_share: float = 0.5
    intensity_jitter: float = 0.1
    softness_max: float = 0.0
    box_share: float = 0.3
    thickness_error: float = 0.0
    uneven_share: float = 0.0
    consistent_share: float = 0.0
    sharpness_jitter: float = 0.0
    noise_max: float = 0.0

    def __post_init__(self):
        shares = (
            "whole_ratio_share",
            "thin_share",
            "native_axis_share",
            "box_share",
            "uneven_share",
            "consistent_share",
        )
        sizes = {"slices": (2, 1024), "pixels": (1, 4096), "queries": (1, 4096)}
        ranges = {"ratio_min": (1, 100), "ratio_max": (1, 100), "intensity_jitter": (0, 1), "softness_max": (0, 1)}
        jitters = {"thickness_error": (0, 0.99), "sharpness_jitter": (0, 0.5), "noise_max": (0, 1)}
        _check_numbers(self, {**sizes, **ranges, **dict.fromkeys(shares, (0, 1)), **jitters})
        if self.ratio_min > self.ratio_max:
            raise RequestError(f"ratio_min is {self.ratio_min}, above ratio_max, which is {self.ratio_max}.")


@dataclass(frozen=True)
class TrainingConfig:
    """One training run.

    Attributes:
        name: Names the run's folder.
        sources, validation: Volumes to learn from and to watch progress on; never the same.
        architecture, network: Which network (``networks``) and its sizes.
        steps, batch, learning_rate, warmup_steps, clip_norm, ema, weight_decay: The optimisation.
        max_minutes: Ends the run, and brings the learning rate down, by the clock where that comes before ``steps``;
            only training steps count, validation does not. 0 sets no limit.
        cycle_weight: Weight of the cycle-consistent loss beside L1; 0 trains without it.
        window_weight: Weight of L1 inside the soft-tissue window (CT) beside L1 over the whole range.
        extreme_weight: Weight of the loss on voxels beyond the truth's own neighbourhood (``losses.false_extremes``).
        bfloat16_share: Share of the run, from its start, in which the encoder computes in bfloat16; where the processor
            has such products a step takes two thirds of the time. The rest of the run is in full precision.
        teacher_weights, teacher_weight: Weights files whose mean over in-plane flips is a second truth, and the weight
            of L1 against it. A mean over flips and networks errs less than each, and has none of the truth's noise
            (distillation: Hinton et al., 2015).
        initial_weights: Weights file to start from, for fine-tuning.
        initial_share: Share of the initial weights in the finished ones, which are their weighted mean; 0 to 1.
        seed: Fixes initialisation and every patch.
    """

    name: str
    sources: tuple[Source, ...]
    validation: tuple[Source, ...] = ()
    architecture: str = CYCLEINR
    network: Sizes = field(default_factory=NetworkConfig)
    patch: PatchConfig = field(default_factory=PatchConfig)
    steps: int = 10_000
    batch: int = 4
    learning_rate: float = 8e-4
    warmup_steps: int = 200
    clip_norm: float = 1.0
    ema: float = 0.999
    weight_decay: float = 0.0
    max_minutes: float = 0.0
    cycle_weight: float = 0.0
    window_weight: float = 0.0
    extreme_weight: float = 0.0
    teacher_weights: tuple[str, ...] = ()
    teacher_weight: float = 0.0
    bfloat16_share: float = 0.0
    initial_weights: str = ""
    initial_share: float = 0.0
    validate_every: int = 500
    checkpoint_every: int = 250
    seed: int = 0

    def __post_init__(self):
        shares = dict.fromkeys(("ema", "initial_share", "bfloat16_share"), (0, 1))
        counts = dict.fromkeys(("steps", "validate_every", "checkpoint_every"), (1, _MANY))
        weights = dict.fromkeys(("cycle_weight", "window_weight", "extreme_weight", "teacher_weight"), (0, 1e6))
        others = {"batch": (1, 4096), "warmup_steps": (0, _MANY), "max_minutes": (0, _MANY), "seed": (0, _MAX_SEED)}
        rates = {
            "learning_rate": (1e-12, 10),
            "clip_norm": (1e-9, 1e9),
            "ema": (0, 1),
            "weight_decay": (0, 10),
        }
        _check_numbers(self, {**counts, **shares, **weights, **others, **rates})
        if self.initial_share and not self.initial_weights:
            raise RequestError(
                f"initial_share is {self.initial_share:g} without initial_weights. Name them, or leave it out."
            )
        if bool(self.teacher_weight) != bool(self.teacher_weights):
            raise RequestError(
                "A teacher needs both teacher_weights and a teacher_weight above 0. Give both or neither."
            )
        if not isinstance(self.name, str) or not _RUN_NAME.fullmatch(self.name):
            raise RequestError(
                f"The run's name is {self.name!r:.80}; give a plain name of letters, digits, dots, hyphens and "
                "underscores, since a folder is named after it."
            )

    def to_dict(self) -> dict:
        return asdict(self)


def _check_numbers(config: object, ranges: dict[str, tuple[float, float]]) -> None:
    """Check that a configuration's numbers are numbers of the right type, from the lowest to the highest allowed.

    Raises:
        RequestError: One is not.
    """
    for each in fields(config):
        if each.type not in ("int", "float"):
            continue
        value, (low, high) = getattr(config, each.name), ranges[each.name]
        allowed = (int,) if each.type == "int" else (int, float)
        # A NaN is in no range
        if type(value) not in allowed or not low <= value <= high:
            kind = "a whole number" if each.type == "int" else "a number"
            raise RequestError(
                f"The setting {each.name} is {value!r:.80}; give {kind} from {low:g} to {high:g} in the configuration."
            )


def load_config(path: Path) -> TrainingConfig:
    """Read a training configuration.

    Folders are taken relative to the file.

    Raises:
        RequestError: The file is missing, not TOML, has a key that no setting is named after, or a value that its
            setting cannot have.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"The training configuration {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The training configuration {path} is not valid TOML: {error}.") from error
    return config_from_dict(values, path.parent)


def config_from_dict(values: dict, base: Path) -> TrainingConfig:
    """A configuration from plain values, as ``TrainingConfig.to_dict`` writes them."""
    values = dict(values)
    try:
        for key in ("sources", "validation"):
            values[key] = tuple(_source(entry, base) for entry in values.get(key, ()))
        values["network"] = network_class(values.get("architecture", CYCLEINR)).sizes.from_dict(
            values.get("network", {})
        )
        values["patch"] = PatchConfig(**values.get("patch", {}))
        values["teacher_weights"] = tuple(str((base / name).resolve()) for name in values.get("teacher_weights", ()))
        if values.get("initial_weights"):
            values["initial_weights"] = str((base / values["initial_weights"]).resolve())
        return TrainingConfig(**values)
    except (TypeError, KeyError) as error:
        raise RequestError(f"The training configuration has a setting that does not fit: {error}.") from error


def _source(entry: dict, base: Path) -> Source:
    entry = {**entry, "exclude": tuple(entry.get("exclude", ()))}
    # A link stays a link: the manifest is looked for beside it
    return Source(**{**entry, "folder": os.path.abspath(base / entry["folder"])})
