"""The engine: joins a source, a codec, the PHY and a channel into a link, and runs it a million times.

import semsim
semsim.ber(["qam16"], ["awgn", "tdl-a"], range(0, 13, 2)).rows()
semsim.run("ujscc", semsim.data.load("embedded", limit=64), ["qam16"], ["tdl-a"], [12.0]).rows()
"""

from semsim import data as data
from semsim import separation as separation
from semsim.antennas import Antennas as Antennas
from semsim.coding import Coding as Coding
from semsim.coding import Decoding as Decoding
from semsim.compare import compare as compare
from semsim.devices import Execution as Execution
from semsim.error_rates import ber as ber
from semsim.link import Link as Link
from semsim.link import carry as carry
from semsim.link import detect as detect
from semsim.link import fade as fade
from semsim.link import send_bits as send_bits
from semsim.link import send_indices as send_indices
from semsim.link import send_labels as send_labels
from semsim.link import send_symbols as send_symbols
from semsim.link import split_keys as split_keys
from semsim.payload import Bits as Bits
from semsim.payload import Indices as Indices
from semsim.payload import Ledger as Ledger
from semsim.payload import Line as Line
from semsim.payload import Symbols as Symbols
from semsim.runs import Run as Run
from semsim.runs import load_run as load_run
from semsim.scenario import Propagation as Propagation
from semsim.separation import Separation as Separation
from semsim.simulation import reconstruct as reconstruct
from semsim.simulation import run as run
from semsim.systems.index_coding import IndexCoding as IndexCoding
from semsim.terminal import progress_bar as progress_bar
