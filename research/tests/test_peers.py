"""The published methods that CycleINR is compared with: their definitions, that they learn, and that they run."""

import math
from dataclasses import replace

import cycleinr
import numpy as np
import pytest
import torch
from cycleinr import ModelError, RequestError
from cycleinr.network.layers import cubic_convolution
from cycleinr.request import choose_model
from cycleinr.weights import RESIDUAL_SCALE, Slicing, read_card
from cycleinr_research.evaluation.methods import METHODS
from cycleinr_research.evaluation.network_method import method_of_weights
from cycleinr_research.evaluation.peers.arssr import ArSSR, ArssrSizes
from cycleinr_research.evaluation.peers.bare_method import run_tiles
from cycleinr_research.evaluation.peers.saint import SAINT, SaintSizes
from cycleinr_research.evaluation.peers.tvsrn import TVSRN, TvsrnSizes, WindowLayer
from cycleinr_research.evaluation.protocol import make_case
from cycleinr_research.evaluation.runner import EvaluationPlan, evaluate
from cycleinr_research.networks import load_network
from cycleinr_research.torch_linear import linear
from cycleinr_research.training.card import model_card
from cycleinr_research.training.config import PatchConfig, Source, TrainingConfig, load_config
from cycleinr_research.training.loop import Trainer
from cycleinr_research.weights import save_network
from lightning_fabric import Fabric
from places import REPOSITORY

SMALL = {
    "arssr": (ArSSR, ArssrSizes(blocks=2, layers=2, growth=4, width=8, code=8, hidden=16)),
    "saint": (SAINT, SaintSizes(2, 2, 4, 8, 8, 2, 2, 4, 8)),
    "tvsrn": (TVSRN, TvsrnSizes(3, 4, 16, 2, 2, 4, 2, 4, 2, 2)),
}
SLICING = Slicing(tau=0.0, anisotropy=5.0, ratio=3.0).to_tensor()


def make(name: str, spread: float = 0.2) -> torch.nn.Module:
    """A small network, random everywhere, so that no part can be left out without the result changing."""
    torch.manual_seed(7)
    network_type, sizes = SMALL[name]
    network = network_type(sizes).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += spread * torch.randn_like(parameter) / parameter[0].numel() ** 0.5
    return network


def small_run(name: str, **changes) -> TrainingConfig:
    source = Source(str(REPOSITORY / "Testing" / "data"), "CT", exclude=("mr_head_1mm",))
    patch = PatchConfig(slices=4, pixels=16, queries=4, ratio_min=3, ratio_max=3, whole_ratio_share=1, thin_share=1)
    defaults = dict(sources=(source,), architecture=name, network=SMALL[name][1], patch=patch, batch=2, warmup_steps=5)
    return TrainingConfig(**{"name": name, "steps": 4, "learning_rate": 2e-3, "ema": 0.9, **defaults, **changes})


def train(config: TrainingConfig, folder):
    return Trainer(config, folder, Fabric(accelerator="cpu", devices=1)).run()


@pytest.mark.parametrize("name", SMALL)
def test_shapes_and_gradients(name):
    network, stack = make(name), torch.randn(2, 5, 14, 10)
    positions = torch.tensor([[0.0, 1.0 / 3, 2.0], [1.0, 11.0 / 3, 4.0]])

    slices = network(stack, positions, SLICING.expand(2, -1))

    assert slices.shape == (2, 3, 14, 10)
    slices.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", SMALL)
def test_an_untrained_network_is_close_to_linear_interpolation(name):
    torch.manual_seed(2)
    network_type, sizes = SMALL[name]
    stack, positions = torch.randn(1, 5, 12, 8), torch.rand(1, 6) * 4

    with torch.no_grad():
        slices = network_type(sizes)(stack, positions, SLICING)

    assert torch.allclose(slices, linear(stack, positions), atol=0.06)


def test_the_published_sizes_have_the_published_number_of_parameters():
    """ArSSR: 5.9 million in the encoder, 0.36 million in the decoder."""
    network = ArSSR()

    counts = [sum(p.numel() for p in part.parameters()) for part in (network.encoder, network.decoder)]

    assert [round(count / 1e6, 2) for count in counts] == [5.92, 0.36]


def test_arssr_samples_codes_and_coordinates_trilinearly():
    network, stack = make("arssr"), torch.randn(1, 4, 6, 5)
    with torch.no_grad():
        codes = network.encoder(stack[:, None])[0]
        z, row, column = 1.25, 4, 2
        code = 0.75 * codes[:, 1, row, column] + 0.25 * codes[:, 2, row, column]
        told = torch.cat([code, torch.tensor([2 * z / 3 - 1, (2 * row + 1) / 6 - 1, (2 * column + 1) / 5 - 1])])
        plain = 0.75 * stack[0, 1, row, column] + 0.25 * stack[0, 2, row, column]
        expected = plain + RESIDUAL_SCALE * network.decoder(told)

        got = network(stack, torch.tensor([[z]]), SLICING)[0, 0, row, column]

    assert got.item() == pytest.approx(expected.item(), abs=1e-5)


def test_saint_treats_both_planes_alike():
    """Swapping rows and columns of the scan swaps them in the result, apart from the fusion of its two inputs."""
    network, stack = make("saint"), torch.randn(1, 4, 9, 7)
    positions = torch.tensor([[0.4, 2.0]])
    with torch.no_grad():
        torch.nn.init.zeros_(network.fusion[-1].weight)
        upright = network(stack, positions, SLICING)
        turned = network(stack.transpose(2, 3), positions, SLICING)

    assert torch.allclose(upright, turned.transpose(2, 3), atol=1e-5)


def test_saint_filters_answer_at_the_slice_below_the_query():
    network, stack = make("saint").planes, torch.randn(1, 5, 6, 4)
    with torch.no_grad():
        planes = torch.nn.functional.pad(stack, (1, 1, 0, 0), mode="replicate")
        features = network.features(planes[0, :, :, 1:4].permute(2, 0, 1)[None])[0]
        told = torch.tensor([0.6, *SLICING[0, 1:]])
        kernel = network.filters(told).view(features.shape[0], 3, 3)
        expected = (features[:, 1:4, 2:5] * kernel).sum()

        got = network(stack, torch.tensor([[2.6]]), SLICING)

    assert got[0, 0, 3, 1] == pytest.approx(float(expected), abs=1e-5)


def test_tvsrn_makes_16_slices_of_4_and_keeps_the_inner_ones():
    network = TVSRN(TvsrnSizes(ratio=5, patch=4, width=16, heads=2, encoder_layers=1, through_layers=2, axial_layers=1))
    stack = torch.randn(1, 8, 8, 8)

    with torch.no_grad():
        own = network.window_corrections(stack[:, 2:6])
        positions = 2 + torch.arange(3, 13)[None] / 5
        kept = network(stack, positions, SLICING) - linear(stack, positions)

    assert own.shape[1] == 16
    assert torch.allclose(kept, RESIDUAL_SCALE * own[:, 3:13], atol=1e-5) and own.std() > 1e-3


def test_windows_attend_within_themselves_only():
    layer = WindowLayer(TvsrnSizes(width=16, heads=2), window=4, shifted=True).eval()
    tokens = torch.randn(1, 7, 9, 16)
    changed = tokens.clone()
    changed[0, 3, 3, 0] += 1

    with torch.no_grad():
        moved = (layer(changed) - layer(tokens)).abs().amax(-1)[0] > 1e-6

    # Shifted by 2, windows begin at -2, 2 and 6.
    expected = torch.zeros(7, 9, dtype=torch.bool)
    expected[2:6, 2:6] = True
    assert torch.equal(moved, expected)


@pytest.mark.parametrize(("name", "left"), [("arssr", 0.7), ("saint", 0.7), ("tvsrn", 0.9)])
def test_it_learns_what_linear_interpolation_lacks(name, left):
    """Cubic convolution of slices that are flat in patches of 4 pixels, which small networks can take in."""
    torch.manual_seed(0)
    network = SMALL[name][0](SMALL[name][1])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    positions, shares = torch.tensor([[4 / 3, 5 / 3]]).expand(2, -1), []

    for _ in range(60):
        stack = torch.nn.functional.interpolate(torch.randn(2, 4, 2, 2), scale_factor=4)
        truth = cubic_convolution(stack, positions)
        loss = (network(stack, positions, SLICING.expand(2, -1)) - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shares.append(float(loss.detach() / (linear(stack, positions) - truth).abs().mean()))

    assert np.mean(shares[-5:]) < left * np.mean(shares[:5])


@pytest.mark.parametrize("name", SMALL)
def test_the_same_command_trains_it_and_its_weights_come_back(name, tmp_path):
    config = small_run(name)

    network = train(config, tmp_path)

    save_network(network, tmp_path / "own.safetensors", model_card(config, tmp_path))
    again = load_network(tmp_path / "own.safetensors")
    assert all(torch.equal(again.state_dict()[n], t) for n, t in network.state_dict().items())
    assert read_card(tmp_path / "own.safetensors")["architecture"] == name


def test_a_run_ends_when_its_time_is_used_up(tmp_path):
    config = small_run("tvsrn", steps=1_000_000, max_minutes=1e-4)

    network = train(config, tmp_path)

    card = model_card(config, tmp_path)
    save_network(network, tmp_path / "own.safetensors", card)
    assert 1 <= card["training"]["steps"] < 100
    assert card["training"]["minutes"] >= 0


def test_weights_of_a_peer_are_evaluated_at_their_ratio_and_refused_elsewhere(tmp_path, noisy_ct):
    weights = tmp_path / "tvsrn.safetensors"
    network = make("tvsrn")
    torch.nn.init.zeros_(network.out.weight)
    torch.nn.init.zeros_(network.out.bias)
    save_network(network, weights, {"name": "tvsrn", "modality": "CT"})
    plan = EvaluationPlan(
        (2, 3), ("subsampled",), {"linear": METHODS["linear"], "tvsrn": method_of_weights("tvsrn", weights)}
    )

    evaluation = evaluate(noisy_ct, tmp_path / "out", plan)

    assert not evaluation.failures
    assert [(row.ratio, row.method) for row in evaluation.rows] == [("2", "linear"), ("3", "linear"), ("3", "tvsrn")]
    assert evaluation.rows[2].psnr_generated_db == pytest.approx(evaluation.rows[1].psnr_generated_db, abs=0.01)
    with pytest.raises(ModelError, match="cycleinr evaluate"):
        choose_model(noisy_ct, str(weights))
    with pytest.raises(ModelError, match="cycleinr evaluate"):
        cycleinr.load_model(weights)


@pytest.mark.parametrize("name", ["saint", "tvsrn"])
def test_tiles_agree_with_the_whole_image_where_the_overlap_covers_the_receptive_field(name, noisy_ct):
    network = make(name).requires_grad_(False)
    case = make_case(replace(noisy_ct, array=np.tile(noisy_ct.array, (1, 3, 3))), "subsampled", 3)

    tiled, whole = (run_tiles(network, case.lowres, case.grid, pixels) for pixels in (32, 1000))

    # SAINT's small receptive field fits into the overlap; TVSRN's shifted windows reach beyond it.
    assert np.abs(tiled - whole).max() < (0.01 if name == "saint" else math.inf)
    assert tiled.shape == case.truth.shape and np.isfinite(tiled).all()


def test_weights_of_another_architecture_are_no_start(tmp_path):
    save_network(make("saint"), tmp_path / "saint.safetensors", {"name": "saint", "modality": "CT"})
    config = small_run("arssr", initial_weights=str(tmp_path / "saint.safetensors"))

    with pytest.raises(RequestError, match="same architecture"):
        Trainer(config, tmp_path / "run", Fabric(accelerator="cpu", devices=1))


def test_the_shipped_configurations_are_of_their_architecture():
    files = sorted((REPOSITORY / "research" / "training" / "peers").glob("*.toml"))

    configs = {file.stem: load_config(file) for file in files}

    assert {config.architecture for config in configs.values()} == set(SMALL) | {"cycleinr"}
    assert all(config.name == name for name, config in configs.items())
    assert len({config.max_minutes for config in configs.values()}) == 1
    fixed = [config for config in configs.values() if config.architecture == "tvsrn"]
    assert all(c.patch.ratio_min == c.patch.ratio_max == c.network.ratio for c in fixed)
