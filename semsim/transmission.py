"""The payload of the digital baseline over the air: which frames of a block of images are lost, draw by draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from channels import Fading
from phy import PilotFilter
from semsim.devices import Kernel
from semsim.energy import Sent
from semsim.energy import sent as sent_energy
from semsim.frame import Frame, bits_of_bytes, frame_symbols, send_frame
from semsim.image_runs import draws_of_piece, joined, pieces_of
from semsim.link import Link, fade, split_keys


class Arrived(NamedTuple):
    """Which frames of a block of images were lost, and what was sent of them."""

    lost: Array  # [b, draws, parts] bool: a part with a wrong bit, or that fails its checks
    unseen: Array  # [b, draws] bool: wrong bits although every check holds
    sent: Sent  # [b, draws]


@dataclass(frozen=True)
class Transmission(Kernel):
    """Kernel: the payloads of a block of images, each over `draws` independent fades and noises."""

    link: Link
    frame: Frame
    draws: int
    realizations: int

    def __call__(
        self,
        key: Key[Array, ""],
        mapped: UInt8[Array, "b n"],
        shared: tuple[Fading, Float[Array, ""], PilotFilter | None],
    ) -> Arrived:
        return self._draws(key, mapped, shared, jnp.arange(self.draws))

    @property
    def pieces(self) -> int:
        return pieces_of(self.draws)

    def piece(self, key: Key[Array, ""], mapped: Any, shared: Any, number: Int[Array, ""]) -> Arrived:
        return self._draws(key, mapped, shared, draws_of_piece(number))

    def join(self, found: Sequence[Arrived]) -> Arrived:
        return joined(found, self.draws)

    def _draws(self, key: Key[Array, ""], mapped: Any, shared: Any, numbers: Int[Array, " d"]) -> Arrived:
        fading, noise_var, pilot_filter = shared
        ends = np.cumsum([part.num_bytes for part in self.frame.parts])
        sent = [bits_of_bytes(data) for data in jnp.split(mapped, ends[:-1].tolist(), axis=1)]
        air = sent_energy(frame_symbols(self.frame, mapped))

        def once(draw: Array) -> Arrived:
            _, key_fading, key_noise = split_keys(jax.random.fold_in(key, draw))
            gain = fade(key_fading, self.link, fading, (self.realizations,), self.frame.num_symbols)
            found = send_frame(key_noise, self.link, self.frame, mapped, gain, noise_var, pilot_filter)
            wrong = [jnp.any(part.bits != bits, axis=-1) for part, bits in zip(found, sent, strict=True)]
            fails = jnp.stack([~part.ok for part in found], axis=-1)
            lost = jnp.stack(wrong, axis=-1) | fails
            return Arrived(lost, jnp.any(lost, axis=-1) & ~jnp.any(fails, axis=-1), air)

        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), jax.lax.map(once, numbers))
