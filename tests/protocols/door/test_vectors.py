"""The door vectors: both roles say, byte for byte, what the files say."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import protocols.vectors
from protocols import cose
from protocols.door.advert import SLOT_S, Advert, DoorKeys, eid, fallback_id, gate_key, recognise
from protocols.door.audit import open_chunk
from protocols.door.bundle import Bundle
from protocols.door.fast import Resumption
from protocols.door.frames import Assembler, cut
from protocols.door.hardware import Bolt
from protocols.door.identity import LockIdentity
from protocols.door.lock import LockExchange, State
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.messages import CHALLENGE_BYTES, CertificateForm
from protocols.door.phone import Answer, AskStatus, Carry, Fetch, Latch, PhoneExchange, Request, Resume, Unlock
from protocols.errors import PeerProtocolError
from protocols.grant.keys import PropertyCa, Random, private_key_from_hex
from protocols.vectors.fixed import stream

FOLDER = Path(protocols.vectors.__file__).parent / "door"
EXCHANGES = [pytest.param(path, id=path.stem.removeprefix("exchange_")) for path in sorted(FOLDER.glob("exchange_*"))]


def read(path: Path | str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / path).read_text(encoding="utf-8"))
    assert document["v"] == 1
    return document


def draws(*values: bytes) -> Random:
    """Return dice that give these values and no more."""
    left = iter(values)

    def draw(size: int) -> bytes:
        value = next(left)
        assert len(value) == size
        return value

    return draw


def scalar_draw(private: str) -> bytes:
    """Return the 40 drawn bytes that make this private key."""
    return (int(private, 16) - 1).to_bytes(40, "big")


def keys_of(known: dict[str, Any]) -> DoorKeys:
    return DoorKeys(
        bytes.fromhex(known["lock_id"]),
        bytes.fromhex(known["s_lock"]),
        {int(week): bytes.fromhex(key) for week, key in known["eik_by_week"].items()},
        bytes.fromhex(known["fallback"]),
    )


def request_of(said: dict[str, Any], phone_key: str) -> Request:
    match said["kind"]:
        case "Unlock":
            return Unlock(
                bytes.fromhex(said["grant"]),
                bytes.fromhex(said["certificate"]),
                partial(cose.sign_raw, private_key_from_hex(phone_key, "phone")),
                CertificateForm(said["form"]),
                said["user_verified"],
                Resumption(bytes.fromhex(said["resumption"])) if "resumption" in said else None,
            )
        case "Carry":
            return Carry(
                bytes.fromhex(said["signed"]), bytes.fromhex(said["certificate"]), CertificateForm(said["form"])
            )
        case "Fetch":
            return Fetch(said["after_seq"])
        case "Resume":
            return Resume()
        case "Latch":
            return Latch(
                said["hold"],
                bytes.fromhex(said["grant"]),
                bytes.fromhex(said["certificate"]),
                partial(cose.sign_raw, private_key_from_hex(phone_key, "phone")),
                CertificateForm(said["form"]),
                said["user_verified"],
            )
        case "AskStatus":
            return AskStatus()
        case unknown:
            raise AssertionError(unknown)


def sensed_of(said: dict[str, Any]) -> Sensed:
    return Sensed(said["rtc_s"], said["privacy"], said["battery_percent"], Bolt(said["bolt"]))


@pytest.mark.guarantee("G3", "G4", "G5")
@pytest.mark.requirement("P1", "P2", "P3", "P4", "ACC-12")
@pytest.mark.parametrize("path", EXCHANGES)
def test_the_lock_says_what_the_vector_says(path: Path) -> None:
    vector = read(path)
    random = vector["random"]
    lock = LockExchange(
        LockIdentity.from_document(vector["lock"], "lock"),
        random=draws(bytes.fromhex(random["nonce"]), *map(scalar_draw, random["lock_ephemerals_private"])),
        frame_bytes=vector["frame_bytes"],
    )
    core, sensed = LockCore.decode(bytes.fromhex(vector["lock_memory_before"])), sensed_of(vector["sensed"])
    lock.begin(core=core, sensed=sensed, now_ms=0)
    said, motor, outbox = iter(vector["frames"]), 0, lock.data_to_send()
    latches: list[bool] = []
    for line in said:
        frame = bytes.fromhex(line["frame"])
        if line["from"] == "phone":
            step = lock.receive_data(frame, core=core, sensed=sensed, now_ms=1)
            core, motor = step.core, motor + step.motor
            latches += [] if step.latch is None else [step.latch]
            assert step.fault is None
            outbox += lock.data_to_send()
        else:
            assert outbox.pop(0).hex() == line["frame"]
    assert outbox == []
    assert motor == vector["motor"]
    assert latches == vector.get("latches", [])
    assert core.encode().hex() == vector["lock_memory_after"]
    assert lock.state.name == vector["lock_state"]


@pytest.mark.requirement("P1", "P2", "P3")
@pytest.mark.parametrize("path", EXCHANGES)
def test_the_phone_says_what_the_vector_says(path: Path) -> None:
    vector = read(path)
    requests = [request_of(each, vector["phone_key_private"]) for each in vector["requests"]]
    phone = PhoneExchange(
        keys_of(vector["phone_knows"]),
        requests.pop(0),
        random=draws(scalar_draw(vector["random"]["phone_ephemeral_private"])),
        frame_bytes=vector["frame_bytes"],
        now_ms=0,
    )
    outbox: list[bytes] = []
    answers: list[Answer] = []
    for line in vector["frames"]:
        if line["from"] == "phone":
            assert outbox.pop(0).hex() == line["frame"]
            continue
        answer = phone.receive_data(bytes.fromhex(line["frame"]), now_ms=1)
        if answer is not None:
            answers.append(answer)
            if requests:
                phone.ask(requests.pop(0), now_ms=1)
        outbox += phone.data_to_send()
    assert outbox == []
    assert [each.result.status.name for each in answers] == [each["status"] for each in vector["answers"]]
    for answer, told in zip(answers, vector["answers"], strict=True):
        assert answer.result.chain_head.hex() == told["chain_head"]
        assert (answer.result.audit_seq, answer.result.generation) == (told["audit_seq"], told["generation"])
        assert answer.sealed.hex() == told["sealed"]
    if "resumption_after" in vector:
        assert (phone.resumption.secret.hex() if phone.resumption else "") == vector["resumption_after"]


@pytest.mark.guarantee("G14")
@pytest.mark.requirement("P10")
def test_the_edge_reads_the_fetched_records_as_the_vector_says() -> None:
    vector = read("exchange_fetch.json")
    lock = LockIdentity.from_document(vector["lock"], "lock")
    ca = PropertyCa.from_document(read("keys.json")["property_ca"], "ca")
    chunk = open_chunk(
        bytes.fromhex(vector["answers"][-1]["sealed"]),
        lock.lock_id,
        audit_key=lock.audit.public_key(),
        edge_key=ca.seal,
    )
    assert [each.encode().hex() for each in chunk.records] == [each["encoded"] for each in vector["records"]]
    assert [each.seq for each in chunk.records] == [2, 3]


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("P14")
@pytest.mark.parametrize("case", [pytest.param(each, id=each["name"]) for each in read("hostile.json")["cases"]])
def test_hostile_input_moves_no_motor_and_gets_the_answer_of_the_vector(case: dict[str, Any]) -> None:
    vector = read("hostile.json")
    lock = LockExchange(
        LockIdentity.from_document(vector["lock"], "lock"), random=stream(case["nonce_seed"]), frame_bytes=244
    )
    core, sensed = LockCore.decode(bytes.fromhex(vector["lock_memory"])), sensed_of(vector["sensed"])
    lock.begin(core=core, sensed=sensed, now_ms=0)
    lock.data_to_send()
    for sent in case["phone_sends"]:
        step = lock.receive_data(bytes.fromhex(sent), core=core, sensed=sensed, now_ms=1)
        assert not step.motor
        core = step.core
    assert [each.hex() for each in lock.data_to_send()] == case["lock_sends"]
    assert lock.state.name == case["state"] != State.OPEN.name


@pytest.mark.requirement("P13")
def test_adverts_are_the_vectors_and_are_recognised_by_those_who_hold_the_keys() -> None:
    vector = read("adverts.json")
    lock = LockIdentity.from_document(vector["lock"], "lock")
    weeks = {each["week"]: bytes.fromhex(each["eik"]) for each in vector["weeks"]}
    for each in vector["ids"]:
        assert eid(weeks[each["week"]], each["at_s"]).hex() == each["id"]
        assert gate_key(weeks[each["week"]], lock.lock_id, each["at_s"]).hex() == each["gate_key"]
        keys = lock.door_keys(each["at_s"], each["at_s"])
        assert keys.eik_by_week[each["week"]] == weeks[each["week"]]
        assert {one["id"] for one in vector["ids"] if abs(one["at_s"] - each["at_s"]) < SLOT_S} <= {
            shown.hex() for shown in keys.ids_around(each["at_s"])
        }
    assert fallback_id(bytes.fromhex(vector["fallback"]["key"])).hex() == vector["fallback"]["id"]
    at_s = vector["ids"][0]["at_s"]
    keys = lock.door_keys(at_s, at_s)
    for each in vector["adverts"]:
        advert = Advert.decode(bytes.fromhex(each["service_data"]))
        assert int(advert.bits) == each["bits"]
        assert recognise(advert, [keys], at_s) is keys


@pytest.mark.parametrize("case", read("frames.json")["cut"], ids=lambda case: f"{case['frame_bytes']}")
def test_messages_are_cut_as_the_vector_says(case: dict[str, Any]) -> None:
    frames = cut(bytes.fromhex(case["message"]), case["frame_bytes"])
    assert [each.hex() for each in frames] == case["frames"]
    assembler = Assembler()
    assert [assembler.take(each) for each in frames][-1] == bytes.fromhex(case["message"])


@pytest.mark.parametrize("frame_bytes", [20, 21, 244, 512])
def test_no_frame_is_longer_than_it_may_be_and_none_is_too_many(frame_bytes: int) -> None:
    room = frame_bytes - 1
    for length in {1, 2, room - 1, room, room + 1, 2 * room - 1, 2 * room, 2 * room + 1, 1_024}:
        message = bytes(at % 251 for at in range(length))[:1_024]
        frames, assembler = cut(message, frame_bytes), Assembler()
        assert max(len(each) for each in frames) <= frame_bytes
        assert len(frames) == -(-len(message) // room)
        assert [assembler.take(each) for each in frames] == [*[None] * (len(frames) - 1), message]


@pytest.mark.parametrize("case", [pytest.param(each, id=each["name"]) for each in read("frames.json")["refused"]])
def test_wrong_frames_are_refused(case: dict[str, Any]) -> None:
    assembler = Assembler()
    *before, last = [bytes.fromhex(each) for each in case["frames"]]
    for frame in before:
        assert assembler.take(frame) is None
    with pytest.raises(PeerProtocolError):
        assembler.take(last)


def test_the_bundle_is_the_vectors() -> None:
    document = read("bundle.json")["bundle"]
    assert Bundle.from_document(document).to_document() == document


@pytest.mark.requirement("P2")
def test_sizes_are_those_of_the_budget() -> None:
    """door.md 3.5, plus the kind byte: CHAL 64, OPEN 437 cold and 295 warm, RESULT 52 (with the bolt)."""

    def messages(name: str) -> Iterator[tuple[str, bytes]]:
        assemblers = {"lock": Assembler(), "phone": Assembler()}
        for line in read(f"exchange_{name}.json")["frames"]:
            message = assemblers[line["from"]].take(bytes.fromhex(line["frame"]))
            if message is not None:
                yield line["from"], message

    sizes = {name: [len(message) for _, message in messages(name)] for name in ("open_cold", "open_warm")}
    assert sizes["open_cold"][0] == CHALLENGE_BYTES == 64
    assert sizes["open_cold"][1] <= 445
    assert sizes["open_warm"][1] <= 296
    assert sizes["open_cold"][2] == sizes["open_warm"][2] == 52
    assert len(sizes["open_cold"]) == 3  # one and a half round trips to the motor
    assert [len(message) for _, message in messages("fast_second")] == [64, 26, 52]
