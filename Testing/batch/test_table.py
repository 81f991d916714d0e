"""CSV tables of scans: what is read, and what is refused before anything runs."""

import pytest
from batch.conftest import settings
from cycleinr import InputError, RequestError
from cycleinr.batch.results import safe_name
from cycleinr.batch.table import read_table
from hypothesis import given
from hypothesis import strategies as st
from places import REPOSITORY


def table(tmp_path, text, **options):
    path = tmp_path / "scans.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(path, settings(2.0), options.get("needs_target", False))


def test_empty_cells_mean_the_command_line_and_others_replace_it(tmp_path):
    weights = REPOSITORY / "CycleINRSlicer/Resources/Models/ct.safetensors"
    rows = table(
        tmp_path,
        "input,output,spacing,ratio,isotropic,axis,thickness,model,extent,format\n"
        "a.nii.gz,,,,,,,,,\n"
        f"/data/b,sub/b,1.5,,no,k,0,{weights},edges,nrrd\n"
        "c.nii.gz,c.mha,,,yes,,auto,mr,,\n",
    )
    plain, full, iso = rows

    assert plain.settings == settings(2.0) and plain.output == "" and plain.source == str(tmp_path / "a.nii.gz")
    assert full.source == "/data/b" and full.output == "sub/b.nrrd" and full.settings.format == "nrrd"
    options = full.settings.options
    assert (options.target.spacing_mm, options.target.ratio) == (1.5, None)
    assert (options.axis, options.thickness_mm, options.extent, options.model) == ("k", 0.0, "edges", str(weights))
    assert iso.settings.options.target.isotropic and iso.output == "c.mha"
    assert iso.settings.options.thickness_mm is None and iso.settings.options.device == "cpu"


def test_semicolons_and_a_byte_order_mark_are_what_spreadsheets_write(tmp_path):
    (row,) = table(tmp_path, "\ufeffinput;ratio\na, b.nii.gz;3\n")

    assert row.source.endswith("a, b.nii.gz")
    assert row.settings.options.target.ratio == 3


def test_a_fraction_means_what_it_does_on_the_command_line(tmp_path):
    (row,) = table(tmp_path, "input,ratio\na.nii.gz,5/3\n")
    assert row.settings.options.target.ratio == 5 / 3


@pytest.mark.parametrize("name", ["a\nb.nii.gz", "a\r\nb.nii.gz", "a\u2028b.nii.gz", "a\x0bb.nii.gz", "a\x85b.nii.gz"])
def test_a_line_break_in_quotes_belongs_to_the_name(tmp_path, name):
    first, second = table(tmp_path, f'input,ratio\n"{name}",2\nb.nii.gz,3\n')

    assert first.source.endswith(f"/{name}") and second.source.endswith("/b.nii.gz")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(tmp_path, end):
    first, second = table(tmp_path, f"input,ratio{end}a.nii.gz,2{end}b.nii.gz,3{end}")

    assert first.source.endswith("/a.nii.gz") and second.settings.options.target.ratio == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("input,sharpness\na,1\n", "'sharpness'"),
        ("input,input\na,b\n", "input twice"),
        ("file\na\n", "'file'"),
        ("ratio\n2\n", "no column input"),
        ("", "no column input"),
        ("input,ratio\na,2\n,3\n", "line 3: the input is empty"),
        ("input,ratio\na\n", "number of cells"),
        ("input,ratio\na,2,3\n", "number of cells"),
        ("input,ratio\na,two\n", "line 2: The ratio 'two' is no number"),
        ("input,ratio\na,1/0\n", "'1/0'"),
        ("input,thickness\na,thin\n", "or auto"),
        ("input,ratio\na,nan\n", "line 2"),
        ("input,ratio,spacing\na,2,1\n", "exactly one"),
        ("input,isotropic\na,perhaps\n", "'perhaps'"),
        ("input,thickness\na,-1\n", "-1 mm"),
        ("input,frame\na,1.5\n", "whole number from 1"),
        ("input,axis\na,z\n", "'z'"),
        ("input,extent\na,all\n", "'all'"),
        ("input,format\na,png\n", "'png'"),
        ("input,model\na,none.safetensors\n", "none.safetensors"),
        ("input,output\na,../a.nii.gz\n", "not allowed"),
        ("input,output\na,a.jpg.mhd\n", ".mhd"),
        ("input,output,format\na,a.nrrd,dicom\n", "format is dicom"),
        ('input\n"a\n', "Repair the quotes"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_whole(tmp_path, text, says):
    with pytest.raises(RequestError, match=says.replace(".", r"\.")):
        table(tmp_path, text)


def test_every_line_needs_a_target_where_the_command_line_has_none(tmp_path):
    with pytest.raises(RequestError, match="line 3: No spacing"):
        table(tmp_path, "input,ratio\na,2\nb,\n", needs_target=True)


@pytest.mark.parametrize("text", ["input\n", "input,ratio\n\n,\n"])
def test_a_table_without_lines_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="no lines"):
        table(tmp_path, text)


@pytest.mark.parametrize(
    "name",
    [
        "../x.nii.gz", "a/../../x.nii.gz", "/etc/x.nii.gz", "C:/x.nii.gz", "C:x", "..\\x.nii.gz", "a\\x", "", ".", "..",
        ".hidden.nii.gz", ".cycleinr-batch/lock", "a//b", "a/", "x\0.nii.gz", "x\n.nii.gz", "x?.nii.gz", "x.", "x ",
        "manifest.csv", "Manifest.json", "manifest", "x" * 201,
    ],
)  # fmt: skip
def test_names_that_lead_out_or_hide_are_refused(name):
    with pytest.raises(RequestError, match="output name"):
        safe_name(name)


@given(st.text(max_size=40))
def test_whatever_is_allowed_stays_inside(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp()
    try:
        allowed = safe_name(name)
    except RequestError:
        return
    assert (root / allowed).resolve().is_relative_to(root.resolve()) and (root / allowed).resolve() != root.resolve()
