"""Importers: a SunSpec model, an EdgeX profile and Zigbee2MQTT's exposes become descriptors; what could not is told."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from firmware_bridges.catalogue import load_all
from protocols.descriptors.codec import encode, judge, readings_of_payload
from protocols.descriptors.descriptor import Descriptor, load
from protocols.descriptors.wires import Zigbee2MqttWire
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DescriptorId, DeviceId
from protocols.errors import InvalidInputError
from provisioning.cli.main import app
from provisioning.descriptors.edgex import import_edgex
from provisioning.descriptors.exposes import import_exposes
from provisioning.descriptors.imported import factor
from provisioning.descriptors.sunspec import import_sunspec
from provisioning.descriptors.text import descriptor_text

E: Final = Capability.ELECTRICAL_MEASUREMENT


def _sun(name: str, kind: str = "int16", size: int = 1, **more: object) -> dict[str, Any]:
    return {"name": name, "type": kind, "size": size, **more}


def _meter_203() -> dict[str, Any]:
    """The layout of the published model 203: names, types and sizes, up to its energies."""
    points = [_sun("ID", "uint16", value=203), _sun("L", "uint16")]
    for names, power, units in (
        ("A AphA AphB AphC", "A_SF", "A"),
        ("PhV PhVphA PhVphB PhVphC PPV PhVphAB PhVphBC PhVphCA", "V_SF", "V"),
        ("Hz", "Hz_SF", "Hz"),
        ("W WphA WphB WphC", "W_SF", "W"),
        ("VA VAphA VAphB VAphC", "VA_SF", "VA"),
        ("VAR VARphA VARphB VARphC", "VAR_SF", "var"),
        ("PF PFphA PFphB PFphC", "PF_SF", "Pct"),
    ):
        points += [_sun(name, sf=power, units=units) for name in names.split()] + [_sun(power, "sunssf")]
    energies = "TotWhExp TotWhExpPhA TotWhExpPhB TotWhExpPhC TotWhImp TotWhImpPhA TotWhImpPhB TotWhImpPhC"
    points += [_sun(name, "acc32", 2, sf="TotWh_SF", units="Wh") for name in energies.split()]
    points += [_sun("TotWh_SF", "sunssf"), _sun("Evt", "bitfield32", 2)]
    return {"id": 203, "group": {"name": "ac_meter", "label": "wye-connect meter", "points": points}}


def _made(found: Any) -> Descriptor:
    return descriptor_text(found.document, found.comments("Imported."))[1]


@pytest.mark.requirement("DEV-02")
def test_the_imported_model_lies_where_the_one_that_we_ship_lies() -> None:
    imported = _made(import_sunspec(_meter_203(), base=40_069))
    ours = load_all()[DescriptorId("sunspec/meter_203")]
    for point in ours.points:
        theirs = imported.point(point.capability, point.attribute)
        assert theirs is not None, point.attribute
        facts = ("table", "register", "exponent", "scale", "type", "unit")
        assert [getattr(theirs, each) for each in facts] == [getattr(point, each) for each in facts]
    assert imported.identify[0].equals == (203,)


def test_scale_factors_that_are_numbers_and_things_without_a_word() -> None:
    points = [_sun("ID", "uint16"), _sun("L", "uint16"), _sun("W", sf=2, units="W"), _sun("Hz", sf=-2, units="Hz")]
    points += [_sun("DCV", "float32", 2, units="V"), _sun("Mn", "string", 16), _sun("A", sf="gone", units="A")]
    points += [_sun("TmpCab", units="F")]
    model = {"id": 103, "group": {"points": points, "groups": [{"name": "module"}]}}
    found = import_sunspec(model, base=40_000)
    made = _made(found)
    assert [(each.attribute, each.register, each.scale) for each in made.points] == [
        ("active_power", 40_002, 100.0),
        ("frequency", 40_003, 0.01),
        ("rms_voltage:dc", 40_004, 1.0),
    ]
    for word in ("Mn", "scale factor 'gone'", "TmpCab: 'F'", "module"):
        assert any(word in each for each in found.left_out), word


PROFILE: Final = """
name: "Floor-Meter"
manufacturer: "Acme Power"
model: "PM-3"
description: "A meter with a relay"
deviceResources:
  - name: "VoltageL1"
    attributes: { primaryTable: "INPUT_REGISTERS", startingAddress: 0, rawType: "Uint16" }
    properties: { valueType: "Float32", readWrite: "R", scale: 0.1, units: "V" }
  - name: "VoltageL2"
    attributes: { primaryTable: "INPUT_REGISTERS", startingAddress: "0x1", rawType: "Uint16" }
    properties: { valueType: "Float32", readWrite: "R", scale: "0.1", units: "V" }
  - name: "TotalPower"
    attributes: { primaryTable: "HOLDING_REGISTERS", startingAddress: 20, isWordSwap: "true" }
    properties: { valueType: "Int32", readWrite: "RW", units: "kW", scale: "0.01" }
  - name: "Energy"
    attributes: { primaryTable: "HOLDING_REGISTERS", startingAddress: 30, rawType: "Uint64" }
    properties: { valueType: "Uint64", readWrite: "R", units: "Wh" }
  - name: "OutputRelay"
    attributes: { primaryTable: "COILS", startingAddress: 4 }
    properties: { valueType: "Bool", readWrite: "RW" }
  - name: "AlarmThreshold"
    attributes: { primaryTable: "HOLDING_REGISTERS", startingAddress: 40 }
    properties: { valueType: "Int16", readWrite: "RW", units: "C" }
  - name: "Swapped"
    attributes: { primaryTable: "HOLDING_REGISTERS", startingAddress: 41, isByteSwap: true }
    properties: { valueType: "Int16", readWrite: "R", units: "V" }
  - name: "Gadget"
    attributes: { primaryTable: "HOLDING_REGISTERS", startingAddress: 42 }
    properties: { valueType: "Int16", readWrite: "R" }
  - name: "Temp"
    attributes: { primaryTable: "HOLDING_REGISTERS", startingAddress: 99999 }
    properties: { valueType: "Int16", readWrite: "R", units: "C" }
"""


def test_a_profile_becomes_a_descriptor_and_its_head_says_what_did_not(tmp_path: Path) -> None:
    file, out = tmp_path / "profile.yaml", tmp_path / "acme_power" / "descriptors" / "pm_3.toml"
    file.write_text(PROFILE)
    result = CliRunner().invoke(app, ["descriptor", "import", "edgex", str(file), "--out", str(out)])
    assert result.exit_code == 0, result.output
    made = load(out)
    assert [(each.attribute, each.table, each.register, each.scale, each.word_order) for each in made.points] == [
        ("rms_voltage", "input", 0, 0.1, "big"),
        ("rms_voltage:voltagel2", "input", 1, 0.1, "big"),
        ("active_power", "holding", 20, 10.0, "little"),
        ("cumulative_energy_imported", "holding", 30, 0.001, "big"),
        ("on_off", "coil", 4, 1.0, "big"),
        ("rms_voltage:swapped", "holding", 41, 1.0, "big"),
    ]
    assert [each.attribute for each in made.points if each.byte_order == "little"] == ["rms_voltage:swapped"]
    assert not [each for each in made.points if each.write]
    head = [line for line in out.read_text().splitlines() if line.startswith("# ")]
    for word in ("AlarmThreshold", "Gadget", "Temp", "TotalPower"):
        assert any(word in line for line in head), word


def _resource(name: str, **properties: object) -> dict[str, Any]:
    table = properties.pop("table", "HOLDING_REGISTERS")
    own = {"valueType": "Int16", "readWrite": "RW", "units": "C", "scale": 0.1, "minimum": 10, "maximum": 28}
    where = {"primaryTable": table, "startingAddress": 7}
    return {"name": name, "attributes": where, "properties": {**own, **properties}}


def _setpoint(name: str, **properties: object) -> tuple[str | None, tuple[object, ...] | None, str]:
    """The attribute that a resource became, its rule, and what was said of what is missing."""
    found = import_edgex(
        {"name": "FCU", "deviceResources": [_resource("RoomTemperature", readWrite="R"), _resource(name, **properties)]}
    )
    found.document["points"][0]["register"] = 1
    point = next((each for each in _made(found).points if each.register == 7), None)
    said = "; ".join(found.left_out)
    if point is None:
        return None, None, said
    assert point.capability is Capability.THERMOSTAT
    rule = point.write
    return point.attribute, None if rule is None else (rule.least, rule.most, rule.step, rule.min_interval_s), said


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    ("name", "properties", "attribute", "rule"),
    [
        ("HeatingSetpoint", {}, "occupied_heating_setpoint", (10, 28, 0.1, 60)),
        ("Cooling_Set_Point", {"minimum": "16", "maximum": "26.5"}, "occupied_cooling_setpoint", (16, 26.5, 0.1, 60)),
        ("HeatSetpointUnoccupied", {}, "unoccupied_heating_setpoint", (10, 28, 0.1, 60)),
        ("coolEcoSP", {}, "unoccupied_cooling_setpoint", (10, 28, 0.1, 60)),
        ("heat-set-temperature", {"scale": 1}, "occupied_heating_setpoint", (10, 28, 1, 60)),
        ("TargetTempHeat", {"minimum": -40, "maximum": 200}, "occupied_heating_setpoint", (5, 30, 0.1, 60)),
        ("HeatSP", {"units": "°F", "minimum": 50, "maximum": 80}, "occupied_heating_setpoint", (10, 26.6667, None, 60)),
        ("HeatSetpoint", {"valueType": "Float32", "scale": 1}, "occupied_heating_setpoint", (10, 28, None, 60)),
    ],
)  # fmt: skip
def test_a_rooms_setpoint_with_its_range_is_one_that_can_be_set(
    name: str, properties: dict[str, object], attribute: str, rule: tuple[object, ...]
) -> None:
    assert _setpoint(name, **properties) == (attribute, rule, "")


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    ("name", "properties", "attribute", "missing"),
    [
        ("HeatSetpoint", {"minimum": None}, "occupied_heating_setpoint", "states no minimum"),
        ("HeatSetpoint", {"maximum": ""}, "occupied_heating_setpoint", "states no maximum"),
        ("HeatSetpoint", {"maximum": "hot"}, "occupied_heating_setpoint", "'hot' is no number"),
        ("HeatSetpoint", {"maximum": float("nan")}, "occupied_heating_setpoint", "is no number"),
        ("HeatSetpoint", {"minimum": 40, "maximum": 60}, "occupied_heating_setpoint", "nothing between 5 and 30"),
        ("HeatSetpoint", {"minimum": 28, "maximum": 10}, "occupied_heating_setpoint", "leaves nothing"),
        ("HeatSetpoint", {"table": "INPUT_REGISTERS"}, "occupied_heating_setpoint", "registers cannot be written"),
        ("HeatSetpoint", {"readWrite": "R"}, "occupied_heating_setpoint", ""),
        ("HeatSetpoint", {"units": ""}, None, "its unit is missing"),
        ("HeatSetpoint", {"units": "bar"}, None, "is no unit of"),
        ("HeatSetpoint", {"readWrite": "W"}, None, "is write only"),
        ("HeatCoolSetpoint", {}, None, "do not tell what it is"),
        ("DHWSetpoint", {}, None, "do not tell what it is"),
        ("SupplyWaterSetpoint", {}, None, "do not tell what it is"),
        ("HighLimitSetpoint", {}, None, "do not tell what it is"),
        ("FanSpeedSetpoint", {"units": "%"}, None, "do not tell what it is"),
    ],
)  # fmt: skip
def test_what_is_missing_for_a_setpoint_is_said(
    name: str, properties: dict[str, object], attribute: str | None, missing: str
) -> None:
    became, rule, said = _setpoint(name, **properties)
    assert (became, rule) == (attribute, None)
    assert missing in said
    assert bool(said) is bool(missing)


def test_a_setpoint_that_says_nothing_of_cooling_is_heatings_and_that_is_said() -> None:
    became, rule, said = _setpoint("Setpoint")
    assert (became, rule is not None) == ("occupied_heating_setpoint", True)
    assert "taken as heating's" in said


EXPOSES: Final = {
    "power_source": "Battery",
    "definition": {
        "model": "TRV-9",
        "vendor": "Acme",
        "description": "Radiator thermostat",
        "exposes": [
            {
                "type": "climate",
                "features": [
                    {"type": "numeric", "property": "occupied_heating_setpoint", "access": 7, "unit": "°C",
                     "value_min": 4, "value_max": 35, "value_step": 0.5},
                    {"type": "numeric", "property": "local_temperature", "access": 5, "unit": "°C"},
                    {"type": "enum", "property": "system_mode", "access": 7, "values": ["off", "heat", "boost"]},
                ],
            },
            {"type": "binary", "property": "water_leak", "access": 1, "value_on": True, "value_off": False},
            {"type": "binary", "property": "battery_low", "access": 1, "value_on": True, "value_off": False},
            {"type": "numeric", "property": "voltage", "access": 1, "unit": "mV"},
            {"type": "numeric", "property": "pressure", "access": 1, "unit": "hPa"},
            {"type": "numeric", "property": "linkquality", "access": 1, "unit": "lqi"},
            {"type": "numeric", "property": "valve_detection", "access": 7},
            {"type": "enum", "property": "effect", "access": 2, "values": ["blink"]},
        ],
    },
}  # fmt: skip


def test_exposes_become_a_descriptor_whose_setpoint_stays_in_a_room(tmp_path: Path) -> None:
    found = import_exposes(EXPOSES)
    made = _made(found)
    setpoint = made.point(Capability.THERMOSTAT, "occupied_heating_setpoint")
    assert setpoint is not None
    assert setpoint.write is not None
    rule = setpoint.write
    assert (rule.least, rule.most, rule.step, setpoint.readable) == (5.0, 30.0, 0.5, True)
    voltage = made.point(Capability.POWER_SOURCE, "bat_voltage")
    assert voltage is not None
    assert voltage.scale == 0.001
    pressure = made.point(Capability.PRESSURE_MEASUREMENT, "measured_value")
    assert pressure is not None
    assert pressure.scale == 0.1
    assert made.point(Capability.BOOLEAN_STATE, "state_value:leak") is not None
    for word in ("boost", "valve_detection", "effect"):
        assert any(word in each for each in found.left_out), word
    file = tmp_path / "devices.json"
    file.write_text(json.dumps([{"type": "Coordinator", "definition": None}, EXPOSES]))
    result = CliRunner().invoke(app, ["descriptor", "import", "exposes", str(file)])
    assert result.exit_code == 0, result.output
    assert "occupied_heating_setpoint" in result.stdout
    asked = CliRunner().invoke(app, ["descriptor", "import", "exposes", str(file), "--model", "other"])
    assert isinstance(asked.exception, InvalidInputError)


def test_a_smoke_detector_is_one_that_fire_mode_hears() -> None:
    smoke = {"type": "binary", "property": "smoke", "access": 1, "value_on": True, "value_off": False}
    made = _made(import_exposes({"model": "S-1", "vendor": "Acme", "exposes": [smoke]}))
    point = made.point(Capability.SMOKE_CO_ALARM, "smoke_state")
    assert point is not None
    assert [judge(point, raw).value for raw in (True, False)] == ["critical", "normal"]


def test_a_colour_lamp_has_hue_and_saturation_that_can_be_written() -> None:
    inner = [{"type": "numeric", "name": name, "property": name, "access": 7} for name in ("hue", "saturation")]
    xy = [{"type": "numeric", "name": name, "property": name, "access": 7} for name in ("x", "y")]
    features = [
        {"type": "binary", "name": "state", "property": "state", "access": 7, "value_on": "ON", "value_off": "OFF"},
        {"type": "composite", "name": "color_xy", "property": "color", "access": 7, "features": xy},
        {"type": "composite", "name": "color_hs", "property": "color", "access": 7, "features": inner},
    ]
    found = import_exposes({"model": "L-1", "vendor": "Acme", "exposes": [{"type": "light", "features": features}]})
    made = _made(found)
    hue = made.point(Capability.COLOR_CONTROL, "current_hue")
    assert hue is not None
    assert encode(hue, 120).payload == {"color": {"hue": 120}}  # type: ignore[union-attr]  # a payload, or it fails
    payload = b'{"state":"ON","color":{"x":0.2,"y":0.7,"hue":118,"saturation":90}}'
    told = {each.attribute: each.value for each in readings_of_payload(made, DeviceId("lamp"), payload)}
    assert told == {"on_off": True, "current_hue": 118, "current_saturation": 90}
    assert [each.partition(":")[0] for each in found.left_out] == ["color"]


def test_a_valves_position_is_no_curtain() -> None:
    position = {"type": "numeric", "name": "position", "property": "position", "access": 3, "unit": "%"}
    made = _made(import_exposes({"model": "V-1", "vendor": "Acme", "exposes": [position]}))
    demand = made.point(Capability.THERMOSTAT, "pi_heating_demand")
    assert demand is not None
    assert (judge(demand, 40).value, demand.write) == (40, None)


@pytest.mark.parametrize(
    ("spelt", "unit", "scale"),
    [
        ("℃", Unit.CELSIUS, 1),
        ("kW·h", Unit.KILOWATT_HOUR, 1),
        ("l/s", Unit.CUBIC_METRE_PER_HOUR, 3.6),
        ("mW", Unit.WATT, None),
    ],
)
def test_units_as_makers_spell_them(spelt: str, unit: Unit, scale: float | None) -> None:
    assert factor(spelt, unit) == scale


def test_a_plug_is_on_mains() -> None:
    features = [{"type": "binary", "property": "state", "access": 7, "value_on": "ON", "value_off": "OFF"}]
    plug = [
        {"type": "switch", "features": features},
        {"type": "numeric", "property": "power", "access": 5, "unit": "W"},
        {"type": "numeric", "property": "voltage", "access": 5, "unit": "V"},
    ]
    made = _made(import_exposes({"model": "P-1", "vendor": "Acme", "exposes": plug}))
    assert made.point(E, "rms_voltage") is not None
    switch = made.point(Capability.ON_OFF, "on_off")
    assert switch is not None
    assert switch.values == (("ON", True), ("OFF", False))
    cover = [{"type": "cover", "features": [{"type": "enum", "property": "state", "access": 3, "values": ["OPEN"]}]}]
    with pytest.raises(InvalidInputError):
        import_exposes({"model": "C-1", "vendor": "Acme", "exposes": cover})
    position = {"type": "numeric", "property": "position", "access": 7, "unit": "%", "value_min": 0, "value_max": 100}
    cover[0]["features"].append(position)  # type: ignore[attr-defined]  # JSON
    made = _made(import_exposes({"model": "C-1", "vendor": "Acme", "exposes": cover}))
    lift = made.point(Capability.WINDOW_COVERING, "current_position_lift_percentage")
    assert lift is not None
    assert judge(lift, 100).value == 0, "what is open there is 0 here, as in Matter"
    assert isinstance(made.wire, Zigbee2MqttWire)
    assert made.wire.answer_wait_ms >= 30_000, "a curtain says where it is once it is there"


ANY_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_KEYS: Final = st.sampled_from(["property", "access", "type", "unit", "features", "value_min", "value_max", "values",
    "value_on", "name", "size", "sf", "units", "attributes", "properties", "primaryTable", "valueType"])  # fmt: skip
_WORDS: Final = st.sampled_from(["state", "temperature", "voltage", "numeric", "binary", "enum", "climate", "W", "V",
    "int16", "HOLDING_REGISTERS", "Int16", "brightness", "system_mode", "occupied_heating_setpoint"])  # fmt: skip
ALMOST: Final = st.lists(st.dictionaries(_KEYS, ANY_JSON | _WORDS | st.just(1), max_size=8) | ANY_JSON, max_size=4)


@pytest.mark.guarantee("G19")
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(body=ALMOST)
def test_whatever_an_importer_is_given_it_makes_a_descriptor_or_says_why_not(body: list[Any]) -> None:
    for make, document in (
        (import_exposes, {"model": "X", "exposes": body}),
        (import_edgex, {"name": "X", "deviceResources": body}),
        (lambda model: import_sunspec(model, base=40_000), {"id": 1, "group": {"points": body}}),
    ):
        try:
            _made(make(document))
        except InvalidInputError:
            continue


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("edgex", "a: &a [*a]"),
        ("edgex", "{"),
        ("edgex", "- 1"),
        ("exposes", "{"),
        ("exposes", "[]"),
        ("sunspec", "[1]"),
    ],
)
def test_a_file_that_is_none_is_refused(kind: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    more = ["--base", "40000"] if kind == "sunspec" else []
    result = CliRunner().invoke(app, ["descriptor", "import", kind, str(file), *more])
    assert isinstance(result.exception, InvalidInputError)
    assert result.exit_code == 1
