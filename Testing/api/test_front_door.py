"""What goes in at the front door, in every form, and what comes out; and how it refuses."""

from __future__ import annotations

import inspect
import shutil
from dataclasses import replace
from fractions import Fraction

import cycleinr as ci
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from cycleinr.request import bundled_weights
from dicom_maker import OTHER_SERIES, write_series


def same(result: ci.Result, expected: ci.Result) -> bool:
    volume = result.volume
    return volume.geometry_equal(expected.volume) and np.array_equal(volume.array, expected.volume.array)


class TestInputs:
    def test_all_forms_of_one_scan_give_one_result(self, head, fine, tmp_path):
        head.save(tmp_path / "head.nii.gz")
        affine = head.ijk_to_ras
        forms = [
            ((tmp_path / "head.nii.gz",), {}),
            ((str(tmp_path / "head.nii.gz"),), {}),
            ((head.to_simpleitk(),), {}),
            ((head.to_nibabel(),), {}),
            ((nibabel.load(tmp_path / "head.nii.gz"),), {}),
            ((sitk.ReadImage(str(tmp_path / "head.nii.gz")),), {}),
            ((head.array,), {"affine": affine, "axes": "kji"}),
            ((head.array.T,), {"affine": affine.tolist(), "axes": "ijk"}),
        ]
        for args, kwargs in forms:
            assert same(ci.upsample(*args, ratio=2, model="ct", **kwargs), fine), (args, kwargs)

    def test_nan_is_padding_in_every_form(self, head, tmp_path):
        array = head.array.astype(np.float32)
        array[:, :4] = np.nan
        scan = head.with_array(array)
        scan.save(tmp_path / "head.nii.gz")
        forms = [
            ((scan,), {}),
            ((tmp_path / "head.nii.gz",), {}),
            ((scan.to_simpleitk(),), {}),
            ((scan.to_nibabel(),), {}),
            ((array,), {"affine": head.ijk_to_ras, "axes": "kji"}),
        ]
        for args, kwargs in forms:
            result = ci.upsample(*args, ratio=2, model="ct", **kwargs)
            assert np.array_equal(np.isnan(result.volume.array), ~result.volume.valid)
            assert result.volume.valid.mean() == 12 / 16 and "25 % of the voxels" in result.provenance["padding"]

    def test_an_intensity_offset(self, head, fine):
        stored = ci.Volume((head.array + 1024).astype(np.uint16), head.ijk_to_ras)
        result = ci.upsample(stored, ratio=2, model="ct", intensity_offset=-1024)
        np.testing.assert_allclose(result.volume.array - 1024.0, fine.volume.array, atol=1)
        assert result.provenance["intensity_offset"] == "-1024"
        with pytest.raises(ci.RequestError, match="offset is nan"):
            ci.Upsampler(ratio=2, intensity_offset=float("nan"))

    @pytest.mark.parametrize(
        ("setting", "says"),
        [({"axis": "z"}, "axis is 'z'"), ({"extent": "all"}, "extent is 'all'"), ({"thickness": -1}, "-1 mm")],
    )
    def test_settings_that_no_scan_can_have_are_refused_at_once(self, setting, says):
        with pytest.raises(ci.RequestError, match=says):
            ci.Upsampler(ratio=2, **setting)

    def test_a_dicom_folder(self, tmp_path):
        result = ci.upsample(write_series(tmp_path / "scan"), ratio=2)
        assert result.volume.shape_kji == (11, 6, 5) and result.provenance.model.startswith("ct")

    def test_the_three_targets(self, head, fine):
        for settings in ({"spacing": 2.5}, {"ratio": 2}, {"ratio": Fraction(2)}, {"ratio": np.int8(2)}):
            assert same(ci.upsample(head, **settings), fine), settings
        with pytest.warns(ci.RequestWarning, match="times as many slices") as told:
            isotropic = ci.upsample(head, isotropic=True)
        assert told[0].filename == __file__
        assert isotropic.volume.spacing_ijk_mm[2] == pytest.approx(head.spacing_ijk_mm[0])

    def test_the_scan_stays_what_it_is(self, head):
        before = head.array.copy()
        ci.upsample(head, ratio=2)
        np.testing.assert_array_equal(head.array, before)


class TestUpsampler:
    def test_settings_mean_the_same_everywhere(self):
        of_a_scan = ("affine", "axes", "series", "frame", "progress", "cancelled")

        def settings(function):
            return {
                name: (each.default, each.annotation)
                for name, each in inspect.signature(function).parameters.items()
                if each.kind is each.KEYWORD_ONLY and name not in of_a_scan
            }

        assert settings(ci.upsample) == settings(ci.Upsampler) == settings(ci.plan)

    def test_every_setting_arrives(self):
        made = ci.Upsampler(ratio=2, axis="j", thickness=1, model="mr", device="cpu", extent="edges", memory_limit=2)
        options = made.options
        assert (options.target.ratio, options.axis, options.thickness_mm, options.model) == (2, "j", 1, "mr")
        assert (options.device, options.extent, options.memory_limit_gb) == ("cpu", "edges", 2)

    def test_the_network_stays_loaded_between_scans(self, head, tmp_path):
        for suffix in (".json", ".safetensors"):
            shutil.copy(bundled_weights("ct").with_suffix(suffix), tmp_path / f"mine{suffix}")
        finer = ci.Upsampler(ratio=2, model=tmp_path / "mine.safetensors")
        first = finer(head)
        (tmp_path / "mine.safetensors").write_bytes(b"gone")
        assert same(finer(head), first)

    def test_progress_and_cancel(self, head):
        heard = []
        ci.upsample(head, ratio=2, progress=heard.append)
        assert heard[-1].fraction == 1 and all(isinstance(each, ci.Progress) for each in heard)
        with pytest.raises(ci.Cancelled):
            ci.Upsampler(ratio=2)(head, cancelled=lambda: True)


class TestPlan:
    def test_a_forecast_comes_true(self, head, fine):
        forecast = ci.plan(head, ratio=2)
        assert (forecast.shape_kji, forecast.spacing_ijk_mm) == (fine.volume.shape_kji, fine.volume.spacing_ijk_mm)
        assert (forecast.axis, forecast.tau, forecast.model) == ("k", fine.provenance.tau, fine.provenance.model)
        assert forecast.memory_gb > 0 and forecast.seconds > 0

    @pytest.mark.parametrize(
        ("thickness_mm", "said"), [(None, "does not say"), (4.0, "as the scan says"), (12.0, "12 mm, which cannot be")]
    )
    def test_why_slices_count_as_so_thick_is_said_truly(self, head, thickness_mm, said):
        assert said in ci.plan(replace(head, slice_thickness_mm=thickness_mm), ratio=2).thickness_reason

    def test_of_a_file_no_voxel_is_read(self, examples):
        whole = (examples / "ct_head_5mm.nii.gz").read_bytes()
        (examples / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
        forecast = ci.plan("cut.nii.gz", spacing=1)
        assert (forecast.shape_kji, forecast.model) == ((166, 422, 358), None)
        assert ci.plan("cut.nii.gz", spacing=1, model="ct").model.startswith("ct")
        with pytest.raises(ci.InputError, match="damaged"):
            ci.read("cut.nii.gz")

    def test_of_a_packed_metaimage_no_voxel_is_unpacked(self, head, tmp_path):
        head.save(tmp_path / "cut.mha")
        packed = (tmp_path / "cut.mha").read_bytes()
        (tmp_path / "cut.mha").write_bytes(packed[:-100])
        assert ci.plan(tmp_path / "cut.mha", ratio=2, model="ct").shape_kji == (11, 16, 24)
        with pytest.raises(ci.InputError, match="end too early"):
            ci.read(tmp_path / "cut.mha")

    @pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
    def test_a_header_says_as_much_as_the_scan(self, head, tmp_path, suffix):
        scan = head.with_array(head.array.astype(np.float32))
        scan.save(tmp_path / f"head{suffix}")
        told, known = (ci.plan(each, ratio=2, model="ct") for each in (tmp_path / f"head{suffix}", scan))
        assert told.memory_gb == known.memory_gb and told.shape_kji == known.shape_kji
        assert told.spacing_ijk_mm == pytest.approx(known.spacing_ijk_mm)

    def test_the_header_of_a_dicom_series_says_modality_and_thickness(self, tmp_path):
        write_series(tmp_path / "scan", SliceThickness=2.5)
        forecast = ci.plan(tmp_path / "scan", ratio=2)
        assert forecast.model.startswith("ct") and forecast.tau == 0.5
        assert forecast.memory_gb == ci.plan(ci.read(tmp_path / "scan"), ratio=2).memory_gb

    def test_where_the_modality_is_not_known_the_time_is_the_longer_one(self, head, tmp_path):
        head.save(tmp_path / "head.nii.gz")
        untold, ct, mr = (ci.plan(tmp_path / "head.nii.gz", ratio=2, model=name) for name in ("auto", "ct", "mr"))
        assert untold.memory_gb == pytest.approx(ct.memory_gb, rel=0.01) == pytest.approx(mr.memory_gb, rel=0.01)
        assert untold.seconds == mr.seconds > 1.5 * ct.seconds
        assert untold.model is None and "MR" in untold.model_reason


class TestLoadModel:
    def test_it_is_a_torch_module_in_evaluation_mode(self):
        torch = pytest.importorskip("torch", reason="the network is a PyTorch module")
        network = ci.load_model("mr")
        assert isinstance(network, torch.nn.Module) and not network.training

    def test_without_torch_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "torch", None)
        with pytest.raises(ci.RequestError, match="pip install torch"):
            ci.load_model("ct")

    @pytest.mark.parametrize(("given", "said"), [("cct", "cct"), ("", "."), (".", ".")])
    def test_weights_that_are_not_there(self, given, said):
        with pytest.raises(ci.ModelError, match=f"There are no weights {said}. Give auto, ct, mr"):
            ci.load_model(given)


class TestProvenance:
    def test_texts_are_those_that_files_hold_and_numbers_are_whole(self, head):
        how = ci.upsample(head, spacing=1.5).provenance
        assert list(how)[:8] == [
            "software", "version", "model", "weights_sha256", "ratio", "spacing_mm", "axis", "extent",
        ]  # fmt: skip
        assert (how["ratio"], how.ratio) == ("3.33333", pytest.approx(10 / 3, abs=1e-12))
        assert "not for primary diagnosis" in how.derived.lower()

    def test_there_and_back_also_with_further_texts(self, fine):
        texts = {**fine.provenance.to_dict(), "added": "later"}
        again = ci.Provenance.from_dict(texts)
        assert again.to_dict() == texts and again.more["added"] == "later" and again.tau == fine.provenance.tau

    def test_what_an_earlier_release_wrote(self):
        texts = {
            "software": "CycleINR", "version": "0.1.0", "torch": "2.13.0+cpu", "model": "ct", "weights_sha256": "ab",
            "ratio": "5", "spacing_mm": "1", "axis": "k", "extent": "centres", "tau": "1",
            "slice_profile": "contiguous 5 mm slabs.", "device": "CPU, 2 threads", "derived": "Derived.",
        }  # fmt: skip
        assert ci.Provenance.from_dict(texts).to_dict() == texts
        del texts["torch"]
        assert ci.Provenance.from_dict(texts).to_dict() == texts

    @pytest.mark.parametrize(("change", "said"), [({"tau": "thick"}, "damaged"), ({"axis": None}, "lacks axis")])
    def test_what_is_incomplete(self, fine, change, said):
        texts = {key: text for key, text in {**fine.provenance, **change}.items() if text is not None}
        with pytest.raises(ci.InputError, match=said):
            ci.Provenance.from_dict(texts)

    def test_a_result_is_saved_with_it_and_read_back(self, fine, tmp_path):
        ci.write(fine, tmp_path / "fine.mha")
        back = ci.Result.read(tmp_path / "fine.mha")
        assert same(back, fine) and back.provenance == fine.provenance
        with pytest.raises(ci.OutputError, match="exists already"):
            fine.save(tmp_path / "fine.mha")
        fine.save(tmp_path / "fine.mha", overwrite=True)

    @pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ""])
    def test_a_result_that_is_made_finer_again_is_told_as_such(self, fine, tmp_path, suffix):
        if suffix:
            fine.save(tmp_path / f"fine{suffix}")
        scan = tmp_path / f"fine{suffix}" if suffix else fine.volume[2:]
        with pytest.warns(ci.RequestWarning, match="made by CycleINR") as told:
            again = ci.upsample(scan, ratio=2, model="ct")
        assert len(told) == 1 and str(told[0].message) in again.warnings
        assert "made by CycleINR" in again.provenance["warnings"]
        assert not fine.warnings

    @pytest.mark.parametrize(
        ("content", "said"), [(None, "cannot be read"), ("{", "is damaged"), ("[]", "does not say")]
    )
    def test_a_result_without_it(self, fine, tmp_path, content, said):
        fine.volume.save(tmp_path / "fine.nrrd")
        if content is not None:
            (tmp_path / "fine.nrrd.json").write_text(content)
        with pytest.raises(ci.InputError, match=said):
            ci.Result.read(tmp_path / "fine.nrrd")


SCAN = np.zeros((60, 256, 256), np.int16)
THICK = np.diag([0.8, 0.8, 5, 1])

REFUSED = {
    "no target": ((SCAN,), {"affine": THICK, "axes": "kji"}, "RequestError", "exactly one is needed"),
    "two targets": ((SCAN,), {"spacing": 1, "ratio": 2}, "RequestError", "spacing 1.0 mm and ratio 2.0"),
    "unknown keyword": ((SCAN,), {"spacing_mm": 1}, "RequestError", "no keyword spacing_mm. Do you mean spacing?"),
    "misspelt keyword": ((SCAN,), {"ratio": 2, "thicknes": 1}, "RequestError", "Do you mean thickness?"),
    "foreign keyword": ((SCAN,), {"zoom": 1}, "RequestError", "has no keyword zoom. upsample takes scan and, by name"),
    "by position": ((SCAN, 1.0), {}, "RequestError", "too many positional arguments"),
    "no scan": ((), {"ratio": 2}, "RequestError", "missing a required argument: 'scan'"),
    "a ratio as text": ((SCAN,), {"ratio": "5/3"}, "RequestError", "'5/3', which is no number"),
    "progress=True": ((SCAN,), {"ratio": 2, "progress": True}, "RequestError", "progress=True is no function"),
    "no affine": ((SCAN,), {"ratio": 2, "axes": "kji"}, "InputError", "without affine="),
    "no axes": ((SCAN,), {"ratio": 2, "affine": THICK}, "InputError", "without axes="),
    "neither": ((SCAN,), {"ratio": 2}, "InputError", "without affine= and axes="),
    "other axes": ((SCAN,), {"ratio": 2, "affine": THICK, "axes": "zyx"}, "RequestError", "Give 'kji'"),
    "transposed": ((SCAN.T,), {"ratio": 2, "affine": THICK, "axes": "kji"}, "GeometryError", "axes='ijk'"),
    "transposed, told as ijk": ((SCAN,), {"ratio": 2, "affine": THICK, "axes": "ijk"}, "GeometryError", "axes='kji'"),
    "an affine of 3": ((SCAN,), {"ratio": 2, "affine": np.eye(3), "axes": "kji"}, "GeometryError", "4 x 4"),
    "an affine of words": ((SCAN,), {"ratio": 2, "affine": "RAS", "axes": "kji"}, "GeometryError", "not 4 x 4 numbers"),
    "masked": (
        (np.ma.masked_equal(SCAN, 0),), {"ratio": 2, "affine": THICK, "axes": "kji"}, "InputError", "valid=~mask",
    ),
    "2-D": ((SCAN[0],), {"ratio": 2, "affine": THICK, "axes": "kji"}, "InputError", "2-D image"),
    "4-D": ((SCAN[None],), {"ratio": 2, "affine": THICK, "axes": "kji"}, "InputError", "4-dimensional"),
    "2-D of ITK": ((sitk.Image([8, 8], sitk.sitkInt16),), {"ratio": 2}, "InputError", "2-D image"),
    "4-D of ITK": ((sitk.Image([8, 8, 8, 3], sitk.sitkInt16),), {"ratio": 2}, "InputError", "4-dimensional"),
    "4-D of nibabel": (
        (nibabel.Nifti1Image(np.zeros((8, 8, 8, 3), np.int16), THICK),), {"ratio": 2}, "InputError", "time series",
    ),
    "no array": ((memoryview(SCAN),), {"ratio": 2, "affine": THICK, "axes": "kji"}, "InputError", "type memoryview"),
    "a flag as text": ((SCAN,), {"ratio": 2, "fill_gaps": "no"}, "RequestError", "fill_gaps='no' is neither True nor"),
    "isotropic as text": ((SCAN,), {"isotropic": "false"}, "RequestError", "leave isotropic= away"),
    "a device that is none": ((SCAN,), {"ratio": 2, "device": "gpu"}, "DeviceError", "The device is 'gpu'; give"),
    "an array for a letter": ((SCAN,), {"ratio": 2, "axis": np.eye(2)}, "RequestError", "The axis is array"),
    "a number beyond all": ((SCAN,), {"spacing": 10**400}, "RequestError", "which is no number"),
    "a list": (([[1]],), {"ratio": 2}, "InputError", "type list, which cannot be read"),
    "nothing": ((None,), {"ratio": 2}, "InputError", "NoneType"),
    "a number of a text": ((SCAN,), {"ratio": 2, "thickness": "auto"}, "RequestError", "or leave thickness= away"),
    "a model by number": ((SCAN,), {"ratio": 2, "model": 3}, "RequestError", "The model is 3, which is neither"),
    "a frame as text": (("scan.nii",), {"ratio": 2, "frame": "2"}, "RequestError", "The frame is '2'"),
    "labels of ITK": ((sitk.Image([8, 8, 8], sitk.sitkLabelUInt8),), {"ratio": 2}, "InputError", "without intensities"),
    "no file": (("nowhere.nii.gz",), {"ratio": 2}, "InputError", "no file or folder"),
    "a volume with affine": (
        (ci.Volume(SCAN, THICK),), {"ratio": 2, "affine": THICK}, "RequestError", "knows its own place",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_typed_and_name_the_remedy(case):
    args, kwargs, kind, said = REFUSED[case]
    with pytest.raises(ci.CycleinrError) as refused:
        ci.upsample(*args, **kwargs)
    assert type(refused.value).__name__ == kind and said in str(refused.value)


def test_a_folder_of_two_series(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path, prefix="b", SeriesInstanceUID=OTHER_SERIES)
    for call in (ci.upsample, ci.plan):
        with pytest.raises(ci.InputError, match="holds 2 DICOM series"):
            call(tmp_path, ratio=2)
    assert ci.read(tmp_path, series="3.2").notes == ("Series 3.2 was taken.",)
    assert ci.plan(tmp_path, ratio=2, series="3.2").shape_kji[0] == 11
    assert ci.upsample(tmp_path, ratio=2, series="3.2", model="ct").volume.shape_kji[0] == 11
    with pytest.raises(ci.RequestError, match="series= and frame= are for paths"):
        ci.upsample(ci.read(tmp_path, series="3.1"), ratio=2, frame=1)


def test_keywords_of_the_other_functions_are_checked_too(head):
    with pytest.raises(ci.RequestError, match="write has no keyword overwrit. Do you mean overwrite"):
        ci.write(head, "x.nii", overwrit=True)
    with pytest.raises(ci.RequestError, match="Upsampler has no keyword spacings. Do you mean spacing"):
        ci.Upsampler(spacings=1)
    with pytest.raises(ci.RequestError, match="A ndarray cannot be written"):
        ci.write(head.array, "x.nii")
    for call in (ci.Volume.from_simpleitk, lambda image, **known: ci.Volume(head.array, head.ijk_to_ras, **known)):
        with pytest.raises(ci.RequestError, match="Volume has no keyword modalty. Do you mean modality"):
            call(head.to_simpleitk(), modalty="CT")
    with pytest.raises(ci.RequestError, match=r"Volume\.save has no keyword overwrit\. Do you mean overwrite"):
        head.save("x.nii", overwrit=True)
    with pytest.raises(ci.RequestError, match=r"no keyword devic\. load_model takes model\."):
        ci.load_model("ct", devic="cpu")


def test_nothing_is_overwritten_for_a_text(head, fine, tmp_path):
    for each in (head, fine):
        each.save(tmp_path / "there.nii")
        before = (tmp_path / "there.nii").read_bytes()
        for call in (each.save, lambda path, each=each, **how: ci.write(each, path, **how)):
            with pytest.raises(ci.RequestError, match="overwrite='no' is neither True nor False"):
                call(tmp_path / "there.nii", overwrite="no")
        assert (tmp_path / "there.nii").read_bytes() == before
        (tmp_path / "there.nii").unlink()


def test_a_limit_without_end_computes_all_at_once(head, fine):
    assert same(ci.upsample(head, ratio=2, memory_limit=float("inf")), fine)


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda _: ci.read(None), ci.RequestError, "The path is None"),
        (lambda head: ci.write(head, None), ci.RequestError, "The path is None"),
        (lambda _: ci.load_model(None), ci.RequestError, "The model is None"),
        (lambda head: ci.check(head, head), ci.RequestError, "Give the Result that upsample returned"),
        (lambda head: ci.Volume(head.array, "RAS"), ci.GeometryError, "not 4 x 4 numbers"),
        (lambda head: ci.Volume(head.array), ci.GeometryError, "The affine is None"),
        (lambda head: replace(head, slice_thickness_mm="3"), ci.RequestError, "The slice_thickness_mm is '3'"),
        (lambda head: head.geometry_equal(3), ci.RequestError, "3 has no geometry"),
        (lambda head: head.save(None), ci.RequestError, "The path is None"),
        (lambda head: head.save("a\0b.nii"), ci.OutputError, "cannot be the name of a result"),
        (lambda head: head[0.5:2], ci.RequestError, "Give whole numbers"),
        (lambda head: head[::0], ci.RequestError, "step cannot be zero"),
        (lambda head: replace(head, valid=[True]), ci.GeometryError, "needs one of bool of the same shape"),
        (lambda head: replace(head, acquisition=[0, 5]), ci.GeometryError, r"The acquisition is \[0, 5"),
        (lambda _: ci.Volume.read(None), ci.RequestError, "The path is None"),
        (lambda _: ci.Result.read(None), ci.RequestError, "The path is None"),
        (lambda head: ci.upsample(head, ratio=2).save(None), ci.RequestError, "The path is None"),
        (lambda head: head.reorient(None), ci.RequestError, "The orientation is None"),
        (lambda _: ci.Volume.from_simpleitk(None), ci.InputError, "NoneType without intensities"),
        (lambda _: ci.Volume.from_nibabel(None), ci.InputError, "NoneType, no image of nibabel's"),
        (lambda head: ci.upsample(head, spacing=50), ci.NothingToDoError, "coarser than the input's"),
    ],
)
def test_what_is_of_another_type_is_refused_in_words(head, call, kind, said):
    with pytest.raises(kind, match=said):
        call(head)


class TestCheck:
    def test_a_saved_result_and_one_in_memory_are_the_same(self, head, fine, tmp_path):
        fine.save(tmp_path / "fine.nii.gz")
        from_memory, from_file = (ci.check(head, each) for each in (fine, tmp_path / "fine.nii.gz"))
        assert from_memory.residual.largest == pytest.approx(from_file.residual.largest, abs=1e-3)
        assert from_memory.work.grid == from_file.work.grid or np.isclose(from_memory.work.tau, from_file.work.tau)

    def test_of_several_series_the_scan_is_named(self, tmp_path):
        write_series(tmp_path / "scans")
        write_series(tmp_path / "scans", prefix="b", SeriesInstanceUID=OTHER_SERIES)
        made = ci.upsample(tmp_path / "scans", ratio=2, series="3.2", model="ct")
        assert ci.check(tmp_path / "scans", made, series="3.2").residual.largest < 1

    def test_a_result_of_other_weights_or_of_another_scan(self, head, fine):
        with pytest.raises(ci.ModelError, match="and mr are others"):
            ci.check(head, fine, model="mr")
        with pytest.raises(ci.RequestError, match="no result of this scan"):
            ci.check(head[:, 2:], fine)
