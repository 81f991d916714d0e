"""The model card of a finished run: what the weights are, what they were trained on, what they are for."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import torch
from cycleinr import RequestError, __version__
from cycleinr.weights import read_card

from ..networks import network_class
from .config import Source, TrainingConfig
from .loop import LOG

INTENDED_USE = (
    "Review and research: finer slices from thick-slice scans of the stated modality, beside the original. "
    "Results are derived, not acquired. Not for primary diagnosis."
)


_TOLD = (
    "learning_rate", "ema", "cycle_weight", "window_weight", "extreme_weight", "teacher_weight", "bfloat16_share",
    "initial_share",
)  # fmt: skip


def model_card(config: TrainingConfig, folder: Path, name: str = "") -> dict:
    """Put a run's facts together; ``cycleinr_research.weights.save_network`` adds sizes and hash.

    Args:
        config: The run.
        folder: Its folder, whose log holds the last validation.
        name: Name of the weights; the run's by default.
    """
    modalities = sorted({source.modality for source in config.sources})
    return {
        "name": name or config.name,
        "modality": "/".join(modalities),
        "cycleinr_version": __version__,
        "torch_version": torch.__version__,
        "intended_use": INTENDED_USE,
        "method": network_class(config.architecture).method,
        "training": {
            **_done(folder / LOG, config),
            "seed": config.seed,
            "batch": config.batch,
            **{name: getattr(config, name) for name in _TOLD},
            "patch": asdict(config.patch),
            "teachers": [read_card(Path(weights)).get("name") for weights in config.teacher_weights],
            "started_from": _start(config.initial_weights),
            "ratios": [config.patch.ratio_min, config.patch.ratio_max],
            "data": [volume for source in config.sources for volume in training_data(source)],
        },
        "validation_gain_over_linear_db": last_validation(folder / LOG),
    }


def _done(log: Path, config: TrainingConfig) -> dict[str, float]:
    """Steps and minutes that the run took, from its log; runs can end by the clock."""
    found = [entry for entry in _entries(log) if "l1" in entry]
    last = found[-1] if found else {"step": config.steps}
    return {"steps": last["step"], **({"minutes": last["minutes"]} if "minutes" in last else {})}


def _start(initial_weights: str) -> dict | None:
    """Name and training of the weights that a run began with; theirs count as this model's data too."""
    if not initial_weights:
        return None
    card = read_card(Path(initial_weights))
    return {"name": card.get("name"), "training": card.get("training")}


def training_data(source: Source) -> list[dict[str, str]]:
    """Name, origin and licence of each volume, as the manifest gives them."""
    known = _manifest(source)
    return [
        {"name": n, "source": known.get(n, {}).get("source_repo", ""), "licence": known.get(n, {}).get("licence", "")}
        for n in source.names()
    ]


def check_subjects(config: TrainingConfig) -> None:
    """Check that nobody is both trained and validated on, whichever part of the body the volumes show.

    Raises:
        RequestError: Somebody is; the manifest's column ``subject`` says who.
    """
    trained, validated = (
        {_manifest(source).get(name, {}).get("subject") or name for source in sources for name in source.names()}
        for sources in (config.sources, config.validation)
    )
    if both := sorted(trained & validated):
        raise RequestError(
            f"{', '.join(both)}: volumes of the same subject are among the training and the validation scans. Exclude "
            "them from one of the two in the configuration."
        )


def _manifest(source: Source) -> dict[str, dict[str, str]]:
    """Rows by name of the ``MANIFEST.csv`` two folders up; none where there is no such file."""
    path = Path(source.folder).parents[1] / "MANIFEST.csv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as rows:
        return {row["name"]: row for row in csv.DictReader(rows)}


def last_validation(log: Path) -> dict[str, float]:
    """The newest validation entry of a training log; empty where there is none."""
    found = [entry["gain_over_linear_db"] for entry in _entries(log) if "gain_over_linear_db" in entry]
    return found[-1] if found else {}


def _entries(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
