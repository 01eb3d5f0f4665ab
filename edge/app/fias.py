"""Joins the PMS on the hotel's own network to the house: its facts become records, its key orders answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from edge.app.house import House
from edge.app.ports import Log
from edge.bridges.fias.desk import FiasDesk, KeyDoors, on_day_ms, until_ms
from edge.bridges.fias.ledger import ChargeLedger
from edge.bridges.fias.presence import Presence, RoomNames
from edge.bridges.fias.session import FiasSession
from edge.bridges.fias.settings import FiasSettings
from kit.clock import Clock
from kit.dice import Dice
from kit.files import SystemDisk
from protocols.device_model.identity import StayId
from protocols.errors import InvalidInputError
from protocols.fias.sign_in import KEY_BYTES
from protocols.link.lanes import Lane

LEDGER_FILE: Final = "fias-charges.json"


class HouseStays:
    """The port that presence writes to: a record on lane A, then the replica."""

    def __init__(self, log: Log, house: House) -> None:
        self._log, self._house = log, house

    async def stay(self, body: Mapping[str, Any]) -> None:
        """See edge/bridges/fias/desk.py."""
        await self._log.append(Lane.A, "stay", body)
        await self._house.catch_up()

    async def until(self, stay: StayId, until_ms: int, *, by: str) -> None:
        """See edge/bridges/fias/desk.py."""
        await self._house.stay_ends(stay, until_ms, by=by)


def make_fias(
    settings: FiasSettings,
    house: House,
    *,
    log: Log,
    doors: KeyDoors | None,
    clock: Clock,
    dice: Dice,
    logger: Any,  # noqa: ANN401 - structlog's lazy logger
    data_dir: Path | None = None,
) -> tuple[FiasSession, FiasDesk]:
    """Return the session to run, and its desk with what somebody has to look at.

    Args:
        data_dir: where the ledger of charges is kept; None: nothing is posted.

    Raises:
        InvalidInputError: the key's file or the ledger holds something else.
        StoreFailedError: the ledger cannot be read.
    """
    plan = house.plan
    rooms = frozenset() if plan is None else frozenset(each.id for each in plan.rooms if each.kind == "guest_room")
    with_doors = frozenset() if plan is None else frozenset(each.room for each in plan.doors)
    presence = Presence(
        RoomNames(rooms, settings.rooms),
        walk_ins=settings.walk_ins,
        until_ms=until_ms(ZoneInfo(settings.zone), settings.departure),
        on_day_ms=on_day_ms(ZoneInfo(settings.zone)),
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
    ledger = None
    if settings.charges and data_dir is not None:
        ledger = ChargeLedger(SystemDisk(), data_dir / LEDGER_FILE)
    key = None if settings.key_path is None else _key(settings.key_path)
    return FiasSession(settings, desk, clock=clock, dice=dice, log=logger, ledger=ledger, key=key), desk


def _key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise InvalidInputError("fias: key_path", f"{path} holds no key in hex: {type(error).__name__}") from error
    if len(key) != KEY_BYTES:
        raise InvalidInputError("fias: key_path", f"{path} holds {len(key)} bytes; an AES-128 key has {KEY_BYTES}")
    return key
