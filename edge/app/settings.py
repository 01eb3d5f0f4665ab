"""Settings of the edge process: edge.toml, overridden by `EDGE_*` (`EDGE_API__PORT=8080` is `api.port`).

The smallest file that runs names the property, the edge and a folder for data; docs/operating/edge-settings.md lists
every key with its default. Read once, by main; each part goes to its one user.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from edge.api.kiosk_origin import check_origin
from edge.bridges.fias.settings import FiasSettings
from edge.bridges.mdns.settings import MdnsSettings
from edge.bridges.mqtt.json_rules import JsonDevicesSettings
from edge.bridges.settings import BridgesSettings
from edge.link.settings import LinkSettings
from edge.log.settings import LogSettings
from edge.northbound.settings import HomeAssistantSettings, NorthboundSettings, SparkplugSettings
from kit.settings import KEEPALIVE_LEAST, KEEPALIVE_MOST, check_host, check_span, check_tls

SOCKET_PATH_BYTES_MOST: Final = 100  # sockaddr_un holds 108
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[api]: the local HTTP API. Loopback unless somebody knows better; port 0 takes a free one.

    `token_path`: file with the bearer token, made with a random one if it is not there (default: api-token in
    `data_dir`). `desk_token_path`: that of the desk's page, likewise (default: desk-token in `data_dir`).
    `kiosk_token_path`: that of the kiosks' routes, likewise (default: kiosk-token in `data_dir`), where the site plan
    has a kiosk's peripherals. `port_path`: where the port in use is written once it is taken, for whoever
    chose port 0.
    """

    host: str = "127.0.0.1"
    port: Port = 8470
    token_path: Path | None = None
    port_path: Path | None = None
    kiosk_token_path: Path | None = None
    desk_token_path: Path | None = None

    def __post_init__(self) -> None:
        check_host(self.host)


class UplinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[uplink]: how the edge reaches its cloud. Left out, the edge works alone and keeps its records.

    `ca_path`, `cert_path`, `key_path`: mutual TLS; all left out is plain TCP, for loopback only. `username`,
    `password_path`: for a broker that asks for them.
    `command_public_key_path`: PEM public key (P-256) that signs the cloud's commands and documents; pinned, under the
    key id `command_key_id`. Left out, nobody's commands and documents are obeyed.
    """

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    command_public_key_path: Path | None = None
    command_key_id: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] = "command"
    ca_path: Path | None = None
    cert_path: Path | None = None
    key_path: Path | None = None
    username: str | None = None
    password_path: Path | None = None
    version: Literal["3.1.1", "5"] = "3.1.1"
    keepalive: timedelta = timedelta(seconds=30)
    link: LinkSettings = LinkSettings()

    def __post_init__(self) -> None:
        check_host(self.host)
        check_tls(self.ca_path, self.cert_path, self.key_path)
        check_span("keepalive", self.keepalive, KEEPALIVE_LEAST, KEEPALIVE_MOST)


class SiteBrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[site_broker]: the MQTT broker in the building; needed for [json_devices] and if the site plan has an mqtt bus.

    `ca_path`, `cert_path`, `key_path`: mutual TLS; `ca_path` alone verifies the broker and signs in by password.
    """

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1883
    username: str | None = None
    password_path: Path | None = None
    ca_path: Path | None = None
    cert_path: Path | None = None
    key_path: Path | None = None
    version: Literal["3.1.1", "5"] = "3.1.1"

    def __post_init__(self) -> None:
        check_host(self.host)
        check_tls(self.ca_path, self.cert_path, self.key_path)


class DoorsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[doors]: where the doors process listens. Left out, this edge issues no grants."""

    socket_path: Path

    def __post_init__(self) -> None:
        if len(str(self.socket_path).encode()) > SOCKET_PATH_BYTES_MOST:
            raise ValueError(f"socket_path is longer than {SOCKET_PATH_BYTES_MOST} bytes: {self.socket_path}")


class KioskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[kiosk]: the screens in the lobby, where the site plan has a kiosk's peripherals.

    `origins`: where the kiosk's page comes from, `https://host[:port]`; no page of another origin may speak with us.
    `encoders`: by place, the encoder of the lock system on which its dispenser's cards are written; a place without
    one gives no keys. `alone`: whether guests check in here while the house is cut off, as far as the check-in policy's
    steps can be done without the cloud.
    """

    origins: tuple[str, ...] = ()
    encoders: dict[str, Annotated[str, msgspec.Meta(min_length=1, max_length=80)]] = {}
    alone: bool = True

    def __post_init__(self) -> None:
        for each in self.origins:
            check_origin(each)


class EdgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """edge.toml.

    `property`, `edge`: who we are; must agree with the site plan if there is one.
    `data_dir`: the record log, edge.db and the API token live here; made if it is not there.
    `site_plan_path`: rooms, devices, buses and doors; left out, there are none.
    `policy_path`: the node's own room policy, in force while the cloud has signed none; left out, the one last
    loaded, else the one shipped.
    `head_key_path`: a P-256 private key (PEM) that signs how far lane A of the log has come, for the cloud to keep;
    left out, the log can be rewritten unnoticed by whoever holds this machine.
    `clock_trust`: "ntp" asks the kernel whether its clock is disciplined; "host" takes the host's word.
    """

    property: str
    edge: str
    data_dir: Path
    site_plan_path: Path | None = None
    policy_path: Path | None = None
    head_key_path: Path | None = None
    clock_trust: Literal["ntp", "host"] = "ntp"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = True
    api: ApiSettings = ApiSettings()
    kiosk: KioskSettings = KioskSettings()
    uplink: UplinkSettings | None = None
    site_broker: SiteBrokerSettings | None = None
    json_devices: JsonDevicesSettings | None = None
    northbound: tuple[NorthboundSettings, ...] = ()
    fias: FiasSettings | None = None
    home_assistant: HomeAssistantSettings | None = None
    sparkplug: SparkplugSettings | None = None
    doors: DoorsSettings | None = None
    bridges: BridgesSettings = BridgesSettings()
    mdns: MdnsSettings | None = None
    log: LogSettings = LogSettings()
