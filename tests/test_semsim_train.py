"""Training: reproducible from seed and step, resumable to the same end, and it stops when it goes wrong."""

import json
from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from semsim.checkpoint import named_arrays, read_metadata
from semsim.recipe import Recipe, batch_indices
from semsim.train import TrainState, fit, gradient_step

IMAGES = np.random.default_rng(1).integers(0, 256, (11, 4, 4, 3), np.uint8)
RECIPE = Recipe(
    steps=12, batch=4, learning_rate=0.05, warmup=2, log_every=3, upkeep_every=2, checkpoint_every=4
)


class Tiny(nnx.Module):
    """A linear autoencoder of 4 numbers that counts how often it was trained."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.down, self.up = nnx.Linear(48, 4, rngs=rngs), nnx.Linear(4, 48, rngs=rngs)
        self.calls = nnx.BatchStat(jnp.zeros(()))


def loss(module, images, key):
    module.calls[...] = module.calls[...] + 1
    x = images.reshape(images.shape[0], -1)
    noise = 0.01 * jax.random.normal(key, x.shape)
    mse = jnp.mean((module.up(module.down(x)) + noise - x) ** 2)
    return mse, {"calls": module.calls[...]}


def upkeep(module, images, key):
    module.up.bias[...] = module.up.bias[...] + 1e-3 * jax.random.normal(key, (48,))
    return {"revived": jnp.sum(images > 0.5)}


def train(out, recipe=RECIPE, images=IMAGES, loss=loss, **arguments):
    module = Tiny()
    fit(module, images, recipe, loss, out, upkeep=upkeep, metadata={"system": "tiny"}, **arguments)
    return named_arrays(module)


def same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def stop_at(step, error):
    def report(line):
        if line["step"] == step:
            raise error

    return report


def test_it_learns_four_images_by_heart(tmp_path):
    recipe = replace(RECIPE, steps=300, flip=False, log_every=100, checkpoint_every=300)
    train(tmp_path, recipe, IMAGES[:4])
    lines = log(tmp_path)
    assert [line["step"] for line in lines] == [100, 200, 300]
    assert lines[-1]["loss"] < np.var(IMAGES / 255) / 20
    found = read_metadata(tmp_path / "weights.safetensors")
    made = {"recipe": asdict(recipe), "source": "", "images": 4, "device": "cpu", "jax": jax.__version__}
    assert found == {"system": "tiny", "step": 300, "training": made}


@pytest.mark.parametrize(
    ("step", "error", "kept"),
    [(6, KeyboardInterrupt(), 6), (9, RuntimeError("killed"), 8), (3, RuntimeError("killed"), 0)],
)
def test_resuming_ends_where_an_uninterrupted_run_ends(tmp_path, step, error, kept):
    """Ctrl-C saves its step; a killed run goes back to its last checkpoint, or to the beginning, and rewrites its log."""
    whole = train(tmp_path / "whole")
    with pytest.raises(type(error)):
        train(tmp_path / "parts", report=stop_at(step, error))
    saved = [int(path.name) for path in (tmp_path / "parts" / "state").iterdir() if path.name.isdigit()]
    assert max(saved, default=0) == kept
    same(train(tmp_path / "parts", resume=True), whole)
    timeless = [
        [
            {name: value for name, value in line.items() if name in ("step", "loss", "calls")}
            for line in log(tmp_path / part)
        ]
        for part in ("whole", "parts")
    ]
    assert timeless[0] == timeless[1]
    same(train(tmp_path / "parts", resume=True), whole)  # resuming what is finished changes nothing


def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_last_good_state(tmp_path):
    def spoilt(module, images, key):
        value, found = loss(module, images, key)
        return jnp.where(module.calls[...] == 7, jnp.nan, value), found

    recipe = replace(RECIPE, log_every=6, checkpoint_every=2)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 7; the last good state is in"):
        train(tmp_path, recipe, loss=spoilt)
    assert read_metadata(tmp_path / "weights.safetensors")["step"] == 6
    assert [line["step"] for line in log(tmp_path)] == [6]


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    def spoilt(module, images, key):
        value, found = loss(module, images, key)
        return value + jnp.sqrt(
            0 * jnp.sum(module.up.bias[...])
        ), found  # finite, with a gradient that is not

    with pytest.raises(FloatingPointError, match="parameters are not finite after step 1;"):
        train(tmp_path, replace(RECIPE, checkpoint_every=1), loss=spoilt)
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_finished_folder_is_not_overwritten_and_another_recipe_not_resumed(tmp_path):
    recipe = replace(RECIPE, steps=1)
    before = train(tmp_path, recipe)
    with pytest.raises(
        ValueError, match="already holds a training run: add --resume to continue it, or choose another"
    ):
        train(tmp_path, recipe)
    with pytest.raises(
        ValueError,
        match=r"another recipe \(learning_rate 0.05 -> 0.1\): resume with the same one; steps alone",
    ):
        train(tmp_path, replace(recipe, steps=2, learning_rate=0.1), resume=True)
    with pytest.raises(ValueError, match=r"another recipe \(images 11, crc32 .* -> 10, crc32"):
        train(tmp_path, recipe, IMAGES[1:], resume=True)
    same(train(tmp_path, recipe, resume=True), before)


def test_more_steps_go_on_along_the_schedule_of_the_new_length(tmp_path):
    """Ten steps, then twelve of whose cosine the last two are walked: by hand from the state at ten."""
    short = replace(RECIPE, steps=10, checkpoint_every=100)
    train(tmp_path / "run", short)
    with pytest.raises(
        ValueError, match=r"another recipe \(steps 10 -> 9\): resume with the same one; steps"
    ):
        train(tmp_path / "run", replace(short, steps=9), resume=True)
    long = replace(short, steps=12)
    found = train(tmp_path / "run", long, resume=True)
    assert [line["step"] for line in log(tmp_path / "run")] == [3, 6, 9, 10, 12]
    assert read_metadata(tmp_path / "run" / "weights.safetensors")["step"] == 12
    written = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (written["steps"], written["raised_from"]) == (12, 10)

    graph, params, rest = nnx.split(Tiny(), nnx.Param, ...)
    states = {}
    for recipe, steps in ((short, range(10)), (long, range(10, 12))):
        optimiser = recipe.optimiser()
        state = states.get("last", TrainState(params, rest, optimiser.init(params)))
        advance = jax.jit(gradient_step(graph, optimiser, loss, nnx.Param, True))
        for step in steps:
            chosen = batch_indices(11, recipe, step)
            state, _ = advance(
                state, jnp.asarray(IMAGES[chosen]), jax.random.fold_in(jax.random.key(0), step)
            )
            if (step + 1) % 2 == 0 and step + 1 < 0.8 * recipe.steps:
                live = nnx.merge(graph, state.params, state.rest, copy=True)
                key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), step + 1), 1)
                upkeep(live, jnp.asarray(IMAGES[chosen]) / 255.0, key)
                state = state._replace(params=nnx.split(live, nnx.Param, ...)[1])
        states["last"] = state
    expected = named_arrays(nnx.merge(graph, state.params, state.rest))
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-5, atol=1e-6, err_msg=name)


def test_resuming_what_never_began_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no training in .*none to resume: leave resume out"):
        train(tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


def test_images_are_mirrored_left_to_right_and_half_of_them():
    """A batch of one picture, whose columns tell which way round it is; rows stay where they are."""
    picture = np.zeros((1, 2, 3, 3), np.uint8)
    picture[0, 0, :, 0], picture[0, 1, :, 1] = (10, 20, 30), (255, 0, 51)
    batch = np.repeat(picture, 4000, axis=0)
    seen = {}

    def spy(module, images, key):
        seen["images"], seen["drawn"] = images, jax.random.bernoulli(key, 0.5, (4000, 1, 1, 1))
        return jnp.sum(module.bias[...] ** 2), {}

    module = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    optimiser = optax.sgd(0.1)
    for flip in (True, False):
        advance = gradient_step(graph, optimiser, spy, nnx.Param, flip)
        with jax.disable_jit():
            advance(TrainState(params, rest, optimiser.init(params)), jnp.asarray(batch), jax.random.key(3))
        found = np.asarray(seen["images"])
        same, turned = (
            np.all(np.abs(found - p / 255) < 1e-6, axis=(1, 2, 3)) for p in (picture, picture[:, :, ::-1])
        )
        assert np.all(same ^ turned)
        assert abs(turned.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000) if flip else not turned.any()
        drawn = np.asarray(seen["drawn"]).ravel()  # by the loss, from a key of its own
        assert not flip or abs((drawn == turned).mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)


def test_progress_counts_from_where_it_goes_on(tmp_path):
    seen: list[tuple[int, int]] = []
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, report=stop_at(6, KeyboardInterrupt()), progress=lambda *at: seen.append(at))
    assert seen == [(step, 12) for step in range(7)]
    seen.clear()
    train(tmp_path, resume=True, progress=lambda *at: seen.append(at))
    assert seen == [(step, 12) for step in range(6, 13)]


def test_impossible_requests_write_nothing(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="a batch of 4 needs at least as many images; got 3"):
        train(out, images=IMAGES[:3])
    with pytest.raises(ValueError, match=r"training images are uint8 \[n, h, w, 3\]; got float32"):
        train(out, images=IMAGES.astype(np.float32))
    assert not out.exists()
    out.write_text("a file")
    with pytest.raises(ValueError, match="cannot write to .*: File exists"):
        train(out)


def test_an_epoch_shows_each_image_at_most_once_and_the_next_in_another_order():
    steps = [batch_indices(11, RECIPE, step) for step in range(4)]
    first, second = np.concatenate(steps[:2]), np.concatenate(steps[2:])
    assert len(set(first)) == len(first) == 8 and first.max() < 11
    assert len(set(second)) == 8 and list(first) != list(second)
    whole = np.concatenate([batch_indices(12, RECIPE, step) for step in range(3)])
    assert sorted(whole) == list(range(12))
    np.testing.assert_array_equal(steps[1], batch_indices(11, RECIPE, 1))
    assert list(steps[0]) != list(batch_indices(11, replace(RECIPE, seed=1), 0))


def test_the_cosine_schedule_rises_and_falls_to_zero():
    rate = Recipe(steps=110, batch=1, learning_rate=2e-3, warmup=10).learning_rates()
    steps = np.array([0, 5, 10, 35, 60, 110])
    expected = [0, 1e-3, 2e-3, 2e-3 * (1 + np.cos(np.pi / 4)) / 2, 1e-3, 0]
    np.testing.assert_allclose([rate(step) for step in steps], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "^steps must be at least 1; got 0$"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1; got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number; got 0"),
        ({"warmup": -1}, "warmup must not be negative; got -1"),
        ({"seed": -1}, "seed must be in"),
    ],
)
def test_numbers_that_make_no_recipe(change, message):
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, **change)
