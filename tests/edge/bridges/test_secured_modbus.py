"""MODBUS/TCP Security: both sides show certificates, our role is told, an end of life is told before it comes."""

import ssl
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import pytest

from edge.bridges.modbus.security import read_our_certificate
from edge.bridges.ports import DeviceEvent
from edge.bridges.settings import BridgesSettings, ModbusTlsSettings
from firmware_bridges.field_emulator.misbehaviour import GOOD
from kit.identity import tls_server_context
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.errors import InvalidInputError
from tests.edge.bridges import field as fields
from tests.edge.bridges.credentials import write
from tests.edge.bridges.field import CATALOGUE, MODBUS, THERMOSTAT, Field, free_port, plan

SETPOINT: Final = (Capability.THERMOSTAT, "occupied_heating_setpoint")
OPERATOR: Final = b"\x0c\x08Operator"


def secured() -> site_plan.SitePlan:
    bus = site_plan.ModbusTlsBus(MODBUS, "127.0.0.1", free_port())
    return site_plan.parse(site_plan.encode(msgspec.structs.replace(plan([THERMOSTAT]), buses=(bus,))))


def tables(folder: Path, *, ca: str = "ca", server_name: str | None = None) -> BridgesSettings:
    write(folder, "ca")
    write(folder, "other-ca")
    cert, key = write(folder, "edge", signer="ca", role=OPERATOR)
    return BridgesSettings(modbus_tls=(ModbusTlsSettings(MODBUS, folder / f"{ca}.pem", cert, key, server_name),))


def serving(folder: Path, settings: BridgesSettings, *, older: bool = False) -> AbstractAsyncContextManager[Field]:
    cert, key = write(folder, "meters", signer="ca")
    context = tls_server_context(cert, key, folder / "ca.pem")
    if older:
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    return fields.field(secured(), settings=settings, modbus_tls=context)


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize("older", [False, True], ids=["TLS 1.3", "TLS 1.2"])
async def test_units_behind_tls_are_read_and_written(older: bool, tmp_path: Path) -> None:
    settings = tables(tmp_path)
    async with serving(tmp_path, settings, older=older) as it:
        await it.heard.until(it.heard.told("thermostat-1", DeviceEvent.ONLINE))
        assert (await it.devices.write(it.command("thermostat-1", *SETPOINT, 22.0))).phase is Phase.DONE
        assert it.buses[0].counts["secured_connections"] >= 1


@pytest.mark.parametrize("wrong", ["authority", "name", "ours"])
async def test_a_certificate_that_does_not_fit_connects_nobody(wrong: str, tmp_path: Path) -> None:
    settings = tables(
        tmp_path, ca="other-ca" if wrong == "authority" else "ca", server_name="elsewhere" if wrong == "name" else None
    )
    if wrong == "ours":
        write(tmp_path, "edge", signer="other-ca")
    async with serving(tmp_path, settings) as it:
        # In TLS 1.3 a server says only after the handshake that it does not take ours: then each question fails.
        gone = (DeviceEvent.OFFLINE, DeviceEvent.QUARANTINED)
        await it.heard.until(lambda: any(it.heard.told("thermostat-1", each)() for each in gone))
        assert not it.heard.told("thermostat-1", DeviceEvent.ONLINE)()
        assert not it.emulator.modbus[MODBUS].counts["requests"]
        assert not it.heard.readings


def test_what_our_certificate_says_is_read_and_its_end_told(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    write(tmp_path, "ca")
    cert, _ = write(tmp_path, "edge", signer="ca", role=OPERATOR)
    ours = read_our_certificate(cert)
    assert (ours.role, ours.warning(now)) == ("Operator", None)
    cert, _ = write(tmp_path, "edge", signer="ca", ends=timedelta(days=9, hours=1))
    ours = read_our_certificate(cert)
    assert ours.role is None
    assert "in 9 days" in (ours.warning(now) or "") or "in 8 days" in (ours.warning(now) or "")
    assert "ended" in (read_our_certificate(write(tmp_path, "e", ends=timedelta(days=-1))[0]).warning(now) or "")
    assert "valid only from" in (ours.warning(now - timedelta(days=500)) or "")
    for role in (b"", b"\x0c\x09Operator", b"\x13\x08Operator", b"\x0c\x02\xff\xff"):
        cert, _ = write(tmp_path, "edge", signer="ca", role=role)
        with pytest.raises(InvalidInputError, match="role extension"):
            read_our_certificate(cert)


def test_a_bus_without_certificates_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match=r"modbus-1.*has no .*modbus_tls"):
        Field(
            secured(), broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE,
            modbus_tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        )  # fmt: skip


def test_no_emulator_speaks_plain_text_where_the_plan_says_tls() -> None:
    with pytest.raises(InvalidInputError, match="needs TLS"):
        Field(secured(), broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE)
