"""The cloud's command to open from afar, on the link's terms: once, never late, over cuts and restarts of the node."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from edge.api.door_routes import KeyedDoors
from edge.app import door_commands
from edge.link.commands import INTERRUPTED, Commands
from edge.log.record_log import Entry
from kit.clock import ClockQuality
from kit.dice import SeededDice
from protocols.device_model.identity import EdgeId
from protocols.door.remote_open import LATE_AFTER_MS
from protocols.errors import StoreFailedError
from protocols.link.documents import REFUSAL_HELD_MS, CommandEnvelope
from protocols.link.lanes import Lane
from tests.edge.doors.vendors.test_remote_desk import A1, Site
from tests.edge.log.inline_log import InlineLog

EDGE = EdgeId("e-aurora0000000001")
WITHIN_MS = 25_000
pytestmark = [pytest.mark.guarantee("G13"), pytest.mark.requirement("A11", "P15")]


class Node:
    """The link's judgement of commands over a real log, in front of the doors' desk for openings from afar."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, Site(folder)
        self.clock = self.site.building.clock
        self.anna = self.site.building.phone("anna")
        self.start()

    def start(self) -> None:
        self.log = InlineLog(self.folder / "log", clock=self.clock, dice=SeededDice(3))
        doors = cast(KeyedDoors, self)
        self.commands = Commands(
            edge=EDGE, log=self.log, clock=self.clock, on_command=partial(door_commands.obey, doors)
        )

    async def restart(self) -> None:
        """End the edge process at any moment, and start it anew; the doors process goes on."""
        self.log.close_now()
        self.start()
        await self.commands.close_interrupted()

    def close(self) -> None:
        self.log.close_now()
        self.site.ledger.close()
        self.site.building.store.close()

    async def open_remotely(self, request: bytes) -> dict[str, Any]:
        answer = await self.site.remote.open(request)
        return {"outcome": answer.outcome.value, "reason": answer.reason}

    async def signed(self) -> str:
        return self.site.request(self.anna, await self.site.stay("s-anna", self.anna, A1)).hex()

    def command(self, request: str, key: str = "k-1") -> CommandEnvelope:
        now_ms = self.clock.wall_ms()
        return CommandEnvelope(EDGE, f"c-{key}", key, "open_door", {"request": request}, now_ms + WITHIN_MS, now_ms)

    async def phases(self) -> list[Mapping[str, Any]]:
        return [record.body for record in await self.log.read(Lane.A, 0)]

    @property
    def opened(self) -> int:
        return self.site.annex.opened


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


async def test_a_request_opens_once_and_its_answer_outlives_the_node(node: Node) -> None:
    command = node.command(await node.signed())
    first = await node.commands.obey(command)
    assert (first.phase, first.result) == ("done", {"phase": "done", "read_back": "online-confirmed"})
    await node.restart()
    assert await node.commands.obey(command) == first, "asked again, it is told what came of it"
    assert node.opened == 1
    told = await node.phases()
    assert [(each["phase"], each.get("read_back")) for each in told] == [
        ("executing", None),
        ("done", "online-confirmed"),
    ]
    assert command.args["request"] not in repr(told)


async def test_what_a_cut_held_back_is_expired_and_opens_nothing_a_minute_later(node: Node) -> None:
    command = node.command(await node.signed())
    node.clock.advance(WITHIN_MS)
    assert (await node.commands.obey(command)).phase == "expired"
    node.clock.advance(REFUSAL_HELD_MS)
    again = node.command(str(command.args["request"]))  # the cloud signs a younger envelope around the old request
    late = await node.commands.obey(again)
    assert (late.phase, late.error) == ("failed", "late")
    assert node.opened == 0


async def test_a_cloud_that_keeps_a_request_has_nothing_in_its_hands_after_half_a_minute(node: Node) -> None:
    request = await node.signed()
    node.clock.advance(LATE_AFTER_MS + 1)
    answer = await node.commands.obey(node.command(request))
    assert (answer.phase, answer.result) == (
        "failed",
        {"phase": "failed", "read_back": "refused", "reason": "late"},
    )
    assert node.opened == 0


async def test_the_same_request_in_another_command_opens_nothing(node: Node) -> None:
    request = await node.signed()
    await node.commands.obey(node.command(request, "k-1"))
    again = await node.commands.obey(node.command(request, "k-2"))
    assert (again.phase, again.error) == ("failed", "replayed")
    assert node.opened == 1


async def test_a_node_that_does_not_know_the_time_asks_nobody(node: Node) -> None:
    command = node.command(await node.signed())
    node.clock.quality = ClockQuality.UNCERTAIN
    assert (await node.commands.obey(command)).phase == "failed"
    assert node.opened == 0


async def test_a_node_that_went_down_in_between_says_unknown_and_asks_nobody_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = node.command(await node.signed())
    keep = node.log.command_phase

    async def down(key: str, id_: str, phase: str, result: str | None, entry: Entry) -> int:
        if phase != "executing":
            raise StoreFailedError("the node is gone")
        return await keep(key, id_, phase, result, entry)

    monkeypatch.setattr(node.log, "command_phase", down)
    with pytest.raises(StoreFailedError):
        await node.commands.obey(command)
    await node.restart()
    answer = await node.commands.obey(command)
    assert (answer.phase, answer.error) == ("unknown", INTERRUPTED)
    assert node.opened == 1
