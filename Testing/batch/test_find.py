"""Which scans a batch finds, and what their results are called."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from batch.conftest import batch, settings
from cycleinr import InputError, RequestError
from cycleinr.batch.find import find_scans
from cycleinr.batch.folder import BatchFolder
from cycleinr.batch.results import candidates, safe_name
from cycleinr.batch.run import make_jobs, scans_of
from cycleinr.batch.table import Line, read_table
from cycleinr.files import read_volume
from dicom_maker import OTHER_SERIES, PATIENT, PATIENT_ID, SERIES, pixels_of_slice, write_series, write_slice


@pytest.fixture
def tree(tmp_path, small_scans):
    """Image files and DICOM series, some of them in one folder, with what lies about in such folders."""
    root = tmp_path / "tree"
    small_scans.write(root / "a" / "scan.nii.gz")
    small_scans.write(root / "b" / "scan.nrrd")
    small_scans.write(root / ".hidden" / "scan.nii.gz")
    (root / "a" / "notes.txt").write_text("nothing")
    write_series(root / PATIENT, prefix="one")
    write_series(root / PATIENT, prefix="two", SeriesInstanceUID=OTHER_SERIES, SeriesNumber=4)
    write_series(root / "b" / "deep", prefix="x")
    return root


def found(source, notes=None):
    return find_scans(source, [] if notes is None else notes)


def records(scans, root, owners=None, wanted=None):
    """What a batch would know of these scans."""
    lines = [(scan, Line("", wanted or settings())) for scan in scans]
    return [record for _, record in make_jobs(lines, BatchFolder(root, "batch"), owners or {})]


def test_a_folder_tree_gives_each_image_and_each_series(tree):
    scans = found(tree)

    assert len(scans) == 5
    assert sorted(scan.input.name for scan in scans if not scan.series) == ["scan.nii.gz", "scan.nrrd"]
    assert sorted(len(scan.files) for scan in scans if scan.series) == [6, 6, 6]
    in_one_folder = [scan for scan in scans if scan.place.name == PATIENT]
    assert len({scan.series for scan in in_one_folder}) == 2


def test_names_of_results_say_nothing_about_the_patient(tree):
    outputs = [record.output for record in records(found(tree), tree)]

    for output in outputs:
        assert not any(secret in output for secret in ("Doe", "Jane", PATIENT_ID, SERIES, OTHER_SERIES))
    assert sum(output.startswith("series-") for output in outputs) == 3


@pytest.mark.parametrize("pattern", ["**/*.n*", "*/scan.nii.gz"])
def test_globs_find_files_of_subfolders(tree, pattern):
    assert {scan.input.name for scan in found(f"{tree}/{pattern}")} <= {"scan.nii.gz", "scan.nrrd"}
    assert found(f"{tree}/{pattern}")


def test_a_glob_of_slices_gives_each_series_once(tree):
    scans = found(f"{tree}/{PATIENT}/*.dcm")

    assert len(scans) == len({scan.identity for scan in scans}) == 2


def test_one_file_of_a_series_means_the_same_scan_as_its_folder(tree):
    by_folder = {scan.identity: scan.fingerprint() for scan in found(tree / "b" / "deep")}
    by_file = found(tree / "b" / "deep" / "x001.dcm")

    assert {scan.identity: scan.fingerprint() for scan in by_file} == by_folder


def test_a_path_with_glob_characters_that_exists_is_a_path(tmp_path, small_scans):
    path = small_scans.write(tmp_path / "a[1].nii.gz")

    assert [scan.input for scan in found(path)] == [path]


def test_series_that_cannot_be_made_finer_are_left_out_with_a_note(tmp_path):
    write_series(tmp_path / "s", slices=6, prefix="whole")
    write_series(tmp_path / "s", slices=2, prefix="short", SeriesInstanceUID=OTHER_SERIES)
    write_series(tmp_path / "pet", slices=5, Modality="PT")
    notes = []

    scans = found(tmp_path, notes)

    assert len(scans) == 1
    assert len(notes) == 2
    assert any("fewer than 4" in note for note in notes) and any("neither CT nor MR" in note for note in notes)
    assert not any("Doe" in note for note in notes)


def test_a_folder_of_damaged_dicom_files_is_a_scan_that_will_fail(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"no DICOM")

    assert [scan.input for scan in found(folder)] == [folder]


def test_nothing_to_do_is_said(tmp_path):
    with pytest.raises(InputError, match="no CT or MR scan"):
        found(tmp_path)
    with pytest.raises(InputError, match="Nothing matches"):
        found(f"{tmp_path}/*.nii.gz")


def test_the_fingerprint_changes_with_any_slice(tree):
    (scan,) = found(tree / "b" / "deep")
    before = scan.fingerprint()
    write_slice(scan.files[3], (-10, -20, 45), pixels_of_slice(2, rows=7))

    assert found(tree / "b" / "deep")[0].fingerprint() != before


def scans_of_one_name(tmp_path, small_scans):
    return [found(small_scans.write(tmp_path / folder / "scan.nii.gz"))[0] for folder in ("a", "b")]


def test_one_name_for_two_scans_is_completed_and_stays_in_every_run(tmp_path, small_scans):
    first, second = scans_of_one_name(tmp_path, small_scans)

    together = records([first, second], tmp_path)
    owners = {record.output: record.identity for record in together}
    alone = records([second], tmp_path, owners)
    without_knowledge = records([second], tmp_path)
    later = records([first], tmp_path, {"scan.nii.gz": second.identity})

    plain, completed = (record.output for record in together)
    assert plain == "scan.nii.gz"
    assert completed.startswith("scan-") and completed.endswith(".nii.gz")
    assert [record.output for record in alone] == [completed]
    assert [record.output for record in without_knowledge] == ["scan.nii.gz"]
    assert later[0].output not in (plain, completed) and later[0].output.startswith("scan-")


def test_names_that_differ_in_case_only_are_kept_apart(tmp_path, small_scans):
    scans = [found(small_scans.write(tmp_path / name / f"{name}.nii.gz"))[0] for name in ("Scan", "scan")]

    assert len({record.output.lower() for record in records(scans, tmp_path)}) == 2


def test_the_same_scan_twice_is_one_job_and_with_other_settings_two(tmp_path, small_scans):
    scan = found(small_scans.write(tmp_path / "scan.nii.gz"))[0]

    once = records([scan, scan], tmp_path)
    lines = [(scan, Line("", settings(ratio))) for ratio in (2, 3)]
    twice = [record for _, record in make_jobs(lines, BatchFolder(tmp_path, ""), {})]

    assert len(once) == 1
    assert len({record.output for record in twice}) == 2 and len({record.key for record in twice}) == 2


def test_keys_change_with_settings_and_weights_but_not_with_the_device(tmp_path, small_scans):
    scan = found(small_scans.write(tmp_path / "scan.nii.gz"))[0]

    def key(**options):
        return records([scan], tmp_path, wanted=settings(**options))[0].key

    assert key() == key(memory_limit_gb=2.0)
    assert len({key(), key(ratio=3.0), key(axis="k"), key(model="mr"), key(model="ct"), key(thickness_mm=0.0)}) == 6


def test_a_name_given_to_two_scans_is_refused(tmp_path, small_scans):
    first, second = scans_of_one_name(tmp_path, small_scans)

    with pytest.raises(RequestError, match="two scans"):
        lines = [(first, Line("", settings(), "x.nii.gz")), (second, Line("", settings(), "X.nii.gz"))]
        make_jobs(lines, BatchFolder(tmp_path, ""), {})


def test_a_link_out_of_the_output_folder_is_refused(tmp_path, small_scans):
    scan = found(small_scans.write(tmp_path / "in" / "scan.nii.gz"))[0]
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub").symlink_to(tmp_path)

    with pytest.raises(RequestError, match="leads out"):
        make_jobs([(scan, Line("", settings(), "sub/x.nii.gz"))], BatchFolder(out, ""), {})


IMPOSSIBLE = [
    *(f"a{character}b" for character in ':<>"|?*\\'), "a\nb", "a\x1b[31mb", "a\x85b", "a\u2028b", "a\udcffb",
    "CON", "lpt1.old", "x" * 201, "\u0434" * 120, "a.",
]  # fmt: skip


@pytest.mark.parametrize("ending", [".nii.gz", ""])
def test_a_name_that_is_impossible_elsewhere_becomes_possible(tmp_path, ending):
    """Also where this system cannot have such a file."""
    names = [next(candidates(stem, ending or ".nii", str(tmp_path / stem))) for stem in IMPOSSIBLE]

    assert len(set(names)) == len(names)
    for stem, name in zip(IMPOSSIBLE, names, strict=True):
        assert safe_name(name) == name
        assert name.startswith(f"{stem}-") or stem == "a." or stem not in name
        assert len(f"{name}.check.kept-2".encode()) <= 255


@pytest.mark.parametrize("stem", ["scan", "a b (1)", "k\u00f6rper", "=1+1", "-x", "a'b", "manifest"])
def test_a_name_that_is_possible_stays(stem):
    assert next(candidates(stem, ".nii.gz", "")) == f"{stem}.nii.gz"


def test_a_scan_that_is_called_like_the_manifest_gets_another_name():
    name = next(candidates("manifest", "", "a"))

    assert name.startswith("manifest-") and safe_name(name) == name
    assert next(candidates("manifest.json", "", "a")).startswith("manifest.json-")


def test_no_name_stops_the_other_scans(tmp_path, small_scans):
    for number, name in enumerate(["ok", "2024-01-01T10:11:12", "a?b", "a*b", "y" * 205, "<script>", "line\nbreak"]):
        small_scans.write(tmp_path / "in" / f"{number}.nii.gz").rename(tmp_path / "in" / f"{name}.nii.gz")

    owners = {record.output: record.identity for record in records(found(tmp_path / "in"), tmp_path / "out")}

    assert len(owners) == 7 and "ok.nii.gz" in owners
    again = records(found(tmp_path / "in"), tmp_path / "out", owners)
    assert {record.output for record in again} == set(owners)


def test_a_link_that_leads_out_fails_its_own_job_alone(tmp_path, small_scans):
    for name in ("a", "b"):
        small_scans.write(tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.nii.gz").symlink_to("/etc/hostname")

    rows = {record.output: record for record in batch([tmp_path / "in"], tmp_path / "out").ran}

    assert rows["b.nii.gz"].status == "done"
    assert (rows["a.nii.gz"].status, rows["a.nii.gz"].error_kind) == ("failed", "RequestError")


def test_a_path_that_is_too_long_for_the_system_fails_its_own_job_alone(tmp_path):
    assert [scan.input.name for scan in found(tmp_path / ("x" * 300 + ".nii.gz"))] == ["x" * 300 + ".nii.gz"]


def test_series_in_an_archive_are_found_by_their_numbers(tmp_path):
    folder = write_series(tmp_path / "in")
    write_series(folder, prefix="b", SeriesInstanceUID=OTHER_SERIES, SeriesNumber=4)
    archive = shutil.make_archive(str(tmp_path / "out" / "scans"), "zip", folder)
    (tmp_path / "out" / "damaged.zip").write_bytes(b"PK\x03\x04 and no more")
    shutil.rmtree(folder)

    scans = found(tmp_path / "out")
    jobs = make_jobs([(scan, Line("", settings())) for scan in scans], BatchFolder(tmp_path, ""), {})

    assert {(scan.input.name, scan.number) for scan in scans} == {
        ("damaged.zip", ""), ("scans.zip", "3"), ("scans.zip", "4"),
    }  # fmt: skip
    assert len({record.identity for _, record in jobs}) == 3
    assert {job.series for job, _ in jobs if job.input == Path(archive)} == {"3", "4"}
    assert len([scan for scan in found(archive) if scan.input == scan.place]) == 2


def test_phases_and_frames_are_scans_of_their_own(tmp_path):
    for phase, prefix in enumerate("ab"):
        own = {"AcquisitionNumber": phase, "pixels": lambda n, p=phase: pixels_of_slice(n) + np.uint16(p)}
        write_series(tmp_path / "in", prefix=prefix, **own)

    scans = found(tmp_path / "in")

    assert [scan.number for scan in scans] == ["3.1", "3.2"] and len({scan.series for scan in scans}) == 2
    arrays = [read_volume(scan.input, frame=scan.frame).array for scan in scans]
    np.testing.assert_array_equal(arrays[0] + 1, arrays[1])
    (tmp_path / "scans.csv").write_text("input,ratio,series,frame\nin,2,3.2,\nx.nii.gz,2,,3\n")
    meant = [one for line in read_table(tmp_path / "scans.csv", settings(), False) for one in scans_of(line, [])]
    assert [one.number for one in meant] == ["3.2", ""] and meant[1].frame == 3
    assert meant[1].identity.endswith("x.nii.gz#frame-3")
    (tmp_path / "scans.csv").write_text("input,ratio,series\nin,2,7\n")
    with pytest.raises(RequestError, match=r"line 2: there is no series 7 .* 3\.1, 3\.2"):
        scans_of(read_table(tmp_path / "scans.csv", settings(), False)[0], [])


def test_readable_names_are_made_of_date_number_and_description_on_request(tmp_path):
    told = {"StudyDate": "20200102", "SeriesDescription": "Head 5.0 / J30s"}
    write_series(tmp_path / "a", **told)
    write_series(tmp_path / "b", SeriesNumber=8, SeriesInstanceUID=OTHER_SERIES)

    scans = find_scans(tmp_path, [], readable=True)

    assert [scan.stem for scan in scans] == ["20200102_series-3_Head-5.0-J30s", "series-8"]
    assert all(scan.stem.startswith("series-") and "Head" not in scan.stem for scan in found(tmp_path))
