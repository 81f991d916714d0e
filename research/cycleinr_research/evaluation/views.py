"""Views of predictions on disk, so that figures are drawn from an output folder alone, long after the run."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
from cycleinr import InputError
from cycleinr.files.atomic import publish, staging_folder

from .measure import Views

TRUTH = "truth"
"""Name under which the truth's views are kept; no method may have it."""


def views_path(out_dir: str | Path, case: tuple[str, str, str], method: str) -> Path:
    """Where the views of one method on one case (volume, condition, ratio) are kept."""
    volume, condition, ratio = case
    name = f"{volume}_{condition}_x{ratio}_{method}"
    return Path(out_dir) / "views" / (re.sub(r"[^\w.+-]", "-", name) + ".npz")


def save_views(path: Path, views: Views) -> None:
    """Write views so that the file appears complete or not at all.

    Raises:
        OutputError: The folder cannot be written to.
    """
    with staging_folder(path) as folder:
        staged = folder / path.name
        np.savez_compressed(staged, **{f.name: getattr(views, f.name).astype(np.float32) for f in fields(Views)})
        publish(staged, path, overwrite=True)


def load_views(path: Path) -> Views:
    """Views from a file of ``save_views``.

    Raises:
        InputError: The file is missing, though its row was measured, or another version wrote it.
    """
    if not path.exists():
        raise InputError(
            f"The views {path} are missing. Move the whole output folder away to measure everything again, or bring "
            "its folder views back."
        )
    with np.load(path) as stored:
        if {field.name for field in fields(Views) if field.default_factory is MISSING} - set(stored.files):
            raise InputError(
                f"{path} is of another version. Move the whole output folder away to measure everything again."
            )
        return Views(**{field.name: stored[field.name] for field in fields(Views) if field.name in stored})
