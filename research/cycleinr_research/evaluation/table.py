"""The table of results: one row per volume, condition, ratio and method, in a CSV that is whole at any moment."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from cycleinr import InputError
from cycleinr.files.atomic import publish, staging_folder

Key = tuple[str, str, str, str]
"""Volume, condition, ratio as text, method: what a row is about."""


@dataclass(frozen=True)
class Row:
    """What one method reached on one case; nan stands for "not available".

    Noise figures and residuals are in HU for CT and in thousandths of the truth's 99.9th percentile for MR.

    Attributes:
        psnr_all_db: PSNR over all compared slices; ``psnr_generated_db`` leaves out those that the input holds.
        ssim_axial: Mean over compared slices; ``ssim_axial_generated`` over the generated ones of them.
        ssim_coronal: Mean over planes (K, I).
        lpips_squeeze: Mean over compared slices, and over the generated ones of them.
        lpips_alex, lpips_vgg: Mean over compared slices.
        snli: Spread of the slices' noise; ``snli_truth`` is the truth's own.
        sigma_deviation: Spread of the difference between the slices' noise and the truth's.
        consistency_max: Largest |re-acquired prediction - input|; ``consistency_q999`` the 0.999 quantile.
        psnr_brain_db, ssim_brain and so on: Inside display windows, and the rest of what a reader sees: see
            ``cycleinr_research.evaluation.reader``; nan for windows of the other modality.
        seconds: Wall-clock time of the method alone.
        n_compared: Slices that were compared; ``n_generated`` those of them that the input does not hold.
        compared_mm: Distance between the first and the last compared slice; for pairs, the overlap that was used.
    """

    volume: str
    modality: str
    condition: str
    ratio: str
    method: str
    psnr_all_db: float
    psnr_generated_db: float
    ssim_axial: float
    ssim_axial_generated: float
    ssim_coronal: float
    lpips_squeeze: float
    lpips_squeeze_generated: float
    lpips_alex: float = field(default=math.nan, kw_only=True)
    lpips_vgg: float = field(default=math.nan, kw_only=True)
    snli: float
    snli_truth: float
    sigma_deviation: float
    consistency_max: float
    consistency_q999: float
    seconds: float
    n_compared: int
    n_generated: int
    compared_mm: float
    psnr_brain_db: float = field(default=math.nan, kw_only=True)
    psnr_soft_db: float = field(default=math.nan, kw_only=True)
    psnr_lung_db: float = field(default=math.nan, kw_only=True)
    psnr_bone_db: float = field(default=math.nan, kw_only=True)
    psnr_display_db: float = field(default=math.nan, kw_only=True)
    ssim_brain: float = field(default=math.nan, kw_only=True)
    ssim_soft: float = field(default=math.nan, kw_only=True)
    ssim_lung: float = field(default=math.nan, kw_only=True)
    ssim_bone: float = field(default=math.nan, kw_only=True)
    ssim_display: float = field(default=math.nan, kw_only=True)
    false_dark_percent: float = field(default=math.nan, kw_only=True)
    false_bright_percent: float = field(default=math.nan, kw_only=True)
    false_patch_voxels: float = field(default=math.nan, kw_only=True)
    dark_near_bone_percent: float = field(default=math.nan, kw_only=True)
    truth_residual_rms: float = field(default=math.nan, kw_only=True)

    @property
    def key(self) -> Key:
        return self.volume, self.condition, self.ratio, self.method


@dataclass(frozen=True)
class SegmentRow:
    """How well the segmentation of one structure in one method's result agrees with that in the truth.

    Attributes:
        structure: Name of the segmenter.
        dsc: Dice similarity coefficient; nan where neither volume holds the structure.
        nsd_1mm, nsd_2mm: Normalised surface Dice at that tolerance; nan likewise.
    """

    volume: str
    modality: str
    condition: str
    ratio: str
    method: str
    structure: str
    dsc: float
    nsd_1mm: float
    nsd_2mm: float

    @property
    def key(self) -> Key:
        return self.volume, self.condition, self.ratio, self.method


_KINDS = {"str": str, "int": int, "float": float}
COLUMNS = tuple(column.name for column in fields(Row))
AnyRow = TypeVar("AnyRow", Row, SegmentRow)


def read_rows(path: str | Path, kind: type[AnyRow] = Row) -> list[AnyRow]:
    """All rows of a results file; none if there is no such file.

    A column that earlier versions did not write may be missing; its values are then nan.

    Raises:
        InputError: The file has other columns, or holds something that is no number.
    """
    path = Path(path)
    if not path.exists():
        return []
    types = {column.name: _KINDS[column.type] for column in fields(kind)}
    required = {column.name for column in fields(kind) if column.default is MISSING}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ())
        if columns != [name for name in types if name in columns] or not required <= set(columns):
            raise InputError(
                f"{path.name} has other columns than this version writes. Move it away to measure everything again."
            )
        try:
            return [kind(**{name: _parse(record[name], types[name]) for name in columns}) for record in reader]
        except (TypeError, ValueError) as error:
            raise InputError(f"{path.name} is damaged ({error}). Move it away to measure everything again.") from error


def write_rows(path: str | Path, rows: Sequence[Row] | Sequence[SegmentRow]) -> None:
    """Replace the results file in one step, so that a reader or a crash never meets half a row.

    Args:
        rows: At least one, all of one kind.

    Raises:
        OutputError: The folder cannot be written to.
    """
    path = Path(path)
    columns = [column.name for column in fields(rows[0])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_format(getattr(row, name)) for name in columns] for row in rows)
    with staging_folder(path) as folder:
        staged = folder / path.name
        with open(staged, "w", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        publish(staged, path, overwrite=True)


def _parse(text: str, kind: type):
    return math.nan if kind is float and text == "" else kind(text)


def _format(value) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.7g}"
    return str(value)
