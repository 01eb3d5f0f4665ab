"""Which event streams the service listens to: one consumer a chain, whatever number of properties it has."""

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cloud.app.service import _listeners
from cloud.app.settings import PmsSettings
from cloud.kit.database import Database
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import InvalidInputError

pytestmark = pytest.mark.requirement("PMS-08")


def connection(folder: Path, property_id: str, **more: Any) -> PmsSettings:
    for name in ("secret", "hook", "client", "key"):
        (folder / name).write_text(f"{name}-of-the-integration\n")
    told = {
        "property": property_id, "system": "ohip", "platform": "https://ohip.invalid", "hotel": property_id.upper(),
        "access_token_path": str(folder / "secret"), "webhook_secret_path": str(folder / "hook"),
        "client_token_path": str(folder / "client"), "app_key_path": str(folder / "key"), "enterprise": "E",
        "zone": "Europe/Vienna", "chain": "NORTHLIGHT", **more,
    }  # fmt: skip
    return msgspec.convert(told, PmsSettings, dec_hook=lambda kind, value: kind(value))


async def jobs(*connections: PmsSettings) -> list[str]:
    database = Database("postgresql://nowhere.invalid/none", most=1)
    async with httpx.AsyncClient() as http:
        return sorted(_listeners(connections, database, clock=ManualClock(), dice=SeededDice(1), http=http))


async def test_a_chain_has_one_listener_and_another_chain_or_platform_another(tmp_path: Path) -> None:
    two = [connection(tmp_path, "aurora"), connection(tmp_path, "borealis")]
    first = await jobs(*two)
    assert len(first) == 1
    assert await jobs(*reversed(two)) == first, "whoever leads it is one, on every machine"
    other = [connection(tmp_path, "c", chain="SOUTH"), connection(tmp_path, "d", stream="wss://stream.invalid")]
    assert len(await jobs(*two, *other)) == 3
    queue = connection(tmp_path, "e", chain=None, external_system="INNKEEPER")
    assert await jobs(queue) == []


async def test_two_properties_that_are_one_hotel_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="hotel"):
        await jobs(connection(tmp_path, "aurora"), connection(tmp_path, "borealis", hotel="Aurora"))


@pytest.mark.parametrize("wrong", [{"system": "mews"}, {"stream": "stream.invalid"}, {"chain": "a b"}, {"chain": ""}])
def test_settings_that_name_no_stream_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises((InvalidInputError, msgspec.ValidationError)):
        connection(tmp_path, "aurora", **wrong)
