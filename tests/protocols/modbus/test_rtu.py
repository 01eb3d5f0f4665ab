"""Serial line ADUs and device identification against vectors, pymodbus and noise."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.modbus import frames, rtu
from protocols.modbus.frames import Read, Request, WriteWords
from protocols.modbus.identification import (
    EXTENDED,
    Identification,
    Identify,
    decode_identification,
    encode_identification,
)

VECTORS: Final = json.loads((Path(frames.__file__).parents[1] / "vectors" / "modbus" / "rtu.json").read_text())
READ: Final = Read("holding", 107, 3)
ANSWER: Final = bytes.fromhex("0306022b00000064")
words = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125).map(tuple)


def request_of(asked: dict[str, Any]) -> Request:
    if "words" in asked:
        return WriteWords(asked["table"], asked["start"], tuple(asked["words"]))
    return Read(asked["table"], asked["start"], asked["count"])


def test_sums_and_units_are_the_specifications() -> None:
    for each in VECTORS["crcs"]:
        assert rtu.crc16(bytes.fromhex(each["data"])).hex() == each["crc"]
    for each in VECTORS["adus"]:
        assert rtu.encode_adu(each["unit"], bytes.fromhex(each["pdu"])).hex() == each["adu"]
        assert rtu.decode_adu(bytes.fromhex(each["adu"])) == (each["unit"], bytes.fromhex(each["pdu"]))
    with pytest.raises(LocalProtocolError):
        rtu.encode_adu(0, b"\x03")  # a broadcast: nobody would answer, and everybody would obey


@given(data=st.binary(min_size=1, max_size=200))
def test_a_sum_is_pymodbuss(data: bytes) -> None:
    assert rtu.crc16(data) == FramerRTU.compute_CRC(data).to_bytes(2, "big")


@given(unit=st.integers(1, 247), start=st.integers(0, 60_000), count=st.integers(1, 125))
def test_pymodbus_reads_our_question(unit: int, start: int, count: int) -> None:
    adu = rtu.encode_adu(unit, frames.encode_request(Read("input", start, count)))
    used, told, _, pdu = FramerRTU(DecodePDU(is_server=True)).decode(adu)
    assert (used, told) == (len(adu), unit)
    assert pdu == frames.encode_request(Read("input", start, count))


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("vector", VECTORS["streams"], ids=lambda vector: vector["name"])
def test_an_answer_is_found_among_what_a_line_carries(vector: dict[str, Any]) -> None:
    finder = rtu.AnswerFinder(vector["unit"], request_of(vector["request"]))
    found: list[str] = []
    if vector["answers"] is None:
        with pytest.raises(PeerProtocolError, match="two different answers"):
            finder.receive_data(bytes.fromhex(vector["bytes"][0]))
        return
    for part in vector["bytes"]:
        answer = finder.receive_data(bytes.fromhex(part))
        if answer is not None:
            found.append(answer.hex())
    assert found == vector["answers"]
    assert vector["noise"] is None or finder.noise == vector["noise"]


@pytest.mark.guarantee("G19")
@given(noise=st.binary(max_size=300), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20), held=words)
def test_an_answer_after_any_noise_and_however_cut_is_found(
    noise: bytes, cuts: list[int], held: tuple[int, ...]
) -> None:
    request = Read("holding", 0, len(held))
    pdu = frames.encode_reply(frames.encode_request(request), frames.Words(held))
    finder, stream, answer = rtu.AnswerFinder(9, request), noise + rtu.encode_adu(9, pdu), None
    for cut in cuts:
        if answer is None:
            answer, stream = finder.receive_data(stream[:cut]), stream[cut:]
    answer = answer or finder.receive_data(stream)
    assert answer == pdu


@pytest.mark.guarantee("G19")
@given(parts=st.lists(st.binary(min_size=1, max_size=300), max_size=8))
def test_a_babbling_line_fills_no_memory(parts: list[bytes]) -> None:
    finder = rtu.AnswerFinder(3, READ)
    for part in parts:
        if finder.receive_data(b"\x03\x03\x06" + part) is not None:
            return
        assert len(finder._inbox) <= rtu.INBOX_BYTES_MAX


def test_only_questions_whose_answers_look_alike_must_wait_for_a_late_one() -> None:
    assert rtu.could_pass(READ, Read("holding", 5, 4))  # an exception says its function, and nothing else
    assert not rtu.could_pass(READ, Read("input", 107, 3))
    assert not rtu.could_pass(READ, WriteWords("holding", 1, (3,)))
    assert rtu.could_pass(WriteWords("holding", 1, (3,)), WriteWords("holding", 2, (4,)))
    assert rtu.silence_ms(9_600) == pytest.approx(4.01, abs=0.01)
    assert rtu.silence_ms(115_200) == 1.75


def test_an_identification_is_the_specifications() -> None:
    vector = VECTORS["identification"]
    asked = Identify()
    assert frames.encode_request(asked).hex() == vector["request_pdu"]
    told = frames.decode_reply(asked, bytes.fromhex(vector["reply_pdu"]))
    assert isinstance(told, Identification)
    assert {str(key): value.decode() for key, value in told.objects.items()} == vector["objects"]
    assert encode_identification(asked, told.objects, 1).hex() == vector["reply_pdu"]


@given(objects=st.dictionaries(st.integers(0, 255), st.binary(max_size=244), max_size=20))
def test_an_identification_in_parts_is_whole_again(objects: dict[int, bytes]) -> None:
    together: dict[int, bytes] = {}
    asked: Identify | None = Identify(EXTENDED)
    while asked is not None:
        pdu = encode_identification(asked, objects, 0x83)
        assert len(pdu) <= 253
        assert rtu.AnswerFinder(1, asked).receive_data(rtu.encode_adu(1, pdu)) == pdu
        told = decode_identification(asked, pdu)
        together |= told.objects
        asked = None if told.more is None else Identify(EXTENDED, told.more)
    assert together == objects


@pytest.mark.guarantee("G19")
@given(pdu=st.binary(max_size=40))
def test_nonsense_for_an_identification_is_a_peers_error(pdu: bytes) -> None:
    try:
        told = decode_identification(Identify(), b"\x2b\x0e\x01" + pdu)
    except PeerProtocolError:
        return
    assert sum(2 + len(value) for value in told.objects.values()) <= len(pdu) - 4
