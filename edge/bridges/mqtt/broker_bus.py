"""What every bus on the site broker does alike: stay connected, notice that the broker is gone, tell what went stale.

A bus brings what it subscribes to, what it makes of a message, and what it does on connecting and after silence.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edge.bridges.firmware import Running
from edge.bridges.mqtt.bus_memory import BusMemory
from edge.bridges.ports import DeviceEvent, ReadingSink
from edge.bridges.supervision import SupervisedBus
from edge.bridges.write_desk import Job
from kit.cancellation import heed_cancellation
from kit.clock import Clock
from kit.dice import Dice
from kit.net import PAYLOAD_BYTES_MAX, Connection, DropsTold, Message, Transport
from kit.supervision import Backoff
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.device_model.capability import Capability
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.reading import Reading
from protocols.errors import LinkLostError, ReplyTimeoutError

RECONNECT: Final = Backoff(first_ms=200, most_ms=10_000)
DOWN_MS: Final = 3_000
"""A broker that cannot be reached for so long takes its devices off line, and fails what waits to be written."""
IDLE_MS: Final = 60_000
_DROPPED: Final = {
    "oversized": f"too long to be kept, at most {PAYLOAD_BYTES_MAX} are",
    "overweight": "too much was waiting unread",
    "crowded": "more of its topic came than is read, so that the oldest were dropped",
    "overflowed": "as many as fit were waiting unread",
}


@dataclass(slots=True)
class Member:
    """A device on the bus."""

    device: DeviceId
    running: Running
    silence_s: float
    online: bool | None = None
    heard_ms: int = 0
    """When it last spoke or was asked, monotonic."""
    place: str = ""
    """Where it is on the bus."""

    @property
    def descriptor(self) -> Descriptor:
        """Its model, under the firmware that it runs."""
        return self.running.descriptor

    def stale_ms(self, point: Point) -> int:  # noqa: ARG002 - the port's parameter
        """Return after how long of silence what it said is old."""
        return round(self.silence_s * 1000)


class BrokerBus(SupervisedBus):
    """`edge.bridges.ports.BusSupervisor` of one kind of device on the site broker; subclasses say which.

    Args:
        bus: its name.
        members: everything on it.
        transport: the way to the site broker.
        clock: both clocks.
        dice: for pauses.
        sink: where readings and events go.
        memory: what the bus has heard and told before.
    """

    def __init__(
        self,
        bus: BusId,
        members: Iterable[Member],
        *,
        transport: Transport,
        clock: Clock,
        dice: Dice,
        sink: ReadingSink,
        memory: BusMemory | None = None,
    ) -> None:
        super().__init__(bus, clock=clock, dice=dice, sink=sink)
        self._transport, self._memory = transport, memory or BusMemory()
        if isinstance(transport, DropsTold):
            transport.dropped = self._dropped
        self._members = {each.device: each for each in members}
        self._connection: Connection | None = None
        self._connected = asyncio.Event()
        self._remembered: set[DeviceId] = set()
        """Who is on line as far as is remembered, and has not been heard in this life."""
        self._away = False

    def _dropped(self, why: str, topic: str, size: int) -> None:
        """Tell of a message that was not kept: whoever sends it is heard by nobody, and does not know."""
        self._complaints.refused(f"{why}_messages", topic, f"{size} bytes: {_DROPPED.get(why, why)}")

    @abstractmethod
    def _filters(self) -> list[str]:
        """Return what to subscribe."""

    @abstractmethod
    def _take(self, message: Message) -> None:
        """Make of a message what it says. Never raises for what a peer sent."""

    async def _joined(self, connection: Connection) -> None:  # noqa: ARG002 - the port's parameter
        """Do what is to be done on every new connection. May raise LinkLostError and ReplyTimeoutError."""
        return

    async def _after_silence(self, connection: Connection, member: Member) -> None:  # noqa: ARG002 - the port's parameter
        """Do something about a member that has said nothing for half its silence. May raise as `_joined` does."""
        return

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        now_ms = self._clock.now_ms()
        places = {each.device: f"{each.running.model.id} {each.place}" for each in self._members.values()}
        self._memory.serve(places, named=self._named())
        for member in self._members.values():
            member.heard_ms = now_ms
            if self._memory.is_online(member.device):
                member.online = True
                self._remembered.add(member.device)
            self._expect(member.device, member.running, member.stale_ms, now_ms=now_ms)
        await self._attend(connection=self._keep_connected(), stale=self._sweep(), **self._loops())

    def _named(self) -> Iterable[str]:
        """Return the names under which members would be told as found."""
        return ()

    def _loops(self) -> dict[str, Coroutine[object, object, None]]:
        """Return what else runs as long as the bus does."""
        return {}

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            try:
                async with self._transport.connect(subscribe=self._filters()) as connection:
                    failures = 0
                    self._counts["connections"] += 1
                    self._connection, self._down_since_ms, self._away = connection, None, False
                    self._connected.set()
                    await self._joined(connection)
                    async for message in connection.messages():
                        self._counts["messages"] += 1
                        self._take(message)
            except (LinkLostError, ReplyTimeoutError):
                self._counts["connections_lost"] += 1
            finally:
                self._connection = None
                self._connected.clear()
                self._note_down()
            heed_cancellation()
            failures += 1
            await asyncio.sleep(RECONNECT.pause_ms(failures, self._dice) / 1000)

    async def _sweep(self) -> None:
        while True:
            now_ms = self._clock.now_ms()
            self._reporter.sweep(now_ms=now_ms)
            self._sweep_firmwares(self._is_heard, now_ms=now_ms)
            if self._down_since_ms is not None and not self._away and now_ms - self._down_since_ms >= DOWN_MS:
                self._away = True
                for member in self._members.values():
                    self._offline(member, "broker")
            for member in self._members.values():
                connection = self._connection
                if connection is None or member.online is False:
                    continue
                if now_ms - member.heard_ms >= member.silence_s * 500:
                    member.heard_ms = now_ms  # asked once now; again after as long again
                    with suppress(LinkLostError, ReplyTimeoutError):
                        await self._after_silence(connection, member)
            wait_ms = min(self._reporter.sweep_in_ms(now_ms=now_ms) or IDLE_MS, DOWN_MS // 3)
            await asyncio.sleep(max(50, wait_ms) / 1000)

    async def _out_of_reach(self, job: Job) -> Outcome | None:
        """Wait for the broker as long as that makes sense; return why nothing can be sent, None if it is there."""
        left_ms = min(job.command.deadline_ms - self._clock.wall_ms(), DOWN_MS)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(1, left_ms) / 1000):
                await self._connected.wait()
        if self._desk.expired(job.command):
            return Outcome(Phase.EXPIRED, None, "its deadline passed before the broker could be reached")
        if self._connection is None:
            return Outcome(Phase.FAILED, None, f"broker of {self._name} cannot be reached")
        return None

    def _point(self, device: DeviceId, capability: Capability, attribute: str) -> Point | None:
        member = self._members.get(device)
        return None if member is None else member.descriptor.point(capability, attribute)

    def _heard_itself(self, member: Member, message: Message, *, now_ms: int) -> None:
        """Take note that a member itself says something now."""
        member.heard_ms = now_ms
        self._memory.heard(member.device, message.topic, message.payload, now_ms=now_ms)

    def _of_unknown_age(self, member: Member, message: Message, *, silence_ms: int) -> bool:
        """Say whether a message that the broker kept may be old: nobody has heard it said, or not for long."""
        if not message.retain:
            return False
        now_ms = self._clock.now_ms()
        age_ms = self._memory.age_ms(member.device, message.topic, message.payload, now_ms=now_ms)
        return member.online is False or age_ms is None or age_ms >= silence_ms

    def _is_heard(self, device: DeviceId) -> bool:
        return self._members[device].online is True and device not in self._remembered

    def _online(self, member: Member) -> None:
        self._remembered.discard(member.device)
        if member.online is not True:
            member.online = True
            self._memory.came(member.device)
            self._event(member.device, DeviceEvent.ONLINE, {})

    def _offline(self, member: Member, cause: str) -> None:
        self._remembered.discard(member.device)
        if member.online is not False:
            member.online = False
            self._memory.went(member.device)
            self._event(member.device, DeviceEvent.OFFLINE, {"cause": cause})
            self._reporter.silent(member.device, now_ms=self._clock.now_ms())


async def last_said(
    news: "asyncio.Queue[Reading]", holds: Callable[[Reading], bool], *, wait_ms: int
) -> Reading | None:
    """Wait until a device says what was asked of it (`holds`); return the last thing that it said, None: nothing."""
    last: Reading | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_ms / 1000):
            while last is None or not holds(last):
                last = await news.get()  # an older state may still have been on its way: wait on
    return last


def outcome_of(found: Reading | None, holds: Callable[[Reading], bool]) -> Outcome:
    """Return what became of a command by the last thing that its device said."""
    if found is None or found.value is None:
        return Outcome(Phase.UNKNOWN, None, "no word from the device")
    if holds(found):
        return Outcome(Phase.DONE, found.value, None)
    return Outcome(Phase.UNKNOWN, found.value, f"the device says {found.value!r}")
