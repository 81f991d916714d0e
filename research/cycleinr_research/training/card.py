"""The model card of a finished run: what the weights are, what they were trained on, what they are for."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from cycleinr import __version__
from cycleinr.network.architectures import network_class
from cycleinr.network.weights import read_card

from .config import TrainingConfig
from .loop import LOG

INTENDED_USE = (
    "Review and research: finer slices from thick-slice scans of the stated modality, beside the original. "
    "Results are derived, not acquired. Not for primary diagnosis."
)


def model_card(config: TrainingConfig, folder: Path, name: str = "") -> dict:
    """Put a run's facts together; ``network.weights.save_network`` adds sizes and hash.

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
            "cycle_weight": config.cycle_weight,
            "learning_rate": config.learning_rate,
            "started_from": _start(config.initial_weights),
            "ratios": [config.patch.ratio_min, config.patch.ratio_max],
            "data": [volume for source in config.sources for volume in training_data(source.folder, source.exclude)],
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


def training_data(folder: str, exclude: tuple[str, ...]) -> list[dict[str, str]]:
    """Name, origin and licence of each volume, from the ``MANIFEST.csv`` two folders up where there is one."""
    import csv

    names = [p.name.split(".")[0] for p in sorted(Path(folder).glob("*.nii.gz"))]
    manifest = Path(folder).parents[1] / "MANIFEST.csv"
    known = {}
    if manifest.exists():
        with manifest.open(encoding="utf-8", newline="") as rows:
            known = {row["name"]: row for row in csv.DictReader(rows)}
    return [
        {"name": n, "source": known.get(n, {}).get("source_repo", ""), "licence": known.get(n, {}).get("licence", "")}
        for n in names
        if n not in exclude
    ]


def last_validation(log: Path) -> dict[str, float]:
    """The newest validation entry of a training log; empty where there is none."""
    found = [entry["gain_over_linear_db"] for entry in _entries(log) if "gain_over_linear_db" in entry]
    return found[-1] if found else {}


def _entries(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
