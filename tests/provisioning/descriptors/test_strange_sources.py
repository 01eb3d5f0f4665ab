"""Sources that nobody here has seen: what makes no sense in them costs itself, and is named."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from protocols.descriptors.codec import judge, readings_of_payload
from protocols.descriptors.descriptor import Descriptor, load
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId
from provisioning.cli.main import app

E: Final = Capability.ELECTRICAL_MEASUREMENT
PROFILE: Final = """
name: "Weird-PLC"
manufacturer: "Wago & Söhne"
model: "750-8212/025 (rev. 3)"
deviceResources:
  - name: "OutdoorTemp_F"
    attributes: { primaryTable: "HOLDING_REGISTERS", startingAddress: "0x10", rawType: "Int16" }
    properties: { valueType: "Float32", readWrite: "R", scale: 0.1, units: "degF" }
  - name: "SupplyAirTemperature"
    attributes:
      { primaryTable: INPUT_REGISTERS, startingAddress: 100, isWordSwap: true, isByteSwap: true, rawType: FLOAT32 }
    properties: { valueType: "Float32", readWrite: "R", units: "°C" }
  - name: "Energy_Total"
    attributes: { primaryTable: "HOLDING_REGISTERS", startingAddress: 400, rawType: "UINT64" }
    properties: { valueType: "Float64", readWrite: "R", scale: "0.001", units: "MWh" }
  - name: "Power_Total"
    attributes: { primaryTable: "HOLDING_REGISTERS", startingAddress: 410, rawType: "UINT16" }
    properties: { valueType: "Uint16", readWrite: "R", units: "horsepower" }
  - name: "RoomTemp1"
    attributes: { primaryTable: "INPUT_REGISTERS", startingAddress: 65535, rawType: "int32" }
    properties: { valueType: "Int32", readWrite: "R", units: "C" }
  - name: "RoomTemp2"
    attributes: { primaryTable: "INPUT_REGISTERS", startingAddress: 110, rawType: "int16" }
    properties: { valueType: "Int16", readWrite: "R", scale: 0.0, units: "C" }
  - name: "RoomTemp3"
    attributes: { primaryTable: "INPUT_REGISTERS", startingAddress: 120, rawType: "int16" }
    properties: { valueType: "Int16", readWrite: "R", scale: .nan, units: "C" }
  - name: "RoomTemp4"
    attributes: { primaryTable: "INPUT_REGISTERS", startingAddress: 101, rawType: "int32" }
    properties: { valueType: "Int32", readWrite: "R", units: "C" }
"""


def imported(kind: str, text: str, suffix: str, folder: Path, *options: str) -> tuple[Descriptor, str]:
    source, out = folder / f"source.{suffix}", folder / "out.toml"
    source.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["descriptor", "import", kind, str(source), *options, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return load(out), result.stderr


@pytest.mark.requirement("DEV-02")
def test_a_profile_with_nonsense_in_it_gives_what_made_sense(tmp_path: Path) -> None:
    model, said = imported("edgex", PROFILE, "yaml", tmp_path)
    outside = model.point(Capability.TEMPERATURE_MEASUREMENT, "measured_value")
    assert outside is not None
    assert judge(outside, 683).value == pytest.approx(20.1667, abs=0.001)  # 68.3 degrees Fahrenheit
    energy = model.point(E, "cumulative_energy_imported")
    assert energy is not None
    assert judge(energy, 12_345).value == 12_345  # thousandths of a megawatt-hour
    supply = model.point(Capability.TEMPERATURE_MEASUREMENT, "measured_value:supplyairtemperature")
    assert supply is not None
    assert (supply.word_order, supply.byte_order) == ("little", "little")
    assert len(model.points) == 3
    for left_out in ("Power_Total", "RoomTemp1", "RoomTemp2", "RoomTemp3", "RoomTemp4"):
        assert f"left out: {left_out}" in said


def test_a_model_that_leaves_the_registers_keeps_what_lies_within(tmp_path: Path) -> None:
    points: list[dict[str, Any]] = [{"name": name, "type": "uint16", "size": 1} for name in ("ID", "L")]
    points += [{"name": "A", "type": "uint16", "size": 1, "units": "A"}]
    points += [{"name": "Hz", "type": "uint16", "size": 1, "sf": -2, "units": "Hz"}]
    model, said = imported(
        "sunspec", json.dumps({"id": 103, "group": {"points": points}}), "json", tmp_path, "--base", "65533"
    )
    assert [each.attribute for each in model.points] == ["rms_current"]
    assert "left out: Hz" in said


def test_two_gangs_in_one_thing_are_two_switches(tmp_path: Path) -> None:
    exposes: list[dict[str, Any]] = [
        {
            "type": "switch",
            "endpoint": gang,
            "features": [
                {
                    "type": "binary",
                    "name": "state",
                    "property": f"state_{gang}",
                    "endpoint": gang,
                    "access": 7,
                    "value_on": "ON",
                    "value_off": "OFF",
                }
            ],
        }
        for gang in ("left", "right")
    ]
    exposes += [{"type": "numeric", "name": "temperature", "property": "temperature", "access": 1, "unit": "°F"}]
    exposes += [
        {
            "type": "enum",
            "name": "running_state",
            "property": "running_state",
            "access": 1,
            "values": ["idle", "heat"],
        }
    ]
    definition = {"model": "QBKG04LM", "vendor": "Xiaomi", "description": "", "exposes": exposes}
    model, _ = imported("exposes", json.dumps({"definition": definition}), "json", tmp_path)
    payload = b'{"state_left":"ON","state_right":"OFF","temperature":68,"running_state":"idle"}'
    told = {(each.attribute, each.value) for each in readings_of_payload(model, DeviceId("d"), payload)}
    assert told == {
        ("on_off:left", True),
        ("on_off:right", False),
        ("measured_value", 20.0),
        ("thermostat_running_mode", "off"),
    }
    assert [each.write is not None for each in model.points] == [True, True, False, False]


def test_further_keys_of_a_point_are_answers_too(tmp_path: Path) -> None:
    out = tmp_path / "x.toml"
    asked = ["--id=acme/x", "--vendor=Acme", "--model=X", "--title=X", "--source=its manual", "--wire=modbus"]
    points = [
        '--point=electrical_measurement.active_power=input:4,float64,word_order="little",byte_order="little"',
        "--point=electrical_measurement.cumulative_energy_imported=input:8,bcd32,0.1,nan=[99999999]",
        "--point=fan_control.speed_current=input:12,uint16,bit=4,bits=3",
    ]
    result = CliRunner().invoke(app, ["descriptor", "new", *asked, *points, "--out", str(out)])
    assert result.exit_code == 0, result.output
    power, energy, speed = load(out).points
    assert (power.word_order, power.byte_order) == ("little", "little")
    assert (energy.type, energy.scale, energy.nan) == ("bcd32", 0.1, (99_999_999,))
    assert (speed.bit, speed.bits) == (4, 3)
