"""A PMS that answers twice, throws us out or writes another alphabet, and links that go at the wrong moment."""

import asyncio
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from edge.bridges.fias.emulator import TAME, InterfaceProgram
from edge.bridges.fias.ledger import ChargeLedger
from edge.bridges.fias.session import ROOM_HEARD_MS, STEADY_MS, FiasSession
from edge.bridges.fias.settings import FiasSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.fias.framing import RECEIVED_BYTES_MAX, framed
from protocols.fias.house import MOVE_WAIT_MS
from protocols.fias.postings import ANSWER_WAIT_MS, Charge
from protocols.fias.record import Record, stamped
from tests.edge.bridges.fias.test_charges import TEA, posting, state
from tests.edge.bridges.fias.test_fias import ANNA, BEN, NOW, Keys, World, at_work, until, world
from tests.edge.world import T0, Building, a_document


def writer_of(w: World) -> asyncio.StreamWriter:
    return cast(asyncio.StreamWriter, w.pms._writer)


def count(w: World, record: str) -> int:
    return sum(each.id == record for each in w.pms.heard)


def answer(number: int, status: str) -> Record:
    return stamped("PA", NOW, [("AS", status), ("P#", str(number)), ("RN", "101")])


# The link goes between a departure and what it means


@pytest.mark.guarantee("G3")
async def test_who_left_just_before_the_pms_went_away_has_left_though_it_never_comes_back() -> None:
    async with world(ANNA) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        w.pms.check_out("88120")
        await until(lambda: not w.session.link.house.occupied())
        await w.pms.stop()
        await until(lambda: not w.session.alive)
        assert w.state("s-anna") == "in_house", "he may come in elsewhere"
        w.clock.advance(MOVE_WAIT_MS)
        await until(lambda: w.state("s-anna") == "left")


async def test_a_disk_that_refuses_then_is_asked_until_it_takes_it() -> None:
    async with world(ANNA) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        w.pms.check_out("88120")
        await until(lambda: not w.session.link.house.occupied())
        await w.pms.stop()
        w.building.log.fail = True
        w.clock.advance(MOVE_WAIT_MS)
        await until(lambda: bool(w.session._owed))
        assert w.state("s-anna") == "in_house"
        w.building.log.fail = False
        await until(lambda: w.state("s-anna") == "left")
        assert w.session._owed == []


async def test_a_move_whose_link_was_lost_in_the_middle_is_one_move() -> None:
    async with world(ANNA) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        w.pms.say(Record("GO", {"RN": "101", "G#": "88120", "GS": "N"}))
        await until(lambda: not w.session.link.house.occupied())
        alive = count(w, "LA")
        w.pms.drop()
        await until(lambda: count(w, "LA") > alive)
        w.pms.check_in("88120", "102", "Muster", "260102")  # what it had not said yet
        await until(lambda: w.in_room("102") == ["s-anna"])
        w.clock.advance(MOVE_WAIT_MS)
        await w.pass_time(1)
        assert (w.state("s-anna"), w.in_room("101")) == ("in_house", [])


async def test_a_resynchronisation_in_the_middle_of_a_check_in_loses_and_doubles_nobody() -> None:
    pms = InterfaceProgram(SeededDice(7), NOW, TAME, slow_resync=True)
    pms.check_in("7", "102", "Vidal", "260103")
    pms._buffer.clear()
    async with world(ANNA, BEN, pms=pms) as w:
        await until(lambda: count(w, "DR") == 1)
        pms.check_in("88120", "101", "Muster", "260102")  # live, after the list was told
        pms.order_key("101", "88120")
        await until(lambda: w.state("s-anna") == "in_house")
        pms.finish()
        await until(lambda: [each.get("AS") for each in pms.answers] == ["OK"])
        assert (w.in_room("101"), w.in_room("102")) == (["s-anna"], ["s-ben"])
        assert not w.desk.doubts


# Answers that come twice, or on no connection


@pytest.mark.parametrize("answers", [("RY", "OK"), ("OK", "OK", "NG"), ("NG", "OK"), ("ZZ", "OK", "RY")])
async def test_a_charge_that_is_answered_twice_is_on_the_bill_once(tmp_path: Path, answers: tuple[str, ...]) -> None:
    async with posting(tmp_path, bills=False) as w:
        w.pms.script.append("late")  # it is posted, whatever is said at first
        await w.session.post("a", TEA)
        await until(lambda: len(w.pms.posted) == 1)
        for each in answers:
            w.pms.say(answer(1, each))
        await until(lambda: state(w, "a") == "posted")
        for _ in range(3):
            await w.pass_time(60_000)
        assert (count(w, "PS"), len(w.pms.posted), state(w, "a")) == (1, 1, "posted")
        w.pms.say(answer(99, "OK"))  # of nobody's asking
        await w.session.post("b", Charge("102", 300, "Water"))
        await until(lambda: state(w, "b") == "posted")


async def test_a_disk_that_refuses_to_hear_of_a_lost_answer_holds_up_no_other_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unanswered, refusals = ChargeLedger.unanswered, [1, 2, 3]

    async def refusing(ledger: ChargeLedger) -> Any:
        if refusals and ledger.on_its_way:
            refusals.pop()
            raise StoreFailedError("the disk is full")
        return await unanswered(ledger)

    monkeypatch.setattr(ChargeLedger, "unanswered", refusing)
    async with posting(tmp_path, bills=False) as w:
        w.pms.script.append("silent")
        await w.session.post("a", TEA)
        await until(lambda: len(w.pms.posted) == 1)
        await w.pass_time(ANSWER_WAIT_MS)
        await until(lambda: state(w, "a") == "unknown")
        assert refusals == []
        await w.session.post("b", Charge("102", 300, "Water"))
        await until(lambda: state(w, "b") == "posted")
        assert [each.need("TA") for each in w.pms.posted] == ["450", "300"]


@pytest.mark.parametrize("late_ms", [0, ROOM_HEARD_MS + 1])
async def test_a_key_answer_that_a_torn_connection_may_not_have_carried_is_told_of(late_ms: int) -> None:
    async with world(ANNA) as w:
        await until(lambda: w.session.link.takes_records)
        w.pms.order_key("101", "88120")
        await until(lambda: len(w.pms.answers) == 1)
        w.clock.advance(late_ms)
        sock = writer_of(w).get_extra_info("socket")
        sock.setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # SOL_SOCKET, SO_LINGER: on, no wait
        writer_of(w).transport.abort()
        await until(lambda: w.pms.connections == 2 and w.session.alive)
        assert w.session.counts["orders_lost"] == int(late_ms == 0)


# Who throws whom out


async def test_a_link_that_is_taken_from_us_again_and_again_is_asked_for_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[int] = []

    def pause_s(_: FiasSession, failures: int) -> float:
        told.append(failures)
        return 0.0

    monkeypatch.setattr(FiasSession, "_pause_s", pause_s)
    async with world(ANNA) as w:
        for each in range(1, 4):
            _, writer = await asyncio.open_connection("127.0.0.1", w.session._settings.port)
            await until(lambda each=each: len(told) == each)  # type: ignore[misc]  # bound by default
            writer.close()
            await until(lambda: w.session.alive)
        assert told == [1, 2, 3]
        w.clock.advance(STEADY_MS)
        w.pms.drop()
        await until(lambda: len(told) == 4)
        assert told[-1] == 0


# Other alphabets, and too much


@pytest.mark.parametrize(
    ("code_page", "name"),
    [
        ("cp1251", "Достоевский"),
        ("cp850", "Müller Ñandú"),
        ("cp932", "東京ソ表"),  # ソ and 表 end in the bytes of a backslash: 0x5C
        ("big5", "許功蓋"),
        ("gb18030", "㐀龍𠀀"),
        ("utf-8", "Ørsted 東京 𠀀"),
    ],
)
async def test_names_come_as_the_propertys_code_page_has_them(code_page: str, name: str) -> None:
    pms = InterfaceProgram(SeededDice(7), NOW, msgspec.structs.replace(TAME, cut=1.0), code_page=code_page)
    clock = ManualClock(wall_ms=T0)
    building = Building(clock)
    await building.house.keeper.apply(1, a_document(ANNA))
    port = await pms.start()
    try:
        async with at_work(pms, building, clock, port, Keys(), more={"code_page": code_page, "messages": True}) as w:
            await until(lambda: pms.alive and w.session.link.takes_records)
            pms.check_in("88120", "101", name, "260102")
            await until(lambda: w.session.link.house.guests("101") != ())
            assert w.session.link.house.guests("101")[0].name == name
            assert w.session.counts["replaced_characters"] == 0
            w.session.leave_message("101", "88120", name)
            await until(lambda: [each.get("MT") for each in pms.left] == [name])
    finally:
        await pms.stop()


@pytest.mark.parametrize("code_page", ["utf-16", "utf-32", "utf-8-sig", "cp037", "idna", "punycode", "hex", "none"])
def test_a_code_page_in_which_a_frame_is_no_frame_is_refused(code_page: str) -> None:
    with pytest.raises(ValueError, match="code_page"):
        FiasSettings(host="h", port=1, zone="UTC", code_page=code_page)


async def test_a_message_that_is_too_long_in_its_alphabet_is_refused_and_costs_no_link(tmp_path: Path) -> None:
    pms = InterfaceProgram(SeededDice(7), NOW, TAME, code_page="utf-8")
    async with posting(tmp_path, pms=pms, messages=True, code_page="utf-8") as w:
        with pytest.raises(InvalidInputError, match="text"):
            w.session.leave_message("101", "7", "東" * 900)
        w.session.leave_message("101", "7", "東" * 600)
        await until(lambda: len(w.pms.left) == 1)
        assert w.pms.connections == 1


async def test_a_record_over_every_bound_costs_itself_alone_and_everybody_is_asked_for_later(tmp_path: Path) -> None:
    async with posting(tmp_path, messages=True) as w:
        asked = count(w, "DR")
        writer_of(w).write(
            framed(b"GI|RN101|G#1|GNa|")
            + b"\x02GI|RN102|G#2|GN" + b"x" * RECEIVED_BYTES_MAX + b"|\x03"
            + b"\x02XL|RN201|G#3|MI1|MT" + b"y" * 3_000 + b"|\x03"
            + framed(b"GI|RN201|G#3|GNc|")
        )  # fmt: skip
        await until(lambda: w.session.link.house.occupied() == ("101", "201"))
        assert w.session.counts["overlong"] == 1
        assert [len(each.text) for each in w.session.messages("3")] == [3_000]
        assert (w.pms.connections, count(w, "DR")) == (1, asked)
        writer_of(w).close()
        await until(lambda: w.pms.connections == 2 and count(w, "DR") == asked + 1)
