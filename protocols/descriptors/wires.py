"""The wires that a model can hang on, and how each wants to be spoken to. Source of truth: SPEC.md section 2."""

from typing import Annotated, Final, Literal

import msgspec

REGISTERS_A_READ_MAX: Final = 125  # Modbus application protocol 1.1b3, 6.3

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=7 * 86_400)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frozen, and refuses what it does not know."""


class ModbusWire(_Strict, frozen=True, tag_field="kind", tag="modbus"):
    """How the unit wants to be asked.

    `block_most` registers at most in one read, `gap_most` unasked ones may be read along to save a request;
    `unreadable` names registers that answer an exception and must not be read along (`"holding:12"`). `writes`:
    `single` writes one register by function 6, one coil by 5, and more registers by 16; `multiple` knows 16 and 15
    alone, as many meters and controllers do.
    """

    answer_wait_ms: Annotated[int, msgspec.Meta(ge=20, le=60_000)] = 500
    pause_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 0
    block_most: Annotated[int, msgspec.Meta(ge=1, le=REGISTERS_A_READ_MAX)] = 64
    gap_most: Annotated[int, msgspec.Meta(ge=0, le=REGISTERS_A_READ_MAX)] = 8
    unreadable: tuple[str, ...] = ()
    writes: Literal["single", "multiple"] = "single"


class Zigbee2MqttWire(_Strict, frozen=True, tag_field="kind", tag="zigbee2mqtt"):
    """What Zigbee2MQTT calls the model, and how long the device may be silent and yet be well."""

    model: _Text
    silence_s: _Seconds
    answer_wait_ms: Annotated[int, msgspec.Meta(ge=20, le=60_000)] = 3_000


class OpcUaWire(_Strict, frozen=True, tag_field="kind", tag="opcua"):
    """The node id of the device's object; points' nodes start with `{root}`."""

    root: _Text
    publishing_ms: Annotated[int, msgspec.Meta(ge=10, le=600_000)] = 500
    answer_wait_ms: Annotated[int, msgspec.Meta(ge=20, le=60_000)] = 4_000


class Availability(_Strict, frozen=True):
    """The topic on which a device or its last will says whether it is there, and in which words."""

    topic: _Text
    online: str
    offline: str


class Ask(_Strict, frozen=True):
    """What makes a device tell its state: a topic to publish to, and the payload."""

    topic: _Text
    payload: str = ""


class MqttWire(_Strict, frozen=True, tag_field="kind", tag="mqtt"):
    """A device that speaks on the site broker by itself; `{name}` in every topic is its name in the site plan."""

    silence_s: _Seconds
    answer_wait_ms: Annotated[int, msgspec.Meta(ge=20, le=60_000)] = 2_000
    availability: Availability | None = None
    ask: tuple[Ask, ...] = ()


class BleAdvertWire(_Strict, frozen=True, tag_field="kind", tag="ble_advert"):
    """A sensor that advertises. `encoding` names the decoder (adverts.py), whose fields the points' paths are."""

    encoding: Literal["bthome_v2", "pvvx", "atc1441", "ruuvi_5", "govee_h5075", "mibeacon"]
    silence_s: _Seconds


class PeripheralWire(_Strict, frozen=True, tag_field="kind", tag="peripheral"):
    """A kiosk peripheral on a line of its own. `dialect` names its language (protocols/peripherals)."""

    dialect: Literal["escpos", "quio_card_dispenser", "honeywell_ocr"]
    poll_s: Annotated[float, msgspec.Meta(ge=0.01, le=3600)] = 5
    answer_wait_ms: Annotated[int, msgspec.Meta(ge=20, le=60_000)] = 1_000


class AnnouncedWire(_Strict, frozen=True, tag_field="kind", tag="announced"):
    """A device that announced itself (protocols/home_assistant): no file describes it, its points are its own words."""

    silence_s: _Seconds
    answer_wait_ms: Annotated[int, msgspec.Meta(ge=20, le=60_000)] = 3_000


Wire = ModbusWire | Zigbee2MqttWire | OpcUaWire | MqttWire | BleAdvertWire | PeripheralWire | AnnouncedWire
