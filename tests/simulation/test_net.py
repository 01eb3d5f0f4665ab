"""The simulated net's faults: they happen, as often as asked, and both ends learn of them as they would."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from kit.net import Message
from kit.simulation import Faults, Pipe, SimLoop, SimNet, run_simulated
from kit.simulation.net import ANSWER_WAIT_S, KEEPALIVE_LOST_S, SimConnection
from protocols.errors import LinkLostError, ReplyTimeoutError

T = TypeVar("T")


def _run(main: Callable[[SimLoop], Coroutine[Any, Any, T]], seed: int = 1) -> T:
    return run_simulated(main, seed, until_s=1_000_000).value


def _piped(faults: Faults, count: int, seed: int = 1) -> list[tuple[float, int]]:
    async def main(loop: SimLoop) -> list[tuple[float, int]]:
        got: list[tuple[float, int]] = []
        pipe: Pipe[int] = Pipe(loop, loop.dice("pipe"), faults, lambda each: got.append((loop.time(), each)))
        for number in range(count):
            pipe.send(number)
            await asyncio.sleep(0.01)
        await asyncio.sleep(60)
        return got

    return _run(main, seed)


def test_a_calm_pipe_delivers_all_in_order_after_its_delay() -> None:
    got = _piped(Faults(delay_least_ms=5, delay_most_ms=5), 10)
    assert [number for _, number in got] == list(range(10))
    assert got[0][0] == 0.005


def test_loss_and_duplication_happen_as_often_as_asked() -> None:
    got = [number for _, number in _piped(Faults(loss=0.3, duplicate=0.2), 5_000)]
    assert 0.67 < len(set(got)) / 5_000 < 0.73
    assert 0.17 < (len(got) - len(set(got))) / len(set(got)) < 0.23


@pytest.mark.parametrize("in_order", [True, False])
def test_delays_reorder_only_where_the_line_allows_it(in_order: bool) -> None:
    got = [number for _, number in _piped(Faults(delay_least_ms=0, delay_most_ms=500, in_order=in_order), 500)]
    assert sorted(got) == list(range(500))
    assert (got == list(range(500))) is in_order


def test_a_cut_pipe_loses_also_what_is_on_its_way() -> None:
    async def main(loop: SimLoop) -> list[int]:
        got: list[int] = []
        pipe: Pipe[int] = Pipe(loop, loop.dice("pipe"), Faults(delay_least_ms=100, delay_most_ms=100), got.append)
        pipe.send(1)
        await asyncio.sleep(0.05)
        pipe.cut = True
        await asyncio.sleep(1)
        pipe.cut = False
        pipe.send(2)
        await asyncio.sleep(1)
        return got

    assert _run(main) == [2]


def test_a_cut_line_is_noticed_by_silence_only() -> None:
    async def main(loop: SimLoop) -> tuple[float, float]:
        net = SimNet(loop)
        async with net.transport("edge").connect() as link:
            net.cut("edge")
            began = loop.time()
            with pytest.raises(ReplyTimeoutError, match="no answer"):
                await link.publish("a", b"")
            waited = loop.time() - began
            await link.wait_closed()
            with pytest.raises(LinkLostError, match="no connection: no answer"):
                async with net.transport("edge").connect():
                    pass
            return waited, began

    waited, _ = _run(main)
    assert waited == ANSWER_WAIT_S


def test_a_line_mended_in_time_keeps_its_connection() -> None:
    async def main(loop: SimLoop) -> bool:
        net = SimNet(loop)
        async with net.transport("edge").connect() as link:
            net.cut("edge")
            await asyncio.sleep(KEEPALIVE_LOST_S - 1)
            net.heal("edge")
            await asyncio.sleep(KEEPALIVE_LOST_S)
            await link.publish("a", b"")
            return link.closed

    assert _run(main) is False


async def _next(link: SimConnection) -> Message:
    async with asyncio.timeout(20):
        async for message in link.messages():
            return message
    raise AssertionError("ended")


def test_half_open_upwards_the_machine_hears_and_is_not_heard() -> None:
    async def main(loop: SimLoop) -> None:
        net = SimNet(loop)
        async with (
            net.transport("cloud").connect(subscribe=["up"]) as cloud,
            net.transport("edge").connect(subscribe=["down"]) as edge,
        ):
            net.cut("edge", "up")
            await cloud.publish("down", b"x")
            assert (await _next(edge)).payload == b"x"
            with pytest.raises(ReplyTimeoutError):
                await edge.publish("up", b"y")
            with pytest.raises(TimeoutError):
                await _next(cloud)

    _run(main)


def test_half_open_downwards_a_publish_arrives_and_its_answer_does_not() -> None:
    async def main(loop: SimLoop) -> None:
        net = SimNet(loop)
        async with (
            net.transport("cloud").connect(subscribe=["up"]) as cloud,
            net.transport("edge").connect(subscribe=["down"]) as edge,
        ):
            net.cut("edge", "down")
            with pytest.raises(ReplyTimeoutError):
                await edge.publish("up", b"y")
            assert (await _next(cloud)).payload == b"y"
            await cloud.publish("down", b"x")
            with pytest.raises(TimeoutError):
                await _next(edge)

    _run(main)


def test_a_lost_connection_sends_its_will_and_its_reader_learns_of_it() -> None:
    async def main(loop: SimLoop) -> None:
        net = SimNet(loop)
        async with net.transport("cloud").connect(subscribe=["will"]) as cloud:
            async with net.transport("edge").connect(will=Message("will", b"edge died")) as edge:
                net.drop("edge")
                with pytest.raises(LinkLostError, match="reset by peer"):
                    await _next(edge)
            assert (await _next(cloud)).payload == b"edge died"

    _run(main)


def test_one_name_has_one_connection_the_newer_takes_over() -> None:
    async def main(loop: SimLoop) -> None:
        net = SimNet(loop)
        async with net.transport("edge").connect() as old, net.transport("edge").connect() as new:
            assert (old.closed, new.closed) == (True, False)

    _run(main)


def test_a_killed_broker_forgets_everything() -> None:
    async def main(loop: SimLoop) -> None:
        net = SimNet(loop, Faults(delay_least_ms=100, delay_most_ms=100))
        async with net.transport("edge").connect() as edge:
            await edge.publish("state", b"kept", retain=True)
            net.stop_broker()
            assert edge.closed
        with pytest.raises(LinkLostError, match="refused"):
            async with net.transport("edge").connect():
                pass
        net.start_broker()
        async with net.transport("edge").connect(subscribe=["state"]) as edge:
            with pytest.raises(TimeoutError):
                await _next(edge)

    _run(main)


@pytest.mark.guarantee("G9")
def test_an_inbox_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.simulation.net.INBOX_MESSAGES_MAX", 5)

    async def main(loop: SimLoop) -> tuple[int, bytes]:
        net = SimNet(loop)
        async with net.transport("b").connect(subscribe=["a"]) as b, net.transport("a").connect() as a:
            for number in range(8):
                await a.publish("a", b"%d" % number)
            await asyncio.sleep(1)
            return b.overflowed, (await _next(b)).payload

    assert _run(main) == (3, b"0")


def test_a_publish_is_answered_although_the_message_is_lost() -> None:
    """As a real broker does that is killed after its PUBACK."""

    async def main(loop: SimLoop) -> None:
        net = SimNet(loop)
        net.set_faults("edge", Faults(loss=1.0))
        async with (
            net.transport("cloud").connect(subscribe=["up"]) as cloud,
            net.transport("edge").connect() as edge,
        ):
            await edge.publish("up", b"x")
            with pytest.raises(TimeoutError):
                await _next(cloud)

    _run(main)
