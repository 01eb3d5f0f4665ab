"""The bus of plain JSON devices: durable before acknowledged, in order, whatever the disk and the line do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from edge.bridges.mqtt.json_bus import BUS, REFUSED_KINDS_MAX, JsonBus
from edge.bridges.mqtt.json_rules import JsonDevicesSettings, KeySettings, RuleSettings
from edge.log.record_log import RecordLog
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.mqtt_wire.parser import Publish
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Phase
from protocols.device_model.identity import DeviceId
from protocols.errors import LinkLostError, StoreFailedError
from protocols.link.lanes import Lane
from protocols.link.record import Record

WAIT_S = 10.0
SETTINGS = JsonDevicesSettings(
    rules=(
        RuleSettings(
            topic="site/{room}/{device}/state",
            time_key="t",
            keys={
                "temperature": KeySettings("temperature_measurement", "measured_value"),
                "contact": KeySettings("boolean_state", "state_value"),
            },
        ),
    )
)


class Line:
    """Stands for the broker: hands out batches, keeps what was acknowledged."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[list[Publish] | None] = asyncio.Queue()
        self.acknowledged: list[Publish] = []
        self.subscribed: list[str] = []
        self.present = False
        self.connections = 0
        self.granting: list[bool] = []
        """Whether the next SUBSCRIBEs are granted; then all are."""
        self.answering = asyncio.Event()
        self.answering.set()

    @property
    def session_present(self) -> bool:
        return self.present

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator["Line"]:
        self.connections += 1
        yield self

    async def subscribe(self, *filters: str) -> None:
        await self.answering.wait()
        if self.granting and not self.granting.pop(0):
            raise LinkLostError("could not subscribe: not authorised")
        self.subscribed = list(filters)

    async def batch(self, most: int) -> list[Publish]:
        batch = await self.coming.get()
        if batch is None:
            raise LinkLostError("cut")
        return batch[:most]

    def acknowledge(self, messages: Sequence[Publish]) -> None:
        self.acknowledged += messages


class Log:
    """A log whose disk fails on demand and is slow on demand."""

    def __init__(self) -> None:
        self.kept: list[tuple[Lane, bytes]] = []
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def append_encoded(self, lane: Lane | str, records: Sequence[bytes], *, urgent: bool = False) -> int:
        assert urgent
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StoreFailedError("no space")
        self.kept += [(Lane(lane), each) for each in records]
        return len(self.kept)

    async def read(self, lane: Lane | str, after_seq: int, most: int) -> list[Record]:
        return []

    def heads(self) -> dict[Lane, int]:
        return dict.fromkeys(Lane, 0)


def say(n: int, device: int = 1, head: int = 0x32) -> Publish:
    return (
        b"site/101/t-%d/state" % device,
        b'{"temperature":%d,"t":%d}' % (n % 50, 1_600_000_000_000 + n),
        n + 1,
        head,
    )


@contextlib.asynccontextmanager
async def running(line: Line, log: object) -> AsyncIterator[JsonBus]:
    bus = JsonBus(SETTINGS, transport=line, log=log, clock=SystemClock("host"), dice=SystemDice())  # type: ignore[arg-type]  # a stand-in, or hostile on purpose
    task = asyncio.create_task(bus.run())
    try:
        yield bus
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(holds: object) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # type: ignore[operator]  # a number, by the case
            await asyncio.sleep(0.005)


@pytest.mark.guarantee("G1")
async def test_nothing_is_acknowledged_before_it_is_durable() -> None:
    line, log = Line(), Log()
    log.gate.clear()
    async with running(line, log):
        await line.coming.put([say(0), say(1)])
        await asyncio.sleep(0.03)
        assert line.acknowledged == []
        log.gate.set()
        await until(lambda: len(line.acknowledged) == 2)
        assert len(log.kept) == 2
        assert line.subscribed == ["site/+/+/state"]


@pytest.mark.guarantee("G1", "G2")
async def test_a_disk_that_fails_holds_the_broker_back_and_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.bridges.mqtt.json_bus.STORE_RETRY_S", 0.01)
    line, log = Line(), Log()
    log.failures = 3
    async with running(line, log) as bus:
        for n in range(4):
            await line.coming.put([say(2 * n), say(2 * n + 1)])
        await until(lambda: len(line.acknowledged) == 8)
        assert [each[2] for each in line.acknowledged] == list(range(1, 9))
        assert [b"\x1b" + (1_600_000_000_000 + n).to_bytes(8, "big") in kept for n, (_, kept) in enumerate(log.kept)]
        assert len(log.kept) == 8
        assert bus.counts["store_failures"] == 3


@pytest.mark.guarantee("G19")
async def test_refusals_are_counted_listed_recorded_once_and_bounded() -> None:
    line, log = Line(), Log()
    async with running(line, log) as bus:
        junk: list[Publish] = [(b"site/101/t-1/state", b"junk", 1, 0x32)] * 50
        strangers: list[Publish] = [
            (b"site/x/%d/%d/state" % (n, n), b"1", 1, 0x32) for n in range(2 * REFUSED_KINDS_MAX)
        ]
        for batch in (junk, strangers[:1_000], strangers[1_000:], [say(3)]):
            await line.coming.put(batch)
        await until(lambda: len(line.acknowledged) == 50 + 2 * REFUSED_KINDS_MAX + 1)
        assert bus.counts["refused_not_json"] == 50
        assert bus.counts["refused_topic"] == 2 * REFUSED_KINDS_MAX
        told = {(each["id"], each["state"]): each for each in bus.told()}
        assert told["t-1", "refused"]["detail"]["count"] == 50
        assert told["t-1", "online"]["detail"] == {"values": 1}
        assert len(told) == REFUSED_KINDS_MAX + 1
        assert sum(lane is Lane.B for lane, _ in log.kept) == REFUSED_KINDS_MAX
        assert sum(lane is Lane.C for lane, _ in log.kept) == 1


async def test_a_lost_line_is_made_again_and_the_live_state_tells_what_was_heard() -> None:
    line, log = Line(), Log()
    async with running(line, log) as bus:
        await line.coming.put([say(20), (b"site/101/t-1/state", b'{"contact":true}', 2, 0x32)])
        await line.coming.put(None)
        await until(lambda: line.connections == 2)
        live = {each["attribute"]: (each["value"], each["quality"], each["room"]) for each in bus.live()}
        assert live == {"measured_value": (20, "good", "101"), "state_value": (True, "good", "101")}
        assert bus.counts["connections_lost"] == 1


async def test_it_writes_nothing() -> None:
    bus = JsonBus(SETTINGS, transport=Line(), log=Log(), clock=SystemClock("host"), dice=SystemDice())
    device = DeviceId("t-1")
    assert bus.bus == BUS
    assert not bus.can_write(device, Capability.ON_OFF, "on_off")
    command = Command("c-1", device, Capability.ON_OFF, "on_off", True, 1, "k-1")
    assert (await bus.write(command)).phase is Phase.FAILED


@pytest.mark.guarantee("G1", "G2")
async def test_after_a_kill_what_the_log_has_is_not_taken_again(tmp_path: Path) -> None:
    """A broker that heard no PUBACK delivers again with DUP: the log's own tail says what is there already."""
    clock, dice = SystemClock("host"), SystemDice()
    async with await RecordLog.open(tmp_path / "log", clock=clock, dice=dice) as log:
        line = Line()
        async with running(line, log):
            await line.coming.put([say(n, n % 3) for n in range(300)])
            await until(lambda: len(line.acknowledged) == 300)
    async with await RecordLog.open(tmp_path / "log", clock=clock, dice=dice) as log:
        line = Line()
        line.present = True
        async with running(line, log) as bus:
            await line.coming.put([say(n, n % 3, 0x3A) for n in range(200, 400)])
            await line.coming.put([say(n, n % 3) for n in range(400, 410)])
            await until(lambda: len(line.acknowledged) == 210)
            assert bus.counts["repeated"] == 100
        times = [each.device_at_ms for each in await log.read(Lane.C, 0)]
    assert times == [1_600_000_000_000 + n for n in range(410)]


@pytest.mark.guarantee("G1", "G2")
async def test_what_was_in_flight_is_held_against_the_end_of_the_log_together(tmp_path: Path) -> None:
    """Without a time in it only the order says how much of it was durable: one read is not all of it."""
    clock, dice = SystemClock("host"), SystemDice()

    def contact(open_: bool, id_: int, head: int = 0x32) -> Publish:
        return (b"site/101/t-1/state", b'{"contact":%s}' % (b"false" if open_ else b"true"), id_, head)

    async with await RecordLog.open(tmp_path / "log", clock=clock, dice=dice) as log:
        line = Line()
        async with running(line, log):
            await line.coming.put([contact(n % 2 == 0, n + 1) for n in range(4)])
            await until(lambda: len(line.acknowledged) == 4)
        line = Line()
        line.present = True
        line.answering.clear()
        async with running(line, log) as bus:
            await line.coming.put([contact(n % 2 == 0, n + 1, 0x3A) for n in range(2, 4)])
            await line.coming.put([contact(True, 5, 0x3A)])
            await until(line.coming.empty)
            line.answering.set()
            await until(lambda: len(line.acknowledged) == 3)
            assert bus.counts["repeated"] == 2
            await line.coming.put([contact(False, 6)])
            await until(lambda: len(line.acknowledged) == 4)
        assert [each.body["value"] for each in await log.read(Lane.B, 0)] == [False, True] * 3


async def test_a_broker_that_lets_us_subscribe_nothing_is_tried_again_and_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connected and deaf for ever would look like a quiet house."""
    asked: list[int] = []

    class Pauses:
        def pause_ms(self, failures: int, _dice: object) -> int:
            asked.append(failures)
            return 1

    monkeypatch.setattr("edge.bridges.mqtt.json_bus.RECONNECT", Pauses())
    line, log = Line(), Log()
    line.granting = [False, False, False]
    async with running(line, log):
        await line.coming.put([say(0)])
        await until(lambda: len(line.acknowledged) == 1)
        await until(lambda: line.subscribed)
    assert line.connections == 4
    assert asked == [1, 2, 3]
