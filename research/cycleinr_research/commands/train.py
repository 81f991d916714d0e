"""``cycleinr train``: train a model from a TOML configuration; the same command resumes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def train_command(
    config: Annotated[Path, typer.Argument(help="Training configuration (TOML).")],
    runs: Annotated[Path, typer.Option("--runs", help="Folder for checkpoints and logs, one sub-folder a run.")] = Path(
        "runs"
    ),
    export: Annotated[
        Path | None, typer.Option("--export", help="Also write the weights and their model card here (.safetensors).")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning Fabric accelerator: auto, cpu, cuda, mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="Number of devices to train on.")] = 1,
) -> None:
    """Train a model, or go on with a run that was interrupted."""
    from lightning_fabric import Fabric

    from ..training.card import check_subjects, model_card
    from ..training.config import load_config
    from ..training.loop import Trainer
    from ..weights import save_network

    settings = load_config(config)
    check_subjects(settings)
    fabric = Fabric(accelerator=accelerator, devices=devices)
    fabric.launch()
    folder = runs / settings.name
    network = Trainer(settings, folder, fabric, lambda entry: print(json.dumps(entry), flush=True)).run()
    if fabric.global_rank == 0:
        weights = export or folder / f"{settings.name}.safetensors"
        save_network(network, weights, model_card(settings, folder))
        print(f"{weights} and its model card are written.")
