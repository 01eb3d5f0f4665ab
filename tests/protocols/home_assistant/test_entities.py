"""Announcements: what each component becomes, what is refused and why, and that any payload whatever is one or none."""

import contextlib
import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.descriptors.codec import allow
from protocols.device_model.capability import Kind, problem_with
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality
from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.home_assistant import announcements
from protocols.home_assistant.announcements import CONFIG_BYTES_MAX, Announcement, Entity
from protocols.home_assistant.availability import Availability, Presence, availability_of
from protocols.home_assistant.codec import payload_of, readings_of_message, settled
from protocols.home_assistant.components import made
from protocols.home_assistant.entities import AnnouncedPoint, Made

DEVICE: Final = DeviceId("thing")


def announced(config: object, topic: str = "homeassistant/sensor/node/thing/config") -> Announcement:
    where = announcements.where("homeassistant", topic)
    assert where is not None
    found = announcements.parse(where, topic, json.dumps(config).encode())
    assert found is not None
    return found


def entity(component: str, **options: Any) -> Entity:
    return announced(options, f"homeassistant/{component}/node/thing/config").entities[0]


def anywhere(topic: str) -> str | None:
    return "has a wildcard" if "+" in topic or "#" in topic else None


def points(component: str, **options: Any) -> dict[str, AnnouncedPoint]:
    return {f"{each.capability.value}.{each.attribute}": each for each in taken(component, **options).points}


def taken(component: str, **options: Any) -> Made:
    return made(entity(component, **options), anywhere)


def said(point: AnnouncedPoint, payload: str) -> tuple[object, str] | None:
    found = readings_of_message([point], DEVICE, payload.encode())
    return (found[0].value, found[0].quality.value) if found else None


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize(
    ("options", "key", "payload", "value"),
    [
        ({"dev_cla": "temperature", "unit_of_meas": "°C"}, "temperature_measurement.measured_value", "21.5", 21.5),
        ({"dev_cla": "temperature", "unit_of_meas": "°F"}, "temperature_measurement.measured_value", "68", 20.0),
        ({"dev_cla": "temperature", "unit_of_meas": "K"}, "temperature_measurement.measured_value", "293.15", 20.0),
        ({"unit_of_meas": "°C"}, "temperature_measurement.measured_value", "-4", -4),
        ({"dev_cla": "humidity", "unit_of_meas": "%"}, "relative_humidity_measurement.measured_value", "40.5", 40.5),
        ({"dev_cla": "illuminance", "unit_of_meas": "lx"}, "illuminance_measurement.measured_value", "120", 120),
        (
            {"dev_cla": "atmospheric_pressure", "unit_of_meas": "hPa"},
            "pressure_measurement.measured_value",
            "1013",
            101.3,
        ),
        ({"dev_cla": "pm25", "unit_of_meas": "µg/m³"}, "pm2_5_concentration_measurement.measured_value", "8", 8),
        ({"dev_cla": "power", "unit_of_meas": "kW"}, "electrical_measurement.active_power", "1.5", 1500.0),
        ({"dev_cla": "energy", "unit_of_meas": "Wh"}, "electrical_measurement.cumulative_energy_imported", "1500", 1.5),
        (
            {"dev_cla": "energy", "unit_of_meas": "kWh", "name": "Energy returned"},
            "electrical_measurement.cumulative_energy_exported",
            "3",
            3,
        ),
        ({"dev_cla": "power_factor", "unit_of_meas": "%"}, "electrical_measurement.power_factor", "95", 0.95),
        ({"dev_cla": "voltage", "unit_of_meas": "V"}, "electrical_measurement.rms_voltage", "231", 231),
        (
            {"dev_cla": "voltage", "unit_of_meas": "mV", "ent_cat": "diagnostic"},
            "power_source.bat_voltage",
            "3015",
            3.015,
        ),
        ({"dev_cla": "battery", "unit_of_meas": "%"}, "power_source.bat_percent_remaining", "88", 88),
        ({"unit_of_meas": "lqi"}, "network_diagnostics.link_quality", "120", 120),
    ],
)
def test_a_sensor_is_what_its_class_and_unit_say(options: dict[str, Any], key: str, payload: str, value: float) -> None:
    point = points("sensor", stat_t="a/b", **options)[key]
    assert said(point, payload) == (value, "good")


@pytest.mark.parametrize(
    ("klass", "on", "off"),
    [
        ("motion", True, False),
        ("door", False, True),
        ("window", False, True),
        ("moisture", True, False),
        ("smoke", "critical", "normal"),
        ("battery", "critical", "ok"),
        ("problem", True, False),
    ],
)
def test_a_binary_sensor_is_what_its_class_says(klass: str, on: object, off: object) -> None:
    [point] = points("binary_sensor", dev_cla=klass, stat_t="a/b").values()
    assert (said(point, "ON"), said(point, "OFF")) == ((on, "good"), (off, "good"))
    assert said(point, "perhaps") == (None, "bad")
    assert said(point, "unavailable") == (None, "bad")
    assert said(point, "") is None


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("component", "options", "why"),
    [
        ("lock", {"cmd_t": "a"}, "grants alone"),
        ("binary_sensor", {"dev_cla": "lock", "stat_t": "a"}, "grants alone"),
        ("cover", {"dev_cla": "garage", "cmd_t": "a"}, "grants alone"),
        ("button", {"cmd_t": "a"}, "no state"),
        ("camera", {"t": "a"}, "no place"),
        ("x" * 150, {"t": "a"}, "no place"),
        ("sensor", {"dev_cla": "temperature", "unit_of_meas": "°Re", "stat_t": "a"}, "none of °C"),
        ("sensor", {"dev_cla": "temperature", "unit_of_meas": "°C"}, "not announced"),
        ("sensor", {"dev_cla": "temperature", "unit_of_meas": "°C", "stat_t": "a/#"}, "wildcard"),
        ("sensor", {"dev_cla": "temperature", "unit_of_meas": "°C", "stat_t": ["a"]}, "is no topic"),
        ("sensor", {"dev_cla": "timestamp", "stat_t": "a"}, "no attribute"),
        ("sensor", {"stat_t": "a", "unit_of_meas": "%"}, "no attribute"),
        (
            "sensor",
            {"dev_cla": "power", "unit_of_meas": "W", "stat_t": "a", "val_tpl": "{{ states('x') }}"},
            "'states' is outside",
        ),
        ("sensor", {"dev_cla": "power", "unit_of_meas": "W", "stat_t": "a", "val_tpl": 7}, "no template"),
        ("sensor", {"dev_cla": "power", "unit_of_meas": "W", "stat_t": "a", "e": "latin-1"}, "utf-8"),
        ("sensor", {"dev_cla": "energy", "unit_of_meas": "kWh", "stat_t": "a", "name": "Energy today"}, "of a day"),
        ("binary_sensor", {"stat_t": "a"}, "not said"),
        ("switch", {"stat_t": "a"}, "command_topic"),
        ("switch", {"cmd_t": "a", "ent_cat": "config"}, "setting"),
        ("switch", {"cmd_t": "a", "pl_on": "X", "pl_off": "X"}, "both on and off"),
        ("light", {"cmd_t": "a", "schema": "template"}, "default one and json"),
        ("number", {"cmd_t": "a", "dev_cla": "temperature", "name": "calibration"}, "no setpoint"),
        ("select", {"cmd_t": "a", "ops": ["red", "blue"]}, "neither the modes"),
    ],
)
def test_what_is_not_taken_is_told_with_its_reason(component: str, options: dict[str, Any], why: str) -> None:
    found = taken(component, **options)
    assert found.points == []
    assert any(why in reason for _, reason in found.refused), found.refused


@pytest.mark.requirement("DEV-06")
def test_a_thermostat_is_read_and_commanded_in_its_own_unit_and_words() -> None:
    found = points(
        "climate",
        curr_temp_t="c/now",
        temp_stat_t="c/set",
        temp_cmd_t="c/set/cmd",
        temp_unit="F",
        min_temp=50,
        max_temp=86,
        mode_stat_t="c/mode",
        mode_cmd_t="c/mode/cmd",
        modes=["off", "heat", "heat_cool"],
        act_t="c/action",
        fan_mode_cmd_t="c/fan/cmd",
        fan_modes=["low", "High", "turbo"],
    )
    setpoint = found["thermostat.occupied_heating_setpoint"]
    assert said(setpoint, "68") == (20.0, "good")
    assert setpoint.write is not None
    assert (setpoint.write.least, setpoint.write.most) == (10.0, 30.0)
    assert payload_of(setpoint, 20.0) == b"68"
    for wanted in (22, 21.7, 10.1, 30):  # whatever is asked for in Celsius, whole degrees Fahrenheit are sent
        allowed = allow(setpoint, wanted)
        assert not isinstance(allowed, str)
        assert float(payload_of(setpoint, allowed.value)).is_integer()
    mode = found["thermostat.system_mode"]
    assert said(mode, "heat_cool") == ("auto", "good")
    assert said(mode, "fan_only") == (None, "bad")
    assert (payload_of(mode, "auto"), payload_of(mode, "heat")) == (b"heat_cool", b"heat")
    with pytest.raises(LocalProtocolError):
        payload_of(mode, "cool")
    assert isinstance(allow(mode, "cool"), str)
    assert said(found["thermostat.thermostat_running_mode"], "idle") == ("off", "good")
    fan = found["fan_control.fan_mode"]
    assert fan.topic is None
    assert payload_of(fan, "high") == b"High"


def test_a_climate_that_only_cools_has_a_cooling_setpoint() -> None:
    assert "thermostat.occupied_cooling_setpoint" in points("climate", temp_stat_t="a", modes=["off", "cool", "dry"])


def test_a_lamp_in_json_is_read_and_commanded_by_its_parts() -> None:
    found = points(
        "light", schema="json", stat_t="l", cmd_t="l/set", brightness=True, bri_scl=100, sup_clrm=["color_temp"]
    )
    state = '{"state":"ON","brightness":50,"color_temp":300}'
    assert said(found["on_off.on_off"], state) == (True, "good")
    level = found["level_control.current_level"]
    assert said(level, state) == (127, "good")
    assert said(level, '{"state":"OFF"}') is None
    assert json.loads(payload_of(level, 127)) == {"state": "ON", "brightness": 50}
    assert settled(level, 128, 127)
    assert not settled(level, 128, 120)
    assert json.loads(payload_of(found["on_off.on_off"], False)) == {"state": "OFF"}
    assert json.loads(payload_of(found["color_control.color_temperature_mireds"], 250))["color_temp"] == 250
    assert said(level, "ON") == (None, "bad")


def test_a_cover_counts_from_open_whichever_way_it_announces_itself() -> None:
    [by_position] = points("cover", pos_t="p", set_pos_t="p/set", pos_open=0, pos_clsd=100).values()
    assert (said(by_position, "30"), payload_of(by_position, 30)) == ((30.0, "good"), b"30")
    [usual] = points("cover", pos_t="p", set_pos_t="p/set").values()
    assert (said(usual, "100"), payload_of(usual, 100)) == ((0.0, "good"), b"0")
    [plain] = points("cover", cmd_t="c", stat_t="s").values()
    assert (said(plain, "open"), said(plain, "closed"), said(plain, "opening")) == ((0, "good"), (100, "good"), None)
    assert (payload_of(plain, 0), payload_of(plain, 100)) == (b"OPEN", b"CLOSE")


def test_abbreviations_and_full_names_are_one_and_a_base_is_put_in() -> None:
    short = entity(
        "switch", **{"~": "plug", "cmd_t": "~/set", "stat_t": "state/~", "uniq_id": "u", "dev": {"ids": "x"}}
    )
    long = entity(
        "switch", command_topic="plug/set", state_topic="state/plug", unique_id="u", device={"identifiers": "x"}
    )
    assert (short.key, short.options) == (long.key, long.options)


def test_a_whole_device_shares_what_it_says_once_and_a_bare_component_is_none() -> None:
    found = announced(
        {
            "dev": {"ids": ["a", 7], "cns": [["mac", "AA-BB-CC-00-11-22"], ["zigbee", "x"]], "name": "Room\u0000 101"},
            "o": {"name": "maker"},
            "avty_t": "base/there",
            "cmps": {
                "one": {"p": "sensor", "~": "base", "stat_t": "~/one", "dev_cla": "power", "unit_of_meas": "W"},
                "two": {"p": "switch", "~": "other", "cmd_t": "~/two"},
                "gone": {"p": "sensor"},
            },
        },
        "homeassistant/device/thing/config",
    )
    assert found.marks == {"id:a", "id:7", "mac:aa:bb:cc:00:11:22"}
    assert (found.about.name, found.origin) == ("Room\ufffd 101", "maker")
    one, two = found.entities
    assert (one.options["state_topic"], one.options["availability_topic"]) == ("base/one", "base/there")
    assert two.options["command_topic"] == "other/two"


def test_the_parts_of_a_device_are_the_device_and_each_is_called_by_its_part() -> None:
    """Home Assistant 2026.11 (mqtt/schemas.py): `child_devices` beside `components` or instead of them."""
    relay = {"p": "switch", "name": "relay", "cmd_t": "~/set", "stat_t": "~/now"}
    found = announced(
        {
            "dev": {"ids": "panel"},
            "avty_t": "panel/there",
            "cmps": {"power": {"p": "sensor", "stat_t": "panel/w", "dev_cla": "power", "unit_of_meas": "W"}},
            "cdevs": [
                {"ids": "panel-a", "name": "Bed", "cmps": {"a": {**relay, "~": "panel/a"}, "old": {"p": "switch"}}},
                {"ids": ["panel-b"], "components": {"b": {**relay, "~": "panel/b"}}},
            ],
        },
        "homeassistant/device/panel/config",
    )
    assert found.marks == {"id:panel"}
    assert [(each.name, each.options["availability_topic"]) for each in found.entities] == [
        ("power", "panel/there"),
        ("Bed relay", "panel/there"),
        ("relay", "panel/there"),
    ]
    assert [each.options.get("command_topic") for each in found.entities] == [None, "panel/a/set", "panel/b/set"]
    alone = announced(
        {"dev": {"ids": "x"}, "cdevs": [{"ids": "y", "cmps": {"a": relay}}]}, "homeassistant/device/x/config"
    )
    assert len(alone.entities) == 1


def test_a_level_is_never_sent_as_off() -> None:
    """Home Assistant 2025.4 (mqtt/light): "Make sure the brightness is not rounded down to 0"."""
    for schema in ({}, {"schema": "json", "brightness": True, "stat_t": "l"}):
        lamp = points("light", cmd_t="l/set", bri_cmd_t="l/set", bri_stat_t="l", bri_scl=100, **schema)
        level = lamp["level_control.current_level"]
        for wanted, sent in ((1, 1), (2, 1), (3, 1), (4, 2), (128, 50), (254, 100)):
            payload = payload_of(level, wanted).decode()
            assert (json.loads(payload)["brightness"] if schema else int(payload)) == sent
            told = said(level, payload)
            assert told is not None
            assert settled(level, wanted, told[0])  # type: ignore[arg-type]  # a number


def test_a_lamp_that_is_lit_by_its_brightness_is_switched_on_by_its_word_too() -> None:
    """Home Assistant sends brightness alone then; Tasmota, which announces itself so, takes its word as ever."""
    lamp = {"cmd_t": "l/set", "stat_t": "l", "bri_cmd_t": "l/b", "bri_stat_t": "l/now", "name": "It"}
    for kind in ("brightness", "first"):
        switch = points("light", **lamp, on_cmd_type=kind)["on_off.on_off"]
        assert [payload_of(switch, on) for on in (True, False)] == [b"ON", b"OFF"]


@pytest.mark.parametrize("word", ["migrate_discovery", "migr_discvry"])
def test_an_entity_that_moves_is_taken_back_where_it_was(word: str) -> None:
    """Home Assistant 2025.4 and 2026.11 (mqtt/discovery.py) read both spellings, and where nothing else is said."""
    topic = "homeassistant/sensor/thing/config"
    where = announcements.where("homeassistant", topic)
    assert where is not None
    assert announcements.parse(where, topic, json.dumps({word: True}).encode()) is None
    assert announcements.parse(where, topic, json.dumps({word: True, "stat_t": "x"}).encode()) is not None


def test_an_entity_without_a_name_is_called_by_its_id() -> None:
    assert entity("sensor", def_ent_id="sensor.desk_lux").name == "desk_lux"
    assert entity("sensor", obj_id="desk_lux").name == "desk_lux"


@pytest.mark.parametrize(
    ("mode", "verdicts"),
    [("all", [None, True, False, False]), ("any", [True, True, True, False]), ("latest", [True, True, False, False])],
)
def test_availability_is_judged_as_it_is_announced(mode: str, verdicts: list[bool | None]) -> None:
    told = availability_of(
        entity(
            "sensor",
            avty=[
                {"t": "one"},
                {"t": "two", "pl_avail": "yes", "pl_not_avail": "no", "val_tpl": "{{ value_json.up }}"},
            ],
            avty_mode=mode,
        ),
        anywhere,
    )
    presence = Presence(told)
    heard = [("one", b"online"), ("two", b'{"up":"yes"}'), ("one", b"offline"), ("two", b'{"up":"no"}')]
    assert [presence.take(topic, payload) for topic, payload in heard] == verdicts
    assert presence.take("two", b"nonsense") is verdicts[-1]
    assert Presence(Availability()).take("one", b"online") is None


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"{" + b" " * CONFIG_BYTES_MAX + b"}", "bytes"),
        (b'{"a":1,"a":2}', "twice"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b"\xff\xfe", "no JSON"),
        (json.dumps({"cmps": {str(n): {"p": "sensor", "x": 1} for n in range(201)}}).encode(), "201 entities"),
        (b'{"cmps":{"a":{"stat_t":"x"}}}', "what it is"),
        (b'{"cmps":[]}', "without components"),
        (b'{"cdevs":[7]}', "part of a device without"),
        (b'{"cdevs":[{"ids":"a","cmps":7}]}', "part of a device without"),
        (b'{"cmps":{"a":{"p":"sensor"}},"cdevs":[{"cmps":{"a":{"p":"sensor"}}}]}', "two parts"),
        (
            json.dumps({"cdevs": [{"cmps": {str(n): {"p": "sensor", "x": 1}}} for n in range(201)]}).encode(),
            "201 entities",
        ),
        (b'{"cmps":{"a":7}}', "no JSON object"),
    ],
)
def test_what_is_no_announcement_is_refused_with_what_is_wrong(payload: bytes, problem: str) -> None:
    topic = "homeassistant/device/thing/config"
    where = announcements.where("homeassistant", topic)
    assert where is not None
    with pytest.raises(PeerProtocolError, match=problem):
        announcements.parse(where, topic, payload)


@pytest.mark.parametrize(
    "topic",
    ["homeassistant/sensor/config", "homeassistant/status", "homeassistant/a/b/c/d/config", "ha/sensor/x/config",
     "homeassistant/sensor/a b/config", "homeassistant/sensor/\u00e9/config"],
)  # fmt: skip
def test_other_topics_announce_nothing(topic: str) -> None:
    assert announcements.where("homeassistant", topic) is None


KEYS = st.sampled_from(
    ["dev_cla", "unit_of_meas", "stat_t", "cmd_t", "val_tpl", "pl_on", "pl_off", "stat_on", "schema", "brightness",
     "bri_scl", "bri_cmd_t", "bri_stat_t", "sup_clrm", "modes", "mode_cmd_t", "temp_cmd_t", "temp_stat_t",
     "min_temp", "max_temp",
     "temp_step", "temp_unit", "pos_t", "set_pos_t", "pos_open", "pos_clsd", "ops", "min", "max", "step", "name",
     "uniq_id", "dev", "o", "~", "avty", "avty_t", "avty_mode", "exp_aft", "cmps", "p", "ent_cat", "fan_modes",
     "cmd_tpl", "min_mirs", "max_mirs", "clr_temp_cmd_t", "e", "color_temp_kelvin", "min_k", "max_k", "hs_stat_t",
     "xy_stat_t", "rgb_stat_t", "rgb_cmd_t", "effect", "fx_list", "pct_cmd_t", "pct_stat_t", "spd_rng_min",
     "spd_rng_max", "pr_mode_cmd_t", "pr_modes", "tilt_cmd_t", "tilt_status_t", "tilt_min", "tilt_max",
     "set_pos_tpl", "curr_hum_t"]
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-400, 400),
        st.floats(allow_nan=False),
        st.text(max_size=8),
        st.sampled_from(
            [
                "temperature",
                "energy",
                "°C",
                "°F",
                "W",
                "a/b",
                "{{ value }}",
                "json",
                "motion",
                "F",
                "heating",
                "{{ position }}",
                "hs",
                "xy",
                "rgb",
                "color_temp",
                "auto",
                "low",
                "turbo",
            ]
        ),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
COMPONENTS = st.sampled_from(
    [
        "sensor",
        "binary_sensor",
        "switch",
        "light",
        "climate",
        "cover",
        "fan",
        "number",
        "select",
        "button",
        "lock",
        "device",
    ]
)


@pytest.mark.guarantee("G19")
@settings(max_examples=120, deadline=None)
@given(
    component=COMPONENTS,
    config=st.dictionaries(KEYS, VALUES, max_size=12),
    payload=st.one_of(st.binary(max_size=40), VALUES.map(lambda each: json.dumps(each).encode())),
    value=st.one_of(
        st.booleans(), st.integers(-300, 300), st.floats(-300, 300), st.sampled_from(["heat", "off", "low"])
    ),
)
def test_any_configuration_is_taken_or_refused_and_what_is_taken_is_always_within_the_model(
    component: str, config: dict[str, Any], payload: bytes, value: float | str
) -> None:
    topic = f"homeassistant/{component}/thing/config"
    where = announcements.where("homeassistant", topic)
    assert where is not None
    try:
        found = announcements.parse(where, topic, json.dumps(config).encode())
    except PeerProtocolError:
        return
    for each in () if found is None else found.entities:
        one = made(each, anywhere)
        assert one.points or one.refused or component in ("light", "climate", "cover", "device")
        for point in one.points:
            _is_right(point)
            for reading in readings_of_message([point], DEVICE, payload):
                assert (reading.value is None) == (reading.quality is Quality.BAD)
                assert reading.value is None or problem_with(point.row, reading.value) is None
            if point.write is not None and not isinstance(allowed := allow(point, value), str):
                with contextlib.suppress(LocalProtocolError):
                    assert isinstance(payload_of(point, allowed.value), bytes)


def _is_right(point: AnnouncedPoint) -> None:
    row, rule = point.row, point.write
    assert point.unit is row.unit
    assert point.scale != 0
    assert all(problem_with(row, value) is None for _, value in point.values)
    if rule is not None:
        assert row.writable
        assert rule.topic
        if row.kind in (Kind.NUMBER, Kind.INTEGER):
            assert rule.least is not None and rule.most is not None  # noqa: PT018 - one claim: a number has a range
            assert row.least is None or rule.least >= row.least
            assert row.most is None or rule.most <= row.most
            assert rule.step is None or rule.step > 0
        else:
            assert point.values
