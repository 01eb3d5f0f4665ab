"""What every `Transport` must do, simulated or real: claims over two transports to the same broker."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from kit.net import PAYLOAD_BYTES_MAX, Connection, Message, Transport
from protocols.errors import LinkLostError, LocalProtocolError

Claim = Callable[[Transport, Transport], Awaitable[None]]
WAIT_S: Final = 10.0


async def take(connection: Connection, count: int) -> list[Message]:
    """Return the next `count` messages; TimeoutError if they do not come."""
    taken: list[Message] = []
    async with asyncio.timeout(WAIT_S):
        while len(taken) < count:
            async for message in connection.messages():
                taken.append(message)
                if len(taken) == count:
                    break
    return taken


async def a_message_reaches_whoever_asked_and_keeps_its_bytes(ann: Transport, ben: Transport) -> None:
    async with ben.connect(subscribe=["a/+", "b/#"]) as hearing, ann.connect() as saying:
        await saying.publish("a/1", bytes(range(256)))
        await saying.publish("c/1", b"for nobody")
        await saying.publish("b/x/y", b"")
        heard = sorted(await take(hearing, 2), key=lambda each: each.topic)  # a broker keeps the order of one topic
        assert heard == [Message("a/1", bytes(range(256))), Message("b/x/y", b"")]


async def messages_of_one_sender_keep_their_order(ann: Transport, ben: Transport) -> None:
    async with ben.connect(subscribe=["a"]) as hearing, ann.connect() as saying:
        for number in range(200):
            await saying.publish("a", str(number).encode())
        assert [int(each.payload) for each in await take(hearing, 200)] == list(range(200))


async def many_publishes_may_wait_at_once(ann: Transport, ben: Transport) -> None:
    async with ben.connect(subscribe=["a"]) as hearing, ann.connect() as saying:
        await asyncio.gather(*(saying.publish("a", str(number).encode()) for number in range(300)))
        assert sorted(int(each.payload) for each in await take(hearing, 300)) == list(range(300))


async def filters_come_and_go_while_the_link_lives(ann: Transport, ben: Transport) -> None:
    async with ben.connect() as hearing, ann.connect() as saying:
        await hearing.subscribe("a", "b")
        await hearing.unsubscribe("a")
        await saying.publish("a", b"no")
        await saying.publish("b", b"yes")
        assert await take(hearing, 1) == [Message("b", b"yes")]


async def a_retained_message_waits_for_who_comes_later(ann: Transport, ben: Transport) -> None:
    async with ann.connect() as saying:
        await saying.publish("state/1", b"old", retain=True)
        await saying.publish("state/1", b"new", retain=True)
        await saying.publish("state/2", b"gone", retain=True)
        await saying.publish("state/2", b"", retain=True)
    async with ben.connect(subscribe=["state/+"]) as hearing:
        [message] = await take(hearing, 1)
        assert (message.topic, message.payload) == ("state/1", b"new")


async def a_polite_end_ends_the_reader_quietly_and_sends_no_will(ann: Transport, ben: Transport) -> None:
    async with ben.connect(subscribe=["will", "mark"]) as hearing:
        async with ann.connect(will=Message("will", b"died")) as saying:
            reader = asyncio.create_task(_read_to_the_end(saying))
            await asyncio.sleep(0)
        assert saying.closed
        await asyncio.wait_for(saying.wait_closed(), WAIT_S)
        assert await asyncio.wait_for(reader, WAIT_S) == []
        async with ann.connect() as saying:
            await saying.publish("mark", b"")
        assert await take(hearing, 1) == [Message("mark", b"")]


async def nothing_is_published_on_a_closed_link(ann: Transport, _ben: Transport) -> None:
    async with ann.connect() as saying:
        pass
    with pytest.raises(LinkLostError):
        await saying.publish("a", b"")


async def what_no_broker_may_be_asked_is_our_defect(ann: Transport, _ben: Transport) -> None:
    async with ann.connect() as saying:
        for topic in ("", "a/+", "a/#"):
            with pytest.raises(LocalProtocolError, match="no topic to publish to"):
                await saying.publish(topic, b"")
        with pytest.raises(LocalProtocolError, match="at most"):
            await saying.publish("a", bytes(PAYLOAD_BYTES_MAX + 1))
        assert not saying.closed


async def an_exception_in_the_block_comes_out_and_closes_the_link(ann: Transport, _ben: Transport) -> None:
    with pytest.raises(ZeroDivisionError):
        async with ann.connect() as saying:
            raise ZeroDivisionError
    assert saying.closed


async def _read_to_the_end(connection: Connection) -> list[Message]:
    return [message async for message in connection.messages()]


CLAIMS: Final[tuple[Claim, ...]] = (
    a_message_reaches_whoever_asked_and_keeps_its_bytes,
    messages_of_one_sender_keep_their_order,
    many_publishes_may_wait_at_once,
    filters_come_and_go_while_the_link_lives,
    a_retained_message_waits_for_who_comes_later,
    a_polite_end_ends_the_reader_quietly_and_sends_no_will,
    nothing_is_published_on_a_closed_link,
    what_no_broker_may_be_asked_is_our_defect,
    an_exception_in_the_block_comes_out_and_closes_the_link,
)
