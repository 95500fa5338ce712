"""Write the Sionna fixtures of tests/test_phy_coding_ldpc*.py: `ldpc_encoder.json` and `ldpc_decoder.npz`.

Run it in the environment of make_sionna_fixtures.py (Sionna 2.2.0 on PyTorch); it takes a minute or two:

    sionna-venv/bin/python tests/reference/make_ldpc_fixtures.py

- `ldpc_encoder.json`: rows [k, n, bits per symbol, redundancy version, base graph, lifting size, sha256 of the sent
  bits]. Payloads are `payload(i, k)` below: two words a row, packed to bytes for the hash.
- `ldpc_decoder.npz`: for each code the LLRs of noisy words as int8 multiples of 1/8, exact in every float, and the
  information bits that Sionna's flooding LDPC5GDecoder decides after 1, 5 and 20 iterations, packed.
"""

import hashlib
import json
import pathlib

import numpy as np
import torch
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

HERE = pathlib.Path(__file__).parent
NUM_CODES = 200
LIFTING_SIZES = sorted(
    {first << j for first in (2, 3, 5, 7, 9, 11, 13, 15) for j in range(8) if first << j <= 384}
)
DECODED = {
    "bg2-filler": (512, 1024, 1.5),
    "bg2-full": (640, 1280, 1.3),
    "bg1-full": (1056, 1500, 2.6),
    "bg1-low": (3900, 9800, 0.6),
}
RULES = {"min-sum": "minsum", "offset-min-sum": "offset-minsum", "sum-product": "boxplus"}
ITERATIONS = (1, 5, 20)
WORDS = 8


def payload(seed: int, k: int) -> np.ndarray:
    """Two words of k random bits; NumPy keeps this generator's stream."""
    return np.random.default_rng(seed).integers(0, 2, (2, k), dtype=np.uint8)


def encoder_rows() -> list[list]:
    """Random codes that meet every lifting size with both graphs where they can, then anything."""
    rng = np.random.default_rng(5)
    rows: list[list] = []
    wanted = [(size, graph) for size in LIFTING_SIZES for graph in (1, 2)]
    while len(rows) < NUM_CODES:
        if len(rows) < len(wanted):
            size, graph = wanted[len(rows)]
            smaller = max([s for s in LIFTING_SIZES if s < size], default=1)
            columns = (
                22
                if graph == 1
                else next(
                    c for c, top in ((6, 192), (8, 560), (9, 640), (10, 3840)) if c * size <= top or c == 10
                )
            )
            k = int(rng.integers(max(12, columns * smaller + 1), columns * size + 1))
        else:
            graph, k = None, int(np.exp(rng.uniform(np.log(12), np.log(8448))))
        bits_per_symbol = int(rng.choice([1, 2, 4, 6, 8, 10]))
        lowest = 0.34 if graph == 1 or k > 3840 else 0.205
        n = int(k / rng.uniform(lowest, 0.92)) // bits_per_symbol * bits_per_symbol
        version = int(rng.integers(4)) if len(rows) % 3 == 0 else 0
        try:
            encoder = LDPC5GEncoder(
                k,
                n,
                None if bits_per_symbol == 1 else bits_per_symbol,
                None if graph is None else f"bg{graph}",
            )
        except ValueError:
            continue
        if n > encoder.n_cb_comp:  # Sionna does not repeat bits in redundancy versions
            continue
        bits = torch.tensor(payload(len(rows), k), dtype=torch.float32)
        sent = encoder(bits, rv=[version])[:, 0] if version else encoder(bits)
        digest = hashlib.sha256(np.packbits(sent.numpy().astype(np.uint8), axis=-1).tobytes()).hexdigest()[
            :16
        ]
        rows.append([k, n, bits_per_symbol, version, int(encoder._bg[-1]), int(encoder.z), digest])
    return rows


def decoder_arrays() -> dict[str, np.ndarray]:
    """Noisy words near the threshold of each code, and what Sionna decides."""
    rng = np.random.default_rng(6)
    arrays = {}
    for name, (k, n, ebno_db) in DECODED.items():
        encoder = LDPC5GEncoder(k, n)
        bits = rng.integers(0, 2, (WORDS, k))
        sent = encoder(torch.tensor(bits, dtype=torch.float32)).numpy()
        variance = 1 / (2 * 10 ** (ebno_db / 10) * k / n)  # of BPSK's real noise
        llr = 2 / variance * ((2 * sent - 1) + np.sqrt(variance) * rng.standard_normal(sent.shape))
        quantised = np.clip(np.round(llr * 8), -127, 127).astype(np.int8)
        arrays[f"{name}.llr"] = quantised
        for rule, theirs in RULES.items():
            for iterations in ITERATIONS:
                decoder = LDPC5GDecoder(encoder, cn_update=theirs, num_iter=iterations)
                with torch.no_grad():
                    decided = decoder(torch.tensor(quantised / 8, dtype=torch.float32)).numpy()
                arrays[f"{name}.{rule}.{iterations}"] = np.packbits(decided.astype(np.uint8), axis=-1)
                print(
                    name, rule, iterations, "block errors", int((decided != bits).any(-1).sum()), flush=True
                )
    return arrays


def main() -> None:
    """Write both files beside this script."""
    rows = encoder_rows()
    text = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "ldpc_encoder.json").write_text(f"[\n{text}\n]\n")
    print("lifting sizes met:", len({row[5] for row in rows}), "of", len(LIFTING_SIZES))
    np.savez_compressed(HERE / "ldpc_decoder.npz", **decoder_arrays())


if __name__ == "__main__":
    main()
