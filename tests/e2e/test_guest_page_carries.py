"""The guest's page as a messenger: what the house signed reaches the lock, and the lock's log, sealed, the house."""

import asyncio
from base64 import b64decode, b64encode
from typing import Any, cast

import pytest
from playwright.async_api import Route, expect

from protocols.door.audit import AuditEvent, open_chunk
from protocols.grant.revocation import Bump
from tests.e2e.guest_house import House
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.test_guest_page import NOTHING_ASKED
from tests.firmware_bridges.innkeeper_lock.world import until

pytestmark = pytest.mark.tier("chromium")


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9", "P10", "P17")
async def test_a_guest_who_opens_his_door_carries_for_the_house(house: House) -> None:
    lock = house.property.locks["door-101"]
    bump = house.property.carry(Bump(101, house.property.generation(5)))
    signed = {"signed": b64encode(bump.signed).decode(), "certificate": b64encode(bump.certificate).decode()}
    brought: list[dict[str, Any]] = []

    async def answer(route: Route) -> None:
        if route.request.url.endswith("/session"):
            await route.fulfill(json=NOTHING_ASKED)
            return
        if route.request.url.endswith("/key-term"):
            await route.fulfill(json={"ends_at": "2001-01-01T00:00:00.000Z"})  # no longer than the key
            return
        if route.request.url.endswith("/late-check-out"):
            await route.fulfill(status=503, json={})
            return
        body = cast("dict[str, Any]", route.request.post_data_json)
        if "phone_public_key" in body:
            await route.fulfill(json={"bundle": house.bundle(body["phone_public_key"], "door-101"), "stay": {}})
            return
        brought.append(body)
        standing = {"lock": lock.lock_id.hex(), "have": 0, "carry": [signed]}
        taken = [{"lock": each["lock"], "outcome": "stored"} for each in body["chunks"]]
        await route.fulfill(json={"taken": taken, "locks": [standing]})

    tab = await house.tab()
    await tab.page.context.route("**/api/v1/**", answer)
    await tab.page.goto(f"{house.address}/guest/#check-in=aurora/stay-1/{'t' * 32}")
    await expect(tab.page.locator("[data-holding]")).to_have_count(1)
    await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await until(lambda: bool(brought))
    assert brought == [{"chunks": [], "locks": [lock.lock_id.hex()]}], "first it asks how the locks stand"
    house.bluetooth.chooses = "door-101"
    assert await tab.tap("door-101") == "opened", "the guest is let in before anything else is said"
    await until(lambda: len(house.world.facts) > 0)
    async with asyncio.timeout(WAIT_MS / 1_000):
        while len(brought) < 2:
            await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            await tab.page.wait_for_timeout(100)
    [chunk] = brought[1]["chunks"]
    assert chunk["lock"] == lock.lock_id.hex()
    opened = open_chunk(
        b64decode(chunk["sealed"]),
        lock.lock_id,
        audit_key=lock.audit.public_key(),
        edge_key=house.property.ca.seal,
    )
    events = [each.event for each in opened.records]
    assert events[:2] == [AuditEvent.PROMOTED, AuditEvent.OPENED]
    assert AuditEvent.BUMPED in events, "the bolt may have come to rest in between"
    assert opened.checkpoint.generation == house.property.generation(5)
    assert await tab.tap("door-101") == "refused", "what he carried ended his own key"
    await expect(tab.door("door-101")).to_have_attribute("data-cause", "superseded")
