"""One emulated lock: the real protocol core behind an emulated radio, bolt, battery, knob and quartz.

The shell around protocols/door: it hears frames, feeds the exchange, stores what the core has become, and only then
moves the motor and answers. What really happened goes to `tell`, so that a test need not believe the lock.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Final, TypeAlias

import msgspec
from bleak.exc import BleakError
from bumble.device import Device

from firmware_bridges.ble_radio.channel import ByteChannel
from firmware_bridges.innkeeper_lock.battery import LINK_NAH, Battery, motor_nah
from firmware_bridges.innkeeper_lock.bolt import EmulatedBolt
from firmware_bridges.innkeeper_lock.config import Advertising, Knobs
from firmware_bridges.innkeeper_lock.memory import Memory, MemoryFile, Quartz
from firmware_bridges.innkeeper_lock.peripheral import CHANNEL_OFFSET, LockLink, Peripheral
from kit.clock import Clock
from kit.dice import Dice
from kit.queues import BoundedQueue
from kit.task_groups import TaskGroup
from protocols.door.advert import SLOT_S, Advert, week_of
from protocols.door.audit import NOBODY
from protocols.door.channel import CHANNEL_MTU, Heard, LockWays, Then, Way
from protocols.door.hardware import Bolt
from protocols.door.identity import LockIdentity
from protocols.door.lock import SILENCE_MS, LockExchange, LockStep, State, advert
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.errors import InvalidInputError
from protocols.grant.claims import SECONDS_MOST

FRAMES_WAITING_MAX: Final = CHANNEL_MTU + 64  # in the channel a phone may send a message byte by byte
MEASURE_EVERY_MS: Final = 600_000
STEP_SPARE_S: Final = 366 * 86_400
"""A clock may be stepped up to so long before its 32 bits end: nothing that runs afterwards runs over."""

Tell = Callable[[str, dict[str, Any]], None]


class EmulatedLock:
    """Make it, `start` it inside a TaskGroup, turn its knobs, `stop` it.

    Args:
        door: The door's id, for people and tests.
        identity: Keys and place.
        knobs: As the hand left them.
        file: Where the memory is.
        device: A bumble host on the air, not powered on.
        cut: Breaks every link of `device` without a goodbye.
        tell: Takes the facts.
        tasks: Owns the conversations; a defect in one is not to pass unseen.
    """

    def __init__(
        self,
        *,
        door: str,
        identity: LockIdentity,
        knobs: Knobs,
        advertising: Advertising,
        file: MemoryFile,
        device: Device,
        cut: Callable[[], object],
        clock: Clock,
        key_dice: Dice,
        dice: Dice,
        tell: Tell,
        tasks: TaskGroup,
    ) -> None:
        self.door, self.identity = door, identity
        self.knobs = knobs
        self.clock, self.key_dice = clock, key_dice
        self.tasks = tasks
        self.motor_runs = 0
        self.power_losses = 0
        self.peripheral = Peripheral(device, advertising, self._answer, cut, dice=dice, knobs=lambda: self.knobs)
        self._file = file
        self._tell = tell
        self._changing = asyncio.Lock()
        self._slot = (-1, -1)
        self._links_seen = 0
        self._memory = self._recall()
        self._battery = self._memory.battery or Battery.put_in(knobs.battery_percent, self.clock.wall_ms())
        self._battery_percent = self._battery.measured_percent()
        self._measured_ms = self.clock.now_ms()
        self.bolt = EmulatedBolt(
            lambda: self.knobs,
            moved=self._bolt_moved,
            settled=self._bolt_settled,
            told=self.core.bolt_told() or Bolt.LOCKED,
        )

    def _recall(self) -> Memory:
        if (kept := self._file.read()) is not None:
            rtc_s = kept.quartz.rtc_ms_at(self.clock.wall_ms()) // 1_000
            woken = replace(kept, core=kept.core.woken(Sensed(rtc_s)))
            if woken != kept:
                self._file.keep(woken)
            return woken
        wall_ms = self.clock.wall_ms()
        quartz = Quartz(wall_ms, 0, self.knobs.drift_ppm)
        fresh = Memory(LockCore.fresh(self.identity, wall_ms // 1_000, 0), quartz)
        self._file.keep(fresh)
        return fresh

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def core(self) -> LockCore:
        """The lock's memory."""
        return self._memory.core

    @property
    def sensed(self) -> Sensed:
        """What its hardware says now."""
        return Sensed(
            rtc_s=self._memory.quartz.rtc_ms_at(self.clock.wall_ms()) // 1_000,
            privacy=self.knobs.privacy,
            battery_percent=self._battery_percent,
            bolt=self.bolt.sensed,
        )

    @property
    def bolt_drawn(self) -> bool:
        """Whether the door can be pushed open now."""
        return self.bolt.drawn

    def describe(self) -> dict[str, Any]:
        """The truth about it, for the control socket."""
        sensed, core = self.sensed, self.core
        time = core.time(sensed.rtc_s)
        return {
            "door": self.door,
            "lock": self.identity.lock_id.hex(),
            "room": self.identity.room,
            "bolt": "drawn" if self.bolt_drawn else "thrown",
            "motor_runs": self.motor_runs,
            "woken": self.peripheral.woken,
            "interval_ms": self.peripheral.interval_ms,
            "links": self.peripheral.links,
            "generation": core.generation,
            "audit_seq": core.audit_seq,
            "acked_seq": core.acked_seq,
            "noise": core.noise,
            "revocation_seq": core.revocation_seq,
            "time_s": time.now_s,
            "time_quality": time.quality.name.lower(),
            "address": self.peripheral.device.random_address.to_string(False),
            **msgspec.to_builtins(self.knobs),
            "battery_percent": round(self._battery.percent_left),
            "battery_measured": self._battery_percent,
            "bolt_sensed": self.bolt.sensed.name.lower(),
        }

    # -- its life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Power on, unless the knob says otherwise."""
        await self.peripheral.start(self._advert(), silent=not self.knobs.powered)
        self.bolt.start()

    async def stop(self) -> None:
        """Off the air; the bolt is thrown."""
        self.bolt.stop()
        await self.peripheral.stop()

    async def tick(self) -> None:
        """Call about once a second: ends a passage, shows the next advert id, measures the battery now and then."""
        await self._settle()
        if self.clock.now_ms() - self._measured_ms >= MEASURE_EVERY_MS:
            self._measure()
        if self._slot_now() != self._slot:
            await self.peripheral.show(self._advert())

    def _advert(self) -> Advert:
        sensed = self.sensed
        self._slot = self._slot_now()
        offset = CHANNEL_OFFSET if self.knobs.channel != "none" else 0
        return advert(self.identity, self.core, sensed, channel=offset)

    def _slot_now(self) -> tuple[int, int]:
        """Return what the shown id is of: its slot, and the week, which may end within one."""
        now_s = self.core.time(self.sensed.rtc_s).now_s
        return now_s // SLOT_S, week_of(now_s)

    # -- hands on it --------------------------------------------------------------------------------------------------

    def touch(self) -> None:
        """Somebody touches the handle."""
        self.peripheral.wake()

    def push(self) -> bool:
        """Somebody pushes the door: it opens if the bolt is drawn. Returns whether it is open."""
        if self.bolt_drawn and self.knobs.door_closed:
            self.knobs = msgspec.structs.replace(self.knobs, door_closed=False)
            self._fact("contact", door_closed=False)
        return not self.knobs.door_closed

    async def turn(self, knobs: Knobs) -> None:
        """Set the knobs; loss of power cuts the links, its return finds the clock lost."""
        before, self.knobs = self.knobs, knobs
        if knobs.drift_ppm != before.drift_ppm:
            await self._change(lambda memory: _with_drift(memory, knobs.drift_ppm, self.clock.wall_ms()))
        if before.powered and not knobs.powered:
            self.power_losses += 1
            self.bolt.let_go()
            await self.peripheral.be_silent()
            self._fact("power", on=False)
        elif knobs.powered and not before.powered:
            await self._change(self._after_power_loss)
            await self.peripheral.speak_again()
            self._fact("power", on=True)
        if knobs.battery_percent != before.battery_percent:
            self._battery = Battery.put_in(knobs.battery_percent, self.clock.wall_ms())
            self._measure()
        if knobs.door_closed != before.door_closed:
            self._fact("contact", door_closed=knobs.door_closed)
        await self._settle()
        await self.peripheral.show(self._advert())

    async def lose_power(self) -> None:
        """Batteries out and in again: memory survives, links and the clock do not."""
        off = msgspec.structs.replace(self.knobs, powered=False)
        await self.turn(off)
        await self.turn(msgspec.structs.replace(off, powered=True))

    async def step_clock(self, step_s: float) -> None:
        """The RTC jumps, as one that drifted for long would have.

        Raises:
            InvalidInputError: to a time that its 32 bits do not hold; it stays as it was.
        """
        rtc_s = self._memory.quartz.stepped(round(step_s * 1_000)).rtc_ms_at(self.clock.wall_ms()) // 1_000
        if not 0 <= rtc_s + self.core.offset_s < SECONDS_MOST - STEP_SPARE_S:
            raise InvalidInputError("step_clock", f"{step_s} s from here is no time that a lock's clock can show")
        await self._change(lambda memory: replace(memory, quartz=memory.quartz.stepped(round(step_s * 1_000))))
        await self.peripheral.show(self._advert())

    def _after_power_loss(self, memory: Memory) -> Memory:
        quartz = memory.quartz.stopped(self.clock.wall_ms())
        return replace(memory, core=memory.core.restarted(replace(self.sensed, rtc_s=0)), quartz=quartz)

    async def _settle(self) -> None:
        """A passage whose time is up, or that somebody inside does not want, ends now."""
        held = self.core.passage
        if held is None or not self.knobs.powered:
            return
        await self._change(
            lambda memory: replace(memory, core=memory.core.settled(self.sensed, now_ms=self.clock.now_ms()))
        )
        if self.core.passage is None:
            self.latch(hold=False, grant=held.grant_id)

    async def _change(self, change: Callable[[Memory], Memory]) -> None:
        async with self._changing:
            await self._keep(change(self._memory))

    async def _keep(self, memory: Memory) -> None:
        """Durable before anything comes of it. A counted noise alone is not worth a write: anybody can make it."""
        if replace(memory.core, noise=self._memory.core.noise) != self._memory.core or (
            memory.quartz != self._memory.quartz
        ):
            await asyncio.to_thread(self._file.keep, memory)
        self._memory = replace(memory, battery=self._memory.battery)  # the motor may have run during the write

    # -- talking to it ------------------------------------------------------------------------------------------------

    async def hear(self, exchange: LockExchange, frame: bytes) -> LockStep:
        """Feed one frame; when this returns, what it changed is stored."""
        await self._settle()
        async with self._changing:
            step = exchange.receive_data(frame, core=self.core, sensed=self.sensed, now_ms=self.clock.now_ms())
            await self._keep(replace(self._memory, core=step.core))
        return step

    def draw_bolt(self, link: "Conversation", by: bytes) -> None:
        """The motor starts now, by the grant whose id is `by`."""
        self.motor_runs += 1
        self.bolt.draw(hold=self.core.passage is not None)
        self._measure(used_nah=motor_nah(2 * self.knobs.motor_ms) + LINK_NAH)  # out and back again
        at_ms = self.clock.now_ms()
        self._fact(
            "motor",
            link=link.number,
            at_ms=at_ms,
            connected_at_ms=link.connected_at_ms,
            connect_to_motor_ms=at_ms - link.connected_at_ms,
            motor_runs=self.motor_runs,
            grant=by.hex(),
            generation=self.core.generation,
        )

    def latch(self, *, hold: bool, grant: bytes) -> None:
        """The bolt is held drawn from now on (the motor has run), or is let go."""
        if not hold:
            self.bolt.let_go()
        self._fact("passage", hold=hold, grant=grant.hex(), at_ms=self.clock.now_ms())

    def work_bolt(self, *, drawn: bool) -> None:
        """Somebody turns the knob inside."""
        self.bolt.by_hand(drawn=drawn)

    def _bolt_moved(self) -> None:
        self._fact("bolt", bolt="drawn" if self.bolt.drawn else "thrown", at_ms=self.clock.now_ms())

    def _bolt_settled(self) -> None:
        if self.knobs.powered:
            self.tasks.create_task(self._note_bolt(), name=f"{self.door} bolt")

    async def _note_bolt(self) -> None:
        await self._change(lambda memory: replace(memory, core=memory.core.bolt_moved(self.sensed)))
        await self.peripheral.show(self._advert())

    def _measure(self, *, used_nah: int = 0) -> None:
        """Load the cells, read their voltage; the charge is durable with the next thing that is."""
        self._battery = self._battery.later(self.clock.wall_ms(), used_nah=used_nah)
        self._battery_percent = self._battery.measured_percent()
        self._measured_ms = self.clock.now_ms()
        self._memory = replace(self._memory, battery=self._battery)

    def refresh_advert(self) -> None:
        """Show what has changed, soon."""
        self.peripheral.show_soon(self._advert())

    def fact(self, event: str, link: "Conversation", **more: Any) -> None:
        """Tell a fact about one link."""
        self._fact(event, link=link.number, at_ms=self.clock.now_ms(), **more)

    def _fact(self, event: str, **more: Any) -> None:
        self._tell(event, {"door": self.door, "lock": self.identity.lock_id.hex(), **more})

    def _answer(self, link: LockLink) -> "Conversation":
        self._links_seen += 1
        return Conversation(self, link, self._links_seen)


@dataclass(frozen=True, slots=True)
class Begin:
    """An exchange begins: in this channel, or in GATT."""

    channel: ByteChannel | None


class Signal(Enum):
    """What happens to a link besides frames."""

    CHANNEL_SPENT = auto()
    """It closed, and nothing was heard in it: GATT may still come."""
    ENDED = auto()


Event: TypeAlias = bytes | Begin | Signal


class Conversation:
    """One link from its beginning to its end: the pump between radio and exchange.

    It is never cancelled: a frame that arrived is acted upon even if the link breaks meanwhile, as a lock does.
    """

    def __init__(self, lock: EmulatedLock, link: LockLink, number: int) -> None:
        self._lock, self._link, self.number = lock, link, number
        self._heard: BoundedQueue[Event] = BoundedQueue(FRAMES_WAITING_MAX, f"{lock.door} link {number}")
        self._ways = LockWays()
        self._ended = False
        self.connected_at_ms = lock.clock.now_ms()
        lock.fact("connected", self)
        lock.tasks.create_task(self._run(), name=f"{lock.door} link {number}")

    def subscribed(self) -> None:
        """The phone hears us: CHAL may go, unless it went into a channel."""
        self._on(Heard.SUBSCRIBED)

    def heard(self, frame: bytes) -> None:
        """One ATT write."""
        self._on(Heard.FRAME, frame)

    def channel_asked(self) -> bool:
        """Whether the phone gets the channel that it asks for."""
        return self._ways.on(Heard.CHANNEL_ASKED) is Then.BEGIN_CHANNEL

    def channel_opened(self, channel: ByteChannel) -> None:
        """The channel that was asked for stands: CHAL goes into it."""
        channel.on_data = lambda data: self._on(Heard.CHUNK, data)
        channel.on_closed = lambda: self._on(Heard.CHANNEL_CLOSED)
        self._take(Begin(channel))

    def ended(self) -> None:
        """The link is gone."""
        self._lock.fact("disconnected", self)
        self._ended = True
        self._take(Signal.ENDED)

    def _on(self, heard: Heard, data: bytes = b"") -> None:
        where = self._ways.way
        match self._ways.on(heard):
            case Then.FEED:
                self._take(data)
            case Then.BEGIN_GATT:
                self._take(Begin(None))
            case Then.WAIT:
                self._take(Signal.CHANNEL_SPENT)
            case Then.END:
                if not self._ended:
                    self._lock.fact("fault", self, fault=f"{heard.value}, in state {where.value}")
                self._ended = True
                self._take(Signal.ENDED)

    def _take(self, heard: Event) -> None:
        if not self._heard.offer(heard):
            self._ended = True  # a flood, or its end: what waits is dealt with, then we hang up

    async def _next(self, wait_ms: float) -> Event | None:
        """Return what is heard next, ENDED for ever after the end, or None for silence."""
        if self._ended and not len(self._heard):
            return Signal.ENDED
        try:
            async with asyncio.timeout(wait_ms / 1_000):
                return await self._heard.get()
        except TimeoutError:
            return None

    async def _run(self) -> None:
        try:
            heard = await self._next(SILENCE_MS)
            while isinstance(heard, Begin):
                heard = await self._talk(heard.channel)
                if heard is Signal.CHANNEL_SPENT:
                    heard = await self._next(SILENCE_MS)
        finally:
            await self._link.hang_up()

    async def _talk(self, channel: ByteChannel | None) -> Event | None:
        """Hold one exchange; return what ended it, if that was not the exchange itself."""
        lock, clock = self._lock, self._lock.clock
        frame_bytes = self._link.frame_bytes if channel is None else None
        exchange = LockExchange(lock.identity, random=lock.key_dice.bytes, frame_bytes=frame_bytes)
        exchange.begin(core=lock.core, sensed=lock.sensed, now_ms=clock.now_ms())
        if channel is not None and lock.knobs.channel == "mute":
            exchange.data_to_send()
        await self._send(exchange, channel)
        losses = lock.power_losses
        while exchange.state is not State.OVER and exchange.deadline_ms is not None:
            heard = await self._next(exchange.deadline_ms - clock.now_ms())
            if lock.power_losses != losses:
                return Signal.ENDED  # what it was about went with the power
            if heard is None:
                exchange.on_time(now_ms=clock.now_ms())
            elif isinstance(heard, bytes):
                await self._act(await lock.hear(exchange, heard), losses)
                if lock.power_losses == losses:
                    await self._send(exchange, channel)
            else:
                return heard
        return None

    async def _act(self, step: LockStep, losses: int) -> None:
        lock = self._lock
        if step.fault is not None:
            lock.fact("fault", self, fault=step.fault)
        if step.status is None:
            return
        await asyncio.sleep((lock.knobs.fast_ms if step.quick else lock.knobs.crypto_ms) / 1_000)
        if lock.power_losses != losses:
            return  # what was stored stays stored; nothing moves and nobody is answered
        reason = step.status.reason
        lock.fact("answered", self, status=step.status.name.lower(), reason=reason and reason.value, quick=step.quick)
        by = step.core.records[-1].actor if step.core.records else NOBODY  # another phone may have written since
        if step.motor:
            lock.draw_bolt(self, by)
        if step.latch is not None:
            lock.latch(hold=step.latch, grant=by)
        lock.refresh_advert()

    async def _send(self, exchange: LockExchange, channel: ByteChannel | None) -> None:
        for frame in exchange.data_to_send():
            if channel is None:
                await self._link.notify(frame)
            elif self._lock.knobs.channel == "drops" and self._ways.way is Way.CHANNEL:
                await channel.break_off(frame)
            else:
                await self._send_in(channel, frame)

    async def _send_in(self, channel: ByteChannel, piece: bytes) -> None:
        """Lost without a word when the channel is gone, as radio is; a peer that takes nothing is hung up on."""
        try:
            async with asyncio.timeout(SILENCE_MS / 1_000):
                await channel.send(piece)
        except BleakError:
            return
        except TimeoutError:
            self._lock.fact("fault", self, fault=f"the phone took no answer for {SILENCE_MS} ms")
            self._ended = True
            self._take(Signal.ENDED)


def _with_drift(memory: Memory, drift_ppm: float, wall_ms: int) -> Memory:
    return replace(memory, quartz=memory.quartz.drifting(drift_ppm, wall_ms))
