"""The socket: every claim of the transport contract over real brokers, and what a hot path has beyond it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from kit import event_loop
from kit.identity import tls_client_context
from kit.mqtt_wire import packets
from kit.mqtt_wire.parser import Publish
from kit.mqtt_wire.transport import Broker, WireTransport
from protocols.errors import LinkLostError, LocalProtocolError, ReplyTimeoutError
from provisioning.pki.development_ca import DevelopmentAuthority
from provisioning.rehearsal import nats as rehearsal
from provisioning.rehearsal.nats import Nats, Tls, edge_rights, free_port
from tests.conftest import find_program
from tests.contract.transport_claims import CLAIMS, Claim, take

every_claim: Final = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
WAIT_S: Final = 10.0


@pytest.fixture
async def nats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nats]:
    monkeypatch.setattr(rehearsal, "ACK_WAIT", "60s")  # else what a busy reader has not answered in 2 s comes twice
    async with Nats(tmp_path / "nats") as server:
        yield server


@pytest.mark.tier("nats")
@every_claim
async def test_mqtt_3_1_1_over_nats(claim: Claim, nats: Nats) -> None:
    ann = Broker(nats.host, nats.port, client_id="ann-00000001")
    await claim(WireTransport(ann), WireTransport(replace(ann, client_id="ben-00000001")))


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[int]:
    program, port = find_program("mosquitto"), free_port("127.0.0.1")
    assert program is not None
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = await asyncio.create_subprocess_exec(
        program, "-c", tmp_path / "mosquitto.conf", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(WAIT_S):
            while process.returncode is None:
                with contextlib.suppress(LinkLostError):
                    async with WireTransport(Broker("127.0.0.1", port, client_id="probe-0001")).connect():
                        break
                await asyncio.sleep(0.02)
        assert process.returncode is None, f"mosquitto ended with {process.returncode}"
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.tier("mosquitto")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
@every_claim
async def test_mqtt_over_mosquitto(claim: Claim, version: str, mosquitto: int) -> None:
    ann = Broker("127.0.0.1", mosquitto, client_id="ann-00000001", version="5" if version == "5" else "3.1.1")
    await claim(WireTransport(ann), WireTransport(replace(ann, client_id="ben-00000001")))


@pytest.mark.tier("nats")
@pytest.mark.parametrize("rest_ms", [0, 15])
@every_claim
def test_mqtt_on_the_event_loop_of_the_programs(claim: Claim, rest_ms: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with Nats(tmp_path / "nats") as nats:
            rest = timedelta(milliseconds=rest_ms)
            ann = Broker(nats.host, nats.port, client_id="ann-00000001", rest=rest)
            await claim(WireTransport(ann), WireTransport(replace(ann, client_id="ben-00000001")))

    event_loop.run(main())


@pytest.mark.tier("mosquitto")
@every_claim
async def test_mqtt_with_rests_between_reads(claim: Claim, mosquitto: int) -> None:
    ann = Broker("127.0.0.1", mosquitto, client_id="ann-00000001", rest=timedelta(milliseconds=15))
    await claim(WireTransport(ann), WireTransport(replace(ann, client_id="ben-00000001")))


@pytest.mark.tier("mosquitto")
@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_was_not_acknowledged_comes_again_with_its_id_into_a_kept_session(
    version: str, mosquitto: int
) -> None:
    ben = Broker(
        "127.0.0.1", mosquitto, client_id="ben-00000001", version="5" if version == "5" else "3.1.1",
        session_expiry=timedelta(hours=1),
    )  # fmt: skip
    async with WireTransport(replace(ben, client_id="ann-00000001", session_expiry=timedelta(0))).connect() as saying:
        async with WireTransport(ben).connect(subscribe=["a"]) as hearing:
            assert not hearing.session_present
            await saying.publish_many([(b"a", b"%d" % n) for n in range(5)])
            first = await asyncio.wait_for(hearing.batch(1), WAIT_S)
            hearing.acknowledge(first)
            left = await asyncio.wait_for(hearing.batch(100), WAIT_S)
            hearing.abandon()
        await saying.publish("a", b"5")
        async with WireTransport(ben).connect(subscribe=["a"]) as hearing:
            assert hearing.session_present
            again: list[Publish] = []
            async with asyncio.timeout(WAIT_S):
                while len(again) < 5:
                    again += await hearing.batch(100)
            hearing.acknowledge(again)
    assert [payload for _, payload, _, _ in again] == [b"1", b"2", b"3", b"4", b"5"]
    told_again = {packet_id: head & packets.DUP for _, _, packet_id, head in again}
    assert all(told_again[packet_id] for _, _, packet_id, _ in left)


@pytest.mark.tier("nats")
@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("inbox", [10, 10_000])
async def test_who_rests_hears_all_in_order_few_or_many_and_notices_the_end(nats: Nats, inbox: int) -> None:
    rest = timedelta(milliseconds=10)
    ben = Broker(nats.host, nats.port, client_id="ben-00000001", rest=rest, inbox_messages_max=inbox)
    counts = [1, 1, 3, 40, 1, 2_000, 2, 1]
    async with (
        WireTransport(ben).connect(subscribe=["a"]) as hearing,
        WireTransport(replace(ben, client_id="ann-00000001", rest=timedelta(0))).connect() as saying,
    ):

        async def say() -> None:
            said = 0
            for count in counts:
                await saying.publish_many([(b"a", b"%d" % n) for n in range(said, said + count)])
                said += count
                await asyncio.sleep(rest.total_seconds() * 0.7)

        telling = asyncio.create_task(say())
        got: list[bytes | None] = []
        async with asyncio.timeout(WAIT_S):
            while len(got) < sum(counts):
                taken = await hearing.batch(100)
                got += [payload for _, payload, _, _ in taken]
                hearing.acknowledge(taken)
        await telling
        assert got == [b"%d" % n for n in range(sum(counts))]
        await saying.publish("a", b"last")
        async with asyncio.timeout(WAIT_S):
            assert [payload for _, payload, _, _ in await hearing.batch(10)] == [b"last"]
            await nats.kill()  # a rest has begun: the end comes in it
            with pytest.raises(LinkLostError):
                await hearing.batch(10)


@pytest.mark.tier("nats")
async def test_mutual_tls_lets_us_in_and_a_stranger_not(tmp_path: Path) -> None:
    ca = DevelopmentAuthority(tmp_path / "ca", name="test", now=datetime.now(UTC))
    server, us = ca.server("broker"), ca.client("e-aurora0000000001")
    other = DevelopmentAuthority(tmp_path / "other", name="other", now=datetime.now(UTC)).client("e-aurora0000000001")
    tls = Tls(server.authority, server.certificate, server.private_key, [edge_rights("e-aurora0000000001")])
    async with Nats(tmp_path / "nats", tls=tls) as nats:
        context = tls_client_context(us.authority, us.certificate, us.private_key)
        broker = Broker(nats.host, nats.port, client_id="e-aurora0000000001", tls=context)
        async with WireTransport(broker).connect(subscribe=["down/e-aurora0000000001/#"]) as link:
            await link.publish_many([(b"up/3/e-aurora0000000001/a", bytes(50_000))] * 20)
        stranger = tls_client_context(us.authority, other.certificate, other.private_key)
        with pytest.raises(LinkLostError, match="no connection"):
            async with WireTransport(replace(broker, tls=stranger)).connect():
                pass
        unsure = tls_client_context(other.authority, us.certificate, us.private_key)
        with pytest.raises(LinkLostError, match=r"no connection.*certificate"):
            async with WireTransport(replace(broker, tls=unsure)).connect():
                pass


@pytest.mark.tier("nats")
@pytest.mark.guarantee("G9")
async def test_a_reader_that_stands_still_holds_the_broker_back_and_loses_nothing(nats: Nats) -> None:
    ben = Broker(nats.host, nats.port, client_id="ben-00000001", inbox_messages_max=10)
    async with (
        WireTransport(ben).connect(subscribe=["a"]) as hearing,
        WireTransport(replace(ben, client_id="ann-00000001")).connect() as saying,
    ):
        await saying.publish_many([(b"a", b"%d" % n) for n in range(3_000)])
        got: list[bytes | None] = []
        async with asyncio.timeout(WAIT_S):
            while len(got) < 3_000:
                taken = await hearing.batch(7)
                assert 1 <= len(taken) <= 7
                got += [payload for _, payload, _, _ in taken]
                hearing.acknowledge(taken)
    assert got == [b"%d" % n for n in range(3_000)]


@contextlib.asynccontextmanager
async def false_broker(
    greet: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server of our own manners."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            await greet(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


BRIEFLY = timedelta(milliseconds=250)
"""For what never comes; what comes has the transport's own patience."""


def patiently(port: int, **changed: object) -> WireTransport:
    broker = Broker("127.0.0.1", port, "ann-00000001")
    return WireTransport(replace(broker, **changed))  # type: ignore[arg-type]  # changes by name


def saying(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        while await reader.read(65_536):
            pass

    return say


WELCOME = bytes((0x20, 2, 0, 0))


@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        (b"", "no connection: TimeoutError"),
        (bytes((0x20, 2, 0, 5)), "not authorised"),
        (b"HTTP/1.1 400 Bad", "is not sent here"),
    ],
)
async def test_no_greeting_a_refusal_and_no_mqtt_at_all_are_no_connection(greeting: bytes, says: str) -> None:
    async with false_broker(saying(greeting)) as port:
        with pytest.raises(LinkLostError, match=says):
            async with patiently(port, answer_wait=BRIEFLY).connect():
                pass


async def test_an_unanswered_publish_may_have_arrived() -> None:
    async with false_broker(saying(WELCOME)) as port, patiently(port, answer_wait=BRIEFLY).connect() as link:
        with pytest.raises(ReplyTimeoutError, match="no answer"):
            await link.publish("a", b"")


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_full_window_waits_and_more_than_it_holds_goes_in_pieces(version: str) -> None:
    seen: list[int] = []
    v5 = version == "5"

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes((0x20, 6, 0, 0, 3, 0x21, 0, 3)) if v5 else WELCOME)
        await reader.readuntil(b"ann-00000001")
        unanswered: list[int] = []
        while True:
            head = await reader.readexactly(2)
            body = await reader.readexactly(head[1])
            if head[0] & 0xF0 != packets.PUBLISH:
                continue
            unanswered.append(body[3] << 8 | body[4])
            seen.append(len(unanswered))
            if len(unanswered) == 3:
                writer.write(packets.pubacks(unanswered))
                unanswered.clear()

    async with false_broker(slow) as port, patiently(port, version=version).connect() as link:
        await link.publish_many([(b"a", b"%d" % n) for n in range(9)])
    assert seen == [1, 2, 3] * 3


async def test_a_loss_ends_every_wait_with_the_right_question() -> None:
    async def greet_and_go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes((0x20, 2, 0, 0)))
        await reader.readuntil(b"payload")

    async with false_broker(greet_and_go) as port, patiently(port).connect() as link:
        reading = asyncio.create_task(link.batch(10))
        with pytest.raises(ReplyTimeoutError):
            await link.publish("a", b"payload")
        with pytest.raises(LinkLostError):
            await reading
        with pytest.raises(LinkLostError):
            await link.publish("a", b"again")
        assert link.closed


async def test_an_oversized_message_is_told_and_the_next_one_is_heard() -> None:
    data = b"".join(
        (
            packets.publish(b"monster", bytes(9_000), 1, retain=False, v5=False),
            packets.publish(b"small", b"1", 2, retain=False, v5=False),
        )
    )
    async with false_broker(saying(WELCOME + data)) as port, patiently(port, packet_bytes_max=1_000).connect() as link:
        got: list[Publish] = []
        async with asyncio.timeout(WAIT_S):
            while len(got) < 2:
                got += await link.batch(10)
    assert [(topic, payload) for topic, payload, _, _ in got] == [(b"monster", None), (b"small", b"1")]


async def test_a_connect_that_is_cancelled_leaves_nothing_open() -> None:
    gone = asyncio.Event()

    async def wait_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        gone.set()

    async with false_broker(wait_for_the_end) as port:
        connecting = patiently(port).connect()
        task = asyncio.ensure_future(connecting.__aenter__())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), WAIT_S)


async def test_a_topic_that_is_none_is_our_defect() -> None:
    async with false_broker(saying(WELCOME)) as port, patiently(port).connect() as link:
        for topic in ("", "a/+", "a/#", "a\x00"):
            with pytest.raises(LocalProtocolError):
                await link.publish(topic, b"")
        assert not link.closed
    with pytest.raises(LocalProtocolError):
        WireTransport(Broker("127.0.0.1", 1, "ann-00000001", keepalive=timedelta(days=2)))


@pytest.mark.tier("nats")
@pytest.mark.guarantee("G11")
async def test_a_killed_broker_is_noticed_and_a_new_link_works(nats: Nats) -> None:
    transport = WireTransport(Broker(nats.host, nats.port, client_id="ann-00000001"))
    async with transport.connect(subscribe=["a"]) as link:
        reading = asyncio.create_task(take(link, 1))
        await nats.kill()
        await asyncio.wait_for(link.wait_closed(), WAIT_S)
        with pytest.raises(LinkLostError):
            await reading
    with pytest.raises(LinkLostError, match="no connection"):
        async with transport.connect():
            pass
    await nats.start()
    async with transport.connect(subscribe=["a"]) as link:
        await link.publish("a", b"back")
        assert (await take(link, 1))[0].payload == b"back"


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".invalid"])
async def test_a_host_that_no_name_server_takes_is_a_link_that_was_not_made(host: str) -> None:
    with pytest.raises(LinkLostError, match="no connection"):
        async with WireTransport(Broker(host, 1883, client_id="ann-00000001")).connect():
            pass
