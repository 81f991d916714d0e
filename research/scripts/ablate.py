"""What each part of a training brings: short runs from one start, with one seed and as many steps, one part more each.

    python research/scripts/ablate.py CONFIG.toml START.safetensors FOLDER [STEPS]

CONFIG is the whole recipe; the first run has none of its parts. Prints the gain over linear interpolation on the
central blocks of the validation scans, and writes each run's weights into FOLDER for `cycleinr evaluate --methods
NAME=FILE`. An interrupted run is resumed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from cycleinr_research.training.card import model_card
from cycleinr_research.training.config import PatchConfig, TrainingConfig, load_config
from cycleinr_research.training.loop import Trainer
from cycleinr_research.training.patches import load_sources
from cycleinr_research.training.validation import CONDITIONS, validate, validation_cases
from cycleinr_research.weights import save_network
from lightning_fabric import Fabric

STEPS = 300
LEARNING_RATE = 3e-4
BEFORE = ("ct_lidc0314", "ct_lungfcp0001", "ct_vhf_ankle", "ct_vhf_pelvis")
"""Training volumes of the first releases, less the phantom."""


def variants(config: TrainingConfig) -> dict[str, TrainingConfig]:
    """The runs by name, each with what the one before it has and one part more."""
    patch, plain = config.patch, PatchConfig()
    names = {name for source in config.sources for name in source.names()}
    few = tuple(replace(s, exclude=s.exclude + tuple(sorted(names - set(BEFORE)))) for s in config.sources)
    boxes = replace(
        patch, softness_max=0.0, thickness_error=0.0, uneven_share=0.0, consistent_share=0.0, sharpness_jitter=0.0,
        noise_max=0.0, ratio_even_in_log=False, ratio_max=plain.ratio_max,
    )  # fmt: skip
    bare = replace(config, sources=few, patch=boxes, window_weight=0.0, extreme_weight=0.0, cycle_weight=0.0)
    cycle = replace(bare, cycle_weight=config.cycle_weight)
    data = replace(cycle, sources=config.sources)
    profiles = replace(data, patch=replace(patch, consistent_share=0.0))
    losses = replace(profiles, window_weight=config.window_weight, extreme_weight=config.extreme_weight)
    consistent = replace(losses, patch=patch)
    return {
        "l1": bare, "cycle": cycle, "data": data, "profiles": profiles, "losses": losses, "consistency": consistent,
    }  # fmt: skip


def main(config: str, start: str, folder: str, steps: str = str(STEPS)) -> None:
    whole = replace(
        load_config(Path(config)), initial_weights=start, initial_share=0.0, steps=int(steps), max_minutes=0.0,
        learning_rate=LEARNING_RATE, validate_every=10**6,
    )  # fmt: skip
    kinds = sorted({tau for _, tau in CONDITIONS})
    print("| run |", " | ".join("slabs" if tau else "thin" for tau in kinds), "|", flush=True)
    for name, settings in variants(whole).items():
        run = Path(folder) / name
        network = Trainer(replace(settings, name=name), run, Fabric(accelerator="cpu", devices=1)).run()
        save_network(network, Path(folder) / f"{name}.safetensors", model_card(settings, run))
        gains = validate(network, validation_cases(load_sources(settings.validation)))
        means = []
        for tau in kinds:
            of_kind = [gain for case, gain in gains.items() if case.endswith("slabs" if tau else "thin")]
            means.append(f"{sum(of_kind) / len(of_kind):.3f}")
        print(f"| {name} |", " | ".join(means), "|", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
