"""The emulator's configuration: which locks there are, where the air is plugged in, and how well things go.

JSON, read once. The file holds the locks' secrets, as their flash does: owner-only, and never those of a hotel.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from protocols.door.channel import CHANNEL_MPS, LOCK_CREDITS
from protocols.errors import InvalidInputError

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
WaitMs = Annotated[int, msgspec.Meta(ge=0, le=60_000)]
IntervalMs = Annotated[int, msgspec.Meta(ge=20, le=10_240)]  # Vol 4 Part E 7.8.5
Ppm = Annotated[float, msgspec.Meta(ge=-100_000, le=100_000)]


ChannelManner = Literal["works", "none", "refuses", "unanswered", "mute", "drops"]
"""What a lock does about its L2CAP channel: it works; it has none; it refuses; it does not answer the request; it opens
and says nothing; it closes in the middle of its first answer."""


class Advertising(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a lock adverts. 250 ms idle costs 26 locks together 1 % of a core and finds a sleeping one in time."""

    idle_ms: IntervalMs = 250
    woken_ms: IntervalMs = 25
    woken_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 20.0


class AirConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `firmware_bridges.ble_radio.air.Conditions`. Left out, the air misbehaves mildly."""

    connection_interval_ms: Annotated[int, msgspec.Meta(ge=0, le=4_000)] = 15
    advert_loss: Probability = 0.15
    packet_loss: Probability = 0.03
    late: Probability = 0.02
    late_ms: WaitMs = 120
    drop: Probability = 0.01
    us_per_byte: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0


BEHAVED = AirConfig(advert_loss=0, packet_loss=0, late=0, drop=0)


class HciConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where phones and the edge get their controllers: each port serves up to `most` callers, one controller each."""

    host: str = "127.0.0.1"
    ports: tuple[Port, ...] = (0,)
    most: Annotated[int, msgspec.Meta(ge=1, le=256)] = 64


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a hand or the weather sets on one lock; all of them can be changed at run time."""

    battery_percent: Percent = 100
    """Setting it puts cells of that charge in; the lock measures their voltage and empties them (battery.py)."""
    privacy: bool = False
    """The deadbolt is thrown from inside."""
    door_closed: bool = True
    drift_ppm: Ppm = 20.0
    crypto_ms: WaitMs = 45
    """What the lock's own processor takes for the public-key work of one command (door.md 6: Cortex-M4, warm)."""
    fast_ms: WaitMs = 5
    """The same for FAST, which takes hashes alone."""
    motor_ms: WaitMs = 250
    relock_ms: WaitMs = 5_000
    """How long the bolt stays drawn."""
    settle_ms: WaitMs = 1_000
    """How long the bolt lies still before the lock notes it (protocols/door/SPEC.md 8.1)."""
    bolt_sensor: bool = True
    jams: bool = False
    """The bolt sticks half-way when it is thrown."""
    powered: bool = True
    channel: ChannelManner = "works"
    channel_mps: Annotated[int, msgspec.Meta(ge=23, le=65_533)] = CHANNEL_MPS
    """How long a packet to it may be, and how many it takes at once: 23 and 1 are the least."""
    channel_credits: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = LOCK_CREDITS
    att_mtu: Annotated[int, msgspec.Meta(ge=23, le=517)] = 517
    """The largest ATT MTU it agrees to; 23 is the one that nobody agreed on."""


class LockConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One lock as it left commissioning."""

    door: str
    identity: dict[str, Any]
    """`protocols.door.identity.LockIdentity.to_document()`."""
    knobs: Knobs = Knobs()


class EmulatorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    v: Annotated[int, msgspec.Meta(ge=1, le=1)]
    state_dir: Annotated[str, msgspec.Meta(min_length=1)]
    """Where the locks' memories survive; made if it is not there."""
    locks: Annotated[tuple[LockConfig, ...], msgspec.Meta(max_length=1_000)]
    control: str = "tcp:127.0.0.1:0"
    """`unix:PATH` or `tcp:HOST:PORT`."""
    hci: HciConfig = HciConfig()
    advertising: Advertising = Advertising()
    air: AirConfig = AirConfig()
    misbehaves: bool = True
    """False: nothing is lost, late or dropped, whatever `air` says."""
    seed: int = 1
    """Of the misbehaviour; the locks' keys and nonces come from the system."""

    @property
    def conditions(self) -> AirConfig:
        """The air as asked for."""
        if self.misbehaves:
            return self.air
        air = self.air
        return msgspec.structs.replace(
            BEHAVED, connection_interval_ms=air.connection_interval_ms, us_per_byte=air.us_per_byte
        )


def load(path: Path) -> EmulatorConfig:
    """Read the file. Raises InvalidInputError naming file, key and value."""
    try:
        config = msgspec.json.decode(path.read_bytes(), type=EmulatorConfig)
    except OSError as error:
        raise InvalidInputError(str(path), str(error.strerror)) from error
    except msgspec.DecodeError as error:
        raise InvalidInputError(str(path), str(error)) from error
    doors = [each.door for each in config.locks]
    if twice := sorted({door for door in doors if doors.count(door) > 1}):
        raise InvalidInputError(f"{path}: locks", f"{', '.join(twice)} are there twice")
    return config
