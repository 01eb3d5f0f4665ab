"""A house that is cut off, a kiosk in its lobby, and whoever stands there: for tests of visits and of their routes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.app.kiosk_desk import KioskDesk
from edge.app.kiosk_keys import KioskKeys
from edge.app.kiosk_phones import KioskPhones
from edge.app.kiosk_places import KioskPlace
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.checkin.kiosk_visits import KioskVisits
from edge.log.record_log import Entry
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import RoomId, StayId
from protocols.link.lanes import Lane
from protocols.policy.check_in import CheckInPolicy, StepKind
from tests.edge.app.test_kiosk_desk import DISPENSER, Dispenser
from tests.edge.world import T0, Building, a_document, a_stay

LOBBY: Final = "lobby"
CODE: Final = "N-4711"
ALONE: Final = CheckInPolicy(
    v=1, jurisdiction="AUT", steps=(StepKind.IDENTITY, StepKind.DOCUMENT, StepKind.ROOM, StepKind.GRANT)
)


class Encoder:
    """`edge.checkin.ports.Cards`: rooms of `rooms` take cards; what comes of writing is `outcome`."""

    def __init__(self) -> None:
        self.rooms = {"101", "102"}
        self.outcome = Outcome(Phase.DONE, True)
        self.written: list[tuple[str, str, str, bool]] = []

    async def write(
        self, stay: StayId, room: RoomId, *, encoder: str, not_before_ms: int, not_after_ms: int, join: bool
    ) -> Outcome:
        assert not_before_ms <= T0 < not_after_ms
        if room not in self.rooms:
            raise CheckInRefusedError(CheckInRefusal.NO_CARD, "no card for this room")
        self.written.append((stay, room, encoder, join))
        return self.outcome


class Lobby:
    """The whole of it in memory, over a store that survives."""

    def __init__(
        self,
        folder: Path,
        policy: CheckInPolicy = ALONE,
        *,
        phones: frozenset[RoomId] = frozenset(),
        clock: ManualClock | None = None,
    ) -> None:
        self.folder, self.policy, self.clock = folder, policy, clock or ManualClock(wall_ms=T0)
        self.phone_rooms = phones
        self.encoder, self.dispenser = Encoder(), Dispenser()
        self.cut_off = True
        self.place = KioskPlace(LOBBY, dispenser=DISPENSER, encoder="enc-1")
        self.building, self.lives = Building(self.clock, path=folder / "edge.db"), 0
        self.begin()

    def begin(self) -> None:
        self.lives += 1
        house = self.building.house
        house.desk._cards = self.encoder
        self.orders = KioskDesk(
            peripheral=lambda device: self.dispenser if device == DISPENSER else None,
            store=self.building.store,
            documents=self.building.restored.documents,
            clock=self.clock,
            dice=SeededDice("orders"),
            note=self._once,
        )
        keys = KioskKeys(self.orders, house.desk, lambda: {LOBBY: self.place})
        self.phones = KioskPhones(
            house.desk,
            replica=lambda: house.keeper.replica,
            rooms=self.phone_rooms,
            store=self.building.store,
            documents=self.building.restored.documents,
            note=self._taken,
            clock=self.clock,
            dice=SeededDice(f"phones-{self.lives}"),
        )
        self.visits = KioskVisits(
            replica=lambda: house.keeper.replica,
            policy=lambda: self.policy,
            cut_off=lambda: self.cut_off,
            cards=keys.gives,
            give=keys.give,
            phones=self.phones,
            note=self._note,
            house=("aurora", "Hotel Aurora", "Europe/Vienna"),
            where=house.where,
            clock=self.clock,
            dice=SeededDice(f"visits-{self.lives}"),
        )

    async def _once(self, number: int, body: Mapping[str, Any]) -> None:
        await self.building.log.append_once("kiosk", number, Lane.A, Entry("kiosk", body))

    async def _taken(self, number: int, body: Mapping[str, Any]) -> None:
        await self.building.log.append_once("kiosk_phone", number, Lane.A, Entry("kiosk", body))

    async def _note(self, body: Mapping[str, Any]) -> None:
        await self.building.log.append(Lane.A, "kiosk", body)

    async def arrive(self, **changes: Any) -> None:
        stay = a_stay(**{"guest_name": "Anna Berger", "reservation": CODE, **changes})
        version = self.building.house.keeper.replica.document_version + 1
        await self.building.house.desired("stays", version, a_document(stay))

    def records(self) -> list[dict[str, Any]]:
        return [dict(each.body) for each in self.building.log.records(Lane.A, "kiosk")]

    def stays(self) -> list[tuple[str, str, str]]:
        told = self.building.log.records(Lane.A, "stay")
        return [(each.body["stay"], each.body["state"], each.body["by"]) for each in told]

    async def close(self) -> None:
        await self.orders.settle()
        await self.building.store.close()


def with_steps(*kinds: StepKind, **changes: Any) -> CheckInPolicy:
    return msgspec.structs.replace(ALONE, steps=(*kinds, StepKind.ROOM, StepKind.GRANT), **changes)
