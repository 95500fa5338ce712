"""Weights on disk: what goes in comes out, and what does not fit is named."""

import errno

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from semsim import checkpoint
from semsim.checkpoint import (
    TrainingCheckpoints,
    load_weights,
    named_arrays,
    read_metadata,
    save_weights,
    store_half,
)

METADATA = {"system": "tiny", "config": {"width": 4, "sizes": [2, 4]}, "step": 7}


class Tiny(nnx.Module):
    def __init__(self, width=4, seed=0, norm=True):
        rngs = nnx.Rngs(seed)
        self.blocks = nnx.List([nnx.Linear(3, width, rngs=rngs), nnx.Linear(width, 2, rngs=rngs)])
        if norm:
            self.seen = nnx.BatchStat(jnp.full((width,), seed, jnp.int32))


@pytest.fixture
def path(tmp_path):
    save_weights(tmp_path / "tiny.safetensors", Tiny(seed=3), METADATA)
    return tmp_path / "tiny.safetensors"


def test_round_trip(path):
    module = Tiny()
    load_weights(path, module)
    expected = named_arrays(Tiny(seed=3))
    assert set(expected) == {"blocks.0.kernel", "blocks.0.bias", "blocks.1.kernel", "blocks.1.bias", "seen"}
    for name, array in named_arrays(module).items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])
    assert read_metadata(path) == METADATA
    assert [one.name for one in path.parent.iterdir()] == ["tiny.safetensors"]


def test_the_file_is_plain_safetensors(path):
    """Others can read it: dotted names, plain arrays."""
    np.testing.assert_array_equal(
        load_file(path)["blocks.0.kernel"], named_arrays(Tiny(seed=3))["blocks.0.kernel"]
    )


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Tiny(norm=False), "holds another architecture, 1 arrays differ: seen is unknown"),
        (
            Tiny(width=5),
            r"4 arrays differ: blocks.0.bias is float32\[4\], not float32\[5\]; blocks.0.kernel is float32\[3, 4\]",
        ),
    ],
)
def test_another_architecture_is_named_and_nothing_changes(path, module, message):
    before = named_arrays(module)
    with pytest.raises(ValueError, match=message):
        load_weights(path, module)
    for name, array in named_arrays(module).items():
        np.testing.assert_array_equal(array, before[name])


def test_missing_arrays_and_other_types_are_named(tmp_path):
    arrays = named_arrays(Tiny())
    arrays["blocks.0.bias"] = arrays["blocks.0.bias"].astype(np.float64)
    del arrays["seen"]
    save_file(arrays, tmp_path / "x")
    with pytest.raises(ValueError, match=r"blocks.0.bias is float64\[4\], not float32\[4\]; seen is missing"):
        load_weights(tmp_path / "x", Tiny())


def test_half_the_bytes_come_back_within_eleven_bits(path, tmp_path):
    """Whole numbers stay as they are; numbers beyond float16 are refused."""
    half = tmp_path / "half.safetensors"
    store_half(path, half)
    module, expected = Tiny(), named_arrays(Tiny(seed=3))
    load_weights(half, module)
    for name, array in named_arrays(module).items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_allclose(array, expected[name], rtol=2**-11, atol=2**-25)
        if array.dtype == np.float32:
            assert load_file(half)[name].nbytes * 2 == array.nbytes
    assert read_metadata(half) == {**METADATA, "stored": "float16"}
    module.blocks[0].kernel[...] = 1e5
    save_weights(path, module, METADATA)
    with pytest.raises(ValueError, match="blocks.0.kernel .* numbers that float16 does not reach"):
        store_half(path, half)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a checkpoint", bytes(64)])
@pytest.mark.parametrize("read", [read_metadata, lambda path: load_weights(path, Tiny())])
def test_a_file_that_is_no_checkpoint(tmp_path, content, read):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="x is not a semsim checkpoint: "):
        read(tmp_path / "x")


def test_a_truncated_checkpoint(path):
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is not a semsim checkpoint: "):
        load_weights(path, Tiny())


@pytest.mark.parametrize("metadata", [None, {"semsim": "[1]"}, {"semsim": "{"}, {"other": "{}"}])
def test_somebody_elses_safetensors(tmp_path, metadata):
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "x", metadata=metadata)
    with pytest.raises(ValueError, match="its header does not say which system it belongs to"):
        read_metadata(tmp_path / "x")


@pytest.mark.parametrize("read", [read_metadata, lambda path: load_weights(path, Tiny())])
def test_no_file(tmp_path, read):
    with pytest.raises(ValueError, match="there is no checkpoint at .*missing"):
        read(tmp_path / "missing")


def test_a_full_disk_leaves_the_old_weights(path, monkeypatch):
    before = path.read_bytes()

    def full(arrays, target, metadata):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        save_weights(path, Tiny(), METADATA)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_training_states_round_trip_and_only_the_last_are_kept(tmp_path):
    saved = TrainingCheckpoints(tmp_path / "state", keep=2)
    assert saved.latest_step() is None
    for step in (1, 2, 3):
        saved.save(step, {"a": jnp.full(3, step), "b": (jnp.float32(step),)})
    saved.close()
    again = TrainingCheckpoints(tmp_path / "state")
    assert again.latest_step() == 3
    found = again.restore({"a": jnp.zeros(3, jnp.int32), "b": (jnp.float32(0),)})
    np.testing.assert_array_equal(found["a"], [3, 3, 3])
    assert found["b"][0] == 3
    with pytest.raises(ValueError, match="the saved training state does not fit this architecture"):
        again.restore({"a": jnp.zeros(4, jnp.int32), "b": (jnp.float32(0),)})
    again.close()
    assert sorted(path.name for path in (tmp_path / "state").iterdir() if path.name.isdigit()) == ["2", "3"]
