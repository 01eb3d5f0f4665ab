"""How badly bluetoothd and the radio below it behave, and the words in which it says no."""

from dataclasses import dataclass
from typing import Final

from bleak.exc import BleakGATTProtocolError, BleakGATTProtocolErrorCode


@dataclass(slots=True)
class Manners:
    """Probabilities 0..1 for each call, times in milliseconds; changed at run time. As made: an ordinary bad day."""

    slow: float = 0.25
    """Connect takes up to `slow_ms` more."""
    slow_ms: int = 400
    abort: float = 0.15
    """Connect ends with le-connection-abort-by-local: interference; the next one may well succeed."""
    busy: float = 0.1
    """A call is answered with InProgress."""
    vanish: float = 0.05
    """The device is forgotten in the moment in which it is connected to."""
    resolve_ms: int = 20
    """From the link to ServicesResolved."""
    mtu_late_ms: int = 50
    """From ServicesResolved to the agreed MTU; 23 is said until then."""
    rssi_sway_dbm: float = 12.0


ROUGH: Final = Manners()


def tame() -> Manners:
    """Return manners without a fault, as nobody's BlueZ has them."""
    return Manners(slow=0, abort=0, busy=0, vanish=0, resolve_ms=0, mtu_late_ms=0)


class BluezError(Exception):
    """An answer of bluetoothd: `org.bluez.Error.<kind>`, or a name of D-Bus's own."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.name = kind if "." in kind else f"org.bluez.Error.{kind}"


def not_ready() -> BluezError:
    """The adapter has no power."""
    return BluezError("NotReady", "Resource Not Ready")


def in_progress() -> BluezError:
    """It is at it already."""
    return BluezError("InProgress", "Operation already in progress")


def not_connected() -> BluezError:
    """There is no link."""
    return BluezError("NotConnected", "Not Connected")


def refused(error: BleakGATTProtocolError) -> BluezError:
    """Return BlueZ's words for an ATT error (create_gatt_dbus_error)."""
    code = BleakGATTProtocolErrorCode
    match error.code:
        case code.READ_NOT_PERMITTED:
            return BluezError("NotPermitted", "Read not permitted")
        case code.WRITE_NOT_PERMITTED:
            return BluezError("NotPermitted", "Write not permitted")
        case code.INSUFFICIENT_AUTHENTICATION | code.INSUFFICIENT_ENCRYPTION | code.INSUFFICIENT_ENCRYPTION_KEY_SIZE:
            return BluezError("NotPermitted", "Not paired")
        case code.INVALID_OFFSET:
            return BluezError("InvalidArguments", "Invalid offset")
        case code.INVALID_ATTRIBUTE_VALUE_LENGTH:
            return BluezError("InvalidArguments", "Invalid Length")
        case code.INSUFFICIENT_AUTHORIZATION:
            return BluezError("NotAuthorized", "Operation Not Authorized")
        case code.REQUEST_NOT_SUPPORTED:
            return BluezError("NotSupported", "Operation is not supported")
        case code.CCCD_IMPROPERLY_CONFIGURED:
            return BluezError("ImproperlyConfigured", "Improperly configured")
        case _:
            return BluezError("Failed", f"Operation failed with ATT error: 0x{error.code:02x}")
