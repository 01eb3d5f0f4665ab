"""The way to the cloud's broker, from the settings."""

import ssl

from cloud.app.secrets import read_secret
from cloud.app.settings import BrokerSettings
from cloud.telemetry.fan_in.worker import READ_REST
from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttTransport
from kit.mqtt_wire import transport as wire
from kit.mqtt_wire.transport import WireTransport


def transport(settings: BrokerSettings, client_id: str) -> MqttTransport:
    """Return a transport to the cloud's broker under `client_id`, which no other connection may have."""
    return MqttTransport(
        Broker(
            host=settings.host,
            port=settings.port,
            client_id=client_id,
            tls=_tls(settings),
            username=settings.username,
            password=_password(settings),
        )
    )


def wire_transport(settings: BrokerSettings, client_id: str) -> WireTransport:
    """Return the same for the ingest: our own client, which takes many messages from one read."""
    return WireTransport(
        wire.Broker(
            host=settings.host,
            port=settings.port,
            client_id=client_id,
            tls=_tls(settings),
            username=settings.username,
            password=_password(settings),
            rest=READ_REST,
        )
    )


def _tls(settings: BrokerSettings) -> ssl.SSLContext | None:
    tls = settings.tls
    return None if tls is None else tls_client_context(tls.ca_path, tls.cert_path, tls.key_path)


def _password(settings: BrokerSettings) -> str | None:
    return None if settings.password_path is None else read_secret(settings.password_path)
