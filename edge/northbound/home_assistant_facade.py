"""Keeps somebody else's platform told what the house is now, and carries its commands in: the shell.

Values are taken from the live state whenever the log has grown, at most once in `GATHER_S`: a slow broker gets the
newest of each value and never an old one. What an earlier life left at the broker is asked for first and taken back.
What nobody knows is told as unknown, and a device of which nothing was heard as offline: what the broker keeps of an
earlier life must not look like now. Commands have a deadline from the moment they arrive; a command on its way when the
link is lost is carried out and not answered. What a message means is the form's.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edge.northbound.home_assistant import ONLINE, Asked, AskedColour, HomeAssistant, Refused
from edge.northbound.home_assistant_announced import Announced
from kit.cancellation import heed_cancellation
from kit.clock import Clock
from kit.dice import Dice
from kit.logs import logger
from kit.net import Connection, Message, Transport
from kit.task_groups import TaskGroup
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId
from protocols.errors import LinkLostError, PlatformError, ReplyTimeoutError
from protocols.link.lanes import Lane

GATHER_S: Final = 0.2
REST: Final = 9
"""How much longer than it looked it rests: a large house is told of less often, and never takes more than a tenth."""
REST_MOST_S: Final = 2.0  # what took long was the broker, or everything told anew
COMMANDS_MAX: Final = 64
BEFORE_WAIT_S: Final = 2.0
"""How long the broker may take to say what was announced before. There is nothing yet, or it has told by then."""
UNKNOWN: Final = "unknown"
"""The quality of a value of which nothing was heard."""
Key = tuple[str, str, str]
Live = Callable[[], Sequence[Mapping[str, Any]]]
"""Every value now: {"device", "capability", "attribute", "value", "quality"}."""
Carry = Callable[[RoomId, Command], Awaitable[Outcome]]
"""Carry out a command of a room's device. May raise PlatformError: nothing was done."""
Listen = Callable[[Callable[[Lane, bytes, int], None]], Callable[[], None]]
Reached = Callable[[DeviceId], bool]


@dataclass(slots=True)
class _Turn:
    """Whose turn it is to colour a lamp."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    newest: AskedColour | None = None


class HomeAssistantFacade:
    """The façade, for the life of the process.

    Args:
        form: what the house is called there.
        transport: the way to the broker.
        live: what every value is now.
        reached: whether a device answers.
        listen: to be called after each commit of the log.
        carry: carries out a command.
        command_wait_s: how long a command may wait before it must not have an effect any more.
        pause_s: (first, most) pause between connections: full jitter.
        before_wait_s: how long the broker may take to say what was announced before.
        clock: wall time, for deadlines.
        dice: for pauses and names.
    """

    def __init__(
        self,
        form: HomeAssistant,
        *,
        transport: Transport,
        live: Live,
        reached: Reached,
        listen: Listen,
        carry: Carry,
        command_wait_s: float,
        pause_s: tuple[float, float],
        before_wait_s: float = BEFORE_WAIT_S,
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._form, self._transport, self._live, self._reached = form, transport, live, reached
        self._listen, self._carry, self._wait_ms = listen, carry, round(command_wait_s * 1000)
        self._pause_s, self._before_wait_s, self._clock, self._dice = pause_s, before_wait_s, clock, dice
        self._log = logger("edge.northbound")
        self._news = asyncio.Event()
        self._said: dict[str, bytes] = {}
        self._told: dict[Key, tuple[Value | None, str]] = {}
        self._before: Announced | None = None
        """What may still be at the broker of earlier forms and earlier lives."""
        self._asked_before = asyncio.Event()
        self._to_announce = False
        self._commands: set[asyncio.Task[None]] = set()
        self._colours: dict[str, _Turn] = {}
        self.connected = False
        self.published = 0
        self.refused = 0
        """Commands that made no sense, since the start."""

    def serve(self, form: HomeAssistant) -> None:
        """Tell of another set of devices from now on; what is kept of those that are gone is taken back.

        Args:
            form: of the same property, prefix and base.
        """
        self._was(self._form.announced())
        self._form, self._to_announce = form, True
        self._news.set()

    async def run(self) -> None:
        """Keep telling until cancelled."""
        unlisten = self._listen(lambda *_: self._news.set())
        tries = 0
        try:
            while True:
                try:
                    async with self._transport.connect(
                        subscribe=self._form.filters(), will=self._form.will
                    ) as connection:
                        tries, self.connected = 0, True
                        await self._serve(connection)
                except* (LinkLostError, ReplyTimeoutError) as lost:
                    if tries & (tries - 1) == 0:
                        self._log.info("home_assistant_lost", error=str(lost.exceptions[0]), tries=tries)
                self.connected = False
                heed_cancellation()
                first, most = self._pause_s
                await asyncio.sleep(self._dice.uniform(0, min(most, first * 2 ** min(tries, 16))))
                tries += 1
        finally:
            unlisten()
            for task in self._commands:
                task.cancel()
            await asyncio.gather(*self._commands, return_exceptions=True)

    async def _serve(self, connection: Connection) -> None:
        self._asked_before.clear()
        async with TaskGroup() as tasks:
            tasks.create_task(self._hear(connection), name="home assistant: hear")
            tasks.create_task(self._tell(connection), name="home assistant: tell")

    def _was(self, announced: Announced) -> None:
        self._before = announced if self._before is None else announced.joined(self._before)

    async def _announce(self, connection: Connection) -> None:
        self._said.clear()
        self._told.clear()
        self._to_announce = False
        form, before = self._form, self._before
        if before is not None:
            for topic in sorted(form.leftovers(before)):
                await connection.publish(topic, b"", retain=True)
        now = form.announced()
        kept = now if before is None else now.joined(before)
        await connection.publish(form.announced_topic, kept.encode(), retain=True)
        for message in form.announcements(before):
            await connection.publish(message.topic, message.payload, retain=message.retain)
        if kept != now:
            await connection.publish(form.announced_topic, now.encode(), retain=True)
        if before is self._before:
            self._before = None
        await self._tell_changes(connection)

    async def _tell(self, connection: Connection) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._before_wait_s):
                await self._asked_before.wait()
        await self._announce(connection)
        while True:
            await self._news.wait()
            self._news.clear()
            began_ms = self._clock.now_ms()
            await (self._announce if self._to_announce else self._tell_changes)(connection)
            rest_s = REST * (self._clock.now_ms() - began_ms) / 1000
            await asyncio.sleep(min(max(GATHER_S, rest_s), REST_MOST_S))

    async def _tell_changes(self, connection: Connection) -> None:
        form, said, now = self._form, self._told, self._now()
        news = [(key, what) for key, what in now.items() if said.get(key) != what]
        for device in form.devices():
            await self._say(connection, form.availability(device, online=self._reached(device)))
        for key, (value, quality) in news:
            message = form.value(DeviceId(key[0]), Capability(key[1]), key[2], value, quality)
            await self._say(connection, message)
            said[key] = (value, quality)
        for device in form.coloured(key for key, _ in news):
            await self._say(connection, form.colour(device, now))

    def _now(self) -> dict[Key, tuple[Value | None, str]]:
        """Return every value that is announced, as it is now: what nobody knows too."""
        now: dict[Key, tuple[Value | None, str]] = {}
        for each in self._live():
            key = (str(each["device"]), str(each["capability"]), str(each["attribute"]))
            if self._form.tells(*key):
                now[key] = (each["value"], str(each["quality"]))
        for unknown, capability, attribute in self._form.untold(now):
            now[unknown, capability.value, attribute] = (None, UNKNOWN)
        return now

    async def _say(self, connection: Connection, message: Message) -> None:
        if self._said.get(message.topic) == message.payload:
            return
        await connection.publish(message.topic, message.payload, retain=message.retain)
        self._said[message.topic] = message.payload
        self.published += 1

    async def _hear(self, connection: Connection) -> None:
        async for message in connection.messages():
            if message.topic == self._form.birth_topic:
                if message.payload == ONLINE and not message.retain:
                    self._to_announce = True
                    self._news.set()
                continue
            if message.topic == self._form.announced_topic:
                if message.retain and (announced := Announced.parse(message.payload)) is not None:
                    self._was(announced)
                self._asked_before.set()
                continue
            asked = self._form.command(message)
            if asked is None:
                continue
            if isinstance(asked, Refused):
                self.refused += 1
                await self._answer(connection, message.topic, "failed", asked.reason)
            elif len(self._commands) >= COMMANDS_MAX:
                self.refused += 1
                await self._answer(connection, message.topic, "failed", "too many commands wait")
            else:
                task = asyncio.create_task(self._carry_out(connection, message, asked), name="home assistant: command")
                self._commands.add(task)
                task.add_done_callback(self._commands.discard)
        raise LinkLostError("the connection was closed")

    async def _carry_out(self, connection: Connection, message: Message, asked: Asked | AskedColour) -> None:
        deadline_ms = self._clock.wall_ms() + self._wait_ms
        if isinstance(asked, AskedColour):
            await self._carry_colour(connection, message, asked, deadline_ms)
            wishes: Sequence[Asked] = asked.halves
        else:
            wishes = (asked,)
            try:
                outcome = await self._carry(asked.room, self._command(asked, deadline_ms))
            except PlatformError as error:
                await self._answer(connection, message.topic, "failed", str(error)[:200])
            else:
                await self._answer(connection, message.topic, outcome.phase.value, outcome.reason, outcome.read_back)
        # Home Assistant shows what it asked for until it is told otherwise: tell what is.
        self._said.pop(message.topic.removesuffix("/set"), None)
        for each in wishes:
            self._told.pop((each.device, each.capability.value, each.attribute), None)
        self._news.set()

    def _command(self, asked: Asked, deadline_ms: int) -> Command:
        name = f"ha-{self._dice.bytes(8).hex()}"
        return Command(name, asked.device, asked.capability, asked.attribute, asked.value, deadline_ms, name)

    async def _carry_colour(
        self, connection: Connection, message: Message, asked: AskedColour, deadline_ms: int
    ) -> None:
        """Ask for both halves, of one colour at a time: halves of two colours would be a third one."""
        turn = self._colours.setdefault(message.topic, _Turn())
        turn.newest = asked
        async with turn.lock:
            if turn.newest is not asked:  # a finger on a colour wheel asks for many
                await self._answer(connection, message.topic, "failed", "another colour was asked for since")
                return
            found: list[Value | None] = []
            worst = Outcome(Phase.DONE, None, None)
            for each in asked.halves:
                try:
                    outcome = await self._carry(each.room, self._command(each, deadline_ms))
                except PlatformError as error:
                    outcome = Outcome(Phase.FAILED, None, str(error)[:200])
                found.append(outcome.read_back)
                if worst.phase is Phase.DONE:
                    worst = outcome
                if outcome.phase not in (Phase.DONE, Phase.UNKNOWN):
                    break  # without its one half the other is another colour than the one that was asked for
            await self._answer(connection, message.topic, worst.phase.value, worst.reason, found)

    async def _answer(
        self,
        connection: Connection,
        topic: str,
        phase: str,
        reason: str | None,
        value: Value | Sequence[Value | None] | None = None,
    ) -> None:
        answer = self._form.result(topic, phase, reason, value)
        try:
            await connection.publish(answer.topic, answer.payload)
        except (LinkLostError, ReplyTimeoutError):
            self._log.info("home_assistant_not_answered", topic=topic, phase=phase)
