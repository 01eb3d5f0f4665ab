"""A bench for each foreign lock system: its adapter, the emulator on a loopback socket, and eyes behind the counter."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from edge.doors.vendors.august import August
from edge.doors.vendors.http import tls
from edge.doors.vendors.insist import insist
from edge.doors.vendors.port import KeyMade, LockSystem, Medium, WantedKey
from edge.doors.vendors.salto_ks import SaltoKs
from edge.doors.vendors.salto_space import SaltoSpace
from edge.doors.vendors.unifi_access import UnifiAccess
from edge.doors.vendors.visionline import Visionline
from firmware_bridges.august.emulator import AugustEmulator
from firmware_bridges.lock_systems.misbehaviour import Knobs, Misbehaving, served
from firmware_bridges.salto.ks_emulator import SaltoKsEmulator, seed_text
from firmware_bridges.salto.space_emulator import SaltoSpaceEmulator
from firmware_bridges.unifi_access.emulator import UnifiEmulator, self_signed
from firmware_bridges.visionline.emulator import STAMP, VisionlineEmulator
from kit.clock import ManualClock, SystemClock
from kit.dice import SeededDice

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DOORS = ("door-a", "door-b", "door-c")
ZONE = "Europe/Vienna"
SECRET = "s3cret-never-shown"
ANSWER_WAIT_S = 5.0


class Eyes(Protocol):
    """What stands behind the counter, and does not lie."""

    @property
    def misbehaving(self) -> Misbehaving: ...

    def live(self, grant: str) -> list[tuple[tuple[str, ...], int, int]]:
        """The keys of a grant that the vendor holds: doors, from and until in unix ms."""
        ...

    def works(self, door: str, made: KeyMade) -> bool:
        """Use the key at the door."""
        ...

    def opened(self, door: str) -> int:
        """How often it was opened from afar."""
        ...


@dataclass
class Bench:
    """One vendor."""

    system: LockSystem
    eyes: Eyes
    clock: ManualClock
    serial: int = 0

    @property
    def now_ms(self) -> int:
        return self.clock.wall_ms()

    def wanted(
        self,
        grant: str,
        doors: tuple[str, ...] = DOORS[:1],
        *,
        from_ms: int = -HOUR_MS,
        until_ms: int = DAY_MS,
        join: bool = False,
        medium: Medium | None = None,
    ) -> WantedKey:
        self.serial += 1
        medium = medium or self.system.abilities.media[0]
        return WantedKey(
            grant,
            doors,
            self.now_ms + from_ms,
            self.now_ms + until_ms,
            medium,
            join=join,
            encoder="desk" if medium == "card" else None,
            pin=f"{abs(hash_of(grant)) % 10**6:06d}" if medium == "pin" else None,
        )

    async def insist(self, wanted: WantedKey, *, attempts: int = 12) -> KeyMade:
        return await insist(
            lambda: self.system.issue(wanted),
            what="issue",
            deadline_s=30,
            clock=SystemClock("host"),
            dice=SeededDice(1),
            attempts_most=attempts,
            sleep=_soon,
        )


async def _soon(_seconds: float) -> None:
    """Do not wait: the emulator has no patience to be tried."""


def hash_of(grant: str) -> int:
    return int.from_bytes(grant.encode()[-7:], "big")


class MakesBench(Protocol):
    def __call__(
        self, knobs: Knobs, seed: int, *, answer_wait_s: float = ANSWER_WAIT_S
    ) -> AbstractAsyncContextManager[Bench]: ...


class UnifiEyes:
    def __init__(self, emulator: UnifiEmulator) -> None:
        self.emulator = emulator

    @property
    def misbehaving(self) -> Misbehaving:
        return self.emulator.misbehaving

    def live(self, grant: str) -> list[tuple[tuple[str, ...], int, int]]:
        return [
            (tuple(sorted(each.doors)), each.start_time * 1_000, each.end_time * 1_000)
            for each in self.emulator.visitors.values()
            if each.last_name == grant
        ]

    def works(self, door: str, made: KeyMade) -> bool:
        assert made.code is not None
        return self.emulator.opens(door, made.code)

    def opened(self, door: str) -> int:
        return self.emulator.doors[door].opened


@asynccontextmanager
async def unifi_bench(knobs: Knobs, seed: int, *, answer_wait_s: float = ANSWER_WAIT_S) -> AsyncIterator[Bench]:
    clock = ManualClock()
    emulator = UnifiEmulator(doors=list(DOORS), token=SECRET, clock=clock, dice=SeededDice(seed), knobs=knobs)
    context, pin = self_signed(SystemClock("host"))
    async with served(emulator.app(), context) as port:
        system = UnifiAccess(
            f"https://127.0.0.1:{port}",
            token=SECRET,
            clock=clock,
            answer_wait_s=answer_wait_s,
            verify=tls(None, pin),
        )
        try:
            yield Bench(system, UnifiEyes(emulator), clock)
        finally:
            await system.close()
            await emulator.misbehaving.settle()


class VisionlineEyes:
    def __init__(self, emulator: VisionlineEmulator) -> None:
        self.emulator = emulator

    @property
    def misbehaving(self) -> Misbehaving:
        return self.emulator.misbehaving

    def live(self, grant: str) -> list[tuple[tuple[str, ...], int, int]]:
        return [
            (each.doors, _ms(each.start), _ms(each.expire))
            for each in self.emulator.cards.values()
            if each.holder == grant and not each.cancelled
        ]

    def works(self, door: str, made: KeyMade) -> bool:
        return self.emulator.present(made.key, door)

    def opened(self, door: str) -> int:
        return self.emulator.locks[door].opened


def _ms(stamp: str) -> int:
    return round(datetime.strptime(stamp, STAMP).replace(tzinfo=ZoneInfo(ZONE)).timestamp() * 1_000)


@asynccontextmanager
async def visionline_bench(knobs: Knobs, seed: int, *, answer_wait_s: float = ANSWER_WAIT_S) -> AsyncIterator[Bench]:
    clock = ManualClock()
    emulator = VisionlineEmulator(
        doors=list(DOORS),
        online=[DOORS[0]],
        encoders=["desk"],
        username="innkeeper",
        password=SECRET,
        zone=ZONE,
        clock=clock,
        dice=SeededDice(seed),
        knobs=knobs,
    )
    async with served(emulator.app()) as port:
        system = Visionline(
            f"http://127.0.0.1:{port}",
            username="innkeeper",
            password=SECRET,
            zone=ZONE,
            clock=clock,
            answer_wait_s=answer_wait_s,
        )
        try:
            yield Bench(system, VisionlineEyes(emulator), clock)
        finally:
            await system.close()
            await emulator.misbehaving.settle()


class SaltoKsEyes:
    def __init__(self, emulator: SaltoKsEmulator) -> None:
        self.emulator = emulator

    @property
    def misbehaving(self) -> Misbehaving:
        return self.emulator.misbehaving

    def live(self, grant: str) -> list[tuple[tuple[str, ...], int, int]]:
        aliases = {each.user_id: each.alias for each in self.emulator.users.values()}
        return [
            (tuple(sorted(each.locks)), _iso_ms(each.begins), _iso_ms(each.ends))
            for each in self.emulator.groups.values()
            if any(aliases.get(user) == grant for user in each.users)
        ]

    def works(self, door: str, made: KeyMade) -> bool:
        assert made.code is not None
        return self.emulator.opens(door, made.code)

    def opened(self, door: str) -> int:
        return self.emulator.opened[door]


def _iso_ms(stamp: str | None) -> int:
    return 0 if stamp is None else round(datetime.fromisoformat(stamp).timestamp() * 1_000)


SEED = b"0123456789abcdefghij"


@asynccontextmanager
async def salto_ks_bench(knobs: Knobs, seed: int, *, answer_wait_s: float = ANSWER_WAIT_S) -> AsyncIterator[Bench]:
    clock = ManualClock()
    emulator = SaltoKsEmulator(
        site="site-1",
        locks=list(DOORS),
        client="innkeeper",
        client_secret=SECRET,
        refresh_token=SECRET,
        otp_seed=SEED,
        clock=clock,
        dice=SeededDice(seed),
        knobs=knobs,
    )
    kept: list[str] = []
    async with served(emulator.app()) as port:
        system = SaltoKs(
            f"http://127.0.0.1:{port}",
            identity_url=f"http://127.0.0.1:{port}",
            site="site-1",
            client_id="innkeeper",
            client_secret=SECRET,
            refresh_token=SECRET,
            keep_refresh_token=kept.append,
            otp_seed=seed_text(SEED),
            clock=clock,
            answer_wait_s=answer_wait_s,
        )
        try:
            yield Bench(system, SaltoKsEyes(emulator), clock)
        finally:
            await system.close()
            await emulator.misbehaving.settle()


class SaltoSpaceEyes:
    def __init__(self, emulator: SaltoSpaceEmulator) -> None:
        self.emulator = emulator

    @property
    def misbehaving(self) -> Misbehaving:
        return self.emulator.misbehaving

    def live(self, grant: str) -> list[tuple[tuple[str, ...], int, int]]:
        """A key a room: those of one window are one key; two for one room are two."""
        windows: dict[tuple[str, str], list[str]] = {}
        for each in self.emulator.keys.values():
            if each.reference == grant:
                windows.setdefault((each.start, each.end), []).append(each.room)
        return [(tuple(sorted(rooms)), _iso_ms(start), _iso_ms(end)) for (start, end), rooms in windows.items()]

    def works(self, door: str, made: KeyMade) -> bool:
        return any(self.emulator.opens(door, each) for each in made.key.split(","))

    def opened(self, door: str) -> int:
        return 0


@asynccontextmanager
async def salto_space_bench(knobs: Knobs, seed: int, *, answer_wait_s: float = ANSWER_WAIT_S) -> AsyncIterator[Bench]:
    clock = ManualClock()
    emulator = SaltoSpaceEmulator(rooms=list(DOORS), token=SECRET, clock=clock, dice=SeededDice(seed), knobs=knobs)
    async with served(emulator.app()) as port:
        system = SaltoSpace(f"http://127.0.0.1:{port}", token=SECRET, clock=clock, answer_wait_s=answer_wait_s)
        try:
            yield Bench(system, SaltoSpaceEyes(emulator), clock)
        finally:
            await system.close()
            await emulator.misbehaving.settle()


def _keep_nothing(_token: str) -> None:
    """The bench is shorter than any token's life."""


class AugustEyes:
    def __init__(self, emulator: AugustEmulator) -> None:
        self.emulator = emulator

    @property
    def misbehaving(self) -> Misbehaving:
        return self.emulator.misbehaving

    def live(self, grant: str) -> list[tuple[tuple[str, ...], int, int]]:
        """A PIN a lock: those of one window are one key; two at one lock are two."""
        windows: dict[tuple[str, str], list[str]] = {}
        for each in self.emulator.pins.values():
            if each.last_name == grant:
                windows.setdefault((each.start, each.end), []).append(each.lock)
        return [(tuple(sorted(locks)), _iso_ms(start), _iso_ms(end)) for (start, end), locks in windows.items()]

    def works(self, door: str, made: KeyMade) -> bool:
        assert made.code is not None
        return self.emulator.opens(door, made.code)

    def opened(self, door: str) -> int:
        return self.emulator.opened[door]


@asynccontextmanager
async def august_bench(knobs: Knobs, seed: int, *, answer_wait_s: float = ANSWER_WAIT_S) -> AsyncIterator[Bench]:
    clock = ManualClock()
    emulator = AugustEmulator(
        house="house-1",
        locks=list(DOORS),
        api_key="brand-key",
        token=SECRET,
        clock=clock,
        dice=SeededDice(seed),
        knobs=knobs,
    )
    async with served(emulator.app()) as port:
        system = August(
            f"http://127.0.0.1:{port}",
            house="house-1",
            locks=DOORS,
            api_key="brand-key",
            token=SECRET,
            keep_token=_keep_nothing,
            clock=clock,
            answer_wait_s=answer_wait_s,
        )
        try:
            yield Bench(system, AugustEyes(emulator), clock)
        finally:
            await system.close()
            await emulator.misbehaving.settle()


BENCHES: dict[str, MakesBench] = {
    "unifi_access": unifi_bench,
    "visionline": visionline_bench,
    "salto_ks": salto_ks_bench,
    "salto_space": salto_space_bench,
    "august": august_bench,
}
