"""Who has more than it should has its messages handed out slowly, and its broker holds the others back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from kit.mqtt_wire import bus_transport
from kit.mqtt_wire.bus_transport import TURN_MESSAGES, BusConnection, BusTransport
from kit.mqtt_wire.transport import Broker
from kit.net import INBOX_MESSAGES_MAX, Connection
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


class SaysUnanswered(Says):
    """A broker whose messages nobody acknowledges (QoS 0), as those of Zigbee2MQTT are: it holds nothing back."""

    def __init__(self, count: int) -> None:
        super().__init__(0)
        topics = [b"a/%05d" % number for number in range(1, count + 1)]
        self._said = b"".join(b"\x30%c\x00%c%b{}" % (len(each) + 4, len(each), each) for each in topics)


@contextlib.asynccontextmanager
async def reading(says: Says, inbox_messages_max: int = INBOX_MESSAGES_MAX) -> AsyncIterator[Reader]:
    reader = Reader()
    async with await asyncio.start_server(says.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        broker = Broker("127.0.0.1", port, client_id="ben-00000001", inbox_messages_max=inbox_messages_max)
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


async def test_what_no_broker_holds_back_is_read_before_there_is_no_room_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bus_transport, "CROWDED_WAIT_S", 3_600.0)
    async with reading(SaysUnanswered(SAID), inbox_messages_max=SAID) as reader:
        await reader.until(2 * TURN_MESSAGES)
        assert reader.read == 2 * TURN_MESSAGES, "less than half an inbox is held back"


async def test_what_came_before_the_link_was_lost_is_given_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_transport, "CROWDED_WAIT_S", 3_600.0)
    says = Says(SAID)
    async with await asyncio.start_server(says.serve, "127.0.0.1", 0) as server:
        broker = Broker("127.0.0.1", server.sockets[0].getsockname()[1], client_id="ben-00000001")
        async with BusTransport(broker, crowded=lambda: True).connect(subscribe=["a/#"]) as link:
            reader = Reader()
            task = asyncio.create_task(reader.reads(link))
            await reader.until(TURN_MESSAGES)
            assert isinstance(link, BusConnection)
            async with asyncio.timeout(WAIT_S):
                while len(link.inbox) < SAID - TURN_MESSAGES:
                    await asyncio.sleep(0.001)
                link.abandon()
                await task
    assert reader.read == SAID
