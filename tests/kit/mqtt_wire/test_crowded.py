"""Who has more than it should has its messages handed out slowly, and its broker holds the others back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from kit.mqtt_wire import bus_transport
from kit.mqtt_wire.bus_transport import TURN_MESSAGES, BusTransport
from kit.mqtt_wire.transport import Broker
from kit.net import Connection
from tests.kit.mqtt_wire.test_owed import WAIT_S, Says

SAID = 3 * TURN_MESSAGES


class Reader:
    """Who reads, and says that it has enough or not."""

    def __init__(self) -> None:
        self.crowded = True
        self.read = 0

    async def reads(self, link: Connection) -> None:
        async for _ in link.messages():
            self.read += 1

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.read < count:
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def reading(says: Says) -> AsyncIterator[Reader]:
    reader = Reader()
    async with await asyncio.start_server(says.serve, "127.0.0.1", 0) as server:
        broker = Broker("127.0.0.1", server.sockets[0].getsockname()[1], client_id="ben-00000001")
        transport = BusTransport(broker, crowded=lambda: reader.crowded)
        async with transport.connect(subscribe=["a/#"]) as link:
            task = asyncio.create_task(reader.reads(link))
            yield reader
            task.cancel()
            await asyncio.wait({task})


async def test_a_crowded_reader_is_given_one_turn_and_the_broker_holds_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bus_transport, "CROWDED_WAIT_S", 3_600.0)
    says = Says(SAID)
    async with reading(says) as reader:
        await says.until(TURN_MESSAGES)
        assert (reader.read, len(says.acknowledged)) == (TURN_MESSAGES, TURN_MESSAGES)
        reader.crowded = False
        await says.until(SAID)
        assert reader.read == SAID


async def test_a_reader_that_is_crowded_for_ever_is_given_everything_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bus_transport, "CROWDED_WAIT_S", 0.001)
    async with reading(Says(SAID)) as reader:
        await reader.until(SAID)
