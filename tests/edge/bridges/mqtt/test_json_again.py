"""What comes a second time: held against the end of the log, so that nothing is lost and nothing is told twice."""

import json
import random
from typing import Any

import pytest

from edge.bridges.mqtt.json_again import Again
from edge.bridges.mqtt.json_readings import JsonReadings, Taken
from edge.bridges.mqtt.json_rules import JsonDevicesSettings, KeySettings, RuleSettings, compile_rules
from edge.bridges.mqtt.log_end import LogEnd
from kit.mqtt_wire.parser import Publish
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record, decode_record

WALL_MS = 1_700_000_000_000
LIVE, AGAIN, KEPT = 0x32, 0x3A, 0x33
RULE = RuleSettings(
    topic="site/{room}/{device}/state",
    time_key="t",
    keys={
        "temperature": KeySettings("temperature_measurement", "measured_value"),
        "contact": KeySettings("boolean_state", "state_value"),
    },
)


def say(document: object, head: int = LIVE, device: str = "d-1") -> Publish:
    return (f"site/101/{device}/state".encode(), json.dumps(document).encode(), 1, head)


class Edge:
    """A log of two lanes, and one life of the program after the other."""

    def __init__(self) -> None:
        self.lanes: dict[Lane, list[Record]] = {Lane.B: [], Lane.C: []}
        self.begin()

    def begin(self, *, anew: bool = True) -> None:
        """A new connection, of a new life of the program if `anew`."""
        end = LogEnd()
        for lane, records in self.lanes.items():
            end.add(lane, records)
        if anew:
            self.readings = JsonReadings(compile_rules(JsonDevicesSettings(rules=(RULE,))))
        self.again = Again(self.readings, end)

    def hear(self, *messages: Publish) -> Taken:
        return self._keep(self.again.take(messages, wall_ms=WALL_MS, mono_ms=1, clock=ClockQuality.SYNCHRONISED))

    def replay(self, *messages: Publish) -> Taken:
        return self._keep(self.again.replay(messages, wall_ms=WALL_MS, mono_ms=1, clock=ClockQuality.SYNCHRONISED))

    def _keep(self, taken: Taken) -> Taken:
        for lane, records in ((Lane.B, taken.events), (Lane.C, taken.telemetry)):
            kept = self.lanes[lane]
            kept += [decode_record(each, lane=lane, seq=len(kept) + n + 1) for n, each in enumerate(records)]
        return taken

    def values(self, lane: Lane, attribute: str = "") -> list[Any]:
        return [each.body["value"] for each in self.lanes[lane] if attribute in each.body["attribute"]]


@pytest.mark.guarantee("G1", "G2")
def test_a_door_that_was_opened_again_is_open_though_the_log_knows_the_words() -> None:
    edge = Edge()
    edge.hear(say({"contact": False}), say({"contact": True}))
    edge.begin()
    edge.replay(say({"contact": False}, AGAIN))
    assert edge.values(Lane.B) == [False, True, False]


@pytest.mark.guarantee("G1", "G2")
def test_a_counter_beside_a_steady_value_is_one_message() -> None:
    edge = Edge()
    edge.hear(*(say({"temperature": 20, "n": n}) for n in range(3)))
    edge.begin()
    assert edge.replay(*(say({"temperature": 20, "n": n}, AGAIN) for n in range(2, 5))).repeated == 1
    assert edge.values(Lane.C, "n") == [0, 1, 2, 3, 4]
    assert edge.values(Lane.C, "measured_value") == [20] * 5


@pytest.mark.guarantee("G2")
def test_a_cut_between_the_commits_of_two_lanes_doubles_neither() -> None:
    edge = Edge()
    edge.hear(say({"contact": True, "n": 1, "t": WALL_MS}))
    edge.lanes[Lane.C].clear()  # B was committed, C was not
    edge.begin()
    edge.replay(say({"contact": True, "n": 1, "t": WALL_MS}, AGAIN))
    assert (edge.values(Lane.B), edge.values(Lane.C)) == ([True], [1])
    edge.begin()
    edge.hear(say({"contact": True, "n": 1, "t": WALL_MS}, AGAIN))  # a broker that does so late
    assert (edge.values(Lane.B), edge.values(Lane.C)) == ([True], [1])


@pytest.mark.guarantee("G1", "G2")
@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_wherever_the_cut_falls_each_message_is_told_once_in_order(timed: bool, seed: int) -> None:
    """Devices on several topics, in flight any number, any part of it durable, over five lives."""
    dice, edge, said, n = random.Random(seed), Edge(), [], 0
    for _ in range(5):
        window: list[Publish] = []
        for _ in range(dice.randrange(1, 30)):
            device = f"d-{dice.randrange(3)}"
            time = {"t": WALL_MS - 1_000_000 + n} if timed else {}
            said_now = {"temperature": dice.randrange(2), "contact": dice.random() < 0.5, "n": n, **time}
            window.append(say(said_now, device=device))
            said.append((device, n))
            n += 1
        durable = dice.randrange(len(window) + 1)
        edge.hear(*window[:durable])
        edge.begin()
        acknowledged = dice.randrange(durable + 1)
        flight = [(topic, payload, id_, AGAIN) for topic, payload, id_, _ in window[acknowledged:]]
        edge.replay(*flight)
        if dice.random() < 0.5:  # and once more, before an acknowledgement of it went out
            edge.begin()
            edge.replay(*flight[dice.randrange(len(flight) + 1) :])
    told = [(each.body["device"], each.body["value"]) for each in edge.lanes[Lane.C] if each.body["attribute"] == "n"]
    assert told == said
    assert len(edge.lanes[Lane.B]) == len(said)


@pytest.mark.guarantee("G1", "G2")
@pytest.mark.parametrize("window", [10, 20, 21])
def test_a_broker_that_delivers_again_a_window_at_a_time_doubles_nothing(window: int) -> None:
    """Mosquitto resends `max_inflight_messages` and the rest, still as DUP, once those are acknowledged."""
    edge = Edge()
    said = [say({"temperature": 20, "contact": True, "n": n}, device=f"d-{n % 7}") for n in range(40)]
    edge.hear(*said[:22])
    edge.begin()
    again = [(topic, payload, id_, AGAIN) for topic, payload, id_, _ in said]
    edge.replay(*again[:window])
    edge.hear(*again[window:22])
    edge.hear(*said[22:])
    assert edge.values(Lane.C, "n") == list(range(40))
    assert len(edge.lanes[Lane.B]) == 40


@pytest.mark.guarantee("G1", "G2")
def test_what_a_broker_delivers_again_late_is_told_by_its_time() -> None:
    edge = Edge()
    edge.hear(*(say({"temperature": 20 + n, "t": WALL_MS - n}) for n in range(3)))
    edge.begin()
    again = edge.hear(
        *(say({"temperature": 20 + n, "t": WALL_MS - n}, AGAIN) for n in range(5)),
        say({"temperature": 20, "t": WALL_MS}),
    )
    assert again.repeated == 3
    assert edge.values(Lane.C) == [20, 21, 22, 23, 24, 20]  # the last without DUP: the device said it twice


def packet(message: Publish, packet_id: int, head: int) -> Publish:
    return (*message[:2], packet_id, head)


@pytest.mark.guarantee("G1", "G2")
@pytest.mark.parametrize("timed", [True, False])
def test_a_broker_that_waits_too_long_for_us_and_sends_again_on_the_same_connection_doubles_nothing(
    timed: bool,
) -> None:
    """nats-server after `ack_wait`: under the same identifiers or, where our answer has crossed it, under new ones."""
    edge = Edge()
    said = [
        say({"temperature": 20, "contact": n % 2 == 0, "n": n, **({"t": WALL_MS} if timed else {})}) for n in range(30)
    ]
    edge.hear(*(packet(each, n + 1, LIVE) for n, each in enumerate(said[:20])))
    again = [packet(each, n + 1 + 100 * (n % 3 == 0), AGAIN) for n, each in enumerate(said)]
    assert edge.hear(*again[:20]).repeated == 20
    mixed = [packet(each, n + 21, LIVE) for n, each in enumerate(said[20:])]  # both in one read
    assert (
        edge.hear(*mixed, *again[10:20], *(packet(each, n + 21, AGAIN) for n, each in enumerate(said[20:]))).repeated
        == 20
    )
    assert edge.values(Lane.C, "n") == list(range(30))
    assert edge.values(Lane.B) == [n % 2 == 0 for n in range(30)]


@pytest.mark.guarantee("G1", "G2")
@pytest.mark.parametrize("time", [{}, {"t": WALL_MS}])
def test_an_identifier_that_is_given_anew_hides_nothing(time: dict[str, int]) -> None:
    edge = Edge()
    edge.hear(packet(say({"contact": True, **time}), 1, LIVE))
    edge.hear(packet(say({"contact": False, **time}), 1, LIVE))  # answered meanwhile
    edge.hear(packet(say({"contact": True, **time}), 1, LIVE))  # no DUP: it never came before
    edge.hear(packet(say({"temperature": 7, **time}), 1, AGAIN))  # of the connection before
    assert (edge.values(Lane.B), edge.values(Lane.C)) == ([True, False, True], [7])


@pytest.mark.guarantee("G1", "G2")
def test_what_a_connection_begins_with_may_say_the_same_twice_and_come_twice() -> None:
    edge = Edge()
    flight = [packet(say({"contact": n % 2 == 0}), n, AGAIN) for n in (1, 2, 3)]
    assert edge.replay(*flight, *flight).repeated == 3
    assert edge.hear(*flight).repeated == 3
    assert edge.values(Lane.B) == [False, True, False]


@pytest.mark.guarantee("G2", "G17")
@pytest.mark.parametrize("anew", [True, False])
@pytest.mark.parametrize("time", [{}, {"t": WALL_MS - 5}])
def test_what_a_broker_keeps_is_told_once_however_often_we_come_back(anew: bool, time: dict[str, int]) -> None:
    edge = Edge()
    edge.hear(say({"temperature": 20, "contact": True, **time}, KEPT))
    for _ in range(3):
        edge.begin(anew=anew)
        assert edge.hear(say({"temperature": 20, "contact": True, **time}, KEPT)).repeated == 1
    assert (edge.values(Lane.B), edge.values(Lane.C)) == ([True], [20])
    newer = {"t": WALL_MS} if time else {}
    edge.hear(say({"temperature": 21, "contact": True, **newer}, KEPT))  # said while nobody listened
    assert edge.values(Lane.C) == [20, 21]
