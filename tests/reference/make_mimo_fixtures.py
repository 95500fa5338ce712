"""Write `mimo.npz`, the Sionna fixture of tests/test_phy_mimo.py: linear detection of several streams.

Run it in an environment of its own, since Sionna stands on PyTorch and semsim does not:

    python3.11 -m venv sionna-venv
    sionna-venv/bin/pip install torch sionna-no-rt==2.2.0
    sionna-venv/bin/python tests/reference/make_mimo_fixtures.py           # seconds

The seed is fixed, so the same versions write the same numbers. For each case of `streams x receive antennas`, and each of
five Es/N0 of a stream: what 16 random matrices with CN(0, 1) entries let through of 16-QAM-like symbols, as exact single
precision (`y` [snr, rx, s], `gain` [snr, rx, streams, s], `noise_var` [snr]), and what Sionna's unbiased LMMSE equaliser
makes of them in double precision (`symbols`, `effective` noise variance [snr, streams, s]).
"""

import pathlib

import numpy as np
import torch
from sionna.phy.mimo import lmmse_equalizer

HERE = pathlib.Path(__file__).parent
CASES = ((2, 2), (4, 8))
ESNO_DB = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
MATRICES = 16


def complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal((*shape, 2)) @ np.array([1, 1j]) / np.sqrt(2)


def case(rng: np.random.Generator, streams: int, receive: int) -> dict[str, np.ndarray]:
    noise_var = np.float32(10 ** (-ESNO_DB / 10))
    gain = np.complex64(complex_normal(rng, len(ESNO_DB), receive, streams, MATRICES))
    levels = np.array([-3, -1, 1, 3]) / np.sqrt(10)
    x = rng.choice(levels, (2, len(ESNO_DB), streams, MATRICES))
    noise = np.sqrt(noise_var)[:, None, None] * complex_normal(rng, len(ESNO_DB), receive, MATRICES)
    y = np.complex64(np.einsum("brts,bts->brs", gain, x[0] + 1j * x[1]) + noise)
    covariance = noise_var.astype(np.float64)[:, None, None, None] * np.eye(receive)
    symbols, effective = lmmse_equalizer(
        torch.tensor(np.moveaxis(y, -1, 1).astype(np.complex128)),
        torch.tensor(np.moveaxis(gain, -1, 1).astype(np.complex128)),
        torch.tensor(np.broadcast_to(covariance, (len(ESNO_DB), MATRICES, receive, receive)) + 0j),
        precision="double",
    )
    name = f"{streams}x{receive}"
    return {
        f"{name}.y": y,
        f"{name}.gain": gain,
        f"{name}.noise_var": noise_var,
        f"{name}.symbols": np.moveaxis(symbols.numpy(), 1, -1),
        f"{name}.effective": np.moveaxis(effective.numpy(), 1, -1),
    }


def main() -> None:
    rng = np.random.default_rng(20)
    arrays: dict[str, np.ndarray] = {}
    for streams, receive in CASES:
        arrays |= case(rng, streams, receive)
    np.savez_compressed(HERE / "mimo.npz", **arrays)


if __name__ == "__main__":
    main()
