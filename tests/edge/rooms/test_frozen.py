"""Values that stand: what froze is told within a day or three, and what is well and steady never is."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.rooms.frozen import DAY_MS, DAYS_KEPT, GAP_MOST_MS, HOUR_MS, MOVES, RULES, STEPS_KEPT, Frozen, Kept, Track
from edge.rooms.standing_meters import Circuit, StandingMeters
from protocols.device_model.capability import ATTRIBUTES, Capability, Kind
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading
from tests.edge.rooms.frozen_world import live

MINUTES_5 = 300_000
WARM = Capability.THERMOSTAT
METER = Capability.ELECTRICAL_MEASUREMENT


def good(device: str, value: float, capability: Capability = WARM, attribute: str = "local_temperature") -> Reading:
    row = ATTRIBUTES[capability, attribute.partition(":")[0]]
    return Reading(DeviceId(device), capability, attribute, value, row.unit, Quality.GOOD)


class House:
    """Thermometers of one model that say 20 and something every five minutes, and one that is said for."""

    def __init__(self, neighbours: int, seed: int = 0) -> None:
        self.frozen, self.now_ms, self._dice = Frozen(Kept(), now_ms=0), 0, random.Random(seed)
        self.names = [DeviceId(f"neighbour-{number}") for number in range(neighbours)]
        self._places: dict[DeviceId, int] = {}
        self.moving = set(self.names)
        self.ours = DeviceId("ours")

    def pass_hours(self, hours: float, value: float | None = None, *, step: float = 0.1) -> None:
        """Live; `value` is what ours says, None: it moves as the others do."""
        for _ in range(round(hours * 12)):
            for name in [*self.names, self.ours]:
                told = value if name == self.ours else None if name in self.moving else 20.0
                self._places[name] = min(7, max(0, self._places.get(name, 3) + self._dice.choice((-1, 0, 1))))
                said = 20.0 + step * self._places[name] if told is None else told
                self.frozen.heard(good(name, round(said, 3)), round(said, 3), now_ms=self.now_ms)
            self.now_ms += MINUTES_5
            self.look()

    def look(self) -> None:
        self.frozen.look([*self.names, self.ours], model_of=lambda _: "a/model", now_ms=self.now_ms)

    def restart(self) -> None:
        """Begin again on what is kept, a day later and on another monotonic clock."""
        kept = msgspec.json.decode(msgspec.json.encode(self.frozen.kept(now_ms=self.now_ms)), type=Kept)
        self.now_ms = 7_000
        self.frozen = Frozen(kept, now_ms=self.now_ms)


def test_nothing_is_judged_that_nature_leaves_alone() -> None:
    for (capability, name), row in ATTRIBUTES.items():
        if (capability, name) in RULES:
            assert row.kind is Kind.NUMBER
            assert not row.writable, "a setpoint stands as long as nobody moves it"
    house = House(4)
    for hour in range(24 * 30):
        for name in [*house.names, house.ours]:
            reading = good(name, 21.0, WARM, "occupied_heating_setpoint")
            house.frozen.heard(reading, 21.0, now_ms=hour * HOUR_MS)
        house.now_ms = hour * HOUR_MS
        house.look()
    assert house.frozen.told() == {}


@pytest.mark.requirement("DEV-08")
@pytest.mark.guarantee("G17")
def test_a_value_that_stands_among_neighbours_that_move_is_told_until_it_moves() -> None:
    house = House(4)
    house.pass_hours(30)
    house.pass_hours(7.5, 20.3)
    assert house.frozen.told() == {}
    house.pass_hours(1.5, 20.3)
    assert house.frozen.told() == {house.ours: "thermostat.local_temperature says 20.3 for 9 h"}
    house.restart()
    house.look()
    assert list(house.frozen.told()) == [house.ours]
    house.pass_hours(0.1, 20.4)
    assert house.frozen.told() == {}


def test_where_the_neighbours_stand_too_it_takes_three_times_as_long() -> None:
    house = House(4)
    house.pass_hours(30)
    house.moving.clear()
    house.pass_hours(20, 20.3)
    assert house.frozen.told() == {}
    house.pass_hours(6, 20.3)
    assert set(house.frozen.told()) == {house.ours, *house.names}, "whatever stands between them and us"


def test_one_that_has_stood_long_before_is_waited_for_three_times_as_long() -> None:
    house = House(4)
    house.pass_hours(30)
    house.pass_hours(7, 20.3)
    house.pass_hours(1)
    house.pass_hours(20, 20.3)
    assert house.frozen.told() == {}
    house.pass_hours(2, 20.3)
    assert list(house.frozen.told()) == [house.ours]


def test_a_steady_room_teaches_how_long_it_stands_and_a_broken_sensor_does_not() -> None:
    for ends_with, known in ((20.4, True), (29.0, False)):
        house = House(4)
        house.pass_hours(30)
        house.pass_hours(10, 20.3)
        assert list(house.frozen.told()) == [house.ours]
        house.pass_hours(0.1, ends_with)
        house.pass_hours(2)
        house.pass_hours(10, 20.3)
        assert (house.frozen.told() == {}) is known


def test_a_coarse_thermometer_is_given_as_much_more_time() -> None:
    house = House(4)
    house.pass_hours(30, step=0.5)
    house.pass_hours(38, 20.5, step=0.5)
    assert house.frozen.told() == {}, "its usual step is 0.5 K and not 0.1: five times as long"
    house.pass_hours(45, 20.5, step=0.5)
    assert list(house.frozen.told()) == [house.ours]


def test_one_that_never_moved_is_told_by_those_of_its_model() -> None:
    house = House(6)
    house.pass_hours(71, 21.0)
    assert house.frozen.told() == {}
    house.pass_hours(140, 21.0)
    assert list(house.frozen.told()) == [house.ours]
    alone = House(2)
    alone.pass_hours(24 * 10, 21.0)
    assert alone.frozen.told() == {}, "nobody knows whether it can"


def test_silence_is_not_standing() -> None:
    house = House(4)
    house.pass_hours(30)
    house.frozen.heard(good("ours", 20.3), 20.3, now_ms=house.now_ms)
    ours, house.ours = house.ours, DeviceId("neighbour-0")
    house.pass_hours(60)
    house.ours = ours
    house.pass_hours(2, 20.3)
    assert house.frozen.told() == {}


@pytest.mark.requirement("DEV-08")
@pytest.mark.parametrize("seed", [1, 2])
def test_in_a_house_that_lives_what_freezes_is_told_and_nothing_else(seed: int) -> None:
    lived = live(seed, rooms=8, days=16, share_freezing=0.2, restart_every_days=5)
    assert lived.falsely == []
    assert lived.device_days == 16 * (8 * 5 + 16)
    told = sorted(lived.told_after_h)
    assert len(told) >= 3
    assert len(lived.untold) <= len(told) / 3, "of the coarse ones some are not owed yet"
    assert told[len(told) // 2] <= 48


def feed(meters: StandingMeters, hours: float, watts: float, counters: dict[str, float], now_ms: int) -> int:
    """Every five minutes the power, and where each counter stands; return when it is over."""
    for _ in range(round(hours * 12)):
        meters.heard(good("meter", watts, METER, "active_power"), watts, now_ms=now_ms)
        for name, kwh in counters.items():
            meters.heard(good("meter", kwh, METER, name), kwh, now_ms=now_ms)
        now_ms += MINUTES_5
    return now_ms


def judged(meters: StandingMeters, step_kwh: float = 0.0) -> dict[DeviceId, str]:
    meters.look([DeviceId("meter")], step_kwh=lambda *_: step_kwh)
    return meters.told()


IMPORTED, EXPORTED = "cumulative_energy_imported", "cumulative_energy_exported"


def counting(meters: StandingMeters, hours: float, watts: float, step_kwh: float, now_ms: int = 0) -> tuple[int, float]:
    kwh = true_kwh = 100.0
    for _ in range(round(hours * 12)):
        now_ms = feed(meters, 1 / 12, watts, {IMPORTED: kwh}, now_ms)
        true_kwh += watts / 12_000
        kwh = true_kwh // step_kwh * step_kwh
    return now_ms, kwh


@pytest.mark.requirement("DEV-08")
def test_a_counter_that_stands_while_power_flows_is_told_until_it_moves() -> None:
    meters = StandingMeters({})
    now_ms, kwh = counting(meters, 24, 1_000.0, 0.01)
    assert judged(meters) == {}
    now_ms = feed(meters, 0.9, 1_000.0, {IMPORTED: kwh}, now_ms)
    assert judged(meters) == {}
    now_ms = feed(meters, 0.3, 1_000.0, {IMPORTED: kwh}, now_ms)
    assert judged(meters) == {DeviceId("meter"): f"{IMPORTED} stood while 1.2 kWh flowed"}
    kept = msgspec.json.decode(msgspec.json.encode(meters.kept()), type=dict[str, dict[str, Circuit]])
    again = StandingMeters(kept)
    assert list(judged(again)) == ["meter"]
    feed(again, 0.1, 1_000.0, {IMPORTED: kwh + 0.1}, 5_000)
    assert judged(again) == {}


@pytest.mark.parametrize(
    ("watts", "step_kwh", "then_w"),
    [
        (1_000.0, 0.01, 0.0),  # switched off
        (1_000.0, 0.01, 9.0),  # what it draws standing by, under its starting current
        (100.0, 1.0, 100.0),  # a coarse counter: ten hours a step
        (40_000.0, 0.1, 300.0),  # a transformer's noise
        (1_000.0, 0.01, -1_000.0),  # the other way, which nobody counts here... and yet it is power
    ],
)
def test_a_counter_is_given_its_time(watts: float, step_kwh: float, then_w: float) -> None:
    meters = StandingMeters({})
    now_ms, kwh = counting(meters, 100, watts, step_kwh)
    feed(meters, 12, then_w, {IMPORTED: kwh}, now_ms)
    assert (judged(meters) == {}) is (then_w > -1_000.0)


def test_any_counter_of_a_circuit_that_moves_proves_it() -> None:
    meters, now_ms = StandingMeters({}), 0
    for step in range(24 * 30):
        counters = {f"{IMPORTED}:t1": 5.0, f"{IMPORTED}:t2": step * 0.1, EXPORTED: 0.0}
        now_ms = feed(meters, 1 / 12, 1_200.0, counters, now_ms)
    assert judged(meters) == {}


def test_a_counter_that_never_moved_is_told_after_a_day_and_more_than_three_of_its_steps() -> None:
    for step_kwh, told in ((0.1, True), (1_000.0, False)):
        meters = StandingMeters({})
        now_ms = feed(meters, 23, 2_000.0, {IMPORTED: 0.0}, 0)
        assert judged(meters, step_kwh) == {}
        feed(meters, 2, 2_000.0, {IMPORTED: 0.0}, now_ms)
        assert bool(judged(meters, step_kwh)) is told


def test_what_flowed_while_nobody_listened_is_not_expected() -> None:
    meters = StandingMeters({})
    now_ms, kwh = counting(meters, 24, 1_000.0, 0.01)
    feed(meters, 0.1, 1_000.0, {IMPORTED: kwh}, now_ms + 30 * DAY_MS)
    assert judged(meters) == {}


@given(
    st.lists(st.tuples(st.sampled_from([20.0, 20.1, 20.2, 25.0]), st.sampled_from([1, HOUR_MS, DAY_MS])), max_size=60)
)
def test_a_track_keeps_the_newest_of_what_it_was_told(said: list[tuple[float, int]]) -> None:
    track, at_ms, value, stood_ms = Track(20.0, 0, 0, 0, least=20.0, most=20.0), 0, 20.0, 0
    changes: list[int] = []
    steps: list[float] = []
    longest: dict[int, int] = {}
    for word, later_ms in said:
        before_ms, at_ms = at_ms, at_ms + later_ms
        if word == value:
            stood_ms += min(at_ms - before_ms, GAP_MOST_MS)
        else:
            longest[at_ms // DAY_MS] = max(longest.get(at_ms // DAY_MS, 0), stood_ms)
            changes, steps, stood_ms = [*changes, at_ms], [*steps, abs(word - value)], 0
        value = word
        track.said(word, at_ms)
        assert (track.changes, track.steps) == (changes[-MOVES:], steps[-STEPS_KEPT:])
        assert track.longest == list(longest.items())[-DAYS_KEPT:]
        assert (track.value, track.heard_ms, track.stood_ms, track.many) == (value, at_ms, stood_ms, len(changes))
