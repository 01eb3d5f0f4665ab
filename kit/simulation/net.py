"""A net that loses, doubles, delays and reorders, with a broker in the middle: the `Transport` port, seeded.

Worse than TCP on purpose: real links keep their order while they live, but reconnects, bridges and retries do
not, and code that survives this survives those. A publish is answered when the broker has it; what the broker
then loses (`loss`) was answered too, as real brokers do when they are killed.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from kit.dice import Dice
from kit.net import INBOX_MESSAGES_MAX, PAYLOAD_BYTES_MAX, Message, matches
from kit.simulation.loop import SimLoop
from protocols.errors import LinkLostError, LocalProtocolError, ReplyTimeoutError

ANSWER_WAIT_S: Final = 10.0
KEEPALIVE_LOST_S: Final = 45.0  # how long a silent line goes unnoticed: 1.5 times a keepalive of 30 s

T = TypeVar("T")
Direction = Literal["up", "down", "both"]


@dataclass(frozen=True, slots=True)
class Faults:
    """What a line does to each message. Chances are from 0 to 1; delays are uniform between their bounds."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay_least_ms: int = 1
    delay_most_ms: int = 1
    in_order: bool = True
    """False lets each message take its own delay, so that later ones overtake."""


CALM: Final = Faults()


class Pipe(Generic[T]):
    """One direction of a line: what is sent arrives later, twice, out of order, or never.

    Args:
        loop: whose time passes.
        dice: decide each message's fate.
        faults: may be replaced while the pipe runs.
        deliver: called with each message that arrives.
    """

    def __init__(self, loop: SimLoop, dice: Dice, faults: Faults, deliver: Callable[[T], None]) -> None:
        self._loop, self._dice, self._deliver = loop, dice, deliver
        self.faults = faults
        self.cut = False
        """True loses everything, also what is on its way."""
        self._busy_until_s = 0.0

    def send(self, message: T) -> None:
        """Put a message on its way. Never tells what becomes of it."""
        faults = self.faults
        if self._dice.uniform(0, 1) < faults.loss:
            return
        copies = 2 if self._dice.uniform(0, 1) < faults.duplicate else 1
        for _ in range(copies):
            delay_s = self._dice.integer(faults.delay_least_ms, faults.delay_most_ms) / 1000
            at_s = self._loop.time() + delay_s
            if faults.in_order:
                at_s = self._busy_until_s = max(at_s, self._busy_until_s + 1e-6)
            self._loop.call_at(at_s, self._arrive, message)

    def _arrive(self, message: T) -> None:
        if not self.cut:
            self._deliver(message)


class SimNet:
    """A broker and the lines to it.

    Args:
        loop: whose time passes.
        faults: of every line that has none of its own.
    """

    def __init__(self, loop: SimLoop, faults: Faults = CALM) -> None:
        self._loop = loop
        self._faults = faults
        self._lines: dict[str, _Line] = {}
        self._connections: list[SimConnection] = []  # a list: the order of deliveries must not hang on hashes
        self._retained: dict[str, Message] = {}
        self._up = True

    def transport(self, name: str) -> "SimTransport":
        """Return the transport of the machine `name`; its line has that name in `cut` and `set_faults`."""
        return SimTransport(self, name)

    def set_faults(self, name: str, faults: Faults) -> None:
        """Give one line its own faults, from now on."""
        self._note("faults", name)
        self._line(name).set_faults(faults)

    def cut(self, name: str, direction: Direction = "both") -> None:
        """Cut a line in silence: both ends notice only after `KEEPALIVE_LOST_S`.

        Args:
            name: whose line.
            direction: "up" loses what the machine sends, "down" what it should get: the line is half open.
        """
        self._note("cut", name, direction)
        line = self._line(name)
        if direction in ("up", "both"):
            line.up_cut = True
        if direction in ("down", "both"):
            line.down_cut = True
        for connection in self._of(name):
            connection.silence()

    def heal(self, name: str) -> None:
        """Mend a line. A connection that has not yet noticed the cut lives on."""
        self._note("heal", name)
        line = self._line(name)
        line.up_cut = line.down_cut = False
        for connection in self._of(name):
            connection.hear()

    def drop(self, name: str) -> None:
        """Break the connections of a machine at once, as a reset does; the line itself is fine."""
        self._note("drop", name)
        for connection in self._of(name):
            connection.lose("reset by peer")

    def stop_broker(self) -> None:
        """Kill the broker: connections break, messages on their way and retained ones are gone."""
        self._note("broker_stopped")
        self._up = False
        self._retained.clear()
        for connection in list(self._connections):
            connection.lose("broker gone")

    def start_broker(self) -> None:
        """Start an empty broker."""
        self._note("broker_started")
        self._up = True

    async def connect(self, name: str, will: Message | None) -> "SimConnection":
        """Open a connection for machine `name`; see `SimTransport.connect`."""
        line = self._line(name)
        faults = line.faults
        await asyncio.sleep(2 * faults.delay_most_ms / 1000)
        if line.up_cut or line.down_cut:
            await asyncio.sleep(ANSWER_WAIT_S)
            raise LinkLostError(f"{name}: no connection: no answer")
        if not self._up:
            raise LinkLostError(f"{name}: no connection: refused")
        for old in self._of(name):
            old.lose("taken over")  # one connection a client id
        connection = SimConnection(self, name, line, will)
        self._connections.append(connection)
        self._note("connected", name)
        return connection

    def forget(self, connection: "SimConnection") -> None:
        """Take a connection that has ended off the broker."""
        if connection in self._connections:
            self._connections.remove(connection)

    def route(self, message: Message) -> None:
        """Pass a message that has reached the broker on to whoever asked for it, once each."""
        if not self._up:
            return
        if message.retain:
            if message.payload:
                self._retained[message.topic] = message
            else:
                self._retained.pop(message.topic, None)
        for connection in list(self._connections):
            if any(matches(each, message.topic) for each in connection.filters):
                connection.push(Message(message.topic, message.payload))

    def retained(self, topic_filter: str) -> list[Message]:
        """Return what the broker keeps for new subscribers of a filter, in the order of topics."""
        return [self._retained[topic] for topic in sorted(self._retained) if matches(topic_filter, topic)]

    def pipe(self, name: str, deliver: Callable[[T], None]) -> Pipe[T]:
        """Return a bare one-way pipe with the net's faults and dice of its own: a radio, a field bus."""
        return Pipe(self._loop, self._loop.dice(f"pipe/{name}"), self._faults, deliver)

    @property
    def loop(self) -> SimLoop:
        """The loop whose time passes."""
        return self._loop

    def _of(self, name: str) -> list["SimConnection"]:
        return [each for each in self._connections if each.name == name]

    def _line(self, name: str) -> "_Line":
        if name not in self._lines:
            self._lines[name] = _Line(self._loop, name, self._faults)
        return self._lines[name]

    def _note(self, event: str, *facts: str) -> None:
        self._loop.trace.add(self._loop.time(), f"net_{event}", *facts)


class _Line:
    """Both directions between one machine and the broker, across connections."""

    def __init__(self, loop: SimLoop, name: str, faults: Faults) -> None:
        self.faults = faults
        self.up_cut = self.down_cut = False
        dice = loop.dice(f"line/{name}")
        self.up: Pipe[Callable[[], None]] = Pipe(loop, dice.fork("up"), faults, _call)
        self.down: Pipe[Callable[[], None]] = Pipe(loop, dice.fork("down"), faults, _call)

    def set_faults(self, faults: Faults) -> None:
        self.faults = self.up.faults = self.down.faults = faults


def _call(arrival: Callable[[], None]) -> None:
    arrival()


class SimTransport:
    """`kit.net.Transport` of one machine on a `SimNet`."""

    def __init__(self, net: SimNet, name: str) -> None:
        self._net, self._name = net, name

    @contextlib.asynccontextmanager
    async def connect(
        self, *, subscribe: Sequence[str] = (), will: Message | None = None
    ) -> AsyncIterator["SimConnection"]:
        """See `kit.net.Transport.connect`."""
        connection = await self._net.connect(self._name, will)
        try:
            if subscribe:
                await connection.subscribe(*subscribe)
            yield connection
        finally:
            connection.close()


class SimConnection:
    """`kit.net.Connection` on a `SimNet`."""

    def __init__(self, net: SimNet, name: str, line: _Line, will: Message | None) -> None:
        self.name = name
        self.filters: list[str] = []
        self.overflowed = 0
        """Messages that found a full inbox."""
        self._net, self._line, self._will = net, line, will
        self._inbox: deque[Message] = deque()
        self._news = asyncio.Event()
        self._over: asyncio.Future[str] = net.loop.create_future()  # why the connection ended
        self._goodbye = False
        self._silent: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        """True once the link is lost or closed."""
        return self._over.done()

    async def wait_closed(self) -> None:
        """Return when the link is lost or closed."""
        await asyncio.wait({self._over})

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """See `kit.net.Connection.publish`."""
        if not topic or "+" in topic or "#" in topic:
            raise LocalProtocolError(f"no topic to publish to: {topic[:80]!r}")
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise LocalProtocolError(f"{topic}: {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX}")
        if self.closed:
            raise LinkLostError(f"{self.name}: the link is closed")
        message = Message(topic, payload, retain)
        answered: asyncio.Future[None] = self._net.loop.create_future()
        line = self._line
        line.up.send(lambda: None if line.up_cut else self._net.route(message))
        # the message's own fate is the pipe's; the answer is lost only with the line or the connection
        self._net.loop.call_later(self._round_trip_s(), self._answer, answered)
        await self._answered(answered, topic)

    async def subscribe(self, *filters: str) -> None:
        """See `kit.net.Connection.subscribe`."""
        await self._exchange("subscribe")
        for each in filters:
            if each not in self.filters:
                self.filters.append(each)
            for message in self._net.retained(each):
                self.push(message)

    async def unsubscribe(self, *filters: str) -> None:
        """See `kit.net.Connection.unsubscribe`."""
        await self._exchange("unsubscribe")
        self.filters = [each for each in self.filters if each not in filters]

    async def messages(self) -> AsyncIterator[Message]:
        """See `kit.net.Connection.messages`."""
        while True:
            while self._inbox:
                yield self._inbox.popleft()
            if self.closed:
                if self._goodbye:
                    return
                raise LinkLostError(f"{self.name}: the link is lost: {self._over.result()}")
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """Say goodbye; harmless after a loss."""
        if not self.closed:
            self._goodbye = True
            self._finish("closed")

    def push(self, message: Message) -> None:
        """Broker's side: put a message on its way down."""
        self._line.down.send(lambda: self._arrive(message))

    def silence(self) -> None:
        """The line has gone quiet: notice it after the keepalive."""
        if self._silent is None and not self.closed:
            self._silent = self._net.loop.call_later(KEEPALIVE_LOST_S, self.lose, "keepalive")

    def hear(self) -> None:
        """The line speaks again before anybody noticed."""
        if self._silent is not None:
            self._silent.cancel()
            self._silent = None

    def lose(self, why: str) -> None:
        """End the connection without a goodbye; the broker sends the will."""
        if self.closed:
            return
        self._finish(why)
        if self._will is not None:
            self._net.route(self._will)

    def _finish(self, why: str) -> None:
        self.hear()
        self._net.forget(self)
        self._over.set_result(why)
        self._news.set()

    def _arrive(self, message: Message) -> None:
        if self.closed or self._line.down_cut:
            return
        if len(self._inbox) >= INBOX_MESSAGES_MAX:
            self.overflowed += 1
            return
        self._inbox.append(message)
        self._news.set()

    def _round_trip_s(self) -> float:
        return 2 * self._line.faults.delay_most_ms / 1000

    def _answer(self, answered: asyncio.Future[None]) -> None:
        if not answered.done() and not (self._line.up_cut or self._line.down_cut or self.closed):
            answered.set_result(None)

    async def _answered(self, answered: asyncio.Future[None], topic: str) -> None:
        either: set[asyncio.Future[object]] = {answered, self._over}  # type: ignore[arg-type]  # futures are invariant
        await asyncio.wait(either, timeout=ANSWER_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            why = self._over.result() if self.closed else f"{ANSWER_WAIT_S} s of silence"
            raise ReplyTimeoutError(f"{self.name}: sent to {topic}, no answer: {why}")

    async def _exchange(self, what: str) -> None:
        if self.closed:
            raise LinkLostError(f"{self.name}: could not {what}: the link is closed")
        answered: asyncio.Future[None] = self._net.loop.create_future()
        self._net.loop.call_later(self._round_trip_s(), self._answer, answered)
        try:
            await self._answered(answered, what)
        except ReplyTimeoutError as error:
            raise LinkLostError(f"{self.name}: could not {what}: no answer") from error
