"""`innkeeper descriptor`: what is wrong is named with its mending; a model begun, documented and run from its file."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Final

import pytest
from pymodbus.client import AsyncModbusTcpClient
from typer.testing import CliRunner

from firmware_bridges.catalogue import PACKAGE, descriptor_files, load_all
from protocols.descriptors.descriptor import load
from protocols.errors import InvalidInputError
from provisioning.cli.main import app
from provisioning.descriptors import checking
from provisioning.descriptors.beginning import Answers, begin
from provisioning.descriptors.page import page
from provisioning.descriptors.text import descriptor_text

RCF: Final = PACKAGE / "regin" / "descriptors" / "rcf_230.toml"
WRONG: Final = {
    "a misspelt key": ("every_s = 60", "evry_s = 60", "'every_s' instead of 'evry_s'"),
    "another unit": ('unit = "K"', 'unit = "Cel"', 'unit = "K"'),
    "no such attribute": ('attribute = "pi_heating_demand"', 'attribute = "demand"', "pi_heating_demand"),
    "no such capability": ('capability = "fan_control"', 'capability = "fan_controll"', "'fan_control' instead"),
    "a write without bounds": ("least = 15.0, most = 28.0, step = 0.5, ", "", "add least and most"),
    "a step finer than the register": ("step = 0.5", "step = 0.05", "multiple of `scale`"),
    "no scale at all": ("scale = 0.1", "scale = 0.0", "leave `scale` out"),
    "no TOML": ("[identity]", "[identity", "mend the line"),
    "another place": ('id = "regin/rcf_230"', 'id = "regin/rcf_231"', "rename the file"),
    "a choice without codes": ('values = [[0, "off"], [1, "heat"], [2, "cool"]]', "", "add values"),
}


def test_a_points_further_keys_may_be_lists_and_tables() -> None:
    points = [
        'thermostat.system_mode=holding:1,uint16,values=[[0, "a, b"], [1, "heat"]],write={ burst = 3, settle_ms = 5 }',
        "thermostat.local_temperature=holding:5,int16,0.1,nan=[-32768, 32767],least=0,note='a, b'",
    ]
    made = begin(Answers("a/b", "A", "B", "C", "D", "modbus", points))["points"]
    assert made[0]["values"] == [[0, "a, b"], [1, "heat"]]
    assert made[0]["write"] == {"burst": 3, "settle_ms": 5}
    assert (made[1]["scale"], made[1]["nan"], made[1]["least"], made[1]["note"]) == (0.1, [-32768, 32767], 0, "a, b")
    with pytest.raises(InvalidInputError, match="is not <key>=<value>"):
        begin(Answers("a/b", "A", "B", "C", "D", "modbus", ["on_off.on_off=coil:1,bool,write={ burst = 3"]))


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize(("old", "new", "fix"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_with_its_place_and_its_mending(old: str, new: str, fix: str, tmp_path: Path) -> None:
    file = tmp_path / "regin" / "descriptors" / "rcf_230.toml"
    file.parent.mkdir(parents=True)
    text = RCF.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    result = CliRunner().invoke(app, ["descriptor", "check", str(file)])
    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert fix in result.stderr.partition("fix: ")[2]


def test_everything_that_we_ship_is_right_and_has_recordings_that_fit() -> None:
    for path in descriptor_files():
        verdict = checking.check(path)
        assert verdict.descriptor is not None, verdict.problem
        assert not [each for each in verdict.advice if "recording" in each], path


def test_a_recording_that_does_not_fit_is_told(tmp_path: Path) -> None:
    for folder in ("descriptors", "recordings"):
        (tmp_path / "regin" / folder).mkdir(parents=True)
    (tmp_path / "regin" / "descriptors" / RCF.name).write_text(RCF.read_text())
    recording = PACKAGE / "regin" / "recordings" / "rcf_230_published.json"
    (tmp_path / "regin" / "recordings" / recording.name).write_text(recording.read_text().replace("216", "217"))
    (tmp_path / "regin" / "recordings" / "torn.json").write_text("{")
    advice = checking.check(tmp_path / "regin" / "descriptors" / RCF.name).advice
    assert any("makes other readings" in each for each in advice)
    assert any("torn.json" in each for each in advice)


@pytest.mark.parametrize("path", descriptor_files(), ids=lambda path: path.stem)
def test_a_page_names_every_point_and_every_write(path: Path) -> None:
    descriptor = load(path)
    text = page(descriptor)
    told, taken = text.split("## What it takes")
    for point in descriptor.points:
        name = f"| {point.capability}.{point.attribute}"
        assert name in told
        assert (name in taken) == (point.write is not None)
    rows = [line.replace("\\|", "") for line in told.splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in rows} == {6}


NEW: Final = {
    "modbus": (["thermostat.local_temperature=input:11,int16,0.1", "thermostat.system_mode=holding:5,uint16"], ""),
    "zigbee2mqtt": (["boolean_state.state_value=contact,bool", "on_off.on_off=state,text"], "MCCGQ11LM"),
    "mqtt": (["electrical_measurement.active_power=tele/{name}/SENSOR#ENERGY.Power,number"], ""),
    "ble_advert": (["temperature_measurement.measured_value=temperature,number"], "ruuvi_5"),
    "opcua": (["on_off.on_off={root}.Enable,Boolean"], "ns=2;s=Pump1"),
}


@pytest.mark.parametrize("wire", NEW)
def test_a_descriptor_begun_from_answers_is_one(wire: str, tmp_path: Path) -> None:
    points, more = NEW[wire]
    file = tmp_path / "acme" / "descriptors" / "x_1.toml"
    options = [f"--point={each}" for each in points] + ([f"--more={more}"] if more else [])
    asked = ["--id=acme/x_1", "--vendor=Acme", "--model=X 1", '--title=A "thing"', "--source=Acme, X 1 manual"]
    result = CliRunner().invoke(app, ["descriptor", "new", *asked, f"--wire={wire}", *options, "--out", str(file)])
    assert result.exit_code == 0, result.output
    assert len(load(file).points) == len(points)
    assert checking.check(file).descriptor is not None
    again = CliRunner().invoke(app, ["descriptor", "new", *asked, f"--wire={wire}", *options, "--out", str(file)])
    assert isinstance(again.exception, InvalidInputError)


def test_a_descriptor_is_begun_in_a_conversation() -> None:
    said = ["acme/x_1", "Acme", "X 1", "A thing", "manual", "modbus", "on_off.on_off=coil:3,bool", ""]
    result = CliRunner().invoke(app, ["descriptor", "new"], input="\n".join(said) + "\n")
    assert result.exit_code == 0, result.output
    assert 'table = "coil"' in result.stdout


@pytest.mark.parametrize(
    ("wire", "point"),
    [
        ("carrier_pigeon", "on_off.on_off=coil:3,bool"),
        ("modbus", "on_off.on_off"),
        ("modbus", "on_off.on_off=3,bool"),
        ("modbus", "on_off.up=coil:3,bool"),
        ("modbus", "lamp.on=coil:3,bool"),
        ("modbus", "thermostat.local_temperature=input:3,int16,cold"),
        ("modbus", "thermostat.local_temperature=input:3,int17"),
        ("mqtt", "on_off.on_off=a/+/b,bool"),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(wire: str, point: str) -> None:
    with pytest.raises(InvalidInputError):
        descriptor_text(begin(Answers("acme/x", "Acme", "X", "thing", "manual", wire, [point])))


def test_every_key_of_the_format_is_known_to_the_checker() -> None:
    import msgspec

    def keys(of: type) -> set[str]:
        return {each.encode_name for each in msgspec.structs.fields(of)}

    from protocols.descriptors import descriptor, quirks, wires

    structs = [descriptor.Identity, descriptor.Proof, descriptor.Point, descriptor.WriteRule]
    structs += [quirks.Quirk, quirks.Change, quirks.Firmware]
    structs += [wires.ModbusWire, wires.Zigbee2MqttWire, wires.OpcUaWire, wires.MqttWire, wires.BleAdvertWire]
    assert set().union(*(keys(each) for each in structs)) <= set(checking.KEYS)


@pytest.mark.requirement("DEV-02")
async def test_a_file_alone_runs_as_a_thing_that_a_strangers_client_reads(tmp_path: Path) -> None:
    file = tmp_path / "eastron" / "descriptors" / "sdm120.toml"
    file.parent.mkdir(parents=True)
    file.write_text((PACKAGE / "eastron" / "descriptors" / "sdm120.toml").read_text().partition("[emulation]")[0])
    arguments = ("-m", "provisioning.cli", "descriptor", "emulate", str(file), "--well-behaved")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            told = json.loads(await process.stdout.readline())
        host, _, port = told["modbus_tcp"].rpartition(":")
        client = AsyncModbusTcpClient(host, port=int(port), timeout=10)
        assert await client.connect()
        answer = await client.read_input_registers(0, count=2, device_id=told["unit"])
        assert not answer.isError()
        client.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


def test_every_model_has_a_place_for_one_thing() -> None:
    from provisioning.descriptors.emulation import plan_of

    for descriptor in load_all().values():
        made, where = plan_of(descriptor, port=50_000, name="thing")
        assert len(made.devices) == 1
        assert where


def test_a_version_that_is_none_is_refused_before_anything_runs() -> None:
    file = PACKAGE / "foxess" / "descriptors" / "h3_pro.toml"
    result = CliRunner().invoke(app, ["descriptor", "emulate", str(file), "--firmware", "latest"])
    assert isinstance(result.exception, InvalidInputError)


async def test_an_emulated_inverter_counts_as_the_firmware_it_was_given() -> None:
    file = str(PACKAGE / "foxess" / "descriptors" / "h3_pro.toml")
    command = [sys.executable, "-m", "provisioning.cli", "descriptor", "emulate", file, "--well-behaved"]
    told = []
    for options in (["--firmware", "1.21"], []):
        process = await asyncio.create_subprocess_exec(*command, *options, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                ready = json.loads(await process.stdout.readline())
            host, _, port = ready["modbus_tcp"].rpartition(":")
            async with AsyncModbusTcpClient(host, port=int(port)) as client:
                version = (await client.read_holding_registers(36003, count=1, device_id=1)).registers
                total = (await client.read_holding_registers(39601, count=2, device_id=1)).registers
            told.append((ready["firmware"], version, total))
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()
    assert told == [("1.21", [0x0121], [0, 48015]), ("1.22", [0x0122], [7, 0x5396])]


def test_a_page_says_what_each_firmware_does_otherwise_and_who_says_so() -> None:
    text = page(load(PACKAGE / "tasmota" / "descriptors" / "pow_r2.toml"))
    [row] = [line for line in text.splitlines() if line.startswith("| before 5.11.0")]
    assert "tele/{name}/ENERGY" in row
    assert "issues 1415" in row
    assert "StatusFWR.Version" in text
