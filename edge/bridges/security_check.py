"""Whether the buses' security is whole: a table for each bus that needs one, none for others, files that can be used.

Looks at files and opens nothing else. A certificate near its end starts; one that has ended does not.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from edge.bridges.modbus.security import read_our_certificate, tls_context
from edge.bridges.mqtt.advert_keys import read_advert_keys
from edge.bridges.settings import (
    BridgesSettings,
    modbus_tls_settings,
    opcua_settings,
)
from protocols.device_model.identity import BusId
from protocols.device_model.site_plan import ModbusTlsBus, OpcUaBus, SitePlan
from protocols.errors import InvalidInputError


def security_problems(plan: SitePlan, settings: BridgesSettings, now: datetime) -> list[str]:
    """Return one line a problem, each naming its table and bus."""
    found: list[str] = []
    tls = {bus.id for bus in plan.buses if isinstance(bus, ModbusTlsBus)}
    plants = {bus.id for bus in plan.buses if isinstance(bus, OpcUaBus)}
    for n, each in enumerate(settings.modbus_tls):
        _belongs(f"bridges.modbus_tls[{n}].bus", each.bus, tls, found)
    for n, plant in enumerate(settings.opcua):
        _belongs(f"bridges.opcua[{n}].bus", plant.bus, plants, found)
    for bus in sorted(tls):
        _try(partial(_check_tls, settings, bus, now), found)
    for bus in sorted(plants):
        _try(partial(_check_opcua, settings, bus, now), found)
    _try(partial(read_advert_keys, settings.advert_keys_path), found)
    return found


def _belongs(place: str, bus: BusId, buses: set[BusId], found: list[str]) -> None:
    if bus not in buses:
        kinds = f"buses of that kind: {', '.join(sorted(buses)) or 'none'}"
        found.append(f"{place}: {bus!r} is no such bus of the site plan; {kinds}")


def _check_tls(settings: BridgesSettings, bus: BusId, now: datetime) -> None:
    table = modbus_tls_settings(settings.modbus_tls, bus)
    tls_context(table.ca_path, table.cert_path, table.key_path)
    ours = read_our_certificate(table.cert_path)
    if now >= ours.not_after or now < ours.not_before:
        raise InvalidInputError(str(table.cert_path), ours.warning(now) or "")


def _check_opcua(settings: BridgesSettings, bus: BusId, now: datetime) -> None:
    table = opcua_settings(settings.opcua, bus)
    if table.policy == "none":
        return
    from edge.bridges.opcua.security import OpcUaSecurity  # 30 MB: only where there is a plant

    warnings = [each for each in OpcUaSecurity(table).warnings(now) if "ended" in each or "only from" in each]
    if warnings:
        raise InvalidInputError("bridges.opcua", "; ".join(warnings))
    if table.password_path is not None and not table.password_path.is_file():
        raise InvalidInputError(str(table.password_path), "is not a file")


def _try(attempt: Callable[[], object], found: list[str]) -> None:
    try:
        attempt()
    except InvalidInputError as error:
        found.append(str(error))
