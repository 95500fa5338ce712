"""Federated training of any module: clients train on what they alone have, a server averages what they learned.

    every round: global weights -> clients, `local_epochs` passes each (vmapped, over all devices) -> changes -> weighted
    mean -> global

The common model moves by what has arrived at the server and by nothing else; every client knows it, and counts its changes
from it.

FedAvg: McMahan et al., AISTATS 2017, arXiv 1602.05629. FedLol: Nguyen et al., arXiv 2310.13236, weights by loss and parts
that are exchanged less often. Clients start every round with a fresh optimiser, as only parameters travel. `aggregate`
"none" is the comparator in which nobody talks, and one client with all images the centralised one: both spend the same
sample passes in the same code.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, UInt8

from semsim.names import check_name
from semsim.recipe import Recipe, batch_indices
from semsim.train import TrainState, gradient_step

ClientLoss = Callable[[Any, Array, Key[Array, ""], Any], tuple[Array, dict[str, Array]]]
"""(module, images, key, the client's setting) -> (scalar, log); the log holds `mse`, which FedLol weighs clients by."""


@dataclass(frozen=True)
class Client:
    """What one client has. images: uint8 [n, h, w, 3]. setting: a pytree of arrays for its loss, alike in structure for all
    clients: the SNR that it lives with. seed: of its data order and channel."""

    images: UInt8[np.ndarray, "n h w 3"]
    setting: Any = None
    seed: int = 0


@dataclass(frozen=True)
class Federation:
    """How clients and server work together.

    aggregate: "fedavg" weighs clients by their images, "fedlol" by (total loss - own loss) / ((K - 1) total loss), "none"
    leaves them alone. heavy_every: parameters outside the parts `light` (dotted names) are exchanged every so many rounds
    and in the last one, the light ones always; between exchanges a client goes on with its own. bits: of an uploaded
    number, the change of each array as whole numbers times its largest; 32 sends floats as they are.
    Errors: ValueError for numbers that make no federation.
    """

    rounds: int = 60
    local_epochs: int = 1
    aggregate: Literal["fedavg", "fedlol", "none"] = "fedavg"
    batch: int = 50
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    flip: bool = True
    heavy_every: int = 1
    light: tuple[str, ...] = ()
    bits: int = 32

    def __post_init__(self) -> None:
        check_name("aggregate", self.aggregate, ("fedavg", "fedlol", "none"))
        for name in ("rounds", "local_epochs", "batch", "heavy_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be a positive number; got {self.learning_rate:g}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must not be negative; got {self.weight_decay:g}")
        if self.heavy_every > 1 and not self.light:
            raise ValueError("heavy_every leaves parts out that are not light: name the light ones")
        if self.bits != 32 and not 2 <= self.bits <= 16:
            raise ValueError(f"bits must be 2 to 16 of an uploaded number, or 32 as a float; got {self.bits}")


class Round(NamedTuple):
    """What a round did. passes: images trained on, of all clients and rounds so far. losses: mean squared error of each
    client while it trained. weights: of each client in the mean. left_out: clients whose numbers were not finite. up, down:
    bytes of this round, all clients together; sent: numbers that each client sent up, a scale counted as the numbers of its
    32 bits."""

    number: int
    passes: int
    losses: tuple[float, ...]
    weights: tuple[float, ...]
    left_out: tuple[int, ...]
    up: int
    down: int
    sent: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Federated:
    """What came of it. states: parameters and statistics of every client, stacked; all alike after a whole exchange."""

    history: list[Round] = field(default_factory=list)
    states: Any = None


Evaluate = Callable[[nnx.Module], dict[str, float]]
Deliver = Callable[[Array, Any, Any], Any]
"""(key, changes as whole numbers stacked over clients, bits) -> what the server receives of them."""


def federate(
    module: nnx.Module,
    clients: Sequence[Client],
    loss: ClientLoss,
    plan: Federation,
    *,
    seed: int = 0,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    deliver: Deliver | None = None,
    report: Callable[[Round], None] = lambda done: None,
) -> Federated:
    """Trains `module` in place; under "none" it gets the weights of the first client, and `states` has all of them.

    evaluate: scores of the common model after every `evaluate_every` rounds; under "none" the mean over the clients'.
    deliver: a link for the quantised changes, which then arrive with its errors.
    Errors: ValueError for no client and for clients with less than a batch of images; FloatingPointError when no client is
    left whose numbers are finite.
    """
    check_clients(clients, plan)
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    count = len(clients)
    sharding = _over_devices(count)
    pool = jnp.asarray(np.concatenate([client.images for client in clients]))
    offsets = np.cumsum([0, *(len(client.images) for client in clients)])
    settings = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(client.setting for client in clients))
    roots = jnp.stack([jax.random.key(client.seed) for client in clients])
    shares = np.asarray([len(client.images) for client in clients], float)
    work = _local_work(graph, loss, plan.weight_decay, plan.flip)
    alone = plan.aggregate == "none"
    server = jax.devices()[0]
    common = (params, rest)
    state = _stack(common, count)
    history: list[Round] = []
    passes = 0
    for number in range(plan.rounds):
        chosen, active = _batches(clients, offsets, plan, number)
        rate = plan.learning_rate * 0.5 * (1 + np.cos(np.pi * number / plan.rounds))
        before = state
        after, losses = work(
            _place(before, sharding), pool, *_place((chosen, active), sharding), settings, roots,
            *_place((number * active.sum(axis=1, dtype=np.int32),), sharding), jnp.float32(rate),
        )  # fmt: skip
        passes += int(active.sum()) * plan.batch
        # Copied, not reduced across the devices: XLA's collectives on a CPU end the process when a busy machine lets one
        # of its threads wait, and an exchange needs every client's weights in one place anyway.
        after = jax.device_put(after, server)
        losses = np.asarray(losses, float)
        fine = np.asarray(_finite(after)) & np.isfinite(losses)
        if not fine.any():
            raise FloatingPointError(
                f"in round {number + 1} no client has finite numbers: lower the learning rate"
            )
        whole = number == plan.rounds - 1 or (number + 1) % plan.heavy_every == 0
        weights = _weights(plan.aggregate, shares, losses, fine)
        if alone:
            state, up, down, sent = _keep(before, after, jnp.asarray(fine)), 0, 0, 0
        else:
            key = jax.random.fold_in(jax.random.key(seed), number)
            kept = _keep(before, after, jnp.asarray(fine))
            common, state = _exchange(
                plan, deliver, whole, key, common, kept, jnp.asarray(weights, jnp.float32)
            )
            up, down, sent = _traffic(plan, whole, params, rest, int(fine.sum()), count)
        scores: dict[str, float] = {}
        if evaluate and ((number + 1) % evaluate_every == 0 or number == plan.rounds - 1):
            scored = [_of_client(state, which) for which in range(count)] if alone else [common]
            scores = _scores(graph, scored, evaluate)
        done = Round(
            number + 1, passes, tuple(losses.tolist()), tuple(weights.tolist()),
            tuple(np.flatnonzero(~fine).tolist()), up, down, sent, scores,
        )  # fmt: skip
        history.append(done)
        report(done)
    nnx.update(module, nnx.merge_state(*(_of_client(state, 0) if alone else common)))
    return Federated(history, state)


def check_clients(clients: Sequence[Client], plan: Federation) -> None:
    """Errors: ValueError for no client, and for one with less than a batch of images."""
    if not clients:
        raise ValueError("a federation needs at least one client")
    for number, client in enumerate(clients):
        if len(client.images) < plan.batch:
            raise ValueError(
                f"client {number} has {len(client.images)} images, less than a batch of {plan.batch}: take fewer clients, "
                "another split, or a smaller batch"
            )


def _over_devices(count: int) -> NamedSharding | None:
    """Clients side by side on as many devices as divide them while they train; None on one."""
    devices = jax.devices()
    usable = max(number for number in range(1, len(devices) + 1) if count % number == 0)
    if usable == 1:
        return None
    return NamedSharding(Mesh(np.asarray(devices[:usable]), ("clients",)), PartitionSpec("clients"))


def _place(tree: Any, sharding: NamedSharding | None) -> Any:
    return jax.tree.map(jnp.asarray, tree) if sharding is None else jax.device_put(tree, sharding)


def _stack(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), tree)


def _of_client(state: Any, which: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[which], state)


def _batches(
    clients: Sequence[Client], offsets: np.ndarray, plan: Federation, number: int
) -> tuple[Int[np.ndarray, "k s b"], np.ndarray]:
    """Images of every step of a round, and which steps a client has: those with fewer images wait for the others."""
    steps = [len(client.images) // plan.batch * plan.local_epochs for client in clients]
    chosen = np.zeros((len(clients), max(steps), plan.batch), np.int32)
    for which, (client, mine) in enumerate(zip(clients, steps, strict=True)):
        order = Recipe(steps=1, batch=plan.batch, seed=client.seed)
        for step in range(mine):
            picked = batch_indices(len(client.images), order, number * mine + step)
            chosen[which, step] = offsets[which] + picked
    return chosen, np.arange(max(steps))[None] < np.asarray(steps)[:, None]


@functools.lru_cache(maxsize=2)
def _local_work(graph: Any, loss: ClientLoss, weight_decay: float, flip: bool) -> Callable[..., Any]:
    """One round of all clients: the program of one, mapped. Kept, so that a comparator does not compile it again."""

    def one(state, pool, chosen, active, setting, root, first, rate):
        optimiser = optax.adamw(rate, b2=0.99, weight_decay=weight_decay)
        advance = gradient_step(
            graph, optimiser, lambda live, images, key: loss(live, images, key, setting), nnx.Param, flip
        )

        def step(carry, at):
            number, images, does = at
            new, log = advance(carry, pool[images], jax.random.fold_in(root, first + number))
            return jax.tree.map(functools.partial(jnp.where, does), new, carry), log["mse"]

        params, rest = state
        start = TrainState(params, rest, optimiser.init(params))
        steps = jnp.arange(chosen.shape[0])
        end, errors = jax.lax.scan(step, start, (steps, chosen, active))
        mean = jnp.sum(jnp.where(active, errors, 0.0)) / jnp.sum(active)
        return (end.params, end.rest), mean

    return jax.jit(jax.vmap(one, in_axes=(0, None, 0, 0, 0, 0, 0, None)))


@jax.jit
def _finite(state: Any) -> Array:
    """[k] whether every number of a client is finite."""
    found = [
        jnp.all(jnp.isfinite(leaf.reshape(len(leaf), -1)), axis=1)
        for leaf in jax.tree.leaves(state)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return jnp.all(jnp.stack(found), axis=0)


@jax.jit
def _keep(before: Any, after: Any, fine: Array) -> Any:
    """What each client ends with, or what it began with where that is not finite."""
    return jax.tree.map(lambda old, new: jnp.where(_along(fine, new), new, old), before, after)


def _along(values: Array, leaf: Array) -> Array:
    return values.reshape(-1, *([1] * (leaf.ndim - 1)))


def _weights(
    aggregate: str, shares: Float[np.ndarray, " k"], losses: Float[np.ndarray, " k"], fine: np.ndarray
) -> Float[np.ndarray, " k"]:
    """Of each client in the mean; they sum to one, and one whose numbers are not finite has none."""
    found = np.zeros(len(shares))
    if aggregate == "fedlol":
        found[fine] = fedlol_weights(losses[fine])
    else:
        found[fine] = shares[fine] / shares[fine].sum()
    return found


def fedlol_weights(losses: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """(L_total - L_k) / ((K - 1) L_total): sums to one, 1/K where all are alike; one client has all of it."""
    if len(losses) == 1:
        return np.ones(1)
    total = losses.sum()
    return (total - losses) / ((len(losses) - 1) * total)


def _exchange(
    plan: Federation,
    deliver: Deliver | None,
    whole: bool,
    key: Array,
    common: Any,
    own: Any,
    weights: Array,
) -> tuple[Any, Any]:
    """The common model plus the mean of the changes that arrived, and what every client has then.

    own: of every client; what does not travel this time stays with it, and the common model's stays as it was.
    """
    fine = weights > 0

    def travels(path: tuple[Any, ...]) -> bool:
        return whole or _is_light(path, plan.light)

    change = jax.tree.map(lambda new, old: jnp.where(_along(fine, new), new - old[None], 0.0), own, common)
    if plan.bits < 32:
        change = _quantised(change, plan.bits, key, deliver, travels)
    common = jax.tree_util.tree_map_with_path(
        lambda path, old, moved: (
            old + jnp.sum(_along(weights, moved) * moved, axis=0) if travels(path) else old
        ),
        common, change,
    )  # fmt: skip
    state = jax.tree_util.tree_map_with_path(
        lambda path, old, new: jnp.broadcast_to(new[None], old.shape) if travels(path) else old, own, common
    )
    return common, state


def _is_light(path: tuple[Any, ...], light: tuple[str, ...]) -> bool:
    names = [str(getattr(step, "key", getattr(step, "idx", getattr(step, "name", step)))) for step in path]
    name = ".".join(names[1:])  # without the place in (params, statistics)
    return any(name == part or name.startswith(part + ".") for part in light)


def _quantised(
    change: Any, bits: int, key: Array, deliver: Deliver | None, travels: Callable[[tuple[Any, ...]], bool]
) -> Any:
    """Every client's changes as numbers of `bits` bits times the largest of each array, as the server receives them.

    What does not travel this time is left as it is, for nobody to read.
    """
    top = 2 ** (bits - 1) - 1

    def coded(leaf: Array) -> tuple[Array, Array]:
        scale = jnp.max(jnp.abs(leaf.reshape(len(leaf), -1)), axis=1) / top
        return jnp.round(leaf / _along(jnp.where(scale > 0, scale, 1.0), leaf)).astype(jnp.int32), scale

    places, structure = jax.tree_util.tree_flatten_with_path(change)
    going = [number for number, (path, _) in enumerate(places) if travels(path)]
    numbers, scales = zip(*(coded(places[number][1]) for number in going), strict=True)
    if deliver is not None:
        numbers = deliver(key, list(numbers), bits)
    leaves = [leaf for _, leaf in places]
    for place, number, scale in zip(going, numbers, scales, strict=True):
        leaves[place] = number * _along(scale, number)
    return jax.tree.unflatten(structure, leaves)


def _traffic(
    plan: Federation, whole: bool, params: Any, rest: Any, senders: int, count: int
) -> tuple[int, int, int]:
    """Bytes up (changes; quantised ones with a float per array) and down (the mean) of a round; numbers of a client."""
    sizes = [
        leaf.size for path, leaf in jax.tree_util.tree_flatten_with_path((params, rest))[0]
        if whole or _is_light(path, plan.light)
    ]  # fmt: skip
    scales = math.ceil(32 * len(sizes) / plan.bits) if plan.bits < 32 else 0
    one_up = sum(sizes) * plan.bits / 8 + (4 * len(sizes) if plan.bits < 32 else 0)
    return math.ceil(one_up) * senders, 4 * sum(sizes) * count, sum(sizes) + scales


def _scores(graph: Any, states: Sequence[Any], evaluate: Evaluate) -> dict[str, float]:
    """Mean over the models."""
    found = [evaluate(nnx.merge(graph, *state)) for state in states]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def centralised(clients: Sequence[Client], seed: int = 0) -> list[Client]:
    """One client with everybody's images, and the setting of the first: with `federate` the centralised comparator."""
    return [replace(clients[0], images=np.concatenate([client.images for client in clients]), seed=seed)]
