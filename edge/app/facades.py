"""Façades of the house that take commands: theirs pass the rooms engine, where there is a room, as everybody's do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from edge.app import client_ids
from edge.app.buses import site_transport
from edge.app.devices import BusWriter, Devices
from edge.app.house import House
from edge.app.json_devices import read_secret
from edge.app.settings import EdgeSettings
from edge.bridges.mqtt.json_bus import JsonBus
from edge.log.record_log import RecordLog
from edge.northbound.home_assistant import HomeAssistant
from edge.northbound.home_assistant_facade import HomeAssistantFacade
from edge.northbound.settings import HomeAssistantSettings, SparkplugSettings
from edge.northbound.sparkplug import SparkplugNode
from edge.northbound.sparkplug_facade import SparkplugBroker, SparkplugFacade
from edge.rooms.commands import RoomCommand
from edge.rooms.fire_acts import held as fire_holds
from kit.clock import Clock
from kit.dice import Dice
from kit.identity import tls_client_context
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DescriptorId, RoomId
from protocols.device_model.site_plan import Device, SitePlan
from protocols.errors import InvalidInputError

PAUSE_S: Final = (0.5, 30.0)
BY: Final = "home-assistant"


Facade = HomeAssistantFacade | SparkplugFacade
Catalogue = Mapping[DescriptorId, Descriptor]


def make_facades(
    settings: EdgeSettings,
    descriptors: Mapping[DescriptorId, Descriptor],
    *,
    house: House,
    devices: Devices,
    writer: BusWriter,
    log: RecordLog,
    clock: Clock,
    dice: Dice,
) -> dict[str, Facade]:
    """Return the façades that the settings ask for, by name, none running yet. Raises InvalidInputError."""
    found: dict[str, Facade] = {}
    if settings.home_assistant is not None:
        found["home-assistant"] = _home_assistant(
            settings.home_assistant, settings, descriptors, house, devices, writer, log, clock, dice
        )
    if settings.sparkplug is not None:
        found["sparkplug"] = _sparkplug(
            settings.sparkplug, settings, descriptors, house, devices, writer, log, clock, dice
        )
    return found


def _home_assistant(  # noqa: PLR0917 - the parts of the house
    wanted: HomeAssistantSettings,
    settings: EdgeSettings,
    descriptors: Mapping[DescriptorId, Descriptor],
    house: House,
    devices: Devices,
    writer: BusWriter,
    log: RecordLog,
    clock: Clock,
    dice: Dice,
) -> HomeAssistantFacade:
    plan = house.plan
    if plan is None:
        raise InvalidInputError("home_assistant", "there is no site plan: nothing to announce")
    if settings.site_broker is None:
        raise InvalidInputError("site_broker", "is missing, and [home_assistant] needs it")
    return HomeAssistantFacade(
        _form(plan, descriptors, wanted),
        transport=site_transport(
            settings.site_broker, client_id=client_ids.of_part(settings.edge, client_ids.HOME_ASSISTANT)
        ),
        live=house.live_state,
        reached=devices.reached,
        listen=log.listen,
        carry=carrier(house, writer, by=BY),
        command_wait_s=wanted.command_wait.total_seconds(),
        pause_s=PAUSE_S,
        clock=clock,
        dice=dice,
    )


def _sparkplug(  # noqa: PLR0917 - the parts of the house
    wanted: SparkplugSettings,
    settings: EdgeSettings,
    descriptors: Mapping[DescriptorId, Descriptor],
    house: House,
    devices: Devices,
    writer: BusWriter,
    log: RecordLog,
    clock: Clock,
    dice: Dice,
) -> SparkplugFacade:
    plan = house.plan
    if plan is None:
        raise InvalidInputError("sparkplug", "there is no site plan: nothing to be born")
    ca = wanted.ca_path
    broker = SparkplugBroker(
        wanted.host,
        wanted.port,
        client_id=wanted.client_id or client_ids.of_part(settings.edge, client_ids.SPARKPLUG),
        tls=None if ca is None else tls_client_context(ca, wanted.cert_path, wanted.key_path),
        username=wanted.username,
        password=None if wanted.password_path is None else read_secret(wanted.password_path),
        keepalive_s=round(wanted.keepalive.total_seconds()),
    )
    return SparkplugFacade(
        # Begun anywhere: a death of the process before, told late, must not be taken for this one's.
        SparkplugNode(plan, descriptors, bdseq=dice.bytes(1)[0]),
        broker,
        live=house.live_state,
        online=lambda: [each.id for each in _devices(house) if devices.reached(each.id)],
        listen=log.listen,
        carry=carrier(house, writer, by="sparkplug"),
        command_wait_s=wanted.command_wait.total_seconds(),
        pause_s=(wanted.reconnect_first.total_seconds(), wanted.reconnect_most.total_seconds()),
        clock=clock,
        dice=dice,
    )


def told_of_changes(
    settings: EdgeSettings, descriptors: Catalogue, facades: Mapping[str, Facade], json_bus: JsonBus | None
) -> Callable[[SitePlan], None]:
    """Return what takes a plan whose devices have changed to all who speak of them, or listen by them."""

    def changed(plan: SitePlan) -> None:
        for facade in facades.values():
            if isinstance(facade, SparkplugFacade):
                facade.serve(plan, descriptors)
            elif settings.home_assistant is not None:
                facade.serve(_form(plan, descriptors, settings.home_assistant))
        if json_bus is not None:
            json_bus.serve({each.id: each.room for each in plan.devices})

    return changed


def _form(plan: SitePlan, catalogue: Catalogue, wanted: HomeAssistantSettings) -> HomeAssistant:
    return HomeAssistant(plan, catalogue, prefix=wanted.prefix, base=wanted.base, discovery=wanted.discovery)


def _devices(house: House) -> Sequence[Device]:
    return () if house.plan is None else house.plan.devices


def carrier(house: House, writer: BusWriter, *, by: str) -> Callable[[RoomId, Command], Awaitable[Outcome]]:
    """Return how a stranger's command is carried out: by the rooms engine in a guest room, by the bus elsewhere.

    It is for the device that is named: platforms show two lamps of a room as two, and each is switched alone. Fire mode
    holds what it holds everywhere.
    """
    plan = house.plan
    guest_rooms = set() if plan is None else {room.id for room in plan.rooms if room.kind == "guest_room"}

    async def carry(room: RoomId, command: Command) -> Outcome:
        if room not in guest_rooms:
            if house.fire.active and fire_holds(command.capability, command.attribute):
                return Outcome(Phase.FAILED, None, f"fire mode holds {command.capability} {command.attribute}")
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
                by=by,
                device=command.device,
            )
        )

    return carry
