"""The front door: what ``import cycleinr`` offers for one scan. Importing this imports neither torch nor SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from os import PathLike
from typing import TYPE_CHECKING, Any

from . import RequestError, callback, checked_call, flag, number, path_text
from .grid import Target
from .inference import upsample as upsample_volume
from .inference.plan import plan as plan_volume
from .request import (
    Region,
    Scan,
    UpsampleOptions,
    find_weights,
    options_of_result,
    read_scan,
    volume_of,
)
from .result import Forecast, Monitor, ProgressCallback, Result
from .volume import Volume

if TYPE_CHECKING:
    import numpy.typing as npt

    from .checks.run import Check
    from .network.model import CycleINR

_MODELS = "Give auto, ct, mr, or the path of a weights file."


@checked_call
def read(path: str | PathLike[str], *, series: int | str | None = None, frame: int | None = None) -> Volume:
    """Read a scan.

    >>> import cycleinr as ci
    >>> ci.read("ct_head_5mm.nii.gz")
    Volume(358 x 422 x 34, 0.488 x 0.488 x 5 mm, LPS, modality unknown, -1024 to 2170, int16)

    Args:
        path: .nii, .nii.gz, .hdr and .img, .mgz, .nrrd, .nhdr, .mha or .mhd; a folder with DICOM series, searched with
            its subfolders; one file of a DICOM series; or a zip archive of these.
        series: Of several DICOM series, the number of the one that is meant; None where only one can be meant.
        frame: Of several volumes (phases, echoes, time points), which one, counted from 1.

    Returns:
        The scan in RAS. Modality and slice thickness are known for DICOM only; ``notes`` say what was left out.

    Raises:
        InputError: Missing, damaged, of another format, or no single 3-D volume.
        GeometryError: Sheared otherwise than by a tilted gantry, or DICOM slices that form no stack.
        OutOfMemoryError: It does not fit into the memory.
    """
    return read_scan(path, series, frame)


@checked_call
def write(volume: Volume | Result, path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Write a volume, or a result with the .json file that says how it was made; whole or not at all.

    >>> import cycleinr as ci
    >>> scan = ci.read("ct_head_5mm.nii.gz")
    >>> ci.write(scan[10:20], "part.nrrd")
    >>> ci.read("part.nrrd").geometry_equal(scan[10:20])
    True

    Args:
        volume: What to write.
        path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd.
        overwrite: Replace existing files.

    Raises:
        OutputError: The format is not supported, the folder is missing or full, or a file exists already.
    """
    if isinstance(volume, (Volume, Result)):
        volume.save(path, overwrite=overwrite)
    else:
        raise RequestError(f"A {type(volume).__name__} cannot be written. Give a cycleinr.Volume or cycleinr.Result.")


class Upsampler:
    """Settings for finer volumes, callable on any number of scans; the network stays loaded between them.

    >>> import cycleinr as ci
    >>> finer = ci.Upsampler(spacing=2, model="ct")
    >>> scan = ci.read("ct_head_5mm.nii.gz")
    >>> [finer(scan[k : k + 4, 200:216, 170:186]).volume.shape_kji for k in (0, 10)]
    [(8, 16, 16), (8, 16, 16)]

    Args:
        spacing, ratio, isotropic, axis, thickness, model, device, extent, region, equalize_slices, intensity_offset,
            fill_gaps, memory_limit: As in ``upsample``.

    Raises:
        RequestError: None or several of spacing, ratio and isotropic; an unknown keyword; or a value that makes no
            sense.
        DeviceError: There is no such kind of device.
    """

    @checked_call
    def __init__(
        self,
        *,
        spacing: float | None = None,
        ratio: float | None = None,
        isotropic: bool = False,
        axis: str = "auto",
        thickness: float | None = None,
        model: str | PathLike[str] = "auto",
        device: str = "auto",
        extent: str = "centres",
        region: str | Region | None = None,
        equalize_slices: bool = False,
        intensity_offset: float = 0.0,
        fill_gaps: bool = False,
        memory_limit: float | None = None,
    ) -> None:
        self.options = UpsampleOptions(
            target=Target(number("spacing", spacing), number("ratio", ratio), flag("isotropic", isotropic)),
            axis=axis,
            extent=extent,
            thickness_mm=number("thickness", thickness),
            model=path_text("model", model, _MODELS),
            device=device,
            memory_limit_gb=number("memory_limit", memory_limit),
            region=None if region is None else Region.of(region),
            equalize_slices=flag("equalize_slices", equalize_slices),
            intensity_offset=number("intensity_offset", intensity_offset) or 0.0,
            fill_gaps=flag("fill_gaps", fill_gaps),
        )

    def __repr__(self) -> str:
        return f"Upsampler({self.options})"

    @checked_call
    def __call__(
        self,
        scan: Scan,
        *,
        affine: npt.ArrayLike | None = None,
        axes: str | None = None,
        series: int | str | None = None,
        frame: int | None = None,
        progress: ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Make one scan finer; arguments, result and errors are those of ``upsample``."""
        monitor = Monitor(callback("progress", progress), callback("cancelled", cancelled))
        return upsample_volume(volume_of(scan, affine, axes, series, frame), self.options, monitor)

    @checked_call
    def plan(
        self,
        scan: Scan,
        *,
        affine: npt.ArrayLike | None = None,
        axes: str | None = None,
        series: int | str | None = None,
        frame: int | None = None,
    ) -> Forecast:
        """What these settings come to for a scan; arguments, result and errors are those of ``cycleinr.plan``."""
        look, options = not isinstance(scan, (str, PathLike)), self.options
        volume = volume_of(scan, affine, axes, series, frame, header_only=not look)
        untold = options.model == "auto" and volume.modality is None and not look
        # Both bundled networks need as much memory, and MR's more time: who waits less is not disappointed
        work = plan_volume(volume, replace(options, model="mr") if untold else options, look=look)
        told_later = "CT or MR: the header does not say, so the values will decide. The time is MR's; CT takes half."
        reason = told_later if untold else work.model_reason
        return Forecast(
            shape_kji=work.shape_kji,
            spacing_ijk_mm=work.spacing_ijk_mm,
            axis=work.grid.axis,
            ratio=work.grid.ratio,
            tau=work.tau,
            thickness_reason=work.tau_reason,
            model=None if untold else str(work.card.get("name", work.weights.stem)),
            model_reason=reason,
            memory_gb=work.peak_gigabytes,
            seconds=work.seconds,
            warnings=work.warnings,
        )


@checked_call
def upsample(
    scan: Scan,
    *,
    spacing: float | None = None,
    ratio: float | None = None,
    isotropic: bool = False,
    axis: str = "auto",
    thickness: float | None = None,
    model: str | PathLike[str] = "auto",
    device: str = "auto",
    extent: str = "centres",
    region: str | Region | None = None,
    equalize_slices: bool = False,
    intensity_offset: float = 0.0,
    fill_gaps: bool = False,
    memory_limit: float | None = None,
    affine: npt.ArrayLike | None = None,
    axes: str | None = None,
    series: int | str | None = None,
    frame: int | None = None,
    progress: ProgressCallback | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Result:
    """Make the slices of a CT or MR scan finer. Give one of ``spacing``, ``ratio`` and ``isotropic``.

    Results are derived, not acquired: not for primary diagnosis. Integer types stay, HU stay HU, in-plane samples never
    move, and the input is not modified.

    >>> import cycleinr as ci
    >>> scan = ci.read("ct_head_5mm.nii.gz")[:, 200:216, 170:186]
    >>> fine = ci.upsample(scan, spacing=1.0)
    >>> fine.volume.shape_kji, fine.volume.spacing_ijk_mm[2]
    ((166, 16, 16), 1.0)
    >>> fine.provenance.model, fine.provenance.tau
    ('ct-...', 1.0)

    An array says where it lies; nothing is guessed:

    >>> fine = ci.upsample(scan.array, affine=scan.ijk_to_ras, axes="kji", ratio=5 / 3)

    Args:
        scan: A path that ``read`` takes, a ``Volume``, a ``SimpleITK.Image``, a nibabel image, or an array with
            ``affine`` and ``axes``.
        spacing: Distance between the new slices' centres in mm.
        ratio: How many times finer, 1 or more; need not be whole.
        isotropic: True for the mean of the in-plane spacings.
        axis: Through-plane axis "i", "j", "k", or "auto" for the one with the largest spacing.
        thickness: Slice thickness in mm; 0 for thin slices with gaps, None for what the scan says, else contiguous
            slabs.
        model: "auto" (CT or MR by the scan), "ct", "mr", or the path of a weights file.
        device: "auto" (a GPU that works, else the CPU), "cpu", "cuda", "cuda:N" or "mps".
        extent: "centres" ends at the outermost slices' centres, "edges" covers their outer halves too.
        region: The part of the scan to compute, as first voxel and the one behind the last along i, j and k, such as
            "100:196,120:216,10:30"; None for all. Intensities, model and noise are judged by the whole scan.
        intensity_offset: What makes HU of a CT's values when it is added, -1024 for one stored without negative values;
            for the network only, the result keeps the scan's own values.
        equalize_slices: Compute with the slices' brightness evened, and put it back; for 2D MR with bright and dark
            slices.
        fill_gaps: True computes also where several slices are missing; ``provenance["gaps"]`` says where that is.
        memory_limit: Most memory beside the volumes in GB; None for 0.65 GB, or half of what is free if that is less.
        affine: 4x4 matrix from (i, j, k) to RAS mm; for arrays only.
        axes: Order of an array's dimensions: "kji" (SimpleITK's arrays) or "ijk" (nibabel's); for arrays only.
        series, frame: As in ``read``; for paths only.
        progress: Called often with a ``Progress`` (phase, fraction, remaining_s), from this thread.
        cancelled: Asked often; True ends the work at once.

    Returns:
        The finer volume and how it was made.

    Raises:
        InputError: The scan cannot be read, is no 3-D volume of finite numbers, or is an array without a place.
        GeometryError: Axes rule it out, several slices are missing, or an array is plainly transposed.
        RequestError: None or several targets, an unknown keyword, or a value that does not fit the scan;
            NothingToDoError where that is as fine already.
        ModelError, DeviceError, OutOfMemoryError, NonFiniteError: As their names say.
        Cancelled: ``cancelled`` said so.

    Warns:
        RequestWarning: The request is outside what the weights were trained for; the result's ``warnings`` say so too.
    """
    upsampler = Upsampler(**_settings(locals()))
    return upsampler(scan, affine=affine, axes=axes, series=series, frame=frame, progress=progress, cancelled=cancelled)


@checked_call
def plan(
    scan: Scan,
    *,
    spacing: float | None = None,
    ratio: float | None = None,
    isotropic: bool = False,
    axis: str = "auto",
    thickness: float | None = None,
    model: str | PathLike[str] = "auto",
    device: str = "auto",
    extent: str = "centres",
    region: str | Region | None = None,
    equalize_slices: bool = False,
    intensity_offset: float = 0.0,
    fill_gaps: bool = False,
    memory_limit: float | None = None,
    affine: npt.ArrayLike | None = None,
    axes: str | None = None,
    series: int | str | None = None,
    frame: int | None = None,
) -> Forecast:
    """Say what ``upsample`` would give, and what it would take. Of a path, only headers are read.

    >>> import cycleinr as ci
    >>> forecast = ci.plan("ct_head_5mm.nii.gz", ratio=5 / 3)
    >>> forecast.shape_kji, forecast.spacing_ijk_mm[2]
    ((56, 422, 358), 3.0)
    >>> forecast.model is None, ci.plan("ct_head_5mm.nii.gz", ratio=5 / 3, model="ct").model
    (True, 'ct-...')

    Args:
        scan, spacing, ratio, isotropic, axis, thickness, model, device, extent, region, equalize_slices,
            intensity_offset, fill_gaps, memory_limit, affine, axes, series, frame: As in ``upsample``.

    Raises:
        InputError, GeometryError, RequestError, ModelError, DeviceError, OutOfMemoryError: As ``upsample``; the values
            behind a path are not looked at.
    """
    upsampler = Upsampler(**_settings(locals()))
    return upsampler.plan(scan, affine=affine, axes=axes, series=series, frame=frame)


@checked_call
def check(
    scan: Scan,
    result: Result | str | PathLike[str],
    *,
    model: str | PathLike[str] = "auto",
    device: str = "auto",
    memory_limit: float | None = None,
    affine: npt.ArrayLike | None = None,
    axes: str | None = None,
    series: int | str | None = None,
    frame: int | None = None,
    progress: ProgressCallback | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Check:
    """Check without ground truth how far a result can be trusted; takes about as long as the result took.

    >>> import cycleinr as ci
    >>> scan = ci.read("ct_head_5mm.nii.gz")[:, 200:216, 170:186]
    >>> found = ci.check(scan, ci.upsample(scan, spacing=1.0))
    >>> found.unit, bool(found.residual.share_within_limit > 0.5), len(found.self_check.rms)
    ('HU', True, 32)

    Args:
        scan: The acquired scan, as for ``upsample``.
        result: What ``upsample`` made of it; or the path of a saved result, with the .json file beside it.
        model: The weights file that the result was made with; "auto" where they are bundled ones.
        frame: As in ``read``; also which one of a saved result of all frames.
        device, memory_limit, affine, axes, series, progress, cancelled: As in ``upsample``.

    Returns:
        Re-slicing error, noise, and the error of acquired slices predicted from new ones; docs/check.md explains each.

    Raises:
        RequestError: The result is not one of this scan.
        ModelError: The weights that it was made with are not there.
        CycleinrError: As ``upsample``.
    """
    monitor = Monitor(callback("progress", progress), callback("cancelled", cancelled))
    volume = volume_of(scan, affine, axes, series, frame)
    wanted = "Give the Result that upsample returned, or the path of a saved one."
    made = result if isinstance(result, Result) else Result.read(path_text("result", result, wanted), frame=frame)
    options = options_of_result(volume, made, path_text("model", model, _MODELS))
    options = replace(options, device=device, memory_limit_gb=number("memory_limit", memory_limit))
    from .checks.run import check_result

    return check_result(volume, made.volume, options, monitor)


@checked_call
def load_model(model: str | PathLike[str]) -> CycleINR:
    """The network itself, a ``torch.nn.Module`` on the CPU in evaluation mode; needs PyTorch.

    >>> import cycleinr as ci
    >>> network = ci.load_model("ct")
    >>> network.training, network.config.width
    (False, 64)

    Args:
        model: "ct", "mr", or the path of a weights file.

    Raises:
        RequestError: PyTorch is not installed.
        ModelError: The weights or their card are missing, damaged, or of another network.
    """
    from .network import load_network

    return load_network(find_weights(path_text("model", model, _MODELS)))


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Those of a function's arguments that an ``Upsampler`` takes."""
    return {name: value for name, value in given.items() if name in signature(Upsampler.__init__).parameters}
