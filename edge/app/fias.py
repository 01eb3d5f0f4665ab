"""Joins the PMS on the hotel's own network to the house: its facts become records, its key orders answers."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from edge.app.house import House
from edge.app.ports import Log
from edge.bridges.fias.desk import FiasDesk, KeyDoors, until_ms
from edge.bridges.fias.presence import Presence, RoomNames
from edge.bridges.fias.session import FiasSession
from edge.bridges.fias.settings import FiasSettings
from kit.clock import Clock
from kit.dice import Dice
from protocols.link.lanes import Lane


class HouseStays:
    """The port that presence writes to: a record on lane A, then the replica."""

    def __init__(self, log: Log, house: House) -> None:
        self._log, self._house = log, house

    async def stay(self, body: Mapping[str, Any]) -> None:
        """See edge/bridges/fias/desk.py."""
        await self._log.append(Lane.A, "stay", body)
        await self._house.catch_up()


def make_fias(
    settings: FiasSettings,
    house: House,
    *,
    log: Log,
    doors: KeyDoors | None,
    clock: Clock,
    dice: Dice,
    logger: Any,  # noqa: ANN401 - structlog's lazy logger
) -> tuple[FiasSession, FiasDesk]:
    """Return the session to run, and its desk with what somebody has to look at."""
    plan = house.plan
    rooms = frozenset() if plan is None else frozenset(each.id for each in plan.rooms if each.kind == "guest_room")
    with_doors = frozenset() if plan is None else frozenset(each.room for each in plan.doors)
    presence = Presence(
        RoomNames(rooms, settings.rooms),
        walk_ins=settings.walk_ins,
        until_ms=until_ms(ZoneInfo(settings.zone), settings.departure),
    )
    desk = FiasDesk(
        presence,
        replica=lambda: house.keeper.replica,
        records=HouseStays(log, house),
        doors=doors,
        rooms_with_doors=with_doors,
        clock=clock,
        log=logger,
    )
    return FiasSession(settings, desk, clock=clock, dice=dice, log=logger), desk
