"""Write the Sionna fixtures of the receiver, `receiver.npz`: demapping with priors, and channel correlations.

Run it in Sionna's own environment, as `make_sionna_fixtures.py` says:

    sionna-venv/bin/python tests/reference/make_receiver_fixtures.py         # seconds

The seeds are fixed, so the same versions write the same numbers. What is stored, and what it is an oracle for:

- `prior.<modulation>.{y, noise_var, prior, app, maxlog}`: noisy symbols and prior LLRs as exact float32, and the LLRs
  that Sionna's demapper computes from them in double precision. They include the prior. A share of the priors is 0.
- `covariance.<model>.{frequency, time}`: correlations of the whole gain, line of sight included, over the subcarriers
  of one OFDM symbol and over the symbols of one subcarrier, in double precision.
"""

import pathlib

import numpy as np
import sionna
import torch
from sionna.phy import config
from sionna.phy.mapping import Constellation, Demapper
from sionna.phy.ofdm import tdl_freq_cov_mat, tdl_time_cov_mat

HERE = pathlib.Path(__file__).parent
BITS = {"bpsk": 1, "qpsk": 2, "qam16": 4, "qam64": 6, "qam256": 8, "psk8": 3}
SYMBOLS = 96
SPACING, FFT_SIZE, NUM_SYMBOLS, PREFIX = 30e3, 24, 7, 4
DELAY_SPREAD, SPEED, CARRIER = 300e-9, 60.0, 3.5e9


def constellation(name: str) -> Constellation:
    """BPSK is a one-bit PAM there, and 8-PSK a custom constellation with the Gray labels p xor p >> 1."""
    if name != "psk8":
        return Constellation("pam" if name == "bpsk" else "qam", BITS[name], precision="double", device="cpu")
    place = np.arange(8)
    points = np.empty(8, np.complex128)
    points[place ^ (place >> 1)] = np.exp(2j * np.pi * place / 8)
    return Constellation("custom", 3, points=torch.tensor(points), precision="double", device="cpu")


def demapping(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Symbols from 0 to 25 dB; priors of standard deviation 3, every fifth symbol with none."""
    arrays = {}
    for name, bits in BITS.items():
        member = constellation(name)
        noise_var = np.float32(10.0 ** -np.linspace(0, 2.5, SYMBOLS))
        noise = rng.standard_normal((SYMBOLS, 2)) @ np.array([1, 1j]) * np.sqrt(noise_var / 2)
        y = np.complex64(member().numpy()[rng.integers(2**bits, size=SYMBOLS)] + noise)
        prior = np.float32(3.0 * rng.standard_normal((SYMBOLS, bits)))
        prior[::5] = 0.0
        arrays |= {f"prior.{name}.y": y, f"prior.{name}.noise_var": noise_var, f"prior.{name}.prior": prior}
        for method in ("app", "maxlog"):
            demapper = Demapper(method, constellation=member, precision="double", device="cpu")
            # One symbol at a time: the prior then has one meaning, whatever the axes it is broadcast over.
            rows = [
                demapper(
                    torch.tensor(y[i : i + 1].astype(np.complex128)),
                    torch.tensor(noise_var[i : i + 1].astype(np.float64)),
                    torch.tensor(prior[i].astype(np.float64)),
                ).numpy()
                for i in range(SYMBOLS)
            ]
            arrays[f"prior.{name}.{method}"] = np.float32(np.stack(rows).reshape(SYMBOLS, bits))
    return arrays


def correlations() -> dict[str, np.ndarray]:
    """A profile without a line of sight and one with."""
    arrays = {}
    duration = (1 + PREFIX / FFT_SIZE) / SPACING
    for model in ("A", "D"):
        frequency = tdl_freq_cov_mat(model, SPACING, FFT_SIZE, DELAY_SPREAD, precision="double", device="cpu")
        time = tdl_time_cov_mat(
            model, SPEED, CARRIER, duration, NUM_SYMBOLS, precision="double", device="cpu"
        )
        arrays |= {
            f"covariance.{model}.frequency": frequency.numpy(),
            f"covariance.{model}.time": time.numpy(),
        }
    return arrays


def main() -> None:
    """Write the file beside this script."""
    config.device = "cpu"
    arrays = demapping(np.random.default_rng(20261124)) | correlations()
    arrays["versions"] = np.array([sionna.__version__, torch.__version__.split("+")[0], np.__version__])
    np.savez_compressed(HERE / "receiver.npz", **arrays)


if __name__ == "__main__":
    main()
