"""The training loop on any Lightning Fabric device: resumable, logged, stopped early when it diverges."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from cycleinr import CycleinrError, RequestError
from cycleinr.network.model import CycleINR
from cycleinr.weights import NetworkConfig
from lightning_fabric import Fabric

from ..networks import load_network, network_class
from ..weights import load_pickled_numbers
from .config import TrainingConfig
from .losses import Losses, training_losses
from .patches import PatchBatch, PatchSampler, load_sources
from .validation import ValidationCase, validate, validation_cases

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
_LOG_EVERY = 50
_FINAL_RATE = 0.01
_HOPELESS_GAIN_DB = -3.0
_ADAM_BETAS = (0.9, 0.99)
_ADAM_EPS = 1e-10
_PARTS = ("model", "average", "optimizer")


class DivergedError(CycleinrError):
    """A training run has diverged; the last good checkpoint is kept."""

    exit_code = 9


@dataclass
class TrainingState:
    """All that a resumed run needs; batches follow from seed and step."""

    model: torch.nn.Module
    average: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write atomically, so that a run killed while writing keeps its former checkpoint."""
        parts = {part: getattr(self, part).state_dict() for part in _PARTS}
        temporary = path.with_suffix(".partial")
        torch.save({"step": self.step, "seconds": self.seconds, **parts}, temporary)
        os.replace(temporary, path)

    def restore(self, path: Path) -> None:
        saved = load_pickled_numbers(path)
        self.step, self.seconds = saved["step"], saved.get("seconds", 0.0)
        for part in _PARTS:
            getattr(self, part).load_state_dict(saved[part])


def done_share(config: TrainingConfig, step: int, seconds: float) -> float:
    """How much of the run's budget is used up, in steps or in time, whichever is more; 1 is all of it."""
    of_time = seconds / (60 * config.max_minutes) if config.max_minutes else 0.0
    return max(step / config.steps, of_time)


def learning_rate(config: TrainingConfig, step: int, seconds: float = 0.0) -> float:
    """Linear warm-up, then a half cosine down to 1 % of the peak."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, done_share(config, step, seconds))))
    return config.learning_rate * warm * (_FINAL_RATE + (1 - _FINAL_RATE) * fall)


class Trainer:
    """Runs a configuration in a folder; the same folder resumes it.

    Args:
        config: The run.
        folder: Takes checkpoint and log.
        fabric: Where to run; several devices share each step's batch by rank.
        report: Called with each log entry.
    """

    def __init__(
        self, config: TrainingConfig, folder: Path, fabric: Fabric, report: Callable[[dict], None] = lambda entry: None
    ):
        self.config, self.folder, self.fabric, self.report = config, folder, fabric, report
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        network = _first_network(config)
        network = network.to(memory_format=network.memory_format)
        average = deepcopy(network).requires_grad_(False).to(fabric.device)
        optimizer = torch.optim.AdamW(
            network.parameters(), config.learning_rate, _ADAM_BETAS, _ADAM_EPS, weight_decay=config.weight_decay
        )
        self.state = TrainingState(network, average, optimizer)
        if (folder / CHECKPOINT).exists():
            self.state.restore(folder / CHECKPOINT)
        self.teachers = [_loaded(path, config).to(fabric.device) for path in config.teacher_weights]
        self.parallel, self.optimizer = fabric.setup(network, optimizer)
        if config.bfloat16_share:
            for each in (network, *self.teachers):
                for member in (each, *getattr(each, "others", ())):
                    self._compute_in_bfloat16(member.encoder)

    def run(self) -> torch.nn.Module:
        """Train until the budget is used up; returns the weights' moving average, or its mean with the initial ones.

        Raises:
            DivergedError: The loss is not finite, or validation falls far behind linear interpolation.
        """
        config, state = self.config, self.state
        sampler = PatchSampler(load_sources(config.sources), config.patch, config.batch, config.seed)
        cases = validation_cases(load_sources(config.validation), state.model.ratio) if config.validation else []
        if state.step == 0 and config.initial_weights:
            self._validate(state.average, cases)
        while not self._finished():
            started = time.monotonic()
            losses = self._step(sampler.draw(state.step, self.fabric.global_rank))
            state.seconds += time.monotonic() - started
            step, last = state.step, self._finished()
            if step % _LOG_EVERY == 0 or last:
                self._log(losses)
            if step % config.validate_every == 0 or last:
                self._validate(state.average, cases)
            if step % config.checkpoint_every == 0 or last:
                self._save()
        if config.initial_share == 0:
            return state.average
        mixed = with_initial(state.average, config)
        self._validate(mixed, cases)
        return mixed

    def _compute_in_bfloat16(self, encoder: torch.nn.Module) -> None:
        """Run the encoder's products in bfloat16 until ``bfloat16_share`` of the run is done; its codes are float32."""
        full_precision = encoder.forward

        def forward(stack: torch.Tensor, slicing: torch.Tensor) -> torch.Tensor:
            half = done_share(self.config, self.state.step, self.state.seconds) < self.config.bfloat16_share
            with torch.autocast(stack.device.type, torch.bfloat16, enabled=half):
                return full_precision(stack, slicing).float()

        encoder.forward = forward

    def _finished(self) -> bool:
        """Whether the budget is used up; the first device's clock decides for all."""
        share = done_share(self.config, self.state.step, self.state.seconds)
        return bool(self.fabric.broadcast(share) >= 1) if self.config.max_minutes else share >= 1

    def _step(self, batch: PatchBatch) -> Losses:
        config, state = self.config, self.state
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, state.step, state.seconds)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
        there = batch.to(self.fabric.device)
        losses = training_losses(self.parallel, there, config.cycle_weight > 0, generator, self.teachers)
        total = losses.total(config)
        if not torch.isfinite(total):
            raise DivergedError(
                f"The loss is {total.item()} at step {state.step}: training diverged. Lower learning_rate "
                f"(now {config.learning_rate:g}) or clip_norm and resume from the last checkpoint."
            )
        self.optimizer.zero_grad()
        self.fabric.backward(total)
        self.fabric.clip_gradients(self.parallel, self.optimizer, max_norm=config.clip_norm)
        self.optimizer.step()
        state.step += 1
        self._average()
        return losses

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.state.step) / (10 + self.state.step))
        new = list(self.state.model.parameters())
        torch._foreach_lerp_(list(self.state.average.parameters()), new, 1 - decay)

    def _log(self, losses: Losses) -> None:
        self._write(
            {
                "step": self.state.step,
                "l1": losses.l1.item(),
                "window": losses.window.item(),
                "extremes": losses.extremes.item(),
                "cycle": None if losses.cycle is None else losses.cycle.item(),
                "teacher": None if losses.teacher is None else losses.teacher.item(),
                "residual": losses.residual.item(),
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "seconds_per_step": round(self.state.seconds / self.state.step, 4),
                "minutes": round(self.state.seconds / 60, 3),
            }
        )

    def _validate(self, network: torch.nn.Module, cases: list[ValidationCase]) -> None:
        if not cases or self.fabric.global_rank:
            return
        gains = validate(network, cases)
        self._write({"step": self.state.step, "gain_over_linear_db": {k: round(v, 3) for k, v in gains.items()}})
        if self.state.step > 2 * self.config.warmup_steps and gains["mean"] < _HOPELESS_GAIN_DB:
            raise DivergedError(
                f"At step {self.state.step} the network is {-gains['mean']:.1f} dB worse than linear interpolation: "
                f"training diverged. Lower learning_rate (now {self.config.learning_rate:g}) and start again."
            )

    def _write(self, entry: dict) -> None:
        if self.fabric.global_rank == 0:
            with (self.folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
            self.report(entry)

    def _save(self) -> None:
        if self.fabric.global_rank == 0:
            self.state.save(self.folder / CHECKPOINT)


@torch.no_grad()
def with_initial(network: torch.nn.Module, config: TrainingConfig) -> torch.nn.Module:
    """A copy of trained weights averaged with those that the run began with, ``config.initial_share`` of the latter.

    What fine-tuning forgot comes back at little cost of what it brought (Wortsman et al., CVPR 2022).
    """
    mixed, initial = deepcopy(network), _first_network(config).to(next(network.parameters()).device)
    torch._foreach_lerp_(list(mixed.parameters()), list(initial.parameters()), config.initial_share)
    return mixed


def _first_network(config: TrainingConfig) -> torch.nn.Module:
    """The network that a run begins with.

    Raises:
        RequestError: The initial weights are of another architecture, or of too few or too many members.
    """
    if not config.initial_weights:
        return network_class(config.architecture)(config.network)
    network = _loaded(config.initial_weights, config)
    own, asked = (getattr(sizes, "members", 1) for sizes in (network.config, config.network))
    if (own, asked) == (1, 2):
        return with_mirrored_twin(network)
    if asked not in (1, own):
        raise RequestError(
            f"The configuration asks for {asked} members, and the initial weights {Path(config.initial_weights).name} "
            f"have {own}. One becomes 2; otherwise give weights of {asked}, or leave members out."
        )
    return network


@torch.no_grad()
def with_mirrored_twin(network: CycleINR) -> CycleINR:
    """A network of two members, which begins as the mean over an image and its rotation by half a turn.

    The second member has the kernels of the first, turned: what it answers is what the first answers for the turned
    image. From there on the two learn together, each what the other does not see.

    Args:
        network: Of one member.
    """
    pair = CycleINR(replace(network.config, members=2))
    turned = {}
    for name, tensor in network.state_dict().items():
        if tensor.ndim == 4 and tensor.shape[-1] > 1:
            tensor = tensor.flip(2, 3)
        # A cell's pixels are channels here
        if name == "encoder.stem.weight":
            tensor = tensor.unflatten(1, (-1, network.config.cell**2)).flip(2).flatten(1, 2)
        if name.startswith("decoder.out."):
            tensor = tensor.unflatten(0, (-1, network.config.cell**2)).flip(1).flatten(0, 1)
        turned[f"others.0.{name}"] = tensor
    pair.load_state_dict({**network.state_dict(), **turned})
    return pair


def _loaded(weights: str, config: TrainingConfig) -> torch.nn.Module:
    network = load_network(Path(weights))
    if network.architecture != config.architecture:
        raise RequestError(
            f"The weights {Path(weights).name} are of {network.architecture}, and the configuration asks for "
            f"{config.architecture}. Give weights of the same architecture."
        )
    if isinstance(config.network, NetworkConfig):
        # Filters have no weights of their own, so that others can follow the weights of a network
        taps = {name: getattr(config.network, name) for name in ("smoothing_taps", "diagonal_taps")}
        network.config = replace(network.config, **taps)
    return network
