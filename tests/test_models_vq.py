"""Laws of the vector quantisers: the nearest codeword of the right codebook, and where the gradients go."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import nnx

import phy
from models import VectorQuantizer, perplexity

SIZES, DIMS = (4, 16, 5), (2, 4, 3)  # the last codebook's size is no power of two
ROW = jnp.array([0, 1, 2, 1, 0, 2])
VECTORS = 40


def vectors(seed: int = 0, row: jax.Array = ROW) -> jax.Array:
    """Wide enough to reach all codewords; the dimensions a row does not have are filled too."""
    return 1.5 * jax.random.normal(jax.random.key(seed), (len(row), VECTORS, max(DIMS)))


def quantizer(
    update: Literal["gradient", "ema"] = "gradient", sizes=SIZES, dims=DIMS, **settings
) -> VectorQuantizer:
    return VectorQuantizer(sizes, dims, update=update, rngs=nnx.Rngs(3), **settings)


@nnx.jit
def train(vq: VectorQuantizer, z: jax.Array, row: jax.Array):
    return vq(z, row, train=True)


@nnx.jit
def evaluate(vq: VectorQuantizer, z: jax.Array, row: jax.Array):
    return vq(z, row)


@nnx.jit
def revive(vq: VectorQuantizer, key: jax.Array, z: jax.Array, row: jax.Array) -> jax.Array:
    return vq.revive(key, z, row)


def test_nearest_codeword_of_the_row_in_its_dimensions() -> None:
    vq, z = quantizer(), vectors()
    result = evaluate(vq, z, ROW)
    codewords = np.asarray(vq.codewords[...], np.float64)
    for sample, row in enumerate(np.asarray(ROW)):
        size, dim = SIZES[row], DIMS[row]
        mine = np.asarray(z[sample, :, :dim], np.float64)
        squared = ((mine[:, None] - codewords[row, None, :size, :dim]) ** 2).sum(-1)
        np.testing.assert_array_equal(result.indices[sample], squared.argmin(-1))
        chosen = codewords[row, squared.argmin(-1), :dim]
        np.testing.assert_allclose(result.values[sample, :, :dim], chosen, atol=1e-6)
        assert np.all(np.asarray(result.values)[sample, :, dim:] == 0)
        mean = squared.min(-1).sum() / (VECTORS * max(DIMS))  # over all stored dimensions
        np.testing.assert_allclose([result.commitment[sample], result.codebook[sample]], mean, rtol=1e-5)


def test_padding_is_never_chosen_even_when_it_is_nearest() -> None:
    vq = quantizer()
    far = vq.codewords[...] + 10 * jnp.asarray(vq._used_dims())[:, None, :]
    exists = jnp.asarray(np.arange(max(SIZES)) < np.asarray(SIZES)[:, None])
    vq.codewords[...] = jnp.where(exists[..., None], far, 0.0)  # the padding stays at the origin
    indices = np.asarray(evaluate(vq, jnp.zeros((len(ROW), 2, max(DIMS))), ROW).indices)
    assert np.all(indices < np.asarray(SIZES)[np.asarray(ROW)][:, None])


def test_what_is_sent_is_what_training_assigned() -> None:
    """`nearest` does not look at dimensions the row does not have, whatever training has put into the codewords there."""
    vq, z = quantizer(), vectors()
    vq.codewords[...] += 0.5 * jax.random.normal(jax.random.key(1), vq.codewords.shape)
    sent = nnx.jit(lambda vq, z: vq.nearest(z, ROW))(vq, z)
    np.testing.assert_array_equal(sent, evaluate(vq, z, ROW).indices)


def test_lookup_and_expectation_are_the_receivers_half() -> None:
    vq, z = quantizer(), vectors()
    result = evaluate(vq, z, ROW)
    np.testing.assert_allclose(vq.lookup(result.indices, ROW), result.values, atol=1e-6)
    certain = jax.nn.one_hot(result.indices, max(SIZES))
    np.testing.assert_allclose(vq.expectation(certain, ROW), vq.lookup(result.indices, ROW), atol=1e-6)
    posterior = np.random.default_rng(0).dirichlet(np.ones(4), (1, 3))
    padded = np.pad(posterior, ((0, 0), (0, 0), (0, max(SIZES) - 4)))
    expected = posterior[0] @ np.asarray(vq.codewords[...], np.float64)[0, :4]
    got = vq.expectation(jnp.asarray(padded, jnp.float32), jnp.array([0]))
    np.testing.assert_allclose(got[0], expected, atol=1e-6)


def test_gradients_go_where_they_are_told() -> None:
    """Straight-through to z; the commitment moves z alone, the codebook term the codewords alone."""
    vq, z = quantizer(), vectors()
    weight = jax.random.normal(jax.random.key(2), z.shape)
    graph, params, rest = nnx.split(vq, nnx.Param, ...)

    @jax.jit
    def gradients(params, z):
        def value(pick):
            def inner(params, z):
                return pick(nnx.merge(graph, params, rest, copy=True)(z, ROW))

            return jax.grad(inner, argnums=(0, 1))(params, z)

        through = value(lambda q: jnp.sum(weight * q.values))
        return through, value(lambda q: jnp.sum(q.commitment)), value(lambda q: jnp.sum(q.codebook))

    through, commitment, codebook = gradients(params, z)
    result = evaluate(vq, z, ROW)
    used = np.asarray(vq._used_dims())[np.asarray(ROW)][:, None, :]
    np.testing.assert_array_equal(through[1], weight * used)
    reached = np.zeros(
        vq.codewords.shape
    )  # the codewords learn from whoever reads the values, each from its own uses
    for sample, row in enumerate(np.asarray(ROW)):
        np.add.at(reached[row], np.asarray(result.indices[sample]), np.asarray(weight[sample]))
    for row, (size, dim) in enumerate(zip(SIZES, DIMS, strict=True)):
        got = np.asarray(through[0]["codewords"][...])[row]
        np.testing.assert_allclose(got[:size, :dim], reached[row, :size, :dim], atol=1e-5)
        assert np.all(got[size:] == 0)
    pull = 2 * (np.asarray(z) * used - np.asarray(vq.lookup(result.indices, ROW))) / (VECTORS * max(DIMS))
    np.testing.assert_allclose(commitment[1], pull, atol=1e-7)
    assert np.all(np.asarray(codebook[1]) == 0)
    assert np.all(np.asarray(commitment[0]["codewords"][...]) == 0)
    expected = np.zeros(vq.codewords.shape)
    for sample, row in enumerate(np.asarray(ROW)):
        np.add.at(expected[row], np.asarray(result.indices[sample]), -pull[sample])
    np.testing.assert_allclose(codebook[0]["codewords"][...], expected, atol=1e-6)


def test_usage_sums_to_one_per_row_present() -> None:
    vq, present = quantizer(), jnp.array([0, 0, 2])
    z = vectors()[:3]
    before = np.asarray(vq.count[...])
    result = train(vq, z, present)
    usage = np.asarray(result.usage)
    np.testing.assert_allclose(usage.sum(-1), [1, 0, 1], atol=1e-6)
    for row in (0, 2):
        hits = np.asarray(result.indices)[np.asarray(present) == row].ravel()
        np.testing.assert_allclose(usage[row], np.bincount(hits, minlength=max(SIZES)) / hits.size, atol=1e-6)
        np.testing.assert_allclose(vq.count[...][row], 0.99 * before[row] + 0.01 * usage[row], atol=1e-6)
    np.testing.assert_array_equal(vq.count[...][1], before[1])


def test_imbalance_is_the_distance_of_the_soft_usage_from_uniform() -> None:
    """KL divergence in nats against float64; zero for a row without vectors; its gradient spares the padding."""
    vq, present = quantizer(), jnp.array([0, 2, 2])
    z = vectors()[:3]
    got = np.asarray(evaluate(vq, z, present).imbalance)
    codewords = np.asarray(vq.codewords[...], np.float64)
    for row in (0, 2):
        size, dim = SIZES[row], DIMS[row]
        mine = np.asarray(z, np.float64)[np.asarray(present) == row][..., :dim].reshape(-1, dim)
        share = scipy.special.softmax(-((mine[:, None] - codewords[row, :size, :dim]) ** 2).sum(-1), -1).mean(
            0
        )
        np.testing.assert_allclose(got[row], np.sum(share * np.log(share * size)), rtol=1e-4)
    assert got[1] == 0
    graph, params, rest = nnx.split(vq, nnx.Param, ...)

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sum(nnx.merge(graph, params, rest, copy=True)(z, present).imbalance)

    pull = np.asarray(gradient(params)["codewords"][...])
    assert np.all(np.isfinite(pull)) and np.all(pull[1] == 0)
    for row in (0, 2):
        assert np.all(pull[row, : SIZES[row], : DIMS[row]] != 0) and np.all(pull[row, SIZES[row] :] == 0)


def test_imbalance_of_one_codeword_and_of_all() -> None:
    vq = quantizer(sizes=(4,), dims=(2,), init="gray")
    vq.codewords[...] *= 5
    corners, row = vq.codewords[...], jnp.array([0])
    np.testing.assert_allclose(evaluate(vq, corners, row).imbalance, 0, atol=1e-6)
    np.testing.assert_allclose(evaluate(vq, corners[:, :1], row).imbalance, np.log(4), rtol=1e-5)


def clusters(count: int = 8, dim: int = 4, samples: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Tight clusters, one for each corner that the bits of the first `count` indices name, each at its own distance."""
    rng = np.random.default_rng(1)
    bits = np.arange(count)[:, None] >> np.arange(dim - 1, -1, -1) & 1
    centres = (1 - 2 * bits) * rng.uniform(0.8, 2.5, (count, dim))
    points = centres[:, None] + 0.05 * rng.standard_normal((count, samples, dim))
    return points.reshape(1, -1, dim).astype(np.float32), points.mean(1)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_codewords_find_the_cluster_means(update: Literal["gradient", "ema"]) -> None:
    points, means = clusters()
    z, row = jnp.asarray(points), jnp.array([0])
    vq = quantizer(update, (16,), (4,), init="gray", decay=0.9)
    start = np.asarray(vq.codewords[...])
    graph, params, rest = nnx.split(vq, nnx.Param, ...)

    @jax.jit
    def step(_, state):
        params, rest = state

        def loss(params):
            live = nnx.merge(graph, params, rest, copy=True)
            return live(z, row, train=True).codebook[0], nnx.state(live, nnx.BatchStat)

        grads, rest = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 4.0 * g, params, grads), rest

    moved = nnx.merge(graph, *jax.lax.fori_loop(0, 150, step, (params, rest)))
    codewords = np.asarray(moved.codewords[...])[0]
    np.testing.assert_allclose(codewords[:8], means, atol=0.01)
    np.testing.assert_array_equal(codewords[8:], start[0, 8:])  # nobody's codewords stay
    assert isinstance(vq.codewords, nnx.Param) == (update == "gradient")


def test_ema_is_the_running_mean_of_sums_over_counts() -> None:
    """Two unlike batches against the textbook recursion in float64: N <- d N + (1-d) n, m <- d m + (1-d) sum."""
    vq = quantizer("ema", (4,), (2,), decay=0.7)
    codewords = np.asarray(vq.codewords[...], np.float64)[0]
    count = np.full(4, 0.25)
    sums = codewords * count[:, None]
    for seed in (0, 1):
        z = np.asarray(vectors(seed)[:3, :, :2], np.float64)
        points = z.reshape(-1, 2)
        index = ((points[:, None] - sums / count[:, None]) ** 2).sum(-1).argmin(-1)
        member = np.eye(4)[index] / len(points)
        count = 0.7 * count + 0.3 * member.sum(0)
        sums = 0.7 * sums + 0.3 * member.T @ points
        train(vq, jnp.asarray(z, jnp.float32), jnp.zeros(3, jnp.int32))
        codewords = sums / count[:, None]
        np.testing.assert_allclose(vq.codewords[...][0], codewords, atol=1e-5)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_revival_moves_the_dead_codewords_of_rows_present(update: Literal["gradient", "ema"]) -> None:
    vq = quantizer(update)
    dead = {0: [1], 1: [0, 7], 2: [4]}
    for row, codes in dead.items():
        vq.count[...] = vq.count[...].at[row, jnp.asarray(codes)].set(1e-4)
    before, count = np.asarray(vq.codewords[...]), np.asarray(vq.count[...])
    row, z = jnp.array([1, 0, 1]), vectors()[:3]  # row 2 is absent
    moved = revive(vq, jax.random.key(0), z, row)
    np.testing.assert_array_equal(moved, [1, 2, 0])
    after = np.asarray(vq.codewords[...])
    changed = np.any(after != before, axis=-1)
    expected = np.zeros_like(changed)
    for present in (0, 1):
        expected[present, dead[present]] = True
        pool = np.asarray(z)[np.asarray(row) == present].reshape(-1, max(DIMS))
        for code in dead[present]:
            fresh = after[present, code]
            assert np.all(fresh[DIMS[present] :] == 0)
            assert np.any(np.all(pool[:, : DIMS[present]] == fresh[: DIMS[present]], axis=-1)), (
                "a vector of the row"
            )
            np.testing.assert_allclose(vq.count[...][present, code], 1 / SIZES[present])
    np.testing.assert_array_equal(changed, expected)
    np.testing.assert_array_equal(vq.count[...][2], count[2])


def test_nothing_fresh_is_dead() -> None:
    np.testing.assert_array_equal(
        revive(quantizer(), jax.random.key(0), vectors(), ROW), np.zeros(len(SIZES))
    )


def test_perplexity_counts_the_codewords_in_use() -> None:
    usage = np.zeros((4, 16), np.float32)
    usage[0] = 1 / 16  # uniform
    usage[1, 3] = 1  # one codeword
    usage[2, :5] = 1 / 5
    usage[3, :2] = 0.9, 0.1
    expected = [16, 1, 5, np.exp(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))]
    np.testing.assert_allclose(perplexity(jnp.asarray(usage)), expected, rtol=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_gray_start_in_two_dimensions_is_the_qam_of_the_same_labels(bits: int) -> None:
    """3GPP TS 38.211 section 5.1, at unit energy per dimension instead of per symbol."""
    codewords = np.asarray(quantizer(sizes=(2**bits,), dims=(2,), init="gray").codewords[...])[0]
    points = np.asarray(phy.qam(bits).modulate(jnp.arange(2**bits)))
    np.testing.assert_allclose(codewords @ np.array([1, 1j]), np.sqrt(2) * points, atol=1e-5)


def test_gray_start_uses_uniform_levels_whose_neighbours_differ_in_one_bit() -> None:
    sizes, dims = (2, 4, 16, 64, 256), (1, 2, 1, 3, 8)
    codewords = np.asarray(quantizer(sizes=sizes, dims=dims, init="gray").codewords[...], np.float64)
    for row, (size, dim) in enumerate(zip(sizes, dims, strict=True)):
        own = codewords[row, :size, :dim]
        assert np.all(codewords[row, size:] == 0) and np.all(codewords[row, :, dim:] == 0)
        assert len(np.unique(own.round(4), axis=0)) == size
        np.testing.assert_allclose([own.mean(0), (own**2).mean(0)], [np.zeros(dim), np.ones(dim)], atol=1e-6)
        assert (
            np.all(own[0] > 0) and own[size // 2, 0] < 0
        )  # the most significant bit is the sign of dimension 0
        distance = ((own[:, None] - own[None]) ** 2).sum(-1) + 1e9 * np.eye(size)
        neighbours = np.argwhere(distance < distance.min() + 1e-4)
        assert len(neighbours) == 2 * dim * (
            size - size // round(size ** (1 / dim))
        )  # edges of a full grid, both ways
        np.testing.assert_array_equal(np.bitwise_count(neighbours[:, 0] ^ neighbours[:, 1]), 1)


@pytest.mark.parametrize(
    ("sizes", "dims", "settings", "message"),
    [
        ((), (), {}, "at least 2 codewords of at least 1 dimension"),
        ((4, 8), (2,), {}, r"one size and one dimension per row; got sizes \(4, 8\) and dimensions \(2,\)"),
        ((1,), (2,), {}, r"got sizes \(1,\)"),
        ((4,), (0,), {}, r"dimensions \(0,\)"),
        (
            (4,),
            (3,),
            {"init": "gray"},
            r"init='gray' needs 2\*\*\(dim \* whole number\) codewords .* got 4 of dimension 3",
        ),
    ],
)
def test_wrong_settings_are_refused(sizes, dims, settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VectorQuantizer(sizes, dims, **settings, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": "kmeans"}, "init must be 'normal' or 'gray'; got 'kmeans'"),
        ({"update": "EMA"}, "update must be 'gradient' or 'ema'; got 'EMA'"),
    ],
)
def test_unknown_words_are_refused(settings, message: str) -> None:
    checked = f"Actual value: '{message.split(chr(39))[-2]}'"  # run with --jaxtyping-packages, the annotation speaks first
    with pytest.raises((ValueError, TypeError), match=f"{message}|{checked}"):
        VectorQuantizer((4,), (2,), **settings, rngs=nnx.Rngs(0))
