"""Charges are posted once or told as unknown, bills are read, and a wrong key is not tried again and again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.bridges.fias.emulator import TAME, InterfaceProgram, Knobs
from edge.bridges.fias.ledger import TRIES_MOST, ChargeLedger, ChargeState
from edge.bridges.fias.settings import FiasSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.files import SystemDisk
from protocols.errors import InvalidInputError, LinkLostError, LocalProtocolError, ReplyTimeoutError, StoreFailedError
from protocols.fias.link import SIGN_INS_MOST
from protocols.fias.postings import ANSWER_WAIT_MS, NUMBER_MOST, Charge, ChargeKind
from protocols.fias.record import Record
from protocols.fias.services import INQUIRY_WAIT_MS
from tests.edge.bridges.fias.test_fias import NOW, Keys, World, at_work, until
from tests.edge.world import T0, Building, a_document
from tests.seeds import seeds

TEA = Charge("101", 450, "Tea", ChargeKind.MINIBAR, "88120")
KEY = "000102030405060708090a0b0c0d0e0f"


@asynccontextmanager
async def posting(
    tmp_path: Path, *, knobs: Knobs = TAME, seed: int = 3, pms: InterfaceProgram | None = None, **more: Any
) -> AsyncIterator[World]:
    clock = ManualClock(wall_ms=T0)
    building = Building(clock)
    await building.house.keeper.apply(1, a_document())
    pms = pms or InterfaceProgram(SeededDice(seed), NOW, knobs)
    port = await pms.start()
    told = {"charges": True, "bills": True, **more}
    try:
        async with at_work(pms, building, clock, port, Keys(), data_dir=tmp_path, more=told) as made:
            await until(lambda: pms.alive and made.session.alive and not made.session.link._resyncing)
            yield made
    finally:
        await pms.stop()


def state(w: World, key: str) -> str | None:
    found = w.session.billing.charge(key)
    return None if found is None else found.state.value


async def test_a_charge_is_posted_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    async with posting(tmp_path) as w:
        for _ in range(3):
            await w.session.post("a", TEA)
        await until(lambda: state(w, "a") == "posted")
        await w.session.post("a", TEA)
        await w.session.post("b", Charge("102", 300, "Water"))
        await until(lambda: state(w, "b") == "posted")
        told = [(each.need("RN"), each.need("TA"), each.need("P#"), each.need("PT")) for each in w.pms.posted]
        assert told == [("101", "450", "1", "M"), ("102", "300", "2", "C")]
        with pytest.raises(InvalidInputError, match="another charge"):
            await w.session.post("a", Charge("101", 451, "Tea"))


@pytest.mark.parametrize(
    ("answer", "ends"),
    [("NG", "refused"), ("NP", "refused"), ("UR", "refused"), ("CO", "refused"), ("NR", "unknown"), ("ZZ", "unknown")],
)
async def test_each_answer_has_its_end(tmp_path: Path, answer: str, ends: str) -> None:
    async with posting(tmp_path, bills=False) as w:
        w.pms.script.append(answer)
        await w.session.post("a", TEA)
        await until(lambda: state(w, "a") == ends)
        assert (w.pms.posted, w.session.billing.unsure) == ([], int(ends == "unknown"))


async def test_busy_and_retry_are_tried_again_under_another_number_and_not_at_once(tmp_path: Path) -> None:
    async with posting(tmp_path) as w:
        w.pms.script += ["BY", "RY", "OK"]
        await w.session.post("a", TEA)
        for tries in (1, 2):
            await until(lambda tries=tries: w.session.billing.charge("a").tries == tries and state(w, "a") == "waiting")  # type: ignore[misc,union-attr]  # bound by default
            await w.pass_time(29_000 * tries)
            assert len([each for each in w.pms.heard if each.id == "PS"]) == tries
            await w.pass_time(31_000 * tries)
        await until(lambda: state(w, "a") == "posted")
        assert [each.need("P#") for each in w.pms.heard if each.id == "PS"] == ["1", "2", "3"]
        assert len(w.pms.posted) == 1


async def test_nothing_is_posted_during_the_night_audit(tmp_path: Path) -> None:
    async with posting(tmp_path) as w:
        w.pms.audit(running=True)
        await until(lambda: w.session.billing._audit)
        await w.session.post("a", TEA)
        await w.pass_time(1_000)
        assert [each for each in w.pms.heard if each.id == "PS"] == []
        w.pms.audit(running=False)
        await until(lambda: state(w, "a") == "posted")


@pytest.mark.guarantee("G2")
async def test_a_charge_whose_link_was_lost_is_found_on_the_bill_or_is_unknown_and_never_sent_again(
    tmp_path: Path,
) -> None:
    async with posting(tmp_path) as w:
        w.pms.script += ["lost_after", "lost_before"]
        await w.session.post("after", TEA)
        await until(lambda: state(w, "after") == "posted")
        assert w.session.billing.charge("after").said == "found on the bill"  # type: ignore[union-attr]  # it is there
        await w.session.post("before", Charge("101", 450, "Tea", ChargeKind.MINIBAR, "88120"))
        await until(lambda: w.pms.connections == 3 and w.session.alive and state(w, "before") == "unknown")
        await until(lambda: len([each for each in w.pms.heard if each.id == "XR"]) >= 2)
        await w.pass_time(60_000)
        assert (state(w, "before"), len(w.pms.posted)) == ("unknown", 1)
        assert [each.need("P#") for each in w.pms.heard if each.id == "PS"] == ["1", "2"]
        await w.session.billing.settle("before", posted=False, by="desk")
        await w.session.post("before, again", TEA)
        await until(lambda: state(w, "before, again") == "posted")
        assert len(w.pms.posted) == 2


async def test_an_answer_that_comes_late_settles_its_own_charge(tmp_path: Path) -> None:
    async with posting(tmp_path, bills=False) as w:
        w.pms.script += ["late", "OK"]
        await w.session.post("slow", TEA)
        await w.session.post("next", Charge("102", 1, "x"))
        await until(lambda: state(w, "slow") == "sent")
        await w.pass_time(ANSWER_WAIT_MS)
        await until(lambda: state(w, "slow") == "unknown" and state(w, "next") == "posted")
        w.pms.release()
        await until(lambda: state(w, "slow") == "posted")
        w.pms.say(Record("PA", {"AS": "NG", "P#": "1"}))
        w.pms.say(Record("PA", {"AS": "OK", "P#": "77"}))
        await w.pass_time(1)
        assert state(w, "slow") == "posted", "what is settled stays settled"


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("seed", seeds(3, 60))
async def test_a_rough_day_posts_nothing_twice_and_forgets_nothing(tmp_path: Path, seed: int) -> None:
    rough = Knobs(posting_lost=0.25, posting_silent=0.15, posting_later=0.2)
    async with posting(tmp_path, knobs=rough, seed=seed) as w:
        for each in range(12):
            await w.session.post(f"k{each}", Charge("101", 100 + each, "Tea", ChargeKind.DIRECT, "88120"))
        async with asyncio.timeout(60):
            while any(state(w, f"k{each}") in ("waiting", "sent") for each in range(12)):
                w.clock.advance(16_000)
                w.session._wake.set()
                await asyncio.sleep(0.003)
        amounts = [each.need("TA") for each in w.pms.posted]
        assert len(amounts) == len(set(amounts)), "none twice"
        for each in range(12):
            on_bill = str(100 + each) in amounts
            assert state(w, f"k{each}") == "unknown" or (state(w, f"k{each}") == "posted") == on_bill


async def test_a_restart_between_a_charge_and_its_answer_leaves_it_unknown(tmp_path: Path) -> None:
    pms = InterfaceProgram(SeededDice(3), NOW, TAME)
    async with posting(tmp_path, pms=pms, bills=False) as w:
        pms.script.append("silent")
        await w.session.post("a", TEA)
        await until(lambda: len(pms.posted) == 1)
        assert state(w, "a") == "sent"
    ledger = ChargeLedger(SystemDisk(), tmp_path / "fias-charges.json")
    assert [each.state for each in ledger] == [ChargeState.UNKNOWN], "the link that ended told so"
    async with posting(tmp_path) as w:
        await w.session.post("a", TEA)
        await w.session.post("b", TEA)
        await until(lambda: state(w, "b") == "posted")
        assert (state(w, "a"), [each.need("P#") for each in w.pms.posted]) == ("unknown", ["2"])


async def test_a_bill_is_read_with_its_balance_and_one_that_never_ends_is_given_up(tmp_path: Path) -> None:
    async with posting(tmp_path) as w:
        await w.session.post("a", TEA)
        await until(lambda: state(w, "a") == "posted")
        bill = await w.session.bill("101", "88120")
        assert (bill.balance_minor, [each.minor for each in bill.lines]) == (450, [450])
        empty = await w.session.bill("102", "1")
        assert (empty.balance_minor, empty.lines) == (0, ())
        w.pms.bill_mute = True
        asked = asyncio.create_task(w.session.bill("101", "88120"))
        await until(lambda: w.session.billing._asked is not None)
        await w.pass_time(ANSWER_WAIT_MS)
        with pytest.raises(ReplyTimeoutError, match="101"):
            await asked
        asked = asyncio.create_task(w.session.bill("101", "88120"))
        await until(lambda: w.session.billing._asked is not None)
        w.pms.drop()
        with pytest.raises(LinkLostError):
            await asked


async def test_a_link_without_charges_or_bills_says_so_and_describes_neither(tmp_path: Path) -> None:
    async with posting(tmp_path, charges=False, bills=False) as w:
        with pytest.raises(LocalProtocolError, match="charges"):
            await w.session.post("a", TEA)
        with pytest.raises(LocalProtocolError, match="bills"):
            await w.session.bill("101", "88120")
        assert {"PS", "PA", "XR", "XI", "XB"}.isdisjoint(w.pms._asked)


async def test_an_interface_with_a_key_lets_us_in_by_it_and_a_wrong_one_is_tried_twice_at_most(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    pms = InterfaceProgram(SeededDice(1), NOW, TAME, key=bytes.fromhex(KEY))
    async with posting(tmp_path, pms=pms, key_path=tmp_path / "key") as w:
        assert (pms.sign_ins, w.session.link.blocked) == (1, False)
        pms.drop()
        await until(lambda: pms.sign_ins == 2 and w.session.alive)
        pms.key = bytes(16)
        pms.drop()
        await until(lambda: pms.blocked)
        for _ in range(SIGN_INS_MOST):
            pms.blocked = False  # somebody restarts it by hand, and the key is still wrong
            pms.drop()
            await asyncio.sleep(0)
        await until(lambda: w.session.link.blocked)
        connections, sign_ins = pms.connections, pms.sign_ins
        pms.blocked = False
        await w.building.house.catch_up()
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert (pms.connections, pms.sign_ins) == (connections, sign_ins)
        assert sign_ins <= 2 + SIGN_INS_MOST


def test_a_key_that_is_none_is_refused_by_the_name_of_its_file(tmp_path: Path) -> None:
    from edge.app.fias import _key

    for content in ("", "zz", KEY[:-2]):
        (tmp_path / "key").write_text(content)
        with pytest.raises(InvalidInputError, match="key_path"):
            _key(tmp_path / "key")
    with pytest.raises(InvalidInputError, match="key_path"):
        _key(tmp_path / "none")
    assert FiasSettings(host="h", port=1, zone="UTC", key_header="A1").key_header == "A1"


# The ledger


async def test_numbers_count_on_over_restarts_and_begin_anew_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    ledger = ChargeLedger(SystemDisk(), path)
    ledger._number = NUMBER_MOST - 1
    for key, number in (("a", NUMBER_MOST), ("b", 1)):
        ledger = ledger if key == "a" else ChargeLedger(SystemDisk(), path)
        await ledger.wish(key, TEA, now_ms=0)
        assert (await ledger.send(key)).number == number
        assert ledger.due(now_ms=10**15) is None, "one at a time"
        await ledger.answered(number, "OK", "", now_ms=0)


async def test_what_is_never_taken_is_refused_in_the_end(tmp_path: Path) -> None:
    ledger = ChargeLedger(SystemDisk(), tmp_path / "ledger.json")
    await ledger.wish("a", TEA, now_ms=0)
    for _ in range(TRIES_MOST):
        number = (await ledger.send("a")).number
        assert number is not None
        await ledger.answered(number, "BY", "", now_ms=0)
    found = ledger.get("a")
    assert found is not None
    assert (found.state, found.tries) == (ChargeState.REFUSED, TRIES_MOST)


@pytest.mark.parametrize("text", ["", "[]", '{"v":2,"number":0,"entries":[]}', '{"v":1,"number":0,"entries":[{}]}'])
def test_a_file_that_is_no_ledger_is_refused_by_name_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"ledger\.json"):
        ChargeLedger(SystemDisk(), path)
    assert path.read_text() == text


async def test_a_disk_that_refuses_sends_nothing(tmp_path: Path) -> None:
    class Full(SystemDisk):
        full = False

        def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            super().write(path, data, mode=mode)

    disk = Full()
    ledger = ChargeLedger(disk, tmp_path / "ledger.json")
    await ledger.wish("a", TEA, now_ms=0)
    disk.full = True
    with pytest.raises(StoreFailedError):
        await ledger.send("a")
    found = ledger.get("a")
    assert found is not None
    assert (found.state, found.number) == (ChargeState.WAITING, None)
    assert msgspec.json.decode((tmp_path / "ledger.json").read_bytes())["entries"][0]["state"] == "waiting"


# Charges to guests

GUESTS: dict[str, Any] = {"guest_charges": True}


def said(w: World, record: str) -> list[Record]:
    return [each for each in w.pms.heard if each.id == record]


async def test_a_charge_that_names_a_guest_is_posted_to_him_as_the_list_has_him_and_to_nobody_who_shares(
    tmp_path: Path,
) -> None:
    async with posting(tmp_path, **GUESTS) as w:
        w.pms.check_in("88120", "101", "Vidal", "260103")
        w.pms.check_in("88121", "101", "Berger", "260103")
        await w.session.post("a", TEA)
        await until(lambda: state(w, "a") == "posted")
        [seeking, posted] = said(w, "PR")
        assert (seeking.need("PI"), seeking.get("TA"), seeking.need("P#")) == ("101", None, "1")
        told = {"RN": "101", "G#": "88120", "GN": "Vidal", "TA": "450", "P#": "2", "CT": "Tea IK00000002"}
        assert posted.fields.items() >= told.items()
        assert (said(w, "PS"), len(w.pms.posted)) == ([], 1)
        assert (await w.session.bill("101", "88121")).lines == ()
        assert [each.text for each in (await w.session.bill("101", "88120")).lines] == ["Tea IK00000002"]
        await w.session.post("b", Charge("101", 300, "Water"))  # names nobody: the room's
        await until(lambda: state(w, "b") == "posted")
        assert [each.need("P#") for each in said(w, "PS")] == ["3"]


async def test_nobody_is_charged_who_is_not_there_or_may_not_be_charged(tmp_path: Path) -> None:
    async with posting(tmp_path, **GUESTS) as w:
        w.pms.check_in("1", "101", "Vidal", "260103")
        w.pms.check_in("2", "102", "Berger", "260103")
        w.pms.no_post = frozenset({"2"})
        for key, room, number in (("gone", "101", "9"), ("barred", "102", "2"), ("empty", "201", "9")):
            await w.session.post(key, Charge(room, 100, "Tea", guest_number=number))
            await until(lambda key=key: state(w, key) == "refused")  # type: ignore[misc]  # bound by default
        told = [w.session.billing.charge(key) for key in ("gone", "barred", "empty")]
        assert [each.status for each in told if each is not None] == ["NG", "NP", "NG"]
        assert (w.pms.posted, said(w, "PS")) == ([], [])
        assert [each for each in said(w, "PR") if each.get("TA")] == []


async def test_an_inquiry_without_an_answer_posts_nothing_and_the_charge_waits(tmp_path: Path) -> None:
    async with posting(tmp_path, **GUESTS) as w:
        w.pms.check_in("88120", "101", "Vidal", "260103")
        w.pms.deaf = frozenset({"PR"})
        await w.session.post("a", TEA)
        await until(lambda: len(said(w, "PR")) == 1)
        await w.pass_time(INQUIRY_WAIT_MS)
        await until(lambda: w.session.billing.charge("a").tries == 1)  # type: ignore[union-attr]  # it is there
        w.pms.drop()
        await until(lambda: w.pms.connections == 2 and w.session.link.takes_records)
        w.pms.deaf = frozenset()
        await w.pass_time(31_000)
        await until(lambda: state(w, "a") == "posted")
        assert (len(w.pms.posted), w.session.billing.unsure) == (1, 0)
        numbers = [each.need("P#") for each in said(w, "PR")]
        assert len(set(numbers)) == len(numbers)


async def test_a_charge_to_a_guest_whose_link_was_lost_is_found_on_his_bill_or_unknown(tmp_path: Path) -> None:
    async with posting(tmp_path, **GUESTS) as w:
        w.pms.check_in("88120", "101", "Vidal", "260103")
        w.pms.script += ["lost_after", "lost_before"]
        await w.session.post("after", TEA)
        await until(lambda: state(w, "after") == "posted")
        await w.session.post("before", Charge("101", 100, "Bread", guest_number="88120"))
        await until(lambda: state(w, "before") == "unknown")
        await until(lambda: w.pms.connections == 3 and w.session.link.takes_records)
        assert len([each for each in said(w, "PR") if each.get("TA")]) == 2
        assert [each.need("TA") for each in w.pms.posted] == ["450"]


@pytest.mark.parametrize("seed", seeds(2, 30))
async def test_guests_are_charged_once_or_told_as_unknown_however_the_link_fares(tmp_path: Path, seed: int) -> None:
    knobs = Knobs(posting_lost=0.2, posting_silent=0.1, posting_later=0.2)
    async with posting(tmp_path, knobs=knobs, seed=seed, **GUESTS) as w:
        for number in range(1, 5):
            w.pms.check_in(str(number), "101", f"Guest {number}", "260103")
        keys = [f"c{each}" for each in range(8)]
        for at, key in enumerate(keys):
            await w.session.post(key, Charge("101", 100 + at, "Tea", guest_number=str(1 + at % 4)))
        for _ in range(400):
            await asyncio.sleep(0.005)
            if w.session.alive:
                await w.pass_time(20_000)
            if all(state(w, key) in ("posted", "refused", "unknown") for key in keys):
                break
        amounts = [int(each.need("TA")) for each in w.pms.posted]
        assert len(set(amounts)) == len(amounts), "nobody is charged twice"
        for at, key in enumerate(keys):
            on_bill = 100 + at in amounts
            assert state(w, key) != "posted" or on_bill
            assert state(w, key) != "refused" or not on_bill
            assert state(w, key) != "waiting"
        for each in w.pms.posted:
            assert each.need("G#") == str(1 + (int(each.need("TA")) - 100) % 4)
