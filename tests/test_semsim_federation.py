"""Federated training: means by hand, clients that know nothing of each other, and what may go wrong with one of them."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from semsim.recipe import Recipe, batch_indices
from semsim.techniques import federation
from semsim.techniques.federation import Client, Federation, centralised, federate, fedlol_weights
from semsim.techniques.uplink import Uplink
from semsim.train import TrainState, gradient_step

SIZES = (8, 12, 16, 8)
RNG = np.random.default_rng(1)
CLIENTS = tuple(
    Client(RNG.integers(0, 256, (count, 2, 2, 3), np.uint8), jnp.float32(0.1), seed)
    for seed, count in enumerate(SIZES)
)
PLAN = Federation(rounds=1, batch=4, learning_rate=0.05)
SHARES = np.asarray(SIZES) / sum(SIZES)


class Tiny(nnx.Module):
    """A linear autoencoder in two parts."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.heavy, self.light = nnx.Linear(12, 4, rngs=rngs), nnx.Linear(4, 12, rngs=rngs)


def loss(module, images, key, noise):
    x = images.reshape(len(images), -1)
    error = jnp.mean((module.light(module.heavy(x)) + noise * jax.random.normal(key, x.shape) - x) ** 2)
    return error, {"mse": error}


def arrays(module):
    return {
        ".".join(map(str, path)): np.asarray(leaf[...], np.float64)
        for path, leaf in nnx.to_flat_state(nnx.state(module))
    }


def trained(clients, plan=PLAN, **options):
    module = Tiny()
    return federate(module, clients, loss, plan, **options), arrays(module)


@functools.cache
def alone(number):
    return trained([CLIENTS[number]])[1]


def near(found, expected, tolerance=1e-6):
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=tolerance, err_msg=name)


def mean(weights, of):
    return {name: sum(w * alone(k)[name] for w, k in zip(weights, of, strict=True)) for name in alone(0)}


@jax.jit
def step(state, images, key, rate):
    """One step of AdamW on a client's loss."""
    graph, *_ = nnx.split(Tiny(), nnx.Param, ...)
    optimiser = optax.adamw(rate, b2=0.99, weight_decay=1e-4)
    one = gradient_step(
        graph, optimiser, lambda m, x, key: loss(m, x, key, jnp.float32(0.1)), nnx.Param, True
    )
    return one(state, images, key)[0]


def passed_over(client, start, rate, number):
    """Arrays of a module after a client's pass in round `number`, from 0: fresh optimiser, its next images and keys."""
    module = Tiny()
    flat = nnx.to_flat_state(nnx.state(module))
    nnx.update(
        module,
        nnx.from_flat_state(
            [
                (path, leaf.replace(jnp.asarray(start[".".join(map(str, path))], jnp.float32)))
                for path, leaf in flat
            ]
        ),
    )
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    state = TrainState(params, rest, optax.adamw(rate).init(params))
    steps = len(client.images) // 4
    for at in range(number * steps, (number + 1) * steps):
        chosen = batch_indices(len(client.images), Recipe(steps=1, batch=4, seed=client.seed), at)
        key = jax.random.fold_in(jax.random.key(client.seed), at)
        state = step(state, jnp.asarray(client.images[chosen]), key, jnp.float32(rate))
    return arrays(nnx.merge(graph, state.params, state.rest))


def test_one_client_is_a_plain_training():
    near(alone(0), passed_over(CLIENTS[0], arrays(Tiny()), 0.05, 0))


@pytest.mark.parametrize("heavy_every", [1, 3])
def test_rounds_by_hand(heavy_every):
    """Means of four rounds in NumPy: the rate falls as a cosine, images and keys go on, what stays is nobody's business.

    The common model is scored in every round; its heavy part waits for the third and the last one.
    """
    plan = replace(PLAN, rounds=4, heavy_every=heavy_every, light=("light",))
    scores = []
    _, ours = trained(CLIENTS, plan, evaluate=lambda module: scores.append(arrays(module)) or {})
    common = arrays(Tiny())
    own = [common] * 4
    for number in range(4):
        rate = 0.05 * 0.5 * (1 + np.cos(np.pi * number / 4))
        own = [passed_over(client, start, rate, number) for client, start in zip(CLIENTS, own, strict=True)]
        whole = (number + 1) % heavy_every == 0 or number == 3
        going = [name for name in common if whole or name.startswith("light")]
        mean = {
            name: sum(share * one[name] for share, one in zip(SHARES, own, strict=True)) for name in going
        }
        common = common | mean
        own = [one | mean for one in own]
        near(scores[number], common, 3e-6)
    near(ours, common, 3e-6)


@pytest.mark.parametrize("bits", [2, 8, 16])
@pytest.mark.parametrize("heavy_every", [1, 2])
def test_what_does_not_arrive_moves_nothing(bits, heavy_every):
    """Neither in rounds nor at the end, to the last bit, whatever clients made of their own parts meanwhile."""
    plan = replace(PLAN, rounds=4, heavy_every=heavy_every, light=("light",), bits=bits)
    scores = []
    found, ours = trained(
        CLIENTS, plan, evaluate=lambda module: scores.append(arrays(module)) or {},
        deliver=lambda key, numbers, bits: [jnp.zeros_like(one) for one in numbers],
    )  # fmt: skip
    for model in (*scores, ours):
        near(model, arrays(Tiny()), 0)
    assert len(scores) == 4 and min(found.history[0].losses) > 0


def test_only_what_arrives_moves():
    """One client's first array arrives: the common model is that array moved by the client's share, and nothing else."""
    start, plan = arrays(Tiny()), replace(PLAN, bits=16)

    def deliver(key, numbers, bits):
        return [one.at[1:].set(0) if place == 0 else jnp.zeros_like(one) for place, one in enumerate(numbers)]

    _, ours = trained(CLIENTS, plan, deliver=deliver)
    moved = [name for name in start if np.any(ours[name] != start[name])]
    assert len(moved) == 1
    (name,) = moved
    change = alone(0)[name] - start[name]
    np.testing.assert_allclose(
        ours[name] - start[name], SHARES[0] * change, atol=np.abs(change).max() / 2**15 + 1e-7
    )


def test_draws_of_the_uplink_are_new_in_every_round():
    keys = []

    def spy(key, numbers, bits):
        keys.append(tuple(np.asarray(jax.random.key_data(key)).tolist()))
        return numbers

    trained(CLIENTS, replace(PLAN, rounds=3, bits=8), deliver=spy)
    trained(CLIENTS, replace(PLAN, rounds=3, bits=8), deliver=spy, seed=1)
    assert len(set(keys)) == len(keys) == 6


def test_fedavg_is_the_mean_weighted_by_images():
    found, ours = trained(CLIENTS)
    near(ours, mean(SHARES, range(4)))
    (done,) = found.history
    np.testing.assert_allclose(done.weights, SHARES)
    numbers = 12 * 4 + 4 + 4 * 12 + 12
    assert (done.sent, done.up, done.down, done.passes) == (numbers, 4 * 4 * numbers, 4 * 4 * numbers, 44)


def test_fedlol_weighs_by_the_losses_it_reports():
    found, ours = trained(CLIENTS, replace(PLAN, aggregate="fedlol"))
    losses = np.asarray(found.history[0].losses)
    expected = (losses.sum() - losses) / (3 * losses.sum())
    near(ours, mean(expected, range(4)))


@pytest.mark.parametrize("losses", [[2.0] * 5, [1.0, 2.0, 3.0], [1e-6, 5.0], [0.3]])
def test_fedlol_weights_sum_to_one_and_none_is_above_its_share(losses):
    weights = fedlol_weights(np.asarray(losses))
    np.testing.assert_allclose(weights.sum(), 1)
    assert weights.min() >= 0 and weights.max() <= 1 / max(len(losses) - 1, 1) + 1e-12
    if len(set(losses)) == 1:
        np.testing.assert_allclose(weights, 1 / len(losses))


def test_clients_who_are_alike_stay_alike():
    _, ours = trained([CLIENTS[0]] * 3)
    near(ours, alone(0))


def test_those_who_do_not_talk_end_as_if_alone():
    """Over several rounds, whatever the others have; one has twice the images of another."""
    plan = replace(PLAN, rounds=3, aggregate="none")
    found, _ = trained(CLIENTS, plan)
    for number, client in enumerate(CLIENTS):
        mine = Tiny()
        nnx.update(mine, nnx.merge_state(*jax.tree.map(lambda leaf, k=number: leaf[k], found.states)))
        near(arrays(mine), trained([client], replace(plan, aggregate="fedavg"))[1])
    assert all(done.up == done.down == done.sent == 0 for done in found.history)


def test_a_client_without_finite_numbers_is_left_out_and_named():
    ill = replace(CLIENTS[1], setting=jnp.float32(np.nan))
    found, ours = trained([CLIENTS[0], ill, *CLIENTS[2:]])
    of = (0, 2, 3)
    weights = SHARES[list(of)] / SHARES[list(of)].sum()
    near(ours, mean(weights, of))
    assert found.history[0].left_out == (1,) and found.history[0].weights[1] == 0
    with pytest.raises(FloatingPointError, match="in round 1 no client has finite numbers"):
        trained([ill, ill])


def test_parts_that_do_not_travel_stay_with_their_client():
    plan = replace(PLAN, rounds=4, heavy_every=3, light=("light",))
    spread = {}

    def spy(key, numbers, bits):
        spread.setdefault("sent", []).append(sum(one[0].size for one in numbers))
        return numbers

    found, _ = trained(CLIENTS, replace(plan, bits=8), deliver=spy)
    light, heavy = 4 * 12 + 12, 12 * 4 + 4
    assert spread["sent"] == [light, light, light + heavy, light + heavy]
    scales = [8, 8, 16, 16]  # 32 bits for each of two arrays, or of four, as numbers of 8 bits
    assert [done.sent for done in found.history] == [
        a + b for a, b in zip(spread["sent"], scales, strict=True)
    ]
    for leaf in jax.tree.leaves(found.states):  # the last round exchanges everything
        np.testing.assert_array_equal(leaf, jnp.broadcast_to(leaf[:1], leaf.shape))


def test_quantised_changes_arrive_within_half_a_step():
    start = arrays(Tiny())
    _, exact = trained(CLIENTS)
    found, ours = trained(CLIENTS, replace(PLAN, bits=8))
    for name, value in start.items():
        steps = [np.abs(alone(k)[name] - value).max() / 127 for k in range(4)]
        assert np.abs(ours[name] - exact[name]).max() <= 0.5 * SHARES @ steps + 1e-6
    assert np.abs(ours["heavy.kernel"] - exact["heavy.kernel"]).max() > 0
    assert found.history[0].up == 4 * (112 + 4 * 4)  # a byte a number, a float an array


def test_a_good_uplink_changes_nothing_and_a_dead_one_everything():
    plan = replace(PLAN, bits=8)
    near(trained(CLIENTS, plan, deliver=Uplink(esno_db=20.0).deliver)[1], trained(CLIENTS, plan)[1], 0)
    near(trained(CLIENTS, plan, deliver=Uplink(esno_db=-20.0).deliver)[1], arrays(Tiny()))


def test_the_centralised_comparator_has_everybodys_images():
    (one,) = centralised(CLIENTS)
    np.testing.assert_array_equal(one.images, np.concatenate([client.images for client in CLIENTS]))
    assert trained([one], replace(PLAN, aggregate="none"))[0].history[0].passes == sum(SIZES)


def test_scores_come_when_asked_for():
    plan = replace(PLAN, rounds=3)
    found, ours = trained(
        CLIENTS,
        plan,
        evaluate=lambda module: {"size": float(np.sum(module.heavy.bias[...]))},
        evaluate_every=2,
    )
    assert [bool(done.scores) for done in found.history] == [False, True, True]
    np.testing.assert_allclose(found.history[-1].scores["size"], ours["heavy.bias"].sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: trained([]), "at least one client"),
        (lambda: trained([replace(CLIENTS[0], images=CLIENTS[0].images[:3])]), "client 0 has 3 images"),
        (lambda: trained([replace(CLIENTS[0], images=CLIENTS[0].images[:0])]), "client 0 has 0 images"),
        (lambda: replace(PLAN, rounds=0), "at least 1"),
        (lambda: replace(PLAN, learning_rate=0.0), "learning_rate must be a positive number; got 0"),
        (lambda: replace(PLAN, heavy_every=2), "name the light ones"),
        (lambda: replace(PLAN, bits=1), "bits must be 2 to 16 .*; got 1"),
        (lambda: replace(PLAN, aggregate="mean"), "unknown aggregate"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_clients_train_side_by_side_without_a_collective(monkeypatch):
    """XLA ends the process where a collective waits too long for a thread, on a busy CPU."""
    texts = []

    def spying(*arguments):
        work = local_work(*arguments)

        def call(*given):
            assert len(jax.tree.leaves(given[0])[0].sharding.device_set) == len(jax.devices()) > 1
            texts.append(jax.jit(work).lower(*given).compile().as_text())
            return work(*given)

        return call

    local_work = federation._local_work
    monkeypatch.setattr(federation, "_local_work", spying)
    trained(CLIENTS)
    (text,) = texts
    assert not any(name in text for name in ("all-reduce", "all-gather", "collective-permute", "all-to-all"))
