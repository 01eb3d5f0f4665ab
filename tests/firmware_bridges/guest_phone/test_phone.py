"""The phone opens what it may, says why it may not, and tries again what does no harm twice."""

from dataclasses import replace
from pathlib import Path

import pytest
from bumble import att
from bumble.gatt_client import Client

from firmware_bridges.guest_phone.phone import Ending, GuestPhone
from firmware_bridges.guest_phone.sentences import Cause
from firmware_bridges.innkeeper_lock.lock import Conversation
from protocols.door.bundle import Bundle, BundleDoor
from protocols.door.throttle import THROTTLE_MOST_MS, Throttle
from protocols.errors import InvalidInputError, RefusalReason, UnsupportedVersionError
from protocols.grant.certificate import certify
from protocols.grant.grant import NO_FLAGS, Grant, GrantFlag, sign_grant
from protocols.grant.keys import IssuerClass, private_key
from protocols.vectors.fixed import stream
from tests.firmware_bridges.innkeeper_lock.world import HELD, IDEAL_AIR, START_S, World, world

DAY_S = 86_400


@pytest.mark.requirement("P2")
async def test_the_guest_opens_the_room_and_the_bolt_really_moves(tmp_path: Path) -> None:
    async with world(tmp_path, knobs=HELD) as hotel:
        phone = await hotel.guest("door-101")
        assert not hotel.emulator.locks["door-101"].push()
        opening = await phone.open("door-101")
        assert opening.ending is Ending.OPENED, opening
        assert opening.spoken == "The door is open."
        assert hotel.motors("door-101") == 1
        assert hotel.emulator.locks["door-101"].push()
        assert hotel.motors("door-102") == 0
        phases = opening.phases
        spent = [phases.scan_ms, phases.connect_ms, phases.subscribe_ms, phases.challenge_ms, phases.answer_ms]
        assert all(each is not None and each >= 0 for each in spent)
        assert sum(each or 0 for each in spent) <= phases.total_ms
        hotel.emulator.locks["door-101"].bolt.throw()
        assert hotel.truth("door-101")["bolt"] == "thrown"


async def test_the_second_opening_sends_the_certificates_id_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101", "door-102")
        for _ in range(3):
            assert (await phone.open("door-101")).ending is Ending.OPENED
        assert (await phone.open("door-102")).ending is Ending.OPENED
        assert hotel.motors("door-101") == 3


@pytest.mark.requirement("P5")
async def test_a_lock_that_forgot_the_certificate_asks_for_it_on_the_same_link(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101", "door-102")
        assert (await phone.open("door-101")).ending is Ending.OPENED
        phone._certificate_known.add(hotel.property.locks["door-102"].lock_id)  # it never saw door 102
        opening = await phone.open("door-102")
        assert (opening.ending, opening.tries) == (Ending.OPENED, 1)


@pytest.mark.requirement("P2")
async def test_who_was_let_in_once_comes_back_by_fast_and_so_after_the_locks_power_went(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101", "door-pool")
        lock = hotel.emulator.locks["door-101"]
        assert [(await phone.open("door-101")).fast for _ in range(3)] == [False, True, True]
        assert [(await phone.open("door-pool")).fast for _ in range(2)] == [False, True]
        assert len(lock.core.passes) == 1
        async with lock._changing:  # the bolt may be coming to rest, which is being written then
            kept = lock._file.read()
            assert kept is not None
            assert kept.core == lock.core  # durable: passes and all
        await lock.lose_power()
        no_clock = await phone.open("door-101")  # without certain time no pass is used: referred, on the same link
        assert (no_clock.ending, no_clock.fast, no_clock.tries) == (Ending.OPENED, False, 1)
        assert hotel.motors("door-101") == 4


@pytest.mark.requirement("P5")
async def test_a_pass_that_the_lock_has_no_more_costs_a_full_exchange_on_the_same_link(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        assert (await phone.open("door-101")).ending is Ending.OPENED
        lock = hotel.emulator.locks["door-101"]
        await lock._change(lambda memory: replace(memory, core=replace(memory.core, passes=())))
        opening = await phone.open("door-101")
        assert (opening.ending, opening.fast, opening.tries) == (Ending.OPENED, False, 1)
        assert (await phone.open("door-101")).fast
        await hotel.emulator._obey("set", {"do": "set", "door": "door-101", "privacy": True})
        refused = await phone.open("door-101")
        assert (refused.ending, refused.cause) == (Ending.REFUSED, RefusalReason.PRIVACY_ON)


async def test_a_lock_that_has_lost_its_clock_keeps_no_pass_now_and_is_asked_again(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        lock = hotel.emulator.locks["door-101"]
        await lock.lose_power()
        for _ in range(2):
            assert not (await phone.open("door-101")).fast
        assert lock.core.passes == ()
        at_s = lock.core.floor_s
        sound = replace(lock.core, certain=True, offset_s=at_s - lock.sensed.rtc_s, synced_at_s=at_s)
        await lock._change(lambda memory: replace(memory, core=sound))
        assert [(await phone.open("door-101")).fast for _ in range(2)] == [False, True]


async def test_a_limited_grant_is_asked_about_once_and_then_goes_on_in_full(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101", uses_most=5)
        for _ in range(3):
            opening = await phone.open("door-101")
            assert (opening.ending, opening.fast) == (Ending.OPENED, False)
        assert hotel.emulator.locks["door-101"].core.passes == ()


async def test_common_doors_open_by_zone(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101", "door-pool")
        assert (await phone.open("door-pool")).ending is Ending.OPENED


def doormans(hotel: World, phone: GuestPhone) -> Bundle:
    """A shift key of the pool with which it may be held open."""
    lock, issuer = hotel.property.locks["door-pool"], private_key(stream("staff issuer"))
    certificate = certify(hotel.property.ca, issuer.public_key(), IssuerClass.STAFF, START_S - 3_600)
    grant = Grant(
        grant_id=bytes.fromhex("c1c2c3c4c5c6c7c8"),
        issued_at_s=START_S,
        not_before_s=START_S,
        not_after_s=START_S + 3_600,
        phone=bytes.fromhex(phone.public_key),
        zones=lock.zones,
        flags=GrantFlag.STAFF | GrantFlag.PASSAGE,
    )
    keys = lock.door_keys(START_S, START_S + 3_600)
    return Bundle(
        stay="staff/doorman",
        grant=sign_grant(grant, issuer),
        certificate=certificate.encoded,
        not_before_ms=START_S * 1_000,
        not_after_ms=(START_S + 3_600) * 1_000,
        doors=(BundleDoor("door-pool", "Pool", keys),),
    )


@pytest.mark.requirement("P11")
async def test_a_doorman_holds_a_common_door_open_and_lets_it_go_and_a_guest_cannot(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        doorman, guest = await hotel.phone(), await hotel.guest("door-101", "door-pool")
        doorman.load_bundle(doormans(hotel, doorman).to_document())
        held = await doorman.open("door-pool", hold=True)
        assert (held.ending, hotel.motors("door-pool")) == (Ending.OPENED, 1)
        again = await doorman.open("door-pool", hold=True)
        assert (again.ending, again.fast) == (Ending.OPENED, False), "there is no LATCH by FAST"
        for hold in (True, False):
            refused = await guest.open("door-pool", hold=hold)
            assert (refused.ending, refused.cause) == (Ending.REFUSED, RefusalReason.NOT_ALLOWED)
        for _ in range(2):  # and once more, by the certificate's id alone
            let_go = await doorman.open("door-pool", hold=False)
            assert (let_go.ending, let_go.cause) == (Ending.DONE, None)
            assert let_go.spoken == "The door is held open no longer."
        assert (await guest.open("door-pool")).ending is Ending.OPENED


@pytest.mark.requirement("P4")
async def test_the_neighbours_door_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101", tell_of=["door-102"])
        opening = await phone.open("door-102")
        assert (opening.ending, opening.cause) == (Ending.REFUSED, RefusalReason.WRONG_DOOR)
        assert opening.spoken == "This key is for another door."
        assert hotel.motors("door-102") == 0


@pytest.mark.requirement("P5")
async def test_the_next_guests_key_voids_the_last_ones(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        last = await hotel.guest("door-101", generation=1)
        assert (await last.open("door-101")).ending is Ending.OPENED
        following = await hotel.guest("door-101", generation=2)
        assert (await following.open("door-101")).ending is Ending.OPENED
        assert (await last.open("door-101")).cause is RefusalReason.SUPERSEDED
        assert hotel.motors("door-101") == 2


async def test_a_thief_with_the_bundle_and_another_phone_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        owner, thief = await hotel.phone(), await hotel.phone()
        thief.load_bundle(hotel.bundle(owner, "door-101").to_document())
        opening = await thief.open("door-101")
        assert (opening.ending, opening.cause) == (Ending.REFUSED, RefusalReason.BAD_SIGNATURE)
        assert hotel.motors("door-101") == 0


async def test_the_deadbolt_keeps_out_whoever_would_promote(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        await hotel.emulator._obey("set", {"do": "set", "door": "door-101", "privacy": True})
        opening = await (await hotel.guest("door-101")).open("door-101")
        assert opening.cause is RefusalReason.PRIVACY_ON
        assert hotel.motors("door-101") == 0


async def test_the_battery_is_told_with_every_answer(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        await hotel.emulator._obey("set", {"do": "set", "door": "door-101", "battery_percent": 14})
        opening = await (await hotel.guest("door-101")).open("door-101")
        assert opening.result is not None
        assert opening.result.battery_percent == 14


# -- before anything is sent ------------------------------------------------------------------------------------------


async def test_one_plain_sentence_for_each_cause(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = GuestPhone(await hotel.backend(), hotel.clock, hotel.emulator._dice)
        assert phone.preflight("door-101") is Cause.NO_KEY
        phone.new_key()
        assert phone.preflight("door-101") is Cause.NO_BUNDLE
        phone.load_bundle(hotel.bundle(phone, "door-101").to_document())
        assert phone.preflight("door-102") is Cause.UNKNOWN_DOOR
        assert phone.preflight("door-101") is None
        phone.load_bundle(hotel.bundle(phone, "door-101", valid_s=(DAY_S, 2 * DAY_S)).to_document())
        assert phone.preflight("door-101") is Cause.NOT_YET_VALID
        hotel.clock.step_wall(3 * DAY_S * 1_000)
        assert phone.preflight("door-101") is Cause.EXPIRED
        opening = await phone.open("door-101")
        assert (opening.ending, opening.tries, opening.spoken) == (Ending.FAILED, 0, "This key has expired.")
    sentences = [cause.spoken for cause in Cause]
    assert len(set(sentences)) == len(sentences)
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in sentences)


async def test_a_door_out_of_reach_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        await hotel.emulator._obey("set", {"do": "set", "door": "door-101", "powered": False})
        with monkeypatch.context() as impatient:
            impatient.setattr("firmware_bridges.guest_phone.phone.SCAN_WAIT_MS", 60)
            opening = await phone.open("door-101")
        assert (opening.ending, opening.cause) == (Ending.FAILED, Cause.OUT_OF_REACH)
        await hotel.emulator._obey("set", {"do": "set", "door": "door-101", "powered": True})
        assert (await phone.open("door-101")).ending is Ending.OPENED  # by its fallback id: the clock is lost


async def test_bluetooth_that_went_away_is_said_to_have(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        await hotel.radios[-1].close()
        opening = await phone.open("door-101")
        assert (opening.ending, opening.cause) == (Ending.FAILED, Cause.NO_BLUETOOTH)


# -- on a bad air -----------------------------------------------------------------------------------------------------


async def test_a_link_lost_before_the_door_was_asked_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridges.ble_radio.air.DROP_WITHIN_MS", 1)
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        hotel.emulator.air.conditions.drop = 1.0
        opening = await phone.open("door-101")
        assert (opening.ending, opening.cause, opening.tries) == (Ending.FAILED, Cause.LINK_LOST, 3)
        assert hotel.motors("door-101") == 0
        hotel.emulator.air.conditions.drop = 0.0
        assert (await phone.open("door-101")).ending is Ending.OPENED


def losing_answers(hotel: World, times: int) -> None:
    """The motor turns, and the link breaks before the answer leaves."""
    lock = hotel.emulator.locks["door-101"]
    draw, cut = lock.draw_bolt, lock.peripheral.cut
    left = [times]

    def draw_and_die(link: Conversation, by: bytes) -> None:
        draw(link, by)
        if left[0]:
            left[0] -= 1
            cut()

    lock.draw_bolt = draw_and_die  # type: ignore[method-assign]  # replaced to look first


@pytest.mark.requirement("P11")
@pytest.mark.parametrize("flags", [NO_FLAGS, GrantFlag.ONE_SHOT])
async def test_a_lost_answer_is_asked_for_again_in_the_same_tap_and_costs_one_use(
    tmp_path: Path, flags: GrantFlag
) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101", flags=flags)
        losing_answers(hotel, 1)
        opening = await phone.open("door-101")
        assert (opening.ending, opening.cause, opening.tries) == (Ending.OPENED, None, 2)
        assert [count for _, count, _ in hotel.emulator.locks["door-101"].core.uses] == ([1] if flags else [])


async def test_a_fast_answer_that_was_lost_is_asked_for_again_by_fast(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        assert (await phone.open("door-101")).ending is Ending.OPENED
        for _ in range(2):
            losing_answers(hotel, 1)
            opening = await phone.open("door-101")
            assert (opening.ending, opening.fast, opening.tries) == (Ending.OPENED, True, 2)


@pytest.mark.requirement("P11")
async def test_used_up_by_its_own_unanswered_try_is_told_as_unknown_and_not_as_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101", flags=GrantFlag.ONE_SHOT)
        losing_answers(hotel, 1)
        lock = hotel.emulator.locks["door-101"]
        cut = lock.peripheral.cut

        def cut_and_lose_power() -> object:
            lock._memory = replace(lock._memory, core=replace(lock.core, lately=()))  # as after ten seconds
            return cut()

        lock.peripheral.cut = cut_and_lose_power
        losing_answers(hotel, 1)
        opening = await phone.open("door-101")
        assert (opening.ending, opening.cause) == (Ending.UNKNOWN, Cause.NO_ANSWER)
        assert hotel.motors("door-101") == 1
        again = await phone.open("door-101")
        assert (again.ending, again.cause) == (Ending.REFUSED, RefusalReason.USED_UP)


async def pausing(hotel: World, door: str, lots: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock pauses public-key work, and these are its lots, the last one for ever."""
    monkeypatch.setattr("firmware_bridges.guest_phone.phone.BUSY_PAUSE_MS", 1)
    monkeypatch.setattr("protocols.door.lock.let_through", lambda _: lots.pop(0) if len(lots) > 1 else lots[0])
    lock = hotel.emulator.locks[door]
    throttle = Throttle((), THROTTLE_MOST_MS, lock.clock.now_ms() + 600_000)
    await lock._change(lambda memory: replace(memory, core=replace(memory.core, throttle=throttle)))


@pytest.mark.requirement("P14")
async def test_a_lock_that_somebody_keeps_busy_is_asked_again_until_the_lot_lets_the_guest_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        await pausing(hotel, "door-101", [False] * 5 + [True], monkeypatch)
        opening = await phone.open("door-101")
        assert (opening.ending, opening.tries) == (Ending.OPENED, 6)
        assert hotel.motors("door-101") == 1
        assert (await phone.open("door-101")).fast


@pytest.mark.requirement("P14")
async def test_a_lock_that_stays_busy_is_told_of_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware_bridges.guest_phone.phone.BUSY_TRIES_MAX", 5)
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        await pausing(hotel, "door-101", [False], monkeypatch)
        opening = await phone.open("door-101")
        assert (opening.ending, opening.cause, opening.tries) == (Ending.REFUSED, RefusalReason.BUSY, 5)
        assert hotel.motors("door-101") == 0


@pytest.mark.requirement("P14")
async def test_a_certificate_asked_for_in_a_pause_is_brought_at_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        await pausing(hotel, "door-101", [True], monkeypatch)
        phone._certificate_known.add(hotel.property.locks["door-101"].lock_id)  # the lock has forgotten
        opening = await phone.open("door-101")
        assert (opening.ending, opening.tries) == (Ending.OPENED, 2)


async def test_a_door_that_never_answers_leaves_the_guest_to_try_the_handle(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        losing_answers(hotel, 9)
        opening = await phone.open("door-101")
        assert (opening.ending, opening.cause, opening.tries) == (Ending.UNKNOWN, Cause.NO_ANSWER, 3)
        assert hotel.motors("door-101") == 3


@pytest.mark.parametrize("channel", ["none", "works"])
@pytest.mark.parametrize("seed", range(4))
async def test_on_a_mildly_bad_air_what_the_phone_says_is_what_happened(
    tmp_path: Path, seed: int, channel: str
) -> None:
    bad = {"connection_interval_ms": 8, "advert_loss": 0.2, "packet_loss": 0.1, "late": 0.2, "late_ms": 30, "drop": 0.2}
    async with world(tmp_path, air=bad, seed=seed, knobs={"channel": channel}) as hotel:
        phone = await hotel.guest("door-101")
        certain = possible = 0
        for _ in range(5):
            opening = await phone.open("door-101")
            certain += opening.ending is Ending.OPENED
            possible += opening.tries  # each may have moved the bolt, whatever came back
        assert certain <= hotel.motors("door-101") <= possible


# -- what it is given -------------------------------------------------------------------------------------------------


async def test_a_bundle_of_nonsense_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        worthless: list[object] = [{}, {"v": 1}, [], None, "x"]
        for nonsense in worthless:
            with pytest.raises(InvalidInputError):
                phone.load_bundle(nonsense)
        with pytest.raises(UnsupportedVersionError):
            phone.load_bundle({"v": 2})
        assert phone.preflight("door-101") is None


async def test_a_new_key_forgets_the_old_ones_bundle(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        before = phone.public_key
        assert phone.new_key() != before
        assert phone.preflight("door-101") is Cause.NO_BUNDLE


async def test_the_clock_of_the_test_is_the_locks(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        assert hotel.truth("door-101")["time_s"] == START_S


@pytest.mark.requirement("P2")
async def test_lost_events_cost_the_phone_no_further_round_trips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The MTU's answer then comes with the next question, which must be answered at that MTU already."""
    asked: list[str] = []
    request = Client.send_request

    async def counted(self: Client, pdu: att.ATT_PDU) -> att.ATT_PDU:
        asked.append(type(pdu).__name__)
        answer: att.ATT_PDU = await request(self, pdu)
        return answer

    monkeypatch.setattr(Client, "send_request", counted)
    air = {**IDEAL_AIR, "connection_interval_ms": 8, "packet_loss": 0.3}
    async with world(tmp_path, air=air) as hotel:
        phone = await hotel.guest("door-101")
        for _ in range(8):
            assert (await phone.open("door-101")).ending is Ending.OPENED
    assert asked.count("ATT_Exchange_MTU_Request") >= 8
    assert "ATT_Find_Information_Request" not in asked
