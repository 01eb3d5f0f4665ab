"""Keys on cards: which kiosk gives them, how the doors' words are taken, and what the cloud's command gets told."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.app.granting import VendorCards
from edge.app.kiosk_desk import KEPT_MOST
from edge.app.kiosk_keys import KioskKeys
from edge.app.kiosk_places import KioskPlace, places_of
from edge.app.uplink import obeying
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.doors.errors import StayEndedError
from firmware_bridges.catalogue import load_all
from protocols.device_model import site_plan
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId, StayId
from protocols.errors import InvalidInputError, LinkLostError, PlatformError, ReplyTimeoutError, StoreFailedError
from tests.edge.app.test_kiosk_desk import DISPENSER
from tests.edge.app.test_uplink import ordered
from tests.edge.checkin.kiosk_lobby import LOBBY, Lobby
from tests.edge.world import T0, plan

ANNA = StayId("s-anna")
MODELS = {"a-printer": "epson/tm_t88vi", "a-reader": "honeywell/ocr_reader", "a-stack": "quio/qu_cd_720m"}


@pytest.fixture
async def lobby(tmp_path: Path) -> AsyncIterator[Lobby]:
    lobby = Lobby(tmp_path)
    await lobby.arrive()
    yield lobby
    await lobby.close()


def keys(lobby: Lobby) -> KioskKeys:
    return KioskKeys(lobby.orders, lobby.building.house.desk, lambda: {LOBBY: lobby.place})


def test_what_stands_at_one_place_is_one_kiosk() -> None:
    made = plan()
    buses = tuple(site_plan.RawTcpBus(BusId(name), "127.0.0.1", 9100) for name in (*MODELS, "z-printer"))
    devices = [
        site_plan.Device(DeviceId(name), RoomId("lobby"), DescriptorId(model), site_plan.Address(BusId(name)))
        for name, model in {**MODELS, "z-printer": "epson/tm_t88vi"}.items()
    ]
    bar = site_plan.Device(
        DeviceId("bar-stack"), RoomId("bar"), DescriptorId("quio/qu_cd_720m"), site_plan.Address(BusId("z-printer"))
    )
    whole = site_plan.SitePlan(
        v=made.v,
        property=made.property,
        edge=made.edge,
        rooms=made.rooms,
        devices=(*made.devices, *devices, bar),
        buses=(*made.buses, *buses),
    )
    found = places_of(whole, load_all(), {"lobby": "enc-1"})
    assert found == {
        "lobby": KioskPlace("lobby", DeviceId("a-reader"), DeviceId("a-stack"), DeviceId("a-printer"), "enc-1"),
        "bar": KioskPlace("bar", dispenser=DeviceId("bar-stack")),
    }
    assert {name: each.to_body()["cards"] for name, each in found.items()} == {"lobby": True, "bar": False}
    assert places_of(None, load_all(), {}) == {}


class Vendor:
    """The doors' client: answers with `keys`, or raises."""

    def __init__(self, *states: tuple[str, bool], error: PlatformError | None = None) -> None:
        self.keys = [{"state": state, "may_have_taken_effect": may, "problem": None} for state, may in states]
        self.error = error
        self.asked: list[dict[str, Any]] = []

    async def issue_keys(self, stay: StayId, rooms: Sequence[RoomId], **asked: Any) -> list[dict[str, Any]]:
        self.asked.append({"stay": stay, "rooms": list(rooms), **asked})
        if self.error is not None:
            raise self.error
        return self.keys


async def written(vendor: Vendor) -> Outcome:
    return await VendorCards(vendor).write(
        ANNA, RoomId("301"), encoder="enc-1", not_before_ms=T0, not_after_ms=T0 + 1, join=True
    )


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("vendor", "phase"),
    [
        (Vendor(("made", False)), Phase.DONE),
        (Vendor(("made", False), ("made", False)), Phase.DONE),
        (Vendor(("made", False), ("refused", False)), Phase.UNKNOWN),
        (Vendor(("wanted", False)), Phase.FAILED),
        (Vendor(("wanted", True)), Phase.UNKNOWN),
        (Vendor(("refused", False)), Phase.FAILED),
        (Vendor(), Phase.FAILED),
        (Vendor(error=LinkLostError("away")), Phase.FAILED),
        (Vendor(error=ReplyTimeoutError("late")), Phase.UNKNOWN),
    ],
)
async def test_a_card_is_written_as_the_lock_system_says(vendor: Vendor, phase: Phase) -> None:
    assert (await written(vendor)).phase is phase
    [asked] = vendor.asked
    assert (asked["medium"], asked["encoder"], asked["rooms"], asked["join"]) == ("card", "enc-1", ["301"], True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StayEndedError("over"), CheckInRefusal.ENDED),
        (InvalidInputError("medium", "'card': annex has pin"), CheckInRefusal.NO_CARD),
    ],
)
async def test_a_room_that_takes_no_card_is_refused_by_name(error: PlatformError, reason: CheckInRefusal) -> None:
    with pytest.raises(CheckInRefusedError) as refused:
        await written(Vendor(error=error))
    assert refused.value.reason is reason


@pytest.mark.requirement("ACC-11")
@pytest.mark.guarantee("G13")
async def test_the_clouds_command_gives_one_card_however_often_it_comes(lobby: Lobby) -> None:
    obey = obeying(lobby.building.house, None, keys(lobby))
    for _ in range(2):
        told = await obey(ordered("kiosk_card", stay="s-anna", kiosk=LOBBY, by="cloud:kiosk:k-1"))
        assert told == {"phase": "done", "written": True, "room": "101"}
    assert len(lobby.encoder.written) == len(lobby.dispenser.orders) == 1
    assert lobby.stays() == [("s-anna", "checked_in", "kiosk:lobby")]


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ({"stay": "s-anna", "kiosk": "bar"}, "No keys are written"),
        ({"stay": "s-nobody", "kiosk": LOBBY}, "not known"),
        ({"stay": "s-anna", "kiosk": 7}, "is not text"),
        ({"stay": "s-anna", "kiosk": LOBBY, "room": "102"}, "not known"),
    ],
)
async def test_an_order_that_cannot_be_meant_gives_no_card(lobby: Lobby, args: dict[str, Any], match: str) -> None:
    obey = obeying(lobby.building.house, None, keys(lobby))
    with pytest.raises(PlatformError, match=match):
        await obey(ordered("kiosk_card", **args))
    assert (lobby.encoder.written, lobby.dispenser.orders) == ([], [])
    with pytest.raises(InvalidInputError, match="no kiosk"):
        await obeying(lobby.building.house)(ordered("kiosk_card", stay="s-anna", kiosk=LOBBY))


@pytest.mark.guarantee("G11")
async def test_a_record_that_could_not_be_kept_is_kept_with_the_next_order_in_its_turn(lobby: Lobby) -> None:
    async def receipt(key: str) -> None:
        await lobby.orders.order(DISPENSER, text="Frau Berger", key=key, deadline_ms=T0 + 1_000, by="kiosk:lobby")

    lobby.building.log.fail = True
    await receipt("receipt.1")
    assert lobby.records() == []
    lobby.building.log.fail = False
    await receipt("receipt.2")
    await receipt("receipt.2")
    assert [(each["kind"], each["phase"]) for each in lobby.records()] == [("receipt", "done")] * 2
    assert len({each["id"] for each in lobby.records()}) == 2
    assert "Berger" not in repr(lobby.records())
    assert "receipt.1" not in repr(lobby.records())


async def test_the_log_that_refuses_for_long_does_not_fill_the_memory(lobby: Lobby) -> None:
    lobby.building.log.fail = True
    for n in range(2 * KEPT_MOST + 10):
        await lobby.orders.order(DISPENSER, text="x", key=f"receipt.{n}", deadline_ms=T0 + 1_000, by="kiosk:lobby")
    assert len(lobby.orders._kept) <= 2 * KEPT_MOST
    with pytest.raises(StoreFailedError):
        await lobby.orders.catch_up()
