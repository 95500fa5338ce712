"""Images a second of a training step: with the link, the bare network, and the same architecture in PyTorch, in one run.

    pip install torch
    python benchmarks/training_speed.py [--size small] [--batch 50] [--repeats 7] [--steps 5] [--out runs/training_speed]

with link: a step of `semsim train stsc`, SNR, rates and noise drawn anew. bare: the loss is the mean squared error of
decoder after encoder. PyTorch: the same bare step, eager, on as many threads as there are cores. The three take turns;
all have the same widths, depths, heads, window, ModNet and linear path, float32, and as many parameters, which is checked.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _common import print_table, write_json
from flax import nnx

from models import SwinConfig
from semsim.systems import stsc
from semsim.train import TrainState, gradient_step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="small", choices=["small", "cifar"])
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="steps of a repeat")
    parser.add_argument("--out", type=Path, default=Path("runs/training_speed"))
    given = parser.parse_args()
    config = stsc.SIZES[given.size]
    assert isinstance(config, SwinConfig)
    pixels = np.random.default_rng(0).integers(
        0, 256, (given.batch, config.height, config.width, 3), np.uint8
    )
    runs = {
        "with link": ours(config, pixels, stsc.SYSTEM.loss(())),
        "bare": ours(config, pixels, bare),
        "PyTorch": theirs(config, pixels),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(given.repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(given.steps):
                run()
            seconds[name].append(given.steps * given.batch / (time.perf_counter() - start))
    rows = [
        {
            "step": name,
            "images/s min / median / max": " / ".join(f"{f(v):.0f}" for f in (np.min, np.median, np.max)),
        }
        for name, v in seconds.items()
    ]
    print_table(rows)
    speed = {name: float(np.median(values)) for name, values in seconds.items()}
    print(
        f"bare to PyTorch {speed['bare'] / speed['PyTorch']:.2f}, with link to bare {speed['with link'] / speed['bare']:.2f}"
    )
    write_json(given.out / "training_speed.json", {"rows": rows, "arguments": {**vars(given), "out": ""}})


def bare(codec: Any, images: jax.Array, key: jax.Array) -> tuple[jax.Array, dict]:
    told = jnp.full(len(images), 10.0)
    return jnp.mean((codec.decoder(codec.encoder(images, told), told) - images) ** 2), {}


def ours(config: SwinConfig, pixels: np.ndarray, loss: Any) -> Any:
    """A training step that waits for its result."""
    graph, params, rest = nnx.split(nnx.jit(lambda: stsc.build(config))(), nnx.Param, ...)
    optimiser = optax.adamw(1e-3)
    advance = jax.jit(gradient_step(graph, optimiser, loss, nnx.Param, True))
    state, images, number = TrainState(params, rest, optimiser.init(params)), jnp.asarray(pixels), 0

    def run() -> None:
        nonlocal state, number
        state, log = advance(state, images, jax.random.key(number))
        number += 1
        jax.block_until_ready(log)

    return run


def theirs(config: SwinConfig, pixels: np.ndarray) -> Any:
    """The same step in PyTorch."""
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self, channels: int, heads: int, window: int, shift: int, grid: tuple[int, int]):
            super().__init__()
            self.side, self.shift = (min(grid), 0) if min(grid) <= window else (window, shift)
            self.heads = heads
            self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
            self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
            from models.windows import relative_positions, shift_mask

            self.positions = torch.from_numpy(np.array(relative_positions(self.side, window)))
            seen = shift_mask(*grid, self.side, self.shift) if self.shift else None
            self.seen = None if seen is None else torch.from_numpy(np.array(seen))[:, None]

        def forward(self, x):
            b, h, w, c = x.shape
            m, s = self.side, self.shift
            x = torch.roll(x, (-s, -s), (1, 2)) if s else x
            x = x.view(b, h // m, m, w // m, m, c).transpose(2, 3).reshape(-1, m * m, c)
            q, k, v = self.qkv(x).view(len(x), m * m, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + self.bias[self.positions].permute(
                2, 0, 1
            )
            if self.seen is not None:
                apart = logits.view(b, -1, *logits.shape[1:]).masked_fill(~self.seen, -torch.inf)
                logits = apart.view(logits.shape)
            x = self.out((logits.softmax(-1) @ v).transpose(1, 2).reshape(len(x), m * m, c))
            x = x.view(b, h // m, w // m, m, m, c).transpose(2, 3).reshape(b, h, w, c)
            return torch.roll(x, (s, s), (1, 2)) if s else x

    class Block(nn.Module):
        def __init__(self, channels: int, *rest):
            super().__init__()
            self.attention = Attention(channels, *rest)
            self.norms = nn.ModuleList([nn.LayerNorm(channels) for _ in range(2)])
            ratio = config.mlp_ratio * channels
            self.mlp = nn.Sequential(nn.Linear(channels, ratio), nn.GELU(), nn.Linear(ratio, channels))

        def forward(self, x):
            x = x + self.attention(self.norms[0](x))
            return x + self.mlp(self.norms[1](x))

    class ModNet(nn.Module):
        def __init__(self, channels: int, layers: int):
            super().__init__()
            hidden = channels * 3 // 2
            sizes = (channels, *([hidden] * layers), channels)
            self.scales = nn.ModuleList([nn.Linear(i, o) for i, o in zip(sizes[:-1], sizes[1:], strict=True)])
            self.told = nn.ModuleList([
                nn.Sequential(
                    nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden),
                    nn.Sigmoid(),
                )
                for _ in range(layers)
            ])  # fmt: skip

        def forward(self, x, told):
            gate = x.detach()
            for scale, level in zip(self.scales[:-1], self.told, strict=True):
                gate = scale(gate) * level(told)[:, None, None]
            return x * torch.sigmoid(self.scales[-1](gate))

    def stage(number: int):
        grid = (config.height >> (number + 1), config.width >> (number + 1))
        return nn.Sequential(*[
            Block(config.widths[number], config.heads[number], config.window, config.window // 2 * (n % 2), grid)
            for n in range(config.depths[number])
        ])  # fmt: skip

    def shuffled(x):
        return nn.functional.pixel_shuffle(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    class Codec(nn.Module):
        def __init__(self):
            super().__init__()
            w, last, stages = config.widths, config.widths[-1], range(len(config.widths))
            pixels = 3 * config.patch**2
            self.embed = nn.Conv2d(3, w[0], 2, 2)
            self.merge_norms = nn.ModuleList([nn.LayerNorm(4 * i) for i in w[:-1]])
            pairs = zip(w[:-1], w[1:], strict=True)
            self.merges = nn.ModuleList([nn.Linear(4 * i, o, bias=False) for i, o in pairs])
            self.down = nn.ModuleList([stage(n) for n in stages])
            self.up = nn.ModuleList([stage(n) for n in reversed(stages)])
            self.norm, self.head = nn.LayerNorm(last), nn.Linear(last, config.channels)
            self.back = nn.Linear(config.channels, last)
            self.gates = nn.ModuleList(
                [ModNet(last, config.mod_layers) for _ in range(2 * bool(config.mod_layers))]
            )
            sizes = [(w[n], w[n - 1] if n else 3) for n in reversed(stages)]
            self.divide_norms = nn.ModuleList([nn.LayerNorm(i) for i, _ in sizes])
            self.divides = nn.ModuleList([nn.Linear(i, 4 * o, bias=False) for i, o in sizes])
            both = ((pixels, config.channels), (config.channels, pixels))
            self.linear = nn.ModuleList([nn.Linear(i, o) for i, o in both] if config.linear_path else [])

        def forward(self, image, told):
            x = self.embed(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            for number, blocks in enumerate(self.down):
                if number:
                    squares = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
                    x = self.merges[number - 1](self.merge_norms[number - 1](torch.cat(squares, -1)))
                x = blocks(x)
            x = self.norm(x)
            features = self.head(self.gates[0](x, told) if self.gates else x)
            p = config.patch
            if self.linear:
                patches = nn.functional.pixel_unshuffle((2 * image - 1).permute(0, 3, 1, 2), p).permute(
                    0, 2, 3, 1
                )
                features = features + self.linear[0](patches)
            x = self.back(features)
            x = self.gates[1](x, told) if self.gates else x
            for blocks, norm, divide in zip(self.up, self.divide_norms, self.divides, strict=True):
                x = shuffled(divide(norm(blocks(x))))
            if self.linear:
                beside = nn.functional.pixel_shuffle(self.linear[1](features).permute(0, 3, 1, 2), p)
                x = x + beside.permute(0, 2, 3, 1)
            return x

    codec = Codec()
    mine = sum(
        leaf.size
        for leaf in jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: stsc.build(config)), nnx.Param))
    )
    count = sum(leaf.numel() for leaf in codec.parameters())
    assert count == mine, (count, mine)
    optimiser = torch.optim.AdamW(codec.parameters(), 1e-3)
    images, told = torch.from_numpy(pixels).float() / 255, torch.full((len(pixels), 1), 10.0)

    def run() -> None:
        optimiser.zero_grad()
        torch.mean((codec(images, told) - images) ** 2).backward()
        optimiser.step()

    return run


if __name__ == "__main__":
    main()
