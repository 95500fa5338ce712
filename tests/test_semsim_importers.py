"""Importers against PyTorch's layers written again in NumPy float64, layer by layer, and against PyTorch where installed."""

import functools
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf, expit

from semsim import importers
from semsim.importers.swinjscc import calibrate, config_of
from semsim.importers.torch_file import read_state, unwrapped
from semsim.systems import SYSTEMS

WIDTHS, HEADS, WINDOW, CHANNELS, GATES = (8, 12), (2, 3), 4, 6, 2
GRIDS = ((8, 16), (4, 8))
"""Of images of 16 x 32; the second is one window high, so that nothing is shifted there."""
TABLE = "relative_position_bias_table"
run = nnx.jit(lambda layer, *x: layer(*x))


def layer(state, rng, name, *shape, bias=True, gain=1.5):
    state[f"{name}.weight"] = gain * rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    if bias:
        state[f"{name}.bias"] = 0.3 * rng.standard_normal(shape[0])


def swin_state(gates=GATES, seed=0):
    """Two stages of two blocks, by the names of SwinJSCC and WITT, with the buffers that they save."""
    rng, state = np.random.default_rng(seed), {}
    layer(state, rng, "encoder.patch_embed.proj", WIDTHS[0], 3, 2, 2)
    layer(state, rng, "encoder.layers.1.downsample.reduction", WIDTHS[1], 4 * WIDTHS[0], bias=False)
    layer(state, rng, "decoder.layers.0.upsample.increment", 4 * WIDTHS[0], WIDTHS[1], bias=False)
    layer(state, rng, "decoder.layers.1.upsample.increment", 4 * 3, WIDTHS[0], bias=False)
    layer(state, rng, "encoder.head_list", CHANNELS, WIDTHS[1])
    layer(state, rng, "decoder.head_list", WIDTHS[1], CHANNELS)
    norms = {"encoder.layers.1.downsample.norm": 4 * WIDTHS[0], "encoder.norm": WIDTHS[1]}
    norms |= {"decoder.layers.0.upsample.norm": WIDTHS[1], "decoder.layers.1.upsample.norm": WIDTHS[0]}
    hidden = WIDTHS[1] * 3 // 2
    for side in ("encoder", "decoder"):
        for stage, block in np.ndindex(2, 2):
            at = stage if side == "encoder" else 1 - stage
            name, width = f"{side}.layers.{stage}.blocks.{block}", WIDTHS[at]
            layer(state, rng, f"{name}.attn.qkv", 3 * width, width)
            layer(state, rng, f"{name}.attn.proj", width, width)
            layer(state, rng, f"{name}.mlp.fc1", 4 * width, width)
            layer(state, rng, f"{name}.mlp.fc2", width, 4 * width)
            state[f"{name}.attn.{TABLE}"] = rng.standard_normal((49, HEADS[at]))
            state[f"{name}.attn.relative_position_index"] = np.zeros((16, 16), np.int64)
            if block and at == 0:
                state[f"{name}.attn_mask"] = np.full((8, 16, 16), np.nan)  # of some other resolution
            norms |= {f"{name}.norm1": width, f"{name}.norm2": width}
        sizes = (WIDTHS[1], *[hidden] * gates, WIDTHS[1]) if gates else ()
        for number in range(len(sizes) - 1):
            layer(state, rng, f"{side}.sm_list.{number}", sizes[number + 1], sizes[number])
        for gate, part in np.ndindex(gates, 3):
            layer(state, rng, f"{side}.bm_list.{gate}.fc.{2 * part}", hidden, hidden if part else 1)
    for name, width in norms.items():
        state[f"{name}.weight"] = 1 + 0.3 * rng.standard_normal(width)
        state[f"{name}.bias"] = 0.3 * rng.standard_normal(width)
    return {name: value if "index" in name else value.astype(np.float32) for name, value in state.items()}


def deepjscc_state(maps=4, seed=0):
    rng, state = np.random.default_rng(seed), {}
    sizes = (3, 16, 32, 32, 32, maps)
    for number in range(1, 6):
        layer(state, rng, f"encoder.conv{number}.conv", sizes[number], sizes[number - 1], 5, 5)
        layer(state, rng, f"decoder.tconv{number}.transconv", sizes[6 - number], sizes[5 - number], 5, 5)
        state[f"decoder.tconv{number}.transconv.bias"] = 0.3 * rng.standard_normal(sizes[5 - number])
        state[f"encoder.conv{number}.prelu.weight"] = rng.uniform(0.1, 0.5, 1)
        if number < 5:
            state[f"decoder.tconv{number}.activate.weight"] = np.full(1, 0.35)
    return {name: value.astype(np.float32) for name, value in state.items()}


def doubled(state):
    return {name: value.astype(np.float64) for name, value in state.items()}


def dense(s, name, x):
    return x @ s[f"{name}.weight"].T + s.get(f"{name}.bias", 0.0)


def norm(s, name, x):
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / spread * s[f"{name}.weight"] + s[f"{name}.bias"]


def embed(s, x):
    weight = s["encoder.patch_embed.proj.weight"]
    taps = [x[:, i::2, j::2] @ weight[:, :, i, j].T for i in (0, 1) for j in (0, 1)]
    return sum(taps) + s["encoder.patch_embed.proj.bias"]


def attention(s, name, x, heads, shift):
    """One window after the other, one pair of tokens after the other; -100 between regions of a shifted grid."""
    _, height, width, channels = x.shape
    table, depth = s[f"{name}.{TABLE}"], channels // heads
    x = np.roll(x, (-shift, -shift), (1, 2))
    cut = [np.digitize(np.arange(n), [n - WINDOW, n - shift] if shift else [n]) for n in (height, width)]
    region = 3 * cut[0][:, None] + cut[1]
    place = np.array([(i, j) for i in range(WINDOW) for j in range(WINDOW)])
    apart = place[:, None] - place + WINDOW - 1
    bias = table[apart[..., 0] * (2 * WINDOW - 1) + apart[..., 1]]  # [t, t, k]
    y = np.zeros_like(x)
    for top in range(0, height, WINDOW):
        for left in range(0, width, WINDOW):
            rows, columns = top + place[:, 0], left + place[:, 1]
            qkv = dense(s, f"{name}.qkv", x[:, rows, columns])
            mask = np.where(region[rows, columns][:, None] == region[rows, columns], 0.0, -100.0)
            for head in range(heads):
                q, k, v = (
                    qkv[..., part * channels + head * depth :][..., :depth] for part in range(3)
                )  # [b, t, depth]
                logits = q @ k.swapaxes(1, 2) * depth**-0.5 + bias[..., head] + mask
                weight = np.exp(logits - logits.max(-1, keepdims=True))
                mixed = weight / weight.sum(-1, keepdims=True) @ v
                y[:, rows, columns, head * depth : (head + 1) * depth] = mixed
    return np.roll(dense(s, f"{name}.proj", y), (shift, shift), (1, 2))


def mlp(s, name, x):
    x = dense(s, f"{name}.fc1", x)
    return dense(s, f"{name}.fc2", 0.5 * x * (1 + erf(x / np.sqrt(2))))


def merge(s, name, x):
    x = np.concatenate([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
    return dense(s, f"{name}.reduction", norm(s, f"{name}.norm", x))


def divide(s, name, x):
    x = dense(s, f"{name}.increment", norm(s, f"{name}.norm", x))
    y = np.zeros((x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3] // 4))
    for channel, i, j in np.ndindex(y.shape[3], 2, 2):
        y[:, i::2, j::2, channel] = x[..., 4 * channel + 2 * i + j]  # PixelShuffle(2)
    return y


def modnet(s, side, x, esno_db):
    gate = x
    for number in range(GATES):
        level = np.asarray(esno_db)[:, None]
        for part in (0, 2, 4):
            level = dense(s, f"{side}.bm_list.{number}.fc.{part}", np.maximum(level, 0) if part else level)
        gate = dense(s, f"{side}.sm_list.{number}", gate) * expit(level)[:, None, None]
    return x * expit(dense(s, f"{side}.sm_list.{GATES}", gate))


def assert_near(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def blocks(s, net, side, number, at, x):
    """Every part of a stage: its name, our layer, what goes in, what comes out."""
    for block, ours in enumerate(net.stages[number]):
        name = f"{side}.layers.{number}.blocks.{block}"
        shift = WINDOW // 2 if block and min(GRIDS[at]) > WINDOW else 0
        first = norm(s, f"{name}.norm1", x)
        yield f"{name}.norm1", ours.norm1, (x,), first
        mixed = attention(s, f"{name}.attn", first, HEADS[at], shift)
        yield f"{name}.attn", ours.attention, (first,), mixed
        y = x + mixed
        y = y + mlp(s, f"{name}.mlp", norm(s, f"{name}.norm2", y))
        yield name, ours, (x,), y
        x = y


def encoder_steps(s, net, image, told):
    x = embed(s, image)
    yield "patch_embed", net.embed, (image,), x
    for stage in range(2):
        if stage:
            y = merge(s, "encoder.layers.1.downsample", x)
            yield "downsample", net.merges[0], (x,), y
            x = y
        for step in blocks(s, net, "encoder", stage, stage, x):
            yield step
            x = step[3]
    y = norm(s, "encoder.norm", x)
    yield "norm", net.norm, (x,), y
    if net.modnet is not None:
        x, y = y, modnet(s, "encoder", y, told)
        yield "modnet", net.modnet, (x, told), y
    yield "head_list", net.head, (y,), dense(s, "encoder.head_list", y)
    yield "encoder", net, (image, told), dense(s, "encoder.head_list", y)


def decoder_steps(s, net, features, told):
    x = dense(s, "decoder.head_list", features)
    yield "head_list", net.head, (features,), x
    if net.modnet is not None:
        y = modnet(s, "decoder", x, told)
        yield "modnet", net.modnet, (x, told), y
        x = y
    for number in range(2):
        for step in blocks(s, net, "decoder", number, 1 - number, x):
            yield step
            x = step[3]
        y = divide(s, f"decoder.layers.{number}.upsample", x)
        yield "upsample", net.divisions[number], (x,), y
        x = y
    yield "decoder", net, (features, told), x


@functools.cache
def imported(variant="snr"):
    found = importers.import_state(swin_state(), "swinjscc", variant)
    return found, found.codec.adapted(height=16, width=32)


TOLD = np.array([1.0, 13.0])
IMAGES = np.random.default_rng(1).uniform(size=(2, 16, 32, 3))
FEATURES = np.random.default_rng(2).standard_normal((2, 4, 8, CHANNELS))


@pytest.mark.parametrize("variant", importers.VARIANTS)
def test_every_layer_of_swinjscc_computes_what_pytorch_computes(variant):
    s, (_, codec) = doubled(swin_state()), imported(variant)
    steps = [*encoder_steps(s, codec.encoder, IMAGES, TOLD), *decoder_steps(s, codec.decoder, FEATURES, TOLD)]
    assert len(steps) == 35 - 2 * (variant == "plain")
    for _, ours, given, expected in steps:
        assert_near(run(ours, *(jnp.asarray(x, jnp.float32) for x in given)), expected)


def test_what_the_shapes_say_becomes_the_config():
    found, _ = imported()
    config = found.codec.config
    assert (config.widths, config.depths, config.heads) == (WIDTHS, (2, 2), HEADS)
    assert (config.window, config.channels, config.mod_layers, config.mlp_ratio) == (
        WINDOW,
        CHANNELS,
        GATES,
        4,
    )
    assert config.image_shape == (32, 32) and not config.linear_path and found.system == "stsc"
    wide = {f"encoder_layers_{stage}_blocks_0_attn_{TABLE}": np.ones((23**2, 2)) for stage in (0, 1)}
    assert config_of(changed(swin_state(), **wide), "plain").image_shape == (
        48,
        48,
    )  # which windows of 12 divide


def test_an_unused_modnet_is_told_from_one_that_learned():
    decided = importers.import_state(swin_state(), "witt")
    assert decided.codec.config.mod_layers == GATES and "variant snr: its ModNets have l" in decided.notes[0]
    rng, state = np.random.default_rng(3), swin_state()
    for name, value in state.items():  # as PyTorch draws a linear
        if "m_list" in name and name.endswith("weight"):
            state[name] = (rng.uniform(-1, 1, value.shape) / np.sqrt(value.shape[1])).astype(np.float32)
    fresh = importers.import_state(state, "swinjscc")
    assert fresh.codec.config.mod_layers == 0 and "variant plain: its ModNets never" in fresh.notes[0]
    assert "it has no ModNet" in importers.import_state(swin_state(gates=0), "swinjscc").notes[0]


def test_one_version_allocates_a_rate_modnet_and_ms_ssim_its_window():
    extra = {name: np.ones(3) for name in ("encoder.sm_list1.0.bias", "encoder.bm_list1.0.fc.0.bias")}
    state = {**swin_state(), **extra, "distortion_loss.dist.window": np.ones(3)}
    assert importers.import_state(state, "swinjscc").codec.config.mod_layers == GATES


def test_calibrated_on_an_image_the_codec_does_to_it_what_theirs_does_without_noise():
    """There the receiver is told the power of the mini-batch; here its decoder has that of the calibration set."""
    s, (found, _) = doubled(swin_state()), imported()
    image, told = IMAGES[:1], TOLD[1:]
    made = calibrate(found, image.astype(np.float32), 13.0)
    codec = made.codec.adapted(height=16, width=32)
    *_, (_, _, _, features) = encoder_steps(s, codec.encoder, image, told)
    *_, (_, _, _, expected) = decoder_steps(s, codec.decoder, features, told)
    once = nnx.jit(lambda codec, x: codec.decode(codec.encode(x, 13.0), 13.0))
    assert_near(once(codec, jnp.asarray(image, jnp.float32)), expected)
    scale = np.sqrt(2 * np.mean(features**2))
    assert f"multiplies its symbols by {scale:.4g}" in made.notes[-1]


def turned(x):
    return x[:, ::-1, ::-1]


def conv(s, name, x, stride):
    """Padded by 2 on both sides. [out, in, h, w]"""
    padded, weight = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))), s[f"{name}.weight"]
    height, width = x.shape[1:3]
    taps = [
        padded[:, i : i + height : stride, j : j + width : stride] @ weight[:, :, i, j].T for i, j in np.ndindex(5, 5)
    ]  # fmt: skip
    return sum(taps) + s[f"{name}.bias"]


def transposed(s, name, x, stride):
    """Padding 2, output padding stride - 1: every input spreads over 25 outputs. [in, out, h, w]"""
    batch, height, width, _ = x.shape
    weight = s[f"{name}.weight"]
    wide = np.zeros((batch, stride * height + 4, stride * width + 4, weight.shape[1]))
    for i, j in np.ndindex(5, 5):
        wide[:, i : i + stride * height : stride, j : j + stride * width : stride] += x @ weight[:, :, i, j]
    return wide[:, 2:-2, 2:-2] + s[f"{name}.bias"]


def prelu(s, name, x):
    return np.where(x > 0, x, s[f"{name}.weight"] * x)


def test_every_layer_of_deepjscc_computes_what_pytorch_computes():
    """Layer by layer on maps turned by half a turn, which the nets undo."""
    s, found = doubled(deepjscc_state()), importers.import_state(deepjscc_state(), "deepjscc")
    codec, image = found.codec, np.random.default_rng(4).uniform(size=(2, 32, 32, 3))
    assert found.system == "deepjscc" and "3.01 dB" in found.notes[0] and codec.config.channels == 2
    x = image
    for number, (ours, slope) in enumerate(zip(codec.encoder.convs, codec.encoder.slopes, strict=True)):
        y = conv(s, f"encoder.conv{number + 1}.conv", x, 2 if number < 2 else 1)
        assert_near(turned(run(ours, jnp.asarray(turned(x), jnp.float32))), y)
        x = prelu(s, f"encoder.conv{number + 1}.prelu", y)
        assert_near(run(slope, jnp.asarray(y, jnp.float32)), x)
    x = z = x / np.sqrt(np.mean(x**2, axis=(1, 2, 3), keepdims=True))
    for number, ours in enumerate(codec.decoder.deconvs):
        y = transposed(s, f"decoder.tconv{number + 1}.transconv", x, 2 if number > 2 else 1)
        given = x if number else x / np.sqrt(2)
        assert_near(turned(run(ours, jnp.asarray(turned(given), jnp.float32))), y)
        x = prelu(s, f"decoder.tconv{number + 1}.activate", y) if number < 4 else expit(y)
    symbols = jax.jit(codec.encode)(jnp.asarray(image, jnp.float32))
    maps = np.asarray(symbols).reshape(2, 8, 8, 2)
    assert_near(np.concatenate([maps.real, maps.imag], -1) * np.sqrt(2), z)
    assert_near(jax.jit(codec.decode)(symbols), x)


def test_a_checkpoint_of_ours_comes_out_which_run_takes(tmp_path, monkeypatch):
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in swin_state().items()}}
    monkeypatch.setattr(importers, "read_state", lambda path: unwrapped(wrapped))
    photographs = np.random.default_rng(5).integers(0, 256, (200, 32, 32, 3), np.uint8)
    monkeypatch.setattr(importers, "training_images", lambda name, side: photographs)
    out = tmp_path / "swin.safetensors"
    found = importers.import_checkpoint(tmp_path / "a.model", "swinjscc", out, data="cifar10", esno_db=7.0)
    assert "the scale of 128 images at 7 dB" in found.notes[-1]
    loaded = SYSTEMS["stsc"].load(out)
    assert asdict(loaded.config) == asdict(found.codec.config)
    jax.tree.map(np.testing.assert_array_equal, *(nnx.state(codec) for codec in (loaded, found.codec)))


def changed(state, **arrays):
    """`state` with some arrays replaced, by names with _ for the dots, and without those that are None."""
    names = {name.replace(".", "_"): name for name in state}
    new = {names.get(name, name): value for name, value in arrays.items()}
    return {name: value for name, value in {**state, **new}.items() if value is not None}


SWIN = [
    ({"encoder_head_list_weight": None}, "a rate-adaptive variant .w/ RA, w/ SA&RA., without a linear"),
    ({"encoder_head_list_bias": np.zeros(CHANNELS)}, "the linear to C channels never learned"),
    ({"encoder_patch_embed_proj_weight": None, "encoder_head_list_weight": None}, "another kind of checkpoint"),
    ({"encoder_norm_bias": None}, "1 arrays differ: encoder.norm.bias is missing"),
    ({"novel": np.ones(1)}, "1 arrays differ: novel is unknown"),
    ({"encoder_norm_bias": np.ones(5)}, r"encoder.norm.bias is \[5\], not \[12\]"),
    ({"encoder_norm_bias": np.full(12, np.nan)}, "encoder.norm.bias is not finite"),
    ({"encoder_layers_0_blocks_0_norm1_weight": np.ones((8, 1))}, r"norm1.weight is \[8, 1\]"),
    ({f"encoder_layers_1_blocks_0_attn_{TABLE}": np.ones((9, 3))}, r"stage to stage, \[4, 2\]"),
    ({"encoder_head_list_weight": np.ones((5, 12))}, "channels are pairs of reals"),
]  # fmt: skip
CONV = [
    ({"decoder_tconv3_activate_weight": np.ones(1)}, "slopes of the decoder's PReLUs differ"),
    ({"decoder_tconv3_activate_weight": None}, "decoder.tconv3.activate.weight is missing"),
    ({"encoder_conv5_conv_weight": np.ones((7, 32, 5, 5))}, "7 maps make no pairs"),
    ({"decoder_tconv4_transconv_weight": np.ones((32, 16, 6, 6))}, r"is \[32, 16, 6, 6\], not \[32, 16, 5, 5\]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [*(("swinjscc", *case) for case in SWIN), *(("deepjscc", *case) for case in CONV)],
)
def test_a_state_dict_that_does_not_fit_is_refused_in_one_line(kind, change, message):
    state = changed(swin_state() if kind == "swinjscc" else deepjscc_state(), **change)
    with pytest.raises(ValueError, match=message) as caught:
        importers.import_state(state, kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda path: importers.import_state({}, "swin"), "unknown kind of checkpoint 'swin'; did you mean"),
        (lambda path: importers.import_state({}, "witt", "sa"), "unknown variant 'sa'"),
        (lambda path: importers.import_state({}, "deepjscc", "snr"), "deepjscc has one variant"),
        (lambda path: importers.import_state(swin_state(gates=0), "witt", "snr"), "no ModNet in this checkp"),
        (lambda path: unwrapped({"conv.weight": np.ones(3)}, "a.pth"), "a.pth holds no state dict with an enc"),
        (lambda path: unwrapped([1, 2]), "this holds no state dict"),
        (lambda path: read_state(path / "none.pth"), "there is no checkpoint at .*none.pth"),
        (lambda path: importers.import_checkpoint(path / "a.pth", "witt", path / "b" / "c"), "no folder .*b to"),
        (lambda path: importers.import_checkpoint(path / "a.pth", "witt", path / "a.pth"), "the checkpoint itself"),
        (lambda path: importers.import_checkpoint(path / "a.pth", "deepjscc", data="cifar10"), "leave data out"),
    ],
)  # fmt: skip
def test_mistakes_are_named(wrong, message, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    with pytest.raises(ValueError, match=message):
        wrong(tmp_path)


def test_pytorchs_own_layers_agree(tmp_path):
    """Encoder and decoder of torch.nn layers, their file read, and what comes out compared."""
    torch = pytest.importorskip("torch")
    nn, functional = torch.nn, torch.nn.functional
    state = {name: torch.as_tensor(value) for name, value in swin_state().items()}

    def module(name):
        weight, biased = state[f"{name}.weight"], f"{name}.bias" in state
        if weight.ndim == 4:
            made = nn.Conv2d(3, WIDTHS[0], kernel_size=2, stride=2)
        else:
            made = (
                nn.LayerNorm(*weight.shape)
                if weight.ndim == 1
                else nn.Linear(*weight.shape[::-1], bias=biased)
            )
        made.load_state_dict({part: state[f"{name}.{part}"] for part in ("weight", "bias")[: 1 + biased]})
        return made.double()

    net = {
        name: module(name)
        for name in (one.removesuffix(".weight") for one in state if one.endswith(".weight"))
    }

    def attend(name, x, heads, shift):
        """All tokens at once; those of other windows, and those brought together by the shift, are masked."""
        height, width = x.shape[1:3]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        window = ((rows - shift) % height // WINDOW * width + (columns - shift) % width // WINDOW).flatten()
        apart = [grid.flatten()[:, None] - grid.flatten() for grid in (rows, columns)]
        near = [one.clamp(1 - WINDOW, WINDOW - 1) + WINDOW - 1 for one in apart]
        bias = state[f"{name}.{TABLE}"].double()[near[0] * (2 * WINDOW - 1) + near[1]]
        far = (apart[0].abs() >= WINDOW) | (apart[1].abs() >= WINDOW)
        mask = torch.where(far, -100.0, 0.0).masked_fill(window[:, None] != window, -torch.inf)
        q, k, v = net[f"{name}.qkv"](x.flatten(1, 2)).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.permute(2, 0, 1) + mask)
        return net[f"{name}.proj"](mixed.transpose(1, 2).flatten(2)).unflatten(1, (height, width))

    def stage(name, x, at):
        for number in range(2):
            one, shift = f"{name}.blocks.{number}", WINDOW // 2 if number and min(GRIDS[at]) > WINDOW else 0
            x = x + attend(f"{one}.attn", net[f"{one}.norm1"](x), HEADS[at], shift)
            x = x + net[f"{one}.mlp.fc2"](functional.gelu(net[f"{one}.mlp.fc1"](net[f"{one}.norm2"](x))))
        return x

    def gated(side, x, told):
        gate = x
        for number in range(GATES):
            first, second, third = (net[f"{side}.bm_list.{number}.fc.{part}"] for part in (0, 2, 4))
            level = torch.sigmoid(third(torch.relu(second(torch.relu(first(told[:, None]))))))
            gate = net[f"{side}.sm_list.{number}"](gate) * level[:, None, None]
        return x * torch.sigmoid(net[f"{side}.sm_list.{GATES}"](gate))

    def encode(x, told):
        x = net["encoder.patch_embed.proj"](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = stage("encoder.layers.0", x, 0).permute(0, 3, 1, 2)
        x = functional.pixel_unshuffle(x, 2).unflatten(1, (-1, 2, 2)).permute(0, 4, 5, 3, 2, 1).flatten(3)
        x = net["encoder.layers.1.downsample.reduction"](net["encoder.layers.1.downsample.norm"](x))
        x = net["encoder.norm"](stage("encoder.layers.1", x, 1))
        return net["encoder.head_list"](gated("encoder", x, told))

    def decode(x, told):
        x = gated("decoder", net["decoder.head_list"](x), told)
        for number in range(2):
            name = f"decoder.layers.{number}"
            x = net[f"{name}.upsample.norm"](stage(name, x, 1 - number))
            x = net[f"{name}.upsample.increment"](x).permute(0, 3, 1, 2)
            x = functional.pixel_shuffle(x, 2).permute(0, 2, 3, 1)
        return x

    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "a.pth")
    codec = importers.import_checkpoint(tmp_path / "a.pth", "swinjscc").codec.adapted(height=16, width=32)
    told = torch.as_tensor(TOLD)
    with torch.no_grad():
        for ours, theirs, given in ((codec.encoder, encode, IMAGES), (codec.decoder, decode, FEATURES)):
            found = run(ours, jnp.asarray(given, jnp.float32), jnp.asarray(TOLD, jnp.float32))
            assert_near(found, theirs(torch.as_tensor(given), told).numpy())


def test_pytorchs_own_convolutions_agree():
    torch = pytest.importorskip("torch")
    s = {name: torch.as_tensor(value).double() for name, value in deepjscc_state().items()}
    codec = importers.import_state(deepjscc_state(), "deepjscc").codec
    image = np.random.default_rng(6).uniform(size=(2, 32, 32, 3))
    x = torch.as_tensor(image).permute(0, 3, 1, 2)
    for number in range(1, 6):
        name, stride = f"encoder.conv{number}", 2 if number < 3 else 1
        x = torch.conv2d(x, s[f"{name}.conv.weight"], s[f"{name}.conv.bias"], stride, 2)
        x = torch.prelu(x, s[f"{name}.prelu.weight"])
    x = x / x.square().mean((1, 2, 3), keepdim=True).sqrt()
    for number in range(1, 6):
        name, stride = f"decoder.tconv{number}", 2 if number > 3 else 1
        weight, bias = (s[f"{name}.transconv.{part}"] for part in ("weight", "bias"))
        x = torch.conv_transpose2d(x, weight, bias, stride, 2, stride - 1)
        x = torch.prelu(x, s[f"{name}.activate.weight"]) if number < 5 else torch.sigmoid(x)
    once = jax.jit(lambda x: codec.decode(codec.encode(x)))
    assert_near(once(jnp.asarray(image, jnp.float32)), x.permute(0, 2, 3, 1).numpy())
