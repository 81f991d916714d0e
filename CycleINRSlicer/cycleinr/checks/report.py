"""The report's folder and its files: numbers, error maps, and a page with pictures that needs nothing else.

``string.Template`` is enough for one page of fixed shape; every value goes through ``html.escape`` on its way in.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

import numpy as np

from ..files import write_volume
from ..files.atomic import check_own_folder
from ..grid import pixel_mm_of, to_axis_first
from ..pictures import curves, map_over_slice, three_planes
from ..resampling import digits
from .run import Check, numbers

PAGE, NUMBERS, ERROR_MAP, EXPECTED = FILES = (
    "report.html", "report.json", "self_check.nii.gz", "expected_error.nii.gz"
)  # fmt: skip
KIND = "CycleINR report"
"""What the JSON says that it is; also tells our own folders from others."""

_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td { border-bottom: 1px solid #ccc; padding: .2em .8em .2em 0; text-align: left; vertical-align: top; }
img { max-width: 100%; height: auto; }
.verdict { font-size: 1.25em; font-weight: bold; }
.warning { background: #ffe58a; padding: .5em 1em; }
.notice { border: 1px solid #c0392b; padding: .5em 1em; }
details { margin: 1em 0; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="verdict">$verdict</p>
<p class="notice">$derived</p>
$warnings
$trust
<h2>Pictures</h2>
$planes
<h2>Self-check</h2>
$self_check
<h2>Agreement with the acquired slices</h2>
<p>The result was re-sliced with the scan's slice thickness and compared with the acquired slices. What is left of thick
slices is what their unknown profile may explain, and what only false structure would take away. It says nothing about
the detail between the slices.</p>
$agreement
<h2>Noise</h2>
<p>Noise is estimated in each slice after Immerkaer; fine texture counts as noise too. SNLI is the standard deviation of
these values over the slices: it is large where slices flicker when you scroll.</p>
$noise
<h2>How the result was made</h2>
$made
</body>
</html>
"""
)
_TRUST = Template(
    """<h2>Where to trust it</h2>
<p>The error to expect in each place, in percent of the width of the display window: the scale is the same for every
scan. It follows from the self-check below and was calibrated on other scans; single voxels can be worse.</p>
$picture
$rows
<p>The expected error of every voxel is in expected_error.nii.gz.</p>"""
)
_SELF_CHECK = Template(
    """<p>The acquired slices were dropped and predicted again from new slices between them, by the same network. The
error is the difference to the acquired slices. It shows where the new slices are least to be trusted, not by how much:
the true error between the slices is usually larger. A small error is no proof either: what lies wholly between two
acquired slices is in none of them, so the check cannot notice that it is absent.</p>
$rows
$curve
<details><summary>All slices</summary>$slices</details>
<p>The error of every voxel is in self_check.nii.gz, on the grid of the compared acquired slices.</p>"""
)

_MADE = {
    "torch": "PyTorch",
    "model": "Weights",
    "weights_sha256": "Checksum of the weights",
    "ratio": "Times as many slices",
    "spacing_mm": "New slices apart, mm",
    "axis": "Slice direction (axis of the file)",
    "extent": "New slices reach",
    "tau": "Slice thickness / slice spacing",
    "slice_profile": "Acquired slices taken as",
    "device": "Computed on",
    "intensity_offset": "Added to the values for HU",
    "gaps": "Where slices are missing",
    "region": "Part of the scan",
    "reading": "Done while reading",
    "equalized_slices": "Brightness of the slices evened out",
    "derived": "Note",
}
"""What the page calls entries of a result's provenance that do not say it themselves."""


def is_report_file(name: str) -> bool:
    """Whether a report has a file of this name; whatever else lies in its folder is the user's."""
    return name in FILES


def check_report_folder(folder: Path, overwrite: bool) -> None:
    """``check_own_folder`` for a report."""
    check_own_folder(folder, overwrite, "report", _is_our_report)


def _is_our_report(folder: Path) -> bool:
    if not all(is_report_file(entry.name) for entry in folder.iterdir()):
        return False
    try:
        return json.loads((folder / NUMBERS).read_text(encoding="utf-8")).get("kind") == KIND
    # Whatever cannot be read is not known to be ours, so it stays.
    except (OSError, ValueError, AttributeError):
        return False


def write_report(check: Check, made: Mapping[str, str], names: tuple[str, str], folder: Path) -> None:
    """Write report.html, report.json and, unless there is no self-check, both maps into an empty folder.

    Args:
        made: The result's provenance.
        names: What the scan's and the result's files are called, without folders.

    Raises:
        OutputError: A file cannot be written.
    """
    found = {"kind": KIND, "derived": made["derived"], "input": names[0], "output": names[1], "made": dict(made)}
    found |= numbers(check)
    text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / NUMBERS).write_text(text, encoding="utf-8")
    if check.self_check is not None:
        for name, volume, title in (
            (ERROR_MAP, check.self_check.error_map, "Self-check error map"),
            (EXPECTED, check.expected_error, "Expected absolute error"),
        ):
            write_volume(volume, folder / name, {"about": f"{title}, {check.unit}", "derived": made["derived"]})
    (folder / PAGE).write_text(page(check, found), encoding="utf-8")


def page(check: Check, found: Mapping) -> str:
    """The report's page; ``found`` is what report.json holds."""
    unit, left, levels, acquired = (found[part] for part in ("unit", "residual", "noise", "acquired"))
    limit = "1 HU" if found["modality"] == "CT" else f"{digits(left['limit'])} {unit} (0.1 % of the range)"
    agreement = {
        "Largest difference": left["largest"],
        "Half of the voxels differ by at most": left["median"],
        "99 % of the voxels differ by at most": left["percentile_99"],
        "99.9 % of the voxels differ by at most": left["percentile_99_9"],
        f"Voxels within {limit}": f"{100 * left['share_within_limit']:.4g} %",
        "Left out, since they reach beyond the result": _slices(left["slices_left_out"]),
    }
    noise = {
        "Mean noise of the acquired slices": levels["mean_sigma_before"],
        "Mean noise of the result's slices": levels["mean_sigma_after"],
        "SNLI of the acquired slices": levels["snli_before"],
        "SNLI of the result's slices": levels["snli_after"],
    }
    made = {
        "Input": found["input"],
        "Acquired": f"{acquired['slices']} slices along {found['axis']}, {acquired['apart']}",
        **{_MADE.get(key, key.replace("_", " ").capitalize()): text for key, text in found["made"].items()},
    }
    fine = found["result"]
    places_mm = [fine["first_mm"] + n * fine["spacing_mm"] for n in range(fine["slices"])]
    sigmas = {
        "result": (places_mm, levels["sigma_after"], ".-"),
        "acquired": (acquired["positions_mm"], levels["sigma_before"], "o"),
    }
    sigmas_png = curves(sigmas, xlabel="mm from the first acquired slice", ylabel=f"noise sigma, {unit}")
    planes = three_planes(check.scan, check.result, check.work.grid, check.window)
    return _PAGE.substitute(
        title=html.escape(f"Check of {found['output']}"),
        verdict=html.escape(found["verdict"]),
        derived=html.escape(found["derived"]),
        warnings="\n".join(f'<p class="warning">{html.escape(text)}</p>' for text in found["warnings"]),
        trust="" if check.trust is None else _trust(check),
        planes=_picture(planes, "Axial, coronal and sagittal planes"),
        self_check=_self_check(found),
        agreement=_table(agreement, unit),
        noise=_table(noise, unit) + _picture(sigmas_png, "Noise of each slice before and after"),
        made=_table(made),
    )


def _trust(check: Check) -> str:
    told, window, unit = check.trust, check.window, check.unit
    rows = {
        "Display window": f"{window.name}: width {digits(window.width, 4)}, level {digits(window.level, 4)} {unit}",
        "Typical expected error of the tissue in it": f"{digits(told.typical, 2)} {unit}",
        f"Tissue with {digits(told.marked_from)} {unit} (a quarter of it) or more": f"{told.marked_share:.1%}",
    }
    compared, axis, ends = check.self_check, check.work.grid.axis, told.least_certain_slices
    # The middle one of the least certain slices
    shown = compared.rms.argmax() if ends is None else np.abs(compared.slices - sum(ends) / 2).argmin()
    number = compared.slices[shown]
    scan, expected = (to_axis_first(each.array, axis) for each in (check.scan, check.expected_error))
    title, pixel_mm = f"Acquired slice {number + 1}", pixel_mm_of(check.scan, axis)
    png = map_over_slice(scan[number], expected[shown], pixel_mm, title, window, unit)
    picture = _picture(png, "The expected error over the least certain slice")
    return _TRUST.substitute(picture=picture, rows=_table(rows))


def _self_check(content: Mapping) -> str:
    found, unit = content["self_check"], content["unit"]
    if "left_out" in found:
        return f"<p>Left out. {html.escape(found['left_out'])}</p>"
    rows = {
        "Mean absolute error of all compared slices": found["mean_absolute_of_all"],
        "Root mean square": found["rms_of_all"],
        "Slice with the largest error": f"{found['worst_slice'] + 1} (counted from 1 along {content['axis']})",
        "Left out, too near to an end": _slices(found["slices_left_out"]),
    }
    counted, means, rms = ([n + 1 for n in found["slices"]], found["mean_absolute"], found["rms"])
    lines = {"root mean square": (counted, rms, "o-"), "mean absolute": (counted, means, "o-")}
    xlim = 1, content["acquired"]["slices"]
    curve = curves(lines, xlabel="acquired slice", ylabel=f"error, {unit}", xlim=xlim)
    each = {
        f"Slice {n}": f"mean absolute {digits(mean, 4)}, root mean square {digits(root, 4)} {unit}"
        for n, mean, root in zip(counted, means, rms, strict=True)
    }
    curve = _picture(curve, "Self-check error of each acquired slice")
    return _SELF_CHECK.substitute(rows=_table(rows, unit), curve=curve, slices=_table(each))


def _slices(slices: list[int]) -> str:
    return ", ".join(str(n + 1) for n in slices) or "none"


def _table(rows: Mapping[str, str | float], unit: str = "") -> str:
    texts = {label: each if isinstance(each, str) else f"{digits(each, 4)} {unit}" for label, each in rows.items()}
    lines = (f"<tr><td>{html.escape(label)}</td><td>{html.escape(text)}</td></tr>\n" for label, text in texts.items())
    return f"<table>{''.join(lines)}</table>"


def _picture(png: bytes, what: str) -> str:
    return f'<p><img alt="{what}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}"></p>'
