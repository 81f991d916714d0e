"""From scans and settings to cases: each has one output, and a key that changes when its settings or weights do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import RequestError
from .find import Found, find_scans
from .names import candidates, occupied, path_inside
from .settings import Settings, digest
from .table import Row


@dataclass(frozen=True)
class Case:
    """One scan of a batch, complete: what any process on any machine needs to run it.

    :param output: the result's name in the output folder.
    :param input: what is read; of a DICOM series, one file.
    :param place, series: where the scan lies, and the series' neutral name; see `Found`.
    :param settings: what is wanted.
    :param key: hash of the scan's identity, the settings and the weights.
    :param fingerprint: hash of the input files' names, sizes and times of change.
    """

    output: str
    input: Path
    place: Path
    series: str
    settings: Settings
    key: str
    fingerprint: str

    @property
    def identity(self) -> str:
        return f"{self.place}#{self.series}" if self.series else str(self.place)

    def to_json(self) -> dict:
        return {
            **asdict(self), "input": str(self.input), "place": str(self.place), "settings": self.settings.to_json()
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: Mapping) -> Case:
        settings = Settings.from_json(content["settings"])
        paths = {name: Path(content[name]) for name in ("input", "place")}
        return cls(**{**content, **paths, "settings": settings})


@dataclass(frozen=True)
class Wanted:
    """A scan that was found, its settings, and the name for its result that a CSV gives ("": none)."""

    scan: Found
    settings: Settings
    output: str = ""


def wanted_of_rows(rows: Iterable[Row], notes: list[str]) -> list[Wanted]:
    """The scans that the lines of a CSV mean.

    :raises InputError: a glob or a folder holds no scan.
    :raises RequestError: one name for the results of several scans.
    """
    wanted = []
    for row in rows:
        scans = find_scans(row.source, notes)
        if row.output and len(scans) > 1:
            raise RequestError(
                f"{row.where}: the output {row.output} is for one scan, and the input holds {len(scans)}. "
                "Give one file of the series that is meant, or leave the output empty."
            )
        wanted += [Wanted(scan, row.settings, row.output) for scan in scans]
    return wanted


def make_cases(wanted: Iterable[Wanted], out_dir: Path, owners: Mapping[str, str]) -> list[Case]:
    """Give each scan its output.

    The same scan with the same settings is taken once. A plain name that is taken, or that an earlier run gave to
    another scan, is completed by a hash of the scan's path, so that names do not depend on what else is in a batch.

    :param owners: identity of the scan that each earlier output was made of, by the output's name.
    :raises RequestError: a CSV gives one name twice, or one that leads out of the folder.
    :raises ModelError: weights are missing.
    """
    once: dict[tuple[str, str, str], Wanted] = {}
    for one in wanted:
        once.setdefault((one.scan.identity, one.settings.sha256, one.output), one)
    taken: set[str] = set()
    for one in once.values():
        if one.output:
            if taken & occupied(one.output):
                raise RequestError(f"The output {one.output} is given to two scans. Give each a name of its own.")
            taken |= occupied(one.output)
    owned = {name.casefold(): identity for name, identity in owners.items()}
    cases = []
    for one in sorted(once.values(), key=lambda one: one.scan.identity):
        name = one.output or _free_name(one, taken, owned)
        taken |= occupied(name)
        if one.output:
            # A name that was found for a scan fails with its case alone.
            path_inside(out_dir, name)
        cases.append(_case(one, name))
    return cases


def _free_name(one: Wanted, taken: set[str], owned: Mapping[str, str]) -> str:
    identity = one.scan.identity
    names = candidates(one.scan.stem, one.settings.ending(one.scan.input), identity)
    return next(
        name
        for name in names
        if not taken & occupied(name) and all(owned.get(part, identity) == identity for part in occupied(name))
    )


def _case(one: Wanted, name: str) -> Case:
    scan, settings = one.scan, one.settings
    key = digest([scan.identity, settings.content, settings.weights_sha256()])
    return Case(name, scan.input, scan.place, scan.series, settings, key, scan.fingerprint())
