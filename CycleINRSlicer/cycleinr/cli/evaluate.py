"""``cycleinr evaluate``: how well methods restore fine volumes that were made coarse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def evaluate_command(
    folder: Annotated[Path, typer.Argument(help="Folder of fine volumes; k is their slice direction.")],
    output: Annotated[
        Path, typer.Argument(help="Folder for rows.csv, summary.md and summary.tex; resumed if it exists.")
    ],
    ratios: Annotated[
        str, typer.Option(help="Ratios, separated by commas; fractions such as 5/3 are allowed.")
    ] = "2,3,5",
    conditions: Annotated[
        str, typer.Option(help="subsampled, slabs, or both separated by a comma.")
    ] = "subsampled,slabs",
    methods: Annotated[
        str, typer.Option(help="Of nearest, linear, bspline, lanczos, noise_matched, cycleinr.")
    ] = "linear,bspline,noise_matched,cycleinr",
    weights: Annotated[
        list[Path] | None, typer.Option(help="Weights files to compare as well; may be given several times.")
    ] = None,
    lpips: Annotated[Path | None, typer.Option(help="Folder with the weights of LPIPS-squeeze.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")] = "auto",
) -> None:
    """Degrade fine volumes, restore them with every method, and measure; can be stopped and started again."""
    from ..errors import RequestError
    from ..evaluation.methods import METHODS
    from ..evaluation.network_method import network_method
    from ..evaluation.protocol import parse_ratio
    from ..evaluation.report import write_report
    from ..evaluation.runner import Plan, evaluate

    known = {**METHODS, "cycleinr": network_method("cycleinr", "CycleINR", device=device)}
    wanted = [name for name in methods.split(",") if name]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise RequestError(f"There is no method {', '.join(unknown)}. Choose of {', '.join(known)}.")
    chosen = {name: known[name] for name in wanted}
    for path in weights or ():
        chosen[path.stem] = network_method(path.stem, f"CycleINR {path.stem}", path, device)
    plan = Plan([parse_ratio(text) for text in ratios.split(",")], conditions.split(","), chosen, lpips)
    evaluation = evaluate(folder, output, plan)
    for text in (*evaluation.failures, *evaluation.notes):
        print(text, file=sys.stderr)
    print(write_report(output, chosen, evaluation)[0].read_text(encoding="utf-8"))
    if evaluation.failures:
        raise typer.Exit(1)
