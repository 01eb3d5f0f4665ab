"""A phone that shares no code with the lock: what SPEC.md says is enough to open, and to be refused by name."""

import struct
from pathlib import Path
from typing import Any

import pytest

from firmware_bridges.ble_radio.backend import BleBackend
from protocols.grant.keys import private_key
from tests.firmware_bridges.innkeeper_lock.stranger import (
    Door,
    HintError,
    Key,
    Link,
    OverError,
    grant_of,
    linked,
    point,
)
from tests.firmware_bridges.innkeeper_lock.world import START_S, World, world

pytestmark = [pytest.mark.guarantee("G5"), pytest.mark.requirement("P1", "P2", "P4")]
OPENED, DONE, NEED_FULL, MALFORMED = 0x00, 0x01, (4, 0), (2, 0)


class Stranger:
    """The stranger's phone in a hotel of ours."""

    def __init__(self, hotel: World, backend: BleBackend) -> None:
        self.hotel, self.backend, self._grants = hotel, backend, 0
        self.key: Key = private_key(hotel.property.random)
        self.guest: Key = hotel.property._guest
        self.certificate = hotel.property.guest.encoded

    def at(self, door: str) -> Any:
        lock = self.hotel.property.locks[door]
        return linked(self.backend, Door(lock.lock_id, lock.s_lock, lock.eik_root, START_S))

    def grant(self, **fields: Any) -> bytes:
        self._grants += 1
        fields = {"f1": [101], "f4": self.hotel.property.generation(1), **fields}
        return grant_of(self.guest, self.key, START_S, self._grants.to_bytes(8, "big"), **fields)

    async def shows(self, grant: bytes, door: str = "door-101", key: Key | None = None, **more: Any) -> int:
        async with self.at(door) as link:
            answer = await link.open(lambda it: it.unlock(grant, self.certificate, key or self.key, **more))
        return int(answer[0])


def status(_link: Link) -> bytes:
    return b"\x04"


async def test_it_opens_in_full_comes_back_fast_and_nothing_it_said_opens_again(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = Stranger(hotel, await hotel.backend())
        grant = phone.grant()
        async with phone.at("door-101") as link:
            first = link.first(lambda it: it.unlock(grant, phone.certificate, phone.key))
            await link.say(first)
            assert len(answer := await link.answer()) == 35
            assert (answer[0], struct.unpack(">I", answer[5:9])[0]) == (OPENED, START_S)
            assert (await link.more(lambda _: b"\x05"))[0] == DONE
            secret = link.secret
        async with phone.at("door-101") as link:
            await link.say(first)
            with pytest.raises(OverError):
                await link.message()
        async with phone.at("door-101") as link:
            spoken, following = link.fast(secret)
            await link.say(spoken)
            assert (await link.answer())[0] == OPENED
        async with phone.at("door-101") as link:
            await link.say(spoken)
            with pytest.raises(HintError) as hint:
                await link.answer()
            assert hint.value.args == NEED_FULL
            assert (await link.open(status))[0] == DONE, "the same CHAL takes OPEN"
        async with phone.at("door-101") as link:
            spoken, _ = link.fast(following)
            await link.say(spoken[:-1] + bytes([spoken[-1] ^ 1]))
            with pytest.raises(HintError):
                await link.answer()
            await link.say(spoken)
            with pytest.raises(HintError) as hint:
                await link.answer()
            assert hint.value.args == MALFORMED, "one FAST a challenge"
        assert hotel.motors("door-101") == 2


async def test_what_is_not_its_right_is_refused_by_the_number_in_the_page(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = Stranger(hotel, await hotel.backend())
        other: Key = private_key(hotel.property.random)
        day = START_S // 86_400
        assert point(other) != point(phone.key)
        cases: list[tuple[str, int, bytes, Key | None]] = [
            ("door-102", 0x12, phone.grant(), None),
            ("door-101", 0x11, phone.grant(), other),
            ("door-101", 0x19, phone.grant(f5=0), None),
            ("door-102", 0x1A, phone.grant(f1=[102], f11=1), None),
            ("door-102", 0x1A, phone.grant(f1=[102], f5=64), None),
            ("door-102", 0x1C, phone.grant(f1=[102], f5=32), None),
            ("door-pool", 0x1F, phone.grant(f1=None, f4=None, f3=4, f5=16), None),
            ("door-101", 0x15, phone.grant(f4=(day + 2) << 8), None),
        ]
        for door, number, grant, key in cases:
            assert await phone.shows(grant, door, key) == number, (door, hex(number))
        assert [hotel.motors(door) for door in ("door-101", "door-102", "door-pool")] == [0, 0, 0]
        assert await phone.shows(phone.grant(f1=None, f4=None, f3=4, f5=16), "door-pool", verified=1) == OPENED
