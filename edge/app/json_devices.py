"""Joins what needs no site plan: plain JSON devices of the site broker, and the brokers to the north."""

from pathlib import Path
from typing import Final

from edge.app.settings import EdgeSettings, SiteBrokerSettings
from edge.bridges.mqtt.json_bus import Hearing, JsonBus
from edge.bridges.mqtt.json_rules import JsonDevicesSettings
from edge.log.readership import Reader, Readership
from edge.log.record_log import RecordLog
from edge.northbound.plain_json import PlainJson
from edge.northbound.publisher import NorthboundPublisher, cursor_of
from edge.northbound.settings import NorthboundSettings
from kit.clock import Clock
from kit.dice import Dice
from kit.identity import tls_client_context
from kit.mqtt_wire.transport import Broker, WireTransport
from protocols.device_model.identity import EdgeId, PropertyId, parse_edge_id, parse_property_id
from protocols.device_model.site_plan import SitePlan
from protocols.errors import InvalidInputError
from protocols.link.lanes import Lane

SECRET_BYTES_MAX: Final = 4 * 1024
RECEIVE_MAX: Final = 1_000
"""MQTT 5: messages that the site broker may have in flight to us; the log's tail looked through holds many more."""
TOPIC_ROOM_BYTES: Final = 1_024


def make_json_bus(
    settings: EdgeSettings,
    *,
    plan: SitePlan | None,
    log: RecordLog,
    clock: Clock,
    dice: Dice,
    house: Hearing,
) -> JsonBus | None:
    """Return the bus of [json_devices], not yet running; None: there is no such table. Raises InvalidInputError."""
    if settings.json_devices is None:
        return None
    if settings.site_broker is None:
        raise InvalidInputError("site_broker", "is missing, and [json_devices] are heard there")
    return JsonBus(
        settings.json_devices,
        transport=json_transport(settings.site_broker, settings.json_devices, client_id=f"{settings.edge}-json"),
        log=log,
        clock=clock,
        dice=dice,
        rooms={} if plan is None else {each.id: each.room for each in plan.devices},
        house=house if plan is not None else None,
    )


def json_transport(broker: SiteBrokerSettings, settings: JsonDevicesSettings, *, client_id: str) -> WireTransport:
    """Return the way to the site broker in a session that it keeps. Raises InvalidInputError."""
    return WireTransport(
        Broker(
            broker.host,
            broker.port,
            client_id=client_id,
            tls=None
            if broker.ca_path is None
            else tls_client_context(broker.ca_path, broker.cert_path, broker.key_path),
            username=broker.username,
            password=None if broker.password_path is None else read_secret(broker.password_path),
            version=broker.version,
            session_expiry=settings.session,
            receive_max=RECEIVE_MAX,
            packet_bytes_max=settings.payload_bytes_max + TOPIC_ROOM_BYTES,
            rest=settings.rest,
        )
    )


def make_northbound(
    settings: EdgeSettings, *, edge: EdgeId, property_id: PropertyId, log: RecordLog, dice: Dice
) -> list[NorthboundPublisher]:
    """Return the publishers of [[northbound]], none running yet. Raises InvalidInputError."""
    names = [each.name for each in settings.northbound]
    for n, name in enumerate(names):
        if name in names[:n]:
            raise InvalidInputError(f"northbound[{n}].name", f"{name!r} stands twice: two would share a cursor")
    return [
        NorthboundPublisher(
            each.name,
            log=log,
            transport=_north(each, edge),
            form=PlainJson(each.topic, property_id=property_id, edge=edge, place=f"northbound[{n}].topic"),
            lanes=[Lane(lane) for lane in dict.fromkeys(each.lanes)],
            kinds=each.kinds,
            in_flight=each.in_flight,
            pause_s=(each.reconnect_first.total_seconds(), each.reconnect_most.total_seconds()),
            dice=dice,
        )
        for n, each in enumerate(settings.northbound)
    ]


def readership_of(settings: EdgeSettings) -> Readership:
    """Return whom the record log is kept for: the cloud, or where there is none the façades of [[northbound]]."""
    return Readership(
        tuple(
            Reader(cursor_of(each.name), frozenset(Lane(lane) for lane in each.lanes), each.kinds)
            for each in settings.northbound
        ),
        cloud=settings.uplink is not None,
    )


def check_northbound(settings: NorthboundSettings, place: str) -> None:
    """Look for what is wrong with one of [[northbound]]. Raises InvalidInputError."""
    somebody = parse_edge_id("edge")
    PlainJson(settings.topic, property_id=parse_property_id("property"), edge=somebody, place=f"{place}.topic")
    _north(settings, somebody)


def _north(settings: NorthboundSettings, edge: EdgeId) -> WireTransport:
    ca = settings.ca_path
    return WireTransport(
        Broker(
            settings.host,
            settings.port,
            client_id=settings.client_id or f"{edge}-{settings.name}",
            tls=None if ca is None else tls_client_context(ca, settings.cert_path, settings.key_path),
            username=settings.username,
            password=None if settings.password_path is None else read_secret(settings.password_path),
            version=settings.version,
            keepalive=settings.keepalive,
            answer_wait=settings.answer_wait,
        )
    )


def read_secret(path: Path) -> str:
    """Return what a password file holds. Raises InvalidInputError."""
    try:
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(str(path), f"cannot be read: {error}") from error
