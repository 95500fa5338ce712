"""Analogue symbols over the air: what DeepJSCC is made of, for any codec of `models.Analogue`.

    image -> encoder(Es/N0) -> unit-energy symbols -> grid, fading, noise -> least-mean-square-error symbols
          -> decoder(Es/N0) -> image

Both ends know the mean SNR of the realisation, which nets that adapt are told.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

import phy
from channels import no_fading
from models import Analogue, Tiled, some_maps
from semsim.energy import sent
from semsim.link import Link, declared, fade, mean_snr, send_symbols, split_keys
from semsim.names import check_name
from semsim.payload import Ledger, Line, Symbols, grid_overhead
from semsim.recipe import Recipes
from semsim.systems.base import Delivered, Point, System
from semsim.systems.per_order import GRID
from semsim.train import Loss

MODULATIONS = ("analogue",)
TRAINING_DB = (0.0, 20.0)
"""Es/N0 of a training image: uniform in this range."""
FLOOR = 1e-5
"""Added to the squared error of an image before its logarithm: 50 dB, beyond which nothing is learned."""

Ends = tuple[Array, Callable[[Array], Array]]
"""Symbols to send, and the image of those received."""
CHOICE_BITS = 1.0
"""Bits a channel use that tells the receiver which maps were sent: QPSK at rate 1/2, taken to arrive."""
Codec = TypeVar("Codec", bound=Analogue)


def transmit(
    codec: Any,
    images: Float[Array, "b h w 3"],
    key: Key[Array, ""],
    link: Link,
    point: Point,
    ends: Callable[[Any, Array, Array], Ends] | None = None,
) -> Delivered:
    """Images through the whole system; nothing is detected, so there are no symbol errors.

    ends: (codec, images, Es/N0 in dB) -> what is sent, and what becomes of it, in place of the codec's own.
    """
    _, key_fading, key_noise = split_keys(key)
    gain = fade(key_fading, link, point.fading, (images.shape[0],), codec.config.num_symbols)
    told = jnp.broadcast_to(jnp.asarray(phy.linear_to_db(mean_snr(gain, point.noise_var))), images.shape[:1])
    symbols, understand = _ends(codec, images, told) if ends is None else ends(codec, images, told)
    received = send_symbols(key_noise, link, Symbols(symbols), gain, point.noise_var, point.pilot_filter)
    pictures = jnp.clip(understand(received.values), 0.0, 1.0)
    return Delivered(pictures, jnp.zeros(images.shape[0], jnp.int32), None, sent=sent(symbols))


def _ends(codec: Analogue | Tiled, images: Array, told: Array) -> Ends:
    if isinstance(codec, Tiled):  # whose tiles are images of their own, each with all that it says
        return codec.encode(images, told), lambda received: codec.decode(received, told)
    maps = codec.maps(images, told)
    chosen = codec.chosen(maps)  # priced in the ledger
    return codec.symbols(maps, chosen), lambda received: codec.decode(received, told, chosen)


def ledger(codec: Any, link: Link, decoder_told: bool | None = None) -> Ledger:
    """What one image costs on air, and what the receiver is given for nothing.

    decoder_told: whether the decoder adapts to the Es/N0; None: as the encoder does. That of the true fade follows from a
    gain that is declared anyway, and from an estimate it does not.
    """
    config = codec.config
    payload = Line("symbols", config.num_symbols, "analogue values of unit mean energy")
    sender = Line("Es/N0 at the sender", 0, "declared: of this realisation, fed back")
    receiver = Line("Es/N0 at the receiver", 0, "declared: of this realisation, not of the estimated gain")
    known = [sender] if config.told else []
    if link.csi != "perfect" and (config.told if decoder_told is None else decoder_told):
        known.append(receiver)
    overhead = (*_choice(config), *grid_overhead(link.grid, config.num_symbols), *known, *declared(link))
    return Ledger(3 * math.prod(config.image_shape), payload, overhead)


def _choice(config: Any) -> tuple[Line, ...]:
    """What it costs to say which maps were sent, where it follows from the image."""
    ways = math.comb(config.maps, config.sent_maps)
    if config.choice == "first" or ways == 1:
        return ()
    bits = math.ceil(math.log2(ways))
    return (
        Line(
            "choice of maps",
            bits / CHOICE_BITS,
            f"{bits} bits at {CHOICE_BITS:g} a channel use, taken to arrive",
        ),
    )


def loss(codec: Analogue, images: Array, key: Key[Array, ""]) -> tuple[Array, dict[str, Array]]:
    """ln(MSE) over AWGN, each image at its own Es/N0; the gradient passes through the whole link."""
    key_snr, key_noise = jax.random.split(key)
    told, noise_var = _training_snr(key_snr, images.shape[:1])
    symbols = codec.encode(images, told)
    gain = no_fading().gains(key_noise, symbols.shape)
    received = send_symbols(key_noise, Link(), Symbols(symbols), gain, noise_var).values
    mse = jnp.mean((codec.decode(received, told) - images) ** 2)
    return jnp.log(mse), {"psnr": -10 * jnp.log10(mse)}


def prefix_loss(least: float = 0.25, full: float = 0.5) -> Loss:
    """Mean over the images of ln(MSE), as the PSNR that is reported is a mean over images; over AWGN, each image at its own
    Es/N0 and rate.

    A share `full` of the images is sent with all maps; the others with some, by the codec's choice, their number uniform
    from the share `least` of all maps on.
    """

    def value(codec: Analogue, images: Array, key: Key[Array, ""]) -> tuple[Array, dict[str, Array]]:
        key_snr, key_rate, key_full, key_noise = jax.random.split(key, 4)
        count, total = images.shape[:1], codec.config.maps
        told, noise_var = _training_snr(key_snr, count)
        some = jax.random.randint(key_rate, count, max(1, round(least * total)), total + 1)
        sent = jnp.where(jax.random.uniform(key_full, count) < full, total, some)
        symbols, speaks = some_maps(codec.maps(images, told), sent, codec.config.choice)
        flat = symbols.reshape(len(images), -1)
        gain = no_fading().gains(key_noise, flat.shape)
        received = send_symbols(key_noise, Link(), Symbols(flat), gain, noise_var).values
        output = codec.picture(received.reshape(symbols.shape) * speaks, told)
        mse = jnp.mean((output - images) ** 2, axis=(1, 2, 3))
        whole = sent == total
        mean = jnp.sum(jnp.where(whole, mse, 0.0)) / jnp.maximum(jnp.sum(whole), 1)
        return jnp.mean(jnp.log(mse + FLOOR)), {"psnr": -10 * jnp.log10(mean)}

    return value


def _training_snr(key: Key[Array, ""], shape: tuple[int, ...]) -> tuple[Array, Array]:
    low, high = TRAINING_DB
    told = low + (high - low) * jax.random.uniform(key, shape)
    return told, jnp.asarray(phy.esnodb2no(told))


def at_rate(
    codec: Codec, height: int | None = None, width: int | None = None, cbr: Fraction | None = None
) -> Codec:
    """The same weights for images of another size, and at another bandwidth ratio. Errors: ValueError for ratios that no
    number of maps has, and sizes that do not divide."""
    config = codec.config
    changes: dict[str, int] = {}
    if height is not None and width is not None:
        changes |= {"height": height, "width": width}
    if cbr is not None:
        reals = cbr * 6 * config.patch**2
        if reals.denominator != 1 or reals % 2 or not 2 <= reals <= config.channels:
            possible = ", ".join(
                str(Fraction(sent, 6 * config.patch**2)) for sent in range(2, config.channels + 1, 2)
            )
            raise ValueError(f"this codec has no bandwidth ratio {cbr}; possible: {possible}")
        changes["sent"] = int(reals)
    return codec.adapted(**changes)


def order(modulation: str, system: str) -> int:
    """Always 0. Errors: ValueError for a digital modulation."""
    if modulation in phy.MODULATIONS:
        raise ValueError(
            f"{system} sends analogue symbols; systems of indices, such as stsc-vq and ujscc, are sent on {modulation}"
        )
    check_name(f"modulation of {system}", modulation, MODULATIONS)
    return 0


def analogue_system(
    name: str,
    sizes: Mapping[str, Any],
    build: Callable[[Any, int], Any],
    load: Callable[[Path], Any],
    recipes: Recipes,
    checkpoint: Path | None,
    objective: Loss = loss,
    adapt: Callable[..., Any] | None = None,
    rates: tuple[tuple[Fraction, Path], ...] = (),
) -> System:
    """A system that is a codec of analogue symbols on this link, as `System` describes it."""

    def losses(names: tuple[str, ...]) -> Loss:
        for each in names:
            check_name("modulation to train", each, MODULATIONS)
        return objective

    return System(
        name=name,
        modulations=MODULATIONS,
        grid=GRID,
        recipes=recipes,
        checkpoint=checkpoint,
        sizes=tuple(sizes.items()),
        build=build,
        load=load,
        encode=lambda codec, images, row: codec.encode(images),
        decode=lambda codec, received, row: codec.decode(received),
        transmit=transmit,
        ledger=ledger,
        order=partial(order, system=name),
        loss=losses,
        upkeep=lambda names: None,
        metadata=lambda codec: {"system": name, "config": asdict(codec.config)},
        adapt=adapt,
        rates=rates,
    )
