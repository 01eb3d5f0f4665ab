"""Announcements as real firmwares make them: what the house reads, what it sends, and what it says it leaves."""

from pathlib import Path

import pytest

from edge.bridges.mqtt.announced_registry import Registry, Thing
from firmware_bridges.announced.recorded import Recorded, files, load
from protocols.descriptors.codec import Allowed, allow
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import HomeAssistantBus
from protocols.errors import InvalidInputError
from protocols.home_assistant.codec import payload_of, readings_of_message
from protocols.home_assistant.entities import AnnouncedPoint

RECORDINGS = pytest.mark.parametrize("recorded", [load(each) for each in files()], ids=lambda each: each.name)


def thing(recorded: Recorded) -> Thing:
    registry = Registry(HomeAssistantBus(BusId("announced"), recorded.topics))
    for topic, config in recorded.announced:
        registry.take(topic, config)
    [found] = registry.things()
    return found


def point(found: Thing, name: str) -> AnnouncedPoint:
    capability, _, attribute = name.partition(".")
    [one] = [each for each in found.points if (each.capability, each.attribute) == (Capability(capability), attribute)]
    return one


def test_there_are_recordings_of_every_firmware_that_is_common() -> None:
    names = {each.stem.split("_")[0] for each in files()}
    assert names >= {"zigbee2mqtt", "tasmota", "esphome", "shelly"}


@RECORDINGS
def test_what_a_recorded_device_says_is_read(recorded: Recorded) -> None:
    found = thing(recorded)
    assert recorded.said
    for topic, message, values in recorded.said:
        here = [each for each in found.points if each.topic == topic]
        told = readings_of_message(here, DeviceId("recorded"), message)
        read = {f"{each.capability.value}.{each.attribute}": each for each in told}
        good = {name: each.value for name, each in read.items() if each.quality is Quality.GOOD}
        wanted = {name: value for name, value in values.items() if value is not None}
        assert good == pytest.approx(wanted), (topic, message)
        assert set(read) - set(good) == set(values) - set(wanted), (topic, message)


@RECORDINGS
def test_what_is_asked_of_a_recorded_device_is_sent_as_its_firmware_takes_it(recorded: Recorded) -> None:
    found = thing(recorded)
    assert recorded.asked
    for name, value, topic, message in recorded.asked:
        one = point(found, name)
        allowed = allow(one, value)
        assert isinstance(allowed, Allowed), allowed
        assert one.write is not None
        assert (one.write.topic, payload_of(one, allowed.value)) == (topic, message), name


@RECORDINGS
def test_what_of_a_recorded_device_is_not_mapped_is_told_by_name(recorded: Recorded) -> None:
    told = [f"{name}: {why}" for name, why in thing(recorded).refused]
    assert len(told) == len(recorded.not_mapped), told
    for beginning in recorded.not_mapped:
        assert any(each.startswith(beginning) for each in told), told


@pytest.mark.parametrize("text", ["[]", "{", '{"source":"x"}', "{}"])
def test_what_is_no_recording_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"one\.json"):
        load(path)
