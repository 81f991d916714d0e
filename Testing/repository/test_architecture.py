"""Rules that keep the engine usable anywhere: what it may import, and when."""

import subprocess
import sys

from repository.source_text import ENGINE_FILES, MODULE_FILES, PACKAGES, imports, imports_of, place

OF_SLICER = {"slicer", "qt", "ctk", "vtk", "PythonQt"}
OF_RESEARCH = {"cycleinr_research", "scipy", "skimage", "lightning_fabric"}
ALWAYS_IN_SLICER = {"slicer", "qt", "ctk", "vtk", "numpy", "SimpleITK", "cycleinr", "CycleINRSlicerLib"}
LONGEST_FILE = 400
WITHOUT_TORCH = [
    "cycleinr", "cycleinr.inference.plan", "cycleinr.request", "cycleinr.files", "cycleinr.cli.app",
    "cycleinr.inference", "cycleinr.worker.serve", "cycleinr.checks.run",
]  # fmt: skip


def loaded_with(modules: list[str], names: tuple[str, ...]) -> str:
    """Those of the names that are loaded in a fresh process once the modules are."""
    code = f"import sys, {', '.join(modules)}; print(*sorted(set({names}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGES, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_engine_never_imports_slicer_or_qt():
    assert len(ENGINE_FILES) > 60
    found = [text for path in ENGINE_FILES for text in imports_of(OF_SLICER, path)]
    assert not found, "\n".join(found)


def test_the_product_needs_nothing_of_research():
    found = [text for path in ENGINE_FILES + MODULE_FILES for text in imports_of(OF_RESEARCH, path)]
    assert not found, "\n".join(found)


def test_files_stay_short_enough_to_read():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in ENGINE_FILES + MODULE_FILES}
    found = [f"{place(path, length)} is the last line" for path, length in lengths.items() if length > LONGEST_FILE]
    assert not found, "\n".join(found)


def test_nothing_that_slicer_or_help_needs_imports_torch():
    assert loaded_with(WITHOUT_TORCH, ("torch", "safetensors")) == ""


def test_slicer_imports_nothing_that_may_be_missing():
    allowed = ALWAYS_IN_SLICER | set(sys.stdlib_module_names)
    found = [
        f"{place(path, line)} imports {name}"
        for path in MODULE_FILES
        for name, line in imports(path, everywhere=False)
        if name.partition(".")[0] not in allowed
    ]
    assert not found, "\n".join(found)


def test_what_slicer_imports_of_the_engine_is_light():
    """It must not bring in torch, and nothing that Slicer lacks."""
    names = {name for path in MODULE_FILES for name, _ in imports(path, everywhere=False)}
    heavy = ("torch", "safetensors", "scipy", "pydicom", "SimpleITK", "matplotlib", "typer", "rich", "lightning_fabric")
    assert loaded_with(sorted(name for name in names if name.startswith("cycleinr")), heavy) == ""


def test_the_workers_imports_are_installed_or_bundled():
    """The engine's process in Slicer has what Slicer bundles (NumPy, SciPy, SimpleITK, pydicom), nothing else."""
    absent = ("torch", "safetensors", "matplotlib", "typer", "rich", "lightning_fabric", "skimage", "PIL")
    modules = ["cycleinr.worker.serve", "cycleinr.inference", "cycleinr.network"]
    assert loaded_with(modules, absent) == ""
