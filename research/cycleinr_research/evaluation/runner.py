"""Measure methods on volumes. A run can be stopped at any time; started again, it goes on where it was.

The output folder holds `rows.csv`, one row per volume, condition, ratio and method, `segments.csv`, one row for each
structure of these, where structures are asked for, and ``views/``, what figures need.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from cycleinr import CycleinrError, InputError, OutputError, RequestError
from cycleinr.files import IMAGE_SUFFIXES, image_suffix, read_volume
from cycleinr.inspection import without_padding
from cycleinr.volume import Volume

from .carry_over import keep_row, keep_views, same_prediction
from .measure import Views, measure
from .methods import METHODS, Method
from .pairs import make_pair_case
from .perceptual import Perceptual, find_perceptual
from .protocol import CONDITIONS, PAIR, Case, make_case, parse_ratio, ratio_text
from .segmentation import Segmenter, compare_masks, segmenters_for
from .table import Row, SegmentRow, read_rows, write_rows
from .views import TRUTH, load_views, save_views, views_path

ROWS_FILE = "rows.csv"
SEGMENTS_FILE = "segments.csv"
MIN_CROP_PIXELS = 16

_log = logging.getLogger(__name__)
Source = str | Path | Volume


@dataclass(frozen=True)
class EvaluationPlan:
    """What to measure.

    Attributes:
        ratios: Slice spacing of the input / of the result; above 1, whole or not.
        conditions: Of "subsampled" and "slabs".
        methods: Name -> method.
        lpips_folder: Folder with the weights of LPIPS-squeeze; None looks into CYCLEINR_LPIPS.
        crop_pixels: Measure only the central square of this many pixels of each slice, for methods that take hours for
            a whole scan; the volumes' names say so.
        segmenters: Structure -> segmenter, to compare its masks in the result and in the truth.
        lpips_nets: Backbones of LPIPS, of "squeeze", "alex" and "vgg"; the last two are fetched when first used.
        fid: Whether to measure FID; its weights are fetched when first used.
    """

    ratios: Sequence[float] = (2, 3, 5)
    conditions: Sequence[str] = CONDITIONS
    methods: Mapping[str, Method] = field(default_factory=lambda: dict(METHODS))
    lpips_folder: str | Path | None = None
    segmenters: Mapping[str, Segmenter] = field(default_factory=dict)
    crop_pixels: int | None = None
    lpips_nets: Sequence[str] = ("squeeze",)
    fid: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        rows: All rows of the output folder, from this run and earlier ones.
        failures: One sentence per case or method that could not be measured.
        notes: Metrics that were not available, and why.
    """

    rows: list[Row]
    failures: list[str]
    notes: list[str]


@dataclass(frozen=True)
class _Recipe:
    """A case that is made only when a row of it is missing."""

    name: str
    condition: str
    ratio: str
    make: Callable[[], Case]


def evaluate(sources: Source | Sequence[Source], out_dir: str | Path, plan: EvaluationPlan | None = None) -> Evaluation:
    """Degrade fine volumes, have every method restore them, and measure.

    Args:
        sources: A folder (its image files are taken, subfolders too), or a list of files, DICOM folders and volumes. k
            is their through-plane axis.
        out_dir: Made if it is missing; rows that it holds already are not measured again.

    Raises:
        InputError: Nothing to measure, or two volumes of one name.
        OutputError: The output folder cannot be written to.
    """
    plan = _checked(plan or EvaluationPlan())
    loaders = [_Loader(source, plan.crop_pixels) for source in _listed(sources)]
    _check_names([loader.name for loader in loaders])
    for condition in plan.conditions:
        if condition not in CONDITIONS:
            raise RequestError(f"The condition is {condition!r}; give one of {', '.join(CONDITIONS)}.")
    return _run(_recipes(loaders, plan), Path(out_dir), plan)


def evaluate_pairs(
    pairs: Sequence[tuple[Source, Source]], out_dir: str | Path, plan: EvaluationPlan | None = None
) -> Evaluation:
    """Measure on real pairs of scans; each is (thick, thin). Ratios and conditions of the plan do not apply.

    Raises:
        InputError: Nothing to measure, or two thick scans of one name.
        OutputError: The output folder cannot be written to.
    """
    plan = _checked(plan or EvaluationPlan())
    loaders = [tuple(_Loader(source, plan.crop_pixels) for source in pair) for pair in pairs]
    _check_names([thick.name for thick, _ in loaders])
    recipes = (
        # The ratio follows from the scans, so the name alone tells which rows are there.
        _Recipe(thick.name, PAIR, "", lambda thick=thick, thin=thin: make_pair_case(thick.volume, thin.volume))
        for thick, thin in loaders
    )
    return _run(recipes, Path(out_dir), plan)


def _checked(plan: EvaluationPlan) -> EvaluationPlan:
    if plan.crop_pixels is not None and plan.crop_pixels < MIN_CROP_PIXELS:
        raise RequestError(f"The crop is {plan.crop_pixels} pixels; give at least {MIN_CROP_PIXELS}.")
    return plan


def find_volumes(folder: str | Path) -> list[Path]:
    """Image files of a folder and its subfolders, in the order of their names."""
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file() and image_suffix(path))
    return [path for path in found if not path.name.startswith(".")]


class _Loader:
    """Reads a volume at most once, and only when it is needed."""

    def __init__(self, source: Source, crop_pixels: int | None = None):
        self._source, self._crop_pixels = source, crop_pixels
        name = source.name if isinstance(source, Volume) else _stem(Path(source))
        self.name = f"{name}_crop{crop_pixels}" if crop_pixels else name

    @cached_property
    def volume(self) -> Volume:
        volume = self._source if isinstance(self._source, Volume) else read_volume(self._source)
        volume = replace(without_padding(volume), name=self.name)
        return _central(volume, self._crop_pixels) if self._crop_pixels else volume

    def forget(self) -> None:
        """Give the memory back; the next use reads again."""
        self.__dict__.pop("volume", None)


def _central(volume: Volume, pixels: int) -> Volume:
    """The central square of every slice, in its place; a smaller side stays as it is."""
    first = [max(0, (size - pixels) // 2) for size in volume.shape_kji[1:]]
    part = volume[:, first[0] : first[0] + pixels, first[1] : first[1] + pixels]
    # A copy, so that the rest of the scan is let go
    return part.with_array(np.ascontiguousarray(part.array))


def _listed(sources: Source | Sequence[Source]) -> list[Source]:
    if isinstance(sources, Volume):
        return [sources]
    if not isinstance(sources, (str, Path)):
        return list(sources)
    path = Path(sources)
    return (find_volumes(path) or [path]) if path.is_dir() else [path]


def _stem(path: Path) -> str:
    return path.name[: -len(image_suffix(path))] if image_suffix(path) else path.name


def _check_names(names: list[str]) -> None:
    if not names:
        raise InputError(f"There is nothing to evaluate. Give a folder with files in {', '.join(IMAGE_SUFFIXES)}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Several volumes are called {', '.join(twice)}. Rename them, since rows go by the name.")


def _recipes(loaders: list[_Loader], plan: EvaluationPlan) -> Iterator[_Recipe]:
    for loader in loaders:
        for condition in plan.conditions:
            for ratio in plan.ratios:
                yield _Recipe(
                    loader.name,
                    condition,
                    ratio_text(ratio),
                    lambda loader=loader, condition=condition, ratio=ratio: make_case(loader.volume, condition, ratio),
                )
        loader.forget()


def _run(recipes: Iterable[_Recipe], out_dir: Path, plan: EvaluationPlan) -> Evaluation:
    if TRUTH in plan.methods:
        raise RequestError(f"No method may be called {TRUTH!r}. Choose another name.")
    try:
        (out_dir / "views").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {out_dir} cannot be made ({error.strerror}). Choose another.") from error
    perceptual = find_perceptual(plan.lpips_folder, plan.lpips_nets, plan.fid)
    results = _Results(out_dir, plan, perceptual)
    failures = []
    for recipe in recipes:
        missing = [method for method in plan.methods.values() if results.lacks(recipe, method)]
        if not missing:
            continue
        try:
            case = recipe.make()
        except CycleinrError as error:
            failures.append(f"{recipe.name}, {recipe.condition}, x{recipe.ratio or '?'}: {error}")
            continue
        masks = _Masks(case, plan.segmenters)
        for method in missing:
            if not method.serves(case.ratio):
                continue
            try:
                results.add(case, method, masks)
            except CycleinrError as error:
                failures.append(f"{recipe.name}, {recipe.condition}, x{ratio_text(case.ratio)}, {method.name}: {error}")
    return Evaluation(results.rows, failures, list(perceptual.notes))


class _Masks:
    """The truth's masks of one case, each made when it is first needed and then kept."""

    def __init__(self, case: Case, segmenters: Mapping[str, Segmenter]):
        self.case = case
        self.segmenters = segmenters_for(case.modality, segmenters)
        self._true: dict[str, np.ndarray] = {}

    def compare(self, prediction: np.ndarray, method: str) -> Iterator[SegmentRow]:
        """One row per structure for one method's slices."""
        case = self.case
        for structure, segmenter in self.segmenters.items():
            if structure not in self._true:
                self._true[structure] = segmenter(case.compared_volume(case.truth))
            ours = segmenter(case.compared_volume(prediction))
            found = compare_masks(ours, self._true[structure], case.spacing_kji_mm)
            yield SegmentRow(
                case.name, case.modality, case.condition, ratio_text(case.ratio), method, structure, found.dsc,
                *found.nsd.values(),
            )  # fmt: skip


class _Results:
    """The output folder's tables, and what is still missing in them."""

    def __init__(self, out_dir: Path, plan: EvaluationPlan, perceptual: Perceptual):
        self.out_dir, self.plan, self.perceptual = out_dir, plan, perceptual
        self.rows = read_rows(out_dir / ROWS_FILE)
        self.segments = read_rows(out_dir / SEGMENTS_FILE, SegmentRow)

    def lacks(self, recipe: _Recipe, method: Method) -> bool:
        """Whether anything about a method on a case is still to be measured."""
        if recipe.ratio and not method.serves(parse_ratio(recipe.ratio)):
            return False
        found = [row for row in self.rows if _is_about(row, recipe, method.name)]
        if not found or any(math.isnan(row.false_dark_percent) or self._lacks_perceptual(row) for row in found):
            return True
        wanted = segmenters_for(found[0].modality, self.plan.segmenters)
        return not set(wanted) <= {row.structure for row in self.segments if _is_about(row, recipe, method.name)}

    def _lacks_perceptual(self, row: Row) -> bool:
        """Whether a network that was asked for has not seen a result yet."""
        if any(math.isnan(getattr(row, f"lpips_{net}")) for net in self.perceptual.packaged):
            return True
        if self.perceptual.inception is None:
            return False
        path = views_path(self.out_dir, row.key[:3], row.method)
        return not path.exists() or load_views(path).inception.size == 0

    def _save_views(self, row: Row, name: str, views: Views, keep: bool) -> None:
        path = views_path(self.out_dir, row.key[:3], name)
        save_views(path, keep_views(views, load_views(path)) if keep and path.exists() else views)

    def add(self, case: Case, method: Method, masks: _Masks) -> None:
        """Run a method on a case and write what was missing about it.

        Raises:
            CycleinrError: The method fails, or returns something that is no result.
        """
        start = time.perf_counter()
        prediction = np.asarray(method.run(case.lowres, case.grid))
        seconds = time.perf_counter() - start
        if prediction.shape != case.truth.shape:
            raise InputError(f"It returned slices of shape {prediction.shape} instead of {case.truth.shape}.")
        if not np.isfinite(prediction).all():
            raise InputError("It returned values that are not finite.")
        row, ours, true = measure(case, method.name, prediction, seconds, self.perceptual)
        segments = list(masks.compare(prediction, method.name))
        earlier = next((old for old in self.rows if old.key == row.key and same_prediction(row, old)), None)
        # Views first: a row says that everything about it is there.
        self._save_views(row, method.name, ours, keep=earlier is not None)
        self._save_views(row, TRUTH, true, keep=True)
        row = keep_row(row, earlier)
        self.segments = [old for old in self.segments if old.key != row.key] + segments
        if self.segments:
            write_rows(self.out_dir / SEGMENTS_FILE, self.segments)
        self.rows = [old for old in self.rows if old.key != row.key] + [row]
        write_rows(self.out_dir / ROWS_FILE, self.rows)
        _log.info("%s %s x%s %s: %.2f dB", *row.key, row.psnr_generated_db)


def _is_about(row: Row | SegmentRow, recipe: _Recipe, method: str) -> bool:
    same = (row.volume, row.condition, row.method) == (recipe.name, recipe.condition, method)
    return same and recipe.ratio in ("", row.ratio)
