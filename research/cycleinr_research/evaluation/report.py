"""The summary of an output folder as Markdown and LaTeX: one table per modality, condition and ratio."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from cycleinr.files.atomic import publish, staging_folder

from .fid import FID_SLICES, fid_of_groups
from .frechet import frechet_of_group
from .methods import Method
from .runner import ROWS_FILE, SEGMENTS_FILE, Evaluation
from .segment_summary import segment_tables
from .summary import MIN_CASES_FOR_TEST, REFERENCES, Claim, Group, GroupKey, groups
from .table import SegmentRow, read_rows

COLUMNS = (
    ("psnr_all_db", "PSNR all (dB)", 2),
    ("psnr_generated_db", "PSNR generated (dB)", 2),
    ("ssim_axial", "SSIM axial", 4),
    ("ssim_coronal", "SSIM coronal", 4),
    ("lpips_squeeze", "LPIPS squeeze", 4),
    ("lpips_alex", "LPIPS alex", 4),
    ("lpips_vgg", "LPIPS vgg", 4),
    ("snli", "SNLI", 3),
    ("snli_truth", "SNLI truth", 3),
    ("sigma_deviation", "sigma deviation", 3),
    ("consistency_max", "residual max", 2),
    ("consistency_q999", "residual 0.999", 2),
    ("seconds", "seconds", 1),
)
"""Metric, heading, decimals."""

READER_COLUMNS = (
    ("psnr_brain_db", "PSNR brain (dB)", 2),
    ("psnr_soft_db", "PSNR soft tissue (dB)", 2),
    ("psnr_lung_db", "PSNR lung (dB)", 2),
    ("psnr_bone_db", "PSNR bone (dB)", 2),
    ("psnr_display_db", "PSNR display range (dB)", 2),
    ("ssim_brain", "SSIM brain", 4),
    ("ssim_soft", "SSIM soft tissue", 4),
    ("ssim_lung", "SSIM lung", 4),
    ("ssim_bone", "SSIM bone", 4),
    ("ssim_display", "SSIM display range", 4),
    ("false_dark_percent", "false dark (%)", 3),
    ("false_bright_percent", "false bright (%)", 3),
    ("false_patch_voxels", "largest patch (voxels)", 0),
    ("dark_near_bone_percent", "dark near bone (%)", 2),
    ("truth_residual_rms", "truth's residual (RMS)", 1),
)
"""Of the second table, what a reader sees; a table has those of which some value is there."""

_ON_REQUEST = ("lpips_alex", "lpips_vgg")
"""Columns that a table has only where some value of them is there."""

_UNITS = {"CT": "HU", "MR": "thousandths of the truth's 99.9th percentile"}
_CONDITIONS = {
    "subsampled": "sub-sampled, thin slices with gaps",
    "slabs": "slab-averaged, contiguous slices",
    "pair": "real pairs of thick and thin scans",
}


def write_report(
    out_dir: str | Path, methods: Mapping[str, Method] | None = None, evaluation: Evaluation | None = None
) -> tuple[Path, Path]:
    """Write summary.md and summary.tex from the rows of an output folder.

    Args:
        methods: Where labels come from; methods that are not in it go by their name.
        evaluation: Adds what failed and what was not available in that run.

    Returns:
        Both paths.

    Raises:
        OutputError: The folder cannot be written to.
    """
    out_dir = Path(out_dir)
    labels = {name: method.label for name, method in (methods or {}).items()}
    found = groups(read_rows(out_dir / ROWS_FILE))
    frechet = {(g.key, name): frechet_of_group(out_dir, g, name) for g in found for name in g.methods}
    segments = read_rows(out_dir / SEGMENTS_FILE, SegmentRow)
    texts = {
        "summary.md": markdown(found, labels, frechet, evaluation, segments, fid_of_groups(out_dir, found)),
        "summary.tex": latex(found, labels, segments),
    }
    for name, text in texts.items():
        with staging_folder(out_dir / name) as folder:
            (folder / name).write_text(text, encoding="utf-8")
            publish(folder / name, out_dir / name, overwrite=True)
    return out_dir / "summary.md", out_dir / "summary.tex"


def markdown(
    found: list[Group],
    labels: Mapping[str, str],
    frechet: Mapping[tuple[GroupKey, str], float],
    evaluation: Evaluation | None = None,
    segments: Sequence[SegmentRow] = (),
    fid: Mapping[tuple[GroupKey, str], float] = MappingProxyType({}),
) -> str:
    """The whole summary; the best mean of a column is bold where the column can have a winner.

    Args:
        frechet: Frechet distance on squeeze features by group and method.
        segments: Adds one table of segmentation agreement per modality, condition and ratio.
        fid: FID by group and method; a group where none is there has no line of it.
    """
    parts = ["# Evaluation\n\nMean ± standard deviation over cases.\n"]
    for group in found:
        table = _table(group, labels, lambda text: f"**{text}**", "±")
        parts.append(_markdown_table(_title(group), table))
        parts.append(
            _markdown_table(_reader_title(group), _reader_table(group, labels, lambda text: f"**{text}**", "±"))
        )
        if group.left_out:
            parts.append(f"Left out, since not every method has them: {', '.join(group.left_out)}.\n")
        parts.append("\n".join(f"- {_sentence(claim, labels)}" for claim in group.claims()) + "\n")
        parts.append(
            _distances("Frechet distance on squeeze features, slices of all cases pooled", group, labels, frechet)
        )
        if any(math.isfinite(fid.get((group.key, name), math.nan)) for name in group.methods):
            parts.append(_distances(_fid_title(group), group, labels, fid))
    for key, count, table in segment_tables(segments, labels, "±"):
        parts.append(_markdown_table(_segment_title(key, count), table))
    for title, lines in _remarks(evaluation):
        parts.append(f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) + "\n")
    return "\n".join(parts)


def latex(found: list[Group], labels: Mapping[str, str], segments: Sequence[SegmentRow] = ()) -> str:
    """The same tables for LaTeX with booktabs."""
    parts = ["% Needs \\usepackage{booktabs}.\n"]
    for group in found:
        style = labels, lambda text: f"\\textbf{{{text}}}", r"$\pm$", _escaped
        parts.append(_latex_table(_title(group), _table(group, *style)))
        if len((table := _reader_table(group, *style))[0]) > 1:
            parts.append(_latex_table(_reader_title(group), table))
    for key, count, table in segment_tables(segments, {n: _escaped(label) for n, label in labels.items()}, r"$\pm$"):
        parts.append(_latex_table(_segment_title(key, count), table))
    return "\n".join(parts)


def _markdown_table(title: str, table: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(cells) + " |" for cells in table]
    rule = "|" + " --- |" * len(table[0])
    return "\n".join([f"## {title}\n", head, rule, *body]) + "\n"


def _latex_table(title: str, table: list[list[str]]) -> str:
    head, *body = [" & ".join(cells) + r" \\" for cells in table]
    return "\n".join(
        [
            f"\\begin{{table}}\n\\centering\n\\caption{{{_escaped(title)}.}}",
            f"\\begin{{tabular}}{{l{'r' * (len(table[0]) - 1)}}}\n\\toprule",
            head,
            "\\midrule",
            *body,
            "\\bottomrule\n\\end{tabular}\n\\end{table}\n",
        ]
    )


def _segment_title(key: GroupKey, count: int) -> str:
    modality, condition, ratio = key
    cases = "1 case" if count == 1 else f"{count} cases"
    return f"Segmentation agreement, {modality}, {_CONDITIONS[condition]}, x{ratio} ({cases})"


def _table(
    group: Group,
    labels: Mapping[str, str],
    bold: Callable[[str], str],
    plus_minus: str,
    escape: Callable[[str], str] = str,
) -> list[list[str]]:
    """Heading and one line per method."""
    columns = [column for column in COLUMNS if column[0] not in _ON_REQUEST or _is_measured(group, column[0])]
    lines = _metric_table(columns, group, labels, bold, plus_minus, escape)
    references = [name for name in REFERENCES if name in group.methods]
    lines[0] += [escape(f"gain over {labels.get(name, name)} (dB)") for name in references]
    for method, cells in zip(group.methods, lines[1:], strict=True):
        gains = (group.gain(method, reference) for reference in references)
        texts = (gain.text(2, plus_minus, sign=True) for gain in gains)
        cells += [text if method != reference else "-" for text, reference in zip(texts, references, strict=True)]
    return lines


def _reader_table(
    group: Group,
    labels: Mapping[str, str],
    bold: Callable[[str], str],
    plus_minus: str,
    escape: Callable[[str], str] = str,
) -> list[list[str]]:
    columns = [column for column in READER_COLUMNS if _is_measured(group, column[0])]
    return _metric_table(columns, group, labels, bold, plus_minus, escape)


def _metric_table(
    columns: Sequence[tuple[str, str, int]],
    group: Group,
    labels: Mapping[str, str],
    bold: Callable[[str], str],
    plus_minus: str,
    escape: Callable[[str], str],
) -> list[list[str]]:
    """Heading and one line per method: each method's name and its value in every column."""
    lines = [[escape(text) for text in ("Method", *(heading for _, heading, _ in columns))]]
    for method in group.methods:
        cells = [escape(labels.get(method, method))]
        for metric, _, decimals in columns:
            text = group.statistic(method, metric).text(decimals, plus_minus)
            cells.append(bold(text) if group.best(metric) == method else text)
        lines.append(cells)
    return lines


def _is_measured(group: Group, metric: str) -> bool:
    return any(group.statistic(method, metric).n for method in group.methods)


def _distances(
    title: str, group: Group, labels: Mapping[str, str], distances: Mapping[tuple[GroupKey, str], float]
) -> str:
    of_method = (f"{labels.get(name, name)} {_frechet(distances[group.key, name])}" for name in group.methods)
    return f"{title}: {', '.join(of_method)}.\n"


def _fid_title(group: Group) -> str:
    first = [row for row in group.rows if row.method == group.methods[0] and row.volume in group.volumes]
    count = sum(row.n_compared for row in first)
    text = f"FID, slices of all cases pooled ({count} slices"
    return text + (f"; too high below {FID_SLICES}, so compare only within this line)" if count < FID_SLICES else ")")


def _frechet(distance: float) -> str:
    return f"{distance:.3f}" if math.isfinite(distance) else "not available"


def _reader_title(group: Group) -> str:
    return f"What a reader sees: {_title(group)}"


def _title(group: Group) -> str:
    modality, condition, ratio = group.key
    volumes = len(group.volumes)
    cases = "1 case" if volumes == 1 else f"{volumes} cases"
    text = f"{modality}, {_CONDITIONS[condition]}, x{ratio} ({cases}; noise and residuals in {_UNITS[modality]})"
    if condition != "pair":
        return text
    lengths = sorted({round(row.compared_mm, 1) for row in group.rows})
    return f"{text}, compared over {' / '.join(f'{mm:g}' for mm in lengths)} mm"


def _sentence(claim: Claim, labels: Mapping[str, str]) -> str:
    best, second = labels.get(claim.best, claim.best), labels.get(claim.second, claim.second)
    text = f"{claim.metric}: {best} before {second}"
    if claim.p is None:
        return f"{text}; n = {claim.n} is too small for a test (at least {MIN_CASES_FOR_TEST})."
    return f"{text}; paired Wilcoxon p = {claim.p:.2g}, n = {claim.n}."


def _remarks(evaluation: Evaluation | None) -> list[tuple[str, list[str]]]:
    if evaluation is None:
        return []
    remarks = [("Not available", evaluation.notes), ("Not measured", evaluation.failures)]
    return [(title, lines) for title, lines in remarks if lines]


def _escaped(text: str) -> str:
    for character in "\\&%#_":
        text = text.replace(character, "\\" + character if character != "\\" else r"\textbackslash ")
    return text
