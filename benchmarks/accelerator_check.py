"""Does the present device give what the CPU gives? Decoder, fading, uncoded link and codecs, word by word and draw by draw.

Both sides get the same words, keys and images. The CPU decodes in chunks of 128 words and works off one block at a time;
the device does so at several chunks and widths, and as it would by itself ("auto"). What may differ:

- decoder, int8 messages: nothing. Every bit, LLR, iteration count and verdict of every word is equal, at every chunk.
- decoder, float32 messages: a word whose messages are rounded otherwise may be decided otherwise: one in 1,000, or 2.
- fading: gains agree within 1e-4 (their power is 1).
- uncoded link: symbols at a decision boundary may fall to the other side: one bit in 100,000, or 2.
- codecs: PSNR of an image within 0.02 dB, but for one image in 100, or 2, where an index is at a boundary. Products
  of networks run in float32 on both sides for this ("highest"), not in what the device would take (TF32, bfloat16).

It ends with status 1 where anything differs by more, and on a CPU compares it with itself.

    python benchmarks/accelerator_check.py                            # all of it; some minutes, most of them on the CPU
    python benchmarks/accelerator_check.py --words 256 --batches 1    # a quick look
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import phy
from phy.coding import LdpcCode, LdpcDecoder, decode, encode, rate_recover
from semsim import data, error_rates, simulation
from semsim.devices import AXIS, Evaluator, Execution, Work
from semsim.link import Link, fade
from semsim.scenario import Propagation, flat_fading, grid_fading
from semsim.systems import SYSTEMS

CHUNKS = (1, 2, 128, 1024, None)
FEW, FEW_WORDS = 2, 64  # chunks of so few words are slow: they get so many words only
WIDTHS = (1, 8, None)  # blocks at once
CPU_CHUNK = 128
DECODERS: tuple[dict[str, Any], ...] = (
    {}, {"early_stop": False}, {"schedule": "flooding"}, {"rule": "sum-product", "precision": "float32"},
)  # fmt: skip
LINKS = (("qam16", "awgn", "perfect"), ("qam256", "rayleigh-block", "perfect"), ("qam16", "tdl-a", "ls"))
GAINS = ("rayleigh", "rayleigh-block", "rician-block", "tdl-a", "tdl-d")
MOST_WORDS, MOST_BITS, MOST_IMAGES = 1e-3, 1e-5, 1e-2  # shares that may differ
FEWEST = 2  # of them that may in any case
MOST_GAIN, MOST_DB = 1e-4, 0.02


class Line(NamedTuple):
    """One comparison. compared, differ, allowed: words, bits, draws or images."""

    what: str
    at: str
    compared: int
    differ: int
    allowed: int
    largest: float  # difference

    @property
    def holds(self) -> bool:
        return self.differ <= self.allowed


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    here, there = jax.devices("cpu")[0], jax.devices()[0]
    print(
        f"jax {jax.__version__}; {there.device_kind} ({there.platform}) against {here.device_kind}",
        flush=True,
    )
    print(f"{'check':44} {'at':>14} {'compared':>10} {'differ':>7} {'allowed':>7} {'largest':>9}")
    failed = 0
    for line in _lines(given, here, there):
        failed += not line.holds
        print(
            f"{line.what:44} {line.at:>14} {line.compared:10} {line.differ:7} {line.allowed:7} {line.largest:9.2g}"
            f"{'' if line.holds else '  DIFFERS'}",
            flush=True,
        )
    print(
        f"{failed} comparison(s) differ by more than the rule allows" if failed else "equal within the rules"
    )
    return int(failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--codes", nargs="*", default=["512:1024:1.7", "4096:8192:1.1"], help="K:N:EBNO_DB ..."
    )
    parser.add_argument("--words", type=int, default=2048, help="of each code (default 2048)")
    parser.add_argument("--batches", type=int, default=4, help="of the uncoded link (default 4)")
    parser.add_argument("--draws", type=int, default=256, help="of each channel (default 256)")
    parser.add_argument("--systems", nargs="*", default=["ujscc", "deepjscc", "stsc"], help="codecs")
    parser.add_argument("--images", type=int, default=64, help="through each codec (default 64)")
    return parser


def _lines(given: argparse.Namespace, here: jax.Device, there: jax.Device) -> Iterator[Line]:
    for text in given.codes:
        k, n, ebno_db = text.split(":")
        yield from decoders(LdpcCode(int(k), int(n)), float(ebno_db), given.words, here, there)
    yield from gains(given.draws, here, there)
    for modulation, channel, csi in LINKS:
        sweep = error_rates.sweep(modulation, channel, [8.0], csi=csi, demap="app")  # pyright: ignore[reportArgumentType]
        yield from link(f"{modulation} {channel}, csi {csi}", sweep.jobs[0].work, given.batches, here, there)
    with jax.default_matmul_precision("highest"):
        images = data.load("embedded")
        for name in given.systems:
            yield from codec(name, data.from_array(images.images[: given.images]), here, there)


def decoders(
    code: LdpcCode, ebno_db: float, words: int, here: jax.Device, there: jax.Device
) -> Iterator[Line]:
    """Every schedule and kind of message, at every chunk."""
    llr = _received(code, ebno_db, words, here)
    for settings in DECODERS:
        expected = decided(LdpcDecoder(code, chunk=CPU_CHUNK, **settings), llr, here)
        for chunk in CHUNKS:
            decoder = LdpcDecoder(code, chunk=chunk, **settings)
            count = min(words, FEW_WORDS) if chunk is not None and chunk <= FEW else words
            found = decided(decoder, llr[:count], there)
            pairs = list(zip(expected, found, strict=True))
            exact = decoder.precision == "int8"
            differs = np.zeros(count, bool)
            for one, other in pairs if exact else pairs[:1]:
                differs |= (one[:count] != other).reshape(count, -1).any(-1)
            yield Line(
                f"LDPC {code.k}, {decoder.schedule} {decoder.rule} {decoder.precision}, "
                f"{'early' if decoder.early_stop else 'fixed'}",
                "auto" if chunk is None else f"chunk {chunk}",
                count, int(differs.sum()), 0 if exact else _allowed(MOST_WORDS, count),
                float(np.abs(expected[1][:count] - found[1]).max()),
            )  # fmt: skip


def decided(decoder: LdpcDecoder, llr: np.ndarray, device: jax.Device) -> tuple[np.ndarray, ...]:
    """What a device makes of LLRs of sent bits: bits, LLRs, iterations and verdicts, words first."""
    kernel = jax.jit(lambda x: decode(decoder, rate_recover(decoder.code, x)))
    with jax.default_device(device):
        return tuple(np.asarray(x) for x in kernel(jax.device_put(llr, device)))


def _received(code: LdpcCode, ebno_db: float, words: int, here: jax.Device) -> np.ndarray:
    """LLRs [words, n] of sent bits over QPSK and AWGN, in steps of 1/8: sums of float messages are exact."""
    rng = np.random.default_rng(1)
    with jax.default_device(here):
        sent = np.asarray(encode(code, jnp.asarray(rng.integers(0, 2, (words, code.k)))))
    variance = 1 / (2 * 10 ** (ebno_db / 10) * code.coderate)
    received = 2 * sent - 1 + np.sqrt(variance) * rng.standard_normal(sent.shape)
    return (np.round(16 / variance * received) / 8).astype(np.float32)


def gains(draws: int, here: jax.Device, there: jax.Device) -> Iterator[Line]:
    """Gains of every kind of fading from the same key."""
    for name in GAINS:
        on_grid = name.startswith("tdl")
        over = Link(error_rates.GRID if on_grid else None)
        fading = (
            grid_fading(name, Propagation(), error_rates.GRID)
            if on_grid
            else flat_fading(name, Propagation())
        )

        def drawn(device: jax.Device, over: Link = over, fading: Any = fading) -> np.ndarray:
            with jax.default_device(device):
                made = jax.jit(lambda key: fade(key, over, fading, (draws,), 256))(jax.random.key(3))
            return np.asarray(made).reshape(draws, -1)

        apart = np.abs(drawn(here) - drawn(there)).max(-1)
        yield Line(f"gains, {name}", "", draws, int((apart > MOST_GAIN).sum()), 0, float(apart.max()))


def link(name: str, work: Work, batches: int, here: jax.Device, there: jax.Device) -> Iterator[Line]:
    """Bit errors of every draw of the uncoded link."""
    kernel: Any = work.kernel
    bits_of_draw = kernel.payload_bits(phy.num_bits(name.split()[0]))
    for at, one, other in _at_widths(work, batches, lambda found: found.bits, here, there):
        apart = np.abs(one - other)
        bits = one.size * bits_of_draw
        yield Line(f"link, {name}", at, bits, int(apart.sum()), _allowed(MOST_BITS, bits), float(apart.max()))


def codec(name: str, images: data.ImageSet, here: jax.Device, there: jax.Device) -> Iterator[Line]:
    """PSNR of every image through a system over fading."""
    sweep = simulation.sweep(name, images, SYSTEMS[name].modulations[-1], "tdl-a", [12.0])
    job = sweep.jobs[0]
    for at, one, other in _at_widths(job.work, job.budget, lambda found: found.psnr, here, there):
        apart = np.abs(one - other)
        yield Line(
            f"PSNR, {name}", at, one.size, int((apart > MOST_DB).sum()), _allowed(MOST_IMAGES, one.size),
            float(apart.max()),
        )  # fmt: skip


def _at_widths(
    work: Work, batches: int, pick: Callable[[Any], Any], here: jax.Device, there: jax.Device
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """What the CPU finds for every draw, one block at a time, and the device at every width."""

    def found(device: jax.Device, width: int | None) -> np.ndarray:
        evaluator = Evaluator(Execution(batch="auto" if width is None else width * work.kernel.realizations))
        evaluator.mesh = Mesh(np.array([device]), (AXIS,))
        return np.stack([np.asarray(pick(x)) for _, x in evaluator.batches(work, range(batches))])

    expected = found(here, 1)
    for width in WIDTHS:
        yield "auto" if width is None else f"width {width}", expected, found(there, width)


def _allowed(share: float, count: int) -> int:
    return max(FEWEST, int(share * count))


if __name__ == "__main__":
    sys.exit(main())
