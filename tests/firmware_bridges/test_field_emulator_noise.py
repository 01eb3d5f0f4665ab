"""The emulator's control line under noise: a named refusal, and a building that goes on."""

import math
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridges.field_emulator.building import FieldEmulator
from firmware_bridges.field_emulator.misbehaviour import GOOD
from firmware_bridges.field_emulator.physics import MODELS
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import PlatformError
from tests.edge.bridges.air import Air
from tests.edge.bridges.field import CATALOGUE, THERMOSTAT, plan

DO: Final = (
    "list",
    "true_state",
    "cause",
    "power",
    "registers",
    "misbehave",
    "bridge",
    "join",
    "publish",
    "speed",
    "counts",
    "x",
)
NUMBERS: Final = st.integers(-(10**400), 10**400) | st.floats() | st.sampled_from([math.nan, math.inf, 2**64, -1])
NOISE: Final = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
CAUSES: Final = sorted({event for model in MODELS.values() for event in model.EVENTS})
ARGUMENTS: Final = ("delta", "open", "value", "on", "active", "capability", "attribute", "status")
REQUESTS: Final = st.fixed_dictionaries(
    {},
    optional={
        "device": st.sampled_from(["thermostat-1", "chiller", "light-101", "contact-101", "motion-101"]) | NOISE,
        "event": st.sampled_from(CAUSES) | NOISE,
        "with": st.dictionaries(st.sampled_from(ARGUMENTS), NOISE) | NOISE,
        "on": NOISE,
        "set": st.dictionaries(st.sampled_from(["late", "silent", "answer_ms_most", "holding:284"]), NOISE) | NOISE,
        "words": st.dictionaries(st.sampled_from(["holding:284", "input:11", "coil:x"]), NOISE) | NOISE,
        "value": NOISE,
        "topic": NOISE,
        "payload": NOISE,
        "name": NOISE,
        "ieee": NOISE,
        "bus": NOISE,
    },
)


def emulator() -> FieldEmulator:
    return FieldEmulator(
        plan([THERMOSTAT], zigbee=True, chiller=True),
        CATALOGUE,
        transport_of=lambda _: Air(),
        clock=ManualClock(),
        dice=SeededDice(1),
        knobs=GOOD,
    )


@pytest.mark.guarantee("G19")
@settings(max_examples=200, deadline=None)
@given(said=st.lists(st.tuples(st.sampled_from(DO) | st.text(max_size=5), REQUESTS), min_size=1, max_size=4))
async def test_noise_on_the_control_line_is_refused_by_name_and_the_building_goes_on(
    said: list[tuple[str, dict[str, Any]]],
) -> None:
    it = emulator()
    for do, request in said:
        try:
            answer = await it.answer(do, request)
        except PlatformError as error:
            answer = {"refused": str(error)[:2_000]}
        assert isinstance(answer, dict)
    assert len((await it.answer("list", {}))["devices"]) == 5
    for thing in it.things.values():
        thing.step(0.25)
        assert (await it.answer("true_state", {"device": thing.device}))["device"] == thing.device
