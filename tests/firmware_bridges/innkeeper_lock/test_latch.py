"""The emulated lock holds a door open: over the air, until time, power, a hand, or the desk says otherwise."""

from pathlib import Path

import pytest

from firmware_bridges.ble_radio.backend import BleBackend
from firmware_bridges.guest_phone.phone import Phases, _Talk
from firmware_bridges.innkeeper_lock.link import DoorLink
from protocols import cose
from protocols.door.audit import AuditEvent
from protocols.door.bundle import BundleDoor
from protocols.door.phone import Answer, Latch, PhoneExchange, Request
from protocols.door.status import Status
from protocols.grant.certificate import certify
from protocols.grant.grant import Grant, GrantFlag, sign_grant
from protocols.grant.keys import IssuerClass, compressed, private_key
from protocols.grant.revocation import Lockout, Revocations
from protocols.vectors.fixed import stream
from tests.firmware_bridges.innkeeper_lock.world import START_S, World, config, running, until, world

DOOR = "door-pool"
HOURS_S = 4 * 3_600


def porter(hotel: World, *, until_s: int = START_S + HOURS_S) -> tuple[Latch, Latch, Grant]:
    """A staff key of the pool: the requests to hold it open and to let it go."""
    key, issuer = private_key(stream("porter")), private_key(stream("staff issuer"))
    certificate = certify(hotel.property.ca, issuer.public_key(), IssuerClass.STAFF, START_S - 3_600)
    grant = Grant(
        grant_id=bytes.fromhex("c1c2c3c4c5c6c7c8"),
        issued_at_s=START_S,
        not_before_s=START_S,
        not_after_s=until_s,
        phone=compressed(key.public_key()),
        zones=hotel.property.locks[DOOR].zones,
        flags=GrantFlag.STAFF | GrantFlag.PASSAGE,
    )
    signed = sign_grant(grant, issuer)
    hold, let_go = (
        Latch(each, signed, certificate.encoded, lambda statement: cose.sign_raw(key, statement))
        for each in (True, False)
    )
    return hold, let_go, grant


async def asked(hotel: World, backend: BleBackend, request: Request) -> Answer:
    """One link over the air."""
    phone = await hotel.phone(seed="finder")
    keys = hotel.property.locks[DOOR].door_keys(START_S, START_S + HOURS_S)
    device, _ = await phone._find(BundleDoor(DOOR, DOOR, keys))
    async with DoorLink(backend, device, hotel.clock) as link:
        exchange = PhoneExchange(
            keys,
            request,
            random=stream(f"asked {hotel.clock.now_ms()}"),
            frame_bytes=link.frame_bytes,
            now_ms=hotel.clock.now_ms(),
        )
        return await _Talk(link, hotel.clock, Phases()).until_answered(exchange)


def events(hotel: World) -> list[int]:
    return [each.event for each in hotel.emulator.locks[DOOR].core.records if each.event != AuditEvent.BOLT]


BEGAN, ENDED = AuditEvent.PASSAGE, AuditEvent.PASSAGE_ENDED


@pytest.mark.requirement("P11")
async def test_the_bolt_stays_drawn_beyond_its_time_and_goes_when_it_is_let_go(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        lock, backend = hotel.emulator.locks[DOOR], await hotel.backend()
        hold, let_go, grant = porter(hotel)
        assert (await asked(hotel, backend, hold)).result.status is Status.OPENED
        await until(lambda: lock.bolt_drawn)
        assert len(lock.bolt._timers) <= 2  # the motor comes to rest, and says so: nothing throws the bolt again
        assert (await asked(hotel, backend, let_go)).result.status is Status.DONE
        await until(lambda: not lock.bolt_drawn)
        assert (await asked(hotel, backend, let_go)).result.status is Status.UNCHANGED
        assert events(hotel) == [BEGAN, ENDED]
        told = [(fact["hold"], fact["grant"]) for fact in hotel.facts if fact["event"] == "passage"]
        assert told[:2] == [(True, grant.grant_id.hex()), (False, grant.grant_id.hex())]


@pytest.mark.requirement("P11")
async def test_it_ends_by_itself_when_the_key_does_and_nobody_has_to_come_by(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        lock, backend = hotel.emulator.locks[DOOR], await hotel.backend()
        await asked(hotel, backend, porter(hotel)[0])
        hotel.clock.advance((HOURS_S - 1) * 1_000)
        await lock.tick()
        assert events(hotel) == [BEGAN]
        hotel.clock.advance(1_000)
        await lock.tick()
        assert lock.core.passage is None
        await until(lambda: not lock.bolt_drawn)
        assert events(hotel) == [BEGAN, ENDED]


@pytest.mark.parametrize("how", ["power", "privacy", "withdrawn", "sealed"])
async def test_power_a_knob_and_the_desk_end_it_at_once(tmp_path: Path, how: str) -> None:
    async with world(tmp_path) as hotel:
        lock, backend = hotel.emulator.locks[DOOR], await hotel.backend()
        hold, _, grant = porter(hotel)
        await asked(hotel, backend, hold)
        await until(lambda: lock.bolt_drawn)
        if how == "power":
            await lock.lose_power()
        elif how == "privacy":
            await hotel.emulator._obey("set", {"door": DOOR, "privacy": True})
        elif how == "withdrawn":
            carried = hotel.property.carry(Revocations(START_S, ((grant.grant_id, grant.not_after_s),)))
            assert (await asked(hotel, backend, carried)).result.status is Status.DONE
        else:
            carried = hotel.property.carry(Lockout(lock.identity.lock_id, START_S, True))
            assert (await asked(hotel, backend, carried)).result.status is Status.DONE
        await until(lambda: not lock.bolt_drawn)
        assert lock.core.passage is None
        assert [each for each in events(hotel) if each in (BEGAN, ENDED)] == [BEGAN, ENDED]


@pytest.mark.guarantee("G14")
async def test_a_passage_that_a_restart_cut_off_is_over_and_its_end_is_written_once(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        await asked(hotel, await hotel.backend(), porter(hotel)[0])
        clock, one, settings = hotel.clock, hotel.property, config(hotel.property, tmp_path)
    for _ in range(2):
        async with running(clock, one, settings) as hotel:
            assert not hotel.emulator.locks[DOOR].bolt_drawn
            assert events(hotel) == [BEGAN, ENDED]
