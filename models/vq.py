"""Vector quantisation with one codebook per row, the row chosen by a traced index per sample."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key


class Quantised(NamedTuple):
    """What a quantiser returns. B batch, N vectors, D dimension, R codebooks, K size of the largest one."""

    values: Array  # [b, n, d] the codewords, straight-through to z
    indices: Array  # [b, n] integer
    # Squared distances, mean over all n d stored numbers: a codebook of dimension d_r weighs d_r / d as much.
    commitment: Array  # [b] of z to its (constant) codeword: pulls the encoder
    codebook: Array  # [b] of the codeword to (constant) z: pulls the codebook
    usage: Array  # [r, k] share of each codeword among the vectors of that row; a row without vectors is zero
    imbalance: Array  # [r] how far the soft usage is from uniform, in nats; 0 for a row without vectors


class VectorQuantizer(nnx.Module):
    """Nearest codeword in Euclidean distance (van den Oord et al., arXiv 1711.00937).

    `sizes[r]` codewords of dimension `dims[r]` in codebook r, stored padded to the largest size and dimension. Padded
    codewords are never chosen. Padded dimensions of the vectors count as zero; those of the codewords start at zero, and
    under "gradient" they learn what helps whoever reads the values. One codebook: `sizes=(512,), dims=(32,)`.

    init: "normal" draws the codewords from N(0, I). "gray" makes the quantiser start as d scalar ones of equal, uniform
    levels, every codeword in use: bit j of the index (most significant first) belongs to dimension j mod d, and the bits of
    a dimension number its levels as the Gray labels of a 3GPP PAM do. With d = 2 codeword i is then the QAM point of label
    i, to scale, so a neighbour on the air is a neighbour in the codebook. The size must be 2^(d * whole number).

    update: "gradient" learns the codewords as parameters, from the codebook loss and from whatever is computed from the
    returned values. "ema" keeps them as statistics that follow the running mean of the vectors assigned to them
    (decay 0.99) and gives them no gradient.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        dims: tuple[int, ...],
        *,
        init: Literal["normal", "gray"] = "normal",
        update: Literal["gradient", "ema"] = "gradient",
        decay: float = 0.99,
        rngs: nnx.Rngs,
    ):
        if not sizes or len(sizes) != len(dims) or min(sizes) < 2 or min(dims) < 1:
            raise ValueError(
                f"a codebook needs at least 2 codewords of at least 1 dimension, one size and one dimension per row; "
                f"got sizes {sizes} and dimensions {dims}"
            )
        if update not in ("gradient", "ema"):
            raise ValueError(f"update must be 'gradient' or 'ema'; got {update!r}")
        kind = nnx.Param if update == "gradient" else nnx.BatchStat
        shape = (len(sizes), max(sizes), max(dims))
        self.sizes = tuple(sizes)
        self.dims = tuple(dims)
        if init == "gray":
            codewords = jnp.asarray(_gray_levels(self.sizes, self.dims))
        elif init == "normal":
            codewords = jax.random.normal(rngs.params(), shape)
        else:
            raise ValueError(f"init must be 'normal' or 'gray'; got {init!r}")
        self.codewords = kind(codewords * self._used_dims()[:, None, :])
        self.count = nnx.BatchStat(jnp.ones(shape[:2]) * self._uniform(sizes))  # running share of use
        self.update = update
        self.decay = decay

    def _used_dims(self) -> np.ndarray:
        """[r, d]: one where codebook r has that dimension."""
        return (np.arange(max(self.dims)) < np.asarray(self.dims)[:, None]).astype(np.float32)

    @staticmethod
    def _uniform(sizes: tuple[int, ...]) -> np.ndarray:
        exists = np.arange(max(sizes)) < np.asarray(sizes)[:, None]
        return (exists / np.asarray(sizes)[:, None]).astype(np.float32)

    def __call__(self, z: Float[Array, "b n d"], row: Int[Array, " b"], *, train: bool = False) -> Quantised:
        """Quantises sample b with codebook `row[b]`. `train` moves the running usage (and the codewords under "ema")."""
        z = self._masked(z, row)
        distance = self._distances(z, row)
        indices = jnp.argmin(distance, axis=-1)
        rows, size, _ = self.codewords.shape
        member = jax.nn.one_hot(row, rows, dtype=z.dtype)  # [b, r]
        hits = jax.nn.one_hot(indices, size, dtype=z.dtype)  # [b, n, k]
        counts = jnp.einsum("br,bnk->rk", member, hits)
        total = jnp.sum(counts, axis=-1, keepdims=True)
        usage = counts / jnp.maximum(total, 1)
        chosen = self.lookup(indices, row)
        if train:
            self._move(jax.lax.stop_gradient(z), member, hits, usage, total > 0)
        fixed_z, fixed_code = jax.lax.stop_gradient(z), jax.lax.stop_gradient(chosen)
        return Quantised(
            values=z + (chosen - fixed_z),
            indices=indices,
            commitment=jnp.mean((z - fixed_code) ** 2, axis=(1, 2)),
            codebook=jnp.mean((chosen - fixed_z) ** 2, axis=(1, 2)),
            usage=usage,
            imbalance=self._imbalance(distance, member, total[:, 0] > 0),
        )

    def nearest(self, z: Float[Array, "b n d"], row: Int[Array, " b"]) -> Int[Array, "b n"]:
        """Index of the nearest codeword of codebook `row[b]`, always below that codebook's size.

        Padded dimensions of z do not matter.
        """
        return jnp.argmin(self._distances(self._masked(z, row), row), axis=-1)

    def _masked(self, z, row):
        return z * jnp.asarray(self._used_dims())[row][:, None, :]

    def _distances(self, z, row):
        """[b, n, k] squared distances to the codewords, less |z|^2 which is common to all; infinite for padding."""
        exists = jnp.asarray(np.arange(max(self.sizes)) < np.asarray(self.sizes)[:, None])
        energy = jnp.where(exists, jnp.sum(self.codewords[...] ** 2, axis=-1), jnp.inf)  # [r, k]
        # HIGHEST: an accelerator would round the operands, and a rounded distance chooses another codeword.
        products = jnp.einsum(
            "bnd,bkd->bnk", z, self.codewords[...][row], precision=jax.lax.Precision.HIGHEST
        )
        return energy[row][:, None, :] - 2 * products

    def _imbalance(self, distance, member, present):
        """KL divergence of the usage from uniform, with each vector shared softly (softmax of -distance) so that it has a
        gradient. An index is sent at a fixed price, so a codeword that is hardly used is rate wasted."""
        soft = jax.nn.softmax(-distance, axis=-1)
        counts = jnp.einsum("br,bnk->rk", member, soft)
        share = counts / jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1e-9)
        entropy = -jnp.sum(share * jnp.log(jnp.maximum(share, 1e-9)), axis=-1)
        return jnp.where(present, jnp.log(jnp.asarray(self.sizes, share.dtype)) - entropy, 0.0)

    def lookup(self, indices: Int[Array, "b n"], row: Int[Array, " b"]) -> Float[Array, "b n d"]:
        """The codewords of received indices: the receiver's half."""
        return self.codewords[...][row[:, None], indices]

    def expectation(self, posterior: Float[Array, "b n k"], row: Int[Array, " b"]) -> Float[Array, "b n d"]:
        """Posterior mean of the codeword, sum_k P(k | received) e_k: soft index decoding."""
        return jnp.einsum("bnk,bkd->bnd", posterior, self.codewords[...][row])

    def _move(
        self,
        z: Float[Array, "b n d"],
        member: Float[Array, "b r"],
        hits: Float[Array, "b n k"],
        usage: Float[Array, "r k"],
        present: Bool[Array, "r 1"],
    ) -> None:
        # Running usage first; "ema" codewords are cumulative means with the decayed counts as weights.
        old = self.count[...]
        self.count[...] = jnp.where(present, self.decay * old + (1 - self.decay) * usage, old)
        if self.update == "ema":
            sums = jnp.einsum("br,bnk,bnd->rkd", member, hits, z)
            means = sums / jnp.maximum(jnp.einsum("br,bnk->rk", member, hits), 1)[..., None]
            step = jnp.where(usage > 0, (1 - self.decay) * usage / jnp.maximum(self.count[...], 1e-9), 0.0)
            self.codewords[...] = self.codewords[...] + jnp.minimum(step, 1.0)[..., None] * (
                jnp.where((usage > 0)[..., None], means - self.codewords[...], 0.0)
            )

    def revive(
        self, key: Key[Array, ""], z: Float[Array, "b n d"], row: Int[Array, " b"], *, threshold: float = 0.03
    ) -> Int[Array, " r"]:
        """Moves codewords used less than `threshold` times their fair share onto random vectors of their row.

        Returns how many were moved, per codebook. Call it in training only; a row absent from the batch is left alone.
        """
        rows, size, _ = self.codewords.shape
        fair = jnp.asarray(self._uniform(self.sizes))
        present = jnp.sum(jax.nn.one_hot(row, rows, dtype=jnp.int32), axis=0) > 0
        dead = (self.count[...] < threshold * fair) & present[:, None]
        key_sample, key_vector = jax.random.split(key)
        # A sample of the right row: the largest of random scores that are zero outside the row.
        score = jax.random.uniform(key_sample, (rows, size, row.shape[0]), minval=0.1)
        sample = jnp.argmax(score * (row[None, None, :] == jnp.arange(rows)[:, None, None]), axis=-1)
        vector = jax.random.randint(key_vector, (rows, size), 0, z.shape[1])
        fresh = jax.lax.stop_gradient(z)[sample, vector] * self._used_dims()[:, None, :]
        self.codewords[...] = jnp.where(dead[..., None], fresh, self.codewords[...])
        self.count[...] = jnp.where(dead, fair, self.count[...])
        return jnp.sum(dead, axis=-1)


def _gray_levels(sizes: tuple[int, ...], dims: tuple[int, ...]) -> np.ndarray:
    codewords = np.zeros((len(sizes), max(sizes), max(dims)), np.float32)
    for r, (size, dim) in enumerate(zip(sizes, dims, strict=True)):
        width = (size.bit_length() - 1) // dim
        if size != 2 ** (width * dim):
            raise ValueError(
                f"init='gray' needs 2**(dim * whole number) codewords in every codebook; got {size} of dimension {dim}"
            )
        index = np.arange(size)
        for d in range(dim):
            label = np.zeros(size, int)
            for j in range(d, width * dim, dim):  # most significant bit first
                label = 2 * label + (index >> (width * dim - 1 - j) & 1)
            place = label ^ (
                2 ** (width - 1) - 1
            )  # 3GPP: the reflected Gray code but for its first bit's complement
            for shift in range(1, width):
                place = place ^ ((label ^ (2 ** (width - 1) - 1)) >> shift)
            levels = 2**width
            codewords[r, :size, d] = (levels - 1 - 2 * place) * np.sqrt(3 / (levels**2 - 1))
    return codewords


def perplexity(usage: Float[Array, "... k"]) -> Float[Array, "..."]:
    """exp(entropy of the usage): the effective number of codewords in use, between 1 and K (1 too for a row without any)."""
    return jnp.exp(
        -jnp.sum(jnp.where(usage > 0, usage * jnp.log(jnp.where(usage > 0, usage, 1.0)), 0.0), axis=-1)
    )
