"""What is peculiar to one vendor, beyond the contract suite."""

import asyncio

import msgspec
import pytest
from aiohttp import web

from edge.doors.vendors.port import Truth, VendorBusyError, VendorRefusedError
from edge.doors.vendors.unifi_access import UnifiAccess
from firmware_bridges.lock_systems.misbehaviour import TAME, Trouble
from firmware_bridges.unifi_access.emulator import signature
from kit.clock import ClockQuality
from protocols.errors import LinkLostError, PlatformError
from tests.contract.lock_benches import (
    DAY_MS,
    DOORS,
    HOUR_MS,
    AugustEyes,
    MakesBench,
    SaltoKsEyes,
    SaltoSpaceEyes,
    UnifiEyes,
    VisionlineEyes,
    august_bench,
    salto_ks_bench,
    salto_space_bench,
    unifi_bench,
    visionline_bench,
)

A, B, C = DOORS


@pytest.mark.guarantee("G5")
async def test_unifi_a_push_is_a_hint_only_if_signed_and_fresh() -> None:
    async with unifi_bench(TAME, 1) as bench:
        assert isinstance(bench.system, UnifiAccess)
        now_s, body = bench.now_ms // 1_000, b'{"event":"access.door.unlock"}'
        good = signature("secret", now_s, body)
        assert bench.system.hint("secret", good, body)
        assert not bench.system.hint("other", good, body)
        assert not bench.system.hint("secret", good, body + b" ")
        assert not bench.system.hint("secret", signature("secret", now_s - 301, body), body)
        assert not bench.system.hint("secret", signature("secret", 0, body), body), "its library lets a zero pass"
        for noise in ("", "t=", "t=1", "v1=ab", f"t={now_s}", f"t={now_s},v1=", "t=-5,v1=00", "t=\u0661,v1=00", "t=,,"):
            assert not bench.system.hint("secret", noise, body)


async def test_unifi_another_certificate_than_the_pinned_one_is_told_nothing() -> None:
    async with unifi_bench(TAME, 1) as bench, unifi_bench(TAME, 2) as other:
        bench.system._session.base_url = other.system._session.base_url  # type: ignore[attr-defined]  # an inner part, looked at on purpose
        with pytest.raises(LinkLostError, match="certificate"):
            await bench.system.issue(bench.wanted("grant-0001"))
        assert isinstance(other.eyes, UnifiEyes)
        assert other.eyes.misbehaving.requests == 0


async def test_unifi_the_log_is_read_in_both_of_its_shapes() -> None:
    async with unifi_bench(TAME, 1) as bench:
        assert isinstance(bench.eyes, UnifiEyes)
        made = await bench.system.issue(bench.wanted("grant-0001"))
        assert bench.eyes.works(A, made)
        page = await bench.system.events("")
        bench.eyes.emulator.hits_bare = True
        assert (await bench.system.events("")).events == page.events
        bench.eyes.emulator.log.append({"_id": 5})
        bench.eyes.emulator.log[-1]["_source"] = {"event": {"published": bench.now_ms}, "target": "x"}
        page = await bench.system.events("")
        assert (len(page.events), page.refused) == (1, 1)


@pytest.mark.parametrize("makes", [unifi_bench, visionline_bench, salto_ks_bench, salto_space_bench, august_bench])
async def test_nobody_is_followed_elsewhere_with_a_secret_in_hand(makes: MakesBench) -> None:
    async with makes(TAME, 1) as bench, salto_space_bench(TAME, 2) as elsewhere:
        await bench.system.health()
        to = elsewhere.system._http._base  # type: ignore[attr-defined]  # an inner part, looked at on purpose

        async def away(_request: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{to}/rooms"})

        bench.eyes.misbehaving.answers_with = away
        with pytest.raises(PlatformError):
            await bench.system.health()
        assert elsewhere.eyes.misbehaving.requests == 0


@pytest.mark.requirement("P11")
async def test_visionline_a_new_guest_s_card_ends_the_last_guest_s_when_it_is_shown() -> None:
    async with visionline_bench(TAME, 1) as bench:
        old = await bench.system.issue(bench.wanted("grant-old", (B,)))
        assert bench.eyes.works(B, old)
        ended = await bench.system.revoke("grant-old")
        assert ended.truth is Truth.AT_NEXT_PRESENTATION
        assert bench.eyes.works(B, old), "an off-line lock has not heard of it: so nobody may say that it has"
        new = await bench.system.issue(bench.wanted("grant-new", (B,)))
        assert bench.eyes.works(B, old)
        assert bench.eyes.works(B, new)
        assert not bench.eyes.works(B, old)


async def test_visionline_a_busy_encoder_is_waited_for_and_an_empty_one_is_not() -> None:
    async with visionline_bench(msgspec.structs.replace(TAME, busy=0.6), 4) as bench:
        assert isinstance(bench.eyes, VisionlineEyes)
        made = await bench.insist(bench.wanted("grant-0001"), attempts=30)
        assert bench.eyes.works(A, made)
        assert bench.eyes.emulator.written == 1
        bench.eyes.misbehaving.knobs = msgspec.structs.replace(TAME, busy=1.0)
        with pytest.raises(VendorBusyError) as busy:
            await bench.system.issue(bench.wanted("grant-0002", join=True))
        assert busy.value.wait_ms > 0
        bench.eyes.misbehaving.knobs = TAME
        bench.eyes.emulator.encoders["desk"] = False
        with pytest.raises(VendorRefusedError) as empty:
            await bench.insist(bench.wanted("grant-0002", join=True))
        assert empty.value.code == "noCard"
        assert bench.eyes.emulator.written == 1


async def test_visionline_a_session_that_ended_is_begun_anew_and_nothing_is_done_twice() -> None:
    async with visionline_bench(TAME, 1) as bench:
        assert isinstance(bench.eyes, VisionlineEyes)
        await bench.system.issue(bench.wanted("grant-0001"))
        bench.clock.advance(20 * 60_000)
        await bench.system.issue(bench.wanted("grant-0002", join=True))
        assert bench.eyes.emulator.written == 2
        assert sum(path.endswith("/sessions") for _, path in bench.eyes.misbehaving.seen) == 2


async def test_visionline_minutes_are_rounded_so_that_the_stay_is_whole() -> None:
    async with visionline_bench(TAME, 1) as bench:
        wanted = bench.wanted("grant-0001", from_ms=30_500, until_ms=HOUR_MS + 500)
        await bench.system.issue(wanted)
        [(_, begins, ends)] = bench.eyes.live("grant-0001")
        assert begins <= wanted.not_before_ms < begins + 60_000
        assert ends - 60_000 < wanted.not_after_ms <= ends


@pytest.mark.guarantee("G13")
async def test_salto_ks_one_bad_code_is_the_last_one_sent() -> None:
    async with salto_ks_bench(TAME, 1) as bench:
        assert isinstance(bench.eyes, SaltoKsEyes)
        assert (await bench.system.open_door(A, actor="desk")).truth is Truth.ACCEPTED
        with pytest.raises(VendorBusyError) as again:
            await bench.system.open_door(A, actor="desk")
        assert 0 < again.value.wait_ms <= 30_000
        assert bench.eyes.emulator.bad_codes == 0, "a code is good once: it was not even tried"
        bench.clock.step_wall(35_000)  # ours runs ahead of theirs from here on
        bench.eyes.emulator._clock = type(bench.clock)()
        for _ in range(5):
            bench.clock.advance(31_000)
            with pytest.raises(VendorRefusedError):
                await bench.system.open_door(A, actor="desk")
        assert bench.eyes.emulator.bad_codes == 1
        assert not bench.eyes.emulator.blocked


async def test_salto_ks_an_unsound_clock_sends_no_code() -> None:
    async with salto_ks_bench(TAME, 1) as bench:
        assert isinstance(bench.eyes, SaltoKsEyes)
        bench.clock.quality = ClockQuality.UNCERTAIN
        with pytest.raises(VendorRefusedError, match="clock"):
            await bench.system.open_door(A, actor="desk")
        assert bench.eyes.misbehaving.requests == 0


async def test_salto_ks_many_at_once_sign_in_once_and_the_token_is_kept() -> None:
    async with salto_ks_bench(TAME, 1) as bench:
        wanted = [bench.wanted(f"grant-000{n}", join=True) for n in range(6)]
        await asyncio.gather(*(bench.system.issue(each) for each in wanted))
        assert sum(path == "/connect/token" for _, path in bench.eyes.misbehaving.seen) == 1
        bench.clock.advance(2 * HOUR_MS)
        await bench.system.health()
        assert sum(path == "/connect/token" for _, path in bench.eyes.misbehaving.seen) == 2


async def test_salto_space_a_lost_check_in_is_not_repeated_over_the_key_just_given() -> None:
    async with salto_space_bench(TAME, 1) as bench:
        assert isinstance(bench.eyes, SaltoSpaceEyes)
        bench.eyes.misbehaving.script = [Trouble.NONE, Trouble.NONE, Trouble.LOST_ANSWER]
        made = await bench.insist(bench.wanted("grant-0001"))
        assert bench.eyes.emulator.check_ins == 1
        joiner = await bench.system.issue(bench.wanted("grant-0002", join=True, until_ms=HOUR_MS))
        assert bench.eyes.emulator.check_ins == 1
        assert bench.eyes.works(A, made)
        assert bench.eyes.works(A, joiner)
        guest = await bench.system.issue(bench.wanted("grant-0003", until_ms=2 * DAY_MS))
        assert bench.eyes.works(A, guest)
        assert not bench.eyes.works(A, made), "the next guest's check-in ends the last guest's"


@pytest.mark.guarantee("G17")
async def test_august_accepted_is_not_confirmed_before_the_lock_has_it() -> None:
    async with august_bench(TAME, 1) as bench:
        assert isinstance(bench.eyes, AugustEyes)
        bench.eyes.emulator.programs_at_once = False
        wanted = bench.wanted("grant-0001", (A, B))
        made = await bench.system.issue(wanted)
        assert made.truth is Truth.ACCEPTED
        assert not bench.eyes.works(A, made)
        assert (await bench.system.issue(wanted)).truth is Truth.ACCEPTED
        bench.eyes.emulator.program()
        assert (await bench.system.issue(wanted)).truth is Truth.CONFIRMED
        assert bench.eyes.works(B, made)


async def test_august_full_slots_and_an_absent_bridge_are_refusals_and_a_bridge_in_use_is_not() -> None:
    async with august_bench(TAME, 1) as bench:
        assert isinstance(bench.eyes, AugustEyes)
        for number in range(20):
            await bench.system.issue(bench.wanted(f"grant-{number:04}"))
        with pytest.raises(VendorRefusedError) as full:
            await bench.system.issue(bench.wanted("grant-0099"))
        assert full.value.code == "NoSlots"
        bench.eyes.misbehaving.knobs = msgspec.structs.replace(TAME, busy=1.0)
        with pytest.raises(VendorBusyError):
            await bench.system.open_door(A, actor="desk")
        bench.eyes.misbehaving.knobs = TAME
        bench.eyes.emulator.bridge_away = True
        with pytest.raises(PlatformError) as away:
            await bench.system.open_door(A, actor="desk")
        assert not away.value.may_have_taken_effect
        assert bench.eyes.opened(A) == 0
        assert (await bench.system.health())[A].online is False
        assert C in await bench.system.health()
