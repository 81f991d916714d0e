"""All figures of an output folder: error against ratio, noise curves, comparison panels, and the strip of ratios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cycleinr.inspection import inspect
from cycleinr.volume import Volume

from . import figures
from .methods import Method
from .runner import ROWS_FILE
from .summary import groups
from .table import Row, read_rows

_AGAINST_RATIO = (
    ("psnr_generated_db", "PSNR of generated slices (dB)"),
    ("ssim_axial_generated", "SSIM of generated slices"),
    ("lpips_squeeze_generated", "LPIPS squeeze of generated slices"),
    ("sigma_deviation", "spread of noise against the truth"),
)
_NOISE_UNITS = {"CT": "HU", "MR": "1/1000 of the range"}
_STRIP_ROWS = 64


def draw_all(out_dir: str | Path, methods: Mapping[str, Method] | None = None) -> list[Path]:
    """Draw every figure that the rows and views of a folder allow, into its ``figures`` folder.

    Args:
        methods: Where labels come from; methods that are not in it go by their name.

    Returns:
        The files written.

    Raises:
        InputError: The folder's files are damaged or of another version.
        OutputError: The folder cannot be written to.
    """
    out_dir = Path(out_dir)
    labels = {name: method.label for name, method in (methods or {}).items()}
    rows = read_rows(out_dir / ROWS_FILE)
    folder = out_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    if not rows:
        return []
    drawn = [
        figures.save_figure(figures.draw_against_ratio(groups(rows), metric, label, labels), folder / f"{metric}.png")
        for metric, label in _AGAINST_RATIO
        if any(getattr(row, metric) == getattr(row, metric) for row in rows)
    ]
    for case in dict.fromkeys(row.key[:3] for row in rows):
        drawn += _draw_case(out_dir, folder, [row for row in rows if row.key[:3] == case], labels)
    return drawn


def draw_strip(volume_lr: Volume, method: Method, path: Path) -> Path:
    """Draw one acquired volume at ratios 1.5 to 6.

    Args:
        volume_lr: K is the through-plane axis. Only rows near the middle one, which the figure shows, are computed.
    """
    rows = volume_lr.shape_kji[1]
    low = max(0, rows // 2 - _STRIP_ROWS // 2)
    band = volume_lr.array[:, low : low + _STRIP_ROWS]
    modality = inspect(volume_lr).checked_modality()
    strip = figures.draw_ratio_strip(replace(volume_lr, array=band, modality=modality), method)
    return figures.save_figure(strip, path)


def _draw_case(out_dir: Path, folder: Path, rows: list[Row], labels: Mapping[str, str]) -> list[Path]:
    case, modality = rows[0].key[:3], rows[0].modality
    methods = [row.method for row in rows]
    name = "_".join(case).replace("/", "-")
    noise = figures.draw_noise_curve(out_dir, case, methods, labels, _NOISE_UNITS[modality])
    planes = figures.draw_comparison(out_dir, case, methods, labels, figures.window_of(modality))
    return [
        figures.save_figure(noise, folder / f"noise_{name}.png"),
        figures.save_figure(planes, folder / f"planes_{name}.png"),
    ]
