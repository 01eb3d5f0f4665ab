"""What a kiosk asks of its peripherals: once a key, whatever is killed, lost or asked again; and no text is kept."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge.app.edge_store import EdgeStore
from edge.app.kiosk_desk import DEADLINE_MOST_MS, KEPT_MOST, KioskDesk
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.peripherals.conversation import Order
from tests.edge.world import T0

DISPENSER = DeviceId("kiosk-dispenser")


class Dispenser:
    """Gives cards until told otherwise; waits for `free`."""

    device = DISPENSER

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.outcome = Outcome(Phase.DONE, True)
        self.free = asyncio.Event()
        self.free.set()
        self.document: str | None = None
        self.problem: str | None = None

    def against(self, order: Order) -> str | None:
        assert order.text is None
        return self.problem

    def take_document(self) -> str | None:
        taken, self.document = self.document, None
        return taken

    async def order(self, order: Order, *, deadline_ms: int) -> Outcome:
        assert deadline_ms > T0
        self.orders.append(order)
        await self.free.wait()
        return self.outcome


class Place:
    """A desk over a store that can be killed and opened again."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock, self.dispenser = path, ManualClock(wall_ms=T0), Dispenser()
        self.open()

    def open(self) -> None:
        self.store, restored = EdgeStore.open(self.path, threaded=False)
        self.desk = KioskDesk(
            peripheral=lambda device: self.dispenser if device == DISPENSER else None,
            store=self.store,
            documents=restored.documents,
            clock=self.clock,
            dice=SeededDice(len(restored.documents)),
        )

    async def card(self, key: str = "session-1-card") -> dict[str, object]:
        return await self.desk.order(DISPENSER, text=None, key=key, deadline_ms=T0 + 10_000, by="kiosk-1")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path / "edge.db")
    yield place
    await place.desk.settle()
    await place.store.close()


@pytest.mark.requirement("DEV-11")
@pytest.mark.guarantee("G13")
async def test_the_same_key_gives_one_card_and_the_same_answer(place: Place) -> None:
    place.dispenser.free.clear()
    asked = [asyncio.create_task(place.card()) for _ in range(3)]
    for _ in range(20):
        await asyncio.sleep(0)
    told = place.desk.told("session-1-card")
    assert told is not None
    assert (told["phase"], told["result"], told["may_have_taken_effect"]) == ("executing", None, True)
    place.dispenser.free.set()
    answers = await asyncio.gather(*asked)
    assert answers[0] == answers[1] == answers[2] == await place.card() == place.desk.told("session-1-card")
    assert (answers[0]["phase"], answers[0]["result"], answers[0]["device"]) == ("done", True, DISPENSER)
    assert len(place.dispenser.orders) == 1
    with pytest.raises(InvalidInputError, match="was used for a card"):
        await place.desk.order(DISPENSER, text="x", key="session-1-card", deadline_ms=T0 + 1, by="kiosk-1")


@pytest.mark.guarantee("G11", "G13")
@pytest.mark.parametrize("over", [True, False])
async def test_after_a_kill_the_same_key_gives_no_second_card(place: Place, over: bool) -> None:
    if not over:
        place.dispenser.free.clear()
    asked = asyncio.create_task(place.card())
    while not place.dispenser.orders:
        await asyncio.sleep(0)
    if over:
        await asked
    else:
        asked.cancel()
        for each in list(place.desk._tasks.values()):
            each.cancel()
        await asyncio.gather(asked, *place.desk._tasks.values(), return_exceptions=True)
    await place.store.close()
    place.open()
    again = await place.card()
    assert (again["phase"], again["result"]) == (("done", True) if over else ("unknown", None))
    assert len(place.dispenser.orders) == 1


@pytest.mark.parametrize(
    ("phase", "result"),
    [(Phase.DONE, True), (Phase.FAILED, False), (Phase.EXPIRED, False), (Phase.UNKNOWN, None)],
)
async def test_every_end_is_told_as_true_false_or_unknown(place: Place, phase: Phase, result: bool | None) -> None:
    place.dispenser.outcome = Outcome(phase, None, "why")
    told = await place.card()
    assert (told["phase"], told["result"], told["final"], told["reason"]) == (phase.value, result, True, "why")
    assert told["may_have_taken_effect"] is (phase in (Phase.DONE, Phase.UNKNOWN))


async def test_what_cannot_be_made_durable_is_not_done_and_may_be_asked_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(name: str, body: bytes) -> None:
        del name, body
        await asyncio.sleep(0)
        raise StoreFailedError("the disk refused")

    with monkeypatch.context() as disk:
        disk.setattr(place.store, "save_document", refuse)
        with pytest.raises(StoreFailedError):
            await place.card()
    assert place.dispenser.orders == []
    assert (await place.card())["phase"] == "done"


@pytest.mark.guarantee("G6")
async def test_what_was_printed_and_read_is_in_no_store(place: Place) -> None:
    await place.desk.order(DISPENSER, text="Frau Eriksson", key="receipt-1", deadline_ms=T0 + 10_000, by="kiosk-1")
    place.dispenser.document = "P<UTOERIKSSON"
    assert place.desk.take_document(DISPENSER) == "P<UTOERIKSSON"
    assert place.desk.take_document(DISPENSER) is None
    await place.store.close()
    stored = b"".join(each.read_bytes() for each in place.path.parent.glob("edge.db*"))
    place.open()
    assert b"ERIKSSON" not in stored.upper()


async def test_it_is_bounded_and_asks_only_what_is_a_kiosks(place: Place) -> None:
    for number in range(KEPT_MOST + 5):
        await place.card(f"session-{number:04}")
    assert place.desk.told("session-0000") is None
    assert place.desk.told(f"session-{KEPT_MOST + 4:04}") is not None
    with pytest.raises(InvalidInputError, match="no kiosk peripheral"):
        place.desk.take_document(DeviceId("light-101"))
    with pytest.raises(InvalidInputError, match="no kiosk peripheral"):
        await place.desk.order(DeviceId("light-101"), text=None, key="k" * 8, deadline_ms=T0 + 1, by="kiosk-1")
    with pytest.raises(InvalidInputError, match="ms away"):
        await place.desk.order(DISPENSER, text=None, key="late-key", deadline_ms=T0 + DEADLINE_MOST_MS + 1, by="k")
