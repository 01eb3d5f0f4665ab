"""Answers the local API out of the house: plain JSON values, times unix ms, every value with its age's truth."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge.app.house import House
from edge.rooms.commands import RoomCommand
from kit.clock import Clock
from protocols.device_model.command import Outcome
from protocols.device_model.identity import RoomId, StayId
from protocols.device_model.site_plan import SitePlan


class HouseBuilding:
    """`edge.api.ports.Building` over the house.

    Args:
        house: What is known and decided.
        plan: For the devices that ought to be there.
        link: How the way to the cloud stands, asked anew each time.
        devices: What the buses say of devices, planned and unknown, asked anew each time.
        clock: For ages.
    """

    def __init__(
        self,
        house: House,
        *,
        plan: SitePlan | None,
        link: Callable[[], dict[str, Any]],
        devices: Callable[[], Sequence[Mapping[str, Any]]],
        clock: Clock,
    ) -> None:
        self._house, self._plan, self._link, self._devices, self._clock = house, plan, link, devices, clock

    def rooms(self) -> list[dict[str, Any]]:
        """Return every guest room."""
        return [self._told(room) for room in self._house.rooms.rooms()]

    def room(self, room: RoomId) -> dict[str, Any] | None:
        """Return one guest room, or None."""
        return self._told(room) if room in self._house.rooms.rooms() else None

    def devices(self) -> list[dict[str, Any]]:
        """Return every device of the plan with its state on the bus, then what nobody planned."""
        return [dict(each) for each in self._devices()]

    def stays(self) -> dict[str, Any]:
        """Return the replica: the version held and every stay."""
        replica = self._house.keeper.replica
        return {
            "version": replica.document_version,
            "as_of_ms": replica.as_of_ms,
            "stays": [
                {
                    "id": stay.id,
                    "room": stay.room,
                    "state": stay.state.value,
                    "guest_name": stay.guest_name,
                    "expected_from_ms": stay.expected_from_ms,
                    "expected_until_ms": stay.expected_until_ms,
                    "reservation": stay.reservation,
                    "version": stay.version,
                    "decided_by": stay.decided_by,
                    "until_by": stay.until_by,
                }
                for stay in replica.all()
            ],
            "held_against_document": [
                {"stay": each.stay, "document_state": each.document_state, "document_room": each.document_room}
                for each in replica.held_against_document()
            ],
        }

    def link(self) -> dict[str, Any]:
        """Return how the way to the cloud stands."""
        return self._link()

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are up, oldest first."""
        return self._house.watch.alerts()

    def batteries(self) -> list[dict[str, Any]]:
        """Return every battery's forecast."""
        return self._house.watch.batteries()

    def energy(self) -> dict[str, Any]:
        """Return what each room used and saved, with the arithmetic."""
        return self._house.watch.energy()

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules in force, in how many rooms each holds, and why one cannot be told."""
        return self._house.rooms.rules.told()

    def fire(self) -> dict[str, Any]:
        """Return whether there is fire, who says so, and which devices have not obeyed yet."""
        return self._house.fire.told()

    def set_fire(self, *, active: bool, by: str) -> dict[str, Any]:
        """Declare fire, or say that it is over."""
        if active:
            self._house.fire.declare(by)
        else:
            self._house.fire.clear()
        return self._house.fire.told()

    def sleep_scene(self, room: RoomId) -> None:
        """Let a room make ready for the night, because somebody in it asks."""
        self._house.rooms.sleep_asked(room)

    async def command(self, command: RoomCommand) -> Outcome:
        """Carry out a room command at most once."""
        return await self._house.rooms.command(command)

    async def check_in(self, stay: StayId, phone_public_key: str, *, by: str) -> Mapping[str, Any]:
        """Check a stay in."""
        return await self._house.desk.check_in(stay, phone_public_key, by=by)

    async def move(self, stay: StayId, room: RoomId, phone_public_key: str, *, by: str) -> Mapping[str, Any]:
        """Move a guest in house to another room."""
        return await self._house.desk.move(stay, room, phone_public_key, by=by)

    async def end_at(
        self, stay: StayId, until_ms: int, *, by: str, phone_public_key: str | None = None
    ) -> Mapping[str, Any]:
        """Make the stay of a guest in house longer or shorter."""
        return await self._house.desk.end_at(stay, until_ms, by=by, phone_public_key=phone_public_key)

    async def check_out(self, stay: StayId, *, by: str) -> Mapping[str, Any]:
        """Check a stay out."""
        return await self._house.desk.check_out(stay, by=by)

    def _told(self, room: RoomId) -> dict[str, Any]:
        engine = self._house.rooms
        state, belief = engine.state(room), engine.belief(room)
        planned = None if self._plan is None else self._plan.room(room)
        return {
            "id": room,
            "floor": None if planned is None else planned.floor,
            "type": None if planned is None else planned.type,
            "mode": state.mode.value,
            "cause": state.cause,
            "since_ms": state.since_ms,
            "stay": state.stay,
            "window_open": state.window_open,
            "preferred_c": state.preferred_c,
            "do_not_disturb": engine.sense(room).do_not_disturb,
            "make_up_room": engine.sense(room).make_up_room,
            "recovery": {
                "kelvin_per_hour": engine.sense(room).recovery.rate_k_h,
                "samples": engine.sense(room).recovery.samples,
            },
            "rules_held": list(engine.rules.held(room)),
            "occupancy": {"occupied": belief.occupied, "confidence": round(belief.confidence, 3)},
            "reported": [
                {**each.to_body(), "reason": each.reason, "age_ms": each.age_ms}
                for each in self._house.view.shown([room], now_ms=self._clock.now_ms())
            ],
            "desired": [
                {
                    "capability": each.intent.capability.value,
                    "attribute": each.intent.attribute,
                    "value": each.intent.value,
                    "until_ms": each.intent.deadline_ms,
                    "attempts": each.attempts,
                    "met_by": sorted(each.met),
                    "pending": sorted(each.in_flight),
                }
                for each in engine.desired(room)
            ],
        }
