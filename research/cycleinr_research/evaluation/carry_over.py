"""What an earlier run measured about a case stays when a later run measures the case again without it.

LPIPS and FID depend on what is installed and asked for. A row that is measured again, for instance for one more
segmentation, must not lose them.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

from .measure import Views
from .table import Row

_SAME_PREDICTION = 1e-5


def keep_row(new: Row, old: Row | None) -> Row:
    """The new row, with the values of an old one about the same prediction where the new one has none."""
    if old is None:
        return new
    empty = [f.name for f in fields(Row) if f.type == "float" and math.isnan(getattr(new, f.name))]
    return replace(new, **{name: getattr(old, name) for name in empty})


def keep_views(new: Views, old: Views) -> Views:
    """The new views, with the old ones' features where the new ones have none; slices must be as many."""
    missing = [name for name in ("features", "inception") if getattr(new, name).size == 0]
    return replace(new, **{n: getattr(old, n) for n in missing if len(getattr(old, n)) == len(new.sigmas)})


def same_prediction(new: Row, old: Row) -> bool:
    """Whether two rows of one case are about one prediction, as far as its PSNR tells (seven digits are stored)."""
    return math.isclose(new.psnr_all_db, old.psnr_all_db, rel_tol=_SAME_PREDICTION)
