"""Finds everything that is wrong with a configuration, without starting, opening a port or making a file."""

import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edge.api.token import read_or_make_token
from edge.app.buses import read_descriptors, site_transport
from edge.app.json_devices import check_northbound
from edge.app.keys import read_private_key
from edge.app.settings import EdgeSettings
from edge.app.site import read_site_plan
from edge.app.uplink import missing_files, read_command_key
from edge.bridges.assembly import BrokerBuses
from edge.bridges.mdns.listener import BUS as MDNS
from edge.bridges.mqtt.json_rules import compile_rules
from edge.bridges.security_check import security_problems
from edge.policy import document as policy_document
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.files import SystemDisk
from kit.identity import tls_client_context
from kit.settings import InvalidSettingsError, load
from protocols.device_model.identity import parse_edge_id, parse_property_id
from protocols.device_model.site_plan import SitePlan
from protocols.errors import InvalidInputError, PlatformError

if TYPE_CHECKING:
    from edge.doors.settings import DoorsSettings

DOORS_KEYS = frozenset({"store_path", "property_ca_key_path", "door_secrets_path", "radio"})
"""doors.toml has one of these, edge.toml never."""

T = TypeVar("T")


def problems(config: Path, environ: Mapping[str, str]) -> list[str]:
    """Return one line a problem, each naming its place; empty: the program would start.

    Args:
        config: edge.toml or doors.toml; which one is told by its keys.
        environ: The environment that the program would run in.
    """
    return _doors_problems(config, environ) if _is_doors(config) else _edge_problems(config, environ)


def _edge_problems(config: Path, environ: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    settings = _tried(lambda: load(EdgeSettings, config, "EDGE", environ), found)
    if settings is None:
        return found  # nothing else can be looked at
    _tried(lambda: parse_property_id(settings.property, f"{config}: property"), found)
    _tried(lambda: parse_edge_id(settings.edge, f"{config}: edge"), found)
    plan = _tried(lambda: read_site_plan(settings), found)
    if plan is not None:
        _tried(lambda: read_descriptors(plan, settings.bridges.models_path), found)
        found += _plan_problems(plan, settings, config)
    if (policy := settings.policy_path) is not None:
        _tried(lambda: policy_document.parse(_read(policy), str(policy)), found)
    if settings.data_dir.exists() and not settings.data_dir.is_dir():
        found.append(f"{config}: data_dir: {settings.data_dir} is not a folder")
    if (head_key := settings.head_key_path) is not None:
        _tried(lambda: read_private_key(head_key), found)
    found += _api_problems(settings, config)
    found += _mqtt_problems(settings, config)
    if (uplink := settings.uplink) is not None:
        missing = missing_files(uplink)
        found += [f"{config}: uplink.{key}: {path} is not a file" for key, path in missing]
        if not missing:
            _tried(lambda: read_command_key(uplink), found)
            if uplink.ca_path is not None:
                ca_path = uplink.ca_path
                _tried(lambda: tls_client_context(ca_path, uplink.cert_path, uplink.key_path), found)
    return found


def _api_problems(settings: EdgeSettings, config: Path) -> list[str]:
    """What is wrong with the files of [api]."""
    found: list[str] = []
    if (port_path := settings.api.port_path) is not None and not port_path.parent.is_dir():
        found.append(f"{config}: api.port_path: {port_path.parent} is no folder")
    api = settings.api
    for key, named, name in (
        ("token_path", api.token_path, "api-token"),
        ("desk_token_path", api.desk_token_path, "desk-token"),
    ):
        path = named or settings.data_dir / name
        if path.exists():
            _tried(partial(read_or_make_token, SystemDisk(), path, SystemDice()), found)
        elif named is not None and not path.parent.is_dir():
            found.append(f"{config}: api.{key}: {path.parent} is no folder")
    return found


def _mqtt_problems(settings: EdgeSettings, config: Path) -> list[str]:
    """What is wrong with [json_devices], [[northbound]] and the broker in the building."""
    found: list[str] = []
    if (json_devices := settings.json_devices) is not None:
        _tried(lambda: compile_rules(json_devices, f"{config}: json_devices"), found)
        if settings.site_broker is None:
            found.append(f"{config}: site_broker: is missing, and [json_devices] are heard there")
    if (broker := settings.site_broker) is not None:
        _tried(lambda: site_transport(broker, client_id="check"), found)
    for n, each in enumerate(settings.northbound):
        _tried(partial(check_northbound, each, f"{config}: northbound[{n}]"), found)
    return found


def _plan_problems(plan: SitePlan, settings: EdgeSettings, config: Path) -> list[str]:
    found = []
    if settings.site_broker is None and any(isinstance(bus, BrokerBuses) for bus in plan.buses):
        found.append(f"{config}: site_broker: is missing, and the site plan has an mqtt bus")
    if settings.doors is None and plan.doors:
        found.append(f"{config}: doors: is missing, and the site plan has doors")
    if settings.mdns is not None and any(bus.id == MDNS for bus in plan.buses):
        found.append(f"{config}: mdns: the site plan has a bus {MDNS!r}, which is what found devices are told under")
    return found + [f"{config}: {each}" for each in security_problems(plan, settings.bridges, _now())]


def _now() -> datetime:
    return datetime.fromtimestamp(SystemClock("host").wall_ms() / 1000, UTC)


def _doors_problems(config: Path, environ: Mapping[str, str]) -> list[str]:
    from edge.doors.door_book import DoorBook, read_secret_json
    from edge.doors.settings import DoorsSettings
    from protocols.grant.keys import PropertyCa

    found: list[str] = []
    settings = _tried(lambda: load(DoorsSettings, config, "DOORS", environ), found)
    if settings is None:
        return found
    book = _tried(lambda: DoorBook.read(settings.site_plan_path, settings.door_secrets_path), found)
    path = settings.property_ca_key_path
    ca = _tried(lambda: PropertyCa.from_document(read_secret_json(path), str(path)), found)
    if settings.lock_systems:
        _tried(lambda: _lock_systems(settings), found)
    if book is not None and ca is not None and ca.property_id != book.property_id:
        found.append(f"{path}: is of property {ca.property_id!r}, the site plan of {book.property_id!r}")
    return found


def _lock_systems(settings: "DoorsSettings") -> None:
    """Make the adapters, which connect to nothing. Raises InvalidInputError."""
    try:
        from edge.doors.vendors.choice import foreign_systems
    except ModuleNotFoundError as error:
        raise InvalidInputError("lock_systems", f"{error}: install innkeeper[locks]") from error
    foreign_systems(settings.lock_systems, SystemClock(settings.clock_trust))


def _tried(attempt: Callable[[], T], found: list[str]) -> T | None:
    try:
        return attempt()
    except InvalidSettingsError as error:
        found += map(str, error.faults)
        return None
    except PlatformError as error:
        found.append(str(error))
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error


def _is_doors(config: Path) -> bool:
    try:
        return bool(DOORS_KEYS & tomllib.loads(config.read_text(encoding="utf-8")).keys())
    except (OSError, ValueError):
        return False  # whoever loads it as edge.toml says what is wrong
