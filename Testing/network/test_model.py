"""The network: shapes, gradients, and agreement of all the ways to compute it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cycleinr.inference.cpu_network import StripNetwork
from cycleinr.inference.gpu_network import GpuNetwork
from cycleinr.network.layers import cubic_weights, smooth_pixels
from cycleinr.network.model import CycleINR
from cycleinr.weights import NetworkConfig, Parameters, Slicing, parameter_shapes
from network import reference_network

SMALL = NetworkConfig(width=16, blocks=3, heads=4, decoder_width=24, decoder_layers=2, conditioning_width=8)
PAIR = replace(SMALL, members=2, diagonal_taps=5)
SLICING = Slicing(tau=0.7, anisotropy=5.2, ratio=3.3)


def make_network(config: NetworkConfig = SMALL) -> CycleINR:
    """Random everywhere, so that no part can be left out without the result changing."""
    torch.manual_seed(3)
    model = CycleINR(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        spread = 1.0 if name.startswith("decoder.out") else 0.3
        parameter += spread * torch.randn_like(parameter) / parameter[0].numel() ** 0.5
    return model


@pytest.fixture(scope="module", params=[(1, 1), (5, 1), (1, 5)], ids=["plain", "smoothed", "without dots"])
def model(request) -> CycleINR:
    return make_network(replace(SMALL, smoothing_taps=request.param[0], diagonal_taps=request.param[1]))


@pytest.fixture(scope="module")
def stack() -> torch.Tensor:
    return torch.randn(6, 10, 12, generator=torch.Generator().manual_seed(5))


def parameters_of(model) -> Parameters:
    return Parameters(model.config, {name: value.numpy() for name, value in model.state_dict().items()})


def run_fast(model, stack, positions, slicing=SLICING, kept=None):
    network = StripNetwork(parameters_of(model), slicing, np.asarray(positions, dtype=float), len(stack))
    return torch.from_numpy(network.run(stack.numpy(), kept or slice(0, stack.shape[1]), lambda: None))


@pytest.mark.parametrize("config", [NetworkConfig(), SMALL, replace(SMALL, decoder_layers=1, blocks=1, cell=3), PAIR])
def test_the_parameters_shapes_are_those_of_the_network(config):
    assert parameter_shapes(config) == {n: tuple(v.shape) for n, v in CycleINR(config).state_dict().items()}


def test_the_network_returns_one_slice_for_every_position(model, stack):
    slices = model(stack[None], torch.rand(1, 7) * 5, SLICING.to_tensor())

    assert slices.shape == (1, 7, 10, 12)


def test_an_image_with_odd_sides_keeps_its_size(model, stack):
    slices = model(stack[None, :, :9, :11], torch.rand(1, 3) * 5, SLICING.to_tensor())

    assert slices.shape == (1, 3, 9, 11)


def test_members_are_averaged(stack):
    pair, positions, slicing = make_network(PAIR), torch.tensor([[0.3, 2.7]]), SLICING.to_tensor()
    answers = []
    for member in parameters_of(pair).members:
        alone = CycleINR(member.config)
        alone.load_state_dict({name: torch.from_numpy(values) for name, values in member.arrays.items()})
        answers.append(alone(stack[None], positions, slicing))

    assert torch.allclose(pair(stack[None], positions, slicing), (answers[0] + answers[1]) / 2, atol=1e-6)
    assert (answers[0] - answers[1]).abs().max() > 0.01


@pytest.mark.parametrize("config", [SMALL, PAIR])
def test_every_parameter_receives_a_gradient(stack, config):
    model = make_network(config).requires_grad_(True)

    model(stack[None], torch.tensor([[0.3, 2.7]]), SLICING.to_tensor()).square().sum().backward()

    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("z", [0.0, 0.4, 1.0, 2.5, 4.2, 5.0])
def test_the_network_equals_the_literal_reference(model, stack, z):
    slicing = SLICING.to_tensor()
    codes = reference_network.encode(model, stack, slicing)
    expected = [
        [reference_network.query(model, stack, codes, slicing, z, row, column) for column in range(0, 12, 3)]
        for row in range(0, 10, 3)
    ]

    got = model(stack[None], torch.tensor([[z]]), slicing)[0, 0, ::3, ::3]

    assert torch.allclose(got, torch.tensor(expected), atol=1e-5)


def test_the_fast_path_equals_the_network(model, stack):
    positions = np.array([0.0, 0.25, 0.875, 1.0, 2.5, 3.125, 4.625, 5.0])

    fast = run_fast(model, stack, positions)

    slow = model(stack[None], torch.from_numpy(positions).float()[None], SLICING.to_tensor())[0]
    assert torch.allclose(fast, slow, atol=1e-5)


@pytest.mark.parametrize("tau", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(2, 9, 30), (5, 24, 67), (4, 41, 8), (3, 3, 3)])
@pytest.mark.parametrize("config", [NetworkConfig(smoothing_taps=7), replace(SMALL, cell=3, decoder_layers=1), PAIR])
def test_every_way_to_compute_the_network_gives_the_same(config, shape, tau):
    """Slices of any size, outputs beyond the stack's ends, and some of the rows only."""
    model, slicing = make_network(config), Slicing(tau, 5.2, 2.5)
    stack = 0.5 * torch.randn(shape, generator=torch.Generator().manual_seed(2))
    positions = np.arange(-0.5, shape[0] - 0.3, 0.4)
    kept = slice(min(2, shape[1] - 1), shape[1])

    fast = run_fast(model, stack, positions, slicing, kept)
    on_a_device = GpuNetwork(model, slicing, positions, shape[0]).run(stack, kept, lambda: None)

    inside = torch.from_numpy(positions.clip(0, shape[0] - 1)).float()
    slow = model(stack[None], inside[None], slicing.to_tensor())[0, :, kept]
    if tau == 0:
        known = inside == inside.round()
        slow[known] = stack[inside[known].long(), kept]
    assert torch.allclose(fast, slow, atol=2e-5)
    assert torch.allclose(on_a_device, slow, atol=1e-6)


def test_the_fast_path_equals_the_literal_reference_at_full_size():
    model = make_network(NetworkConfig())
    stack = torch.randn(5, 6, 8, generator=torch.Generator().manual_seed(1))
    slicing = SLICING.to_tensor()
    codes = reference_network.encode(model, stack, slicing)

    fast = run_fast(model, stack, [1.37])

    for row, column in [(0, 0), (1, 3), (4, 6), (5, 7)]:
        assert fast[0, row, column].item() == pytest.approx(
            reference_network.query(model, stack, codes, slicing, 1.37, row, column), abs=1e-5
        )


def test_outputs_do_not_depend_on_pixels_beyond_the_stated_receptive_field(model):
    image = torch.zeros(4, 40, 40)
    changed = image.clone()
    changed[:, 20, 20] = 1

    # Rounding in a tile of cells depends on all of them
    moved = (run_fast(model, changed, [1.5]) - run_fast(model, image, [1.5])).abs()[0] > 1e-6

    rows = torch.nonzero(moved.any(1)).flatten()
    assert rows.min() >= 20 - model.config.receptive_pixels
    assert rows.max() <= 20 + model.config.receptive_pixels


@pytest.mark.parametrize("taps", [{"smoothing_taps": 7}, {"diagonal_taps": 5}])
def test_a_filter_keeps_what_varies_slowly_and_removes_the_grid_of_single_pixels(taps):
    config = NetworkConfig(**taps)
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(30.0), indexing="ij")
    slow = torch.sin(0.25 * rows) + torch.cos(0.3 * columns)
    grid = (-1.0) ** (rows + columns)

    inside = smooth_pixels(torch.stack([slow, grid])[None], config)[0, :, 4:-4, 4:-4]

    assert torch.allclose(inside[0], slow[4:-4, 4:-4], atol=0.03)
    assert inside[1].abs().max() < 0.05
    assert torch.allclose(smooth_pixels(torch.ones(1, 2, 9, 8), config), torch.ones(1, 2, 9, 8))


def test_the_filter_against_dots_keeps_lines_of_single_pixels():
    line = torch.zeros(1, 1, 24, 24)
    line[..., 12] = 1

    assert torch.allclose(smooth_pixels(line, NetworkConfig(diagonal_taps=5)), line, atol=1e-6)


def test_cubic_weights_sum_to_one_and_reproduce_a_line():
    positions = torch.linspace(0, 5, 41, dtype=torch.float64)

    weights = cubic_weights(positions, 6)

    assert torch.allclose(weights.sum(1), torch.ones_like(positions))
    first = positions.floor().clamp(0, 4) - 1
    line = (weights * (first[:, None] + torch.arange(4)).clamp(0, 5)).sum(1)
    inner = (positions >= 1) & (positions <= 4)
    assert torch.allclose(line[inner], positions[inner])
