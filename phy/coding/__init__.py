"""Channel coding of NR (3GPP TS 38.212): CRC, LDPC codes and their decoders."""

from phy.coding.base_graph import LIFTING_SIZES as LIFTING_SIZES
from phy.coding.base_graph import BaseGraph as BaseGraph
from phy.coding.base_graph import select_base_graph as select_base_graph
from phy.coding.base_graph import select_lifting_size as select_lifting_size
from phy.coding.check_nodes import RULES as RULES
from phy.coding.crc import CRCS as CRCS
from phy.coding.crc import crc as crc
from phy.coding.crc import crc_attach as crc_attach
from phy.coding.crc import crc_check as crc_check
from phy.coding.crc import crc_length as crc_length
from phy.coding.ldpc import Joined as Joined
from phy.coding.ldpc import LdpcCode as LdpcCode
from phy.coding.ldpc import join as join
from phy.coding.ldpc import rate_recover as rate_recover
from phy.coding.ldpc import segment as segment
from phy.coding.ldpc_decoder import Decoded as Decoded
from phy.coding.ldpc_decoder import LdpcDecoder as LdpcDecoder
from phy.coding.ldpc_decoder import decode as decode
from phy.coding.ldpc_encoder import encode as encode
from phy.coding.ldpc_encoder import encode_words as encode_words
from phy.coding.transport import TransportBlock as TransportBlock
from phy.coding.transport import Transported as Transported
from phy.coding.transport import scrambling_sequence as scrambling_sequence
