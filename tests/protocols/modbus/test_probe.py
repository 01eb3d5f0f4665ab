"""Who answers on a unit id: by what it says of itself, by SunSpec, by its registers; whatever else it answers."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridges.catalogue import load_all
from firmware_bridges.field_emulator.modbus_server import EmulatedUnit
from firmware_bridges.field_emulator.physics import build
from protocols.descriptors.wires import ModbusWire
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.device_model.probe import plain
from protocols.errors import PeerProtocolError
from protocols.modbus import frames
from protocols.modbus.frames import Read, Refused, Reply, Request, Words
from protocols.modbus.identification import Identification, Identify
from protocols.modbus.probe import SILENCES_MAX, Ask, probe_unit

CATALOGUE: Final = load_all()
MODELS: Final = sorted(key for key, each in CATALOGUE.items() if isinstance(each.wire, ModbusWire))


def unit(model: str, *, names_itself: bool = True) -> Ask:
    emulated = EmulatedUnit(build(DeviceId("it"), RoomId("101"), CATALOGUE[DescriptorId(model)], lambda _: None))

    async def ask(request: Request) -> Reply | None:
        if isinstance(request, Identify) and not names_itself:
            return Refused(1)
        return frames.decode_reply(request, emulated.respond(frames.encode_request(request), busy=False, at_ms=0))

    return ask


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize("model", MODELS)
async def test_a_unit_that_names_itself_is_proposed_first(model: DescriptorId) -> None:
    found = await probe_unit(unit(model), CATALOGUE.values())
    assert found is not None
    assert found.candidates[0].descriptor == model
    assert found.candidates[0].confidence >= 0.9
    assert found.evidence["vendor"] == CATALOGUE[model].identity.vendor


@pytest.mark.parametrize("model", [each for each in MODELS if CATALOGUE[each].identify])
async def test_a_unit_that_does_not_is_known_by_its_registers(model: DescriptorId) -> None:
    found = await probe_unit(unit(model, names_itself=False), CATALOGUE.values())
    assert found is not None
    assert model in {each.descriptor for each in found.candidates}
    weak = next(each for each in found.candidates if each.descriptor == model)
    assert weak.confidence == (0.4 if model == "regin/rcf_230" else 0.9)  # 0 or 1 in a register proves little


def holding(words: dict[int, int]) -> Ask:
    async def ask(request: Request) -> Reply | None:
        if isinstance(request, Read) and request.table == "holding":
            asked = range(request.start, request.start + request.count)
            if all(each in words for each in asked):
                return Words(tuple(words[each] for each in asked))
            return Refused(2)
        return Refused(1)

    return ask


def sunspec(at: int, models: list[tuple[int, int]], common: int = 65) -> dict[int, int]:
    chain = [0x5375, 0x6E53, 1, common]
    for text, size in (("Fronius", 16), ("Smart Meter", 16), ("", 8), ("1.3", 8), ("17\x01\n", 16), ("", common - 64)):
        raw = text.encode().ljust(2 * size, b"\0")
        chain += [int.from_bytes(raw[each : each + 2], "big") for each in range(0, 2 * size, 2)]
    for number, size in models:
        chain += [number, size, *([0] * size)]
    return dict(enumerate(chain, at))


@pytest.mark.parametrize("at", [0, 40_000, 50_000])
async def test_a_sunspec_chain_is_followed_to_its_end(at: int) -> None:
    words = sunspec(at, [(203, 105), (701, 4)])
    words |= {max(words) + 1: 0xFFFF, max(words) + 2: 0}
    found = await probe_unit(holding(words), CATALOGUE.values())
    assert found is not None
    assert found.evidence["sunspec"] == at
    assert found.evidence["sunspec_models"] == "1 203 701"
    assert (found.evidence["vendor"], found.evidence["model"]) == ("Fronius", "Smart Meter")
    assert found.evidence["serial"] == "17\ufffd"  # what cannot be printed is not kept
    fits = [each for each in found.candidates if each.descriptor == "sunspec/meter_203"]
    assert bool(fits) == (at == 40_000)  # our map of it stands there


async def test_a_model_that_begins_one_register_later_than_our_map_is_not_proposed() -> None:
    words = sunspec(40_000, [(203, 105)], common=66)  # both lengths of model 1 are in the field
    found = await probe_unit(holding(words), CATALOGUE.values())
    assert found is not None
    assert found.evidence["sunspec_models"] == "1 203"
    assert not [each for each in found.candidates if each.descriptor == "sunspec/meter_203"]


@pytest.mark.guarantee("G19")
async def test_a_chain_that_never_ends_is_left() -> None:
    asked = 0

    async def ask(request: Request) -> Reply | None:
        nonlocal asked
        asked += 1
        if isinstance(request, Identify):
            return Identification(0x83, {request.first: b"again"}, more=request.first)
        assert isinstance(request, Read)
        return Words((0x5375, 0x6E53)[: request.count] if request.start == 40_000 else (7,) * request.count)

    found = await probe_unit(ask, CATALOGUE.values())
    assert found is not None
    assert asked < 100


@pytest.mark.parametrize("answer", [None, Refused(11)], ids=["silence", "a gateway's word for it"])
async def test_where_nobody_is_three_questions_are_enough(answer: Reply | None) -> None:
    asked: list[Request] = []

    async def ask(request: Request) -> Reply | None:
        asked.append(request)
        return answer

    assert await probe_unit(ask, CATALOGUE.values()) is None
    assert len(asked) == SILENCES_MAX


@pytest.mark.guarantee("G19")
@given(data=st.data())
async def test_whatever_a_unit_answers_a_probe_ends_and_reads_only(data: st.DataObject) -> None:
    def garbage(request: Request) -> Reply | None:
        made: Callable[[], Reply | None] = data.draw(
            st.sampled_from(
                [
                    lambda: None,
                    lambda: Refused(data.draw(st.integers(0, 255))),
                    lambda: Words(tuple(data.draw(st.lists(st.integers(0, 0xFFFF), max_size=70)))),
                    lambda: Identification(
                        data.draw(st.integers(0, 255)),
                        data.draw(st.dictionaries(st.integers(0, 255), st.binary(max_size=30), max_size=5)),
                        data.draw(st.none() | st.integers(0, 255)),
                    ),
                ]
            )
        )
        return made()

    async def ask(request: Request) -> Reply | None:
        assert isinstance(request, Read | Identify)
        return garbage(request)

    try:
        found = await probe_unit(ask, CATALOGUE.values())
    except PeerProtocolError:
        pytest.fail("a probe raised for what a unit answered")
    if found is not None:
        assert all(0 < each.confidence <= 1 for each in found.candidates)
        assert all(plain(str(value)) == str(value) for value in found.evidence.values())
