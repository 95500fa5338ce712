"""Distillation: losses against SciPy, what is frozen, what is taken over and from where."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import rel_entr, softmax

from models.swin import GROUPS, SwinConfig, SwinEncoder
from semsim.checkpoint import named_arrays
from semsim.recipe import Recipe
from semsim.techniques.distillation import feature_loss, logit_loss, output_loss, slice_from, transfer, within
from semsim.train import fit

RNG = np.random.default_rng(1)
A, B = (jnp.asarray(RNG.normal(size=(5, 7)), jnp.float32) for _ in range(2))


@pytest.mark.parametrize("loss", [output_loss, feature_loss, logit_loss])
def test_a_student_who_equals_its_teacher_has_nothing_to_learn_and_the_teacher_never_has(loss):
    assert float(loss(A, A)) == pytest.approx(0, abs=1e-6)
    student, teacher = jax.grad(loss, argnums=(0, 1))(A, B)
    assert np.abs(student).max() > 1e-4 and not np.any(teacher)


def test_losses_by_hand():
    a, b = np.asarray(A, np.float64), np.asarray(B, np.float64)
    np.testing.assert_allclose(output_loss(A, B), np.mean((a - b) ** 2), rtol=1e-5)
    np.testing.assert_allclose(feature_loss(A, B), np.mean((a - b) ** 2) / np.mean(b**2), rtol=1e-5)
    for temperature in (0.5, 1.0, 4.0):
        p, q = (softmax(x / temperature, axis=-1) for x in (b, a))
        expected = temperature**2 * np.mean(np.sum(rel_entr(p, q), axis=-1))
        np.testing.assert_allclose(logit_loss(A, B, temperature), expected, rtol=1e-4)


def test_soft_classes_have_a_gradient_that_high_temperatures_do_not_shrink():
    """For T to infinity it is that of half the squared difference of centred logits, divided by the number of classes."""
    a, b = (np.asarray(x, np.float64) - np.asarray(x, np.float64).mean(-1, keepdims=True) for x in (A, B))
    expected = (a - b) / 7 / 5
    np.testing.assert_allclose(jax.grad(logit_loss)(A, B, 300.0), expected, rtol=0.05, atol=1e-4)


def test_a_bridge_goes_between_unequal_widths_and_learns():
    bridge = nnx.Linear(7, 3, rngs=nnx.Rngs(0))
    goal = B[:, :3]
    expected = np.mean((np.asarray(bridge(A)) - np.asarray(goal)) ** 2) / np.mean(np.asarray(goal) ** 2)
    np.testing.assert_allclose(feature_loss(A, goal, bridge), expected, rtol=1e-5)
    gradient = nnx.grad(lambda bridge: feature_loss(A, goal, bridge))(bridge)
    assert np.abs(gradient["kernel"][...]).max() > 0
    with pytest.raises(ValueError, match=r"give a bridge from 7 to 3 channels"):
        feature_loss(A, goal)


class Two(nnx.Module):
    def __init__(self, width=4, seed=0, extra=False):
        rngs = nnx.Rngs(seed)
        self.first, self.second = nnx.Linear(12, width, rngs=rngs), nnx.Linear(width, 12, rngs=rngs)
        self.third = nnx.Linear(2, 2, rngs=rngs) if extra else None


def test_what_is_not_trained_stays_bit_for_bit(tmp_path):
    """Neither gradient nor weight decay; "sec" is no part of this name."""
    images = RNG.integers(0, 256, (8, 2, 2, 3), np.uint8)

    def loss(module, batch, key):
        x = batch.reshape(len(batch), -1)
        return jnp.mean((module.second(module.first(x)) - x) ** 2), {}

    recipe = Recipe(steps=3, batch=4, learning_rate=0.1, warmup=0, weight_decay=0.5)
    for number, (part, moves) in enumerate([("second", {"second.kernel", "second.bias"}), ("sec", set())]):
        module = Two()
        before = named_arrays(module)
        fit(module, images, recipe, loss, tmp_path / str(number), trainable=within(part))
        after = named_arrays(module)
        assert {name for name in before if not np.array_equal(before[name], after[name])} == moves


def test_transfer_takes_what_has_the_same_name_and_shape():
    teacher, student = Two(4, 1, extra=True), Two(5, 2)
    before, theirs = named_arrays(student), named_arrays(teacher)
    assert transfer(teacher, student) == ("second.bias",)
    after = named_arrays(student)
    np.testing.assert_array_equal(after["second.bias"], theirs["second.bias"])
    for name in set(before) - {"second.bias"}:
        np.testing.assert_array_equal(after[name], before[name])
    whole = Two(4, 3)
    assert len(transfer(teacher, whole)) == 4
    for name, array in named_arrays(whole).items():
        np.testing.assert_array_equal(array, theirs[name])


def test_a_slice_has_the_leading_channels_of_every_group():
    wide = SwinConfig((16, 32, 8), (1, 1, 1), (2, 4, 2), 2, channels=4, linear_path=True, height=16, width=16)
    narrow = replace(wide, widths=(8, 16, 4), heads=(1, 2, 1))
    teacher, student = (
        nnx.jit(lambda config=config: SwinEncoder(config, rngs=nnx.Rngs(1)))() for config in (wide, narrow)
    )
    for _, leaf in nnx.to_flat_state(nnx.state(teacher)):
        leaf[...] = jnp.asarray(RNG.normal(size=leaf.shape), jnp.float32)
    theirs = named_arrays(teacher)
    with pytest.raises(ValueError, match=r"stages.0.0.attention.bias of shape \(9, 1\)|cannot be cut"):
        slice_from(student, nnx.clone(teacher), GROUPS)
    names = slice_from(teacher, student, GROUPS)
    ours = named_arrays(student)
    assert set(names) == set(ours) == set(theirs)
    qkv = theirs["stages.1.0.attention.qkv.kernel"]
    expected = np.concatenate([qkv[:16, :16], qkv[:16, 32:48], qkv[:16, 64:80]], axis=1)
    np.testing.assert_array_equal(ours["stages.1.0.attention.qkv.kernel"], expected)
    bias = theirs["stages.1.0.attention.qkv.bias"]
    np.testing.assert_array_equal(
        ours["stages.1.0.attention.qkv.bias"], np.concatenate([bias[:16], bias[32:48], bias[64:80]])
    )
    rows = np.concatenate([np.arange(16 * k, 16 * k + 8) for k in range(4)])
    np.testing.assert_array_equal(ours["merges.0.norm.scale"], theirs["merges.0.norm.scale"][rows])
    np.testing.assert_array_equal(ours["merges.0.linear.kernel"], theirs["merges.0.linear.kernel"][rows, :16])
    rows = np.concatenate([np.arange(32 * k, 32 * k + 16) for k in range(4)])
    np.testing.assert_array_equal(ours["merges.1.linear.kernel"], theirs["merges.1.linear.kernel"][rows, :4])
    np.testing.assert_array_equal(ours["linear.kernel"], theirs["linear.kernel"])
    np.testing.assert_array_equal(ours["head.kernel"], theirs["head.kernel"][:4])
    np.testing.assert_array_equal(ours["embed.kernel"], theirs["embed.kernel"][..., :8])


def test_refusals():
    with pytest.raises(ValueError, match="temperature must be positive"):
        logit_loss(A, B, 0.0)
