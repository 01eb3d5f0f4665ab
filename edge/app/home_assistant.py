"""Home Assistant's façade over the house: its commands pass the rooms engine, where there is a room, as all do."""

from collections.abc import Mapping
from typing import Final

from edge.app.buses import site_transport
from edge.app.devices import BusWriter, Devices
from edge.app.house import House
from edge.app.settings import EdgeSettings
from edge.log.record_log import RecordLog
from edge.northbound.home_assistant import HomeAssistant
from edge.northbound.home_assistant_facade import HomeAssistantFacade
from edge.rooms.commands import RoomCommand
from kit.clock import Clock
from kit.dice import Dice
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.command import Command, Outcome
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.errors import InvalidInputError

PAUSE_S: Final = (0.5, 30.0)
BY: Final = "home-assistant"


def make_home_assistant(
    settings: EdgeSettings,
    descriptors: Mapping[DescriptorId, Descriptor],
    *,
    house: House,
    devices: Devices,
    writer: BusWriter,
    log: RecordLog,
    clock: Clock,
    dice: Dice,
) -> HomeAssistantFacade | None:
    """Return the façade of [home_assistant], not running yet; None if there is none. Raises InvalidInputError."""
    wanted, plan = settings.home_assistant, house.plan
    if wanted is None:
        return None
    if plan is None:
        raise InvalidInputError("home_assistant", "there is no site plan: nothing to announce")
    if settings.site_broker is None:
        raise InvalidInputError("site_broker", "is missing, and [home_assistant] needs it")
    guest_rooms = {room.id for room in plan.rooms if room.kind == "guest_room"}

    async def carry(room: RoomId, command: Command) -> Outcome:
        if room not in guest_rooms:
            return await writer.write(command)
        return await house.rooms.command(
            RoomCommand(
                id=command.id,
                room=room,
                capability=command.capability,
                attribute=command.attribute,
                value=command.value,
                deadline_ms=command.deadline_ms,
                idempotency_key=command.idempotency_key,
                by=BY,
            )
        )

    def reached(device: DeviceId) -> bool:
        return devices.reached(device)

    return HomeAssistantFacade(
        HomeAssistant(plan, descriptors, prefix=wanted.prefix, base=wanted.base, discovery=wanted.discovery),
        transport=site_transport(settings.site_broker, client_id=f"{settings.edge}-ha"[:40]),
        live=house.live_state,
        reached=reached,
        listen=log.listen,
        carry=carry,
        command_wait_s=wanted.command_wait.total_seconds(),
        pause_s=PAUSE_S,
        clock=clock,
        dice=dice,
    )
