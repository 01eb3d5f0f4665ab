"""[bridges]: how the buses are driven. Every default is fit for a house of 250 rooms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from protocols.device_model.identity import BusId
from protocols.errors import InvalidInputError

_Count = Annotated[int, msgspec.Meta(ge=1, le=64)]


T = TypeVar("T", "ModbusTlsSettings", "OpcUaSettings")


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


class OpcUaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[bridges.opcua]]: how one OPC UA server is spoken to; a server without such a table is not spoken to at all.

    `bus`: its id in the site plan. `policy`: `none` is plain text that anybody on the network can read and change.
    `cert_path`, `key_path`: ours (RSA; the application URI is the certificate's). `server_certificate_path`: the
    server's own, pinned: another one is refused. `username`, `password_path`: left out, we are anonymous; a password
    travels only encrypted.
    """

    bus: BusId
    policy: Literal["none", "Basic256Sha256", "Aes128_Sha256_RsaOaep"]
    mode: Literal["sign", "sign_and_encrypt"] = "sign_and_encrypt"
    cert_path: Path | None = None
    key_path: Path | None = None
    server_certificate_path: Path | None = None
    username: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    password_path: Path | None = None

    def __post_init__(self) -> None:
        files = {name: getattr(self, name) for name in ("cert_path", "key_path", "server_certificate_path")}
        for name, path in files.items():
            if self.policy == "none" and path is not None:
                raise ValueError(f"{name} has no meaning with policy none: say which security is wanted")
            if self.policy != "none" and path is None:
                raise ValueError(f"{name} is missing: policy {self.policy} needs it")
        if (self.username is None) != (self.password_path is None):
            raise ValueError("username and password_path belong together")
        if self.username is not None and (self.policy == "none" or self.mode != "sign_and_encrypt"):
            raise ValueError("username would send its password in the clear: it needs a policy and sign_and_encrypt")


class BridgesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the bus supervisors.

    `modbus_in_flight_max`: requests at a time on one Modbus TCP bus, never more than one a unit; 1 for a gateway that
    cannot queue; a serial line bears one in any case. `modbus_probes_max`: of those, how many may wait for units that
    did not answer last time. `modbus_tls`: the certificates of each bus of that kind. `opcua`: the security of each
    OPC UA server. `advert_keys_path`: a TOML file with the keys of sensors that encrypt their adverts, address = key.
    `models_path`: a folder of the property's own descriptors, `<family>/descriptors/<model>.toml` in it.
    """

    modbus_in_flight_max: _Count = 4
    modbus_probes_max: _Count = 1
    modbus_tls: tuple[ModbusTlsSettings, ...] = ()
    opcua: tuple[OpcUaSettings, ...] = ()
    advert_keys_path: Path | None = None
    models_path: Path | None = None


def opcua_settings(tables: Sequence[OpcUaSettings], bus: BusId) -> OpcUaSettings:
    """Return the table of a bus. Raises InvalidInputError: there is none, and plain text is nobody's default."""
    return _table_of(tables, bus, "opcua", 'says its security (policy = "none" for plain text)')


def modbus_tls_settings(tables: Sequence[ModbusTlsSettings], bus: BusId) -> ModbusTlsSettings:
    """Return the table of a bus. Raises InvalidInputError: there is none."""
    return _table_of(tables, bus, "modbus_tls", "names its certificates")


def _table_of(tables: Sequence[T], bus: BusId, name: str, what: str) -> T:
    found = [each for each in tables if each.bus == bus]
    if len(found) != 1:
        how = "no" if not found else "more than one"
        raise InvalidInputError(f"bridges.{name}: bus {bus!r}", f"has {how} [[bridges.{name}]] that {what}")
    return found[0]
