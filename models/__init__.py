"""Flax NNX networks. They know tensors and rows, not radio. Import from here."""

from models.analogue import Analogue as Analogue
from models.analogue import some_maps as some_maps
from models.broadcast import Broadcast as Broadcast
from models.broadcast import BroadcastConfig as BroadcastConfig
from models.deepjscc import DeepJSCC as DeepJSCC
from models.deepjscc import DeepJSCCConfig as DeepJSCCConfig
from models.indexed import Indexed as Indexed
from models.indexed import IndexedConfig as IndexedConfig
from models.layers import ConvNorm as ConvNorm
from models.layers import ResidualBlock as ResidualBlock
from models.layers import SwitchableBatchNorm as SwitchableBatchNorm
from models.layers import depth_to_space as depth_to_space
from models.layers import space_to_depth as space_to_depth
from models.residual import ResidualConfig as ResidualConfig
from models.residual import ResidualJSCC as ResidualJSCC
from models.swin import Swin as Swin
from models.swin import SwinConfig as SwinConfig
from models.tiled import Tiled as Tiled
from models.ujscc import UJSCC as UJSCC
from models.ujscc import Decoder as Decoder
from models.ujscc import Encoder as Encoder
from models.ujscc import UJSCCConfig as UJSCCConfig
from models.vq import Quantised as Quantised
from models.vq import VectorQuantizer as VectorQuantizer
from models.vq import perplexity as perplexity
from models.windows import attention_macs as attention_macs
