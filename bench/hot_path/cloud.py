"""Stands for the cloud's broker and its ingest worker: answers hellos and batches as protocols/link says, keeps all.

For a program that publishes message by message it only acknowledges and keeps. Asked by `child`: `listen`, `stats`,
`wait` (until so many readings are here), `check` (nothing lost, doubled, reordered, changed), `push_back`; of a
Zigbee2MQTT's readings `check_zigbee` and `arrivals` (when each message's last reading was here); of any `told` (device,
value, when). Times are `time.perf_counter`, which all processes of a Linux machine share.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

from bench.hot_path import zigbee
from bench.hot_path.child import serve
from bench.hot_path.payload import value_of
from kit.mqtt_wire import packets
from kit.mqtt_wire.parser import FROM_CLIENT, PacketParser
from protocols.link.batch import parse_batch
from protocols.link.lanes import Lane
from protocols.link.messages import Ack, AckMark, AckStatus, Hello, decode_hello, encode_ack


class Cloud:
    """What arrived, over all connections."""

    def __init__(self) -> None:
        self.hi: dict[tuple[bytes, Lane], int] = {}
        self.batches: dict[Lane, list[bytes]] = {lane: [] for lane in Lane}
        self.events: list[tuple[float, bytes]] = []
        self.messages: list[bytes] = []
        self.came_at: list[float] = []
        """When each of `messages` came."""
        self.last_at = 0.0
        self.message_count = self.records = self.duplicates = self.gaps = self.hellos = self.lives = 0
        self.bytes_in = 0
        self.slow_ms = 0
        self.keep = True
        self.began = asyncio.Event()

    async def answer(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        match asked["do"]:
            case "listen":
                server = await asyncio.get_running_loop().create_server(
                    lambda: Publisher(self), "127.0.0.1", asked.get("port", 0)
                )
                self.keep = asked.get("keep", True)
                return {"port": server.sockets[0].getsockname()[1]}
            case "stats":
                return self._stats()
            case "wait":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(asked["most_s"]):
                        while self._telemetry() + self.message_count < asked["count"]:  # counted, not set
                            await asyncio.sleep(0.005)
                return self._stats()
            case "push_back":
                self.slow_ms = asked["slow_ms"]
                return {}
            case "event_ages":
                return {"ages_s": self._event_ages()}
            case "check":
                return self._check(asked["devices"], asked["count"], asked["base_ms"])
            case "check_zigbee":
                return self._check_zigbee(asked["devices"], asked["count"], asked["base_ms"])
            case "told":
                told = zip(map(json.loads, self.messages), self.came_at, strict=True)
                return {"told": [(body["device"], body["value"], at) for body, at in told]}
            case "arrivals":
                return {"at": self._arrivals(asked["devices"], asked["count"], asked["base_ms"])}
        raise ValueError(asked["do"])

    def _stats(self) -> Mapping[str, Any]:
        return {
            "records": self.records, "messages": self.message_count, "duplicates": self.duplicates, "gaps": self.gaps,
            "hellos": self.hellos, "lives": self.lives, "bytes": self.bytes_in,
            "telemetry": self._telemetry(), "last_at": self.last_at,
        }  # fmt: skip

    def _telemetry(self) -> int:
        return sum(hi for (_, lane), hi in self.hi.items() if lane is Lane.C)  # an edge tells events of its own too

    def took(self, topic: bytes, payload: bytes) -> tuple[bytes, bytes] | None:
        """Take a message; return what to publish for it."""
        self.bytes_in += len(payload)
        self.last_at = time.perf_counter()
        levels = topic.split(b"/")
        if levels[0] != b"up":
            self.message_count += 1
            if self.keep:
                self.messages.append(payload)
                self.came_at.append(self.last_at)
            return None
        edge, what = levels[2], levels[3]
        if what == b"hello":
            self.hellos += 1
            ack = self._welcome(decode_hello(payload))
        elif what in (b"a", b"b", b"c"):
            ack = self._batch(payload)
        else:
            self.lives += what == b"live"
            return None
        return b"down/" + edge + b"/ack", encode_ack(ack)

    def _welcome(self, hello: Hello) -> Ack:
        marks = [
            AckMark(stream.incarnation, stream.lane, self.hi.setdefault((stream.incarnation, stream.lane), 0))
            for stream in hello.streams
        ]
        return Ack(AckStatus.WELCOME, tuple(marks), re=hello.nonce, slow_ms=self.slow_ms)

    def _batch(self, payload: bytes) -> Ack:
        head = parse_batch(payload)
        key = (head.incarnation, head.lane)
        hi = self.hi.setdefault(key, 0)
        if head.last <= hi:
            self.duplicates += 1
            status = AckStatus.DUPLICATE
        elif head.first != hi + 1:
            self.gaps += head.first > hi + 1
            status = AckStatus.GAP
        else:
            self.hi[key] = hi = head.last
            self.records += head.last - head.first + 1
            if head.lane is Lane.B:
                self.events.append((time.time(), payload))
            if self.keep:
                self.batches[head.lane].append(payload)
            status = AckStatus.STORED
        return Ack(status, (AckMark(head.incarnation, head.lane, hi),), slow_ms=self.slow_ms)

    def _event_ages(self) -> list[float]:
        """How old every live event was when its batch arrived, by the one clock of this machine."""
        return [
            at_s - record.edge_at_ms / 1_000
            for at_s, payload in self.events
            for record in parse_batch(payload).open().records
            if record.kind == "reading"
        ]

    def _told(self) -> list[tuple[str, int, object]]:
        """(device, its time, its value) of everything that arrived, in order."""
        told: list[tuple[str, int, object]] = []
        for payload in self.batches[Lane.C]:
            records = parse_batch(payload).open().records
            told += [(each.body["device"], each.device_at_ms or 0, each.body["value"]) for each in records]
        for message in self.messages:
            body = json.loads(message)
            told.append((body["device"], body.get("device_at_ms", body.get("t")), body["value"]))
        return told

    def _check(self, devices: int, count: int, base_ms: int) -> Mapping[str, Any]:
        doubled = reordered = wrong = 0
        last: dict[str, int] = {}
        seen: set[tuple[str, int]] = set()
        for device, at_ms, value in self._told():
            n = at_ms - base_ms
            if (device, n) in seen:
                doubled += 1
                continue
            seen.add((device, n))
            if n < last.get(device, -1):
                reordered += 1
            last[device] = max(last.get(device, -1), n)
            wrong += value != value_of(int(device[2:]), n)
        expected = {(f"t-{message % devices:04d}", message // devices) for message in range(count)}
        return {
            "arrived": len(seen), "lost": len(expected - seen), "invented": len(seen - expected), "doubled": doubled,
            "reordered": reordered, "wrong": wrong,
        }  # fmt: skip

    def _check_zigbee(self, devices: int, count: int, base_ms: int) -> Mapping[str, Any]:
        """As `_check`, of what a Zigbee2MQTT said; in order by what of a device is told."""
        expected = dict(zigbee.expected(devices, count))
        doubled = reordered = wrong = 0
        seen: set[zigbee.Said] = set()
        last: dict[tuple[str, str], int] = {}
        for name, what, n, value in self._zigbee_told(base_ms):
            said = (name, what, n)
            if said in seen:
                doubled += 1
                continue
            seen.add(said)
            reordered += n < last.get((name, what), -1)
            last[name, what] = max(last.get((name, what), -1), n)
            wrong += said in expected and value != expected[said]
        return {
            "arrived": len(seen), "lost": len(expected.keys() - seen), "invented": len(seen - expected.keys()),
            "doubled": doubled, "reordered": reordered, "wrong": wrong,
        }  # fmt: skip

    def _zigbee_told(self, base_ms: int) -> list[tuple[str, str, int, object]]:
        bodies = [
            (each.body, each.device_at_ms)
            for payload in self.batches[Lane.C]
            for each in parse_batch(payload).open().records
        ]
        for message in self.messages:
            body = json.loads(message)
            bodies.append((body, body["device_at_ms"]))
        return [
            (body["device"], f"{body['capability']}.{body['attribute']}", (at_ms or 0) - base_ms, body["value"])
            for body, at_ms in bodies
        ]

    def _arrivals(self, devices: int, count: int, base_ms: int) -> list[float]:
        at = [0.0] * count
        for (name, _, n, _), came_at in zip(self._zigbee_told(base_ms), self.came_at, strict=True):
            message = n * devices + int(name[2:])
            if 0 <= message < count:
                at[message] = max(at[message], came_at)
        return at


class Publisher(asyncio.Protocol):
    """One connection of the program under test."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._parser = PacketParser(v5=False, packet_bytes_max=1 << 20, takes=FROM_CLIENT)
        self._socket: asyncio.Transport | None = None
        self._id = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport

    def data_received(self, data: bytes) -> None:
        assert self._socket is not None
        publishes, controls = self._parser.feed(data)
        out: list[bytes] = []
        for head, body in controls:
            if head == packets.CONNECT:
                out.append(bytes((packets.CONNACK, 2, 0, 0)))
            elif head == packets.SUBSCRIBE:
                out.append(bytes((packets.SUBACK, 3)) + body[:2] + b"\x01")
            elif head == packets.PINGREQ[0]:
                out.append(bytes((packets.PINGRESP, 0)))
        if publishes:
            out.append(packets.pubacks([packet_id for _, _, packet_id, _ in publishes if packet_id]))
            for topic, payload, _, _ in publishes:
                answer = None if payload is None else self._cloud.took(topic, payload)
                if answer is not None:
                    self._id = self._id % 65_535 + 1
                    out.append(packets.publish(*answer, self._id, retain=False, v5=False))
        if out:
            self._socket.write(b"".join(out))


if __name__ == "__main__":
    asyncio.run(serve(Cloud().answer))
