"""A training recipe: how long, how fast, and which images when."""

import functools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import optax

from semsim.names import check_name
from semsim.sweep import check_seed


@dataclass(frozen=True)
class Recipe:
    """How long and how fast: a learning rate that rises linearly for `warmup` steps and falls along a cosine to zero.

    upkeep_every, checkpoint_every, log_every: in steps. name: of a system's recipe (`Recipes`), whatever was changed since;
    empty for one of your own. Errors: ValueError for numbers that make no recipe.
    """

    steps: int
    batch: int = 100
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 1e-4
    flip: bool = True
    seed: int = 0
    log_every: int = 100
    upkeep_every: int = 50
    checkpoint_every: int = 500
    name: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "upkeep_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a positive number; got {self.learning_rate:g}")
        for name in ("warmup", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name):g}")
        check_seed(self.seed)

    def learning_rates(self) -> optax.Schedule:
        """Step, from 0, to learning rate."""
        decay = optax.cosine_decay_schedule(self.learning_rate, max(self.steps - self.warmup, 1))
        rise = optax.linear_schedule(0.0, self.learning_rate, max(self.warmup, 1))
        return optax.join_schedules([rise, decay], [self.warmup])

    def optimiser(self) -> optax.GradientTransformation:
        return optax.adamw(self.learning_rates(), b2=0.99, weight_decay=self.weight_decay)


class Recipes(NamedTuple):
    """A system's. cpu: at most 45 minutes on two idle cores. accelerator: an hour or less on a card, for better weights."""

    cpu: Recipe
    accelerator: Recipe

    def named(self, name: str) -> Recipe:
        """Errors: ValueError for another name."""
        return replace(getattr(self, check_name("recipe", name, self._fields)), name=name)


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
