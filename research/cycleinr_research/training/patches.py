"""Training examples: a fine block is cut out of a volume and re-acquired with a random slice profile."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from cycleinr import InputError
from cycleinr.inspection import without_padding
from cycleinr.intensity import IntensityScale, intensity_scale
from cycleinr.resampling import TRAINED_TAU_MAX, SliceProfile, profile_matrix, resampled
from cycleinr.weights import Slicing

from .config import PatchConfig, Source
from .consistency import Reacquisition

_MAX_SPACING_RATIO = 1.5
_FLAT_DEVIATION = 0.02
_FLAT_ATTEMPTS = 4
_SOFT_TISSUE_HU = np.array([-160.0, 240.0])


@dataclass(frozen=True)
class FineVolume:
    """A volume with fine slices: array (K, J, I), its map to network values, the axes' spacings (k, j, i) in mm.

    ``window`` holds the ends of the display window in network values, (2,); infinite for MR.
    """

    name: str
    array: np.ndarray
    scale: IntensityScale
    spacing_kji_mm: tuple[float, float, float]
    weight: float
    window: np.ndarray

    def slicing_axes(self) -> list[int]:
        """Array axes along which slicing this volume is realistic: fine enough, with nearly square pixels across."""
        axes = []
        for axis in range(3):
            across = [s for a, s in enumerate(self.spacing_kji_mm) if a != axis]
            fine = self.spacing_kji_mm[axis] <= _MAX_SPACING_RATIO * min(self.spacing_kji_mm)
            if axis == 0 or (fine and max(across) <= _MAX_SPACING_RATIO * min(across)):
                axes.append(axis)
        return axes


@dataclass(frozen=True)
class PatchBatch:
    """Examples with the same number of slices.

    Attributes:
        stack, positions, slicing, truth: What the network is given, and what it should answer.
        window: Lower and upper end of the display window in network values, (N, 2); infinite where there is none.
        thin: Whether all examples have tau = 0.
        reacquisition: How ``truth`` makes up the stack, for a loss after consistency; None for none.
    """

    stack: torch.Tensor
    positions: torch.Tensor
    slicing: torch.Tensor
    truth: torch.Tensor
    window: torch.Tensor
    thin: bool
    reacquisition: Reacquisition | None = None

    def to(self, device: torch.device) -> PatchBatch:
        tensors = (self.stack, self.positions, self.slicing, self.truth, self.window)
        there = self.reacquisition.to(device) if self.reacquisition else None
        return PatchBatch(*(t.to(device) for t in tensors), self.thin, there)


def load_sources(sources: tuple[Source, ...]) -> list[FineVolume]:
    """Read every volume of the folders into memory.

    A source's weight is shared among its volumes by the square root of their size.

    Raises:
        InputError: A folder holds no volume.
    """
    from cycleinr.files import read_volume

    volumes = []
    for source in sources:
        paths = source.paths()
        if not paths:
            raise InputError(
                f"The folder {source.folder} holds no .nii.gz volume to train on. Check the configuration."
            )
        found = [without_padding(replace(read_volume(path), modality=source.modality)) for path in paths]
        shares = np.sqrt([v.array.size for v in found])
        for path, volume, share in zip(paths, found, source.weight * shares / shares.sum(), strict=True):
            scale = intensity_scale(volume.array, source.modality)
            spacing = tuple(float(s) for s in volume.spacing_ijk_mm[::-1])
            window = np.array([-np.inf, np.inf], np.float32)
            if source.modality == "CT":
                window = scale.to_network(_SOFT_TISSUE_HU)
            name = path.name.split(".")[0]
            volumes.append(FineVolume(name, volume.array, scale, spacing, float(share), window))
    return volumes


class PatchSampler:
    """Draws batches; the batch of a step depends on seed, step and rank alone, so a resumed run sees the same ones."""

    def __init__(self, volumes: list[FineVolume], config: PatchConfig, batch: int, seed: int):
        self.volumes, self.config, self.batch, self.seed = volumes, config, batch, seed
        weights = np.array([v.weight for v in volumes])
        self.chances = weights / weights.sum()

    def draw(self, step: int, rank: int = 0) -> PatchBatch:
        rng = np.random.default_rng([self.seed, step, rank])
        thin = bool(rng.random() < self.config.thin_share)
        share = self.config.consistent_share
        consistent = not thin and share > 0 and bool(rng.random() < share)
        examples = [self._example(rng, thin, consistent) for _ in range(self.batch)]
        parts = list(zip(*examples, strict=True))
        stack, positions, truth, window = (torch.from_numpy(np.stack(part)) for part in (*parts[:3], parts[4]))
        reacquisition = Reacquisition.stacked(parts[5]) if consistent else None
        slicing = torch.cat([Slicing(*each).to_tensor() for each in parts[3]])
        return PatchBatch(stack, positions, slicing, truth, window, thin, reacquisition)

    def _example(self, rng: np.random.Generator, thin: bool, consistent: bool):
        for _ in range(_FLAT_ATTEMPTS):
            example = self._draw_example(rng, thin, consistent)
            if example[2].std() > _FLAT_DEVIATION:
                break
        return example

    def _draw_example(self, rng: np.random.Generator, thin: bool, consistent: bool):
        config = self.config
        volume = self.volumes[rng.choice(len(self.volumes), p=self.chances)]
        axis = self._slicing_axis(rng, volume)
        fine = np.moveaxis(volume.array, axis, 0)
        across_mm = [s for a, s in enumerate(volume.spacing_kji_mm) if a != axis]
        profile, first = self._profile(rng, thin, fine.shape[0])
        block = self._as_another_scanner(rng, volume.scale.to_network(self._cut(rng, fine, first, profile.n_fine)))
        stack = resampled(soft_profile_matrix(profile), block)
        low, high = math.ceil(profile.centres[0] - 1e-6), math.floor(profile.centres[-1] + 1e-6)
        asked = self._asked(rng, low, high, consistent)
        positions = np.interp(asked, profile.centres, np.arange(config.slices)).astype(np.float32)
        gain, offset = 1 + config.intensity_jitter * rng.uniform(-1, 1, 2) * [1, 0.5]
        stack, truth, window = (
            np.float32(gain) * part + np.float32(offset - 1) for part in (stack, block[asked], volume.window)
        )
        anisotropy = profile.spacing * volume.spacing_kji_mm[axis] / (sum(across_mm) / 2)
        told_tau = profile.tau * (1 + config.thickness_error * rng.uniform(-1, 1))
        reacquisition = Reacquisition.of(profile, told_tau, asked) if consistent else None
        return stack, positions, truth, (told_tau, anisotropy, profile.spacing), window, reacquisition

    def _asked(self, rng: np.random.Generator, low: int, high: int, consistent: bool) -> np.ndarray:
        """Fine slices to compare at: some of all, or twice as many side by side."""
        queries = self.config.queries
        if not consistent:
            return np.sort(rng.choice(np.arange(low, high + 1), queries, replace=high - low < queries))
        first = int(rng.integers(low, max(low, high - 2 * queries + 1) + 1))
        return np.minimum(np.arange(first, first + 2 * queries), high)

    def _slicing_axis(self, rng: np.random.Generator, volume: FineVolume) -> int:
        axes = volume.slicing_axes()
        if len(axes) == 1 or rng.random() < self.config.native_axis_share:
            return 0
        return int(rng.choice(axes))

    def _profile(self, rng: np.random.Generator, thin: bool, depth: int) -> tuple[SoftProfile, int]:
        """A random profile that fits into ``depth`` fine slices, and the first fine slice of its block."""
        config = self.config
        tau = 0.0 if thin else float(rng.choice([1.0, rng.uniform(0.1, TRAINED_TAU_MAX)]))
        gaps = self._gaps(rng, thin)
        spans = gaps.sum() + tau
        ratio = self._ratio(rng, min(config.ratio_max, (depth - 2) / spans))
        if rng.random() < config.whole_ratio_share:
            ratio = max(2.0, float(round(ratio))) if round(ratio) * spans <= depth - 2 else max(1.0, math.floor(ratio))
        softness = self._softness(rng, tau)
        margin = max(tau * ratio - 1, 0) / 2
        # Half of the slabs begin on a fine slice's edge, as plain means of slices do; the rest begin anywhere.
        phase = 0.0 if tau == 0 or rng.random() < 0.5 else float(rng.random())
        centres = margin + phase + ratio * np.concatenate([[0.0], np.cumsum(gaps)])
        n_fine = min(depth, math.ceil(centres[-1] + margin + phase) + 1)
        return SoftProfile(n_fine, centres, ratio, tau, softness), int(rng.integers(0, depth - n_fine + 1))

    def _ratio(self, rng: np.random.Generator, highest: float) -> float:
        if self.config.ratio_even_in_log:
            return float(np.exp(rng.uniform(math.log(self.config.ratio_min), math.log(highest))))
        return rng.uniform(self.config.ratio_min, highest)

    def _gaps(self, rng: np.random.Generator, thin: bool) -> np.ndarray:
        """The slices' distances in units of the spacing: a slice is left out, or they grow from some slice on.

        Thin slices stay even: the cycle loss goes from them half-way to the next and back.
        """
        gaps = np.ones(self.config.slices - 1)
        if thin or self.config.uneven_share == 0 or rng.random() >= self.config.uneven_share:
            return gaps
        place = int(rng.integers(len(gaps)))
        if rng.random() < 0.5:
            gaps[place] = 2.0
        else:
            gaps[place:] = rng.uniform(1.0, 2.0)
        return gaps

    def _as_another_scanner(self, rng: np.random.Generator, block: np.ndarray) -> np.ndarray:
        """In half of the cases, blur or sharpen within the plane and add noise, up to the configured amounts."""
        jitter, noise = self.config.sharpness_jitter, self.config.noise_max
        if jitter == 0 and noise == 0 or rng.random() < 0.5:
            return block
        share = np.float32(rng.uniform(-jitter / 2, jitter))
        for axis in (1, 2):
            block = (1 - share) * block + share / 2 * (np.roll(block, 1, axis) + np.roll(block, -1, axis))
        return block + np.float32(rng.uniform(0, noise)) * rng.standard_normal(block.shape, np.float32)

    def _softness(self, rng: np.random.Generator, tau: float) -> float:
        """How far a thick slice's profile is from a box; no random number is drawn where it cannot matter."""
        if tau == 0 or self.config.softness_max == 0 or rng.random() < self.config.box_share:
            return 0.0
        return float(rng.uniform(0, self.config.softness_max))

    def _cut(self, rng: np.random.Generator, fine: np.ndarray, first: int, depth: int) -> np.ndarray:
        """A random block in a random orientation, (depth, pixels, pixels)."""
        pixels = self.config.pixels
        top, left = (int(rng.integers(0, max(size - pixels, 0) + 1)) for size in fine.shape[1:])
        block = fine[first : first + depth, top : top + pixels, left : left + pixels]
        missing = [(0, pixels - size) for size in block.shape[1:]]
        block = np.pad(block, [(0, 0), *missing], mode="edge")
        for axis in range(3):
            if rng.random() < 0.5:
                block = np.flip(block, axis)
        return np.ascontiguousarray(block.transpose(0, 2, 1) if rng.random() < 0.5 else block)


@dataclass(frozen=True)
class SoftProfile(SliceProfile):
    """A slice profile that is no exact box, as no scanner's is.

    Attributes:
        softness: Standard deviation of the Gaussian that the averaging window is convolved with, as a share of its
            width. 0 is an exact box; at 0.35 the profile is nearly a Gaussian.
    """

    softness: float = 0.0


def soft_profile_matrix(profile: SoftProfile) -> np.ndarray:
    """As ``profile_matrix``, with the profile's softness."""
    if profile.softness == 0:
        return profile_matrix(profile)
    place, width = np.arange(profile.n_fine + 1) - 0.5 - profile.centres[:, None], profile.width[:, None]
    deviation = profile.softness * width
    # The window's share up to each edge; its differences are what each fine slice contributes.
    share = _gaussian_ramp(place + width / 2, deviation) - _gaussian_ramp(place - width / 2, deviation)
    overlap = np.clip(np.diff(share, axis=1), 0.0, None)
    return overlap / overlap.sum(axis=1, keepdims=True)


def _gaussian_ramp(place: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """max(place, 0) convolved with a Gaussian."""
    score = place / deviation
    density = np.exp(-0.5 * score**2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(score / math.sqrt(2)))
    return place * below + deviation * density
