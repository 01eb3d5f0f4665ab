"""Topics that may be longer than all others: read whole, however the stream is cut; what is longer still is skipped."""

from hypothesis import given
from hypothesis import strategies as st

from kit.mqtt_wire import packets
from kit.mqtt_wire.parser import Long, PacketParser, Publish
from tests.kit.mqtt_wire.test_parser import fed

MOST, LONGEST = 100, 1_000
LIST = b"zigbee2mqtt/bridge/devices"
sizes = st.sampled_from([0, 40, 120, 900, 1_200, 3_000])


@given(
    st.lists(st.tuples(st.sampled_from([LIST, b"zigbee2mqtt/lamp"]), sizes), max_size=6),
    st.lists(st.integers(0, 20_000), max_size=12),
    st.booleans(),
)
def test_a_long_topic_is_read_whole_and_no_other(sent: list[tuple[bytes, int]], cuts: list[int], v5: bool) -> None:
    skipped: list[tuple[bytes, int]] = []
    long = Long(frozenset({LIST}), LONGEST, lambda *what: skipped.append(what))
    data = b"".join(
        packets.publish(topic, bytes(size), place + 1, retain=False, v5=v5) for place, (topic, size) in enumerate(sent)
    )
    expected: list[Publish] = []
    for place, (topic, size) in enumerate(sent):
        length = 2 + len(topic) + 2 + v5 + size
        fits = length <= (LONGEST if topic == LIST else MOST)
        expected.append((topic, bytes(size) if fits else None, place + 1, packets.PUBLISH | packets.QOS_1))
    found, _ = fed(PacketParser(v5=v5, packet_bytes_max=MOST, long=long), data, cuts)
    assert found == expected
    too_long = [(topic, size + v5) for (topic, size), each in zip(sent, expected, strict=True) if each[1] is None]
    assert skipped == too_long


def test_what_is_not_known_to_be_long_is_never_held() -> None:
    parser = PacketParser(v5=False, packet_bytes_max=MOST, long=Long(frozenset({LIST}), 10**6))
    parser.feed(packets.publish(b"zigbee2mqtt/lamp", bytes(10**5), 1, retain=False, v5=False)[:-1])
    assert parser.held_bytes == 0
    parser = PacketParser(v5=False, packet_bytes_max=MOST, long=Long(frozenset({LIST}), 10**6))
    parser.feed(packets.publish(LIST, bytes(10**5), 1, retain=False, v5=False)[:-1])
    assert parser.held_bytes > 10**5
