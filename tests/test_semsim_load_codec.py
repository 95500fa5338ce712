"""A checkpoint's config asks for no more than its file holds: refused before anything is built."""

import functools
import json

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from semsim.checkpoint import save_weights
from semsim.systems import SYSTEMS

HUGE = 1_000_000
KEPT = np.zeros(2 * HUGE, np.uint8)


@functools.cache
def metadata(system):
    return SYSTEMS[system].metadata(nnx.eval_shape(lambda: SYSTEMS[system].fresh()))


def changes(value):
    """Every way to make one number of a config huge, or one list long."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: new} for new in changes(inner))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from ([*value[:place], new, *value[place + 1 :]] for new in changes(inner))
        yield list(value) * 20_000
    elif isinstance(value, int) and not isinstance(value, bool):
        yield HUGE


def write(path, system, config, arrays):

    save_file(arrays, path, metadata={"semsim": json.dumps({**metadata(system), "config": config})})


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_config_says_less_than_a_codec_has(system):
    """What it says before the codec is built, of the size that ships."""
    config = SYSTEMS[system].sizes[0][1]
    state = nnx.eval_shape(lambda: nnx.state(SYSTEMS[system].build(config, 0)))
    sizes = [leaf.size for leaf in jax.tree.leaves(state)]
    arrays, numbers = config.least
    assert 0 < arrays <= len(sizes) and 0 < numbers <= sum(sizes)


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_number_of_a_config_asks_for_hours(system, tmp_path):
    """Two million numbers in one array pay for any single number, and for no net of so many blocks, codewords or rows."""
    path = tmp_path / "x.safetensors"
    config = metadata(system)["config"]
    assert isinstance(config, dict)
    every = list(changes(config))
    assert len(every) > 1
    for changed in every:
        write(path, system, changed, {"a": KEPT})
        with pytest.raises(
            ValueError, match="x.safetensors (is no checkpoint|was written for|holds another)"
        ) as caught:
            SYSTEMS[system].load(path)
        assert "\n" not in str(caught.value)


def test_a_million_blocks_are_refused_for_what_they_are(tmp_path):
    path = tmp_path / "x.safetensors"
    config = metadata("stsc")["config"]
    assert isinstance(config, dict)
    write(path, "stsc", {**config, "depths": [1, HUGE]}, {"a": KEPT})
    message = (
        r"its config is of \d+ numbers in 26,[\d,]+ arrays at least, and it has 2,000,000 numbers in 1 arrays"
    )
    with pytest.raises(ValueError, match=message):
        SYSTEMS["stsc"].load(path)
    write(path, "stsc", {**config, "depths": [1, HUGE]}, {"a": KEPT[:5]})
    with pytest.raises(ValueError, match="its config has a 1,000,000, and it has 5 numbers in 1 arrays"):
        SYSTEMS["stsc"].load(path)
    many = {f"a{number}": np.zeros(1, np.uint8) for number in range(10_001)}
    write(path, "stsc", config, many)
    with pytest.raises(ValueError, match="in 10,001 arrays"):
        SYSTEMS["stsc"].load(path)


@pytest.mark.parametrize(
    "config", [None, 3, [], "x", {}, {"net": 1}, {"widths": 3}, {"widths": ["a"]}, {"depths": []}]
)
@pytest.mark.parametrize("system", ["stsc", "ujscc", "frenca", "stsc-vq"])
def test_a_config_of_another_kind_is_one_line(config, system, tmp_path):
    path = tmp_path / "x.safetensors"
    write(path, system, config, {"a": KEPT[:200_000]})
    with pytest.raises(ValueError, match="x.safetensors (is no checkpoint|was written for|holds another)"):
        SYSTEMS[system].load(path)


def test_types_that_numpy_has_not_are_one_line(tmp_path):
    """bfloat16, which NumPy cannot name."""
    path = tmp_path / "x.safetensors"
    codec = SYSTEMS["deepjscc"].fresh()
    save_weights(path, codec, metadata("deepjscc"))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length]

    entries = json.loads(header)
    for entry in entries.values():
        if "dtype" in entry and entry["dtype"] == "F32":
            entry["dtype"], entry["shape"] = "BF16", [2, *entry["shape"]]
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(
        ValueError, match="x.safetensors (is not a semsim checkpoint|holds another architecture)"
    ):
        SYSTEMS["deepjscc"].load(path)
