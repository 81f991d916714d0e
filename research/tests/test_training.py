"""Training for real, for a few steps: it learns, resumes exactly, and stops when it goes wrong."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cycleinr import InputError, ModelError, RequestError
from cycleinr.inference.consistency import Arrays, BoundedConsistency
from cycleinr.intensity import IntensityScale
from cycleinr.request import choose_model
from cycleinr.resampling import SliceProfile, acquire
from cycleinr.weights import NetworkConfig
from cycleinr_research.networks import load_network
from cycleinr_research.torch_linear import linear
from cycleinr_research.training.card import check_subjects, model_card
from cycleinr_research.training.config import PatchConfig, Source, TrainingConfig, load_config
from cycleinr_research.training.consistency import Reacquisition
from cycleinr_research.training.loop import LOG, DivergedError, Trainer
from cycleinr_research.training.losses import false_extremes, taught, training_losses, window_l1
from cycleinr_research.training.patches import PatchSampler, load_sources
from cycleinr_research.weights import save_network
from lightning_fabric import Fabric
from places import REPOSITORY

DATA = str(REPOSITORY / "Testing" / "data")
CT_ONLY = Source(DATA, "CT", exclude=("mr_head_1mm",))
SMALL = TrainingConfig(
    name="small",
    sources=(CT_ONLY,),
    network=NetworkConfig(width=16, blocks=2, heads=2, decoder_width=16, conditioning_width=8),
    patch=PatchConfig(slices=5, pixels=24, queries=4),
    steps=6,
    batch=2,
    learning_rate=2e-3,
    warmup_steps=2,
    checkpoint_every=3,
    cycle_weight=0.5,
)


def train(config: TrainingConfig, folder: Path):
    return Trainer(config, folder, Fabric(accelerator="cpu", devices=1)).run()


def mean_loss(model, config: TrainingConfig, batches: int = 6) -> float:
    sampler = PatchSampler(load_sources(config.sources), config.patch, 4, seed=99)
    with torch.no_grad():
        losses = [training_losses(model, sampler.draw(n), False, torch.Generator()).l1 for n in range(batches)]
    return float(torch.stack(losses).mean())


def test_training_lowers_the_loss(tmp_path):
    thin = replace(SMALL.patch, thin_share=1.0)
    config = replace(SMALL, steps=80, learning_rate=5e-3, warmup_steps=10, ema=0.9, cycle_weight=0.0, patch=thin)
    untrained = Trainer(config, tmp_path / "untrained", Fabric(accelerator="cpu", devices=1)).state.model

    trained = train(config, tmp_path / "trained")

    assert mean_loss(trained, config) < 0.99 * mean_loss(untrained, config)


def test_a_resumed_run_ends_with_the_very_same_weights(tmp_path):
    at_once = train(SMALL, tmp_path / "whole").state_dict()
    trainer = Trainer(SMALL, tmp_path / "parts", Fabric(accelerator="cpu", devices=1))
    trainer.report = lambda entry: None
    real_step, steps = trainer._step, []

    def interrupted(batch):
        if len(steps) == 4:
            raise KeyboardInterrupt
        steps.append(batch)
        return real_step(batch)

    trainer._step = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.run()

    resumed = train(SMALL, tmp_path / "parts").state_dict()

    assert all(torch.equal(resumed[name], at_once[name]) for name in at_once)


def test_the_log_can_be_plotted_and_validation_is_in_it(tmp_path):
    config = replace(SMALL, steps=4, validation=(CT_ONLY,), validate_every=2)

    train(config, tmp_path)

    entries = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [e["step"] for e in entries if "gain_over_linear_db" in e] == [2, 4]
    assert [e["step"] for e in entries if "l1" in e] == [4]


def test_the_initial_weights_can_have_a_share_in_the_finished_ones(tmp_path):
    first = train(replace(SMALL, steps=3), tmp_path / "first")
    save_network(first, tmp_path / "first.safetensors", model_card(SMALL, tmp_path / "first"))
    tuned = replace(SMALL, seed=4, steps=2, initial_weights=str(tmp_path / "first.safetensors"), validation=(CT_ONLY,))

    alone = train(tuned, tmp_path / "tuned").state_dict()
    mixed = train(replace(tuned, initial_share=0.25), tmp_path / "tuned").state_dict()

    assert all(torch.allclose(mixed[n], 0.75 * alone[n] + 0.25 * t) for n, t in first.state_dict().items())
    assert any(not torch.equal(mixed[n], alone[n]) for n in alone)
    validated = [line for line in (tmp_path / "tuned" / LOG).read_text().splitlines() if "gain_over_linear_db" in line]
    assert len(validated) == 3  # as it starts, trained, mixed


def test_a_second_member_begins_as_the_mirror_image_of_the_first_and_learns_beside_it(tmp_path):
    first = train(SMALL, tmp_path / "first")
    save_network(first, tmp_path / "first.safetensors", model_card(SMALL, tmp_path / "first"))
    pair = replace(first.config, members=2)
    config = replace(SMALL, steps=2, initial_weights=str(tmp_path / "first.safetensors"), network=pair)
    trainer = Trainer(config, tmp_path / "pair", Fabric(accelerator="cpu", devices=1))
    batch = PatchSampler(load_sources(SMALL.sources), SMALL.patch, 2, seed=5).draw(0)

    with torch.no_grad():
        begun = trainer.state.model(batch.stack, batch.positions, batch.slicing)
        turned = first(batch.stack.flip(2, 3), batch.positions, batch.slicing).flip(2, 3)
        mean = (first(batch.stack, batch.positions, batch.slicing) + turned) / 2
    assert torch.allclose(begun, mean, atol=1e-6)
    before = {name: value.clone() for name, value in trainer.state.model.named_parameters()}
    after = dict(trainer.run().named_parameters())
    assert not any(
        torch.equal(after[f"{member}decoder.out.weight"], before[f"{member}decoder.out.weight"])
        for member in ("", "others.0.")
    )
    save_network(trainer.state.average, tmp_path / "pair.safetensors", model_card(config, tmp_path / "pair"))
    assert load_network(tmp_path / "pair.safetensors").config == pair

    three = replace(config, network=replace(pair, members=3))
    with pytest.raises(RequestError, match="asks for 3 members, and the initial weights first.safetensors have 1"):
        Trainer(three, tmp_path / "three", Fabric(accelerator="cpu", devices=1))


def test_an_encoder_in_bfloat16_learns_what_one_in_full_precision_learns(tmp_path):
    whole, half, both = (train(replace(SMALL, bfloat16_share=s), tmp_path / str(s)) for s in (0.0, 1.0, 0.5))

    first = dict(
        Trainer(SMALL, tmp_path / "first", Fabric(accelerator="cpu", devices=1)).state.model.named_parameters()
    )
    learnt, in_half = (
        torch.cat([(p - first[n]).flatten() for n, p in network.named_parameters()]) for network in (whole, half)
    )
    assert torch.nn.functional.cosine_similarity(learnt, in_half, dim=0) > 0.9
    assert not torch.equal(learnt, in_half)
    assert all(p.dtype == torch.float32 for p in half.parameters())
    assert mean_loss(both, SMALL) == pytest.approx(mean_loss(whole, SMALL), rel=0.01)


def test_a_teacher_answers_the_mean_over_flips_and_draws_the_network_towards_it(tmp_path):
    trained = train(replace(SMALL, steps=30), tmp_path / "teacher")
    batch = PatchSampler(load_sources(SMALL.sources), SMALL.patch, 2, seed=5).draw(0)
    answers = torch.stack([taught([trained], batch, torch.Generator().manual_seed(n)) for n in range(8)])
    with torch.no_grad():
        flips = [trained(batch.stack.flip(f), batch.positions, batch.slicing).flip(f) for f in ([], [2, 3], [2], [3])]
    pairs = [(flips[0] + flips[1]) / 2, (flips[2] + flips[3]) / 2]

    assert all(any(torch.allclose(answer, pair, atol=1e-6) for pair in pairs) for answer in answers)
    assert len({answer.sum().item() for answer in answers}) == 2
    alone, with_teacher = (training_losses(trained, batch, False, torch.Generator(), t) for t in ([], [trained]))
    strict = replace(SMALL, teacher_weights=("any",), teacher_weight=2.0)
    assert with_teacher.total(strict) == pytest.approx(alone.total(strict) + 2 * with_teacher.teacher)


def test_consistency_in_the_loop_is_what_the_engine_does():
    rng = np.random.default_rng(3)
    profile = SliceProfile(25, 2.0 + 5.0 * np.arange(5), 5.0, 1.0)
    truth = np.cumsum(rng.normal(0, 0.05, (25, 12, 10)), axis=0).astype(np.float32)
    acquired, guess = acquire(truth, profile), truth + rng.normal(0, 0.05, truth.shape).astype(np.float32)
    hu = IntensityScale(0.0, 1.0).hu

    engine = guess.copy()
    BoundedConsistency(profile, -100.0, 100.0, hu, False, Arrays.numpy()).apply(engine, acquired)
    rule = Reacquisition.stacked([Reacquisition.of(profile, 1.0, np.arange(25))])
    fine = torch.from_numpy(guess)[None].requires_grad_()
    ours = rule.corrected(fine, torch.from_numpy(acquired)[None])

    assert abs(engine - guess).mean() > 0.01
    assert np.allclose(ours.detach().numpy()[0], engine, atol=1e-5)
    ours.sum().backward()
    assert torch.isfinite(fine.grad).all() and fine.grad.abs().sum() > 0


def test_only_slices_that_are_wholly_asked_for_are_made_consistent():
    profile = SliceProfile(25, 2.0 + 5.0 * np.arange(5), 5.0, 1.0)
    asked = np.minimum(np.arange(8, 24), 20)

    rule = Reacquisition.of(profile, 1.0, asked)

    assert rule.forward.sum(dim=1).tolist() == pytest.approx([0, 0, 1, 1, 0])
    assert not rule.back[:, [0, 1, 4]].any() and not rule.forward[:, 13:].any()


def test_batches_after_consistency_hold_the_fine_slices_that_make_up_acquired_ones():
    patch = PatchConfig(slices=5, pixels=24, queries=8, thin_share=0.0, consistent_share=1.0)
    sampler = PatchSampler(load_sources(SMALL.sources), patch, 4, seed=1)

    batches = [sampler.draw(step) for step in range(4)]

    for batch in batches:
        again = batch.reacquisition.forward @ batch.truth.flatten(2)
        whole = batch.reacquisition.forward.sum(dim=2) > 0.5
        assert whole.any()
        assert (again - batch.stack.flatten(2)).abs()[whole].mean() < 0.01
    losses = training_losses(lambda *given: batches[0].truth, batches[0], False, torch.Generator())
    assert (
        losses.l1 > 0
    )  # the truth itself, after consistency with slices whose thickness is told wrongly, or not a box


def test_ratios_even_in_their_logarithm_are_more_often_small():
    patch = PatchConfig(slices=5, pixels=24, queries=4, ratio_max=8.0)
    volume = load_sources(SMALL.sources)[0]
    small = replace(volume, array=np.zeros((150, 24, 24), np.int16), spacing_kji_mm=(1.0, 9.0, 9.0))
    even, in_log = (PatchSampler([small], replace(patch, ratio_even_in_log=log), 8, seed=3) for log in (False, True))

    ratios = [torch.cat([sampler.draw(n).slicing[:, 2] for n in range(20)]) for sampler in (even, in_log)]

    assert ratios[1].median() < ratios[0].median() - 0.15


def test_a_run_that_diverges_is_stopped(tmp_path):
    trainer = Trainer(SMALL, tmp_path, Fabric(accelerator="cpu", devices=1))
    with torch.no_grad():
        next(trainer.state.model.parameters()).fill_(float("nan"))

    with pytest.raises(DivergedError, match="diverged"):
        trainer.run()


def test_every_step_has_its_own_batch_and_always_the_same_one():
    sampler = PatchSampler(load_sources(SMALL.sources), SMALL.patch, 2, seed=5)

    assert torch.equal(sampler.draw(3).stack, sampler.draw(3).stack)
    assert not torch.equal(sampler.draw(3).stack, sampler.draw(4).stack)
    assert not torch.equal(sampler.draw(3, rank=0).stack, sampler.draw(3, rank=1).stack)


def test_a_thin_patch_holds_its_truth_at_whole_positions():
    """The positions that a patch asks for are where its truth lies: on acquired slices both are equal."""
    patch = PatchConfig(slices=5, pixels=24, queries=8, thin_share=1.0, whole_ratio_share=1.0)
    sampler = PatchSampler(load_sources(SMALL.sources), patch, 4, seed=1)
    checked = 0

    for step in range(6):
        batch = sampler.draw(step)
        for n in range(4):
            for t, position in enumerate(batch.positions[n].tolist()):
                if abs(position - round(position)) < 1e-5:
                    checked += 1
                    assert torch.allclose(batch.truth[n, t], batch.stack[n, round(position)], atol=1e-5)

    assert checked > 20


def test_the_window_loss_sees_only_what_the_window_shows():
    window = torch.tensor([[-0.5, 0.5], [-np.inf, np.inf]])
    truth = torch.tensor([0.0, 0.9, -0.9]).view(1, 1, 1, 3).repeat(2, 1, 1, 1)

    outside = window_l1(truth + torch.tensor([0.0, 0.3, -0.3]), truth, window)
    inside = window_l1(truth + torch.tensor([0.3, 0.0, 0.0]), truth, window)

    assert outside == 0
    assert inside == pytest.approx(0.3 / 6)  # one voxel of three, in the one of two stacks that has a window


def test_only_values_beyond_the_truths_neighbourhood_are_false_extremes():
    batch = PatchSampler(load_sources(SMALL.sources), SMALL.patch, 2, seed=5).draw(0)
    dark = batch.truth.clone()
    dark[0, 0, 12, 12] = batch.truth.min() - 0.5

    assert false_extremes(batch.truth, batch.truth) == 0
    assert false_extremes(dark, batch.truth) >= (0.5 - 0.02) / dark.numel()


def test_soft_profiles_and_uncertain_thickness_change_what_the_network_is_given_and_told():
    boxes = PatchConfig(slices=5, pixels=24, queries=4, thin_share=0.0)
    real = replace(boxes, softness_max=0.35, box_share=0.0, thickness_error=0.15)
    box, soft = (PatchSampler(load_sources(SMALL.sources), patch, 2, seed=5) for patch in (boxes, real))

    told = [(box.draw(step).slicing[:, 0], soft.draw(step).slicing[:, 0]) for step in range(4)]

    assert all(not torch.equal(box.draw(step).stack, soft.draw(step).stack) for step in range(4))
    assert len({float(t) for pair in told for t in pair[1]}) > len({float(t) for pair in told for t in pair[0]})


def test_slices_that_lie_unevenly_are_asked_for_where_they_are():
    """What lies half-way over a doubled distance has half a position: on a ramp, the stack gives the truth."""
    patch = PatchConfig(slices=5, pixels=24, queries=8, thin_share=0.0, uneven_share=1.0, whole_ratio_share=1.0)
    ramp = np.arange(150, dtype=np.float32)[:, None, None] * np.ones((1, 24, 24), np.float32)
    volumes = [replace(load_sources(SMALL.sources)[0], array=ramp, spacing_kji_mm=(1.0, 9.0, 9.0))]
    even, uneven = (PatchSampler(volumes, replace(patch, uneven_share=share), 4, seed=3) for share in (0.0, 1.0))

    def gaps(batch):
        return batch.stack[:, 1:-1, 0, 0].diff(dim=1).abs()

    for step in range(4):
        batch = uneven.draw(step)
        inner = (batch.positions >= 1) & (batch.positions <= 3)
        assert torch.allclose(linear(batch.stack, batch.positions)[inner], batch.truth[inner], atol=1e-4)
    assert max(float(gaps(uneven.draw(n)).std(dim=1).max()) for n in range(4)) > 1e-3
    assert max(float(gaps(even.draw(n)).std(dim=1).max()) for n in range(4)) < 1e-4


def test_another_scanner_is_sharper_or_softer_and_noisier():
    patch = PatchConfig(slices=5, pixels=24, queries=4, thin_share=1.0)
    plain, varied = (
        PatchSampler(load_sources(SMALL.sources), p, 8, seed=2)
        for p in (patch, replace(patch, sharpness_jitter=0.2, noise_max=0.02))
    )

    same = [float((plain._as_another_scanner(rng, block) - block).std()) for rng, block in _blocks()]
    changed = [float((varied._as_another_scanner(rng, block) - block).std()) for rng, block in _blocks()]

    assert max(same) == 0
    assert 0 in changed and max(changed) > 0.005


def _blocks():
    block = np.asarray(load_sources(SMALL.sources)[0].array[:20, :24, :24], np.float32) / 1500
    return [(np.random.default_rng(n), block) for n in range(6)]


def test_saved_weights_come_back_with_their_card(tmp_path):
    model = train(SMALL, tmp_path / "run")

    save_network(model, tmp_path / "own.safetensors", model_card(SMALL, tmp_path / "run"))

    again = load_network(tmp_path / "own.safetensors")
    assert all(torch.equal(again.state_dict()[n], t) for n, t in model.state_dict().items())
    card = json.loads((tmp_path / "own.json").read_text())
    assert card["modality"] == "CT"
    assert card["training"]["steps"] == SMALL.steps
    assert "not for primary diagnosis" in card["intended_use"].lower()


def test_nobody_is_in_two_sets_of_the_manifest():
    with (REPOSITORY / "research/data/MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] != "ct_headphantom_ub"]
    trained = {row["subject"] for row in rows if row["split"] == "train"}

    assert all(row["subject"] for row in rows)
    assert not trained & {row["subject"] for row in rows if row["split"] != "train"}
    assert {row["subject"] for row in rows if "_vhf_" in row["name"]} == {"vhf"}


@pytest.mark.parametrize("name", ["ct_profiles", "mr_profiles"])
def test_the_phantom_that_is_shown_as_evidence_is_not_trained_on(name):
    sources = load_config(REPOSITORY / f"research/training/{name}.toml").sources

    assert all("ct_headphantom_ub" in source.exclude for source in sources if source.modality == "CT")


def test_two_volumes_of_one_subject_are_not_split_between_training_and_validation(tmp_path):
    for split, name in (("train", "ct_a"), ("val", "ct_b")):
        (tmp_path / split / "ct").mkdir(parents=True)
        (tmp_path / split / "ct" / f"{name}.nii.gz").touch()
    (tmp_path / "MANIFEST.csv").write_text("name,subject\nct_a,one\nct_b,one\n")
    sources = [(Source(str(tmp_path / split / "ct"), "CT"),) for split in ("train", "val")]

    with pytest.raises(RequestError, match=r"^one: .*same subject"):
        check_subjects(replace(SMALL, sources=sources[0], validation=sources[1]))

    excluding = (replace(sources[0][0], exclude=("ct_a",)),)
    check_subjects(replace(SMALL, sources=excluding, validation=sources[1]))


@pytest.mark.parametrize("name", ["ct", "mr"])
def test_the_bundled_cards_are_complete(name, tmp_path):
    weights = REPOSITORY / f"CycleINRSlicer/Resources/Models/{name}.safetensors"
    card = json.loads(weights.with_suffix(".json").read_text())

    assert weights.stat().st_size < 10e6
    assert {"name", "modality", "intended_use", "training", "validation_gain_over_linear_db", "sha256"} <= set(card)
    assert all(entry["licence"] and entry["source"] for entry in card["training"]["data"])
    assert not {entry["name"] for entry in card["training"]["data"]} & {"ct_riderpilot0117", "mr_ds002748_30"}


def test_the_shipped_configurations_can_be_read():
    files = sorted((REPOSITORY / "research" / "training").glob("*.toml"))

    names = [load_config(file).name for file in files]

    assert names == [file.stem for file in files] and names


@pytest.mark.parametrize(
    "text", ["steps = ", "unheard_of = 3\nname='x'\nsources=[]", "name = 'x'\n[[sources]]\nmodality='CT'"]
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, text):
    file = tmp_path / "wrong.toml"
    file.write_text(text)

    with pytest.raises(RequestError, match="configuration"):
        load_config(file)


SOURCES = "sources = [{folder = 'scans', modality = 'CT'}]"


@pytest.mark.parametrize(
    "line",
    [
        "steps = -5", "steps = 0", "steps = 1.5", "steps = nan", "steps = 'abc'", "steps = true", "steps = -1e-320",
        "batch = 0", "batch = '4'", "learning_rate = nan", "learning_rate = 0", "learning_rate = -1e-3",
        "learning_rate = inf", "learning_rate = '1e-3'", "warmup_steps = -1", "clip_norm = 0", "ema = 1.5",
        "max_minutes = -1", "cycle_weight = nan", "validate_every = 0", "checkpoint_every = 0", "seed = -1",
        "seed = 12345678901234567890123", "name = '../../../../tmp/pwn'", "name = '/tmp/pwn'", "name = 'a/b'",
        "name = ''", "name = '.hidden'", "name = '..'", "name = 3", "name = 'C:\\\\x'", "patch = {slices = 0}",
        "patch = {pixels = 2.5}", "patch = {queries = -1}", "patch = {ratio_min = 0}", "patch = {thin_share = 1.01}",
        "patch = {ratio_min = 5, ratio_max = 2}", "patch = {intensity_jitter = nan}", "patch = {thickness_error = 1}",
        "validation = [{folder = 'a', modality = 'PET'}]",
        "validation = [{folder = 'a', modality = 'CT', weight = nan}]",
        "validation = [{folder = 'a', modality = 'CT', exclude = [3]}]", "validation = [{folder = 3, modality = 'CT'}]",
        "initial_weights = 3", "initial_share = 0.5", "teacher_weight = 1", "teacher_weights = ['a']",
        "teacher_weights = 3", "bfloat16_share = 2", "patch = {consistent_share = -1}", "validation = 3", "patch = 3",
        "network = 3", "architecture = 3",
    ],
)  # fmt: skip
def test_a_value_that_a_setting_cannot_have_is_refused(tmp_path, line):
    file = tmp_path / "wrong.toml"
    name = "" if line.startswith("name") else "name = 'good-1.0_x'\n"
    file.write_text(f"{name}{SOURCES}\n{line}\n")

    with pytest.raises((RequestError, ModelError)):
        load_config(file)

    file.write_text(f"name = 'good-1.0_x'\n{SOURCES}\n")
    assert load_config(file).name == "good-1.0_x"


@pytest.mark.parametrize("version", ["2.2.2", "2.5.1+cu124", "1.13.0"])
def test_no_checkpoint_is_resumed_with_a_torch_that_could_run_its_code(tmp_path, monkeypatch, version):
    train(replace(SMALL, steps=1, checkpoint_every=1), tmp_path)
    monkeypatch.setattr(torch, "__version__", version)

    with pytest.raises(ModelError, match=r"2\.6 or newer"):
        train(replace(SMALL, steps=2), tmp_path)


def test_an_empty_training_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no"):
        load_sources((Source(str(tmp_path), "CT"),))


def test_the_model_follows_the_scans_modality():
    from cycleinr.volume import Volume

    array = np.arange(8 * 8 * 8, dtype=np.int16).reshape(8, 8, 8)
    assert choose_model(Volume(array, np.eye(4), "CT"), "auto").weights.stem == "ct"
    assert choose_model(Volume(array, np.eye(4)), "auto").weights.stem == "mr"
    assert choose_model(Volume(array - 1024, np.eye(4)), "auto").weights.stem == "ct"
