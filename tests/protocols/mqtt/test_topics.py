"""Topics of the site and of Zigbee2MQTT against their vectors."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
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


def _as_datetime_says(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
        return None if at.tzinfo is None else max(0, round(at.timestamp() * 1000))
    except (ValueError, OverflowError):
        return None


_iso = st.datetimes(timezones=st.just(UTC)).map(lambda at: f"{at:%Y-%m-%dT%H:%M:%S.}{at.microsecond // 1000:03}Z")
_odd = st.sampled_from("0192:-TZ.+ \u0661\u00b2W")


@given(text=_iso, changes=st.lists(st.tuples(st.integers(0, 23), _odd), max_size=2))
@example(text="20260101T021658.123.456Z", changes=[])
@example(text="2026-W48-1T02:16:58.123Z", changes=[])
@example(text="1969-12-31T23:59:59.999Z", changes=[])
@example(text="2026-12-31T23:59:60.000Z", changes=[])
@example(text="2026-12-31T23:59:59.12\u0661Z", changes=[])
def test_the_usual_spelling_of_last_seen_is_the_same_time_read_sooner(
    text: str, changes: list[tuple[int, str]]
) -> None:
    for place, odd in changes:
        text = text[:place] + odd + text[place + 1 :]
    for _ in range(2):  # the second time from memory
        assert zigbee2mqtt.last_seen_ms({"last_seen": text}) == _as_datetime_says(text)


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
