"""The ledger: its arithmetic, and that it counts exactly what the grid sends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phy
from phy import ResourceGrid
from semsim.link import Link
from semsim.payload import Ledger, Line, grid_overhead
from semsim.systems import SYSTEMS, ujscc


def test_rates_are_sums_of_lines():
    ledger = Ledger(3072, Line("indices", 256), (Line("pilots", 128), Line("channel gain", 0, "declared")))
    assert ledger.cbr_payload == 256 / 3072
    assert ledger.cbr == 384 / 3072
    assert ledger.seconds(1e6) == pytest.approx(384e-6)
    assert [line["what"] for line in ledger.as_dict()["lines"]] == ["indices", "pilots", "channel gain"]


@pytest.mark.parametrize(
    "grid",
    [
        ujscc.GRID,
        ResourceGrid(14, 72, 6, pilot_ofdm_symbol_indices=(2, 11)),
        ResourceGrid(
            8,
            64,
            16,
            num_guard_carriers=(5, 6),
            dc_null=True,
            pilot_ofdm_symbol_indices=(1,),
            pilot_subcarrier_stride=4,
        ),
    ],
)
def test_ledger_equals_the_symbols_counted_in_the_transmitted_frame(grid):
    """Non-zero resource elements of a placed frame, plus the prefix samples at the share of carriers in use."""
    payload = grid.num_data_symbols - 3
    ledger = Ledger(3072, Line("symbols", payload), grid_overhead(grid, payload))
    data = jnp.ones(grid.num_data_symbols, jnp.complex64)
    on_air = int(np.count_nonzero(np.asarray(phy.place(grid, data))))
    samples = phy.modulate(grid, phy.place(grid, data)).size
    prefix = samples - grid.num_ofdm_symbols * grid.fft_size
    assert ledger.channel_uses == pytest.approx(
        on_air + prefix * grid.num_effective_subcarriers / grid.fft_size
    )


def test_ujscc_costs_one_twelfth_and_names_what_is_free():
    codec = ujscc.build()
    ledger = SYSTEMS["ujscc"].ledger(codec, Link(ujscc.GRID))
    assert ledger.cbr_payload == pytest.approx(1 / 12)
    assert ledger.channel_uses == 256 + 128 + 30
    assert {line.what for line in ledger.lines if not line.channel_uses} == {
        "modulation order", "noise variance", "channel gain",
    }  # fmt: skip
    estimated = SYSTEMS["ujscc"].ledger(codec, Link(ujscc.GRID, csi="ls"))
    assert "channel gain" not in {line.what for line in estimated.lines}


def test_impossible_ledgers_are_refused():
    with pytest.raises(ValueError, match=r"pilots: channel uses must be >= 0; got -1"):
        Line("pilots", -1)
    with pytest.raises(ValueError, match="at least one sample"):
        Ledger(0, Line("x", 1))
    with pytest.raises(ValueError, match="the grid holds 256 data symbols; the payload has 257"):
        grid_overhead(ujscc.GRID, 257)
    assert grid_overhead(None, 100) == ()
    assert jax.tree.leaves(grid_overhead(ujscc.GRID, 256)[0])
