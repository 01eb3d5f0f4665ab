"""A policy tried on recorded days: what it would have changed, and nothing touched."""

import asyncio
import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from edge.app.edge_store import EdgeStore
from edge.app.main import FAILED, WRONG_CONFIGURATION, main
from edge.binding import book
from edge.log.record_log import Entry, RecordLog
from edge.policy.document import default, encode
from kit.clock import SystemClock
from kit.dice import SeededDice
from protocols.device_model import site_plan
from protocols.device_model.binding import Place
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId
from protocols.device_model.site_plan import Address
from protocols.link.lanes import Lane
from tests.edge.world import HOUR_MS, T0, an_opening
from tests.edge.world import plan as a_plan

LIGHT = {"capability": "on_off", "attribute": "on_off", "value": False}
NIGHT = {
    "name": "lights-out",
    "when": "room.mode == 'occupied_comfort' && room.occupied == true",
    "schedule": {"from": "23:00", "until": "05:00"},
    "then": [LIGHT],
}


class Then(SystemClock):
    """The real clock for waiting, a day long past for dates."""

    def __init__(self, wall_ms: int) -> None:
        self._then_ms = wall_ms
        super().__init__(trust="host")

    def wall_ms(self) -> int:
        return self._then_ms

    def advance(self, ms: int) -> None:
        self._then_ms += ms


async def recorded(folder: Path) -> None:
    """A guest checks in at 18:00 in Vienna, comes in and stays the night."""
    clock = Then(T0 + 17 * HOUR_MS)
    log = await RecordLog.open(folder, clock=clock, dice=SeededDice(1))
    stay = {"stay": "s-anna", "state": "checked_in", "room": "101", "at_ms": clock.wall_ms(), "by": "desk"}
    stay |= {"expected_from_ms": T0, "expected_until_ms": T0 + 48 * HOUR_MS, "stay_version": 1}
    await log.append(Lane.A, "stay", stay)
    clock.advance(600_000)
    opening = {**an_opening(at_ms=clock.wall_ms()), "doors": "00", "doors_seq": 1}
    await log.append(Lane.A, "access", opening)
    for wait_ms, device, capability, attribute, value in (
        (1_000, "contact-101", "boolean_state", "state_value", False),
        (4_000, "contact-101", "boolean_state", "state_value", True),
        (40_000, "motion-101", "occupancy_sensing", "occupancy", True),
        (90_000, "motion-101", "occupancy_sensing", "occupancy", False),
    ):
        clock.advance(wait_ms)
        body = {"room": "101", "device": device, "capability": capability, "attribute": attribute, "value": value}
        await log.append_many(Lane.B, [Entry("reading", {**body, "unit": None, "quality": "good"})])
    await log.close()


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    plan = json.loads(site_plan.encode(a_plan(2)))
    for device in plan["devices"]:
        model = {"light": "ikea_led1545g12", "contact": "aqara_mccgq11lm"}.get(device["id"].split("-")[0])
        device["descriptor"] = f"zigbee2mqtt/{model}" if model else device["descriptor"]
    plan["devices"] = [each for each in plan["devices"] if each["descriptor"] != "test/thing"]
    plan["devices"].append(
        {
            "id": "motion-101",
            "room": "101",
            "descriptor": "zigbee2mqtt/aqara_rtcgq11lm",
            "address": {"bus": "zigbee", "friendly_name": "motion-101"},
        }
    )
    (tmp_path / "site.json").write_text(json.dumps(plan))
    path = tmp_path / "edge.toml"
    path.write_text(
        f'property = "aurora"\nedge = "e-aurora0000000001"\ndata_dir = "{tmp_path}/data"\n'
        f'site_plan_path = "{tmp_path}/site.json"\n'
    )
    await recorded(tmp_path / "data" / "log")
    return path


def a_policy(folder: Path, **changes: object) -> Path:
    document = {**json.loads(encode(default())), "v": 2, "version": 7, "name": "night", **changes}
    path = folder / "policy.json"
    path.write_text(json.dumps(document))
    return path


def try_it(config: Path, policy: Path, begins: str = "2026-01-01", ends: str = "2026-01-02T12:00") -> int:
    return main(
        ["rules-dry-run", "--config", str(config), "--policy", str(policy), "--from", begins, "--to", ends]
    )  # fmt: skip


def prints(folder: Path) -> dict[str, str]:
    return {str(each): hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.rglob("*") if each.is_file()}


@pytest.mark.requirement("DEV-03")
def test_what_would_have_changed_is_told_with_room_moment_and_rule(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = a_policy(tmp_path, rules=[NIGHT])
    before = prints(tmp_path)
    assert try_it(config, policy) == 0
    told = capsys.readouterr().out.splitlines()
    changes = [line for line in told if line.startswith(("+", "-"))]
    assert changes == ["+ 2026-01-01 23:00 room 101: on_off.on_off = False (rule lights-out)"]
    assert told[-1].startswith("1 differences in 1 of 2 rooms; ")
    assert prints(tmp_path) == before  # nothing was touched


async def seldom(config: Path, device: str, capability: str, attribute: str, value: float) -> None:
    """Record what a device says once, at 18:00 in Vienna."""
    log = await RecordLog.open(config.parent / "data" / "log", clock=Then(T0 + 18 * HOUR_MS), dice=SeededDice(2))
    body = {"room": "101", "device": device, "capability": capability, "attribute": attribute, "value": value}
    await log.append_many(Lane.B, [Entry("reading", {**body, "unit": None, "quality": "good"})])
    await log.close()


async def test_what_is_said_once_a_day_holds_for_a_rule_as_long_as_it_does_in_the_house(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await seldom(config, "contact-101", "power_source", "bat_percent_remaining", 20.0)
    rule = {**NIGHT, "when": "value['power_source.bat_percent_remaining'] < 50.0"}
    assert await asyncio.to_thread(try_it, config, a_policy(tmp_path, rules=[rule])) == 0
    assert "+ 2026-01-01 23:00 room 101: on_off.on_off = False (rule lights-out)" in capsys.readouterr().out


async def test_a_device_that_was_bound_at_the_edge_is_lived_too(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await seldom(config, "sensor-new", "power_source", "bat_percent_remaining", 20.0)
    address = Address(BusId("zigbee"), friendly_name="sensor-new")
    place = Place(RoomId("101"), DescriptorId("zigbee2mqtt/aqara_rtcgq11lm"), address)
    bound = book.Book(3, {DeviceId("sensor-new"): book.Entry(1, place), DeviceId("nowhere"): book.Entry(1, place)})
    store, _ = EdgeStore.open(tmp_path / "data" / "edge.db", threaded=False)
    await store.save_document("bindings", bound.to_bytes())
    await store.close()
    rule = {**NIGHT, "when": "value['power_source.bat_percent_remaining'] < 50.0"}
    assert await asyncio.to_thread(try_it, config, a_policy(tmp_path, rules=[rule])) == 0
    assert "+ 2026-01-01 23:00 room 101: on_off.on_off = False (rule lights-out)" in capsys.readouterr().out


async def test_it_is_held_against_the_signed_policy_if_there_is_one(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = encode(msgspec.structs.replace(default(), name="signed in the cloud"))
    store, _ = EdgeStore.open(tmp_path / "data" / "edge.db", threaded=False)
    await store.save_document("policy_room", json.dumps({"version": 4, "body": document.decode()}).encode())
    await store.close()
    assert await asyncio.to_thread(try_it, config, a_policy(tmp_path)) == 0
    assert "in force: 'signed in the cloud'" in capsys.readouterr().out


def test_the_same_policy_changes_nothing(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert try_it(config, a_policy(tmp_path)) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1].startswith("0 differences in 0 of 2 rooms; ")
    assert int(told[-1].split("; ")[1].split()[0]) > 0  # ... and there was something to compare


def test_a_setpoint_that_differs_is_told_both_ways(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    climate = {**json.loads(encode(default()))["climate"], "comfort_c": 23.0}
    assert try_it(config, a_policy(tmp_path, climate=climate)) == 0
    told = capsys.readouterr().out
    assert "thermostat.occupied_heating_setpoint = 23.0 (GuestEntered)" in told
    assert "- " in told


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rules": [{**NIGHT, "when": "room.mood == 'good'"}]}, r"rules[0] 'lights-out': when, character 6"),
        ({"rules": [NIGHT, NIGHT]}, "rules[1] 'lights-out': another rule has that name"),
        ({"rules": [{**NIGHT, "then": [{**LIGHT, "value": 3}]}]}, "then[0].value: 3 is not true or false"),
    ],
)
def test_a_bad_rule_is_refused_by_name_and_place(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], said: str
) -> None:
    assert try_it(config, a_policy(tmp_path, **changes)) == WRONG_CONFIGURATION
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""


def test_wrong_times_and_a_log_that_is_not_there_are_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = a_policy(tmp_path)
    assert try_it(config, policy, begins="last week") == WRONG_CONFIGURATION
    assert "--from: 'last week' is no date" in capsys.readouterr().err
    assert try_it(config, policy, begins="2026-01-02", ends="2026-01-01") == WRONG_CONFIGURATION
    (tmp_path / "data" / "log" / "lane-b.db").unlink()
    assert try_it(config, policy) == FAILED
    assert "lane-b.db: there is no such lane file" in capsys.readouterr().err
