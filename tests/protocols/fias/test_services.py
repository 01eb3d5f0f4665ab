"""Leaving, waking, messages and inquiries, as SPEC.md 9 to 12 have them; vectors in protocols/vectors/fias."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidInputError, PeerProtocolError
from protocols.fias.link import FiasLink, Refused, State
from protocols.fias.postings import Charge
from protocols.fias.record import Record, decode, merged
from protocols.fias.services import (
    CHECK_OUTS,
    GUEST_CHARGES,
    INQUIRIES,
    MESSAGE_MOST,
    MESSAGES,
    WAKE_UPS,
    ListedGuest,
    check_out_request,
    guest_charge_record,
    guests_listed,
    inquiry,
    message_read,
    message_request,
    messages_request,
    wake_up_request,
)

AT: Final = datetime(2026, 11, 21, 9, 0, 1)  # noqa: DTZ001 - what the property's wall shows
VECTORS: Final = json.loads(
    (Path(__file__).resolve().parents[3] / "protocols" / "vectors" / "fias" / "services.json").read_text("utf-8")
)


def request(told: dict[str, Any]) -> Record:
    match told["name"]:
        case "check_out":
            return check_out_request(told["room"], told["guest_number"], told["minor"], AT)
        case "wake_up" | "no_wake_up":
            moment = datetime.fromisoformat(told["at"])
            return wake_up_request(told["room"], moment, end=told["name"] == "no_wake_up")
        case "message":
            return message_request(told["room"], told["guest_number"], told["text"], told["ours"])
        case "messages":
            return messages_request(told["room"], told["guest_number"])
        case "guest_charge":
            guest = ListedGuest(told["room"], told["guest_number"], told["guest_name"], None, None, None, None, False)
            return guest_charge_record(Charge("1", told["minor"], told["text"]), guest, told["number"], AT)
        case "read":
            return message_read(told["room"], told["guest_number"], told["message"])
        case _:
            return inquiry(told["sought"], told["number"], AT)


def alive(*described: Any, resync: bool = False) -> FiasLink:
    link = FiasLink("DL", "IK1", [*CHECK_OUTS, *described], message_most=MESSAGE_MOST)
    link.connected(now_ms=0, resync=resync)
    for line in ("LS|DA261121|TI090000|", "LA|DA261121|TI090003|"):
        link.receive(decode(line.encode()), now_ms=0, at=AT)
    assert link.state is State.ALIVE
    return link


@pytest.mark.parametrize("vector", VECTORS["requests"], ids=lambda each: str(each["record"]))
def test_what_is_asked_is_written_as_the_vectors_have_it(vector: dict[str, Any]) -> None:
    assert request(vector).encode().decode("cp1252") == vector["record"]


@pytest.mark.parametrize("vector", VECTORS["answers"], ids=lambda each: str(each["record"]))
def test_what_is_answered_is_read_as_the_vectors_have_it(vector: dict[str, Any]) -> None:
    link = alive(*WAKE_UPS, *MESSAGES, *INQUIRIES)
    facts = link.receive(decode(vector["record"].encode("cp1252")), now_ms=0, at=AT)
    if vector.get("told", ...) is None:
        assert facts == []
        return
    [fact] = facts
    if "field" in vector:
        assert isinstance(fact, Refused)
        assert f"field {vector['field']} " in fact.problem
        return
    assert msgspec.json.decode(msgspec.json.encode(fact)) == vector["told"]


def test_the_description_says_how_long_a_message_may_be() -> None:
    link = alive(*MESSAGES)
    [described] = [each for each in link.data_to_send() if each.id == "LD"]
    assert described.get("RL") == str(MESSAGE_MOST)


@pytest.mark.parametrize("record", ["WR", "WC"])
def test_a_wake_up_of_the_pms_is_refused_at_once_and_told(record: str) -> None:
    link = alive(*WAKE_UPS)
    link.data_to_send()
    [fact] = link.receive(decode(f"{record}|RN412|DA261122|TI063000|".encode()), now_ms=0, at=AT)
    assert isinstance(fact, Refused)
    [answer] = link.data_to_send()
    assert answer == Record("WA", {"DA": "261122", "TI": "063000", "RN": "412", "AS": "UR"})


def test_a_key_to_be_read_is_refused_at_once_by_coder_and_workstation() -> None:
    link = alive()
    link.data_to_send()
    [fact] = link.receive(decode(b"KZ|KC3|WSFRONT|DA261121|TI090001|"), now_ms=0, at=AT)
    assert isinstance(fact, Refused)
    [answer] = link.data_to_send()
    told = {"AS": "UR", "CT": "no key coder here", "KC": "3", "WS": "FRONT", "DA": "261121", "TI": "090001"}
    assert (answer.id, answer.fields) == ("KZ", told)


@pytest.mark.parametrize("record", ["LF|RN412|G#1|", "LO|RN412|G#1|CTpool|LT1830|", "LP|RN412|", "XM|RN412|G#1|RT0|"])
def test_what_is_not_spoken_is_not_described_and_changes_nothing(record: str) -> None:
    link = alive(*WAKE_UPS, *MESSAGES, *INQUIRIES)
    described = {each.get("RI") for each in link.data_to_send() if each.id == "LR"}
    assert described.isdisjoint({"LF", "LO", "LP"})
    assert link.receive(decode(record.encode()), now_ms=0, at=AT) == []
    assert (link.data_to_send(), link.ignored) == ([], 1)


def test_a_record_is_described_once_with_all_that_is_wanted_of_it() -> None:
    told = merged([*INQUIRIES, *GUEST_CHARGES, *GUEST_CHARGES])
    assert [each.record for each in told] == ["PR", "PL"]
    assert set(told[0].fields) == {"PI", "P#", "WS", "DA", "TI", "RN", "G#", "GN", "TA", "CT"}
    assert len(told[0].fields) == len(set(told[0].fields))


def test_a_wake_up_on_a_link_without_them_is_an_unknown_record() -> None:
    link = alive()
    link.data_to_send()
    assert link.receive(decode(b"WR|RN412|DA261122|TI063000|"), now_ms=0, at=AT) == []
    assert (link.data_to_send(), link.ignored) == ([], 1)


def test_what_cannot_be_asked_is_said_by_name() -> None:
    for wrong in ("", "4|12", "x" * 21):
        with pytest.raises(InvalidInputError, match="room"):
            check_out_request(wrong, "1", 0, AT)
    for wrong in ("", "1x", "1" * 11):
        with pytest.raises(InvalidInputError, match="guest_number"):
            check_out_request("1", wrong, 0, AT)
    for wrong in ("", " ", "a|b", "a\x02", "x" * 81):
        with pytest.raises(InvalidInputError, match="query"):
            inquiry(wrong, 1, AT)
    with pytest.raises(InvalidInputError, match="P#"):
        inquiry("1", 0, AT)
    guest = ListedGuest("1", "2", None, None, None, None, None, False)
    for number in (0, 10**8):
        with pytest.raises(InvalidInputError, match="P#"):
            guest_charge_record(Charge("1", 1, ""), guest, number, AT)
    for wrong in ("", "|\n", "x" * (MESSAGE_MOST + 1)):
        with pytest.raises(InvalidInputError, match="text"):
            message_request("1", "1", wrong, "1")


@given(
    st.lists(
        st.tuples(st.integers(1, 9_999), st.integers(1, 10**9), st.integers(-(10**9), 10**9)), min_size=1, max_size=20
    )
)
def test_every_guest_of_a_list_is_read(guests: list[tuple[int, int, int]]) -> None:
    blocks = "".join(f"RN{room}|G#{number}|BA{minor}|" for room, number, minor in guests)
    told = guests_listed(decode(f"PL|P#7|{blocks}".encode()))
    assert told.number == 7
    assert [(int(each.room), int(each.guest_number), each.balance_minor) for each in told.guests] == guests


@given(st.binary(max_size=200))
def test_a_list_of_noise_is_read_or_refused(noise: bytes) -> None:
    try:
        guests_listed(decode(b"PL|" + noise.replace(b"\x02", b"").replace(b"\x03", b"") + b"|"))
    except PeerProtocolError:
        return
