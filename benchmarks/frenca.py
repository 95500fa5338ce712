"""FRENCA against its parts and against iterative training: the small user's PSNR, paired over images and seeds.

    python benchmarks/frenca.py [--seeds 0 1 2] [--steps 2500] [--limit 2000] [--esno-db 3] [--out runs/frenca]

frenca (transfer and distillation), transfer, distil and plain share the first stage of their seed: encoder and large
decoder. Every method takes as many steps. Scores are of CIFAR-10 test images over AWGN, all methods over the same noise.
Stages that are finished are not repeated.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import print_table, text, write_json
from flax import nnx

import phy
from channels import no_fading
from semsim import training_folder
from semsim.data import as_float, load
from semsim.info import count_macs
from semsim.link import Link
from semsim.metrics import ms_ssim, psnr
from semsim.stats import paired_interval
from semsim.systems import Point, frenca
from semsim.train_system import train_system

METHODS = ("frenca", "transfer", "distil", "plain", "iterative")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2_500)
    parser.add_argument("--limit", type=int, default=2_000, help="test images")
    parser.add_argument("--esno-db", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=Path("runs/frenca"))
    given = parser.parse_args()
    images = as_float(load("cifar10", limit=given.limit).images)
    scores: dict[tuple[str, str], list[np.ndarray]] = {}
    for seed in given.seeds:
        for method in METHODS:
            codec = trained(method, seed, given)
            for user in frenca.USERS:
                scores.setdefault((method, user), []).append(score(codec, user, images, given.esno_db))
    rows = [
        {"method": method, "user": user,
         # An image's scores of several seeds are no independent samples: their mean is one.
         "PSNR dB": text(paired_interval(np.mean([s[0] for s in found], axis=0)), ".2f"),
         "MS-SSIM": f"{np.mean([s[1].mean() for s in found]):.4f}"}
        for (method, user), found in scores.items()
    ]  # fmt: skip
    print_table(rows)
    against = []
    small = frenca.USERS[frenca.SMALL]
    for method in METHODS[1:]:
        each = [
            ours[0] - theirs[0]
            for ours, theirs in zip(scores["frenca", small], scores[method, small], strict=True)
        ]
        against.append({
            "frenca less": method, "PSNR dB of the seeds": " ".join(text(paired_interval(one)) for one in each),
            "mean of the seeds": f"{np.mean([one.mean() for one in each]):+.3f}",
            "MS-SSIM": f"{np.mean([(o[1] - t[1]).mean() for o, t in zip(scores['frenca', small], scores[method, small], strict=True)]):+.4f}",  # noqa: E501
        })  # fmt: skip
    print()
    print_table(against)
    large_macs, small_macs = (decoder_macs(number) for number in (frenca.LARGE, frenca.SMALL))
    print(
        f"\ndecoder MACs: large {large_macs:,}, small {small_macs:,}: {100 * (small_macs / large_macs - 1):+.1f} %"
    )
    write_json(
        given.out / "frenca.json",
        {"rows": rows, "differences": against, "arguments": {**vars(given), "out": ""}},
    )


def trained(method: str, seed: int, given: argparse.Namespace) -> nnx.Module:
    """The codec of a method; the methods with a frozen second stage start from one first stage."""
    out = given.out / f"{method}-{seed}"
    first = given.out / f"{METHODS[0]}-{seed}" / "1-large"
    recipe = replace(frenca.RECIPES.named("cpu"), steps=given.steps, seed=seed)
    begun = (out / training_folder.FILE).exists()
    if method not in ("frenca", "iterative") and not begun:
        shutil.copytree(first, out / "1-large", dirs_exist_ok=True)
        known = training_folder.Training(frenca.SYSTEM.name, "cifar10", recipe, method=method)
        training_folder.begin(out, known, None)
        begun = True
    weights = out / "weights.safetensors"
    if not weights.exists():
        train_system(
            frenca.SYSTEM, "cifar10", recipe, out, method=method, resume=begun,
            report=lambda line: print(method, seed, line, flush=True),
        )  # fmt: skip
    return frenca.SYSTEM.load(weights)


def score(codec: nnx.Module, user: str, images: np.ndarray, esno_db: float) -> tuple[np.ndarray, np.ndarray]:
    """PSNR and MS-SSIM (3 levels, 7 taps) of each image, always over the same noise."""

    @nnx.jit
    def run(codec: nnx.Module, batch: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        point = Point(jnp.int32(frenca.order(user)), no_fading(), jnp.float32(phy.esnodb2no(esno_db)))
        found = frenca.transmit(codec, batch, key, Link(), point).images
        return psnr(found, batch), ms_ssim(found, batch, levels=3, window=7)

    batches = np.array_split(images, max(1, len(images) // 100))
    found = [run(codec, jnp.asarray(b), jax.random.key(n)) for n, b in enumerate(batches)]
    return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])


def decoder_macs(user: int) -> int:
    codec = nnx.eval_shape(frenca.SYSTEM.fresh)
    graph, state = nnx.split(codec)
    symbols = jax.ShapeDtypeStruct((1, codec.config.num_symbols), jnp.complex64)
    return count_macs(lambda state, x: nnx.merge(graph, state).user(user).decode(x), state, symbols)


if __name__ == "__main__":
    main()
