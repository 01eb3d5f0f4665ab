"""A whole night in seconds: real code on virtual time, seeded dice, a lossy net and a disk that forgets.

`run_simulated` runs a coroutine on a `SimLoop`; same seed, same trace hash, in every process. The parts:
`loop` (time and order), `clock` (drift, steps, quality), `net` (the `Transport` port with faults), `disk` (the
`Disk` port with power cuts), `trace` (what happened, and its hash).
"""

from kit.simulation.clock import SimClock
from kit.simulation.disk import PowerCutError, SimDisk
from kit.simulation.loop import (
    SimLoop,
    Simulated,
    SimulationForbidsError,
    SimulationStuckError,
    run_simulated,
)
from kit.simulation.net import CALM, Faults, Pipe, SimNet
from kit.simulation.trace import Trace

__all__ = [
    "CALM",
    "Faults",
    "Pipe",
    "PowerCutError",
    "SimClock",
    "SimDisk",
    "SimLoop",
    "SimNet",
    "Simulated",
    "SimulationForbidsError",
    "SimulationStuckError",
    "Trace",
    "run_simulated",
]
