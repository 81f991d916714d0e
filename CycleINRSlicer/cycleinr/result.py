"""What a caller gets: how far a run is, and its end; what a request would come to; and the finer volume with how it was
made. Imports no torch."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

from . import Cancelled, InputError, RequestWarning, checked_call, flag, path_text
from .volume import Volume

_TOO_EARLY = 0.02


@dataclass(frozen=True)
class Progress:
    """How far a run is: the phase in words, the fraction of the whole run, and the seconds left (None: unknown)."""

    phase: str
    fraction: float
    remaining_s: float | None = None


ProgressCallback = Callable[[Progress], None]


class Monitor:
    """Takes progress, and says when to stop; the functions are called often, from the thread that computes."""

    def __init__(self, progress: ProgressCallback | None = None, cancelled: Callable[[], bool] | None = None):
        self._progress, self._cancelled = progress, cancelled

    def tell(self, phase: str, fraction: float, remaining_s: float | None = None) -> None:
        """Say how far the work is."""
        if self._progress is not None:
            self._progress(Progress(phase, fraction, remaining_s))

    def check(self) -> None:
        """Raise ``Cancelled`` if the work was."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("Cancelled; nothing was written.")

    def stages(self, shares: Sequence[float], phase: str = "") -> list[Monitor]:
        """A monitor for each of several computations one after the other, which are told as one.

        Args:
            shares: How long each takes compared with the others.
            phase: What is told instead of each stage's own words, if anything.
        """
        highest, words, started_s = 0.0, phase, time.monotonic()

        def stage(before: float, share: float) -> Monitor:
            def report(progress: Progress) -> None:
                nonlocal highest, words
                # The end of a stage is not the end of all
                words = phase or (progress.phase if progress.fraction < 1 else words)
                # A stage that begins anew, on another device for instance, must not turn the bar back
                highest = max(highest, (before + share * progress.fraction) / sum(shares))
                elapsed_s = time.monotonic() - started_s
                left_s = None if highest < _TOO_EARLY else elapsed_s * (1 - highest) / highest
                self.tell(words, highest, left_s)

            return Monitor(report, self._cancelled)

        return [stage(sum(shares[:n]), share) for n, share in enumerate(shares)]


def throttled(progress: ProgressCallback, interval_s: float) -> ProgressCallback:
    """Passes on each new phase at once, and of one phase no more than one progress in ``interval_s`` seconds."""
    phase, due_s = "", 0.0

    def report(told: Progress) -> None:
        nonlocal phase, due_s
        now = time.monotonic()
        if told.phase != phase or now >= due_s:
            phase, due_s = told.phase, now + interval_s
            progress(told)

    return report


@contextmanager
def warnings_told_elsewhere() -> Iterator[None]:
    """No `RequestWarning` inside: whoever uses this shows the same sentences in a way of his own, or did so before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RequestWarning)
        yield


@dataclass(frozen=True, eq=False, kw_only=True)
class Provenance(Mapping[str, str]):
    """How a result was made, so that it can be judged and made again.

    Programs use the fields. Files, DICOM headers and Slicer's nodes hold the texts of ``to_dict``; read as a mapping, a
    provenance is just these texts.

    >>> import cycleinr as ci
    >>> how = ci.upsample(ci.read("ct_head_5mm.nii.gz")[:4, 200:216, 170:186], ratio=2).provenance
    >>> how.spacing_mm, how["spacing_mm"], how.axis
    (2.5, '2.5', 'k')
    >>> ci.Provenance.from_dict(how.to_dict()) == how
    True

    Attributes:
        software, version: What computed it.
        torch: PyTorch's version; empty where it took no part.
        model, weights_sha256: Name and SHA-256 of the weights.
        ratio: Acquired slice spacing / the result's.
        spacing_mm: Distance between the result's slice centres.
        axis: Through-plane axis "i", "j" or "k".
        extent: "centres" or "edges"; what the outermost slices are.
        tau: Relative slice thickness: thickness / spacing of the acquired slices.
        slice_profile: Where that thickness comes from, in words.
        device: Where it was computed.
        derived: That it is derived and not for primary diagnosis, in words.
        more: Further texts, by their keys.
    """

    software: str
    version: str
    torch: str = ""
    model: str
    weights_sha256: str
    ratio: float
    spacing_mm: float
    axis: str
    extent: str
    tau: float
    slice_profile: str
    device: str
    derived: str
    more: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, str]:
        """The texts that travel with the result; numbers have six digits."""
        own = {name: getattr(self, name) for name in _kinds_of_fields()}
        texts = {key: f"{value:.6g}" if isinstance(value, float) else str(value) for key, value in own.items()}
        return {key: text for key, text in texts.items() if text or key != "torch"} | dict(self.more)

    @classmethod
    def from_dict(cls, texts: Mapping[str, str]) -> Provenance:
        """Provenance from the texts of ``to_dict``, also those of earlier versions.

        Raises:
            InputError: A text is missing, or is no number where it should be one.
        """
        kinds = _kinds_of_fields()
        missing = [name for name in kinds if name not in texts and name != "torch"]
        if missing:
            raise InputError(
                f"The provenance lacks {', '.join(missing)}, so it does not say how the result was made. "
                "Take the .json file that was written beside the result."
            )
        try:
            own: dict[str, Any] = {name: kinds[name](texts[name]) for name in kinds if name in texts}
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The provenance is damaged ({error}). Take the .json file that was written beside the result."
            ) from error
        return cls(**own, more={key: str(text) for key, text in texts.items() if key not in kinds})

    @property
    def gaps(self) -> tuple[range, ...]:
        """Which slices of the result, counted from 0, lie where acquired ones are missing."""
        found = re.findall(r"(\d+)(?: to (\d+))?", self.more.get("gaps", ""))
        return tuple(range(int(first) - 1, int(last or first)) for first, last in found)

    def __getitem__(self, key: str) -> str:
        return self.to_dict()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())


def text_of_gaps(gaps: Iterable[slice]) -> str:
    """Which slices of a result lie in gaps, counted from 1, for example "slices 23 to 30, 42"."""
    ends = [(gap.start + 1, gap.stop) for gap in gaps]
    words = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in ends)
    return f"slice{'s' if ' ' in words else ''} {words}"


def _kinds_of_fields() -> dict[str, type]:
    return {each.name: float if each.type == "float" else str for each in fields(Provenance) if each.name != "more"}


@dataclass(frozen=True)
class Result:
    """A finer volume, how it was made, and what the reader should know before it is trusted, a sentence each.

    >>> import cycleinr as ci
    >>> result = ci.upsample(ci.read("ct_head_5mm.nii.gz")[:4, 200:216, 170:186], ratio=2)
    >>> result.volume.shape_kji
    (7, 16, 16)
    >>> result.save("fine.nii.gz")
    >>> ci.Result.read("fine.nii.gz").provenance == result.provenance
    True
    """

    volume: Volume
    provenance: Provenance
    warnings: tuple[str, ...] = ()

    @checked_call
    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the volume, and beside it PATH.json with the provenance; whole or not at all.

        Args:
            path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd.
            overwrite: Replace existing files.

        Raises:
            OutputError: The format is not supported, the folder is missing or full, or a file exists already.
        """
        from .files import write_volume
        from .files.atomic import sidecar

        path, overwrite = path_text("path", path), flag("overwrite", overwrite)
        with sidecar(Path(path), self.provenance.to_dict(), overwrite):
            write_volume(self.volume, path, self.provenance.to_dict(), overwrite)

    @classmethod
    @checked_call
    def read(cls, path: str | PathLike[str], *, frame: int | None = None) -> Result:
        """Read a result that ``save`` or the command line wrote, with the .json file beside it.

        Args:
            path: The result.
            frame: Of a result of all frames, which one, counted from 1; without a meaning for others.

        Raises:
            InputError: Volume or .json file are missing or damaged.
        """
        from .files import read_volume

        path = path_text("path", path)
        beside = Path(f"{Path(path)}.json")
        try:
            texts = json.loads(beside.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{beside.name}, which says how {Path(path).name} was made, cannot be read ({error.strerror}). "
                "Copy it beside the volume again."
            ) from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{beside.name} is damaged ({error}). Copy it beside the volume again.") from error
        provenance = Provenance.from_dict(texts if isinstance(texts, dict) else {})
        warned = provenance.more.get("warnings")
        volume = read_volume(path, frame=frame if "frames" in provenance.more else None)
        return cls(volume, provenance, (warned,) if warned else ())


@dataclass(frozen=True)
class Forecast:
    """What a request comes to before anything of it is computed.

    Attributes:
        shape_kji: Number of samples of the result along k, j and i.
        spacing_ijk_mm: The result's spacing along i, j and k.
        axis: Through-plane axis.
        ratio: Acquired slice spacing / the result's.
        tau: Relative slice thickness: thickness / spacing of the acquired slices; ``thickness_reason`` says why.
        model: Name of the weights; None where only the values can tell CT from MR. ``model_reason`` says why.
        memory_gb: Estimate of the whole process's peak.
        seconds: Estimate of the time on this computer's CPU.
        warnings: What to know of the request before the result is trusted, a sentence each.
    """

    shape_kji: tuple[int, int, int]
    spacing_ijk_mm: tuple[float, float, float]
    axis: str
    ratio: float
    tau: float
    thickness_reason: str
    model: str | None
    model_reason: str
    memory_gb: float
    seconds: float
    warnings: tuple[str, ...] = ()
