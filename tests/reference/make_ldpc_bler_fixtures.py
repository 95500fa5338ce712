"""Write `ldpc_bler.json`, the block error rates of tests/test_phy_coding_ldpc_bler.py, in the environment of
make_sionna_fixtures.py:

    python tests/reference/make_ldpc_bler_fixtures.py          # some hours on a core; stop and start it at will

Sionna's LDPC5GEncoder, Mapper, Demapper ("app") and LDPC5GDecoder (flooding, 20 iterations) over AWGN. Payloads and noise
come from NumPy's generator, seeded by the code, the modulation, the SNR and the batch (`draw`), so that the test meets
the very same words: a row says which of them Sionna decided wrong, and the comparison is paired, word for word.

A row: k, n, bits per symbol, rule, Eb/N0 in dB, words, [numbers of the wrong ones].
"""

import json
import pathlib

import numpy as np
import torch
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import Constellation, Demapper, Mapper

PATH = pathlib.Path(__file__).parent / "ldpc_bler.json"
BATCH = 32  # a larger one is slower, most of all with long words
ITERATIONS = 20
RULES = {"offset-min-sum": "offset-minsum", "sum-product": "boxplus"}
# k, n, bits per symbol, rule, Eb/N0 in dB above and below a block error rate of 1e-2, wrong words wanted at each.
WANTED = [
    (512, 1024, 2, "sum-product", (1.7, 1.9), 100),
    (512, 1024, 4, "sum-product", (4.0, 4.25), 100),
    (1024, 2048, 2, "sum-product", (1.45, 1.65), 100),
    (1024, 2048, 4, "sum-product", (3.65, 3.85), 100),
    (4096, 8192, 2, "sum-product", (1.2, 1.3), 50),
    (4096, 8192, 4, "sum-product", (3.5, 3.65), 50),
]


def draw(k: int, n: int, bits_per_symbol: int, ebno_db: float, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Payloads [BATCH, k] and unit complex noise as pairs [BATCH, n / bits_per_symbol, 2] of variance 1/2 each."""
    rng = np.random.default_rng([k, n, bits_per_symbol, round(100 * ebno_db), batch])
    bits = rng.integers(0, 2, (BATCH, k), dtype=np.uint8)
    return bits, np.sqrt(np.float32(0.5)) * rng.standard_normal((BATCH, n // bits_per_symbol, 2), np.float32)


class Chain:
    """Sionna's link of one row: which words of a batch are decided wrong."""

    def __init__(self, k: int, n: int, bits_per_symbol: int, rule: str) -> None:
        self.shape = (k, n, bits_per_symbol)
        points = Constellation("qam", bits_per_symbol)
        self.encoder = LDPC5GEncoder(k, n, bits_per_symbol)
        self.mapper, self.demapper = Mapper(constellation=points), Demapper("app", constellation=points)
        self.decoder = LDPC5GDecoder(self.encoder, cn_update=RULES[rule], num_iter=ITERATIONS)

    def wrong(self, ebno_db: float, batch: int) -> np.ndarray:
        """[BATCH] bool."""
        k, n, bits_per_symbol = self.shape
        bits, noise = draw(*self.shape, ebno_db, batch)
        no = 1 / (10 ** (ebno_db / 10) * bits_per_symbol * k / n)
        with torch.no_grad():
            sent = self.mapper(self.encoder(torch.tensor(bits, dtype=torch.float32)))
            received = sent + np.sqrt(np.float32(no)) * torch.view_as_complex(torch.tensor(noise))
            decided = self.decoder(self.demapper(received, torch.tensor(no, dtype=torch.float32)))
        return (decided.numpy() != bits).any(-1)


def main(wanted: list[tuple] = WANTED, path: pathlib.Path = PATH) -> None:
    """Goes on where the file ends, all points of equal k in turns, until each has the wrong words it wants."""
    rows = [(k, n, m, rule, db, errors) for k, n, m, rule, dbs, errors in wanted for db in dbs]
    known = {tuple(row[:5]): row[5:] for row in json.loads(path.read_text())} if path.exists() else {}
    chains = {row[:4]: Chain(*row[:4]) for row in rows}
    for k in sorted({row[0] for row in rows}):
        waiting = [row for row in rows if row[0] == k]
        while waiting:
            for *point, errors in tuple(waiting):
                words, failed = known.get(tuple(point), (0, []))
                if len(failed) >= errors:
                    waiting.remove((*point, errors))
                    continue
                wrong = chains[tuple(point[:4])].wrong(point[4], words // BATCH)
                failed = [*failed, *(words + np.flatnonzero(wrong)).tolist()]
                known[tuple(point)] = (words + BATCH, failed)
                if words // BATCH % 8 == 0:
                    write(known, path)
                    print(*point, words + BATCH, len(failed), flush=True)
    write(known, path)


def write(known: dict, path: pathlib.Path) -> None:
    """One line a row."""
    lines = [json.dumps([*point, *found]) for point, found in sorted(known.items())]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
