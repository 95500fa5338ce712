"""Wireless channels: key, signal, noise variance -> what the receiver gets and the gain that made it.

Each channel owns its randomness; none knows a constellation. Import from here.
"""

from channels.base import Fading as Fading
from channels.base import Received as Received
from channels.base import awgn as awgn
from channels.base import transmit as transmit
from channels.covariance import GridCovariance as GridCovariance
from channels.covariance import covariance as covariance
from channels.covariance import waveforms as waveforms
from channels.dialects import DIALECTS as DIALECTS
from channels.dialects import DialectFading as DialectFading
from channels.dialects import converse as converse
from channels.dialects import dialect as dialect
from channels.dialects import label_shift_db as label_shift_db
from channels.doppler import doppler_of_speed as doppler_of_speed
from channels.flat import Flat as Flat
from channels.flat import linear_k_factor as linear_k_factor
from channels.flat import no_fading as no_fading
from channels.flat import rayleigh as rayleigh
from channels.flat import rician as rician
from channels.generators import GENERATORS as GENERATORS
from channels.generators import random_key as random_key
from channels.grid_fading import GridFading as GridFading
from channels.grid_fading import grid_awgn as grid_awgn
from channels.grid_fading import grid_rayleigh as grid_rayleigh
from channels.grid_fading import grid_rician as grid_rician
from channels.grid_fading import pad as pad
from channels.grid_fading import tapped as tapped
from channels.grid_fading import tdl as tdl
from channels.intercarrier import ici_power as ici_power
from channels.intercarrier import recorded_ici_power as recorded_ici_power
from channels.random import complex_normal as complex_normal
from channels.random import uniform_words as uniform_words
from channels.recorded import Recorded as Recorded
from channels.recorded import replay as replay
from channels.recording import Recording as Recording
from channels.recording import load_recording as load_recording
from channels.recording import save_recording as save_recording
from channels.tdl import TDL_MODELS as TDL_MODELS
from channels.tdl import DelayProfile as DelayProfile
from channels.tdl import tdl_profile as tdl_profile
from channels.time_domain import cir_to_taps as cir_to_taps
from channels.time_domain import convolve as convolve
