"""`semsim train` on a tiny system and a real container: goes on as it says, starts from weights, knows what was trained."""

import json
import re
import shlex
import shutil
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from semsim import cli, simulation, weights_commands
from semsim.checkpoint import named_arrays, read_metadata, save_weights
from semsim.data import from_array
from semsim.recipe import Recipe, Recipes
from semsim.systems import SYSTEMS
from semsim.systems.base import Stage, load_codec
from semsim.techniques.distillation import within
from semsim.train_system import train_system
from semsim.training_folder import resumed

RECIPE = Recipe(
    steps=8, batch=4, learning_rate=0.01, warmup=1, log_every=2, checkpoint_every=4, upkeep_every=3
)


@dataclass(frozen=True)
class Config:
    width: int = 3
    least = (4, 10)

    @property
    def image_shape(self):
        return 32, 32


class Codec(nnx.Module):
    """Pixels to a few numbers and back, one row and column at a time."""

    def __init__(self, config, seed):
        rngs = nnx.Rngs(seed)
        self.config = config
        self.encoder, self.decoder = (
            nnx.Linear(3, config.width, rngs=rngs), nnx.Linear(config.width, 3, rngs=rngs),
        )  # fmt: skip


def build(config=Config(), seed=0):  # noqa: B008 (frozen)
    return Codec(config, seed)


def loss(codec, images, key):
    noisy = codec.encoder(images) + 0.1 * jax.random.normal(key, (*images.shape[:-1], codec.config.width))
    mse = jnp.mean((codec.decoder(noisy) - images) ** 2)
    return mse, {"psnr": -10 * jnp.log10(mse)}


def no_upkeep(orders):
    return None


TINY = replace(
    SYSTEMS["deepjscc"], name="tiny", recipes=Recipes(RECIPE, replace(RECIPE, batch=6)), checkpoint=None,
    sizes=(("three", Config()), ("two", Config(2))),
    build=build, load=partial(load_codec, name="tiny", config_type=Config, build=build), loss=lambda orders: loss,
    upkeep=no_upkeep, metadata=lambda codec: {"system": "tiny", "config": asdict(codec.config)}, rates=(),
)  # fmt: skip
STAGED = replace(
    TINY, name="staged", load=partial(load_codec, name="staged", config_type=Config, build=build),
    metadata=lambda codec: {"system": "staged", "config": asdict(codec.config)},
    methods=(("both", (Stage("whole", loss, 0.5), Stage("decoder", loss, 0.5, within("decoder")))),),
)  # fmt: skip


@pytest.fixture(autouse=True)
def systems(monkeypatch):
    for system in (TINY, STAGED):
        monkeypatch.setitem(SYSTEMS, system.name, system)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A CIFAR-10 file of 12 training images beside those held out, and test images that are white."""
    path = tmp_path_factory.mktemp("data") / "my cifar.npz"
    pixels = np.random.default_rng(5).integers(0, 256, (1012, 32, 32, 3), np.uint8)
    np.savez(
        path, train_images=pixels, train_labels=np.zeros(1012, np.uint8),
        test_images=np.full((5, 32, 32, 3), 255, np.uint8), test_labels=np.zeros(5, np.uint8),
    )  # fmt: skip
    return str(path)


def stop_at(step, stage=None):
    def report(line):
        if line.get("step") == step and line.get("stage") == stage:
            raise KeyboardInterrupt

    return report


def arrays(path):
    return load_file(path)


def same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def semsim(capsys, *words, status=0):
    assert cli.main([str(word) for word in words]) == status, capsys.readouterr()
    return capsys.readouterr().err


@pytest.fixture
def interrupted(monkeypatch, tmp_path, images, capsys):
    """Ctrl-C after four steps of a training with options of its own; what it said, and its folder."""

    out = tmp_path / "my run"
    real = weights_commands.train_system

    def stopping(*arguments, **options):
        return real(*arguments, **{**options, "report": stop_at(4)})

    monkeypatch.setattr(weights_commands, "train_system", stopping)
    said = semsim(
        capsys, "train", "tiny", "--data", images, "--out", out, "--steps", 6, "--batch", 3, "--seed", 5,
        "--size", "two", status=130,
    )  # fmt: skip
    monkeypatch.setattr(weights_commands, "train_system", real)
    return said, out


def test_the_printed_command_works_as_printed(interrupted, images, tmp_path, capsys):
    said, out = interrupted
    printed = said.partition("continue with: ")[2].strip()
    assert printed == f"semsim train tiny --out {shlex.quote(str(out))} --resume"
    semsim(capsys, *shlex.split(printed)[1:])
    whole = train_system(
        TINY, images, replace(RECIPE, steps=6, batch=3, seed=5), tmp_path / "whole", size="two"
    )
    same(arrays(out / "weights.safetensors"), arrays(whole))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--batch", 4), r"batch 3 -> 4\): leave these out; steps alone may be raised"),
        (("--seed", 1, "--size", "three"), "size two -> three, seed 5 -> 1"),
        (("--steps", 5), "steps 6 -> 5"),
        (("--recipe", "accelerator"), "recipe cpu -> accelerator"),
        (("--orders", "qpsk"), "orders all -> qpsk"),
        (("--checkpoint", "x.safetensors"), "holds the weights that its training started from"),
    ],
)
def test_resume_takes_the_recipe_from_the_folder(interrupted, capsys, words, message):
    out = interrupted[1]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    said = semsim(capsys, "train", "tiny", "--out", out, "--resume", *words, status=2)
    assert re.search(message, said), said
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_another_system_and_other_data_are_not_resumed(interrupted, capsys, tmp_path):
    out = interrupted[1]
    assert "(system tiny -> staged)" in semsim(capsys, "train", "staged", "--out", out, "--resume", status=2)
    np.savez(
        tmp_path / "other.npz", train_images=np.zeros((1012, 32, 32, 3), np.uint8), test_images=np.zeros(1),
        train_labels=np.zeros(1012, np.uint8),
    )  # fmt: skip
    words = ("train", "tiny", "--out", out, "--resume", "--data", tmp_path / "other.npz")
    assert "was trained with another recipe (images 12, crc32" in semsim(capsys, *words, status=2)


def test_data_that_moved_are_found_where_they_are(interrupted, capsys, tmp_path, images):
    moved = tmp_path / "moved.npz"
    shutil.copy(images, moved)
    semsim(capsys, "train", "tiny", "--out", interrupted[1], "--resume", "--data", moved)
    assert read_metadata(interrupted[1] / "weights.safetensors")["step"] == 6


def test_steps_may_be_raised(interrupted, capsys):
    out = interrupted[1]
    semsim(capsys, "train", "tiny", "--out", out, "--resume", "--steps", 7)
    semsim(capsys, "train", "tiny", "--out", out, "--resume", "--steps", 9)  # of what was finished
    assert read_metadata(out / "weights.safetensors")["step"] == 9
    assert resumed(out, {}).recipe == replace(RECIPE, steps=9, batch=3, seed=5, name="cpu")


def test_a_recipe_is_chosen_by_name_kept_in_the_folder_and_told_by_the_weights(tmp_path, images, capsys):
    out = tmp_path / "run"
    words = ("train", "tiny", "--data", images, "--out", out)
    assert "unknown recipe 'gpu'" in semsim(capsys, *words, "--recipe", "gpu", status=2)
    semsim(capsys, *words, "--recipe", "accelerator", "--steps", 2)
    semsim(capsys, "train", "tiny", "--out", out, "--resume", "--recipe", "accelerator", "--steps", 3)
    assert resumed(out, {}).recipe == replace(RECIPE, batch=6, steps=3, name="accelerator")
    made: Any = read_metadata(out / "weights.safetensors")["training"]
    assert made["recipe"] == asdict(replace(RECIPE, batch=6, steps=3, name="accelerator"))
    assert (made["source"], made["images"], made["device"]) == ("my cifar.npz", 12, "cpu")


def test_every_system_has_a_recipe_for_both_machines():
    for system in SYSTEMS.values():
        cpu, accelerator = (system.recipes.named(name) for name in ("cpu", "accelerator"))
        assert (cpu.name, accelerator.name) == ("cpu", "accelerator")
        assert accelerator.steps * accelerator.batch >= cpu.steps * cpu.batch, system.name


@pytest.mark.parametrize("made", [False, True])
def test_resuming_a_folder_without_a_training_is_an_error(tmp_path, capsys, made):
    out = tmp_path / "nothere"
    if made:
        out.mkdir()
    said = semsim(capsys, "train", "tiny", "--out", out, "--resume", status=2)
    assert f"there is no training in {out} to resume" in said
    assert made == out.exists() and not (made and list(out.iterdir()))


def test_a_folder_with_a_training_is_not_overwritten(interrupted, capsys, images):
    words = ("train", "tiny", "--data", images, "--out", interrupted[1], "--steps", 1)
    assert "already holds a training run: add --resume" in semsim(capsys, *words, status=2)


def test_a_damaged_description_is_said(interrupted, capsys):
    out = interrupted[1]
    for text in ("{", "[]", "{}", json.dumps({"recipe": {"colour": 1}, "started_from": None})):
        (out / "training.json").write_text(text)
        assert "training.json is damaged" in semsim(
            capsys, "train", "tiny", "--out", out, "--resume", status=2
        )


def test_training_starts_from_weights_and_says_which(tmp_path, images, capsys):
    first = train_system(TINY, images, replace(RECIPE, steps=3), tmp_path / "first", size="two")
    out = tmp_path / "second"
    words = ("--data", images, "--out", out, "--checkpoint", first, "--steps", 2, "--seed", 9)
    semsim(capsys, "train", "tiny", *words)
    module = TINY.load(first)
    begun = named_arrays(module)
    same(arrays(out / "start.safetensors"), begun)
    started = read_metadata(out / "weights.safetensors")["started_from"]
    assert isinstance(started, dict) and (started["file"], started["step"]) == ("weights.safetensors", 3)
    assert len(started["sha256"]) == 12
    assert read_metadata(out / "weights.safetensors")["config"] == {"width": 2}
    moved = arrays(out / "weights.safetensors")
    for name, array in begun.items():  # two steps of Adam at no more than 0.01 each
        assert 0 < np.abs(moved[name] - array).max() < 0.021

    (tmp_path / "third").mkdir()
    first.rename(tmp_path / "third" / "start.safetensors")  # as if an attempt had ended before it had begun
    semsim(capsys, "train", "tiny", "--data", images, "--out", tmp_path / "third", "--steps", 1)
    assert not (tmp_path / "third" / "start.safetensors").exists()
    semsim(capsys, "train", "tiny", "--out", out, "--resume", "--steps", 3)
    assert read_metadata(out / "weights.safetensors")["started_from"] == started


def test_weights_of_another_system_and_a_size_beside_weights_are_refused(tmp_path, images, capsys):
    first = tmp_path / "w.safetensors"
    save_weights(first, build(), TINY.metadata(build()))
    words = ("--data", images, "--out", tmp_path / "x", "--checkpoint")
    assert "is a checkpoint of 'tiny', not of staged" in semsim(
        capsys, "train", "staged", *words, first, status=2
    )
    said = semsim(capsys, "train", "tiny", *words, first, "--size", "two", status=2)
    assert "the size is that of" in said and "leave size two out" in said
    assert "there is no checkpoint at" in semsim(capsys, "train", "tiny", *words, tmp_path / "none", status=2)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("step", "stage"), [(2, "whole"), (2, "decoder"), (4, "decoder")])
def test_a_stage_begins_with_what_the_one_before_it_learned(tmp_path, images, step, stage):
    """Interrupted in either stage; the decoder's stage leaves the encoder as the first one made it."""
    whole = train_system(STAGED, images, RECIPE, tmp_path / "whole")
    first = arrays(tmp_path / "whole" / "1-whole" / "weights.safetensors")
    for name, array in arrays(whole).items():
        assert np.array_equal(array, first[name]) == name.startswith("encoder")
    with pytest.raises(KeyboardInterrupt):
        train_system(STAGED, images, RECIPE, tmp_path / "parts", report=stop_at(step, stage))
    parts = train_system(STAGED, images, RECIPE, tmp_path / "parts", resume=True)
    same(arrays(parts), arrays(whole))
    same(arrays(train_system(STAGED, images, RECIPE, tmp_path / "parts", resume=True)), arrays(whole))


def test_a_second_stage_that_never_began_gets_the_weights_of_the_first(tmp_path, images):
    """Ctrl-C between the two: the second one begins with the finished weights, not with fresh ones."""

    def report(line):
        if line.get("stage") == "whole" and line["step"] == 4:
            raise KeyboardInterrupt

    whole = train_system(STAGED, images, RECIPE, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_system(STAGED, images, RECIPE, tmp_path / "parts", report=report)
    assert read_metadata(tmp_path / "parts" / "1-whole" / "weights.safetensors")["step"] == 4
    same(arrays(train_system(STAGED, images, RECIPE, tmp_path / "parts", resume=True)), arrays(whole))


def test_steps_of_stages_are_raised_before_a_later_one_begins(tmp_path, images):
    longer = replace(RECIPE, steps=12)
    with pytest.raises(KeyboardInterrupt):
        train_system(STAGED, images, RECIPE, tmp_path / "early", report=stop_at(2, "whole"))
    found = train_system(STAGED, images, longer, tmp_path / "early", resume=True)
    assert read_metadata(found)["step"] == 12
    train_system(STAGED, images, RECIPE, tmp_path / "late")
    with pytest.raises(ValueError, match="beyond its first stage: its steps cannot be raised any more"):
        train_system(STAGED, images, longer, tmp_path / "late", resume=True)


def test_every_stage_draws_its_own(tmp_path, images):
    train_system(STAGED, images, RECIPE, tmp_path / "run")
    recipes = [
        json.loads((tmp_path / "run" / part / "recipe.json").read_text()) for part in ("1-whole", "2-decoder")
    ]
    assert [(one["seed"], one["steps"]) for one in recipes] == [(0, 4), (1, 4)]


# --- orders that were not trained -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def specialist(tmp_path_factory):
    """uJSCC's shipped weights under the name of a training on two orders."""
    path = tmp_path_factory.mktemp("specialist") / "w.safetensors"
    system = SYSTEMS["ujscc"]
    codec = system.load(system.checkpoint)
    save_weights(path, codec, {**system.metadata(codec), "trained": ["qpsk", "qam16"]})
    return path


PATCHES = from_array(np.zeros((2, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("modulation", "named"),
    [("qam64", "qam64"), (("qpsk", "bpsk", "qam256"), "bpsk, qam256"), ("auto", "auto")],
)
def test_orders_that_were_not_trained_are_refused(specialist, modulation, named):
    message = f"w.safetensors was trained for qpsk, qam16 alone, not for {named}"
    with pytest.raises(ValueError, match=message):
        simulation.sweep("ujscc", PATCHES, modulation, "awgn", [10.0], checkpoint=specialist)
    if isinstance(modulation, str):
        with pytest.raises(ValueError, match=message):
            simulation.reconstruct("ujscc", PATCHES.images, modulation, "awgn", 10.0, checkpoint=specialist)


def test_orders_that_were_trained_are_taken(specialist, capsys):
    assert (
        len(simulation.sweep("ujscc", PATCHES, ("qpsk", "qam16"), "awgn", [10.0], checkpoint=specialist).jobs)
        == 2
    )
    words = ("run", "ujscc", "--checkpoint", specialist, "--esno-db", 10, "--limit", 8)
    said = semsim(capsys, *words, status=2)
    assert "was trained for qpsk, qam16 alone, not for bpsk, qam64, qam256" in said
