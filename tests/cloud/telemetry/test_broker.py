"""What the fan-in needs of the small broker that nats-server does not give by itself (docs/decisions/0051)."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from kit.mqtt_wire.transport import Broker, WireTransport
from protocols.errors import LinkLostError
from provisioning.rehearsal import nats as rehearsal
from provisioning.rehearsal.nats import Nats

pytestmark = pytest.mark.tier("nats")


def client(broker: Nats, name: str) -> WireTransport:
    return WireTransport(Broker("127.0.0.1", broker.port, name))


@pytest.mark.guarantee("G12")
async def test_the_number_of_edges_is_bounded_by_our_word_and_not_by_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each edge hears `down/<edge>/#`, two consumers of one stream; by itself the server stops at 500 edges."""
    assert rehearsal.CONSUMERS_MAX >= 2 * 10_000
    monkeypatch.setattr(rehearsal, "CONSUMERS_MAX", 4)
    async with Nats(tmp_path / "nats") as broker, contextlib.AsyncExitStack() as links:
        for n in range(2):
            await links.enter_async_context(client(broker, f"e-{n}").connect(subscribe=[f"down/e-{n}/#"]))
        with pytest.raises(LinkLostError, match="refused"):
            await links.enter_async_context(client(broker, "e-2").connect(subscribe=["down/e-2/#"]))


@pytest.mark.guarantee("G2")
async def test_what_was_not_acknowledged_comes_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rehearsal.ACK_WAIT == "2s"
    monkeypatch.setattr(rehearsal, "ACK_WAIT", "100ms")
    async with (
        Nats(tmp_path / "nats") as broker,
        client(broker, "worker").connect(subscribe=["up/+/+/+"]) as worker,
        client(broker, "edge").connect() as edge,
        asyncio.timeout(15),  # the server's own word is 30 s
    ):
        await edge.publish("up/1/e-1/c", b"batch")
        seen = [each for _ in range(2) for _, each, *_ in await worker.batch(1)]
    assert seen == [b"batch", b"batch"]
