"""The payload of the digital baseline over the air: which frames of a block of images are lost, draw by draw.

`Transmission` is compiled for its frame, and runs everywhere. On a CPU frames of one part and one code block share a program
instead (`semsim.shared_transmission`).
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Int, Key, UInt8

from channels import Fading
from phy import Equalised, PilotFilter
from semsim.devices import Kernel
from semsim.energy import Sent
from semsim.energy import sent as sent_energy
from semsim.frame import Frame, bits_of_bytes, frame_symbols, receive_frame
from semsim.image_runs import draws_of_piece, joined, pieces_of
from semsim.link import Link, carry, fade, split_keys


class Arrived(NamedTuple):
    """Which frames of a block of images were lost, and what was sent of them."""

    lost: Array  # [b, draws, parts] bool: a part with a wrong bit, or that fails its checks
    unseen: Array  # [b, draws] bool: wrong bits although every check holds
    sent: Sent  # [b, draws]


class OnAir(NamedTuple):
    """What the points of a program differ in."""

    fading: Fading
    noise_var: Any  # float32 scalar
    pilot_filter: PilotFilter | None
    code: Any = None  # of programs that several codes share


@dataclass(frozen=True)
class OverDraws(Kernel):
    """Kernel: the frames of a block of images, each over `draws` independent fades and noises."""

    link: Link
    draws: int
    realizations: int

    @property
    @abc.abstractmethod
    def num_symbols(self) -> int: ...

    @abc.abstractmethod
    def symbols(self, mapped: Any, code: Any) -> Complex[Array, "b s"]:
        """What is sent."""

    @abc.abstractmethod
    def decide(
        self, mapped: Any, code: Any, equalised: Equalised
    ) -> tuple[Bool[Array, "b parts"], Bool[Array, "b parts"]]:
        """Parts with a wrong bit, and parts whose checks fail."""

    def __call__(self, key: Key[Array, ""], mapped: Any, shared: OnAir) -> Arrived:
        return self._draws(key, mapped, shared, jnp.arange(self.draws))

    @property
    def pieces(self) -> int:
        return pieces_of(self.draws)

    def piece(self, key: Key[Array, ""], mapped: Any, shared: OnAir, number: Int[Array, ""]) -> Arrived:
        return self._draws(key, mapped, shared, draws_of_piece(number))

    def join(self, found: Sequence[Arrived]) -> Arrived:
        return joined(found, self.draws)

    def _draws(self, key: Key[Array, ""], mapped: Any, shared: OnAir, numbers: Int[Array, " d"]) -> Arrived:
        symbols = self.symbols(mapped, shared.code)
        air = sent_energy(symbols)

        def once(draw: Array) -> Arrived:
            _, key_fading, key_noise = split_keys(jax.random.fold_in(key, draw))
            gain = fade(key_fading, self.link, shared.fading, (self.realizations,), self.num_symbols)
            equalised = carry(
                key_noise, self.link, symbols, gain, shared.noise_var, pilot_filter=shared.pilot_filter
            )
            wrong, fails = self.decide(mapped, shared.code, equalised)
            lost = wrong | fails
            return Arrived(lost, jnp.any(lost, axis=-1) & ~jnp.any(fails, axis=-1), air)

        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), jax.lax.map(once, numbers))


@dataclass(frozen=True)
class Transmission(OverDraws):
    """Kernel: one frame, known to the compiler. mapped: the bytes of the payloads, [b, n]."""

    frame: Frame

    @property
    def num_symbols(self) -> int:
        return self.frame.num_symbols

    def symbols(self, mapped: UInt8[Array, "b n"], code: None) -> Complex[Array, "b s"]:
        return frame_symbols(self.frame, mapped)

    def decide(
        self, mapped: UInt8[Array, "b n"], code: None, equalised: Equalised
    ) -> tuple[Bool[Array, "b parts"], Bool[Array, "b parts"]]:
        ends = np.cumsum([part.num_bytes for part in self.frame.parts])
        sent = [bits_of_bytes(data) for data in jnp.split(mapped, ends[:-1].tolist(), axis=1)]
        found = receive_frame(self.frame, equalised)
        wrong = [jnp.any(part.bits != bits, axis=-1) for part, bits in zip(found, sent, strict=True)]
        return jnp.stack(wrong, axis=-1), jnp.stack([~part.ok for part in found], axis=-1)
