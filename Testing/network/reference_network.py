"""CycleINR, slow and literal: one query at a time, every latent code gathered by hand.

The project's own network and its inference path must agree with this to 1e-5. It shares the trained parameters and
the small conditioning networks, and nothing of how slices, neighbours and cells are handled.
"""

import math

import torch
from cycleinr.network.layers import offset_features
from cycleinr.weights import DIFFERENCE_GAIN, LINEAR_FLOOR, RESIDUAL_SCALE
from scipy import ndimage


def leaky(x):
    return torch.where(x >= 0, x, 0.1 * x)


def encode(model, stack, slicing):
    """stack (S, H, W) -> codes (S, C, h, w): convolutions one slice at a time, zeros beyond the stack's ends."""
    encoder, cell = model.encoder, model.config.cell
    slices = len(stack)
    modulations = encoder.modulations(slicing)[:, :, 0]
    codes = []
    for k in range(slices):
        before = stack[k - 1] - stack[k] if k > 0 else torch.zeros_like(stack[k])
        after = stack[k + 1] - stack[k] if k < slices - 1 else torch.zeros_like(stack[k])
        planes = (stack[k], DIFFERENCE_GAIN * before, DIFFERENCE_GAIN * after)
        channels = [p[dy::cell, dx::cell] for p in planes for dy in range(cell) for dx in range(cell)]
        codes.append(encoder.stem(torch.stack(channels)[None])[0])
    for block, (scale, shift) in zip(encoder.blocks, modulations, strict=True):
        hidden = [leaky(block.inplane(c[None])[0] * (1 + scale)[:, None, None] + shift[:, None, None]) for c in codes]
        nothing = torch.zeros_like(hidden[0])
        neighbours = [nothing, *hidden, nothing]
        codes = [codes[k] + block.through(torch.cat(neighbours[k : k + 3])[None])[0] for k in range(slices)]
    return torch.stack(codes)


def keys_weight(x):
    """R. Keys (1981), a = -1/2."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def interpolate(values, z):
    """Cubic convolution of a list of numbers at z; beyond the ends the line through the outermost two goes on."""
    last = len(values) - 1
    z = min(max(z, 0), last)
    first = min(int(math.floor(z)), last - 1)

    def at(k):
        if k < 0:
            return 2 * values[0] - values[1]
        return 2 * values[last] - values[last - 1] if k > last else values[k]

    return sum(keys_weight(z - k) * at(k) for k in range(first - 1, first + 3))


def query(model, stack, codes, slicing, z, row, column):
    """The intensity at slice position z of one pixel."""
    kernel, (rows, columns) = filter_kernel(model.config), stack.shape[1:]
    reach = len(kernel) // 2
    residual = gate = 0.0
    for a, weights in enumerate(kernel):
        for b, weight in enumerate(weights):
            # Beyond the image its outermost pixels go on.
            near = min(max(row + a - reach, 0), rows - 1), min(max(column + b - reach, 0), columns - 1)
            parts = correction(model, codes, slicing, z, *near)
            residual += weight * parts[0]
            gate += weight * parts[1]
    values = stack[:, row, column].tolist()
    smooth, spline = interpolate(values, z), float(ndimage.map_coordinates(values, [[z]], order=3, mode="mirror")[0])
    return float(smooth + residual + gate * (spline - smooth))


def filter_kernel(config):
    """The one filter that a network has, as a square of weights."""
    if config.diagonal_taps == 1:
        taps = low_pass(config.smoothing_taps)
        return [[a * b for b in taps] for a in taps]
    assert (config.smoothing_taps, config.diagonal_taps) == (1, 5)
    high = [1 / 16, -4 / 16, 6 / 16, -4 / 16, 1 / 16]
    return [[float(a == b == 2) - high[a] * high[b] for b in range(5)] for a in range(5)]


def low_pass(taps):
    """Sinc of 0.7 times the Nyquist frequency under a Hamming window."""
    weights = []
    for n in range(taps):
        x = 0.7 * (n - (taps - 1) / 2)
        window = 0.54 - 0.46 * math.cos(2 * math.pi * n / (taps - 1)) if taps > 1 else 1.0
        weights.append(window * (math.sin(math.pi * x) / (math.pi * x) if x else 1.0))
    return [w / sum(weights) for w in weights]


def correction(model, codes, slicing, z, row, column):
    """Residual and gate of one pixel, as the decoder gives them."""
    sampling, decoder, config = model.sampling, model.decoder, model.config
    slices, depth, cell = len(codes), config.width // config.heads, config.cell
    first = min(max(int(math.floor(z)), 0), slices - 2)
    step = z - first
    projected = {
        j: sampling.project(codes[j][None])[0][:, row // cell, column // cell].chunk(3)
        for j in range(first - 1, first + 3)
        if 0 <= j < slices
    }
    asked = (1 - step) * projected[first][0] + step * projected[first + 1][0]
    weights = torch.zeros(config.heads, len(projected))
    for place, j in enumerate(projected):
        told = torch.cat([offset_features(torch.tensor(z - j)), slicing[0]])
        embedding, bias = sampling.offset(told).split([config.width, config.heads])
        prior = math.log(max(1 - abs(z - j), 0) + LINEAR_FLOOR)
        for h in range(config.heads):
            part = slice(h * depth, (h + 1) * depth)
            score = torch.dot(asked[part], projected[j][1][part] + embedding[part]) / math.sqrt(depth)
            weights[h, place] = score + bias[h] + prior
    weights = torch.softmax(weights, dim=1)
    code = torch.zeros(config.width)
    for place, j in enumerate(projected):
        code += weights[:, place].repeat_interleave(depth) * projected[j][2]
    modulations = decoder.modulations(torch.tensor([[step]]), slicing)
    for layer, (scale, shift) in zip(decoder.hidden, modulations, strict=True):
        code = leaky(layer(code[None, :, None, None])[0, :, 0, 0] * (1 + scale[0, 0]) + shift[0, 0])
    outputs = decoder.out(code[None, :, None, None])[0, :, 0, 0]
    pixel = (row % cell) * cell + column % cell
    return RESIDUAL_SCALE * outputs[pixel], outputs[cell**2 + pixel]
