"""What guests ask of the PMS, answers that wait for a resynchronisation, and connections that are torn."""

import asyncio
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from edge.bridges.fias.emulator import TAME, InterfaceProgram
from edge.bridges.fias.ledger import ChargeLedger
from edge.bridges.fias.presence import Leave, Presence, RoomNames
from edge.bridges.fias.services import MESSAGES_EVERY_MS, MESSAGES_MOST
from edge.bridges.fias.session import ROOM_HEARD_MS
from edge.bridges.fias.settings import FiasSettings
from edge.stays.document import StayState
from kit.dice import SeededDice
from kit.files import SystemDisk
from protocols.device_model.identity import RoomId
from protocols.errors import InvalidInputError, LinkLostError, LocalProtocolError, ReplyTimeoutError
from protocols.fias.framing import framed
from protocols.fias.house import House
from protocols.fias.link import ORDER_WAIT_MS
from protocols.fias.postings import Charge
from protocols.fias.record import Record, decode
from protocols.fias.services import INQUIRY_WAIT_MS, LEAVING_WAIT_MS
from tests.edge.bridges.fias.test_charges import TEA, posting, state
from tests.edge.bridges.fias.test_fias import ANNA, NOW, World, until, world

SERVICES: dict[str, Any] = {"check_outs": True, "wake_ups": True, "messages": True, "inquiries": True}
SIX = datetime(2026, 1, 2, 6, 30)  # noqa: DTZ001 - of the property's wall clock


def heard(w: World, record: str) -> list[Record]:
    return [each for each in w.pms.heard if each.id == record]


async def test_a_guest_leaves_from_afar_with_the_balance_that_he_saw_and_with_no_other(tmp_path: Path) -> None:
    async with posting(tmp_path, **SERVICES) as w:
        w.pms.check_in("88120", "101", "Vidal", "260103")
        await until(lambda: w.in_room("101") != [])
        await w.session.post("a", TEA)
        await until(lambda: state(w, "a") == "posted")
        bill = await w.session.bill("101", "88120")
        refused = await w.session.check_out("101", "88120", bill.balance_minor - 1)
        assert (refused.status, w.pms.out, w.in_room("101") != []) == ("BM", [], True)
        told = await w.session.check_out("101", "88120", bill.balance_minor)
        assert (told.status, w.pms.out) == ("OK", ["88120"])
        await w.pass_time(6_000)
        await until(lambda: w.in_room("101") == [])
        assert [each.need("BA") for each in heard(w, "XC")] == ["449", "450"]


async def test_a_check_out_without_an_answer_may_have_been_heard_and_is_never_asked_again(tmp_path: Path) -> None:
    async with posting(tmp_path, **SERVICES) as w:
        w.pms.deaf = frozenset({"XC"})
        for end in ("time", "loss"):
            asked = asyncio.create_task(w.session.check_out("101", "1", 0))
            await until(lambda: w.session.services.deadline_ms is not None)
            if end == "time":
                await w.pass_time(LEAVING_WAIT_MS)
            else:
                w.pms.drop()
            with pytest.raises(ReplyTimeoutError, match="XC"):
                await asked
        await until(lambda: w.session.alive)
        with pytest.raises(InvalidInputError, match="guest_number"):
            await w.session.check_out("101", "me", 0)
        assert len(heard(w, "XC")) == 2


async def test_two_guests_who_leave_at_once_leave_one_after_the_other(tmp_path: Path) -> None:
    async with posting(tmp_path, **SERVICES) as w:
        w.pms.check_in("1", "101", "Vidal", "260103")
        w.pms.check_in("2", "102", "Berger", "260103")
        told = await asyncio.gather(w.session.check_out("101", "1", 0), w.session.check_out("102", "2", 0))
        assert ([each.status for each in told], w.pms.out) == (["OK", "OK"], ["1", "2"])


async def test_a_room_is_woken_and_no_more(tmp_path: Path) -> None:
    async with posting(tmp_path, **SERVICES) as w:
        assert (await w.session.wake_up("101", SIX)).status == "OK"
        assert w.pms.wake_ups == {("101", "260102", "063000"): "OK"}
        assert (await w.session.wake_up("101", SIX, end=True)).status == "OK"
        assert (await w.session.wake_up("101", SIX, end=True)).status == "NG"
        w.pms.say(Record("WR", {"RN": "101", "DA": "260102", "TI": "070000"}))
        await until(lambda: len(heard(w, "WA")) == 1)
        assert heard(w, "WA")[0].need("AS") == "UR"


async def test_messages_wait_until_they_are_read_here_or_there_or_the_guest_goes(tmp_path: Path) -> None:
    async with posting(tmp_path, **SERVICES) as w:
        w.pms.check_in("7", "101", "Vidal", "260103")
        for number, message in (("7", "m1"), ("7", "m2"), ("7", "m3"), ("8", "m4"), ("7", "m1")):
            w.pms.say(Record("XL", {"RN": "101", "G#": number, "MI": message, "MT": f"text {message}"}))
        await until(lambda: len(w.session.messages("8")) == 1)
        await until(lambda: [each.message for each in w.session.messages("7")] == ["m2", "m3", "m1"])
        w.session.read_message("101", "7", "m2")
        await until(lambda: [each.get("MI") for each in w.pms.left] == ["m2"])
        with pytest.raises(InvalidInputError, match="m2"):
            w.session.read_message("101", "7", "m2")
        w.pms.say(Record("XD", {"RN": "101", "G#": "7", "MI": "m3"}))
        await until(lambda: [each.message for each in w.session.messages("7")] == ["m1"])
        w.session.leave_message("101", "7", "Late breakfast, please")
        await until(lambda: [each.get("MT") for each in w.pms.left] == [None, "Late breakfast, please"])
        w.pms.check_out("7")
        await until(lambda: not w.session.link.house.occupied())
        await w.pass_time(6_000)
        await until(lambda: w.session.messages("7") == [] and len(w.session.messages("8")) == 1)
        for each in range(MESSAGES_MOST + 3):
            w.pms.say(Record("XL", {"RN": "101", "G#": "9", "MI": str(each), "MT": "x"}))
        last = str(MESSAGES_MOST + 2)
        await until(lambda: bool(w.session.messages("9")) and w.session.messages("9")[-1].message == last)
        assert len(w.session.messages("9")) == MESSAGES_MOST


def asked_for(w: World) -> list[str]:
    return [each.need("G#") for each in heard(w, "XM")]


async def ask_the_rest(w: World, most: int) -> None:
    """Let the time pass that lies between two XM, until so many came."""
    while len(asked_for(w)) < most:
        await w.pass_time(MESSAGES_EVERY_MS)


async def test_after_a_start_everybody_in_house_is_asked_about_and_one_at_a_time(tmp_path: Path) -> None:
    pms = InterfaceProgram(SeededDice(7), NOW, TAME)
    for number, room in (("7", "101"), ("8", "102"), ("9", "201")):
        pms.check_in(number, room, f"Guest {number}", "260103")
    pms.message("7", "m1", "A parcel")
    pms.message("9", "m2", "Call home")
    pms._buffer.clear()
    async with posting(tmp_path, pms=pms, **SERVICES) as w:
        await until(lambda: len(asked_for(w)) == 1)
        await w.pass_time(MESSAGES_EVERY_MS - 1)
        assert len(asked_for(w)) == 1
        await ask_the_rest(w, 3)
        assert sorted(asked_for(w)) == ["7", "8", "9"]
        told = [[each.text for each in w.session.messages(number)] for number in ("7", "8", "9")]
        assert told == [["A parcel"], [], ["Call home"]]
        await w.pass_time(60_000)
        pms.check_in("10", "103", "Late", "260103")
        await until(lambda: len(asked_for(w)) == 4)
        assert asked_for(w)[3] == "10"


async def test_a_message_read_here_is_not_shown_again_though_the_pms_has_not_heard_of_it(tmp_path: Path) -> None:
    async with posting(tmp_path, **SERVICES) as w:
        w.pms.check_in("7", "101", "Vidal", "260103")
        w.pms.message("7", "m1", "A parcel")
        await until(lambda: len(w.session.messages("7")) == 1)
        w.session.read_message("101", "7", "m1")
        w.pms.drop()  # before the XD can leave
        await until(lambda: w.pms.connections == 2 and w.session.alive)
        await w.pass_time(MESSAGES_EVERY_MS)
        await until(lambda: ("7", "m1") not in w.pms.messages)
        assert w.session.messages("7") == []
        w.pms.message("7", "m1", "Another parcel")  # its id may come again: another text is another message
        await until(lambda: [each.text for each in w.session.messages("7")] == ["Another parcel"])


async def test_a_question_about_messages_whose_link_was_lost_is_asked_again(tmp_path: Path) -> None:
    async with posting(tmp_path, **SERVICES, resync_after=timedelta(days=1)) as w:
        w.pms.check_in("7", "101", "Vidal", "260103")
        await until(lambda: asked_for(w) == ["7"])
        writer = cast(asyncio.StreamWriter, w.pms._writer)
        writer.close()  # not torn, and not long enough for a resynchronisation
        await until(lambda: w.pms.connections == 2 and w.session.alive)
        await ask_the_rest(w, 2)
        assert (asked_for(w), len(heard(w, "DR"))) == (["7", "7"], 1)


async def test_an_inquiry_lists_whom_it_may_mean_under_a_number_of_its_own(tmp_path: Path) -> None:
    async with posting(tmp_path, **SERVICES) as w:
        w.pms.check_in("1", "101", "Vidal", "260103")
        w.pms.check_in("2", "102", "Vidal", "260104")
        await w.session.post("a", TEA)
        await until(lambda: state(w, "a") == "posted")
        told = await w.session.inquire("Vidal")
        assert [(each.room, each.guest_number, each.balance_minor) for each in told.guests] == [
            ("101", "1", 450),
            ("102", "2", 0),
        ]
        assert (await w.session.inquire("nobody")).guests == ()
        await w.session.post("b", Charge("102", 1, "x"))
        await until(lambda: state(w, "b") == "posted")
        numbers = [each.need("P#") for each in w.pms.heard if each.id in ("PS", "PR")]
        assert numbers == ["1", "2", "3", "4"]
        w.pms.deaf = frozenset({"PR"})
        asked = asyncio.create_task(w.session.inquire("101"))
        await until(lambda: "PL" in w.session.services._asked)
        await w.pass_time(INQUIRY_WAIT_MS)
        with pytest.raises(ReplyTimeoutError, match="PL"):
            await asked


async def test_a_link_without_them_says_so_and_describes_none(tmp_path: Path) -> None:
    async with posting(tmp_path) as w:
        with pytest.raises(LocalProtocolError, match="check_outs"):
            await w.session.check_out("101", "1", 0)
        with pytest.raises(LocalProtocolError, match="wake_ups"):
            await w.session.wake_up("101", SIX)
        with pytest.raises(LocalProtocolError, match="inquiries"):
            await w.session.inquire("101")
        for ask in (w.session.messages, lambda number: w.session.leave_message("101", number, "x")):
            with pytest.raises(LocalProtocolError, match="messages"):
                ask("1")
        assert {"XC", "WR", "WC", "WA", "XL", "XD", "PR", "PL"}.isdisjoint(w.pms._asked)
    with pytest.raises(LinkLostError):
        await w.session.check_out("101", "1", 0)
    with pytest.raises(ValueError, match="charges"):
        FiasSettings(host="h", port=1, zone="UTC", inquiries=True)


# Answers in a resynchronisation


@pytest.mark.requirement("ACC-02")
async def test_a_key_order_in_a_resynchronisation_is_answered_when_it_is_over() -> None:
    pms = InterfaceProgram(SeededDice(7), NOW, TAME, slow_resync=True)
    async with world(ANNA, pms=pms) as w:
        await until(lambda: len(heard(w, "DR")) == 1)
        pms.order_key("101", "88120")
        await until(lambda: w.session.counts["orders_ok"] == 1)
        assert pms.answers == [], "nothing is sent between DR and DE"
        pms.finish()
        await until(lambda: len(pms.answers) == 1)
        await w.pass_time(ORDER_WAIT_MS)
        assert [each.need("AS") for each in pms.answers] == ["OK"]


async def test_a_pms_that_passes_over_the_wish_for_a_resynchronisation_gets_its_answers() -> None:
    pms = InterfaceProgram(SeededDice(7), NOW, TAME.__class__(**_tame(deaf_to_resync=True)))
    async with world(ANNA, pms=pms) as w:
        pms.order_key("101", "88120")
        await until(lambda: w.session.counts["orders_ok"] == 1)
        w.session.tell_room("102", 3)
        await w.pass_time(ORDER_WAIT_MS)
        await until(lambda: [each.need("AS") for each in pms.answers] == ["OK"] and pms.rooms == {"102": "3"})


def _tame(**more: Any) -> dict[str, Any]:
    return {name: getattr(TAME, name) for name in TAME.__struct_fields__} | more


# Torn connections


@pytest.mark.parametrize("how", ["in a frame", "between frames", "reset"])
async def test_a_connection_that_was_torn_asks_for_everybody_again_and_one_that_ended_does_not(how: str) -> None:
    async with world(ANNA) as w:
        await until(lambda: w.session.link.takes_records)
        assert len(heard(w, "DR")) == 1
        writer = cast(asyncio.StreamWriter, w.pms._writer)
        if how == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # SOL_SOCKET, SO_LINGER: on, no wait
            writer.transport.abort()
        else:
            writer.write(b"\x02GI|RN1" if how == "in a frame" else b"")
            writer.close()
        await until(lambda: w.pms.connections == 2 and w.session.alive and w.session.link.takes_records)
        assert len(heard(w, "DR")) == (1 if how == "between frames" else 2)


async def test_what_was_heard_counts_though_nothing_can_be_sent_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    pms = InterfaceProgram(SeededDice(7), NOW, TAME.__class__(**_tame(deaf_to_resync=True)))
    drained, broken = asyncio.StreamWriter.drain, list[bool]()

    async def drain(writer: asyncio.StreamWriter) -> None:
        if broken and writer.get_extra_info("peername")[1] == port:
            broken.clear()
            raise ConnectionResetError("by the peer")
        await drained(writer)

    async with world(ANNA, pms=pms) as w:
        await until(lambda: w.session.alive)
        await w.pass_time(ORDER_WAIT_MS)
        await until(lambda: w.session.link.takes_records)
        writer = cast(asyncio.StreamWriter, pms._writer)
        port = writer.get_extra_info("sockname")[1]
        monkeypatch.setattr(asyncio.StreamWriter, "drain", drain)
        records = [Record("KR", {"RN": "102", "KT": "?"})] + [
            Record("GI", {"RN": room, "G#": number}) for number, room in (("5", "101"), ("6", "102"))
        ]
        broken.append(True)
        writer.write(b"".join(framed(each.encode()) for each in records))
        await until(lambda: pms.connections == 2 and w.session.alive)
        assert w.session.link.house.occupied() == ("101", "102")


async def test_a_rooms_condition_that_a_torn_connection_may_not_have_carried_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drained, written, broken = asyncio.StreamWriter.drain, asyncio.StreamWriter.write, list[bool]()

    def write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not (broken and writer.get_extra_info("peername")[1] == port):
            written(writer, data)

    async def drain(writer: asyncio.StreamWriter) -> None:
        if broken and writer.get_extra_info("peername")[1] == port:
            broken.clear()
            raise ConnectionResetError("by the peer")
        await drained(writer)

    async with world(ANNA) as w:
        await until(lambda: w.session.link.takes_records)
        port = cast(asyncio.StreamWriter, w.pms._writer).get_extra_info("sockname")[1]
        w.session.tell_room("201", 1)
        await until(lambda: w.pms.rooms == {"201": "1"})
        await w.pass_time(ROOM_HEARD_MS + 1)
        w.pms.rooms.clear()
        monkeypatch.setattr(asyncio.StreamWriter, "drain", drain)
        monkeypatch.setattr(asyncio.StreamWriter, "write", write)
        broken.append(True)
        w.session.tell_room("101", 3)
        w.session.tell_room("102", 5)
        await until(lambda: w.pms.connections == 2 and w.session.link.takes_records)
        w.session.tell_room("101", 2)
        await until(lambda: w.pms.rooms == {"101": "2", "102": "5"})


async def test_a_flood_is_read_no_further_than_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.bridges.fias.session.INBOX_MOST", 2_000)
    async with world(ANNA) as w:
        await until(lambda: w.session.link.takes_records)
        most = 0
        before = w.session.counts["records"]
        for _ in range(2_000):
            w.pms.say(Record("ZZ", {"RN": "101"}))
            most = max(most, len(w.session._inbox))
        await until(lambda: w.session.counts["records"] >= before + 2_000)
        assert most <= 2_000 + 4_096


# Presence after a restart


def test_who_shared_a_room_and_left_while_nobody_listened_has_left() -> None:
    async def swept(*numbers: str) -> list[str]:
        async with world(ANNA) as w:
            for number in ("1", "2"):
                w.pms.check_in(number, "102", f"Guest {number}", "260103")
            await until(lambda: len(w.in_room("102")) == 2)
            house = House()
            for number in numbers:
                house.take(decode(f"GI|RN102|G#{number}|".encode()), now_ms=0)
            presence = Presence(
                RoomNames(frozenset({RoomId("102")}), {}),
                walk_ins=True,
                until_ms=lambda _, now: now,
                on_day_ms=lambda _, before: before,
            )
            steps = presence.swept(house, w.building.house.keeper.replica)
            assert all(isinstance(each, Leave) for each in steps)
            return sorted(each.stay.id.split("-")[1] for each in steps if isinstance(each, Leave))

    assert asyncio.run(swept("1")) == ["2"]
    assert asyncio.run(swept("1", "2")) == []
    assert asyncio.run(swept("2", "3")) == [], "3 may be 1 under another number"
    assert asyncio.run(swept()) == ["1", "2"]


async def test_a_guest_on_the_move_at_the_end_of_a_resynchronisation_is_not_swept_out() -> None:
    async with world() as w:
        w.pms.check_in("7", "101", "Vidal", "260103")
        await until(lambda: len(w.in_room("101")) == 1)
        [stay] = w.in_room("101")
        for record in (
            Record("DS", {}), Record("GI", {"RN": "101", "G#": "7", "SF": ""}), Record("GO", {"RN": "101", "G#": "7"}),
            Record("DE", {}), Record("GI", {"RN": "102", "G#": "7"}),
        ):  # fmt: skip
            w.pms.say(record)
        await until(lambda: w.in_room("102") == [stay])
        assert (w.state(stay), w.in_room("101")) == (StayState.IN_HOUSE.value, [])


async def test_the_end_of_a_list_that_another_connection_began_sweeps_nobody_out() -> None:
    pms = InterfaceProgram(SeededDice(7), NOW, TAME.__class__(**_tame(deaf_to_resync=True)))
    async with world(ANNA, pms=pms) as w:
        for number, room in (("88120", "101"), ("9", "102")):
            pms.check_in(number, room, "Vidal", "260103")
        await until(lambda: len(w.in_room("101")) == len(w.in_room("102")) == 1)
        w.session.link.house = House()  # as after a restart of ours
        pms.say(Record("GI", {"RN": "102", "G#": "9", "SF": ""}))
        pms.say(Record("DE", {}))
        await w.pass_time(1_000)
        assert w.state("s-anna") == StayState.IN_HOUSE.value


# The ledger's disk


async def test_the_disk_is_waited_for_in_a_thread_and_one_change_at_a_time(tmp_path: Path) -> None:
    loop_thread, writing, go_on = threading.get_ident(), asyncio.Event(), threading.Event()
    loop, threads = asyncio.get_running_loop(), list[int]()

    class Slow(SystemDisk):
        def sync(self, path: Path) -> None:
            threads.append(threading.get_ident())
            loop.call_soon_threadsafe(writing.set)
            assert go_on.wait(15)
            super().sync(path)

    ledger = ChargeLedger(Slow(), tmp_path / "ledger.json")
    wished = [asyncio.create_task(ledger.wish(key, TEA, now_ms=0)) for key in ("a", "b", "a")]
    await writing.wait()  # the loop turns while the disk takes its time
    assert (len(threads), ledger.get("a")) == (1, None)
    wished[0].cancel()
    go_on.set()
    assert [(await each).key for each in wished[1:]] == ["b", "a"]
    assert loop_thread not in threads
    again = ChargeLedger(SystemDisk(), tmp_path / "ledger.json")
    assert [each.key for each in again] == ["a", "b"] == [each.key for each in ledger], "what was begun was ended"
