"""Joins the uplink: where the cloud's broker is, which key its orders are signed with, and what is made of them."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from edge.api.door_routes import KeyedDoors
from edge.app import door_commands
from edge.app.house import House
from edge.app.json_devices import read_secret
from edge.app.keys import read_public_key
from edge.app.kiosk_keys import KioskKeys
from edge.app.settings import UplinkSettings
from edge.link.ports import LiveState
from edge.link.uplink import Uplink
from edge.log.record_log import RecordLog
from edge.rooms.commands import RoomCommand
from kit.clock import Clock
from kit.dice import Dice
from kit.identity import tls_client_context
from kit.mqtt_wire.transport import Broker, WireTransport
from protocols.device_model.capability import Capability
from protocols.device_model.identity import ActorKind, EdgeId, PropertyId, parse_room_id, parse_stay_id
from protocols.errors import CredentialRefusedError, InvalidInputError, PeerProtocolError
from protocols.link.documents import CommandEnvelope, Resolve, open_desired

STAYS: Final = "stays"
BY_CLOUD: Final = "cloud"
KEY_CHARACTERS_MOST: Final = 200


def read_command_key(settings: UplinkSettings) -> Resolve:
    """Return what tells the pinned command key from a stranger's.

    Raises:
        InvalidInputError: the file is not there, or is no P-256 public key.
    """
    path = settings.command_public_key_path
    if path is None:
        return _nobody
    pinned, ours = settings.command_key_id.encode(), read_public_key(path)

    def resolve(kid: bytes) -> ec.EllipticCurvePublicKey | None:
        return ours if kid == pinned else None

    return resolve


def _nobody(_kid: bytes) -> None:
    return None


def make_transport(settings: UplinkSettings, edge: EdgeId) -> WireTransport:
    """Return the way to the cloud's broker. Raises InvalidInputError for a certificate or key that is wrong."""
    tls = None
    if settings.ca_path is not None:
        tls = tls_client_context(settings.ca_path, settings.cert_path, settings.key_path)
    return WireTransport(
        Broker(
            settings.host,
            settings.port,
            client_id=edge,
            tls=tls,
            username=settings.username,
            password=None if settings.password_path is None else read_secret(settings.password_path),
            version=settings.version,
            keepalive=settings.keepalive,
        )
    )


def make_uplink(
    settings: UplinkSettings,
    *,
    edge: EdgeId,
    property_id: PropertyId,
    log: RecordLog,
    house: House,
    clock: Clock,
    dice: Dice,
    live_state: LiveState,
    doors: KeyedDoors | None = None,
    keys: KioskKeys | None = None,
) -> Uplink:
    """Return the uplink, not yet running. Raises InvalidInputError."""
    resolve = read_command_key(settings)
    house.policies.pin(resolve)
    return Uplink(
        edge=edge,
        property_id=property_id,
        log=log,
        transport=make_transport(settings, edge),
        clock=clock,
        dice=dice,
        command_key=resolve,
        on_command=obeying(house, doors, keys),
        on_desired=house.desired,
        live_state=live_state,
        settings=settings.link,
    )


async def recover_documents(log: RecordLog, house: House, resolve: Resolve, edge: EdgeId) -> None:
    """Take a stays document again that the log holds and the house lost (its store was set aside).

    Raises:
        StoreFailedError: the log cannot be read.
    """
    kept = await log.document(STAYS)
    if kept is None or kept[0] <= house.keeper.replica.document_version:
        return
    try:
        document = open_desired(kept[1], resolve, edge=edge)
    except (CredentialRefusedError, PeerProtocolError):
        return  # signed by a key that is no longer pinned: the cloud will send its own
    await house.desired(document.name, document.version, document.body)


def obeying(
    house: House, doors: KeyedDoors | None = None, keys: KioskKeys | None = None
) -> Callable[[CommandEnvelope], Awaitable[Mapping[str, Any]]]:
    """Return what obeys the cloud's commands; the link judges signature, deadline and repetition beforehand.

    Kinds: `check_in` {stay, phone_public_key, by?}, `move` the same with `room`, `check_out` {stay, by?}, `kiosk_card`
    {stay, kiosk, by?}, `room` {room, capability, attribute, value}, and those of edge/app/door_commands.py. An unknown
    kind or argument is refused by name and nothing happens.
    """

    async def obey(command: CommandEnvelope) -> Mapping[str, Any]:
        args = command.args
        match command.kind:
            case "check_in":
                _only(command, {"stay", "phone_public_key", "by"})
                stay = parse_stay_id(args.get("stay"), "stay")
                key = _text(command, "phone_public_key")
                return await house.desk.check_in(stay, key, **_cloud(command))
            case "move":
                _only(command, {"stay", "room", "phone_public_key", "by"})
                stay = parse_stay_id(args.get("stay"), "stay")
                room, key = parse_room_id(args.get("room"), "room"), _text(command, "phone_public_key")
                return await house.desk.move(stay, room, key, **_cloud(command))
            case "check_out":
                _only(command, {"stay", "by"})
                stay = parse_stay_id(args.get("stay"), "stay")
                return await house.desk.check_out(stay, **_cloud(command))
            case "kiosk_card":
                return await _kiosk_card(command, keys)
            case "room" | "room_command":
                outcome = await house.rooms.command(_room_command(command), recorded=False)
                return outcome.to_body()
            case kind if kind in door_commands.KINDS:
                return await door_commands.obey(doors, command)
        known = ", ".join(("check_in", "move", "check_out", "kiosk_card", "room", *door_commands.KINDS))
        raise InvalidInputError("command kind", f"{command.kind!r} is not known here; known: {known}")

    return obey


async def _kiosk_card(command: CommandEnvelope, keys: KioskKeys | None) -> Mapping[str, Any]:
    """Check a stay in and give its key at a kiosk; the phase is the dispenser's word."""
    _only(command, {"stay", "kiosk", "by"})
    stay, place = parse_stay_id(command.args.get("stay"), "stay"), _text(command, "kiosk")
    if keys is None:
        raise InvalidInputError("command kiosk_card", "this house has no kiosk")
    told = await keys.give(stay, place, f"cloud.{command.idempotency_key}"[:KEY_CHARACTERS_MOST])
    body = {"phase": told["phase"], "written": told["written"]}
    return {**body, **{name: told[name] for name in ("room", "reason") if told[name] is not None}}


def _room_command(command: CommandEnvelope) -> RoomCommand:
    _only(command, {"room", "capability", "attribute", "value", "by"})
    value = command.args.get("value")
    if not isinstance(value, bool | int | float | str):
        raise InvalidInputError("value", f"{value!r:.80} is no value")
    try:
        capability = Capability(_text(command, "capability"))
    except ValueError as error:
        raise InvalidInputError("capability", str(error)) from error
    return RoomCommand(
        id=command.id,
        room=parse_room_id(command.args.get("room"), "room"),
        capability=capability,
        attribute=_text(command, "attribute"),
        value=value,
        deadline_ms=command.deadline_ms,
        idempotency_key=f"cloud:{command.idempotency_key}",
        by=_text(command, "by", BY_CLOUD),
    )


def _cloud(command: CommandEnvelope) -> dict[str, Any]:
    return {"by": _text(command, "by", BY_CLOUD), "by_kind": ActorKind.CLOUD}


def _only(command: CommandEnvelope, known: set[str]) -> None:
    if unknown := sorted(command.args.keys() - known):
        raise InvalidInputError(f"command {command.kind}", f"argument {unknown[0]!r} is not known")


def _text(command: CommandEnvelope, name: str, default: str | None = None) -> str:
    value = command.args.get(name, default)
    if not isinstance(value, str):
        raise InvalidInputError(f"command {command.kind}: {name}", f"{value!r:.80} is not text")
    return value


def missing_files(settings: UplinkSettings) -> list[tuple[str, Path]]:
    """Return (key, path) of the files that the settings name and that are not there."""
    paths: dict[str, Path | None] = {
        "command_public_key_path": settings.command_public_key_path,
        "ca_path": settings.ca_path,
        "cert_path": settings.cert_path,
        "key_path": settings.key_path,
        "password_path": settings.password_path,
    }
    return [(key, path) for key, path in paths.items() if path is not None and not path.is_file()]
