"""What a room senses: only what is listed as felt changes anything, and whatever is listed does."""

from collections.abc import Mapping
from typing import Final

import pytest

from edge.rooms.senses import FELT, Sense
from protocols.device_model.capability import ATTRIBUTES, Capability, Kind, Value
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading

VALUES: Final[Mapping[Kind, Value]] = {Kind.BOOL: True, Kind.INTEGER: 21, Kind.NUMBER: 21.5, Kind.CHOICE: "auto"}


def changed(capability: Capability, name: str, kind: Kind, *, quality: Quality = Quality.GOOD) -> bool:
    sense = Sense()
    sense.celsius, sense.celsius_of, sense.celsius_ms = 19.0, DeviceId("d"), 1
    before = repr(sense)
    reading = Reading(DeviceId("d"), capability, name, VALUES[kind], None, quality)
    awake = any(sense.heard(reading, window=window, now_ms=90_000) for window in (False, True))
    return awake or repr(sense) != before


@pytest.mark.parametrize("endpoint", ["", ":window", ":leak", ":other"])
def test_what_is_not_listed_changes_nothing_and_what_is_listed_does(endpoint: str) -> None:
    for (capability, name), row in ATTRIBUTES.items():
        key = (capability, name + endpoint)
        felt = any(changed(*key, row.kind, quality=quality) for quality in Quality)
        assert felt == (key in FELT), key
