"""A building's doors in memory: locks that behave like locks, a radio that reaches them until it is told not to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ec

from edge.doors.closing_desk import ClosingDesk
from edge.doors.door_book import DoorBook
from edge.doors.grant_desk import GrantDesk, GrantPolicy
from edge.doors.issuers import Issuers, SoundTime
from edge.doors.number_mark import NumberMark
from edge.doors.radio import DoorSession, Sighting
from edge.doors.store import DoorStore
from edge.doors.sync import LockSync
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.files import SystemDisk
from kit.metrics import Metrics
from protocols import cose
from protocols.device_model.identity import DoorId, EdgeId, LockId, PropertyId, RoomId
from protocols.device_model.site_plan import Door, Property, Room, SitePlan
from protocols.door.advert import Advert, DoorKeys
from protocols.door.bundle import Bundle
from protocols.door.hardware import Bolt
from protocols.door.identity import LockIdentity, generate_lock_for, secrets_of
from protocols.door.lock import LINKS_MOST, LockExchange, LockStep, advert
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.phone import Answer, Latch, PhoneExchange, Request, Unlock
from protocols.errors import LinkLostError
from protocols.grant.keys import PropertyCa, compressed, generate_property_ca, private_key
from protocols.vectors.fixed import AT_S, POOL_ZONE, RTC_S


@dataclass(slots=True)
class MemoryLock:
    """A lock that keeps its memory through everything."""

    identity: LockIdentity
    clock: ManualClock
    core: LockCore
    privacy: bool = False
    battery_percent: int | None = 80
    bolt: Bolt = Bolt.UNKNOWN
    links: int = 0
    opened: int = 0
    born_ms: int = 0
    tamper: Callable[[LockCore], LockCore] | None = None
    channel: int = 0
    """The offset of the L2CAP port that it adverts."""

    @property
    def sensed(self) -> Sensed:
        rtc_s = RTC_S + (self.clock.now_ms() - self.born_ms) // 1_000
        return Sensed(rtc_s, self.privacy, self.battery_percent, self.bolt)

    def sighting(self) -> Sighting:
        return Sighting(self.identity.lock_id.hex(), self.advert().encode(), -60)

    def advert(self) -> Advert:
        return advert(self.identity, self.core, self.sensed, channel=self.channel)

    def took(self, step: LockStep) -> None:
        self.core = step.core if self.tamper is None else self.tamper(step.core)
        self.opened += step.motor


@dataclass(slots=True)
class MemorySession:
    """One link."""

    lock: MemoryLock
    dice: SeededDice
    frame_bytes: int | None = 244
    channel_failed: str = ""
    cut_after: int | None = None
    lost: bool = False
    sent: int = 0
    exchange: LockExchange = field(init=False)
    inbox: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.exchange = LockExchange(self.lock.identity, random=self.dice.bytes, frame_bytes=self.frame_bytes)
        self.exchange.begin(core=self.lock.core, sensed=self.lock.sensed, now_ms=self.lock.clock.now_ms())
        self.drain()

    async def send(self, frame: bytes) -> None:
        self.sent += 1
        if self.lost or (self.cut_after is not None and self.sent > self.cut_after):
            raise LinkLostError("the link is gone")
        self.lock.took(
            self.exchange.receive_data(
                frame, core=self.lock.core, sensed=self.lock.sensed, now_ms=self.lock.clock.now_ms()
            )
        )
        self.drain()

    async def receive(self) -> bytes:
        if self.inbox.empty():
            raise LinkLostError("the lock has nothing to say")
        return self.inbox.get_nowait()

    async def close(self) -> None:
        if not self.lost:
            self.lock.links -= 1
        self.lost = True

    def drain(self) -> None:
        for frame in self.exchange.data_to_send():
            self.inbox.put_nowait(frame)


@dataclass(slots=True)
class MemoryRadio:
    """Reaches every lock, unless it is out of reach."""

    locks: dict[str, MemoryLock]
    dice: SeededDice
    out_of_reach: set[str] = field(default_factory=set)
    cut_after: int | None = None
    sessions: int = 0
    channel: Literal["works", "unable", "refused", "breaks"] = "works"
    """Unable: this Bluetooth opens no channels."""
    ways: list[str] = field(default_factory=list)
    """How each session was asked for and how it went: gatt, unable, channel, refused."""
    heard: "asyncio.Queue[Sighting]" = field(default_factory=asyncio.Queue)

    async def sightings(self) -> AsyncIterator[Sighting]:
        while True:
            yield await self.heard.get()

    async def open_session(self, address: str, *, channel: int = 0) -> DoorSession:
        lock = self.locks.get(address)
        if lock is None or address in self.out_of_reach or lock.links >= LINKS_MOST:
            raise LinkLostError(f"{address} is out of reach")
        lock.links += 1
        self.sessions += 1
        if not channel or self.channel == "unable":
            self.ways.append("gatt" if not channel else "unable")
            return MemorySession(lock, self.dice, cut_after=self.cut_after)
        if self.channel == "refused":
            self.ways.append("refused")
            return MemorySession(lock, self.dice, channel_failed="no resources", cut_after=self.cut_after)
        self.ways.append("channel")
        return MemorySession(
            lock, self.dice, frame_bytes=None, cut_after=0 if self.channel == "breaks" else self.cut_after
        )


class Building:
    """Rooms 101 and 102, a pool, the doors' parts around one store, one clock."""

    def __init__(self, folder: Path, *, seed: int = 1, policy: GrantPolicy | None = None) -> None:
        self.folder, self.policy = folder, policy or GrantPolicy()
        self.clock = ManualClock(wall_ms=AT_S * 1_000)
        self.dice = SeededDice(seed)
        self.ca: PropertyCa = generate_property_ca("aurora", self.dice.bytes)
        places = {"door-101": (101, 0), "door-102": (102, 0), "pool": (0, POOL_ZONE)}
        identities = {
            door: generate_lock_for(self.ca, self.dice.bytes, room=number, zones=zones)
            for door, (number, zones) in places.items()
        }
        self.plan = SitePlan(
            v=1,
            property=Property(id=PropertyId("aurora"), name="Aurora", zone="Europe/Vienna", tenant="northlight"),
            edge=EdgeId("e-aurora0000000001"),
            rooms=(
                Room(id=RoomId("101"), floor=1, kind="guest_room", type="double"),
                Room(id=RoomId("102"), floor=1, kind="guest_room", type="double"),
                Room(id=RoomId("pool"), floor=0, kind="common", type="pool"),
            ),
            doors=tuple(
                Door(
                    id=DoorId(door),
                    room=RoomId(door.removeprefix("door-")),
                    number=each.room,
                    lock=LockId(each.lock_id.hex()),
                    s_lock=each.s_lock.hex(),
                    zones=each.zones,
                )
                for door, each in identities.items()
            ),
        )
        self.secrets = {door: secrets_of(each) for door, each in identities.items()}
        self.book = DoorBook.of(self.plan, self.secrets, "secrets")
        self.locks = {
            door: MemoryLock(each, self.clock, LockCore.fresh(each, AT_S, RTC_S)) for door, each in identities.items()
        }
        self.radio = MemoryRadio({each.identity.lock_id.hex(): each for each in self.locks.values()}, self.dice)
        self.open()

    def open(self) -> None:
        """Start the parts on the store, as the process does."""
        numbers = NumberMark(self.folder / "doors-numbers", SystemDisk())
        self.store = DoorStore(self.folder / "doors.db", epoch=self.dice.bytes(16), numbers=numbers)
        self.metrics = Metrics("doors")
        self.time = SoundTime(self.clock, self.store)
        self.issuers = Issuers(self.ca, self.dice)
        self.told: list[bytes] = []
        self.desk = GrantDesk(
            book=self.book,
            store=self.store,
            issuers=self.issuers,
            time=self.time,
            clock=self.clock,
            dice=self.dice,
            policy=self.policy,
            bumped=self.told.extend,
        )
        self.closing = ClosingDesk(
            book=self.book, store=self.store, issuers=self.issuers, time=self.time, news=self.told.extend
        )
        self.sync = LockSync(
            book=self.book,
            store=self.store,
            desk=self.desk,
            closing=self.closing,
            ca=self.ca,
            time=self.time,
            clock=self.clock,
            dice=self.dice,
            metrics=self.metrics,
        )

    def restart(self) -> None:
        """The process dies and comes back."""
        self.store.close()
        self.open()

    @staticmethod
    def some_point() -> str:
        """Some phone's public key, in hexadecimal."""
        return compressed(private_key(SeededDice("somebody").bytes).public_key()).hex()

    def phone(self, name: str) -> "MemoryPhone":
        return MemoryPhone(self, private_key(SeededDice(f"phone {name}").bytes))

    async def visit(self, door: str) -> None:
        """Visit a lock now."""
        lock = self.locks[door]
        booked = self.book.by_lock(lock.identity.lock_id)
        assert booked is not None
        await self.sync.visit(booked, self.radio, lock.identity.lock_id.hex())


class MemoryPhone:
    """A guest's phone: a key and, once issued, a bundle."""

    def __init__(self, building: Building, key: ec.EllipticCurvePrivateKey) -> None:
        self.building, self.key = building, key
        self.public = compressed(key.public_key())
        self.bundle: Bundle | None = None

    def check_in(self, stay: str, room: str, *, nights: int = 2, days_ahead: int = 0, join: bool = False) -> Bundle:
        now_ms = self.building.clock.wall_ms()
        self.bundle = self.building.desk.issue(
            stay,
            [RoomId(room)],
            self.public,
            not_before_ms=now_ms + days_ahead * 86_400_000,
            not_after_ms=now_ms + (days_ahead + nights) * 86_400_000,
            join=join,
        )
        return self.bundle

    def open(self, door: str) -> Answer:
        """Present the grant at a door; the phone's bundle is all it knows."""
        assert self.bundle is not None
        lock = self.building.locks[door]
        [keys] = [each.keys for each in self.bundle.doors if each.door == door]
        return self.ask(
            keys, Unlock(self.bundle.grant, self.bundle.certificate, partial(cose.sign_raw, self.key)), lock
        )

    def latch(self, door: str, *, hold: bool = True) -> Answer:
        """Hold a door open, or let it go."""
        assert self.bundle is not None
        [keys] = [each.keys for each in self.bundle.doors if each.door == door]
        sign = partial(cose.sign_raw, self.key)
        return self.ask(keys, Latch(hold, self.bundle.grant, self.bundle.certificate, sign), self.building.locks[door])

    def ask(self, keys: DoorKeys, request: Request, lock: MemoryLock) -> Answer:
        now_ms = self.building.clock.now_ms()
        session = MemorySession(lock, self.building.dice)
        phone = PhoneExchange(keys, request, random=self.building.dice.bytes, frame_bytes=244, now_ms=now_ms)
        answer: Answer | None = None
        while answer is None:
            answer = phone.receive_data(session.inbox.get_nowait(), now_ms=now_ms)
            for frame in phone.data_to_send():
                lock.took(session.exchange.receive_data(frame, core=lock.core, sensed=lock.sensed, now_ms=now_ms))
                session.drain()
        return answer
