"""Runs a Sparkplug B edge node on a broker: session by session, births first, QoS 0 and nothing retained.

What is said is `sparkplug.SparkplugNode`'s; this connects with its will, publishes in its order, hears commands and
hands them on with a deadline. A client of its own, because Sparkplug asks for QoS 0, which `kit.net` does not speak.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt

from edge.northbound.sparkplug import NotUnderstood, Out, RebirthWanted, SparkplugNode, Wanted
from kit.cancellation import heed_cancellation
from kit.clock import Clock
from kit.dice import Dice
from kit.logs import logger
from kit.task_groups import TaskGroup
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.command import Command, Outcome
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.device_model.site_plan import SitePlan
from protocols.errors import PlatformError
from protocols.link.lanes import Lane

GATHER_S: Final = 0.2
REST: Final = 9
"""How much longer than it looked it rests: a large house is told of less often, and never takes more than a tenth."""
REST_MOST_S: Final = 2.0
COMMANDS_MAX: Final = 64
REBIRTHS_APART_S: Final = 1.0
"""Hosts that ask for a rebirth in a chorus get one."""
GOODBYE_WAIT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class SparkplugBroker:
    """Where the broker is."""

    host: str
    port: int
    client_id: str
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = None
    keepalive_s: int = 30


class SparkplugFacade:
    """The façade, for the life of the process.

    Args:
        node: what is said.
        broker: where.
        live: what every value is now.
        online: the devices that answer.
        listen: to be called after each commit of the log.
        carry: carries out a command.
        command_wait_s: how long a command may wait before it must not have an effect any more.
        pause_s: (first, most) pause between connections: full jitter.
        clock: wall time, for timestamps and deadlines.
        dice: for pauses and names.
    """

    def __init__(
        self,
        node: SparkplugNode,
        broker: SparkplugBroker,
        *,
        live: Callable[[], Sequence[Mapping[str, Any]]],
        online: Callable[[], Collection[DeviceId]],
        listen: Callable[[Callable[[Lane, bytes, int], None]], Callable[[], None]],
        carry: Callable[[RoomId, Command], Awaitable[Outcome]],
        command_wait_s: float,
        pause_s: tuple[float, float],
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._node, self._broker, self._live, self._online = node, broker, live, online
        self._listen, self._carry, self._wait_ms = listen, carry, round(command_wait_s * 1000)
        self._pause_s, self._clock, self._dice = pause_s, clock, dice
        self._log = logger("edge.northbound")
        self._news, self._rebirth = asyncio.Event(), asyncio.Event()
        self._commands: set[asyncio.Task[None]] = set()
        self.connected = False
        self.published = 0
        self.refused = 0
        """Commands that made no sense, since the start."""

    def serve(self, plan: SitePlan, descriptors: Mapping[DescriptorId, Descriptor]) -> None:
        """Speak for another set of devices from now on. Raises LocalProtocolError: nothing has changed."""
        self._node.serve(plan, descriptors)
        self._news.set()

    async def run(self) -> None:
        """Be the node until cancelled."""
        unlisten = self._listen(lambda *_: self._news.set())
        tries = 0
        try:
            while True:
                try:
                    await self._session()
                except* (aiomqtt.MqttError, TimeoutError, OSError) as lost:
                    if tries & (tries - 1) == 0:
                        self._log.info("sparkplug_lost", error=repr(lost.exceptions[0])[:200], tries=tries)
                tries = 0 if self.connected else tries + 1
                self.connected = False
                self._node.ended()
                heed_cancellation()
                first, most = self._pause_s
                await asyncio.sleep(self._dice.uniform(0, min(most, first * 2 ** min(tries, 16))))
        finally:
            unlisten()
            for task in self._commands:
                task.cancel()
            await asyncio.gather(*self._commands, return_exceptions=True)

    async def _session(self) -> None:
        where, will = self._broker, self._node.begin(now_ms=self._clock.wall_ms())
        async with aiomqtt.Client(
            where.host,
            where.port,
            identifier=where.client_id,
            username=where.username,
            password=where.password,
            keepalive=where.keepalive_s,
            tls_context=where.tls,
            clean_session=True,
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=False),
        ) as client:
            for topic in self._node.filters():
                await client.subscribe(topic, qos=1)
            try:
                self.connected = True
                await self._say(client, self._births())
                async with TaskGroup() as tasks:
                    tasks.create_task(self._hear(client), name="sparkplug: hear")
                    tasks.create_task(self._tell(client), name="sparkplug: tell")
            except asyncio.CancelledError:
                death = self._node.death(now_ms=self._clock.wall_ms())
                with suppress(aiomqtt.MqttError):  # a broker sends no will after a goodbye, but it may be gone itself
                    await client.publish(death.topic, death.payload, qos=death.qos, timeout=GOODBYE_WAIT_S)
                raise

    def _births(self) -> list[Out]:
        self._rebirth.clear()
        self._news.set()
        return self._node.births(self._live(), self._online(), now_ms=self._clock.wall_ms())

    async def _tell(self, client: aiomqtt.Client) -> None:
        """One task publishes: sequence numbers leave in the order in which they were given."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._rebirth.is_set():
                await self._say(client, self._births())
                await asyncio.sleep(REBIRTHS_APART_S)
                continue
            began_ms = self._clock.now_ms()
            changed = self._node.changed(self._live(), self._online(), now_ms=self._clock.wall_ms())
            looked_ms = self._clock.now_ms() - began_ms
            await self._say(client, changed)
            await asyncio.sleep(min(max(GATHER_S, REST * looked_ms / 1000), REST_MOST_S))

    async def _say(self, client: aiomqtt.Client, messages: Sequence[Out]) -> None:
        for each in messages:
            await client.publish(each.topic, each.payload, qos=each.qos, retain=False)
            heed_cancellation()  # aiomqtt waits by `asyncio.wait_for`
            self.published += 1

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            for asked in self._node.take(str(message.topic), message.payload, retain=message.retain):
                match asked:
                    case RebirthWanted():
                        self._rebirth.set()
                        self._news.set()
                    case Wanted() if len(self._commands) < COMMANDS_MAX:
                        task = asyncio.create_task(self._carry_out(asked), name="sparkplug: command")
                        self._commands.add(task)
                        task.add_done_callback(self._commands.discard)
                    case Wanted():
                        self.refused += 1
                    case NotUnderstood():
                        self.refused += 1
                        self._log.info("sparkplug_command_refused", topic=asked.topic[:200], reason=asked.reason[:200])

    async def _carry_out(self, wanted: Wanted) -> None:
        name = f"spb-{self._dice.bytes(8).hex()}"
        deadline_ms = self._clock.wall_ms() + self._wait_ms
        point = wanted.point
        command = Command(name, wanted.device, point.capability, point.attribute, wanted.value, deadline_ms, name)
        try:
            outcome = await self._carry(wanted.room, command)
        except PlatformError as error:
            self._log.info("sparkplug_command_failed", device=wanted.device, reason=str(error)[:200])
        else:
            if outcome.reason is not None:
                self._log.info("sparkplug_command", device=wanted.device, phase=outcome.phase, reason=outcome.reason)
        self._news.set()
