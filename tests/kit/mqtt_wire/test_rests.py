"""A rest ends in a read of its own, beside the event loop: whatever stands there, and whose number it is by then."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from kit.identity import tls_client_context
from kit.mqtt_wire import transport
from kit.mqtt_wire.transport import Broker, WireConnection, WireTransport
from protocols.errors import LinkLostError
from provisioning.pki.development_ca import DevelopmentAuthority
from provisioning.rehearsal.nats import Nats, Tls, edge_rights

WAIT_S = 10.0
REST = timedelta(milliseconds=30)
Version = Literal["3.1.1", "5"]


@dataclass
class Peer:
    """A broker in our hands: what it sends is what the test says, when it says so."""

    v5: bool
    writer: asyncio.StreamWriter | None = None
    there: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(b"\x20\x03\x00\x00\x00" if self.v5 else b"\x20\x02\x00\x00")
        self.writer = writer
        self.there.set()
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    def message(self, n: int, size: int = 4) -> bytes:
        inside = b"\x00\x01a" + struct.pack(">H", n + 1) + (b"\x00" if self.v5 else b"") + b"%d" % n + b" " * size
        length, rest = bytearray(), len(inside)
        while True:
            rest, digit = divmod(rest, 128)[0], rest % 128
            length.append(digit | (0x80 if rest else 0))
            if not rest:
                return b"\x32" + bytes(length) + inside

    def say(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)

    def reset(self) -> None:
        assert self.writer is not None
        own = self.writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def linked(version: Version = "3.1.1", inbox: int = 1_000) -> AsyncIterator[tuple[Peer, WireConnection]]:
    peer = Peer(version == "5")
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    broker = Broker("127.0.0.1", port, client_id="us", rest=REST, version=version, inbox_messages_max=inbox)
    try:
        async with asyncio.timeout(WAIT_S), WireTransport(broker).connect() as link:
            await peer.there.wait()
            yield peer, link
    finally:
        server.close()
        if peer.writer is not None:
            peer.writer.close()
            with contextlib.suppress(ConnectionError):
                await peer.writer.wait_closed()


async def resting(peer: Peer, link: WireConnection) -> None:
    """Have one message heard, after which nothing is read for a while."""
    peer.say(peer.message(0))
    assert [number(each[1]) for each in await link.batch(10)] == [0]
    assert link._resting


def number(payload: bytes | None) -> int:
    assert payload is not None
    return int(payload)


async def numbers(link: WireConnection, count: int) -> list[int]:
    got: list[int] = []
    while len(got) < count:
        got += [number(payload) for _, payload, _, _ in await link.batch(100)]
    return got


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize(("end", "before"), [("end", 0), ("end", 1), ("end", 3), ("reset", 0)])
async def test_an_end_within_a_rest_is_noticed_behind_what_came_before_it(
    version: Version, end: str, before: int
) -> None:
    async with linked(version) as (peer, link):
        await resting(peer, link)
        peer.say(b"".join(peer.message(n) for n in range(1, 1 + before)))
        if end == "end":
            assert peer.writer is not None
            peer.writer.close()
        else:
            peer.reset()
        assert await numbers(link, before) == list(range(1, 1 + before))
        with pytest.raises(LinkLostError):
            await link.batch(10)


@pytest.mark.guarantee("G19")
async def test_nonsense_within_a_rest_ends_the_link_by_its_name() -> None:
    async with linked() as (peer, link):
        await resting(peer, link)
        peer.say(b"\x00\xff\xff\xff\xff\xff")
        with pytest.raises(LinkLostError) as told:
            await link.batch(10)
    assert told.value.__cause__ is not None


@pytest.mark.guarantee("G11")
async def test_a_defect_at_the_end_of_a_rest_ends_the_link_and_does_not_leave_it_unheard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, caught = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _loop, context: caught.append(context.get("exception")))

    def broken(data: bytes) -> None:
        raise RuntimeError(f"a defect, of {len(data)} bytes")

    try:
        async with linked() as (peer, link):
            await resting(peer, link)
            monkeypatch.setattr(link._session, "receive", broken)
            peer.say(peer.message(1))
            with pytest.raises(LinkLostError, match="a defect"):
                await link.batch(10)
    finally:
        loop.set_exception_handler(None)
    assert [type(each) for each in caught] == [RuntimeError]


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("how", ["close", "abandon", "reset"])
async def test_a_number_that_belongs_to_somebody_else_by_the_end_of_a_rest_is_not_read(how: str) -> None:
    async with linked() as (peer, link):
        await resting(peer, link)
        number_then = link._plain_fd
        assert number_then is not None
        if how == "close":
            await link.close()
        elif how == "abandon":
            link.abandon()
        else:
            peer.reset()
            link._rested()  # notices nothing itself
        await link.wait_closed()
        await asyncio.sleep(0)  # the event loop closes the socket behind `connection_lost`
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        taken = os.dup(ours) if number_then != ours else ours
        if taken != number_then:
            os.dup2(ours, number_then)
        try:
            os.write(theirs, b"not for us")
            link._resting = True
            link._rested()
            assert os.read(number_then, 100) == b"not for us"
        finally:
            for each in {ours, theirs, taken, number_then}:
                os.close(each)


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("beyond", [-1, 0, 1, 40])
@pytest.mark.parametrize("inbox", [2, 1_000])
async def test_as_much_as_one_read_takes_and_a_little_more_or_less_comes_whole_and_in_order(
    monkeypatch: pytest.MonkeyPatch, beyond: int, inbox: int
) -> None:
    async with linked(inbox=inbox) as (peer, link):
        said = b"".join(peer.message(n, size=50) for n in range(1, 5))
        monkeypatch.setattr(transport, "READ_BYTES", len(said) - beyond)
        await resting(peer, link)
        peer.say(said)
        assert await numbers(link, 4) == [1, 2, 3, 4]
        peer.say(peer.message(5))
        assert await numbers(link, 1) == [5]


@pytest.mark.tier("nats")
async def test_behind_tls_only_the_transport_reads(tmp_path: Path) -> None:
    ca = DevelopmentAuthority(tmp_path / "ca", name="test", now=datetime.now(UTC))
    server, us = ca.server("broker"), ca.client("e-aurora0000000001")
    tls = Tls(server.authority, server.certificate, server.private_key, [edge_rights("e-aurora0000000001")])
    async with Nats(tmp_path / "nats", tls=tls) as nats:
        context = tls_client_context(us.authority, us.certificate, us.private_key)
        broker = Broker(nats.host, nats.port, client_id="e-aurora0000000001", tls=context, rest=REST)
        async with WireTransport(broker).connect(subscribe=["down/e-aurora0000000001/#"]) as link:
            assert link._plain_fd is None
            link._resting = True
            link._listen()
            link._rested()
            await link.publish_many([(b"up/3/e-aurora0000000001/a", bytes(1_000))] * 20)
