"""[bridges]: how the buses are driven. Every default is fit for a house of 250 rooms."""

from typing import Annotated

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=1, le=64)]


class BridgesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the bus supervisors.

    `modbus_in_flight_max`: requests at a time on one Modbus TCP bus, never more than one a unit; 1 for a gateway that
    cannot queue. `modbus_probes_max`: of those, how many may wait for units that did not answer last time.
    """

    modbus_in_flight_max: _Count = 4
    modbus_probes_max: _Count = 1
