"""[bridges]: how the buses are driven. Every default is fit for a house of 250 rooms."""

from pathlib import Path
from typing import Annotated

import msgspec

from protocols.device_model.identity import BusId

_Count = Annotated[int, msgspec.Meta(ge=1, le=64)]


class ModbusTlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[bridges.modbus_tls]]: the certificates of one bus of MODBUS/TCP Security.

    `bus`: its id in the site plan. `ca_path`: whom to trust, and nobody else. `cert_path`, `key_path`: ours, read anew
    for each connection. `server_name`: the name in the server's certificate, where it is not the bus's host.
    """

    bus: BusId
    ca_path: Path
    cert_path: Path
    key_path: Path
    server_name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] | None = None


class BridgesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the bus supervisors.

    `modbus_in_flight_max`: requests at a time on one Modbus TCP bus, never more than one a unit; 1 for a gateway that
    cannot queue; a serial line bears one in any case. `modbus_probes_max`: of those, how many may wait for units that
    did not answer last time. `modbus_tls`: the certificates of each bus of that kind.
    """

    modbus_in_flight_max: _Count = 4
    modbus_probes_max: _Count = 1
    modbus_tls: tuple[ModbusTlsSettings, ...] = ()
