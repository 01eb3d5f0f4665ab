"""Devices that announce themselves to Home Assistant, as their makers' firmwares do it, on the real wire.

Five ways that are met in houses: a plug that announces its entities one by one with abbreviations and one JSON for all
its sensors (as Tasmota), a climate node that announces itself as one device on topics of its own (as ESPHome), a lamp
in JSON, one in colours, and a contact that says `true` and `false`. They misbehave as the others on the broker do:
twice, out of order, torn, deaf; besides, `flap` has one announce itself otherwise and back, and `take_back` has it
announce nothing.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from firmware_bridges.field_emulator.broker_things import TALK_S, Talker
from firmware_bridges.field_emulator.misbehaviour import Misbehaviour
from kit.clock import Clock
from kit.net import Message, Transport

PREFIX: Final = "homeassistant"
State = dict[str, Any]
Say = Callable[[State], bytes]
Hear = Callable[[State, bytes], None]


@dataclass(slots=True)
class Announcer:
    """One device: what it announces, what it says of its state, and what it takes."""

    name: str
    configs: Mapping[str, Mapping[str, Any]]
    says: Mapping[str, Say]
    hears: Mapping[str, Hear]
    lwt: str
    words: tuple[str, str] = ("online", "offline")
    state: State = field(default_factory=dict)


def plug(name: str, area: str = "") -> Announcer:
    """Return a metering plug that announces itself as Tasmota does."""
    base, about = (
        f"dev/{name}",
        {"ids": [name], "name": f"Plug {area}", "mf": "Tasmota", "mdl": "Sonoff Pow", "sa": area},
    )
    shared = {"dev": about, "o": {"name": "Tasmota", "sw": "14.1.0"}, "avty_t": f"{base}/LWT"}
    shared = {**shared, "pl_avail": "Online", "pl_not_avail": "Offline"}
    sensor = {**shared, "stat_t": f"{base}/SENSOR"}

    def switched(state: State, payload: bytes) -> None:
        if payload in (b"ON", b"OFF"):
            state["on"] = payload == b"ON"
            state["power"] = 41.5 if state["on"] else 0

    return Announcer(
        name,
        {
            f"{PREFIX}/switch/{name}_RL_1/config": {
                **shared, "name": "Socket", "uniq_id": f"{name}_RL_1", "stat_t": f"{base}/STATE",
                "cmd_t": f"{base}/cmnd", "val_tpl": "{{value_json.POWER}}", "pl_on": "ON", "pl_off": "OFF",
            },
            f"{PREFIX}/sensor/{name}_ENERGY_Power/config": {
                **sensor, "name": "Power", "uniq_id": f"{name}_Power", "dev_cla": "power", "unit_of_meas": "W",
                "val_tpl": "{{value_json['ENERGY']['Power']}}",
            },
            f"{PREFIX}/sensor/{name}_ENERGY_Total/config": {
                **sensor, "name": "Energy total", "uniq_id": f"{name}_Total", "dev_cla": "energy",
                "unit_of_meas": "kWh", "val_tpl": "{{value_json['ENERGY']['Total'] | float | round(3)}}",
            },
            f"{PREFIX}/sensor/{name}_ENERGY_Today/config": {
                **sensor, "name": "Energy today", "uniq_id": f"{name}_Today", "dev_cla": "energy",
                "unit_of_meas": "kWh", "val_tpl": "{{value_json['ENERGY']['Today']}}",
            },
            f"{PREFIX}/sensor/{name}_status/config": {
                **sensor, "name": "Status", "uniq_id": f"{name}_status", "val_tpl": "{{ states('sensor.x') }}",
                "dev_cla": "power", "unit_of_meas": "W",
            },
        },
        {
            f"{base}/STATE": lambda state: msgspec.json.encode({"POWER": "ON" if state["on"] else "OFF", "Uptime": 7}),
            f"{base}/SENSOR": lambda state: msgspec.json.encode(
                {"ENERGY": {"Power": state["power"], "Total": 12.3456, "Today": 0.2}}
            ),
        },
        {f"{base}/cmnd": switched},
        f"{base}/LWT",
        ("Online", "Offline"),
        {"on": False, "power": 0},
    )  # fmt: skip


def climate(name: str, area: str = "") -> Announcer:
    """Return a thermostat that announces itself as one device, in degrees Fahrenheit, as ESPHome may."""
    base = f"dev/{name}"

    def mode(state: State, payload: bytes) -> None:
        if payload.decode(errors="replace") in ("off", "heat", "cool"):
            state["mode"] = payload.decode()

    def setpoint(state: State, payload: bytes) -> None:
        try:
            state["set"] = min(86.0, max(50.0, float(payload)))
        except ValueError:
            return

    own = {
        "p": "climate", "~": base, "uniq_id": f"{name}-climate", "name": None, "modes": ["off", "heat", "cool"],
        "temp_unit": "F", "min_temp": 50, "max_temp": 86, "temp_step": 1, "curr_temp_t": "~/now",
        "temp_stat_t": "~/set", "temp_cmd_t": "~/set/command", "mode_stat_t": "~/mode",
        "mode_cmd_t": "~/mode/command", "act_t": "~/action",
    }  # fmt: skip
    restart = {"p": "button", "uniq_id": f"{name}-r", "cmd_t": f"{base}/restart"}
    humidity = {"p": "sensor", "uniq_id": f"{name}-h", "dev_cla": "humidity", "unit_of_meas": "%"}
    humidity["stat_t"] = f"{base}/rh"
    about = {
        "ids": [name],
        "cns": [["mac", "A4:CF:12:00:11:22"]],
        "name": f"Climate {area}",
        "mf": "Espressif",
        "sa": area,
    }
    return Announcer(
        name,
        {
            f"{PREFIX}/device/{name}/config": {
                "dev": about,
                "o": {"name": "esphome", "sw": "2025.4.0"},
                "avty": [{"t": f"{base}/status"}],
                "cmps": {
                    "climate": own,
                    "humidity": humidity,
                    "restart": restart,
                },
            }
        },
        {
            f"{base}/now": lambda state: str(state["now"]).encode(),
            f"{base}/set": lambda state: str(state["set"]).encode(),
            f"{base}/mode": lambda state: str(state["mode"]).encode(),
            f"{base}/action": lambda state: b"off" if state["mode"] == "off" else b"heating",
            f"{base}/rh": lambda _: b"41.5",
        },
        {f"{base}/set/command": setpoint, f"{base}/mode/command": mode},
        f"{base}/status",
        state={"now": 68.0, "set": 68.0, "mode": "heat"},
    )


def lamp(name: str, area: str = "") -> Announcer:
    """Return a dimmable lamp that speaks JSON."""
    base = f"dev/{name}"

    def taken(state: State, payload: bytes) -> None:
        try:
            asked = json.loads(payload)
        except ValueError:
            return
        if isinstance(asked, dict):
            state.update({key: asked[key] for key in ("state", "brightness") if key in asked})

    about = {"ids": [name], "name": f"Lamp {area}", "sa": area}
    return Announcer(
        name,
        {
            f"{PREFIX}/light/{name}/config": {
                "dev": about, "uniq_id": name, "schema": "json", "stat_t": base, "cmd_t": f"{base}/set",
                "brightness": True, "bri_scl": 100, "avty_t": f"{base}/status",
            }
        },
        {base: msgspec.json.encode},
        {f"{base}/set": taken},
        f"{base}/status",
        state={"state": "OFF", "brightness": 40},
    )  # fmt: skip


HUE_STEPS: Final = 254
"""Zigbee's CurrentHue and CurrentSaturation."""
XY_STEPS: Final = 65_536
"""Zigbee's CurrentX and CurrentY."""
_KEYS: Final = {"hs": "hs", "xy": "xy", "rgb": "rgb", "rgbw": "rgbw", "rgbww": "rgbcw"}


def _held(form: str, asked: Mapping[str, Any]) -> dict[str, float] | None:
    """Return a colour as such a lamp holds it; None: it is not whole, or none, and the lamp does nothing."""
    numbers = [asked.get(key) for key in _KEYS[form]]
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
        return None
    told = [float(each) for each in numbers if each is not None]
    mosts = {"hs": [360.0, 100.0], "xy": [1.0, 1.0]}.get(form, [255.0] * len(told))
    if not all(0 <= each <= most for each, most in zip(told, mosts, strict=True)):
        return None
    steps = HUE_STEPS if form == "hs" else XY_STEPS if form == "xy" else 255
    held = [round(round(each / most * steps) / steps * most, 4) for each, most in zip(told, mosts, strict=True)]
    return dict(zip(_KEYS[form], held, strict=True))


def colour_lamp(name: str, area: str = "", *, form: str = "hs", in_json: bool = True) -> Announcer:
    """Return a lamp that shows white or a colour, in JSON (as Zigbee2MQTT and ESPHome) or on topics (as Tasmota).

    Args:
        name: Its own.
        area: Its room.
        form: `hs`, `xy`, `rgb`, `rgbw` or `rgbww`.
        in_json: Else its colour has a topic of its own, and a command takes the whole colour as text.
    """
    base, about = f"dev/{name}", {"ids": [name], "name": f"Lamp {area}", "sa": area}

    def taken(state: State, payload: bytes) -> None:
        try:
            asked = json.loads(payload)
        except ValueError:
            return
        if not isinstance(asked, dict):
            return
        if asked.get("state") in ("ON", "OFF"):
            state["state"] = asked["state"]
        if isinstance(asked.get("color"), dict) and (colour := _held(form, asked["color"])) is not None:
            state.update(color=colour, color_mode=form)
        if isinstance(asked.get("color_temp"), int):
            state.update(color_temp=asked["color_temp"], color_mode="color_temp")

    def chosen(state: State, payload: bytes) -> None:
        try:
            numbers = [float(each) for each in payload.decode().split(",")]
        except ValueError:
            return
        if len(numbers) == len(_KEYS[form]) and (colour := _held(form, dict(zip(_KEYS[form], numbers, strict=True)))):
            state.update(color=colour, color_mode=form)

    def switched(state: State, payload: bytes) -> None:
        if payload in (b"ON", b"OFF"):
            state["state"] = payload.decode()

    shared = {"dev": about, "uniq_id": name, "avty_t": f"{base}/status"}
    says: dict[str, Say]
    if in_json:
        config = {
            **shared, "schema": "json", "stat_t": base, "cmd_t": f"{base}/set", "sup_clrm": [form, "color_temp"],
        }  # fmt: skip
        says, hears = {base: msgspec.json.encode}, {f"{base}/set": taken}
    else:
        config = {
            **shared, "stat_t": base, "cmd_t": f"{base}/set", f"{form}_stat_t": f"{base}/colour",
            f"{form}_cmd_t": f"{base}/colour/set",
        }  # fmt: skip
        says = {
            base: lambda state: str(state["state"]).encode(),
            f"{base}/colour": lambda state: ",".join(f"{each:g}" for each in state["color"].values()).encode(),
        }
        hears = {f"{base}/set": switched, f"{base}/colour/set": chosen}
    white = {"hs": {"h": 0.0, "s": 0.0}, "xy": {"x": 0.3127, "y": 0.329}}.get(form)
    state = {"state": "OFF", "color_mode": "color_temp", "color_temp": 300}
    state["color"] = white or dict.fromkeys(_KEYS[form], 255.0)
    return Announcer(name, {f"{PREFIX}/light/{name}/config": config}, says, hears, f"{base}/status", state=state)


def contact(name: str, area: str = "") -> Announcer:
    """Return a window contact that says true and false, and nothing of being there."""
    base = f"dev/{name}"
    return Announcer(
        name,
        {
            f"{PREFIX}/binary_sensor/{name}/contact/config": {
                "dev": {"ids": name, "name": f"Window {area}", "sa": area}, "uniq_id": name, "dev_cla": "window",
                "stat_t": base, "val_tpl": "{{ value_json.open }}", "pl_on": True, "pl_off": False, "exp_aft": 3600,
            }
        },
        {base: lambda state: msgspec.json.encode({"open": state["open"]})},
        {},
        "",
        state={"open": False},
    )  # fmt: skip


class Announcers(Talker):
    """The devices of one broker, with a client in common.

    Args:
        things: What there is.
        transport: The way to the broker.
        misbehaviour: Shared with the other buses.
        clock: Both clocks.
    """

    def __init__(
        self, things: Sequence[Announcer], transport: Transport, misbehaviour: Misbehaviour, clock: Clock
    ) -> None:
        super().__init__(transport, misbehaviour, clock)
        self.things = {each.name: each for each in things}
        self._of_topic = {topic: each for each in things for topic in each.hears}

    def tell(self, name: str) -> None:
        """Have a device say its whole state."""
        thing = self.things[name]
        for topic, say in thing.says.items():
            self._say(topic, say(thing.state))

    def change(self, name: str, **state: object) -> None:
        """Change a device by hand, and have it say so."""
        self.things[name].state.update(state)
        self.tell(name)

    def power(self, name: str, *, on: bool) -> None:
        """Have its last will, or its birth, said."""
        thing = self.things[name]
        if thing.lwt:
            self._queue((thing.lwt, thing.words[0 if on else 1].encode(), True))
        if on:
            self.tell(name)

    def announce(self, name: str) -> None:
        """Have it announce itself, retained as its makers do."""
        for topic, config in self.things[name].configs.items():
            self._queue((topic, msgspec.json.encode(config), True))

    def take_back(self, name: str) -> None:
        """Have it take back everything that it announced."""
        for topic in self.things[name].configs:
            self._queue((topic, b"", True))

    def flap(self, name: str, times: int) -> None:
        """Have it announce itself otherwise and back, again and again."""
        thing = self.things[name]
        for number in range(times):
            for topic, config in thing.configs.items():
                self._queue((topic, msgspec.json.encode({**config, "icon": f"mdi:{number}"}), True))
        self.announce(name)

    def _filters(self) -> list[str]:
        return [f"{PREFIX}/status", *sorted(self._of_topic)]

    def _begin(self) -> None:
        for name in self.things:
            self.announce(name)
            self.power(name, on=True)

    async def _talk(self) -> None:
        while True:
            await asyncio.sleep(TALK_S)
            for name in self.things:
                self.tell(name)

    def _take(self, message: Message) -> None:
        if message.topic == f"{PREFIX}/status":
            for name in self.things if message.payload == b"online" else ():
                self.announce(name)
            return
        thing = self._of_topic.get(message.topic)
        if thing is None or self._luck.happens(self._luck.knobs.radio_loss):
            return
        self.counts["writes"] += 1
        thing.hears[message.topic](thing.state, message.payload)
        self.tell(thing.name)
