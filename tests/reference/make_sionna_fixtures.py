"""Write the Sionna fixtures of tests/test_sionna_reference.py: `sionna.npz` (arrays), `sionna.json` (tables, counts).

Run it in an environment of its own, since Sionna stands on PyTorch and semsim does not:

    python3.11 -m venv sionna-venv
    sionna-venv/bin/pip install torch sionna-no-rt==2.2.0
    sionna-venv/bin/python tests/reference/make_sionna_fixtures.py           # a few minutes on two cores

The seeds are fixed, so the same versions write the same numbers. What is stored, and what it is an oracle for:

- `points.<modulation>`: constellation points in label order. BPSK is Sionna's 1-bit PAM (label 0 -> +1).
- `llr.<modulation>.{y, noise_var, app, maxlog}`: noisy symbols as exact float32 pairs, and the LLRs that Sionna's
  demapper computes from them in double precision, most significant bit first, ln P(1)/P(0).
- `ls.<case>.{pilots, noise_var, gain, error_var}`: LS estimates at the pilots (row by row) and what Sionna's
  LinearInterpolator makes of them on the whole grid. Sionna interpolates the error variance with the same weights as
  the estimate; the variance of a weighted sum has the squared weights, so only its pilot positions are an oracle for us.
- `lmmse.{y, gain, noise_var, symbols, effective}`: one-tap unbiased LMMSE.
- `tdl`: the delay profiles as tabulated and as normalised. `ebnodb2no`: noise variances. `ofdm`: error counts of a
  whole link, with the sum of squares over grids, since the bits of one grid share its fade.
"""

import json
import math
import pathlib
from typing import Any

import numpy as np
import sionna
import torch
from sionna.phy import config
from sionna.phy.channel import OFDMChannel
from sionna.phy.channel.tr38901 import TDL, models
from sionna.phy.mapping import BinarySource, Constellation, Demapper, Mapper
from sionna.phy.mimo import StreamManagement, lmmse_equalizer
from sionna.phy.ofdm import (
    LinearInterpolator,
    LMMSEEqualizer,
    LSChannelEstimator,
    PilotPattern,
    ResourceGrid,
    ResourceGridMapper,
)
from sionna.phy.utils import ebnodb2no

HERE = pathlib.Path(__file__).parent
BITS = {"bpsk": 1, "qpsk": 2, "qam16": 4, "qam64": 6, "qam256": 8, "qam1024": 10}
ESNO_DB = (0.0, 10.0, 20.0, 30.0)
SYMBOLS_PER_SNR = 64  # 256 noisy symbols a modulation
GRID = {"num_ofdm_symbols": 14, "fft_size": 72, "subcarrier_spacing": 30e3}
TDL_A = {"model": "A", "delay_spread": 100e-9, "carrier_frequency": 3.5e9, "min_speed": 3.0, "max_speed": 3.0}
PILOT_SYMBOLS = (2, 11)
NUM_GRIDS = 4096
BATCH = 256

# The cases of the LS oracle: name -> (symbols, subcarriers, pilot symbols, comb stride).
LS_CASES = {
    "whole-symbols": (14, 24, (2, 11), 1),
    "one-symbol": (7, 12, (3,), 1),
    "three-symbols": (14, 12, (0, 5, 12), 1),
    "comb": (14, 24, (2, 11), 5),
}


def constellation(name: str, precision: str) -> Constellation:
    """Sionna's constellation of that name; BPSK is a one-bit PAM there."""
    return Constellation("pam" if name == "bpsk" else "qam", BITS[name], precision=precision, device="cpu")


def demapping(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Points and double-precision LLRs of float32 inputs."""
    arrays = {}
    for name, bits in BITS.items():
        points = constellation(name, "double")().numpy()
        noise_var = np.repeat(np.float32(10.0 ** (-np.array(ESNO_DB) / 10)), SYMBOLS_PER_SNR)
        noise = rng.standard_normal((noise_var.size, 2)) @ np.array([1, 1j]) * np.sqrt(noise_var / 2)
        y = np.complex64(points[rng.integers(2**bits, size=noise_var.size)] + noise)
        arrays |= {
            f"points.{name}": np.complex64(points),
            f"llr.{name}.y": y,
            f"llr.{name}.noise_var": noise_var,
        }
        for method in ("app", "maxlog"):
            demapper = Demapper(
                method, constellation=constellation(name, "double"), precision="double", device="cpu"
            )
            llr = demapper(torch.tensor(y.astype(np.complex128)), torch.tensor(noise_var.astype(np.float64)))
            arrays[f"llr.{name}.{method}"] = np.float32(llr.numpy().reshape(noise_var.size, bits))
    return arrays


def interpolation(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """LS estimates at pilots and their linear interpolation over frequency, then time."""
    arrays = {}
    for name, (symbols, subcarriers, pilot_symbols, stride) in LS_CASES.items():
        mask = np.zeros((1, 1, symbols, subcarriers), bool)
        mask[0, 0, list(pilot_symbols), ::stride] = True
        count = int(mask.sum())
        at_pilots = np.complex64(rng.standard_normal((count, 2)) @ np.array([1, 1j]) / math.sqrt(2))
        noise_var = np.float32(0.05)
        pattern = PilotPattern(mask, np.ones((1, 1, count), np.complex64), device="cpu")
        gain, error_var = LinearInterpolator(pattern, device="cpu")(
            torch.tensor(at_pilots).reshape(1, 1, 1, 1, 1, count),
            torch.full((1, 1, 1, 1, 1, count), float(noise_var)),
        )
        arrays |= {
            f"ls.{name}.mask": mask[0, 0],
            f"ls.{name}.pilots": at_pilots,
            f"ls.{name}.noise_var": noise_var,
            f"ls.{name}.gain": gain.numpy().reshape(symbols, subcarriers),
            f"ls.{name}.error_var": error_var.numpy().reshape(symbols, subcarriers),
        }
    return arrays


def equalisation(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One-tap LMMSE of 64 symbols: Sionna's output is unbiased, `effective` is its noise variance."""
    y, gain = np.complex64(rng.standard_normal((2, 64, 2)) @ np.array([1, 1j]) / math.sqrt(2))
    noise_var = np.float32(10.0 ** (-rng.uniform(0, 20, 64) / 10))
    symbols, effective = lmmse_equalizer(
        torch.tensor(y)[:, None],
        torch.tensor(gain)[:, None, None],
        torch.tensor(noise_var)[:, None, None] + 0j,
    )
    return {
        "lmmse.y": y,
        "lmmse.gain": gain,
        "lmmse.noise_var": noise_var,
        "lmmse.symbols": symbols.numpy()[:, 0],
        "lmmse.effective": effective.numpy()[:, 0],
    }


def profiles() -> dict[str, Any]:
    """TDL-A to E: normalised delays and powers in dB as tabulated; linear tap powers and K-factor as used."""
    tables = {}
    for name in "ABCDE":
        table = models.load_json(models.parameter_file(f"TDL-{name}.json", "19.2"))
        tdl = TDL(name, 1e-9, 3.5e9, precision="double", device="cpu")
        tables[name] = {
            "los": bool(table["los"]),  # the first row of a line-of-sight table is the specular path
            "delays": table["delays"],
            "powers_db": table["powers"],
            "mean_powers": tdl.mean_powers.tolist(),
            "k_factor": float(tdl.k_factor) if table["los"] else None,
        }
    return tables


def noise_variances() -> list[dict[str, Any]]:
    """`ebnodb2no` without a grid, with prefix and pilots, and with guards and a nulled DC."""
    kronecker = {"pilot_pattern": "kronecker", "pilot_ofdm_symbol_indices": list(PILOT_SYMBOLS)}
    guards = {"num_guard_carriers": (5, 6), "dc_null": True}
    grids: list[dict[str, Any]] = [
        {},
        GRID | {"cyclic_prefix_length": 6},
        GRID | {"cyclic_prefix_length": 6} | kronecker,
        GRID | {"cyclic_prefix_length": 18} | kronecker | guards,
    ]
    cases = []
    for grid in grids:
        for ebno_db, bits, coderate in ((0.0, 2, 1.0), (7.0, 4, 0.5), (-3.0, 6, 0.75)):
            built = ResourceGrid(**grid, precision="double", device="cpu") if grid else None
            noise_var = float(ebnodb2no(ebno_db, bits, coderate, built, precision="double", device="cpu"))
            cases.append(
                {"ebno_db": ebno_db, "bits": bits, "coderate": coderate, "grid": grid, "noise_var": noise_var}
            )
    return cases


def link(ebno_db: float, seed: int) -> list[dict[str, Any]]:
    """16-QAM over TDL-A on 14 x 72, app demapping, LMMSE: errors with perfect and with LS channel knowledge.

    Both receivers see the same bits, fades and noise. `ebno_db` charges neither pilots nor a prefix.
    """
    config.seed = seed
    grid = ResourceGrid(
        **GRID, pilot_pattern="kronecker", pilot_ofdm_symbol_indices=list(PILOT_SYMBOLS), device="cpu"
    )
    bits_per_grid = int(grid.num_data_symbols) * 4
    source, mapper, place = (
        BinarySource(device="cpu"),
        Mapper("qam", 4, device="cpu"),
        ResourceGridMapper(grid, device="cpu"),
    )
    channel = OFDMChannel(TDL(**TDL_A, device="cpu"), grid, return_channel=True, device="cpu")
    estimate = LSChannelEstimator(grid, interpolation_type="lin", device="cpu")
    equalise = LMMSEEqualizer(grid, StreamManagement(np.array([[1]]), 1), device="cpu")
    demap = Demapper("app", "qam", 4, hard_out=True, device="cpu")
    noise_var = ebnodb2no(ebno_db, 4, 1.0, device="cpu")
    errors: dict[str, list[np.ndarray]] = {"perfect": [], "ls": []}
    with torch.no_grad():
        for _ in range(NUM_GRIDS // BATCH):
            bits = source([BATCH, 1, 1, bits_per_grid])
            y, gain = channel(place(mapper(bits)), noise_var)
            knowledge = {"perfect": (gain, torch.zeros(1)), "ls": estimate(y, noise_var)}
            for csi, (h_hat, error_var) in knowledge.items():
                symbols, effective = equalise(y, h_hat, error_var, noise_var)
                errors[csi].append((demap(symbols, effective) != bits).sum((1, 2, 3)).numpy())
    rows = []
    for csi, counts in errors.items():
        grids = np.concatenate(counts).astype(np.int64)
        rows.append(
            {
                "csi": csi,
                "ebno_db": ebno_db,
                "noise_var": float(noise_var),
                "seed": seed,
                "grids": len(grids),
                "bits_per_grid": bits_per_grid,
                "errors": int(grids.sum()),
                "sum_sq": int((grids**2).sum()),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Write both files beside this script."""
    config.device = "cpu"
    rng = np.random.default_rng(20261123)
    arrays = demapping(rng) | interpolation(rng) | equalisation(rng)
    tables = {
        "versions": {
            "sionna": sionna.__version__,
            "torch": torch.__version__.split("+")[0],
            "numpy": np.__version__,
        },
        "tdl": profiles(),
        "ebnodb2no": noise_variances(),
        "ofdm": {
            "grid": GRID | {"pilot_ofdm_symbol_indices": PILOT_SYMBOLS},
            "channel": TDL_A,
            "modulation": "qam16",
            "demap": "app",
            "equaliser": "lmmse",
            "rows": [
                row for i, ebno_db in enumerate((5.0, 10.0, 15.0, 20.0)) for row in link(ebno_db, 1001 + i)
            ],
        },
    }
    np.savez_compressed(HERE / "sionna.npz", **arrays)
    (HERE / "sionna.json").write_text(json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
