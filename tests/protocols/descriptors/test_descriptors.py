"""The descriptor loader and the codec against their vectors: what is refused, and by which words."""

import json
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridges.catalogue import PACKAGE, descriptor_files, load_all
from protocols.descriptors import codec, descriptor
from protocols.descriptors.descriptor import Point, WriteRule
from protocols.errors import InvalidInputError, PlatformError, UnsupportedVersionError

VECTORS: Final = Path(descriptor.__file__).parents[1] / "vectors" / "descriptors" / "values.json"
VALUES: Final = json.loads(VECTORS.read_text())
RCF: Final = (PACKAGE / "regin" / "descriptors" / "rcf_230.toml").read_text()
SETPOINT: Final = {
    "capability": "thermostat",
    "attribute": "occupied_heating_setpoint",
    "table": "holding",
    "register": 284,
    "type": "int16",
    "scale": 0.1,
    "unit": "Cel",
}


@pytest.mark.parametrize("vector", VALUES["values"], ids=lambda vector: vector["name"])
def test_words_mean_what_the_vector_says(vector: dict[str, Any]) -> None:
    point = msgspec.convert(vector["point"], Point)
    judged = codec.judge(point, codec.raw_of_words(point, vector["words"]))
    assert (judged.value, judged.quality) == (vector["value"], vector["quality"])
    assert (judged.reason or "").startswith(vector.get("reason", ""))
    assert (judged.reason is None) == ("reason" not in vector)
    if judged.value is not None and point.bit is None:
        raw = codec.raw_of_value(point, judged.value)
        assert not isinstance(raw, str)
        assert list(codec.words_of_raw(point, raw)) == vector["words"]


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("vector", VALUES["writes"], ids=lambda vector: vector["name"])
def test_a_write_is_what_the_vector_says(vector: dict[str, Any]) -> None:
    point = msgspec.convert({**SETPOINT, "write": vector["rule"]}, Point)
    allowed = codec.allow(point, vector["asked"])
    if isinstance(allowed, str):
        assert vector["refused"] in allowed
        return
    assert (allowed.value, allowed.clamped) == (vector["value"], vector["clamped"])
    write = codec.encode(point, allowed.value)
    assert write == codec.RegisterWrite("holding", 284, tuple(vector["words"]))


WRONG: Final = {
    "another format": ("format = 1", "format = 2", "version 2"),
    "a key that is none": ('vendor = "Regin"', 'vendor = "Regin"\ncolour = "red"', "colour"),
    "a type that is none": ('type = "int16"', 'type = "int17"', "'int17'"),
    "a register beyond Modbus": ("register = 284", "register = 70000", "it is 70000"),
    "a table that is none": ('table = "discrete"', 'table = "bits"', "it is 'bits'"),
    "an attribute that is none": ('attribute = "pi_heating_demand"', 'attribute = "heat"', "no such attribute"),
    "a capability that is none": ('capability = "fan_control"', 'capability = "fan"', "it is 'fan'"),
    "a unit that is not the model's": ('unit = "K"', 'unit = "Cel"', "points[10]"),
    "a scale of nothing": ("scale = 0.1", "scale = 0.0", "scale"),
    "a range upside down": ("least = 15.0, most = 28.0", "least = 28.0, most = 15.0", "least"),
    "a write beyond the plausible": ("most = 28.0", "most = 80.0", "leaves the plausible range"),
    "a write without bounds": ("least = 15.0, most = 28.0, step = 0.5, ", "", "needs least and most"),
    "a step finer than the register": ("step = 0.5", "step = 0.05", "no multiple of the scale"),
    "a choice of no meaning": ('[4, "auto"]', '[4, "automatic"]', "'automatic'"),
    "a code twice": ('[[0, "off"], [1, "heat"]', '[[0, "off"], [0, "heat"]', "given twice"),
    "a code beyond the register": ('[2, "cool"]]', '[99999, "cool"]]', "does not fit uint16"),
    "an input register to be written": (
        'table = "holding"\nregister = 5',
        'table = "input"\nregister = 5',
        "cannot be",
    ),
    "an unreadable that is no register": ("gap_most = 12", 'gap_most = 12\nunreadable = ["x"]', "'x'"),
    "an identification without a place": ('table = "input"\nregister = 1\nequals', "equals", "identify[0]"),
    "a start that is no value": (
        'attribute = "fan_mode", value = "auto"',
        'attribute = "fan_mode", value = 3',
        "start",
    ),
    "a wire of another kind": ('kind = "modbus"', 'kind = "opcua"', "wire"),
    "no TOML": ("[identity]", "[identity", "no TOML"),
    "an id out of the grammar": ('id = "regin/rcf_230"', 'id = "Regin RCF"', "identity.id"),
}


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("case", WRONG, ids=str)
def test_a_wrong_descriptor_is_refused_with_file_place_and_value(case: str) -> None:
    right, wrong, names = WRONG[case]
    assert right in RCF
    text = RCF.replace(right, wrong, 1)
    with pytest.raises((InvalidInputError, UnsupportedVersionError)) as caught:
        descriptor.parse(text.encode(), "rcf.toml")
    assert str(caught.value).startswith("rcf.toml")
    assert names in str(caught.value)


def test_two_points_on_one_attribute_or_one_written_register_are_refused() -> None:
    document = tomllib.loads(RCF)
    twice = RCF.replace(
        "[emulation]", "[[points]]\n" + RCF.split("[[points]]\n")[1].split("\n\n")[0] + "\n\n[emulation]"
    )
    with pytest.raises(InvalidInputError, match="taken already"):
        descriptor.parse(twice.encode(), "rcf.toml")
    shared = RCF.replace("register = 14\n", "register = 5\n", 1)
    with pytest.raises(InvalidInputError, match="taken already"):
        descriptor.parse(shared.encode(), "rcf.toml")
    assert len(document["points"]) == 12


def test_a_file_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "regin" / "descriptors" / "other.toml"
    wrong.parent.mkdir(parents=True)
    wrong.write_text(RCF)
    with pytest.raises(InvalidInputError, match="lies in the place of 'regin/other'"):
        descriptor.load(wrong)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        descriptor.load(tmp_path / "none.toml")


def test_a_property_may_bring_descriptors_of_its_own_but_not_replace_ours(tmp_path: Path) -> None:
    own = tmp_path / "house" / "descriptors" / "boiler.toml"
    own.parent.mkdir(parents=True)
    own.write_text(RCF.replace('id = "regin/rcf_230"', 'id = "house/boiler"'))
    assert "house/boiler" in load_all([tmp_path])
    clash = tmp_path / "regin" / "descriptors" / "rcf_230.toml"
    clash.parent.mkdir(parents=True)
    clash.write_text(RCF)
    with pytest.raises(InvalidInputError, match="described by another file too"):
        load_all([tmp_path])


@pytest.mark.parametrize("path", descriptor_files(), ids=lambda path: path.stem)
def test_every_descriptor_of_ours_loads(path: Path) -> None:
    assert descriptor.load(path).points


@pytest.mark.guarantee("G19")
@given(cut=st.integers(0, len(RCF) - 1), noise=st.text(max_size=5), drop=st.integers(0, 40))
def test_a_damaged_descriptor_raises_nothing_but_a_named_error(cut: int, noise: str, drop: int) -> None:
    text = RCF[:cut] + noise + RCF[cut + drop :]
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    refused = ""
    try:
        descriptor.parse(data, "rcf.toml")
    except PlatformError as error:
        refused = str(error)
    assert refused == "" or refused.startswith("rcf.toml")


def test_a_rule_without_writes_refuses() -> None:
    point = msgspec.convert(SETPOINT, Point)
    assert isinstance(codec.allow(point, 20.0), str)
    assert WriteRule().min_interval_s == 0
