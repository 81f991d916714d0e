"""What Slicer's build and its catalogue are told about the extension, compared with what is there."""

import json
import re
import shutil
import subprocess

import pytest
from PIL import Image
from places import REPOSITORY
from scripts.update_cmake_lists import read_list, resources_on_disk, scripts_on_disk, with_list

MODULE_FOLDER = REPOSITORY / "CycleINRSlicer"
CMAKE = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
MODULE_CMAKE = (MODULE_FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")
CATALOGUE = json.loads((REPOSITORY / "CycleINRSlicer.json").read_text(encoding="utf-8"))
CATALOGUE_KEYS = {
    "$schema", "category", "scm_url", "scm_type", "scm_revision", "build_dependencies", "build_subdirectory", "enabled",
    "tier", "dicom_support_rule",
}  # fmt: skip
RAW_FILES = "https://raw.githubusercontent.com/CycleINRSlicer/SlicerCycleINR/main/"


def cmake_metadata() -> dict[str, str]:
    """EXTENSION_* of the top CMakeLists.txt, without the prefix."""
    return dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', CMAKE))


def s4ext_metadata() -> dict[str, str]:
    """Keywords and values of the .s4ext file."""
    lines = (REPOSITORY / "CycleINRSlicer.s4ext").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    return {keyword: value.strip() for keyword, _, value in pairs}


@pytest.mark.parametrize(
    "variable, on_disk", [("MODULE_PYTHON_SCRIPTS", scripts_on_disk), ("MODULE_PYTHON_RESOURCES", resources_on_disk)]
)
def test_cmake_lists_every_file(variable, on_disk):
    assert read_list(MODULE_CMAKE, variable) == on_disk(), "run Testing/scripts/update_cmake_lists.py"


def test_lists_are_written_from_the_disk(tmp_path):
    for name in ("Module.py", "cycleinr/files/__init__.py", "cycleinr/__pycache__/a.pyc", "Resources/UI/Module.ui"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    text = with_list("set(SCRIPTS\n  old.py\n  )\nset(OTHER\n  kept\n  )\n", "SCRIPTS", scripts_on_disk(tmp_path))

    assert read_list(text, "SCRIPTS") == ["Module.py", "cycleinr/files/__init__.py"]
    assert read_list(text, "OTHER") == ["kept"]
    assert resources_on_disk(tmp_path) == ["Resources/UI/Module.ui"]


def test_slicer_finds_one_module():
    """Slicer takes each .py file directly in the folder for a module."""
    assert [path.name for path in MODULE_FOLDER.glob("*.py")] == ["CycleINRSlicer.py"]


def test_s4ext_agrees_with_cmake():
    cmake, s4ext = cmake_metadata(), s4ext_metadata()

    for name in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert s4ext[name.lower()] == cmake[name], name
    assert f"project({MODULE_FOLDER.name})" in CMAKE


def test_catalogue_entry_agrees_with_s4ext_and_cmake():
    cmake, s4ext = cmake_metadata(), s4ext_metadata()

    assert set(CATALOGUE) == CATALOGUE_KEYS
    assert CATALOGUE["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert CATALOGUE["category"] == cmake["CATEGORY"]
    assert (CATALOGUE["build_dependencies"], cmake["DEPENDS"]) == ([], "NA"), "it works without another extension"
    assert CATALOGUE["scm_url"] == s4ext["scmurl"] == cmake["HOMEPAGE"] + ".git"
    assert (CATALOGUE["scm_type"], CATALOGUE["scm_revision"]) == (s4ext["scm"], s4ext["scmrevision"])
    assert str(CATALOGUE["tier"]) == s4ext["tier"]
    assert str(int(CATALOGUE["enabled"])) == s4ext["enabled"]
    assert CATALOGUE["build_subdirectory"] == s4ext["build_subdirectory"] == "."
    assert CATALOGUE["dicom_support_rule"] == s4ext["dicom_support_rule"]


def test_readme_and_module_agree_with_cmake():
    cmake = cmake_metadata()
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    module = (MODULE_FOLDER / "CycleINRSlicer.py").read_text(encoding="utf-8")

    assert readme.startswith("# CycleINRSlicer\n")
    assert f"({cmake['SCREENSHOTURLS'].removeprefix(RAW_FILES)})" in readme
    assert "Not for primary diagnosis" in readme and "Not for primary diagnosis" in cmake["DESCRIPTION"]
    assert f'"{cmake["CATEGORY"]}"' in module
    assert f'contributors = ["{cmake["CONTRIBUTORS"]}"]' in module
    assert (REPOSITORY / "LICENSE").is_file()


def test_every_address_in_the_metadata_is_a_file_of_ours():
    cmake = cmake_metadata()

    for address in (cmake["ICONURL"], *cmake["SCREENSHOTURLS"].split()):
        assert address.startswith(RAW_FILES)
        with Image.open(REPOSITORY / address.removeprefix(RAW_FILES)) as image:
            assert image.format == "PNG"


def test_icon_is_128_pixels_and_readable_at_24():
    with Image.open(MODULE_FOLDER / "Resources" / "Icons" / "CycleINRSlicer.png") as icon:
        assert (icon.size, icon.mode) == ((128, 128), "RGBA")
        small = icon.resize((24, 24), Image.LANCZOS)
    assert small.getpixel((0, 0))[3] < 64 < small.getpixel((12, 12))[3], "corners are transparent"
    grey = small.convert("L")
    darkest, brightest = grey.crop((4, 4, 20, 20)).getextrema()
    assert brightest - darkest > 100


def test_cmake_accepts_both_files(tmp_path):
    """With a stand-in for Slicer's macros that checks what the real ones check: keywords and files."""
    if shutil.which("cmake") is None or shutil.which("cc") is None:
        pytest.skip("needs cmake and a C compiler")
    (tmp_path / "SlicerConfig.cmake").write_text(
        "set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/use.cmake)\n"
        "set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/end.cmake)\n"
        "set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/end.cmake)\n"
    )
    (tmp_path / "end.cmake").touch()
    (tmp_path / "use.cmake").write_text(
        'macro(slicer_add_python_unittest)\n  message(STATUS "unittest ${ARGN}")\nendmacro()\n'
        "macro(slicerMacroBuildScriptedModule)\n"
        '  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})\n'
        "  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})\n"
        "    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})\n"
        '      message(FATAL_ERROR "no file ${file}")\n    endif()\n  endforeach()\n'
        '  message(STATUS "module ${MY_NAME} generic=${MY_WITH_GENERIC_TESTS} unknown=${MY_UNPARSED_ARGUMENTS}.")\n'
        "endmacro()\n"
    )
    options = [f"-DSlicer_DIR={tmp_path}", "-DBUILD_TESTING=ON"]

    done = subprocess.run(
        ["cmake", "-S", REPOSITORY, "-B", tmp_path / "build", *options], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "module CycleINRSlicer generic=TRUE unknown=." in done.stdout
    assert "unittest SCRIPT;CycleINRSlicer.py" in done.stdout
