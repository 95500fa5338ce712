"""What counts as a lost frame: a wrong bit in any part, or a check that fails, each on its own."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from channels import rayleigh
from phy.coding import Transported
from semsim import transmission
from semsim.codecs import Fitted
from semsim.energy import Sent
from semsim.frame import bits_of_bytes, frame
from semsim.image_runs import ImageOrder
from semsim.link import Link
from semsim.separation import _sums
from semsim.sources import Replacements, Sources
from semsim.transmission import Arrived, OnAir, Transmission

PLAN = frame(256, "qpsk", Fraction(1, 2), 2, Fraction(1, 4))

# Of each image: a wrong bit in the header, in the body; all checks of the header hold, of the body.
WRONG = np.array([[0, 0], [1, 0], [0, 1], [0, 0], [1, 1]], bool)
OK = np.array([[1, 1], [1, 1], [1, 1], [1, 0], [0, 0]], bool)


def test_a_wrong_bit_and_a_failed_check_each_lose_a_part(monkeypatch):
    data = np.random.default_rng(0).integers(0, 256, (5, PLAN.num_bytes), dtype=np.uint8)
    header = PLAN.parts[0].num_bytes

    def receive(plan, equalised):
        found = []
        for number, part in enumerate(jnp.split(data, [header], axis=1)):
            bits = bits_of_bytes(part).at[:, 7 + number].add(WRONG[:, number].astype(np.int32)) % 2
            found.append(Transported(bits, jnp.asarray(OK[:, number]), jnp.zeros((5, 1), jnp.int32)))
        return tuple(found)

    monkeypatch.setattr(transmission, "receive_frame", receive)
    kernel = Transmission(Link(), 3, 5, PLAN)
    found = kernel(jax.random.key(0), jnp.asarray(data), OnAir(rayleigh(0), jnp.float32(1), None))
    expected = np.repeat((WRONG | ~OK)[:, None], 3, axis=1)
    np.testing.assert_array_equal(found.lost, expected)
    np.testing.assert_array_equal(found.unseen[:, 0], [False, True, True, False, False])


@pytest.mark.parametrize("part", [0, 1])
def test_an_image_arrives_when_every_part_does(part):
    """One lost part loses the image, whichever it is; the counts of each part are its own."""
    images = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)

    class Perfect:
        def __init__(self, image):
            self.image = image

        def best(self, num_bytes):
            return Fitted(b"x", self.image, 1, "")

    source = Sources([Perfect(one) for one in images], 4, Replacements(images, "grey"))
    shown = ImageOrder([(16, 16)] * 3, seed=0)
    lost = np.zeros((shown.blocks, shown.block, 1, 2), bool)
    lost[0, 1, 0, part] = True
    sums, parts = _sums(
        0,
        Arrived(lost, np.zeros(lost.shape[:3], bool), Sent(*[np.ones(lost.shape[:3])] * 3)),
        shown=shown,
        source=source,
        plan=PLAN,
    )
    counts = {name: sums[name]["errors"] for name in ("outage", "header_lost", "body_lost", "unfit")}
    assert counts == {"outage": 1, "header_lost": int(part == 0), "body_lost": int(part == 1), "unfit": 0}
    assert [place for place, value in enumerate(parts["psnr"]) if value < 60] == [1]
