"""Finds everything that is wrong with a configuration, without starting, opening a port or making a file."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from edge.app.settings import EdgeSettings
from edge.app.site import read_site_plan
from edge.policy import document as policy_document
from kit.settings import load
from protocols.device_model.identity import parse_edge_id, parse_property_id
from protocols.device_model.site_plan import MqttBus, SitePlan
from protocols.errors import PlatformError

DOORS_KEYS = frozenset({"store_path", "property_ca_key_path", "radio"})  # doors.toml has these, edge.toml never


def problems(config: Path, environ: Mapping[str, str]) -> list[str]:
    """Return one line a problem, each naming its place; empty: the program would start.

    Args:
        config: edge.toml or doors.toml; which one is told by its keys.
        environ: The environment that the program would run in.
    """
    try:
        settings = load(EdgeSettings, config, "EDGE", environ)
    except PlatformError as error:
        return [str(error)]  # nothing else can be looked at
    found: list[str] = []
    for parse, value, key in (
        (parse_property_id, settings.property, "property"),
        (parse_edge_id, settings.edge, "edge"),
    ):
        try:
            parse(value, f"{config}: {key}")
        except PlatformError as error:
            found.append(str(error))
    plan: SitePlan | None = None
    try:
        plan = read_site_plan(settings)
    except PlatformError as error:
        found.append(str(error))
    if settings.policy_path is not None:
        try:
            policy_document.parse(settings.policy_path.read_bytes(), str(settings.policy_path))
        except OSError as error:
            found.append(f"{settings.policy_path}: cannot be read: {error.strerror or error}")
        except PlatformError as error:
            found.append(str(error))
    if plan is not None and settings.site_broker is None and any(isinstance(bus, MqttBus) for bus in plan.buses):
        found.append(f"{config}: site_broker: is missing, and the site plan has an mqtt bus")
    if plan is not None and plan.doors and settings.doors is None:
        found.append(f"{config}: doors: is missing, and the site plan has doors")
    if settings.data_dir.exists() and not settings.data_dir.is_dir():
        found.append(f"{config}: data_dir: {settings.data_dir} is not a folder")
    if settings.uplink is not None:
        paths = {
            "command_public_key_path": settings.uplink.command_public_key_path,
            "ca_path": settings.uplink.ca_path,
            "cert_path": settings.uplink.cert_path,
            "key_path": settings.uplink.key_path,
        }
        found.extend(
            f"{config}: uplink.{key}: {path} is not a file"
            for key, path in paths.items()
            if path is not None and not path.is_file()
        )
    return found


def is_doors(config: Path) -> bool:
    """Say whether a file is doors.toml rather than edge.toml; False for what cannot be read."""
    try:
        return bool(DOORS_KEYS & tomllib.loads(config.read_text(encoding="utf-8")).keys())
    except (OSError, ValueError):
        return False
