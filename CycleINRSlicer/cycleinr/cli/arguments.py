"""Arguments that several commands share, and what they come to as the engine's options."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from .. import RequestError
from ..computer import DEFAULT_LIMIT_BYTES
from ..grid import Target
from ..request import Region, UpsampleOptions, parse_number, parse_thickness

Input = Annotated[
    Path,
    typer.Argument(
        # Whether it can be read shows when it is read, with the exit code for inputs
        readable=False,
        help="Scan: .nii, .nii.gz, .nrrd, .mha, .mhd, .mgz, .hdr and .img, a DICOM folder, one file of a DICOM series, "
        "or a zip archive of these.",
    ),
]
SeriesNumber = Annotated[
    str,
    typer.Option(
        "--series",
        metavar="NUMBER",
        help="Of several DICOM series, the one with this number, as cycleinr info lists them; by default the only one "
        "that can be made finer, or the only one with slices 2 mm or more apart.",
    ),
]
Frame = Annotated[
    int | None,
    typer.Option("--frame", metavar="N", help="Of several volumes (phases, echoes, time points), the N-th from 1."),
]


def _number(text: str | float) -> float:
    try:
        # Defaults are numbers
        return parse_number(str(text))
    except RequestError as error:
        raise typer.BadParameter(str(error)) from None


Spacing = Annotated[
    float | None,
    typer.Option(
        "--spacing", parser=_number, metavar="MM", help="Distance between the centres of the new slices, in mm."
    ),
]
DeviceName = Annotated[
    str, typer.Option("--device", help="auto (a GPU that works, else the CPU), cpu, cuda, cuda:N, mps.")
]
MemoryLimit = Annotated[
    float | None,
    typer.Option(
        "--memory-limit",
        parser=_number,
        metavar="GB",
        help=f"Most memory in GB beside the volumes; by default {DEFAULT_LIMIT_BYTES / 1e9:g} (more on a GPU).",
    ),
]
DeterministicUids = Annotated[
    bool,
    typer.Option("--deterministic-uids", help="DICOM: the same run gives the same UIDs and the same files."),
]
Compress = Annotated[bool, typer.Option("--compress", help="DICOM: RLE Lossless, about half the size.")]
WindowName = Annotated[
    str,
    typer.Option(
        "--window",
        help="Display window of report and verdict: auto (by the scan), brain, soft-tissue, abdomen, lung, bone, "
        "WIDTH/LEVEL.",
    ),
]


class CommandRequest(NamedTuple):
    """What a command's options ask for, and whether a target is among them."""

    options: UpsampleOptions
    named: bool


def with_request(*left_out: str, ratio: float | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that make up a request, in the place of its parameter ``request``.

    Args:
        left_out: Options that it does not have.
        ratio: What stands for a target where none is given; None refuses that.
    """
    shared = {n: each for n, each in signature(_request, eval_str=True).parameters.items() if n not in left_out}
    del shared["default_ratio"]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters: list[Parameter] = []
        for each in signature(command, eval_str=True).parameters.values():
            parameters += shared.values() if each.name == "request" else [each]

        @wraps(command)
        def run(**given: Any) -> None:
            command(request=_request(ratio, **{name: given.pop(name) for name in shared}), **given)

        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _request(
    default_ratio: float | None,
    spacing: Spacing = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            "--ratio", parser=_number, metavar="NUMBER", help="How many times finer; need not be whole, such as 5/3."
        ),
    ] = None,
    isotropic: Annotated[bool, typer.Option("--isotropic", help="As fine as the pixels within a slice.")] = False,
    axis: Annotated[
        str, typer.Option("--axis", help="Slice direction: i, j, k, or auto for the one with the largest spacing.")
    ] = "auto",
    thickness: Annotated[
        str,
        typer.Option(
            "--thickness",
            help="Slice thickness in mm; 0 means thin slices with gaps. auto: what DICOM says, else contiguous slabs.",
        ),
    ] = "auto",
    model: Annotated[
        str, typer.Option("--model", help="auto (CT or MR by the scan), ct, mr, or a weights file.")
    ] = "auto",
    extent: Annotated[
        str,
        typer.Option(
            "--extent",
            help="centres: new slices from the first old slice's centre to the last one's. edges: the outer halves "
            "too.",
        ),
    ] = "centres",
    device: DeviceName = "auto",
    memory_limit: MemoryLimit = None,
    equalize_slices: Annotated[
        bool,
        typer.Option(
            "--equalize-slices",
            help="For 2D MR whose brightness jumps from slice to slice: even it out before the network. Acquired "
            "slices keep their brightness in the result; between them it changes smoothly.",
        ),
    ] = False,
    intensity_offset: Annotated[
        float,
        typer.Option(
            "--intensity-offset",
            parser=_number,
            metavar="HU",
            help="What makes HU of a CT's values when it is added, -1024 for CT stored without negative values. The "
            "result keeps the scan's own values.",
        ),
    ] = 0.0,
    fill_gaps: Annotated[
        bool,
        typer.Option(
            "--fill-gaps",
            help="Compute also where several slices are missing; the result's .json says which of its slices lie "
            "there.",
        ),
    ] = False,
    region: Annotated[
        str,
        typer.Option(
            "--region",
            metavar="I0:I1,J0:J1,K0:K1",
            help="Compute this part of the scan only: first voxel and the one behind the last along i, j and k.",
        ),
    ] = "",
) -> CommandRequest:
    named = spacing is not None or ratio is not None or isotropic
    options = UpsampleOptions(
        Target(spacing, ratio if named else default_ratio, isotropic),
        axis=axis,
        extent=extent,
        thickness_mm=parse_thickness(thickness),
        model=model,
        device=device,
        memory_limit_gb=memory_limit,
        equalize_slices=equalize_slices,
        intensity_offset=intensity_offset,
        fill_gaps=fill_gaps,
        region=Region.of(region) if region else None,
    )
    return CommandRequest(options, named)
