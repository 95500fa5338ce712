"""The link: one path for every payload, equal to what it is made of, and blind to the source."""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import channels
import phy
from phy import ResourceGrid
from semsim import link as air
from semsim import theory
from semsim.antennas import Antennas
from semsim.link import Link, carry, declared, detect, fade, mean_snr, send_labels, send_symbols
from semsim.payload import Symbols
from semsim.stats import FOUR_SIGMA, mean_interval, proportion_interval, ratio_interval

GRID = ResourceGrid(4, 16, 4, pilot_ofdm_symbol_indices=(0, 3))
KEY = jax.random.key(7)


def axes(grid):
    return {"frequencies": grid.frequencies, "times": grid.times}


def knowledge(link, fading):
    """What the receiver of a link is told of a fading."""
    if link.csi == "perfect":
        return None
    if link.csi == "ls":
        return phy.ls_filter(link.grid, channels.waveforms(fading))
    return phy.lmmse_filter(link.grid, *channels.covariance(fading))


def random_labels(key, bits, shape):
    return jax.random.randint(key, shape, 0, 2**bits)


@pytest.mark.parametrize("link", [Link(), Link(GRID), Link(GRID, csi="ls")])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_without_noise_every_link_is_transparent(link, bits):
    labels = random_labels(KEY, bits, (5, 30))
    fading = channels.rayleigh(0) if link.grid is None else channels.grid_rayleigh(**axes(GRID))
    gain = fade(KEY, link, fading, (5,), 30)
    known = knowledge(link, fading)
    found = send_labels(KEY, link, labels, phy.qam(bits), gain, jnp.float32(1e-12), known)
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize(
    "grid",
    [None, GRID, ResourceGrid(3, 64, 16), ResourceGrid(2, 20, 0, num_guard_carriers=(3, 4), dc_null=True)],
)
def test_awgn_over_any_grid_equals_a_single_carrier(grid):
    """conventions: OFDM over AWGN has the error rate of the closed form, whatever the FFT size."""
    symbols = 1000 if grid is None else grid.num_data_symbols
    batch = 200_000 // symbols
    labels = random_labels(KEY, 4, (batch, symbols))
    fading = channels.no_fading() if grid is None else channels.grid_awgn(**axes(grid))
    link = Link(grid)

    @jax.jit
    def wrong(key):
        gain = fade(key, link, fading, (batch,), symbols)
        return jnp.sum(
            send_labels(key, link, labels, phy.qam(4), gain, phy.esnodb2no(jnp.float32(12.0))) != labels
        )

    interval = proportion_interval(int(wrong(KEY)), batch * symbols, FOUR_SIGMA)
    assert interval.low < float(theory.ser("qam16", 12.0)) < interval.high


def test_noise_variance_may_differ_per_transmission():
    noise_var = jnp.asarray([1e-6, 0.5])
    symbols = phy.qam(2).modulate(random_labels(KEY, 2, (2, 4000)))
    equalised = carry(KEY, Link(), symbols, jnp.ones((2, 1), jnp.complex64), noise_var)
    measured = np.mean(np.abs(np.asarray(equalised.symbols - symbols)) ** 2, axis=1)
    np.testing.assert_allclose(
        measured, [1e-6, 0.5], rtol=4 / np.sqrt(4000)
    )  # 4 sigma of an exponential mean
    np.testing.assert_allclose(equalised.noise_var[:, 0], noise_var, rtol=1e-6)


def test_app_and_nearest_differ_only_where_theory_says():
    """Bitwise decisions have fewer bit errors at low SNR; nearest-point ones fewer symbol errors."""
    labels = random_labels(KEY, 6, (64, 2000))
    gain = jnp.ones((64, 1), jnp.complex64)
    equalised = carry(KEY, Link(), phy.qam(6).modulate(labels), gain, jnp.float32(1.0))
    errors = {
        demap: detect(Link(demap=demap), phy.qam(6), equalised) for demap in ("nearest", "app")
    }  # same noise: a paired comparison
    bits = {name: int(jnp.sum(phy.count_bit_errors(labels, found))) for name, found in errors.items()}
    symbols = {name: int(jnp.sum(labels != found)) for name, found in errors.items()}
    assert bits["app"] < bits["nearest"]
    assert symbols["nearest"] < symbols["app"]


def test_the_gain_is_known_before_sending_and_sets_the_snr():
    link = Link(GRID)
    fading = channels.grid_rayleigh(**axes(GRID))
    gain = fade(KEY, link, fading, (3,), 20)
    np.testing.assert_allclose(
        mean_snr(gain, jnp.float32(0.1)), np.abs(np.asarray(gain[:, 0, 0])) ** 2 / 0.1, rtol=1e-5
    )


def test_the_receiver_sees_the_source_only_through_the_air():
    """Zero gain: nothing crosses, and the equalised symbols have no derivative with respect to what was sent."""
    symbols = phy.qam(4).modulate(random_labels(KEY, 4, (2, 30)))

    def received(scale, gain):
        return carry(KEY, Link(GRID), scale * symbols, gain, jnp.float32(0.1)).symbols

    open_gain, closed = jnp.ones((2, 4, 16), jnp.complex64), jnp.zeros((2, 4, 16), jnp.complex64)
    one = jnp.float32(1.0)
    _, through = jax.jvp(lambda s: received(s, open_gain), (one,), (one,))
    _, blocked = jax.jvp(lambda s: received(s, closed), (one,), (one,))
    assert float(jnp.max(jnp.abs(through))) > 0.1
    assert float(jnp.max(jnp.abs(blocked))) == 0.0


def test_analogue_symbols_get_the_estimate_of_least_error():
    """y conj(h) / (|h|^2 + N0), which is nearer to what was sent than y / h."""
    symbols, noise_var = phy.qam(4).modulate(random_labels(KEY, 4, (2, 40))), 0.5
    gain = jnp.asarray([[0.6 + 0.3j], [0.2 - 1.1j]], jnp.complex64)
    y = channels.awgn(KEY, gain * symbols, jnp.float32(noise_var))
    expected = np.asarray(y * gain.conj()) / (np.abs(gain) ** 2 + noise_var)
    found = send_symbols(KEY, Link(), Symbols(symbols), gain, jnp.float32(noise_var)).values
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_labels_are_uniform_over_a_modulation_of_any_size():
    for bits in (1, 2, 8):
        labels = np.asarray(air.random_labels(KEY, phy.qam(bits, 8), (4, 4001)))
        assert labels.shape == (4, 4001) and labels.min() == 0 and labels.max() == 2**bits - 1
        counts = np.bincount(labels.ravel())
        mean = labels.size / 2**bits
        assert np.all(np.abs(counts - mean) < 5 * np.sqrt(mean))  # of 256 counts one may be beyond 4 sigma


def test_impossible_links_are_refused():
    with pytest.raises(ValueError, match="csi must be one of perfect, ls, lmmse, robust; got 'genie'"):
        Link(csi="genie")
    with pytest.raises(ValueError, match="demap must be nearest or app; got 'soft'"):
        Link(demap="soft")
    with pytest.raises(ValueError, match="needs a resource grid that has some"):
        Link(csi="ls")
    with pytest.raises(ValueError, match="needs a resource grid that has some"):
        Link(ResourceGrid(2, 8), csi="ls")
    with pytest.raises(ValueError, match="the grid holds 32 data symbols; the payload has 33"):
        carry(KEY, Link(GRID), jnp.ones((1, 33), jnp.complex64), jnp.ones((1, 4, 16)), jnp.float32(1.0))


FAST = ResourceGrid(14, 12, 3, pilot_ofdm_symbol_indices=(2, 11))


def fast_fading():
    """350 Hz and delays up to 5 us on `FAST`."""
    return channels.tdl("tdl-a", delay_spread=500e-9, carrier_frequency=3.5e9, speed=30.0, **axes(FAST))


@pytest.mark.parametrize("antennas", [Antennas(), Antennas(1, 3, "mrc")], ids=["one", "mrc"])
@pytest.mark.parametrize("noise_var", [1e-4, 0.05])
def test_the_receiver_counts_its_own_error_as_noise(antennas, noise_var):
    """Given a least-mean-square estimate the error of the gain is independent of it: QPSK, equalised, errs in the mean
    square by exactly the noise variance that is handed on."""
    link, fading, frames = Link(FAST, "lmmse", antennas=antennas), fast_fading(), 2048
    known = knowledge(link, fading)

    @jax.jit
    def ratio(key):
        key_source, key_fading, key_noise = jax.random.split(key, 3)
        symbols = phy.qam(2).modulate(random_labels(key_source, 2, (frames, FAST.num_data_symbols)))
        gain = fade(key_fading, link, fading, (frames,), FAST.num_data_symbols)
        found = carry(key_noise, link, symbols, gain, jnp.float32(noise_var), pilot_filter=known)
        return jnp.mean(jnp.abs(found.symbols - symbols) ** 2 / found.noise_var, axis=-1)

    values = np.asarray(ratio(KEY), np.float64)
    interval = mean_interval(values.size, values.sum(), (values**2).sum(), FOUR_SIGMA)
    assert interval.low < 1 < interval.high and interval.high - interval.low < 0.2


@pytest.mark.parametrize("csi", ["ls", "lmmse"])
@pytest.mark.parametrize("branches", [1, 3])
def test_the_noise_after_equalisation_is_n0_and_the_error_over_the_power_of_the_estimate(csi, branches):
    """(N0 + error_var) / sum |estimate|^2 at every data symbol, whatever the number of antennas; analogue payloads get the
    error of the biased estimate."""
    antennas = Antennas(1, branches, "mrc" if branches > 1 else "none")
    link, fading, noise_var = Link(FAST, csi, antennas=antennas), fast_fading(), jnp.float32(1e-4)
    symbols = phy.qam(4).modulate(random_labels(KEY, 4, (2, FAST.num_data_symbols)))
    gain = fade(KEY, link, fading, (2,), FAST.num_data_symbols)
    rows = gain.reshape(2, branches, 14, 12)
    sent = phy.place(FAST, symbols)
    rng = jax.random.fold_in(KEY, 0x616E74)  # the antennas draw their noise one by one
    keys = [KEY] if branches == 1 else [jax.random.fold_in(rng, i) for i in range(branches)]
    y = jnp.stack([channels.awgn(key, rows[:, i] * sent, noise_var) for i, key in enumerate(keys)], axis=1)
    known = knowledge(link, fading)
    estimate = (
        phy.ls_estimate(FAST, y, noise_var, known)
        if csi == "ls"
        else phy.lmmse_estimate(FAST, known, y, noise_var)
    )
    noise = noise_var + np.broadcast_to(estimate.error_var, y.shape)[:, 0]
    power = np.sum(np.abs(np.asarray(estimate.gain)) ** 2, axis=1)
    assert np.max(noise) > 10 * noise_var
    for unbiased, expected in ((True, noise / power), (False, noise / (power + noise))):
        found = carry(KEY, link, symbols, gain, noise_var, pilot_filter=known, unbiased=unbiased)
        np.testing.assert_allclose(found.noise_var, phy.take(FAST, expected), rtol=1e-4)


def test_soft_bits_of_ls_say_more_the_less_noise_there_is():
    """Mean -log2 P(bit) of 256-QAM over a fast channel, the same fades and noise at every SNR. A receiver that does not know
    its error of interpolation gets worse from 35 dB on, until its soft bits say less than nothing."""
    link, fading, frames = Link(FAST, "ls"), fast_fading(), 512
    unaware = phy.LsFilter(jnp.zeros((14, 12)))
    modulation = phy.qam(8)

    @jax.jit
    def surprise(noise_var, known):
        key_source, key_fading, key_noise = jax.random.split(KEY, 3)
        labels = random_labels(key_source, 8, (frames, FAST.num_data_symbols))
        gain = fade(key_fading, link, fading, (frames,), FAST.num_data_symbols)
        found = carry(key_noise, link, modulation.modulate(labels), gain, noise_var, pilot_filter=known)
        llr = modulation.llr(found.symbols, found.noise_var)
        wrong = jnp.where(phy.label_bits(labels, 8, 8) == 1, -llr, llr)
        return jnp.mean(jax.nn.softplus(wrong)) / jnp.log(2.0)

    decibels = (35, 40, 50, 60)
    aware, blind = (
        [float(surprise(jnp.float32(10 ** (-snr / 10)), known)) for snr in decibels]
        for known in (knowledge(link, fading), unaware)
    )
    assert all(later < earlier for earlier, later in zip(aware, aware[1:], strict=False)), aware
    assert aware[-1] < 0.2 < 1 < blind[-1], blind


def test_a_receiver_that_estimates_is_told_what_its_rule_needs():
    symbols, gain, n = jnp.ones((1, 32), jnp.complex64), jnp.ones((1, 4, 16), jnp.complex64), jnp.float32(0.1)
    flat = channels.grid_awgn(**axes(GRID))
    for csi, other in (("ls", "lmmse"), ("lmmse", "ls"), ("robust", "ls")):
        for known in (None, knowledge(Link(GRID, csi=other), flat)):
            with pytest.raises(ValueError, match=f"csi {csi} needs the pilot_filter of its grid and channel"):
                carry(KEY, Link(GRID, csi=csi), symbols, gain, n, pilot_filter=known)
    told = {csi: declared(Link(GRID, csi=csi))[-1] for csi in ("perfect", "ls", "lmmse", "robust")}
    assert len({line.what for line in told.values()}) == 4
    assert told["ls"].what == "mean square error of interpolation" and told["ls"].channel_uses == 0


MRC, STREAMS, ALAMOUTI = Antennas(1, 3, "mrc"), Antennas(2, 3, "multiplexing"), Antennas(2, 1, "alamouti")


@pytest.mark.parametrize(
    "link",
    [
        Link(GRID, csi="ls", antennas=MRC),
        Link(antennas=STREAMS),
        Link(GRID, antennas=STREAMS),
        Link(antennas=ALAMOUTI),
        Link(GRID, antennas=ALAMOUTI),
    ],
)
def test_without_noise_several_antennas_are_transparent(link):
    """Odd lengths: padding fills the last stream or pair, and does not come back."""
    fading = channels.rayleigh(0) if link.grid is None else channels.grid_rayleigh(**axes(GRID))

    @jax.jit
    def sent_and_found(key):
        labels = random_labels(key, 4, (5, 29))
        gain = fade(key, link, fading, (5,), 29)
        assert gain.shape[:3] == (5, link.antennas.num_rx, link.antennas.num_tx)
        noise_var = jnp.full(5, 1e-6, jnp.float32)
        return labels, send_labels(key, link, labels, phy.qam(4), gain, noise_var, knowledge(link, fading))

    np.testing.assert_array_equal(*sent_and_found(KEY))


@pytest.mark.parametrize("scheme", ["none", "mrc"])
def test_one_antenna_each_side_is_the_link_of_one_antenna(scheme):
    """Bit for bit what the line of the module's docstring says, with the draws of a signal without antenna axes."""
    symbols = phy.qam(4).modulate(random_labels(KEY, 4, (3, GRID.num_data_symbols)))
    fading, noise_var = channels.grid_rayleigh(**axes(GRID)), jnp.float32(0.1)
    link = Link(GRID, antennas=Antennas(1, 1, scheme))
    gain = fade(KEY, link, fading, (3,), symbols.shape[-1])
    np.testing.assert_array_equal(gain, fading.gains(KEY, (3, 4, 16)))
    found = carry(KEY, link, symbols, gain, noise_var)
    y = channels.awgn(KEY, gain * phy.place(GRID, symbols), jnp.full((1, 1, 1), 0.1, jnp.float32))
    expected = phy.lmmse(y, gain, noise_var)
    np.testing.assert_array_equal(found.symbols, phy.take(GRID, expected.symbols))
    np.testing.assert_array_equal(found.noise_var, phy.take(GRID, expected.noise_var))


def combining_ber(branches, ebno):
    """BPSK and QPSK with maximum-ratio combining of independent Rayleigh branches; ebno: mean, linear, of each branch.

    J. G. Proakis, Digital Communications, 4th ed., eq. 14.4-15.
    """
    mu = np.sqrt(ebno / (1 + ebno))
    terms = [comb(branches - 1 + k, k) * ((1 + mu) / 2) ** k for k in range(branches)]
    return ((1 - mu) / 2) ** branches * sum(terms)


@pytest.mark.parametrize(
    ("antennas", "branches"),
    [
        (Antennas(), 1),
        (Antennas(1, 2, "mrc"), 2),
        (Antennas(1, 4, "mrc"), 4),
        (Antennas(2, 1, "alamouti"), 2),  # each branch at half the power
        (Antennas(2, 2, "alamouti"), 4),
    ],
)
def test_combining_has_the_error_rate_of_the_closed_form(antennas, branches):
    """1/noise_var is the mean Es/N0 of each receive antenna, whatever the number of transmit antennas."""
    batch, symbols, esno_db = 512, 400, 3.0
    link, fading = Link(antennas=antennas), channels.rayleigh(2)  # gains stay the same for a pair

    @jax.jit
    def errors(modulation, key):
        key_source, key_fading, key_noise = jax.random.split(key, 3)
        words = jax.random.bits(key_source, (batch, symbols)).astype(jnp.int32)
        labels = words & ((1 << modulation.num_bits_per_symbol) - 1)
        gain = fade(key_fading, link, fading, (batch,), symbols)
        noise_var = phy.esnodb2no(jnp.float32(esno_db))
        return jnp.sum(
            phy.count_bit_errors(labels, send_labels(key_noise, link, labels, modulation, gain, noise_var)),
            axis=-1,
        )

    for bits in (1, 2):
        count = np.asarray(errors(phy.qam(bits, 2), jax.random.fold_in(KEY, bits)), np.float64)
        interval = ratio_interval(batch, count.sum(), (count**2).sum(), symbols * bits, FOUR_SIGMA)
        rate = combining_ber(branches, 10 ** (esno_db / 10) / bits / antennas.num_tx)
        assert interval.low < rate < interval.high, (bits, interval, rate)


def test_streams_share_the_power_of_one():
    """Far above the noise LMMSE is zero forcing, whose SNR in a 2 x 4 Rayleigh link is Es/N0 / 2 times Gamma(4 - 2 + 1)."""
    link = Link(antennas=Antennas(2, 4, "multiplexing"))
    gain = fade(KEY, link, channels.rayleigh(1), (8,), 8000)
    assert gain.shape == (8, 4, 2, 4000)
    symbols = phy.qam(2).modulate(random_labels(KEY, 2, (8, 8000)))
    noise_var = 1e-4
    equalised = jax.jit(carry, static_argnums=1)(KEY, link, symbols, gain, jnp.float32(noise_var))
    # Of each channel use only the first stream: the two share a matrix.
    snr = 2 * noise_var / np.asarray(equalised.noise_var, np.float64)[:, :4000].ravel()
    interval = mean_interval(snr.size, snr.sum(), (snr**2).sum(), FOUR_SIGMA)
    assert interval.low < 3.0 < interval.high
    error = np.abs(np.asarray(equalised.symbols - symbols)) ** 2 / np.asarray(equalised.noise_var)
    error = error[:, :4000].ravel().astype(np.float64)
    interval = mean_interval(error.size, error.sum(), (error**2).sum(), FOUR_SIGMA)
    assert interval.low < 1.0 < interval.high


def test_mean_snr_is_a_mean_of_powers():
    gain = jnp.asarray([[1.0, 3.0j], [0.0, 2.0]], jnp.complex64)
    np.testing.assert_allclose(mean_snr(gain, jnp.float32(0.5)), [10.0, 4.0], rtol=1e-6)


def test_mean_snr_of_several_antennas_is_that_of_a_receive_antenna():
    gain = jnp.ones((2, 4, 2, 1), jnp.complex64) * jnp.asarray([1.0, 2.0])[:, None, None, None]
    np.testing.assert_allclose(mean_snr(gain, jnp.float32(0.1)), [10.0, 40.0], rtol=1e-6)


def test_impossible_antennas_are_refused():
    with pytest.raises(ValueError, match="one of none, mrc, multiplexing, alamouti; got 'beams'"):
        Antennas(1, 2, "beams")
    with pytest.raises(ValueError, match=r"num_rx must be in \[1, 256\]; got 0"):
        Antennas(1, 0)
    with pytest.raises(ValueError, match="several antennas need a scheme.*got 1 transmit and 2 receive"):
        Antennas(1, 2)
    with pytest.raises(ValueError, match="mrc combines the receive antennas of one transmit antenna; got 2"):
        Antennas(2, 2, "mrc")
    with pytest.raises(ValueError, match="alamouti sends from 2 antennas; got 1 transmit"):
        Antennas(1, 2, "alamouti")
    for num_tx, num_rx in ((4, 2), (1, 2), (5, 8)):
        with pytest.raises(ValueError, match=f"2 to 4 streams .* got {num_tx} transmit and {num_rx} receive"):
            Antennas(num_tx, num_rx, "multiplexing")
    with pytest.raises(ValueError, match="csi ls knows the pilots of one transmit antenna, and 2 would"):
        Link(GRID, csi="ls", antennas=STREAMS)
    with pytest.raises(
        ValueError, match="an even number of them .* got 4 OFDM symbols, 1 of them with pilots"
    ):
        Link(ResourceGrid(4, 16, 4, pilot_ofdm_symbol_indices=(0,)), antennas=ALAMOUTI)
    comb_of_pilots = ResourceGrid(4, 16, 4, pilot_ofdm_symbol_indices=(0, 3), pilot_subcarrier_stride=2)
    with pytest.raises(ValueError, match="with pilots of stride 2"):
        Link(comb_of_pilots, antennas=ALAMOUTI)
    with pytest.raises(ValueError, match="the grid holds 64 data symbols; the payload has 65"):
        link = Link(GRID, antennas=STREAMS)
        carry(KEY, link, jnp.ones((1, 65), jnp.complex64), jnp.ones((1, 3, 2, 4, 16)), jnp.float32(1.0))
