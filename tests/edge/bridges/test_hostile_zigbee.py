"""Whatever is said on the air: the bus goes on, the neighbours are heard, and what was wrong is told by name."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.app.devices import Devices, unknown_unlisted
from edge.bridges.complaints import AGAIN_MS, LINES_MAX, PLACES_MAX, Complaints
from edge.bridges.evidence import EVIDENCE_BYTES_MAX
from edge.bridges.mqtt.supervisor import UNKNOWN_MAX, Zigbee2MqttSupervisor
from edge.bridges.ports import DeviceEvent
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.descriptors.descriptor import Descriptor
from protocols.descriptors.wires import Zigbee2MqttWire
from protocols.device_model.capability import Capability, problem_with
from protocols.device_model.identity import DescriptorId, DeviceId, parse_device_id
from protocols.device_model.reading import Quality, Reading
from protocols.device_model.site_plan import Address, MqttBus
from protocols.link.record import RECORD_BYTES_MAX, ClockQuality, encode_record
from tests.edge.bridges.air import Air
from tests.edge.bridges.field import CATALOGUE, CONTACT, LIGHT, ZIGBEE, Heard
from tests.edge.world import T0, Building

BASE: Final = "zigbee2mqtt"
LAMP_IEEE: Final = "0x000b57fffec6a5b2"


@dataclass
class Bus:
    air: Air
    heard: Heard
    supervisor: Zigbee2MqttSupervisor

    async def say(self, topic: str, payload: bytes | str | object, *, retain: bool = False) -> None:
        text = payload if isinstance(payload, str) else json.dumps(payload) if not isinstance(payload, bytes) else ""
        self.air.say(f"{BASE}/{topic}", payload if isinstance(payload, bytes) else text.encode(), retain=retain)
        await self.air.heard()

    async def neighbour_is_heard(self) -> None:
        before = len(self.heard.readings)
        await self.say("contact-101", {"contact": before % 2 == 0, "battery": 90})
        assert [each.device for each in self.heard.readings[before:]] == ["contact-101"] * len(
            self.heard.readings[before:]
        )
        assert len(self.heard.readings) > before

    def unknown(self) -> list[str]:
        return [device for device, event, _ in self.heard.events if event is DeviceEvent.UNKNOWN_DEVICE]


@contextlib.asynccontextmanager
async def bus(*more: tuple[DeviceId, Address, Descriptor]) -> AsyncIterator[Bus]:
    air, heard = Air(), Heard()
    supervisor = Zigbee2MqttSupervisor(
        MqttBus(ZIGBEE, BASE),
        [
            (DeviceId("light-101"), Address(ZIGBEE, friendly_name="light-101", ieee=LAMP_IEEE), CATALOGUE[LIGHT]),
            (DeviceId("contact-101"), Address(ZIGBEE, friendly_name="contact-101"), CATALOGUE[CONTACT]),
            *more,
        ],
        transport=air,
        clock=ManualClock(wall_ms=T0),
        dice=SeededDice(1),
        sink=heard,
    )
    running = asyncio.create_task(supervisor.run())
    try:
        await asyncio.sleep(0)
        yield Bus(air, heard, supervisor)
        assert not running.done(), running
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def keepable(heard: Heard) -> None:
    """Everything that was told fits a record, and every value is one."""
    for reading in heard.readings:
        assert reading == Reading.from_body(reading.to_body())
        assert reading.value is None or problem_with(_row(reading), reading.value) is None
        _record("reading", {"room": "101", **reading.to_body()})
    for device, event, detail in heard.events:
        assert parse_device_id(device) == device
        _record("device", {"device": device, "event": event.value, "detail": dict(detail)})


def _row(reading: Reading) -> Any:
    point = next(
        point
        for model in (LIGHT, CONTACT)
        if (point := CATALOGUE[model].point(reading.capability, reading.attribute)) is not None
    )
    return point.row


def _record(kind: str, body: dict[str, Any]) -> None:
    data = encode_record(kind, body, device_at_ms=None, edge_at_ms=T0, mono_ms=0, clock=ClockQuality.SYNCHRONISED)
    assert len(data) <= RECORD_BYTES_MAX


NESTED: Final = b"[" * 100_000
NUMBERS: Final = (
    "1e400",
    "NaN",
    "-Infinity",
    "9" * 400,
    "-" + "9" * 400,
    "9" * 5_000,
    "1e-400",
    "0.1e308",
    '"5"',
    "{}",
)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("number", NUMBERS, ids=lambda text: text[:12])
async def test_a_number_that_is_none_gives_one_bad_reading_with_its_value_and_place(number: str) -> None:
    async with bus() as it:
        await it.say("light-101", f'{{"brightness":{number},"linkquality":{number}}}')
        levels = [each for each in it.heard.readings if each.capability is Capability.LEVEL_CONTROL]
        assert [each.quality for each in levels] == [Quality.BAD] or levels[0].value == 0
        assert levels[0].reason is None or len(levels[0].reason) <= 120
        await it.neighbour_is_heard()
        keepable(it.heard)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (NESTED[:50_000], "not_json"),
        (NESTED, "too_long"),
        (b'{"a":' * 20_000, "too_long"),
        (b"{" + b",".join(b'"k%d":1' % each for each in range(100_000)) + b"}", "too_long"),
        (b'{"state":"' + b"x" * 1_000_000 + b'"}', "too_long"),
        (b'{"state":"\xff\xfe"}', "not_json"),
        (b'{"state":"ON"', "not_json"),
        (b"[1,2]", "not_json"),
        (b"", "not_json"),
        (b'{"state":"\\u0000"}', "unknown_code"),
        (b'{"state":' + b"[" * 60 + b"]" * 60 + b"}", "unknown_code"),
        (b'{"state":1,"state":"OFF","state":"BLINK"}', "not_json"),
    ],
    ids=range(12),
)
async def test_a_malformed_payload_is_that_devices_trouble_alone(payload: bytes, reason: str) -> None:
    async with bus() as it:
        await it.say("light-101", payload)
        bad = [each for each in it.heard.readings if each.quality is Quality.BAD]
        assert bad
        assert {each.device for each in bad} == {"light-101"}
        assert all((each.reason or "").startswith(reason) for each in bad)
        assert it.supervisor.counts[f"bad_{reason.partition(':')[0]}"] == len(bad)
        await it.neighbour_is_heard()
        keepable(it.heard)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "seen",
    [
        "0",
        "-1",
        "1e300",
        '"1970-01-01T00:00:00Z"',
        '"9999-12-31T23:59:59Z"',
        '"0001-01-01T00:00:00+23:59"',
        "[]",
        "true",
        str(T0 + 10**12),
        str(2**53),
        "9" * 400,
        '"2026-02-31T00:00:00Z"',
        '"2026-01-01"',
        '"' + "9" * 39 + '"',
    ],
)
async def test_an_absurd_time_orders_nothing_and_what_is_said_next_is_heard(seen: str) -> None:
    async with bus() as it:
        await it.say("light-101", f'{{"state":"ON","last_seen":{seen}}}')
        await it.say("light-101", f'{{"state":"OFF","last_seen":{T0}}}')
        said = [each.value for each in it.heard.readings if each.capability is Capability.ON_OFF]
        assert said == [True, False]
        keepable(it.heard)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "name",
    [
        "ünbekannt",
        "a+b",
        "#",
        "+/+",
        "a//b",
        "$SYS",
        " ",
        "x" * 60_000,
        "bridgework",
        "a\x01b",
        "set",
        "light-101 ",
        "/",
    ],
    ids=lambda name: repr(name[:12]),
)
async def test_an_unknown_device_of_any_name_is_listed_as_unknown_and_disturbs_nobody(name: str) -> None:
    async with bus() as it:
        await it.say(name, b'{"state":"ON\x00"}')
        assert len(it.unknown()) == 1
        assert "light-101" not in it.unknown()
        await it.neighbour_is_heard()
        keepable(it.heard)


@pytest.mark.guarantee("G19")
async def test_two_unknown_devices_whose_names_look_alike_are_two() -> None:
    async with bus() as it:
        for name in ("Lampe ä", "Lampe ö", "lampe-", "x" * 50, "x" * 51):
            await it.say(name, {"state": "ON"})
        assert len(set(it.unknown())) == 5


@pytest.mark.guarantee("G19")
async def test_an_address_of_a_planned_devices_name_makes_nobody_unknown() -> None:
    async with bus() as it:
        listed = {"ieee_address": "contact-101", "friendly_name": "stranger", "type": "Router", "definition": None}
        await it.say("bridge/devices", [listed])
        assert it.unknown()
        assert "contact-101" not in it.unknown()


@pytest.mark.guarantee("G19")
async def test_a_malformed_entry_of_the_bridges_list_costs_only_itself() -> None:
    async with bus() as it:
        good = {
            "ieee_address": "0x00158d0001010101",
            "friendly_name": "newcomer",
            "type": "EndDevice",
            "definition": {"model": "M" * 10_000, "vendor": "V\x00"},
            "model_id": "m\x00" * 5_000,
        }
        lamp = {
            "ieee_address": LAMP_IEEE,
            "friendly_name": "light-101",
            "type": "Router",
            "definition": {"model": "ANOTHER", "vendor": "v"},
        }
        await it.say("bridge/devices", [3, {"friendly_name": 5}, good, {"type": "Router"}, lamp])
        assert it.supervisor.counts["malformed_entries"] == 3
        assert "0x00158d0001010101" in it.unknown()
        assert "light-101" in it.unknown()  # of another model than the plan says
        await it.neighbour_is_heard()
        keepable(it.heard)


@pytest.mark.guarantee("G19")
async def test_a_torn_list_takes_nobody_off_line_and_a_whole_one_does() -> None:
    lamp_wire = CATALOGUE[LIGHT].wire
    assert isinstance(lamp_wire, Zigbee2MqttWire)
    lamp = {
        "friendly_name": "light-101",
        "ieee_address": LAMP_IEEE,
        "type": "Router",
        "definition": {"model": lamp_wire.model, "vendor": "IKEA"},
    }

    def events(it: Bus) -> list[tuple[str, DeviceEvent]]:
        return [(device, event) for device, event, _ in it.heard.events]

    async with bus() as it:
        for name in ("light-101", "contact-101"):
            await it.say(f"{name}/availability", {"state": "online"})
        before = events(it)
        await it.say("bridge/devices", [{"friendly_name": 5}, {"ieee_address": None}])
        await it.say("bridge/devices", [lamp, {"friendly_name": 5}])
        assert events(it) == before
        assert it.supervisor.counts["event_offline"] == 0
        assert it.supervisor.counts["malformed_entries"] == 3
        await it.neighbour_is_heard()
        await it.say("bridge/devices", [lamp])
        assert events(it)[len(before) :] == [("contact-101", DeviceEvent.OFFLINE)]


@pytest.mark.guarantee("G13", "G17")
@pytest.mark.parametrize(
    ("ieee", "build", "known"),
    [
        ("0xa4c1380000000001", None, True),  # the bridge is asking it again: it is the same
        ("0xa4c1380000000001", "\x7f?", False),
        ("0xa4c1380000000002", None, False),
        ("0xa4c1380000000002", "?", False),
        ("0xa4c1380000000002", "1.9.30", True),
    ],
)
async def test_a_plug_swapped_under_its_name_is_not_held_to_the_firmware_of_the_one_before(
    ieee: str, build: str | None, known: bool
) -> None:
    plug, model = DeviceId("plug-101"), CATALOGUE[DescriptorId("zigbee2mqtt/innr_sp_240")]
    assert isinstance(model.wire, Zigbee2MqttWire)
    definition = {"model": model.wire.model, "vendor": "Innr"}

    def listed(ieee: str, build: str | None) -> list[dict[str, object]]:
        told = {"friendly_name": "plug-101", "ieee_address": ieee, "type": "Router", "definition": definition}
        return [{**told, **({} if build is None else {"software_build_id": build})}]

    async with bus((plug, Address(ZIGBEE, friendly_name="plug-101"), model)) as it:
        running = it.supervisor._radios["plug-101"].running
        await it.say("bridge/devices", listed("0xa4c1380000000001", "1.9.28"))
        assert running.known
        await it.say("bridge/devices", listed(ieee, build))
        assert running.known is known
        keepable(it.heard)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("topic", ["bridge/state", "bridge/devices", "bridge/logging", "light-101/availability"])
@pytest.mark.parametrize("payload", [NESTED, b"\xff", b'{"state":5}', b"9" * 5_000, b"", b"null", b'{"state":"online"'])
async def test_junk_from_the_bridge_is_counted_and_changes_nothing(topic: str, payload: bytes) -> None:
    async with bus() as it:
        await it.say(topic, payload, retain=True)
        told = topic != "bridge/logging"
        assert it.supervisor.counts["malformed_messages"] == (1 if told else 0)
        assert not it.heard.events
        await it.neighbour_is_heard()


@pytest.mark.guarantee("G19")
async def test_every_bad_value_is_named_in_the_log_once_an_hour_and_a_message_counts_once() -> None:
    with structlog.testing.capture_logs() as lines:
        async with bus() as it:
            for _ in range(3):
                await it.say("light-101", {"brightness": -5, "state": "MAYBE"})
                await it.say("contact-101", {"battery": 300})
                await it.say("light-101", "not JSON" + "x" * 10_000)
            counts = it.supervisor.counts
            assert counts["undecodable_messages"] == 3
            assert counts["bad_not_json"] == 3 * len(CATALOGUE[LIGHT].points)  # points, as every bad_<reason>
            assert counts["complaints_unlogged"] == 0
    told = [each for each in lines if each["event"] == "bus_input_refused"]
    assert {each["bus"] for each in told} == {ZIGBEE}
    found = {(each["place"], each.get("key"), each["problem"][:60]) for each in told}
    lamp = f"{BASE}/light-101"
    assert (lamp, "state", "unknown_code: 'MAYBE'") in found
    assert (lamp, "brightness", "out_of_range: -5") in found
    assert (f"{BASE}/contact-101", "battery", "out_of_range: 300") in found
    assert any(place == lamp and problem.startswith("not_json: b'not JSON") for place, _, problem in found)
    assert len(told) == 4
    assert all(len(str(each["problem"])) <= EVIDENCE_BYTES_MAX for each in told)


def test_a_bus_full_of_nonsense_fills_no_log() -> None:
    clock, counts = ManualClock(wall_ms=T0), Counter[str]()
    complaints = Complaints(ZIGBEE, counts, clock)
    with structlog.testing.capture_logs() as lines:
        for number in range(3 * PLACES_MAX):
            complaints.refused("malformed_messages", f"topic-{number}", "nonsense")
    assert len(lines) == LINES_MAX
    assert counts == {"malformed_messages": 3 * PLACES_MAX, "complaints_unlogged": 3 * PLACES_MAX - LINES_MAX}
    clock.advance(AGAIN_MS)
    with structlog.testing.capture_logs() as lines:
        complaints.refused("malformed_messages", "topic-0", "nonsense")
    assert len(lines) == 1


@pytest.mark.guarantee("G19")
async def test_a_flood_of_names_fills_a_bounded_list_and_is_counted() -> None:
    clock = ManualClock(wall_ms=T0)
    building = Building(clock)
    devices = Devices(building.house, plan=building.plan, clock=clock)
    async with bus() as it:
        for number in range(UNKNOWN_MAX + 500):
            it.air.say(f"{BASE}/{'n' * 2_000}{number}", b"{}")
        await it.air.heard()
        assert len(it.unknown()) == UNKNOWN_MAX
        assert it.supervisor.counts["unknown_devices_untold"] == 500
        assert max(map(len, it.supervisor._memory._kept.found)) <= 40
        for device, event, detail in it.heard.events:
            devices.device_event(device, event, detail)
        listed = [each for each in devices.told() if not each["planned"]]
        assert len(listed) == UNKNOWN_MAX
        assert unknown_unlisted(devices, [it.supervisor]) == 500
        assert all(len(json.dumps(each["detail"])) < 4 * EVIDENCE_BYTES_MAX for each in listed)
        await it.neighbour_is_heard()
    await building.store.close()


TOPICS: Final = st.one_of(
    st.sampled_from(["light-101", "contact-101", "light-101/availability", "bridge/state", "bridge/devices", "x/set"]),
    st.text(min_size=1, max_size=40),
)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "state",
                    "brightness",
                    "contact",
                    "battery",
                    "last_seen",
                    "linkquality",
                    "ieee_address",
                    "friendly_name",
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
).map(lambda each: json.dumps(each).encode())


@pytest.mark.guarantee("G19")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=st.lists(st.tuples(TOPICS, JSON | st.binary(max_size=60), st.booleans()), min_size=1, max_size=8))
async def test_noise_on_the_air_is_taken_and_what_is_told_can_be_kept(said: list[tuple[str, bytes, bool]]) -> None:
    async with bus() as it:
        for topic, payload, retain in said:
            await it.say(topic, payload, retain=retain)
        keepable(it.heard)
