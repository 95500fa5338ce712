"""The systems of the survey, one file each. `SYSTEMS` is what the command line and the engine know by name."""

from semsim.systems import deepjscc, frenca, fssc, stsc, ujscc
from semsim.systems.base import Delivered as Delivered
from semsim.systems.base import Point as Point
from semsim.systems.base import System as System

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        ujscc.SYSTEM,
        deepjscc.SYSTEM,
        deepjscc.STRONG,
        deepjscc.VQ,
        stsc.SYSTEM,
        stsc.VQ,
        fssc.SYSTEM,
        frenca.SYSTEM,
    )
}
