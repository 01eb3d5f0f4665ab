"""Stands for the site broker and its devices: sends at a rate or as fast as it is answered, and times every PUBACK.

One subscriber, one session kept while it is away: what it did not acknowledge is sent again with DUP, in order. Asked
by `child`: `listen` (with `zigbee`: as a Zigbee2MQTT with so many devices), `send` (returns once all is acknowledged
unless told not to wait), `sent`, `stats`, `times` (when each message was first sent).
"""

import asyncio
import time
from array import array
from collections.abc import Mapping
from typing import Any, Final

from bench.hot_path import zigbee
from bench.hot_path.child import serve
from bench.hot_path.payload import event_of, heads_of, payload_of, topic_of
from kit.mqtt_wire import packets
from kit.mqtt_wire.parser import FROM_CLIENT, PacketParser

TICK_S: Final = 0.001
CHUNK: Final = 200
PACKET_IDS: Final = 65_535


class Site:
    """The broker's state, over all connections."""

    def __init__(self) -> None:
        self.link: Subscriber | None = None
        self.window, self.devices, self.base_ms, self.rate = 1_000, 100, 0, 0.0
        self.heads: list[bytes] = []
        self.goal = self.next = 0
        self.sent_at, self.waits = array("d"), array("d")
        self.open: dict[int, int] = {}  # packet id -> message, in order
        self.last_id = 0
        self.known_session = False
        self.again = 0
        self.began = self.ended = 0.0
        self.done = asyncio.Event()
        self.from_n = self.events_every = 0
        self.zigbee = 0
        self._sending: asyncio.Task[None] | None = None

    async def answer(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        match asked["do"]:
            case "listen":
                self.zigbee = asked.get("zigbee", 0)
                server = await asyncio.get_running_loop().create_server(lambda: Subscriber(self), "127.0.0.1", 0)
                return {"port": server.sockets[0].getsockname()[1]}
            case "send":
                self.window, self.devices, self.base_ms = asked["window"], asked["devices"], asked["base_ms"]
                self.rate = asked["rate"]
                self.heads = heads_of(asked["devices"], zigbee.topic_of if self.zigbee else topic_of)
                self.events_every = asked.get("events_every", 0)
                self.done.clear()
                self.goal += asked["count"]
                self.began, self.from_n = time.perf_counter(), self.next
                if asked.get("wait", True):
                    return await self._sent()
                self._sending = asyncio.create_task(self._send())
                return {}
            case "sent":
                if self._sending is not None:
                    await self._sending
                await self.done.wait()
                return self.figures()
            case "times":
                return {"began": self.began, "sent_at": list(self.sent_at[self.from_n :])}
            case "stats":
                return {"sent": self.next, "open": len(self.open), "again": self.again, "acked": len(self.waits)}
        raise ValueError(asked["do"])

    async def _sent(self) -> Mapping[str, Any]:
        await self._send()
        await self.done.wait()
        return self.figures()

    def figures(self) -> Mapping[str, Any]:
        waits = sorted(self.waits)
        took = self.ended - self.began
        count = len(waits)
        self.waits = array("d")
        return {
            "sent": self.goal - self.from_n,
            "took_s": took,
            "rate": (self.goal - self.from_n) / took if took else 0.0,
            "p50_ms": waits[count // 2] * 1_000,
            "p99_ms": waits[min(count - 1, int(count * 0.99))] * 1_000,
            "most_ms": waits[-1] * 1_000,
            "again": self.again,
        }

    async def _send(self) -> None:
        """At a rate: what is due each millisecond. Without one: `pump` goes on with every answer."""
        if not self.rate:
            self.pump()
            return
        first = self.next
        while self.next < self.goal:
            due = first + int((time.perf_counter() - self.began) * self.rate) + 1
            self.pump(min(due, self.goal))
            await asyncio.sleep(TICK_S)

    def pump(self, upto: int | None = None) -> None:
        """Send what the window allows."""
        link = self.link
        if link is None or not link.subscribed:
            return
        upto = self.goal if upto is None else upto
        room = min(upto - self.next, self.window - len(self.open))
        while room > 0:
            count = min(room, CHUNK)
            room -= count
            self._write(link, [self._next_message() for _ in range(count)], 0)

    def _next_message(self) -> int:
        message = self.next
        self.next += 1
        self.sent_at.append(0.0)
        return message

    def _write(self, link: "Subscriber", messages: list[int], dup: int) -> None:
        chunk: list[bytes] = []
        devices, heads, base_ms, now = self.devices, self.heads, self.base_ms, time.perf_counter()
        plain = zigbee.payload_of if self.zigbee else payload_of
        for message in messages:
            self.last_id = packet_id = self.last_id % PACKET_IDS + 1
            self.open[packet_id] = message
            self.sent_at[message] = self.sent_at[message] or now
            device = message % devices
            form = plain
            if self.events_every and message % self.events_every == 0:
                form = event_of
            body = heads[device] + packet_id.to_bytes(2, "big") + form(device, message // devices, base_ms)
            chunk.append(bytes((0x32 | dup,)) + packets.variable(len(body)) + body)
        link.write(b"".join(chunk))

    def subscribed(self, link: "Subscriber") -> None:
        """Say what was kept, deliver again what was not acknowledged, then go on."""
        self.link = link
        for topic, payload in zigbee.greetings(self.zigbee) if self.zigbee else ():
            self.last_id = self.last_id % PACKET_IDS + 1
            link.write(packets.publish(topic, payload, self.last_id, retain=True, v5=False))
        left = list(self.open.values())
        self.open.clear()
        self.again += len(left)
        for start in range(0, len(left), CHUNK):
            self._write(link, left[start : start + CHUNK], packets.DUP)
        if not self.rate:
            self.pump()

    def acknowledged(self, ids: list[int]) -> None:
        now, opened, waits, sent_at = time.perf_counter(), self.open, self.waits, self.sent_at
        for packet_id in ids:
            message = opened.pop(packet_id, None)
            if message is not None:
                waits.append(now - sent_at[message])
        if not self.rate:
            self.pump()
        if not opened and self.next == self.goal:
            self.ended = now
            self.done.set()


class Subscriber(asyncio.Protocol):
    """One connection of the program under test."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._parser = PacketParser(v5=False, packet_bytes_max=1 << 20, takes=FROM_CLIENT)
        self._socket: asyncio.Transport | None = None
        self.subscribed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport

    def write(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.write(data)

    def data_received(self, data: bytes) -> None:
        publishes, controls = self._parser.feed(data)
        self.write(packets.pubacks([packet_id for _, _, packet_id, _ in publishes if packet_id]))
        acknowledged: list[int] = []
        for head, body in controls:
            if head == packets.PUBACK:
                acknowledged.append(body[0] << 8 | body[1])
            elif head == packets.CONNECT:
                kept = self._site.known_session and not body[7] & 0x02
                self._site.known_session = not body[7] & 0x02
                self.write(bytes((packets.CONNACK, 2, kept, 0)))
                if kept:
                    self.subscribed = True
                    self._site.subscribed(self)
            elif head == packets.SUBSCRIBE:
                self.write(bytes((packets.SUBACK, 3)) + body[:2] + b"\x01")
                if not self.subscribed:
                    self.subscribed = True
                    self._site.subscribed(self)
            elif head == packets.PINGREQ[0]:
                self.write(bytes((packets.PINGRESP, 0)))
        if acknowledged:
            self._site.acknowledged(acknowledged)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's shape
        self._socket = None
        if self._site.link is self:
            self._site.link = None


if __name__ == "__main__":
    asyncio.run(serve(Site().answer))
