"""When a bus's reader has its messages acknowledged: all that it took, in order, and none that it did not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from kit.mqtt_wire import bus_transport, packets
from kit.mqtt_wire.bus_transport import OWED_MOST, BusConnection, BusTransport
from kit.mqtt_wire.transport import Broker

WAIT_S = 10.0


class Says:
    """A broker that says so many messages at once, and takes note of what is acknowledged."""

    def __init__(self, count: int) -> None:
        self.acknowledged: list[int] = []
        topics = [b"a/%05d" % number for number in range(1, count + 1)]
        self._said = b"".join(
            packets.publish(topic, b"{}", number, retain=False, v5=False) for number, topic in enumerate(topics, 1)
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            for subscribed in (False, True):
                _, length = await reader.readexactly(2)
                body = await reader.readexactly(length)
                answer = b"\x90\x03" + body[:2] + b"\x01" + self._said if subscribed else b"\x20\x02\x00\x00"
                writer.write(answer)
            while head := await reader.readexactly(2):
                body = await reader.readexactly(head[1])
                if head[0] == packets.PUBACK:
                    self.acknowledged.append(int.from_bytes(body, "big"))
        writer.close()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.acknowledged) < count:
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def heard(says: Says) -> AsyncIterator[BusConnection]:
    async with await asyncio.start_server(says.serve, "127.0.0.1", 0) as server:
        broker = Broker("127.0.0.1", server.sockets[0].getsockname()[1], client_id="ben-00000001")
        async with BusTransport(broker).connect(subscribe=["a/#"]) as link:
            assert isinstance(link, BusConnection)
            yield link


async def test_who_has_read_all_has_acknowledged_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_transport, "OWED_WAIT_S", 3_600.0)
    says = Says(20)
    async with heard(says) as link:
        reading = link.messages()
        for _ in range(20):
            await anext(reading)
        waiting = asyncio.ensure_future(anext(reading))
        await says.until(20)
        assert says.acknowledged == list(range(1, 21))
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_a_reader_that_takes_its_time_has_what_it_took_acknowledged_meanwhile() -> None:
    says = Says(20)
    async with heard(says) as link:
        reading = link.messages()
        for _ in range(3):
            await anext(reading)
        await says.until(3)
        assert says.acknowledged == [1, 2, 3]


async def test_no_more_is_owed_than_a_broker_may_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_transport, "OWED_WAIT_S", 3_600.0)
    says = Says(3 * OWED_MOST)
    async with heard(says) as link:
        reading = link.messages()
        async with asyncio.timeout(WAIT_S):
            while len(link.inbox) < 3 * OWED_MOST:
                await asyncio.sleep(0.001)
        for _ in range(2 * OWED_MOST + 1):
            await anext(reading)
        await says.until(2 * OWED_MOST)
        assert says.acknowledged == list(range(1, 2 * OWED_MOST + 1))
