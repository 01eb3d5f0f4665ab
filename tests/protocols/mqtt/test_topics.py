"""Topics of the site and of Zigbee2MQTT against their vectors."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.net import matches
from protocols.errors import PeerProtocolError
from protocols.mqtt import site_topics, zigbee2mqtt

VECTORS: Final = Path(zigbee2mqtt.__file__).parents[1] / "vectors" / "mqtt"
Z2M: Final = json.loads((VECTORS / "zigbee2mqtt_topics.json").read_text())
SITE: Final = json.loads((VECTORS / "site_topics.json").read_text())


@pytest.mark.parametrize("vector", Z2M["topics"], ids=lambda vector: vector["topic"])
def test_a_topic_is_about_what_the_vector_says(vector: dict[str, Any]) -> None:
    found = zigbee2mqtt.read_topic(Z2M["base"], vector["topic"])
    if vector["about"] is None:
        assert found is None
    else:
        assert found == zigbee2mqtt.BridgeTopic(zigbee2mqtt.About[vector["about"]], vector["name"])


@pytest.mark.parametrize("vector", Z2M["states"], ids=lambda vector: vector["payload"] or "empty")
def test_a_state_is_online_offline_or_refused(vector: dict[str, Any]) -> None:
    if vector["online"] is None:
        with pytest.raises(PeerProtocolError):
            zigbee2mqtt.parse_state(vector["payload"].encode())
    else:
        assert zigbee2mqtt.parse_state(vector["payload"].encode()) is vector["online"]


def test_a_state_told_twice_in_one_payload_is_refused() -> None:
    with pytest.raises(PeerProtocolError, match="the key 'state' stands twice"):
        zigbee2mqtt.parse_state(b'{"state":"online","state":"offline"}')


@pytest.mark.parametrize("vector", Z2M["last_seen"], ids=lambda vector: str(vector["document"]))
def test_last_seen_is_a_time_or_nothing(vector: dict[str, Any]) -> None:
    assert zigbee2mqtt.last_seen_ms(vector["document"]) == vector["ms"]


@pytest.mark.parametrize("vector", Z2M["failures"], ids=range(len(Z2M["failures"])))
def test_a_logged_failure_names_its_device(vector: dict[str, Any]) -> None:
    assert zigbee2mqtt.logged_failure(vector["payload"].encode()) == vector["name"]


@pytest.mark.guarantee("G19")
@given(
    topic=st.text(max_size=60), payload=st.binary(max_size=200), seen=st.one_of(st.text(), st.integers(), st.floats())
)
def test_noise_raises_nothing_but_a_peer_error(topic: str, payload: bytes, seen: object) -> None:
    zigbee2mqtt.read_topic("zigbee2mqtt", topic)
    zigbee2mqtt.read_topic("zigbee2mqtt", f"zigbee2mqtt/{topic}")
    zigbee2mqtt.logged_failure(payload)
    zigbee2mqtt.last_seen_ms({"last_seen": seen})
    for parse in (zigbee2mqtt.parse_state, zigbee2mqtt.parse_devices):
        try:
            parse(payload)
        except PeerProtocolError:
            continue


@pytest.mark.parametrize("vector", SITE["topics"], ids=lambda vector: vector["topic"])
def test_a_site_topic_is_read_and_written_back_or_refused(vector: dict[str, Any]) -> None:
    if not vector["valid"]:
        with pytest.raises(PeerProtocolError):
            site_topics.parse(vector["topic"])
        return
    topic = site_topics.parse(vector["topic"])
    assert str(topic) == vector["topic"]
    assert matches(site_topics.everything_of(topic.property), vector["topic"])
    assert topic.leaf.retained == vector["topic"].endswith("/state")
