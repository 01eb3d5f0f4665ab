"""[[northbound]]: brokers that are told every record as plain JSON."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from kit.settings import KEEPALIVE_LEAST, KEEPALIVE_MOST, check_host, check_span, check_tls

SPAN_LEAST: Final = timedelta(milliseconds=10)
SPAN_MOST: Final = timedelta(hours=1)
_BASE: Final = r"^[A-Za-z0-9_-]{1,40}(/[A-Za-z0-9_-]{1,40}){0,4}\Z"


class NorthboundSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One broker.

    `name`: names its cursor on the log; another name begins at the log's beginning. `topic`: may hold `{property}`,
    `{edge}`, `{kind}`, `{lane}`, `{room}`, `{device}`, `{capability}`, `{attribute}`; what a record lacks is `-`.
    `lanes`, `kinds`: which records; no kinds are all kinds. `in_flight`: messages sent and not answered.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}\Z")]
    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1883
    topic: Annotated[str, msgspec.Meta(min_length=1, max_length=400)] = (
        "innkeeper/{property}/{room}/{device}/{attribute}"
    )
    lanes: Annotated[tuple[Literal["A", "B", "C"], ...], msgspec.Meta(min_length=1, max_length=3)] = ("B", "C")
    kinds: tuple[str, ...] = ("reading",)
    client_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    username: str | None = None
    password_path: Path | None = None
    ca_path: Path | None = None
    cert_path: Path | None = None
    key_path: Path | None = None
    version: Literal["3.1.1", "5"] = "3.1.1"
    keepalive: timedelta = timedelta(seconds=30)
    in_flight: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 500
    answer_wait: timedelta = timedelta(seconds=8)
    reconnect_first: timedelta = timedelta(milliseconds=500)
    reconnect_most: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        check_host(self.host)
        check_tls(self.ca_path, self.cert_path, self.key_path)
        check_span("keepalive", self.keepalive, KEEPALIVE_LEAST, KEEPALIVE_MOST)
        check_span("answer_wait", self.answer_wait, SPAN_LEAST, SPAN_MOST)
        check_span("reconnect_first", self.reconnect_first, SPAN_LEAST, self.reconnect_most)
        check_span("reconnect_most", self.reconnect_most, self.reconnect_first, SPAN_MOST)


class HomeAssistantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[home_assistant]: the house's devices announced on the site broker.

    `prefix`: Home Assistant's discovery prefix. `base`: values and commands go under `<base>/<property>`. `discovery`:
    "device" for Home Assistant 2024.11 and newer, "entity" for any. `command_wait`: a command that could not be carried
    out by then never has an effect.
    """

    prefix: Annotated[str, msgspec.Meta(pattern=_BASE)] = "homeassistant"
    base: Annotated[str, msgspec.Meta(pattern=_BASE)] = "innkeeper"
    discovery: Literal["device", "entity"] = "device"
    command_wait: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        check_span("command_wait", self.command_wait, SPAN_LEAST, SPAN_MOST)


class SparkplugSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[sparkplug]: this edge as a Sparkplug B edge node on a plant's broker; the property is the group.

    `command_wait`: a command that could not be carried out by then never has an effect.
    """

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1883
    client_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    username: str | None = None
    password_path: Path | None = None
    ca_path: Path | None = None
    cert_path: Path | None = None
    key_path: Path | None = None
    keepalive: timedelta = timedelta(seconds=30)
    command_wait: timedelta = timedelta(seconds=10)
    reconnect_first: timedelta = timedelta(milliseconds=500)
    reconnect_most: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        check_host(self.host)
        check_tls(self.ca_path, self.cert_path, self.key_path)
        check_span("keepalive", self.keepalive, KEEPALIVE_LEAST, KEEPALIVE_MOST)
        check_span("command_wait", self.command_wait, SPAN_LEAST, SPAN_MOST)
        check_span("reconnect_first", self.reconnect_first, SPAN_LEAST, self.reconnect_most)
        check_span("reconnect_most", self.reconnect_most, self.reconnect_first, SPAN_MOST)
