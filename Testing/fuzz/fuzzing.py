"""Reads many damaged files of one kind in another process and counts how that ends."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
from fuzz.mutations import damaged
from fuzz.reader import Reader
from fuzz.seeds import Seed
from hypothesis import HealthCheck, Phase


@dataclass
class Tally:
    """How the cases ended, and what went wrong: text of the failure and a folder that holds one such case."""

    outcomes: Counter = field(default_factory=Counter)
    failures: dict[str, Path] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        return sum(self.outcomes.values())


def fuzz(name: str, seed: Seed, cases: int, folder: Path, random_seed: int | None = None) -> Tally:
    """Damage a seed's files in many ways and read each.

    Args:
        folder: Gets the files of each case in turn; those of failures are kept.
        random_seed: None for the same cases every time.
    """
    kept: set[str] = set()
    tally, reader = Tally(), Reader(torch=seed.kind == "weights")

    def one_case(files: dict[str, bytes]) -> None:
        place = folder / f"{name}-{len(tally.failures)}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for file, content in files.items():
            (place / file).write_bytes(content)
        answer = reader.read(seed.kind, place / seed.path)
        tally.outcomes[answer["outcome"]] += 1
        if answer["outcome"] not in ("read", "refused"):
            # The same failure in another file of the same kind is no news.
            key = re.sub(r"\d+", "0", answer["text"].replace(str(folder), "")[-300:])
            if key not in kept:
                kept.add(key)
                tally.failures[f"{answer['outcome']}: {answer['text'].strip()}"] = place

    wanted = hypothesis.settings(
        max_examples=cases,
        derandomize=random_seed is None,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run = wanted(hypothesis.given(damaged(seed))(one_case))
    try:
        (run if random_seed is None else hypothesis.seed(random_seed)(run))()
    finally:
        reader.close()
    return tally
