"""``cycleinr evaluate``: how well methods restore fine volumes that were made coarse."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..evaluation.methods import Method
    from ..evaluation.segmentation import Segmenter


def evaluate_command(
    scans: Annotated[
        Path,
        typer.Argument(
            help="Folder of fine volumes, whose slice direction is k; or a CSV file with the columns thick and thin: "
            "real pairs of scans, which ratios and conditions do not apply to."
        ),
    ],
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
        str,
        typer.Option(
            help="Of nearest, linear, bspline, lanczos, noise_matched, cycleinr; NAME=FILE adds weights of any "
            "architecture that was trained with cycleinr train."
        ),
    ] = "linear,bspline,noise_matched,cycleinr",
    weights: Annotated[
        list[Path] | None, typer.Option(help="Weights files to compare as well; may be given several times.")
    ] = None,
    without_consistency: Annotated[
        list[Path] | None, typer.Option(help="Weights files to compare bare, without data consistency.")
    ] = None,
    segment: Annotated[
        str, typer.Option(help="Also compare segmentations of these, separated by commas: bone, lung, skin (CT).")
    ] = "",
    segmenter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=COMMAND: compare another program's segmentation; {input} and {output} become files."),
    ] = None,
    crop: Annotated[
        int | None, typer.Option(help="Only the central square of this many pixels, for methods that take hours.")
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw figures into the output folder.")] = True,
    strip: Annotated[
        Path | None, typer.Option(help="A thick-slice scan to draw at ratios 1.5 to 6 with the last method.")
    ] = None,
    lpips: Annotated[Path | None, typer.Option(help="Folder with the weights of LPIPS-squeeze.")] = None,
    lpips_nets: Annotated[
        str,
        typer.Option(
            help="Backbones of LPIPS, separated by commas: squeeze, alex, vgg. The last two need the lpips package, "
            "which downloads their weights when first used."
        ),
    ] = "squeeze",
    fid: Annotated[
        bool,
        typer.Option(
            "--fid", help="Also FID; needs torchmetrics and torch-fidelity, which download weights when first used."
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, mps.")] = "auto",
) -> None:
    """Degrade fine volumes, restore them with every method, and measure; can be stopped and started again."""
    # What is asked for wrongly is said before the seconds that the imports below take
    chosen = _methods(methods, weights or (), without_consistency or (), device)
    found = _segmenters(segment, segmenter or ())

    from cycleinr.files import read_volume

    from ..evaluation.pair_table import read_pairs
    from ..evaluation.protocol import parse_ratio
    from ..evaluation.report import write_report
    from ..evaluation.runner import EvaluationPlan, evaluate, evaluate_pairs

    numbers = [parse_ratio(text) for text in ratios.split(",")]
    plan = EvaluationPlan(numbers, conditions.split(","), chosen, lpips, found, crop, _listed(lpips_nets), fid)
    if scans.suffix.lower() == ".csv":
        evaluation = evaluate_pairs(read_pairs(scans), output, plan)
    else:
        evaluation = evaluate(scans, output, plan)
    for text in (*evaluation.failures, *evaluation.notes):
        print(text, file=sys.stderr)
    print(write_report(output, chosen, evaluation)[0].read_text(encoding="utf-8"))
    if figures:
        from ..evaluation.gallery import draw_all

        draw_all(output, chosen)
    if strip:
        from ..evaluation.gallery import draw_strip

        draw_strip(read_volume(strip), list(chosen.values())[-1], output / "figures" / "strip.png")
    if evaluation.failures:
        raise typer.Exit(1)


def _methods(text: str, weights: Iterable[Path], bare: Iterable[Path], device: str) -> dict[str, Method]:
    """Methods by name, in the order in which they were asked for."""
    from cycleinr import RequestError

    from ..evaluation.methods import METHODS
    from ..evaluation.network_method import method_of_weights, network_method
    from ..evaluation.peers.bare_method import bare_method

    known = {**METHODS, "cycleinr": network_method("cycleinr", "CycleINR", device=device)}
    chosen = {}
    for item in filter(None, text.split(",")):
        name, _, file = item.partition("=")
        if not file and name not in known:
            raise RequestError(
                f"There is no method {name}. Choose of {', '.join(known)}, or give weights as NAME=FILE.safetensors."
            )
        chosen[name] = method_of_weights(name, Path(file), device) if file else known[name]
    for path in weights:
        chosen[path.stem] = method_of_weights(path.stem, path, device)
    for path in bare:
        name = f"{path.stem}_bare"
        chosen[name] = bare_method(name, f"{path.stem} without consistency", path, device)
    return chosen


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _segmenters(text: str, commands: Iterable[str]) -> dict[str, Segmenter]:
    """Segmenters by structure."""
    from cycleinr import RequestError

    from ..evaluation.segmentation import CT_SEGMENTERS, CommandSegmenter

    wanted = [name for name in text.split(",") if name]
    unknown = [name for name in wanted if name not in CT_SEGMENTERS]
    if unknown:
        raise RequestError(
            f"There is no built-in segmenter {', '.join(unknown)}. Choose of {', '.join(CT_SEGMENTERS)}, or give a "
            "program with --segmenter NAME=COMMAND."
        )
    chosen = {name: CT_SEGMENTERS[name] for name in wanted}
    for item in commands:
        name, _, command = item.partition("=")
        if "{input}" not in command or "{output}" not in command:
            raise RequestError(f"The segmenter {item!r} must be NAME=COMMAND with {{input}} and {{output}} in it.")
        chosen[name] = CommandSegmenter(command)
    return chosen
