"""A training recipe: how long, how fast, and which images when."""

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import optax

from semsim.sweep import check_seed


@dataclass(frozen=True)
class Recipe:
    """How long and how fast. schedule: "cosine" to zero, or "step": halved `halvings` times at equal distances.

    upkeep_every, checkpoint_every, log_every: in steps. The first `warmup` steps rise linearly.
    Errors: ValueError for numbers that make no recipe.
    """

    steps: int
    batch: int = 100
    learning_rate: float = 2e-3
    warmup: int = 200
    schedule: Literal["cosine", "step"] = "cosine"
    halvings: int = 5
    weight_decay: float = 1e-4
    flip: bool = True
    seed: int = 0
    log_every: int = 100
    upkeep_every: int = 50
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.log_every, self.upkeep_every, self.checkpoint_every) < 1:
            raise ValueError(f"steps, batch and the three intervals must be positive; got {self}")
        if self.schedule not in ("cosine", "step"):
            raise ValueError(f"schedule must be 'cosine' or 'step'; got {self.schedule!r}")
        if (
            not 0 < self.learning_rate < float("inf")
            or min(self.warmup, self.halvings, self.weight_decay) < 0
        ):
            raise ValueError(
                f"learning_rate must be positive; warmup, halvings and weight_decay not negative; got {self}"
            )
        check_seed(self.seed)

    def learning_rates(self) -> optax.Schedule:
        """Step, from 0, to learning rate."""
        if self.schedule == "cosine":
            decay = optax.cosine_decay_schedule(self.learning_rate, max(self.steps - self.warmup, 1))
        else:
            edges = [self.steps * (i + 1) // (self.halvings + 1) - self.warmup for i in range(self.halvings)]
            decay = optax.piecewise_constant_schedule(
                self.learning_rate, {edge: 0.5 for edge in edges if edge > 0}
            )
        rise = optax.linear_schedule(0.0, self.learning_rate, max(self.warmup, 1))
        return optax.join_schedules([rise, decay], [self.warmup])

    def optimiser(self) -> optax.GradientTransformation:
        return optax.adamw(self.learning_rates(), b2=0.99, weight_decay=self.weight_decay)


def batch_indices(count: int, recipe: Recipe, step: int) -> np.ndarray:
    """Which images step `step` (from 0) uses: consecutive slices of a fresh permutation per epoch, from the seed alone.

    An epoch is count // batch steps and uses no image twice; the remainder sits out, others in every epoch.
    """
    per_epoch = count // recipe.batch
    order = _epoch_order(count, recipe.seed, step // per_epoch)
    return order[(step % per_epoch) * recipe.batch :][: recipe.batch]


@functools.lru_cache(maxsize=2)
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count).astype(np.int32)
