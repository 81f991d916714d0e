"""The main job on real crops, with the weights that users get."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import cycleinr
from cycleinr import (
    Cancelled,
    GeometryError,
    InputError,
    ModelError,
    NonFiniteError,
    OutOfMemoryError,
    RequestError,
    inference,
)
from cycleinr.computer import Device, DeviceChoice, DeviceFailed
from cycleinr.files import read_volume, write_volume
from cycleinr.grid import Target
from cycleinr.inference import upsample
from cycleinr.inference.consistency import covering_grid
from cycleinr.inference.cpu_network import StripNetwork
from cycleinr.inference.gpu_network import GpuNetwork
from cycleinr.inference.plan import plan
from cycleinr.inference.tiling import Tiling
from cycleinr.network.model import CycleINR
from cycleinr.request import UpsampleOptions
from cycleinr.resampling import SliceProfile, acquire, bspline_weights, linear_weights, resampled
from cycleinr.result import Monitor
from cycleinr.volume import Volume
from cycleinr.weights import NetworkConfig
from cycleinr_research.evaluation.metrics import psnr
from cycleinr_research.evaluation.protocol import make_case
from places import REPOSITORY

DATA = REPOSITORY / "Testing" / "data"
THIN, SLAB = 0.0, None
PRETENDED_GPU = Device("cpu:0", "A pretended GPU", 2.0)


@pytest.fixture(scope="module")
def ct() -> Volume:
    return replace(read_volume(DATA / "ct_chest_0p8mm.nii.gz"), modality="CT")


@pytest.fixture(scope="module")
def mr() -> Volume:
    return replace(read_volume(DATA / "mr_head_1mm.nii.gz"), modality="MR")


@pytest.fixture(scope="module")
def thick(ct) -> Volume:
    """A small integer CT with 12 slices, five times as far apart as acquired."""
    affine = ct.ijk_to_ras.copy()
    affine[:3, 2] *= 5
    return Volume(ct.array[::5][:12, 10:51, 20:57], affine, "CT")


def request(ratio: float, **options) -> UpsampleOptions:
    return UpsampleOptions(Target(ratio=ratio), device="cpu", **options)


@pytest.mark.parametrize("ratio", [2.0, 3.0, 5.0, 5 / 3, 3.5])
@pytest.mark.parametrize("scan", ["ct", "mr"])
def test_the_bundled_weights_beat_interpolation_on_thin_slices(scan, ratio, request):
    case = make_case(request.getfixturevalue(scan), "subsampled", ratio)

    ours = upsample(case.lowres, UpsampleOptions(Target(ratio=ratio), "k", device="cpu")).volume.array

    assert_better_than_interpolation(case, ours)


@pytest.mark.parametrize("ratio", [3.0, 5.0])
@pytest.mark.parametrize("scan", ["ct", "mr"])
def test_the_bundled_weights_beat_interpolation_on_slabs(scan, ratio, request):
    case = make_case(request.getfixturevalue(scan), "slabs", ratio)

    ours = upsample(case.lowres, UpsampleOptions(Target(ratio=ratio), "k", "edges", device="cpu")).volume.array

    assert_better_than_interpolation(case, ours)


def assert_better_than_interpolation(case, ours):
    def score(stack):
        return psnr(*(case.range.to_unit(part[case.compared]) for part in (stack[: case.grid.n_out], case.truth)), 1.0)

    for method in (linear_weights, bspline_weights):
        plain = resampled(method(case.grid.positions(), case.grid.n_in), case.lowres.array)
        assert score(ours) > score(plain)


@pytest.mark.parametrize("ratio", [2.0, 5.0, 5 / 3])
def test_reslicing_the_result_gives_acquired_thin_slices_back(thick, ratio):
    options = request(ratio, thickness_mm=0.0)
    work = plan(thick, options)

    result = upsample(thick, options).volume.array

    covering = covering_grid(work.grid, work.tau)
    centres = covering.profile.centres - covering.before
    inside = np.flatnonzero(centres + 0.5 <= work.grid.n_out - 0.5 + 1e-6)
    again = acquire(result, SliceProfile(work.grid.n_out, centres[inside], work.grid.ratio, work.tau))
    assert (np.abs(again - thick.array[inside]) <= 1).mean() >= 0.999


@pytest.mark.parametrize("ratio", [3.0, 5 / 3])
def test_reslicing_the_result_comes_near_the_acquired_thick_slices(ct, ratio):
    """An unknown profile explains a part of the difference; the rest is gone."""
    case = make_case(ct, "slabs", ratio)

    result = upsample(case.lowres, UpsampleOptions(Target(ratio=ratio), "k", "edges", device="cpu")).volume.array

    error = np.abs(acquire(result[: case.grid.n_out], case.profile) - case.lowres.array[case.acquired])
    assert np.median(error) <= 1
    assert np.percentile(error, 99) <= 10


def test_acquired_thin_slices_reappear_exactly(thick):
    result = upsample(thick, request(4, thickness_mm=0.0)).volume.array

    assert np.array_equal(result[::4], thick.array)


def test_a_ratio_of_one_returns_the_input(thick):
    result = upsample(thick, request(1)).volume

    assert np.array_equal(result.array, thick.array)
    assert np.allclose(result.ijk_to_ras, thick.ijk_to_ras)


def test_every_tiling_gives_the_result_of_the_whole(ct, monkeypatch):
    """At most 0.05 HU apart before rounding, for all heights of 2 to 64 rows; a float volume is not rounded."""
    affine = ct.ijk_to_ras.copy()
    affine[:3, 2] *= 5
    crop = Volume(ct.array[::5][:4, :67, 20:27].astype(np.float32), affine, "CT")
    whole = upsample(crop, request(3)).volume.array
    real_plan = inference.plan_volume

    for cells in range(1, 33):

        def tiled_plan(*args, cells=cells):
            work = real_plan(*args)
            return replace(work, tiling=Tiling(cells, work.tiling.config))

        monkeypatch.setattr(inference, "plan_volume", tiled_plan)
        tiled = upsample(crop, request(3)).volume.array
        assert np.abs(tiled - whole).max() <= 0.05, cells


@pytest.mark.parametrize("cell", [1, 2, 3])
def test_strips_are_whole_cells_and_cover_every_row_once(cell):
    config = replace(NetworkConfig(), cell=cell)
    for fitting in range(1, 40):
        tiling = Tiling.within(fitting, 31, config)
        if tiling is None:
            assert fitting < cell
            continue
        assert tiling.rows <= fitting or tiling.cells == 1
        while True:
            parts = list(tiling.strips(31))
            assert all(computed.start % cell == 0 and kept.start % cell == 0 for computed, kept in parts)
            kept_rows = [n for low, kept in parts for n in range(low.start + kept.start, low.start + kept.stop)]
            assert kept_rows == list(range(31))
            for computed, kept in parts:
                assert kept.start >= config.receptive_pixels or computed.start == 0
                assert computed.stop - computed.start - kept.stop >= config.receptive_pixels or computed.stop == 31
            if tiling.cells == 1:
                break
            tiling = tiling.halved()


def test_a_memory_limit_makes_smaller_parts_and_too_small_a_limit_is_refused(thick, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # each thread takes memory
    free, tight = plan(thick, request(3)), plan(thick, request(3, memory_limit_gb=0.0825))

    assert tight.tiling.rows < free.tiling.rows
    with pytest.raises(OutOfMemoryError, match=r"0\.08 GB is below"):
        plan(thick, request(3, memory_limit_gb=0.08))


@pytest.mark.parametrize("axis", ["i", "j", "k"])
def test_any_axis_and_handedness_gives_the_same_slices(thick, axis):
    """A scan stored along another axis is the same scan: its result is the same array, turned."""
    order = {"k": (0, 1, 2), "j": (1, 0, 2), "i": (1, 2, 0)}[axis]
    columns = [2 - order[2 - c] for c in range(3)]
    affine = thick.ijk_to_ras.copy()
    affine[:, :3] = thick.ijk_to_ras[:, columns]
    turned = Volume(np.ascontiguousarray(thick.array.transpose(order)), affine, "CT")

    expected = upsample(thick, request(2)).volume
    got = upsample(turned, request(2))

    assert got.provenance["axis"] == axis
    assert np.abs(got.volume.array.transpose(np.argsort(order)).astype(int) - expected.array).max() <= 1
    corner = [(s - 1) for s in got.volume.shape_kji[::-1]]
    far = [(s - 1) for s in expected.shape_kji[::-1]]
    assert np.allclose(got.volume.ras_of_ijk(np.array(corner)), expected.ras_of_ijk(np.array(far)))


@pytest.mark.parametrize("axis", ["i", "k"])
@pytest.mark.parametrize("thickness", [0.0, None])
@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64]
)
def test_sentinels_at_the_types_maximum_stay_what_they_are(thick, dtype, thickness, axis):
    """float32 rounds the maximum of wide integers up, beyond what the type holds."""
    highest = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1e15
    array = (np.clip(thick.array[:5, :11, :13] + 1000, 0, 2000) // 20).astype(dtype)
    array[1:3, 4:7, 5:8] = highest
    array[0, 0, 0] = np.iinfo(dtype).min if np.dtype(dtype).kind in "iu" else 0
    order = {"k": (0, 1, 2), "i": (1, 2, 0)}[axis]
    volume = Volume(np.ascontiguousarray(array.transpose(order)), np.eye(4), "CT")

    result = upsample(volume, request(2, axis=axis, thickness_mm=thickness)).volume.array
    result = result.transpose(np.argsort(order))

    assert result.dtype == dtype
    assert result.min() >= array.min() and result.max() <= array.max()
    shown = result[2:5:2, 4:7, 5:8].astype(float)
    # Thick slices share a block's ends with what lies beside it; wrapped round, they would be the lowest value
    assert shown.min() >= 0.999 * float(highest) if thickness == 0 else np.median(shown) >= 0.95 * float(highest)


def test_wide_integers_close_to_the_maximum_stay_between_the_scans_own(thick):
    """Only one float32 lies in the whole range, and it is beyond the type's maximum."""
    top = np.iinfo(np.int32).max
    array = top - np.clip(thick.array[:5, :11, :13] + 1000, 0, 2000).astype(np.int32) // 40

    result = upsample(replace(thick, array=array, modality="MR"), request(2)).volume.array

    assert result.min() >= array.min() and result.max() <= array.max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_floats_do_not_leave_the_range_by_a_rounding_error(thick, dtype):
    values = np.random.default_rng(3).choice([-1000.3, 2000.1, 17.7], (5, 23, 24)).astype(dtype)

    for ratio in (1.5, 2.0, 2.7):
        result = upsample(replace(thick, array=values), request(ratio)).volume.array
        assert result.min() >= values.min() and result.max() <= values.max()


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint8, np.float32])
def test_the_type_stays_and_no_value_leaves_the_inputs_range(thick, dtype):
    array = np.clip(thick.array + 1024, 0, 3000) // (12 if dtype == np.uint8 else 1)
    volume = replace(thick, array=array.astype(dtype), modality="MR")

    result = upsample(volume, request(2.5)).volume.array

    assert result.dtype == dtype
    assert result.min() >= array.min() and result.max() <= array.max()


def test_a_thickness_and_a_spacing_of_numpys_own_type_are_numbers_too(thick):
    def result(number):
        wanted = UpsampleOptions(Target(spacing_mm=number(2.0)), device="cpu")
        return upsample(replace(thick, slice_thickness_mm=number(4.0)), wanted).volume.array

    assert np.array_equal(result(np.float64), result(float))


@pytest.mark.parametrize("shape", [(5, 1, 30), (5, 30, 1), (4, 2, 2)])
def test_images_of_one_or_two_pixels_across_are_done(shape):
    array = np.random.default_rng(5).integers(0, 2000, shape).astype(np.int16)
    scan = Volume(array, np.diag([1.0, 1.0, 5.0, 1.0]), "MR")

    result = upsample(scan, UpsampleOptions(Target(ratio=2), "k", device="cpu")).volume.array

    assert result.shape == (2 * shape[0] - 1, *shape[1:])


def test_the_input_is_not_modified(thick):
    before = thick.array.copy()

    upsample(thick, request(2))

    assert np.array_equal(thick.array, before)


def test_progress_rises_to_one_and_says_how_long_it_will_take(thick):
    heard = []

    upsample(thick, request(3), Monitor(heard.append))

    fractions = [p.fraction for p in heard]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0 and fractions[-1] == 1
    assert any(p.remaining_s is not None and p.remaining_s > 0 for p in heard)


def test_cancelling_ends_the_work(thick):
    heard = []

    with pytest.raises(Cancelled):
        upsample(thick, request(3), Monitor(heard.append, lambda: len(heard) >= 3))

    assert len(heard) == 3


def test_the_provenance_says_how_to_make_the_result_again(thick):
    provenance = upsample(thick, request(3)).provenance

    card = json.loads((REPOSITORY / "CycleINRSlicer/Resources/Models/ct.json").read_text())
    assert provenance["weights_sha256"] == card["sha256"]
    assert provenance["ratio"] == "3"
    assert "% are within 1 HU" in provenance["agreement"]
    assert "not acquired" in provenance["derived"]


def test_a_gpu_without_memory_gets_smaller_parts_and_then_the_cpu_takes_over(thick, monkeypatch):
    tried = []
    real = inference._Run._all_strips

    def scarce(run, device, tiling):
        tried.append((device.name, tiling.rows))
        if device.name != "cpu":
            raise DeviceFailed("CUDA out of memory")
        real(run, device, tiling)

    gpu = Device("cuda:0", "A small GPU", 2.0)
    monkeypatch.setattr(inference._Run, "_all_strips", scarce)
    monkeypatch.setattr(inference, "choose_device", lambda name: DeviceChoice(gpu, "for a test"))
    heard = []

    result = upsample(thick, UpsampleOptions(Target(ratio=2)), Monitor(heard.append))

    assert [rows for name, rows in tried if name == "cuda:0"] == [42, 20, 10]
    assert tried[-1][0] == "cpu"
    assert any("going on with the CPU" in p.phase for p in heard)
    assert result.provenance["device"].startswith("CPU")


def test_a_gpu_that_gets_smaller_parts_gives_the_result_of_the_whole(thick, monkeypatch):
    """The card's memory runs out twice, in the middle of a run; PyTorch on the CPU is the card."""
    as_float = replace(thick, array=thick.array.astype(np.float32))
    whole = upsample(as_float, request(3)).volume.array
    real, tried = CycleINR.encode, []

    def scarce(network, stack, slicing):
        tried.append(stack.shape[2])
        if len(tried) in (1, 3):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(network, stack, slicing)

    monkeypatch.setattr(CycleINR, "encode", scarce)
    monkeypatch.setattr(inference, "choose_device", lambda name: DeviceChoice(PRETENDED_GPU, "for a test"))

    smaller = upsample(as_float, UpsampleOptions(Target(ratio=3)))

    assert tried[:2] == [41, 41] and len(tried) > 4
    assert np.abs(smaller.volume.array - whole).max() <= 0.05
    assert smaller.provenance["device"] == "A pretended GPU" and smaller.provenance["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("change", "options", "error", "says"),
    [
        (lambda v: Volume(v.array[:1], v.ijk_to_ras), {}, GeometryError, "at least 4"),
        (lambda v: replace(v, array=np.zeros_like(v.array)), {}, InputError, "nothing to sharpen"),
        (lambda v: replace(v, array=np.full(v.shape_kji, np.nan)), {}, InputError, "no measured value"),
        (lambda v: v, {"thickness_mm": -1.0}, RequestError, "thickness"),
        (lambda v: v, {"thickness_mm": 99.0}, RequestError, "99"),
        (lambda v: v, {"memory_limit_gb": -2.0}, RequestError, "-2"),
        (lambda v: v, {"model": "no/such/file.safetensors"}, ModelError, "file.safetensors"),
        (lambda v: v, {"axis": "x"}, RequestError, "'x'"),
        (lambda v: v, {"extent": "all"}, RequestError, "'all'"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(thick, change, options, error, says):
    with pytest.raises(error, match=says):
        upsample(change(thick), request(2, **options))


def test_damaged_weights_are_refused(thick, tmp_path):
    models = REPOSITORY / "CycleINRSlicer/Resources/Models"
    weights = tmp_path / "ct.safetensors"
    data = bytearray((models / "ct.safetensors").read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    Path(tmp_path / "ct.json").write_text((models / "ct.json").read_text())

    with pytest.raises(ModelError, match="not those of their model card"):
        upsample(thick, request(2, model=str(weights)))


def weights_with(tmp_path, change) -> Path:
    """The CT weights, changed, with a card that belongs to them."""
    from safetensors.torch import load, save

    models = REPOSITORY / "CycleINRSlicer/Resources/Models"
    tensors = load((models / "ct.safetensors").read_bytes())
    change(tensors)
    data = save(tensors)
    card = json.loads((models / "ct.json").read_text())
    (tmp_path / "changed.safetensors").write_bytes(data)
    (tmp_path / "changed.json").write_text(json.dumps({**card, "sha256": hashlib.sha256(data).hexdigest()}))
    return tmp_path / "changed.safetensors"


def set_one(value: float):
    def change(tensors):
        next(iter(tensors.values())).view(-1)[3] = value

    return change


def as_bytes(tensors):
    name = next(iter(tensors))
    tensors[name] = tensors[name].to(torch.int8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_one(float("nan")), "not finite"),
        (set_one(float("inf")), "not finite"),
        (as_bytes, "instead of F32"),
        (lambda tensors: tensors.update({key: value.half() for key, value in tensors.items()}), "F16"),
        (lambda tensors: tensors.update({key: value.double() for key, value in tensors.items()}), "F64"),
    ],
)
def test_weights_of_another_type_or_without_finite_numbers_are_refused(thick, tmp_path, change, says):
    with pytest.raises(ModelError, match=says):
        upsample(thick, request(2, model=str(weights_with(tmp_path, change))))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_weights_whose_products_overflow_end_in_an_error(thick, tmp_path, dtype):
    weights = weights_with(tmp_path, lambda tensors: [value.mul_(1e30) for value in tensors.values()])
    scan = replace(thick, array=thick.array.astype(dtype))

    with pytest.raises(NonFiniteError, match="no finite numbers"):
        upsample(scan, request(2, model=str(weights)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_one_bad_number_of_a_faulty_device_ends_in_an_error(thick, value, on_gpu, monkeypatch):
    """In the last of several strips, on the CPU's way and on the GPU's."""
    kind = GpuNetwork if on_gpu else StripNetwork
    real, strips_done = kind.run, []

    def faulty(network, stack, kept, tick):
        out = real(network, stack, kept, tick)
        strips_done.append(len(strips_done))
        if len(strips_done) == 3:
            out[5, 1, 2] = value
        return out

    monkeypatch.setattr(kind, "run", faulty)
    if on_gpu:
        monkeypatch.setattr(inference, "choose_device", lambda name: DeviceChoice(PRETENDED_GPU, "for a test"))
    real_plan = inference.plan_volume
    monkeypatch.setattr(
        inference, "plan_volume", lambda *args: replace(work := real_plan(*args), tiling=Tiling(8, work.tiling.config))
    )

    with pytest.raises(NonFiniteError, match="from image row 3"):
        upsample(thick, request(2))


def test_the_command_line_ends_with_a_code_of_its_own_and_no_file(thick, tmp_path):
    weights = weights_with(tmp_path, lambda tensors: [value.mul_(1e30) for value in tensors.values()])
    write_volume(thick, tmp_path / "scan.nii.gz")
    wanted = ("upsample", "scan.nii.gz", "fine.nii.gz", "--ratio", 2, "--model", weights, "--device", "cpu")

    done = cycleinr(*wanted, cwd=tmp_path)
    said = cycleinr("--help").stdout

    assert done.returncode == NonFiniteError.exit_code == 12
    assert "no finite numbers" in done.stderr and "Traceback" not in done.stderr
    assert "12 the network gave no finite numbers" in " ".join(said.split())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["changed.json", "changed.safetensors", "scan.nii.gz"]


def test_values_beyond_the_networks_numbers_are_refused(thick):
    array = thick.array.astype(np.float64)
    array[0, 0, 0] = 1e300

    with pytest.raises(InputError, match="32-bit"):
        upsample(replace(thick, array=array), request(2))
