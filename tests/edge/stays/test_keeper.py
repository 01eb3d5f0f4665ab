"""The keeper: durable before it counts, reported when it does, unchanged when it is refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.clock import ManualClock
from protocols.device_model.identity import StayId
from protocols.errors import InvalidInputError, StoreFailedError, UnsupportedVersionError
from protocols.link.lanes import Lane
from tests.edge.world import PHONE, T0, Building, a_document, a_stay

ANNA = StayId("s-anna")


@pytest.fixture
async def building(tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    yield building
    await building.store.close()


@pytest.mark.requirement("STY-08")
async def test_an_applied_document_is_held_reported_and_survives(building: Building) -> None:
    await building.house.desired("stays", 7, a_document(a_stay()))
    await building.restart()
    replica = building.house.keeper.replica
    assert replica.document_version == 7
    assert [stay.guest_name for stay in replica.all()] == ["Anna Muster"]
    [report] = building.log.records(Lane.A, "desired")
    assert (report.body["name"], report.body["version"], report.body["held"]) == ("stays", 7, [])


@pytest.mark.parametrize(
    ("name", "version", "body", "error"),
    [
        ("stays", 6, a_document(), InvalidInputError),
        ("stays", 0, a_document(), InvalidInputError),
        ("stays", 2**60, a_document(), InvalidInputError),
        ("stays", 8, a_document(v=4), UnsupportedVersionError),
        ("stays", 8, a_document(a_stay(room="?")), InvalidInputError),
        ("stays", 7, a_document(), InvalidInputError),
        ("weather", 8, a_document(), InvalidInputError),
    ],
)
async def test_a_refused_document_changes_nothing(
    building: Building, name: str, version: int, body: object, error: type[Exception]
) -> None:
    await building.house.desired("stays", 7, a_document(a_stay()))
    before = building.house.keeper.replica
    with pytest.raises(error):
        await building.house.desired(name, version, body)
    assert building.house.keeper.replica is before
    await building.restart()
    assert building.house.keeper.replica == before
    assert len(building.log.records(Lane.A, "desired")) == 1


async def test_a_document_that_the_disk_refuses_changes_nothing(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    await building.house.desired("stays", 7, a_document(a_stay()))
    before = building.house.keeper.replica

    async def refuse(*_: object, **__: object) -> None:
        raise StoreFailedError("disk full")

    monkeypatch.setattr(building.store, "save_stays", refuse)
    with pytest.raises(StoreFailedError):
        await building.house.desired("stays", 8, a_document())
    assert building.house.keeper.replica is before


async def test_a_decision_outlives_restart_and_older_truth_and_is_told(building: Building) -> None:
    await building.house.desired("stays", 1, a_document(a_stay()))
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    await building.restart()
    await building.house.desired("stays", 2, a_document(a_stay(state="planned")))
    await building.restart()
    stay = building.house.keeper.replica.get(ANNA)
    assert stay is not None
    assert (stay.state, stay.decided_by) == ("in_house", "desk")
    assert building.log.records(Lane.A, "desired")[-1].body["held"] == ["s-anna"]


async def test_the_log_brings_decisions_back_where_the_store_was_lost(building: Building) -> None:
    await building.house.desired("stays", 1, a_document(a_stay()))
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    await building.store.close()
    assert building.path is not None
    building.path.write_bytes(b"this is no database" * 1_000)
    for suffix in ("-wal", "-shm"):
        building.path.with_name(building.path.name + suffix).unlink(missing_ok=True)
    building.house = building._new()
    assert building.restored.set_aside is not None
    await building.house.catch_up()
    stay = building.house.keeper.replica.get(ANNA)
    assert stay is not None
    assert stay.state == "in_house"
    assert stay.guest_name is None  # the name comes again with the next document
