"""Firmware: which version a text tells, what its quirks make of a descriptor, and what holds while none is known."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridges.catalogue import load_all
from protocols.descriptors.descriptor import Descriptor, parse
from protocols.descriptors.firmware import every, quirks_of, text_of_words, under, version_of, words_of_text
from protocols.descriptors.quirks import Firmware
from protocols.descriptors.variants import parse_version
from protocols.descriptors.wires import ModbusWire
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DescriptorId
from protocols.errors import InvalidInputError

HEAD: Final = """
format = 1
identity = { id = "acme/x_1", vendor = "Acme", model = "X 1", title = "A thing", source = "its manual, revision 3" }
quality = { level = "manual", proven = "nothing yet", on = "nothing" }
wire = { kind = "modbus", block_most = 40, pause_ms = 5 }
firmware = { table = "input", register = 900, words = 4, form = "text" }
"""
POINTS: Final = """
[[points]]
capability = "thermostat"
attribute = "local_temperature"
table = "input"
register = 1
type = "int16"
scale = 0.1
unit = "Cel"

[[points]]
capability = "thermostat"
attribute = "occupied_heating_setpoint"
table = "holding"
register = 2
type = "int16"
scale = 0.1
unit = "Cel"
write = { least = 10, most = 30, min_interval_s = 5, burst = 3 }

[[points]]
capability = "electrical_measurement"
attribute = "cumulative_energy_imported"
table = "input"
register = 10
type = "uint32"
unit = "kW.h"
"""
QUIRKS: Final = """
[[quirks]]
before = "1.4"
says = "tells whole degrees, and bears shorter reads"
source = "a test"
wire = { block_most = 10, pause_ms = 50 }
points = [{ capability = "thermostat", attribute = "local_temperature", set = { scale = 1.0, nan = [32767] } }]

[[quirks]]
since = "1.4"
before = "2.0"
says = "loses its setpoint above 25"
source = "a test"

[[quirks.points]]
capability = "thermostat"
attribute = "occupied_heating_setpoint"
set = { write = { least = 10, most = 25, min_interval_s = 60 } }

[[quirks]]
since = "2.0"
says = "counts its energy elsewhere, low word first, and has a fan"
source = "a test"

[[quirks.points]]
capability = "electrical_measurement"
attribute = "cumulative_energy_imported"
set = { register = 300, word_order = "little" }

[[quirks.points]]
capability = "fan_control"
attribute = "speed_current"
set = { table = "input", register = 20, type = "uint16" }

[[quirks]]
firmware = "a setting of the dial"
says = "for people alone"
"""
T, E = Capability.THERMOSTAT, Capability.ELECTRICAL_MEASUREMENT


def made(quirks: str = QUIRKS, head: str = HEAD) -> Descriptor:
    return parse((head + POINTS + quirks).encode(), "x_1.toml")


@pytest.mark.parametrize(
    ("text", "after", "version"),
    [
        ("1.4.0", "", (1, 4)),
        ("v1.14.0-g6cb8", "", (1, 14)),
        ("20230913-114010/v1.14.0-gcb84623", "/", (1, 14)),
        ("8.5.0(tasmota)", "", (8, 5)),
        ("0.0.0_0021", "", (0, 0, 0, 21)),
        ("01.18.0008 01.18", "", (1, 18, 8)),
        ("2.3.086", "", (2, 3, 86)),
        ("0", "", ()),
        ("AAAABBBBCCCCDDDD", "", None),
        ("", "", None),
    ],
)
def test_a_version_is_the_first_number_and_what_dots_part_from_it(
    text: str, after: str, version: tuple[int, ...] | None
) -> None:
    assert parse_version(text, after) == version


def test_versions_are_compared_number_by_number_and_not_as_text() -> None:
    ordered = ["0.9", "1.2", "1.10", "1.10.0.1", "2"]
    assert sorted(parse_version(each) or () for each in ordered) == [parse_version(each) for each in ordered]


@pytest.mark.parametrize(
    ("form", "words", "text"),
    [
        ("number", (1098,), "1098"),
        ("hundredths", (122,), "1.22"),
        ("hex_hundredths", (0x0122,), "1.22"),
        ("hex_hundredths", (0x012F,), None),
        ("bytes", (0x0102,), "1.2"),
        ("text", (0x312E, 0x3400, 0, 0), "1.4"),
        ("text", (0, 0, 0, 0), None),
    ],
)
def test_a_version_in_registers(form: str, words: tuple[int, ...], text: str | None) -> None:
    firmware = Firmware(table="input", register=1, words=len(words), form=form)  # type: ignore[arg-type]  # one of them
    assert text_of_words(firmware, words) == text
    if text is not None:
        assert version_of(firmware, text_of_words(firmware, words_of_text(firmware, text))) == parse_version(text)


@pytest.mark.requirement("DEV-02")
def test_every_firmware_is_its_own_descriptor() -> None:
    model = made()
    assert [version for version, _ in every(model)] == ["", "1.4", "2"]
    old, middle, new = (each for _, each in every(model))
    assert isinstance(old.wire, ModbusWire)
    assert (old.wire.block_most, old.wire.pause_ms) == (10, 50)
    reads = [each.point(T, "local_temperature") for each in (old, middle, new)]
    assert [None if each is None else (each.scale, each.nan) for each in reads] == [
        (1.0, (32767,)),
        (0.1, ()),
        (0.1, ()),
    ]
    rules = [each.point(T, "occupied_heating_setpoint") for each in (old, middle, new)]
    assert [each.write.most for each in rules if each is not None and each.write is not None] == [30, 25, 30]
    energies = [each.point(E, "cumulative_energy_imported") for each in (old, middle, new)]
    assert [(each.register, each.word_order) for each in energies if each is not None] == [
        (10, "big"),
        (10, "big"),
        (300, "little"),
    ]
    assert [each.point(Capability.FAN_CONTROL, "speed_current") is not None for each in (old, middle, new)] == [
        False,
        False,
        True,
    ]


@pytest.mark.guarantee("G13")
def test_while_no_version_is_known_only_what_all_have_alike_is_read_and_the_strictest_limits_hold() -> None:
    unknown = under(made(), None)
    assert [each.attribute for each in unknown.points] == ["occupied_heating_setpoint"]
    rule = unknown.points[0].write
    assert rule is not None
    assert (rule.least, rule.most, rule.min_interval_s, rule.burst) == (10, 25, 60, 1)
    assert isinstance(unknown.wire, ModbusWire)
    assert (unknown.wire.block_most, unknown.wire.pause_ms) == (10, 50)


@pytest.mark.guarantee("G13")
@given(version=st.lists(st.integers(0, 3), max_size=4).map(tuple))
def test_what_is_done_unknown_is_what_any_version_would_have_done(version: tuple[int, ...]) -> None:
    model = made()
    known, unknown = under(model, version), under(model, None)
    for point in unknown.points:
        mine = known.point(point.capability, point.attribute)
        assert mine is not None
        assert (mine.register, mine.scale, mine.type) == (point.register, point.scale, point.type)
        if point.write is not None:
            assert mine.write is not None
            assert (mine.write.least or 0) <= (point.write.least or 0)
            assert (point.write.most or 0) <= (mine.write.most or 0)
            assert point.write.min_interval_s >= mine.write.min_interval_s


WRONG: Final = {
    "a bound that is no version": ('before = "1.4"', 'before = "old"', "no version"),
    "bounds the wrong way round": ('since = "1.4"', 'since = "3.0"', "is not before"),
    "no source": ('source = "a test"', "", "and a source"),
    "neither bound nor words": ('firmware = "a setting of the dial"', "", "since or before"),
    "a key that no point has": ("scale = 1.0, nan", "scales = 1.0, nan", "scales"),
    "a scale of nothing under one firmware": ("scale = 1.0, nan", "scale = 0, nan", "firmware the oldest"),
    "a write outside the plausible under one firmware": ("most = 25", "most = 250", "firmware 1.4"),
    "nothing that differs": (", set = { scale = 1.0, nan = [32767] }", "", "says nothing of what differs"),
    "missing what there is not": (
        'set = { table = "input", register = 20, type = "uint16" }',
        "missing = true",
        "must have it",
    ),
    "another wire": ("wire = { block_most = 10", 'wire = { kind = "opcua", block_most = 10', "another model"),
    "a firmware without a point": ("set = { register = 300", "sett = { register = 300", "sett"),
}


@pytest.mark.parametrize(("old", "new", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_quirk_is_refused_by_the_name_of_its_firmware(old: str, new: str, says: str) -> None:
    assert old in QUIRKS
    with pytest.raises(InvalidInputError, match=re.escape(says)):
        made(QUIRKS.replace(old, new, 1))


@pytest.mark.parametrize(
    "told",
    [
        "",
        'firmware = { topic = "x/{name}" }',
        'firmware = { table = "input" }',
        "firmware = { object = 2, node = 'i=3' }",
    ],
)
def test_where_the_version_is_told_must_fit_the_wire(told: str) -> None:
    head = "\n".join(line for line in HEAD.splitlines() if not line.startswith("firmware")) + f"\n{told}\n"
    with pytest.raises(InvalidInputError, match="firmware"):
        made(head=head)


def test_the_catalogue_tells_firmwares_apart_by_published_facts() -> None:
    """Six models or more, each quirk with its source, and every one applied to the versions that it names alone."""
    models = [each for each in load_all().values() if len(every(each)) > 1]
    assert len(models) >= 6
    for model in models:
        assert all(each.source for each in model.quirks if each.machine)
    pow_r2 = load_all()[DescriptorId("tasmota/pow_r2")]
    for text, topic in (
        ("5.10.0", "tele/{name}/ENERGY"),
        ("5.14.0", "tele/{name}/SENSOR"),
        ("9.5.0.1(tasmota)", "tele/{name}/SENSOR"),
    ):
        version = version_of(pow_r2.firmware, text)
        point = under(pow_r2, version).point(E, "active_power")
        assert point is not None
        assert point.topic == topic
        assert bool(quirks_of(pow_r2, version)) == (text == "5.10.0")
