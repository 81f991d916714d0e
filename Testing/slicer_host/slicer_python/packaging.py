"""``slicer.packaging`` (Slicer 5.12 and later) that checks packages for real and records instead of installing.

The network is never touched. ``recorder`` holds what was asked for and what a test pretends. As in Slicer, events are
processed for each line that pip prints, so that whatever the user does meanwhile happens inside the call.
"""

import tomllib
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import slicer
from packaging.requirements import InvalidRequirement, Requirement

PIP_LINES = 3
"""Lines of pip's that an installation prints here."""


@dataclass(frozen=True)
class PipCall:
    """One call: ``function`` is "pip_install", "pip_uninstall" or "pip_ensure"; the rest as it was passed."""

    function: str
    requirements: tuple
    options: dict


@dataclass
class PipRecorder:
    """What the module asked pip for.

    ``installed`` overrides what is really installed (distribution name -> bool); an installation adds to it.
    ``failure`` is an exception that the next installation raises.
    """

    calls: list = field(default_factory=list)
    installed: dict = field(default_factory=dict)
    failure: Exception | None = None

    def reset(self):
        self.calls, self.installed, self.failure = [], {}, None

    def record(self, function, requirements, options):
        self.calls.append(PipCall(function, tuple(map(str, requirements)), options))


recorder = PipRecorder()


def print_lines(count=PIP_LINES):
    """What ``slicer.util.logProcessOutput`` does while pip talks; whoever stands in for PyTorchUtils calls it too."""
    for _line in range(count):
        slicer.app.processEvents()


def _to_requirements(requirements):
    if isinstance(requirements, Requirement):
        return [requirements]
    if isinstance(requirements, list):
        return [entry if isinstance(entry, Requirement) else Requirement(entry) for entry in requirements]
    if not isinstance(requirements, str):
        raise TypeError(f"expected str, Requirement or list, got {type(requirements).__name__}")
    try:
        return [Requirement(requirements)]
    except InvalidRequirement:
        return [Requirement(entry) for entry in requirements.split()]


def load_requirements(path):
    """The requirements of a requirements.txt file; comments and pip options are skipped."""
    lines = [line.strip() for line in Path(path).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def load_pyproject_dependencies(path):
    """``[project] dependencies`` of a pyproject.toml file."""
    project = tomllib.loads(Path(path).read_text())["project"]
    return [Requirement(entry) for entry in project.get("dependencies", [])]


def _is_satisfied(requirement):
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    if requirement.name in recorder.installed:
        return recorder.installed[requirement.name]
    try:
        return version(requirement.name) in requirement.specifier
    except PackageNotFoundError:
        return False


def pip_check(req):
    """Whether the requirements are satisfied. Extras are not followed here."""
    return all(_is_satisfied(requirement) for requirement in _to_requirements(req))


def isPipInstallInProgress():
    return False


def pip_install(
    requirements, constraints=None, no_deps_requirements=None, skip_packages=None, blocking=True, show_progress=True,
    requester=None, parent=None, logCallback=None, completedCallback=None,
):  # fmt: skip
    """Record the call and pretend that the packages are there now."""
    options = {name: value for name, value in locals().items() if name != "requirements"}
    entries = requirements.split() if isinstance(requirements, str) else list(requirements)
    recorder.record("pip_install", entries, options)
    print_lines()
    if recorder.failure is not None:
        failure, recorder.failure = recorder.failure, None
        raise failure
    for entry in entries:
        if not entry.startswith("-"):
            recorder.installed[Requirement(entry).name] = True
    if completedCallback is not None and not blocking:
        completedCallback(0)
    return [] if skip_packages else None


def pip_uninstall(requirements, **options):
    """Record the call and pretend that the packages are gone."""
    entries = requirements.split() if isinstance(requirements, str) else list(requirements)
    recorder.record("pip_uninstall", entries, options)
    recorder.installed.update(dict.fromkeys(entries, False))


def pip_ensure(
    requirements, constraints=None, skip_packages=None, prompt_install=True, prompt_restart=True, requester=None,
    skip_in_testing=True, show_progress=True,
):  # fmt: skip
    """Check, ask, install what is missing.

    Raises:
        RuntimeError: If the user declines.
    """
    options = {name: value for name, value in locals().items() if name != "requirements"}
    wanted = _to_requirements(requirements)
    recorder.record("pip_ensure", wanted, options)
    missing = [str(requirement) for requirement in wanted if not _is_satisfied(requirement)]
    if not missing or skip_in_testing and slicer.app.testingEnabled():
        return None
    if prompt_install:
        title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
        text = f"{len(missing)} Python packages need to be installed."
        if not slicer.util.confirmOkCancelDisplay(text, title, detailedText="\n".join(missing)):
            raise RuntimeError("User declined package installation")
    return pip_install(missing, constraints, skip_packages=skip_packages, requester=requester)
