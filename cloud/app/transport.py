"""The way to the cloud's broker, from the settings."""

from cloud.app.secrets import read_secret
from cloud.app.settings import BrokerSettings
from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttTransport


def transport(settings: BrokerSettings, client_id: str) -> MqttTransport:
    """Return a transport to the cloud's broker under `client_id`, which no other connection may have."""
    tls = settings.tls
    return MqttTransport(
        Broker(
            host=settings.host,
            port=settings.port,
            client_id=client_id,
            tls=None if tls is None else tls_client_context(tls.ca_path, tls.cert_path, tls.key_path),
            username=settings.username,
            password=None if settings.password_path is None else read_secret(settings.password_path),
        )
    )
