"""Messages to records: byte for byte what the specification encodes, and nonsense that stays its sender's alone."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.mqtt.json_readings import KEYS_MAX, NUMBERS_MAX, TIME_AHEAD_MS, JsonReadings, Refusal, Taken
from edge.bridges.mqtt.json_rules import JsonDevicesSettings, KeySettings, RuleSettings, compile_rules
from kit.mqtt_wire.parser import Publish
from protocols.device_model.identity import DeviceId, RoomId
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record, decode_record, encode_record

WALL_MS, MONO_MS = 1_700_000_000_000, 5_000
KEYS = {
    "temperature": KeySettings("temperature_measurement", "measured_value"),
    "deci": KeySettings("thermostat", "local_temperature", scale=0.1),
    "level": KeySettings("level_control", "current_level"),
    "contact": KeySettings("boolean_state", "state_value"),
    "mode": KeySettings("thermostat", "system_mode"),
}
RULE = RuleSettings(topic="site/{room}/{device}/state", keys=KEYS, time_key="t")
TOPIC = b"site/101/th-1/state"


def readings(*rules: RuleSettings, **more: Any) -> JsonReadings:
    return JsonReadings(compile_rules(JsonDevicesSettings(rules=rules or (RULE,))), **more)


def take(made: JsonReadings, *messages: Publish, **more: Any) -> Taken:
    return made.take(messages, wall_ms=WALL_MS, mono_ms=MONO_MS, clock=ClockQuality.DRIFTING, **more)


def say(payload: object, topic: bytes = TOPIC, head: int = 0x32) -> Publish:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return (topic, data, 1, head)


def records(taken: Taken) -> list[Record]:
    return [decode_record(each, lane=Lane.C, seq=n + 1) for n, each in enumerate(taken.telemetry)]


values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=200),
)  # fmt: skip


@given(
    st.dictionaries(st.text("abcäöü_-.9", min_size=1, max_size=64), values, min_size=1, max_size=20), st.integers(0, 1)
)
def test_every_value_becomes_exactly_the_record_that_the_specification_encodes(
    document: dict[str, Any], timed: int
) -> None:
    document.pop("t", None)
    at_ms = WALL_MS - 77 if timed else None
    known = {key: value for key, value in document.items() if key not in KEYS}
    taken = take(readings(), say({**known, **({"t": at_ms} if timed else {})}, head=0x32))
    expected = [
        encode_record(
            "reading",
            {"room": "101", "device": "th-1", "capability": "generic", "attribute": key, "value": value, "unit": None,
             "quality": "good"},
            device_at_ms=at_ms, edge_at_ms=WALL_MS, mono_ms=MONO_MS, clock=ClockQuality.DRIFTING,
        )
        for key, value in known.items()
    ]  # fmt: skip
    assert taken.telemetry == expected
    assert not taken.refused or not known


@pytest.mark.parametrize("clock", list(ClockQuality))
@pytest.mark.parametrize("mono_ms", [0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**40])
def test_a_stamp_is_as_the_specification_encodes_it_at_every_length(mono_ms: int, clock: ClockQuality) -> None:
    message = (TOPIC, b'{"t":null,"x":1}', 0, 0x32)
    [record] = readings().take([message], wall_ms=WALL_MS, mono_ms=mono_ms, clock=clock).telemetry
    body = {"room": "101", "device": "th-1", "capability": "generic", "attribute": "x", "value": 1, "unit": None,
            "quality": "good"}  # fmt: skip
    assert record == encode_record("reading", body, device_at_ms=None, edge_at_ms=WALL_MS, mono_ms=mono_ms, clock=clock)


@given(st.floats(-60, 200), st.integers(-60, 200))
def test_a_known_key_becomes_its_attribute_with_its_unit(number: float, whole: int) -> None:
    for value in (number, whole):
        [record] = records(take(readings(), say({"temperature": value})))
        assert record.body == {
            "room": "101", "device": "th-1", "capability": "temperature_measurement", "attribute": "measured_value",
            "value": value, "unit": "Cel", "quality": "good",
        }  # fmt: skip
        assert type(record.body["value"]) is type(value)


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, 1, 21.5, 21.57, -40.0, 0, 180.0, 1e-7]), min_size=2, max_size=12))
def test_a_number_said_again_is_encoded_as_if_it_were_the_first(numbers: list[float | int]) -> None:
    made = readings()
    for number in numbers:
        first = take(readings(), say({"temperature": number}))
        assert len(first.telemetry) == 1
        assert take(made, say({"temperature": number})).telemetry == first.telemetry


def test_more_numbers_than_are_remembered_change_nothing() -> None:
    made = readings()
    said = [n / 1_000 for n in range(-40_000, 60_000, 10)]
    assert len(said) > NUMBERS_MAX
    for number in said:
        [record] = records(take(made, say({"temperature": number})))
        assert record.body["value"] == number


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b'{"a":{}}', {}),
        (b'{"a":{},"b":1}', {"b": 1}),
        (b'{"a":"{","b":1}', {"a": "{", "b": 1}),
        (b'{"a":"x:y","b":1}', {"a": "x:y", "b": 1}),
        (b'{"a" : 1,\n"b"\t:2}', {"a": 1, "b": 2}),
    ],
)
def test_what_looks_like_a_member_and_is_none_is_told_apart(payload: bytes, told: dict[str, Any]) -> None:
    taken = take(readings(), say(payload))
    assert {each.body["attribute"]: each.body["value"] for each in records(taken)} == told
    assert [each.reason for each in taken.refused] == ([] if told else [Refusal.NO_VALUES])


def test_scale_case_and_lanes() -> None:
    taken = take(readings(), say({"deci": 215, "mode": "HEAT", "contact": True, "level": 254}))
    assert [(each.body["attribute"], each.body["value"]) for each in records(taken)] == [
        ("local_temperature", 21.5), ("system_mode", "heat"), ("current_level", 254),
    ]  # fmt: skip
    assert [decode_record(each, lane=Lane.B, seq=1).body["value"] for each in taken.events] == [True]


def test_nested_objects_and_bare_values_are_read_too() -> None:
    flat = take(readings(), say({"ENERGY": {"Power": 3, "Phase": {"A": 1}}, "on": False}))
    assert [(each.body["attribute"], each.body["value"]) for each in records(flat)] == [
        ("ENERGY.Power", 3), ("ENERGY.Phase.A", 1), ("on", False),
    ]  # fmt: skip
    bare = readings(RuleSettings(topic="s/{device}/{attribute}"))
    assert [each.body["attribute"] for each in records(take(bare, say(b"21.5", b"s/d/flow")))] == ["flow"]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Refusal.NOT_JSON),
        (b"{", Refusal.NOT_JSON),
        (b"\xff\xfe{}", Refusal.NOT_JSON),
        (b'{"temperature": NaN}', Refusal.NOT_JSON),
        (b'{"temperature": Infinity}', Refusal.NOT_JSON),
        (b'{"temperature": 1e999}', Refusal.NOT_JSON),
        (b'{"a":"\\ud800"}', Refusal.NOT_JSON),
        (b"[" * 25_000 + b"]" * 25_000, Refusal.NOT_JSON),
        (b"9" * 10_000, Refusal.NOT_JSON),
        (b'{"temperature":1,"temperature":2}', Refusal.DUPLICATE_KEY),
        (b'{"a":{"b":1,"b":2}}', Refusal.DUPLICATE_KEY),
        (b'{"a" :1,"b":1,"b":2}', Refusal.DUPLICATE_KEY),
        (b'{"a":{"b":1},"a.b":2}', Refusal.DUPLICATE_KEY),
        (b'{"a":{"b":{"c":{"d":1}}}}', Refusal.TOO_DEEP),
        (b"{}", Refusal.NO_VALUES),
        (b'{"a":{}}', Refusal.NO_VALUES),
        (b"[1,2]", Refusal.WRONG_TYPE),
        (json.dumps({f"k{n}": n for n in range(65)}).encode(), Refusal.TOO_MANY_KEYS),
        (json.dumps({"a": {f"k{n}": n for n in range(65)}}).encode(), Refusal.TOO_MANY_KEYS),
        (b'{"' + b"k" * 65 + b'":1}', Refusal.KEY_NAME),
        (b'{"a\\u0000b":1}', Refusal.KEY_NAME),
        (b'{"a":"x\\u0000y"}', Refusal.WRONG_TYPE),
        (json.dumps({"a": "x" * 201}).encode(), Refusal.WRONG_TYPE),
        (b'{"a":100000000000000000000}', Refusal.OUT_OF_RANGE),
        (b'{"a":null}', Refusal.WRONG_TYPE),
        (b'{"a":[1]}', Refusal.WRONG_TYPE),
        (None, Refusal.OVERSIZED),
    ],
)
def test_nonsense_is_refused_by_name_and_nothing_of_it_is_a_record(payload: bytes | None, reason: Refusal) -> None:
    made = readings()
    taken = take(made, (TOPIC, payload, 1, 0x32), say({"temperature": 20.5}))
    assert [(each.who, each.reason) for each in taken.refused] == [("th-1", reason)]
    assert all(len(each.evidence) <= 200 for each in taken.refused)
    assert [each.body["value"] for each in records(taken)] == [20.5]  # the next one of the same device is heard


@pytest.mark.guarantee("G17", "G19")
@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("temperature", 5_000, "out_of_range"), ("temperature", "21", "wrong_type"),
        ("temperature", None, "wrong_type"),
        ("temperature", True, "wrong_type"), ("temperature", [21], "wrong_type"), ("level", 1.5, "out_of_range"),
        ("contact", 1, "out_of_range"), ("mode", "boil", "wrong_type"), ("temperature", 10**30, "out_of_range"),
    ],
)  # fmt: skip
def test_a_known_value_that_cannot_be_is_told_as_bad_once_and_never_as_a_fact(
    key: str, value: object, reason: str
) -> None:
    made = readings()
    first, again = take(made, say({key: value})), take(made, say({key: value}))
    [raw] = first.telemetry + first.events
    body = decode_record(raw, lane=Lane.C, seq=1).body
    assert (body["value"], body["quality"]) == (None, "bad")
    assert body["reason"].startswith(f"{reason}: ")
    assert again.telemetry + again.events == []
    assert [each.reason.value for each in first.refused + again.refused] == [reason, reason]


@pytest.mark.parametrize("told", [0, -5, 1, WALL_MS + TIME_AHEAD_MS + 1, "yesterday", True, [1], 1e300, 10**25])
def test_an_absurd_device_time_is_no_time_and_makes_the_reading_uncertain(told: object) -> None:
    [record] = records(take(readings(), say({"temperature": 21.0, "t": told})))
    assert record.device_at_ms is None
    assert (record.body["value"], record.body["quality"]) == (21.0, "uncertain")
    assert record.body["reason"].startswith("device_time: ")


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "payload",
    [
        b'{"t":1e308,"deci":215}', b'{"t":-1e308,"deci":215}', b'{"deci":' + b"9" * 400 + b"}",
        b'{"tens":1e308}', b'{"tens":-1e308}', b'{"next":' + b"9" * 4_000 + b"}",
    ],
)  # fmt: skip
def test_a_number_beyond_calculating_stops_nobody(payload: bytes) -> None:
    """Poison: what raises here is never acknowledged, so the broker would bring it again after every start."""
    keys = {
        "deci": KEYS["deci"],
        "tens": KeySettings("level_control", "current_level", scale=10),
        "next": KeySettings("level_control", "current_level", offset=1),
    }
    made = readings(RuleSettings(topic="site/{room}/{device}/state", keys=keys, time_key="t", time_unit="s"))
    taken = take(made, (TOPIC, payload, 1, 0x32), say({"deci": 215, "t": WALL_MS // 1_000}))
    *odd, good = records(taken)
    assert (good.body["value"], good.body["quality"], good.device_at_ms) == (21.5, "good", WALL_MS)
    assert [(each.body["quality"], each.device_at_ms) for each in odd] in ([("uncertain", None)], [("bad", None)])


def test_a_clock_that_is_not_believed_judges_no_other() -> None:
    """After a power cut an edge without a battery clock is years behind its devices until it hears a time source."""
    made, ahead_ms = readings(), WALL_MS + 86_400_000
    message = say({"temperature": 20.5, "t": ahead_ms})
    [doubted] = records(take(made, message))
    assert (doubted.device_at_ms, doubted.body["quality"]) == (None, "uncertain")
    lost = made.take([message], wall_ms=WALL_MS, mono_ms=MONO_MS, clock=ClockQuality.UNCERTAIN)
    [kept] = records(lost)
    assert (kept.device_at_ms, kept.body["quality"], kept.clock) == (ahead_ms, "good", ClockQuality.UNCERTAIN)
    never = made.take(
        [say({"temperature": 20.5, "t": 10**15})], wall_ms=WALL_MS, mono_ms=MONO_MS, clock=ClockQuality.UNCERTAIN
    )
    assert records(never)[0].device_at_ms is None


def test_a_retained_message_without_a_time_is_uncertain() -> None:
    [old] = records(take(readings(), say({"temperature": 21.0}, head=0x33)))
    [timed] = records(take(readings(), say({"temperature": 21.0, "t": WALL_MS}, head=0x33)))
    assert (old.body["quality"], old.body["reason"], timed.body["quality"]) == ("uncertain", "retained", "good")


def test_a_monster_of_a_million_keys_costs_a_refusal() -> None:
    payload = b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(200_000)) + b"}"
    made = readings()
    assert [each.reason for each in take(made, (TOPIC, payload, 1, 0x32)).refused] == [Refusal.TOO_MANY_KEYS]
    assert not made.sources[0].points


@pytest.mark.guarantee("G9")
def test_a_flood_of_names_has_an_end_and_leaves_the_known_alone() -> None:
    made = readings(devices_max=10)
    take(made, *(say({"temperature": 20}, b"site/1/d-%d/state" % n) for n in range(10)))
    flood = take(made, *(say({"temperature": 20}, b"site/1/x-%d/state" % n) for n in range(500)))
    assert flood.telemetry == []
    assert {each.reason for each in flood.refused} == {Refusal.TOO_MANY_DEVICES, Refusal.TOO_MANY_TOPICS}
    assert {each.who for each in flood.refused} == {"*"}
    assert len(take(made, say({"temperature": 20}, b"site/1/d-3/state")).telemetry) == 1
    for n in range(300):  # one device that invents a key a message
        take(made, say({f"k{n}": n}, b"site/1/d-3/state"))
    assert max(len(each.points) for each in made.sources) <= KEYS_MAX


def test_topics_that_make_no_name_or_the_name_of_another_are_refused() -> None:
    made = readings()
    taken = take(
        made, say({"a": 1}, b"site/101/T 1/state"), say({"a": 1}, b"site/101/t_1/state"),
        say({"a": 1}, b"site/101/---/state"), say({"a": 1}, b"other/topic"), say({"a": 1}, b"site/1/\xff/state"),
    )  # fmt: skip
    assert [each.reason for each in taken.refused] == [
        Refusal.NAME_CLASH, Refusal.NO_NAME, Refusal.TOPIC, Refusal.TOPIC,
    ]  # fmt: skip
    assert [each.body["device"] for each in records(taken)] == ["t-1"]


def test_a_planned_device_has_its_room_from_the_plan_and_is_told() -> None:
    device = DeviceId("th-1")
    made = readings(rooms={device: RoomId("205")}, wanted={device})
    taken = take(made, say({"temperature": 20.5, "other": 1, "t": WALL_MS}))
    assert {each.body["room"] for each in records(taken)} == {"205"}
    [told] = taken.told
    assert (told.device, told.value, told.device_at_ms) == (device, 20.5, WALL_MS)


@pytest.mark.guarantee("G19")
@given(st.binary(max_size=200), st.binary(max_size=30), st.sampled_from([0x30, 0x32, 0x33, 0x3A]))
def test_noise_raises_nothing_and_only_true_records_come_of_it(payload: bytes, topic: bytes, head: int) -> None:
    made = readings()
    taken = take(made, (TOPIC, payload, 1, head), (topic, payload, 2, head))
    for lane in (taken.telemetry, taken.events):
        for record in lane:
            decode_record(record, lane=Lane.C, seq=1)


json_values = st.recursive(
    st.one_of(st.none(), values, st.floats(), st.integers()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)


@pytest.mark.guarantee("G19")
@given(st.dictionaries(st.sampled_from([*KEYS, "t", "x", "", "temperature.x"]), json_values, max_size=6))
def test_any_json_object_gives_true_records_or_refusals(document: dict[str, Any]) -> None:
    payload = msgspec.json.encode(document)
    taken = take(readings(), (TOPIC, payload, 1, 0x32))
    for record in taken.telemetry + taken.events:
        body = decode_record(record, lane=Lane.C, seq=1).body
        assert (body["value"] is None) == (body["quality"] == "bad")


def test_a_device_that_is_bound_while_it_speaks_serves_its_room_from_its_next_word_on() -> None:
    made = readings()
    [before] = records(take(made, say({"temperature": 20.5})))
    name = DeviceId(before.body["device"])
    made.serve({name: RoomId("205")}, frozenset({name}))
    after = take(made, say({"temperature": 21.5}))
    assert [each.body["room"] for each in (before, *records(after))] == ["101", "205"]
    assert [each.value for each in after.told] == [21.5]
    made.serve({}, ())
    gone = take(made, say({"temperature": 22.5}))
    assert [(each.body["room"], each.body["value"]) for each in records(gone)] == [("101", 22.5)]
    assert gone.told == []
    assert made.heard_on(TOPIC) == {("temperature_measurement", "measured_value"): 22.5}
