"""An OPC UA server spoken to as its settings say, and only so: signed, encrypted, pinned, by name and password."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from asyncua import ua
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from edge.bridges.opcua.discovery import describe
from edge.bridges.opcua.security import OpcUaSecurity, now_of
from edge.bridges.ports import DeviceEvent
from edge.bridges.settings import BridgesSettings, OpcUaSettings
from firmware_bridges.field_emulator.misbehaviour import GOOD
from firmware_bridges.field_emulator.opcua_server import OpcUaServer, ServerSecurity
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import OpcUaBus, SitePlan
from protocols.errors import InvalidInputError
from protocols.opcua.probe import probe_server
from tests.edge.bridges.credentials import write
from tests.edge.bridges.field import CATALOGUE, PLANT, Field, plan
from tests.seeds import LONG, THOROUGH

SETPOINT: Final = ("chiller", Capability.THERMOSTAT, "occupied_cooling_setpoint")
SERVER_URI: Final = "urn:freeopcua:python:server"


def settings(folder: Path, **changes: Any) -> OpcUaSettings:
    cert, key = write(folder, "edge", uri="urn:innkeeper:edge")
    server, _ = write(folder, "plant", uri=SERVER_URI)
    given = {"bus": PLANT, "policy": "Basic256Sha256", "cert_path": cert, "key_path": key, **changes}
    return OpcUaSettings(**{"server_certificate_path": server, **given})


def client(made: SitePlan, said: OpcUaSettings) -> Field:
    return Field(made, broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE, settings=BridgesSettings(opcua=(said,)))


@asynccontextmanager
async def plant(
    made: SitePlan, fields: Sequence[Field], security: ServerSecurity
) -> AsyncIterator[tuple[OpcUaServer, str]]:
    """Run one server, which takes seconds to start, and the supervisors of every field on it."""
    first, [bus] = fields[0], made.buses
    assert isinstance(bus, OpcUaBus)
    thing = first.emulator.things[made.devices[0].id]
    server = OpcUaServer([(thing, None)], first.emulator.misbehaviour, first.clock)
    await server.start(bus.url, security)
    running = [asyncio.create_task(each.buses[0].run()) for each in fields]
    try:
        yield server, bus.url
        assert not [each for each in running if each.done()]
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.stop()


async def refused(it: Field, word: str) -> None:
    await it.heard.until(it.heard.told("chiller", DeviceEvent.OFFLINE))
    [detail] = [each for _, event, each in it.heard.events if event is DeviceEvent.OFFLINE]
    assert detail["cause"] == word
    assert it.buses[0].counts[word] >= 1
    assert not [each for each in it.heard.readings if each.quality is Quality.GOOD]
    assert (await it.devices.write(it.command(*SETPOINT, 9.0, within_ms=300))).phase is not Phase.DONE


@LONG
@pytest.mark.requirement("DEV-02")
async def test_a_plant_is_spoken_to_over_the_channel_that_is_wanted_or_not_at_all(tmp_path: Path) -> None:
    made = plan(chiller=True)
    ways = [("Basic256Sha256", "sign"), ("Basic256Sha256", "sign_and_encrypt"), ("Aes128_Sha256_RsaOaep", "sign")]
    let_in = [client(made, settings(tmp_path, policy=policy, mode=mode)) for policy, mode in ways]
    other, _ = write(tmp_path, "other", uri=SERVER_URI)
    changed = client(made, settings(tmp_path, server_certificate_path=other))
    too_much = client(made, settings(tmp_path, policy="Aes128_Sha256_RsaOaep", mode="sign_and_encrypt"))
    plain = client(made, OpcUaSettings(PLANT, "none"))
    offered = [
        ua.SecurityPolicyType.Basic256Sha256_Sign,
        ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
        ua.SecurityPolicyType.Aes128Sha256RsaOaep_Sign,
    ]
    security = ServerSecurity(tmp_path / "plant.pem", tmp_path / "plant.key", policies=offered)
    async with plant(made, [*let_in, changed, too_much, plain], security) as (_, url):
        for value, it in enumerate(let_in, 8):
            await it.heard.until(it.heard.told("chiller", DeviceEvent.ONLINE))
            outcome = await it.devices.write(it.command(*SETPOINT, float(value)))
            assert (outcome.phase, outcome.read_back) == (Phase.DONE, value)
        await refused(changed, "server_certificate_changed")
        await refused(too_much, "security_not_offered")
        await plain.heard.until(plain.heard.told("chiller", DeviceEvent.OFFLINE))
        assert not plain.heard.readings  # it is the server that lets in nobody in plain text
        told = await describe(url, wait_s=10)
        found = await probe_server(told, None, CATALOGUE.values())
        assert found.evidence["security"] == (
            "Basic256Sha256:sign Basic256Sha256:sign_and_encrypt Aes128_Sha256_RsaOaep:sign"
        )
        pinned = load_pem_x509_certificate((tmp_path / "plant.pem").read_bytes())
        assert found.evidence["certificate_sha256"] == pinned.fingerprint(SHA256()).hex()


@pytest.mark.guarantee("G17")
@pytest.mark.skipif(not THOROUGH, reason="two starts of a server, seconds each: `make test` has the time")
async def test_a_secured_plant_with_a_password_is_subscribed_to_again_after_a_loss(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("keep-it-cool\n")
    (tmp_path / "wrong").write_text("let-me-in")
    made, named = plan(chiller=True), {"username": "innkeeper", "password_path": tmp_path / "password"}
    it = client(made, settings(tmp_path, **named))
    stranger = client(made, settings(tmp_path, username="innkeeper", password_path=tmp_path / "wrong"))
    security = ServerSecurity(tmp_path / "plant.pem", tmp_path / "plant.key", users={"innkeeper": "keep-it-cool"})
    async with plant(made, [it, stranger], security) as (server, url):
        await it.heard.until(it.heard.says(*SETPOINT, 7.0))
        await server.stop()
        await it.heard.until(it.heard.told("chiller", DeviceEvent.OFFLINE))
        it.heard.readings.clear()
        await server.start(url, security)
        await it.heard.until(it.heard.says(*SETPOINT, 7.0))
        changes = it.buses[0].counts["changes"]
        assert (await it.devices.write(it.command(*SETPOINT, 8.5))).phase is Phase.DONE
        async with asyncio.timeout(20):
            while it.buses[0].counts["changes"] == changes:  # told by the new subscription, not only read back
                await asyncio.sleep(0.02)
        assert not stranger.heard.readings


def test_plain_text_is_nobodys_default() -> None:
    with pytest.raises(InvalidInputError, match=r'has no .*policy = "none"'):
        Field(plan(chiller=True), broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE, settings=BridgesSettings())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy": "Basic128Rsa15"}, "Basic128Rsa15"),
        ({"policy": "Basic256Sha256"}, "cert_path is missing"),
        ({"policy": "none", "cert_path": "a.pem"}, "cert_path has no meaning with policy none"),
        ({"policy": "none", "username": "u", "password_path": "p"}, "in the clear"),
        ({"policy": "none", "username": "u"}, "belong together"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"bus": "plant", **changes}, OpcUaSettings, dec_hook=lambda kind, value: kind(value))


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    good = settings(tmp_path)
    plain, _ = write(tmp_path, "plain")  # no application URI
    _, other = write(tmp_path, "other", uri="urn:o")
    for changes, said in (
        ({"cert_path": plain, "key_path": tmp_path / "plain.key"}, "needs exactly one URI"),
        ({"key_path": other}, "the key is not the certificate's"),
        ({"server_certificate_path": tmp_path / "gone.pem"}, "cannot be read"),
        ({"server_certificate_path": good.key_path}, "no certificate"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            OpcUaSecurity(msgspec.structs.replace(good, **changes))
    security = OpcUaSecurity(good)
    now = now_of(1_000 * round((tmp_path / "edge.pem").stat().st_mtime))
    assert security.warnings(now) == []
    write(tmp_path, "edge", uri="urn:innkeeper:edge", ends=timedelta(days=5))
    assert ["edge.pem" in each and "days" in each for each in security.warnings(now)] == [True]
    write(tmp_path, "edge", uri="urn:innkeeper:edge", ends=timedelta(days=-1))
    assert "ended" in security.warnings(now)[0]
