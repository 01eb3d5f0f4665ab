"""What a model does otherwise under some of its firmwares: where it tells its version, and what then differs.

Source of truth: SPEC.md section 8. Shapes alone; `firmware.py` applies them, `descriptor.py` checks that every firmware
of a model makes a right descriptor.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

from protocols.descriptors.wires import Ask
from protocols.device_model.capability import Capability

QUIRKS_MAX: Final = 32
VERSION_WORDS_MAX: Final = 16

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Bound = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frozen, and refuses what it does not know."""


class Firmware(_Strict, frozen=True):
    """Where a device tells the version of its firmware.

    Modbus: `table` and `register` (with `words` and `form`), or `object`, a number of its device identification
    (function 43; 2 is the revision). Plain MQTT: `topic` and the `path` in its JSON, and `ask`, which makes it tell.
    OPC UA: `node`. Zigbee2MQTT lists it (`software_build_id`): nothing need be said. The version begins behind the last
    `after` of the text.

    `form`, of registers: `text` (two characters each), `number` (12 is 12), `hundredths` (122 is 1.22),
    `hex_hundredths` (0x0122 is 1.22), `bytes` (0x0102 is 1.2).
    """

    table: Literal["input", "holding"] | None = None
    register: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)] | None = None
    words: Annotated[int, msgspec.Meta(ge=1, le=VERSION_WORDS_MAX)] = 1
    form: Literal["text", "number", "hundredths", "hex_hundredths", "bytes"] = "number"
    object: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    topic: str | None = None
    path: str | None = None
    ask: Ask | None = None
    node: str | None = None
    after: Annotated[str, msgspec.Meta(max_length=20)] = ""


class Change(_Strict, frozen=True):
    """What a firmware does to one attribute: `missing`, `read_only`, or other keys of its point in `set`.

    An attribute that the model does not have otherwise is one that only this firmware has: `set` is its whole point.
    """

    capability: Capability
    attribute: str
    missing: bool = False
    read_only: bool = False
    set: dict[str, Any] = {}


class Quirk(_Strict, frozen=True):
    """What some firmware does otherwise.

    Of versions from `since` on and `before` another, `points` and keys of `wire` differ; `source` is who says so. What
    no version tells (a setting, a sister model) is named in `firmware`, for people, and changes nothing.
    """

    says: _Text
    since: _Bound | None = None
    before: _Bound | None = None
    firmware: Annotated[str, msgspec.Meta(max_length=200)] = ""
    source: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    points: tuple[Change, ...] = ()
    wire: dict[str, Any] = {}

    @property
    def machine(self) -> bool:
        """Whether it changes what adapter and emulator do."""
        return bool(self.points or self.wire)

    @property
    def versions(self) -> str:
        """Which versions, for people."""
        if self.since is None and self.before is None:
            return self.firmware
        told = [f"from {self.since}"] if self.since is not None else []
        return " ".join(told + ([f"before {self.before}"] if self.before is not None else []))
