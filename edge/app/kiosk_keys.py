"""A stay's key on a card from a kiosk's dispenser: the guest is checked in, the card is written, and then given."""

from collections.abc import Callable, Mapping
from typing import Any

from edge.app.kiosk_desk import KioskDesk
from edge.app.kiosk_places import KioskPlace
from edge.checkin.desk import CheckInDesk
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from protocols.device_model.command import Outcome
from protocols.device_model.identity import ActorKind, RoomId, StayId


class KioskKeys:
    """One way to a card, for the cloud's command and for the house when it is alone.

    Args:
        orders: Where orders are kept.
        desk: Who decides whether a stay may come.
        places: The kiosks of the house, asked anew each time.
    """

    def __init__(self, orders: KioskDesk, desk: CheckInDesk, places: Callable[[], Mapping[str, KioskPlace]]) -> None:
        self._orders, self._desk, self._places = orders, desk, places

    def gives(self, place: str) -> bool:
        """Whether keys are written and given at a place."""
        found = self._places().get(place)
        return found is not None and found.dispenser is not None and found.encoder is not None

    async def give(self, stay: StayId, place: str, key: str) -> dict[str, Any]:
        """Return how the order for a stay's key at a place ended (edge/app/kiosk_desk.py); the same key, the same.

        Raises:
            CheckInRefusedError: the stay may not come, no keys are given there, or one of it was; nothing happened.
            InvalidInputError, LinkLostError, StoreFailedError: nothing was given; ask again.
        """
        found = self._places().get(place)
        if found is None or found.dispenser is None or found.encoder is None:
            raise CheckInRefusedError(CheckInRefusal.NO_CARD, f"No keys are written and given at {place}.")
        encoder, by = found.encoder, f"kiosk:{place}"

        async def write() -> tuple[RoomId, Outcome]:
            return await self._desk.check_in_by_card(stay, encoder=encoder, by=by, by_kind=ActorKind.KIOSK)

        return await self._orders.give_key(found.dispenser, stay=stay, key=key, by=by, write=write)
