"""The descriptor loader and the codec against their vectors: what is refused, and by which words."""

import json
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from firmware_bridges.catalogue import PACKAGE, descriptor_files, load_all
from protocols.descriptors import codec, descriptor, raw_values
from protocols.descriptors.codec import Reason, json_object
from protocols.descriptors.descriptor import Point, Table, WriteRule
from protocols.descriptors.wires import ModbusWire, OpcUaWire
from protocols.device_model.capability import problem_with
from protocols.device_model.identity import DescriptorId, DeviceId
from protocols.errors import InvalidInputError, PlatformError, UnsupportedVersionError
from protocols.modbus.read_planner import plan_by_interval
from protocols.opcua.node_map import map_nodes

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


@pytest.mark.parametrize("vector", VALUES["exponents"], ids=lambda vector: vector["name"])
def test_a_value_with_an_exponent_means_what_the_vector_says(vector: dict[str, Any]) -> None:
    point = msgspec.convert(vector["point"], Point)
    model = msgspec.structs.replace(load_all()[DescriptorId("regin/rcf_230")], points=(point,))
    image: dict[tuple[Table, int], int] = {("holding", int(place)): word for place, word in vector["words"].items()}
    [reading] = codec.readings_of_registers(model, DeviceId("d"), image)
    assert reading.value == vector["value"]
    assert (reading.reason or "").startswith(vector.get("reason", ""))
    image.pop(("holding", 4))
    assert codec.readings_of_registers(model, DeviceId("d"), image) == []


@pytest.mark.parametrize("vector", VALUES["messages"], ids=lambda vector: vector["name"])
def test_a_message_means_what_the_vector_says(vector: dict[str, Any]) -> None:
    point = msgspec.convert(vector["point"], Point)
    model = msgspec.structs.replace(load_all()[DescriptorId("regin/rcf_230")], points=(point,))
    [reading] = codec.readings_of_message(model, DeviceId("d"), "x/y", "a/x/y/t", vector["payload"].encode())
    assert reading.value == vector["value"]
    assert (reading.reason or "").startswith(vector.get("reason", ""))
    assert codec.readings_of_message(model, DeviceId("d"), "x", "a/x/y/t", vector["payload"].encode()) == []


@pytest.mark.guarantee("G19")
@given(payload=st.binary(max_size=300))
def test_any_bytes_as_a_bare_value_are_judged(payload: bytes) -> None:
    for vector in VALUES["messages"]:
        judged = codec.judge_bare(msgspec.convert(vector["point"], Point), payload)
        assert (judged.value is None) == (judged.reason is not None)


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("vector", VALUES["commands"], ids=lambda vector: vector["name"])
def test_a_command_is_the_message_that_the_vector_says(vector: dict[str, Any]) -> None:
    point = msgspec.convert({**vector["point"], "write": vector["rule"]}, Point)
    allowed = codec.allow(point, vector["value"])
    assert isinstance(allowed, codec.Allowed)
    write = codec.encode(point, allowed.value)
    assert write == codec.MessageWrite("c/{name}", vector["payload"].encode())


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("vector", VALUES["bits"], ids=lambda vector: vector["name"])
def test_bits_are_written_into_what_their_register_holds(vector: dict[str, Any]) -> None:
    point = msgspec.convert({**vector["point"], "write": {}}, Point)
    write = codec.encode(point, vector["value"])
    assert isinstance(write, codec.RegisterWrite)
    assert (write.words, write.mask) == ((vector["word"],), vector["mask"])
    became = vector["held"] & ~write.mask | write.words[0] & write.mask
    assert became == vector["becomes"]
    assert codec.judge(point, codec.raw_of_words(point, [became])).value == vector["value"]


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    ("rule", "wanted", "held", "is_same"),
    [
        ({"least": 5, "most": 30, "step": 0.5}, 21.5, 21.0, False),
        ({"least": 5, "most": 30, "step": 0.5}, 21.5, 21.4, True),
        ({"least": 5, "most": 30}, 21.5, 21.0, False),
        ({"least": 5, "most": 30}, 21.5, 21.52, True),
    ],
)
def test_another_setpoint_in_json_is_not_the_one_that_was_written(
    rule: dict[str, float], wanted: float, held: float, is_same: bool
) -> None:
    named = {"capability": "thermostat", "attribute": "occupied_heating_setpoint", "unit": "Cel"}
    point = msgspec.convert({**named, "path": "setpoint", "type": "number", "write": rule}, Point)
    assert codec.same(point, wanted, held) is is_same


def test_a_large_float_is_the_same_to_six_digits() -> None:
    named = {"capability": "electrical_measurement", "attribute": "active_power", "unit": "W"}
    point = msgspec.convert({**named, "table": "holding", "register": 0, "type": "float32"}, Point)
    assert codec.same(point, 123_456.78, 123_456.8)
    assert not codec.same(point, 123_456.78, 123_457.8)


def test_a_key_with_dots_is_written_as_deep_as_it_is_read() -> None:
    named = {"capability": "color_control", "attribute": "current_hue", "unit": "deg"}
    rule = {"least": 0, "most": 360, "step": 1}
    point = msgspec.convert({**named, "path": "color.hue", "type": "number", "write": rule}, Point)
    assert codec.encode(point, 120) == codec.PayloadWrite({"color": {"hue": 120.0}})


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ("bit = 0", None),
        ("bit = 1", None),
        ("bit = 2", "taken already"),
        ("write_only = true\nbit = 0", "read"),
        ("bits = 3\nbit = 14", "from bit 14"),
    ],
)
def test_bits_of_one_register_may_be_written_by_one_point_each(changed: str, names: str | None) -> None:
    number = "bits" in changed
    kind = 'type = "uint16"\nvalues = [[1, true], [0, false]]' if number else 'type = "bool"'
    text = BITS.replace("bit = 0", changed, 1).replace('type = "bool"', kind, 1)
    if names is None:
        assert len(descriptor.parse(text.encode(), "bits.toml").points) == 2
        return
    with pytest.raises(InvalidInputError, match=names):
        descriptor.parse(text.encode(), "bits.toml")


BITS: Final = """
format = 1
identity = { id = "acme/bits", vendor = "Acme", model = "Bits", title = "Bits", source = "made up" }
quality = { level = "manual", proven = "nothing", on = "nothing" }
wire = { kind = "modbus" }
[[points]]
capability = "on_off"
attribute = "on_off"
table = "holding"
register = 3
bit = 0
type = "bool"
write = {}
[[points]]
capability = "room_request"
attribute = "do_not_disturb"
table = "holding"
register = 3
bit = 2
type = "bool"
write = {}
"""


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
    "a scale that is no number": ("scale = 0.1", "scale = nan", "points[0].scale: nan is not a number"),
    "a range without end": ("most = 50", "most = inf", "points[0].most: inf is not a number"),
    "a range wider than the thing": ("most = 50", "most = 500", "outside -40..85"),
    "a register that may not be read": ("gap_most = 12", 'gap_most = 12\nunreadable = ["input:11"]', "'input:11'"),
    "half of another value": (
        'register = 11\ntype = "int16"',
        'register = 19\ntype = "int32"',
        "lies half in points[0]",
    ),
    "a setpoint that fits no register": (
        'scale = 0.1\nunit = "Cel"\nleast = 5',
        'scale = 0.0001\nunit = "Cel"\nleast = 5',
        "does not fit int16",
    ),
    "an endpoint with a NUL": ("setpoint:controller", "setpoint:a\\u0000b", "holds a NUL"),
    "an endpoint of no name": ("setpoint:controller", "setpoint:A b", "after the ':'"),
    "a code of another type": ("[[false, true], [true, false]]", "[[0, true], [1, false]]", "raw 0 does not fit bool"),
    "no TOML": ("[identity]", "[identity", "is not TOML"),
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
    chiller = (PACKAGE / "reference" / "descriptors" / "chiller_60.toml").read_text()
    with pytest.raises(
        InvalidInputError, match=r"points\[1\].*'ns=2;s=Chiller1.LeavingWaterTemperature' is taken already"
    ):
        descriptor.parse(chiller.replace("ReturnWaterTemperature", "LeavingWaterTemperature").encode(), "chiller.toml")


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


# --- what is accepted can be used ---------------------------------------------------------------------------

NUMBERS: Final = st.one_of(
    st.integers(-70_000, 70_000), st.floats(allow_nan=False), st.sampled_from([0, -1, 0.1, 1e-300, 1e300, 2**63 - 1])
)
RAWS: Final = st.one_of(st.booleans(), NUMBERS, st.sampled_from(["ON", "OFF", "", "auto"]))
CHANGES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "capability": st.sampled_from(["thermostat", "fan_control", "on_off", "level_control", "boolean_state"]),
    "attribute": st.sampled_from(
        ["local_temperature", "system_mode", "on_off", "current_level", "fan_mode", "occupied_heating_setpoint:x"]
    ),
    "type": st.sampled_from(sorted(raw_values.RAW_KINDS)),
    "table": st.sampled_from(["coil", "discrete", "input", "holding"]),
    "register": st.integers(0, 70_000),
    "bit": st.integers(0, 16),
    "bits": st.integers(1, 17),
    "byte_order": st.sampled_from(["big", "little"]),
    "word_order": st.sampled_from(["big", "little"]),
    "path": st.sampled_from(["state", "a.b", "a.0", "", ".", "brightness"]),
    "node": st.sampled_from(["{root}.X", "nonsense", "ns=2;s=Y", ""]),
    "scale": NUMBERS,
    "offset": NUMBERS,
    "unit": st.sampled_from(["Cel", "%", "K"]),
    "nan": st.lists(st.integers(-(2**40), 2**40), max_size=2),
    "values": st.lists(st.tuples(RAWS, RAWS | st.sampled_from(["off", "heat", "low"])).map(list), max_size=3),
    "least": NUMBERS,
    "most": NUMBERS,
    "every_s": NUMBERS,
    "deadband": NUMBERS,
    "heartbeat_s": NUMBERS,
    "readable": st.booleans(),
    "write": st.fixed_dictionaries(
        {},
        optional={
            "least": NUMBERS,
            "most": NUMBERS,
            "step": NUMBERS,
            "min_interval_s": NUMBERS,
            "burst": st.integers(0, 11),
            "settle_ms": st.integers(0, 20_000),
            "key": st.sampled_from(["k", "brightness", "color.hue", "a..b"]),
        },
    ),
}
OURS: Final = [tomllib.loads(path.read_text()) for path in descriptor_files()]


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_inline(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else repr(value)


@st.composite
def changed_descriptors(draw: st.DrawFn) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(draw(st.sampled_from(OURS))))
    for point in draw(st.lists(st.sampled_from(document["points"]), min_size=1, max_size=3)):
        for key in draw(st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=4)):
            point[key] = draw(CHANGES[key])
            if key == "type" and draw(st.booleans()):
                point.pop("bit", None)
    if draw(st.booleans()) and document["wire"]["kind"] == "modbus":
        document["wire"] |= {
            "block_most": draw(st.integers(0, 130)),
            "gap_most": draw(st.integers(0, 130)),
            "unreadable": [f"{draw(CHANGES['table'])}:{draw(st.integers(0, 300))}"],
        }
    return document


def _thermostat(**changes: float | str) -> dict[str, Any]:
    """Return a thermostat on JSON whose setpoint, 5 to 30 °C by half degrees, is changed."""
    for made in OURS:
        document: dict[str, Any] = json.loads(json.dumps(made))
        for point in document["points"]:
            if point["attribute"] == "occupied_heating_setpoint" and point["type"] == "number":
                point.update(changes)
                return document
    raise LookupError


@pytest.mark.guarantee("G19")
@example(document=_thermostat(offset=2**53 + 2), asked=21.5, noise=None)
@example(document=_thermostat(scale=-36468.0, offset=4.8e18), asked=16.2, noise=None)
@example(document=_thermostat(scale=1e14, type="numeral"), asked=23.0, noise=None)
@example(document=_thermostat(scale=1e-15), asked=21.123456789012345, noise=None)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(document=changed_descriptors(), asked=RAWS, noise=st.one_of(RAWS, st.none(), st.lists(RAWS), st.just(10**400)))
def test_a_descriptor_that_is_accepted_never_fails_later(
    document: dict[str, Any], asked: bool | float | str, noise: object
) -> None:
    text, refused = "\n".join(f"{key} = {_inline(value)}" for key, value in document.items()), ""
    try:
        made = descriptor.parse(text.encode(), "x.toml")
    except (InvalidInputError, UnsupportedVersionError) as error:
        refused = str(error)
    if refused:
        assert refused.startswith("x.toml")
        assert len(refused) < 1_000
        return
    if isinstance(made.wire, ModbusWire):
        assert plan_by_interval(made)
    elif isinstance(made.wire, OpcUaWire):
        assert map_nodes([(DeviceId("d"), made, None)])
    for point in made.points:
        judged = codec.judge(point, noise)
        assert judged.value is None or problem_with(point.row, judged.value) is None
        allowed = codec.allow(point, asked)
        if isinstance(allowed, str):
            continue
        write = codec.encode(point, allowed.value)  # raises if the loader took what cannot be written
        raw: object
        match write:
            case codec.RegisterWrite(_, _, words):
                raw = codec.raw_of_words(point, words)
            case codec.PayloadWrite(payload):
                [raw] = payload.values()
                while isinstance(raw, dict):
                    [raw] = raw.values()
            case codec.NodeWrite(_, _, value):
                raw = value
            case codec.MessageWrite(_, payload):
                assert payload
                raw = codec.raw_of_value(point, allowed.value)
        assert codec.same(point, allowed.value, codec.judge(point, raw).value)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 2**53 + 2},
        {"offset": -1e17},
        {"scale": 1e-15},
        {"scale": 1e20, "offset": 1e20},
        {"scale": 50, "type": "integer"},
        {"scale": 1e14, "type": "numeral"},
    ],
)
def test_a_setpoint_that_would_be_lost_in_its_raw_value_is_refused(changes: dict[str, float | str]) -> None:
    text = "\n".join(f"{key} = {_inline(value)}" for key, value in _thermostat(**changes).items())
    with pytest.raises(InvalidInputError, match=r"write\.(least|most): .* is raw .*: too coarse for "):
        descriptor.parse(text.encode(), "x.toml")


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("changes", [{"offset": -273.15}, {"scale": 0.01}, {"scale": 5 / 9, "offset": -160 / 9}])
def test_a_setpoint_in_another_unit_or_step_is_taken(changes: dict[str, float]) -> None:
    text = "\n".join(f"{key} = {_inline(value)}" for key, value in _thermostat(**changes).items())
    assert descriptor.parse(text.encode(), "x.toml").points


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "payload", [b'{"contact":true,"contact":false}', b'{"a":{"x":1,"x":2}}', b'{"a" :1,"b":1,"b":2}']
)
def test_a_payload_with_a_key_twice_tells_nothing(payload: bytes) -> None:
    assert json_object(payload) is Reason.NOT_JSON


def test_a_payload_with_a_key_in_two_objects_is_one() -> None:
    assert json_object(b'{"a": {"x": ":"}, "b": {"x": "\\":"}}') == {"a": {"x": ":"}, "b": {"x": '":'}}
