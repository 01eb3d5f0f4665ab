"""Reservations of several rooms at Cloudbeds that were stored by their older names, and the stays behind them."""

from collections.abc import Iterator
from typing import Final

import psycopg
import pytest
from alembic import command
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from cloud.kit.acting import system
from cloud.kit.database import Database, fetch_all
from cloud.migrations.upgrade import configuration, upgrade
from cloud.stays.reservation import PmsStatus, Reservation
from cloud.stays.stays import stay_id, upsert_reservations
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS, PLACE, open_house
from tests.services.postgres import drop_database, fresh_database

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PMS-16")]

LENT: Final = """
    ALTER TABLE stays.stay ADD COLUMN edge_until timestamptz, ADD COLUMN edge_until_told timestamptz,
                           ADD COLUMN edge_until_n bigint NOT NULL DEFAULT 0,
                           ADD COLUMN edge_until_sent timestamptz[] NOT NULL DEFAULT '{}',
                           ADD COLUMN pms_until_ours timestamptz,
                           ADD COLUMN late_until timestamptz, ADD COLUMN late_sent bool NOT NULL DEFAULT false
"""
"""What the code of today, which writes into the older tables here, needs of newer ones."""
TAKEN_BACK: Final = """
    ALTER TABLE stays.stay DROP COLUMN edge_until, DROP COLUMN edge_until_told, DROP COLUMN edge_until_n,
                           DROP COLUMN edge_until_sent, DROP COLUMN pms_until_ours, DROP COLUMN late_until,
                           DROP COLUMN late_sent
"""


@pytest.fixture
def own_dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database of its own, migrated: it is taken back to the older versions."""
    yield fresh_database(postgres, "renamed", template="template_innkeeper")
    drop_database(postgres, "renamed")


def older(dsn: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    config = configuration()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "stays@stays_0005")
        command.downgrade(config, "pms@pms_0004")
        connection.execute(text(LENT))
    engine.dispose()


def newer(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(TAKEN_BACK)
    upgrade(dsn)


def family(external_id: str, room: str, *, updated_ms: int = NOW_MS) -> Reservation:
    return Reservation(
        system="cloudbeds", external_id=external_id, number="77", status=PmsStatus.BOOKED, room=room,
        guest_name="Anna Berger", arrival_ms=NOW_MS, departure_ms=NOW_MS + DAY_MS, adults=2, children=0,
        updated_ms=updated_ms, room_type=None,
    )  # fmt: skip


async def test_the_stays_of_reservations_that_are_called_anew_stay_who_they_are(own_dsn: str) -> None:
    older(own_dsn)
    database = Database(own_dsn, most=4, actor=system("test"))
    await database.open()
    try:
        await open_house(database)
        whole = family("77", "103")
        told = [family("77-1", "101"), family("77-2", "102"), family("77~77-2", "102", updated_ms=NOW_MS + 1), whole]
        async with database.transaction() as connection:
            await upsert_reservations(connection, PLACE, told, now_ms=NOW_MS)
            await connection.execute(
                "UPDATE stays.stay SET edge_state = 'checked_in', state = 'in_house', room = '101' WHERE id = %s",
                [stay_id(AURORA.id, "cloudbeds", "77-1")],
            )
            await connection.execute(
                """INSERT INTO pms.write_intent (property, system, tenant, action, external_id, stay, cause_event,
                                                 state, not_before, created_at)
                   VALUES ('aurora', 'cloudbeds', 'northlight', 'check_in', '77-1', 'x', 1, 'pending', now(), now())"""
            )
        newer(own_dsn)
        async with database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT id, external_id, edge_state FROM stays.stay")
            wish = await fetch_all(connection, "SELECT external_id FROM pms.write_intent")
            names = await fetch_all(connection, "SELECT external_id FROM stays.reservation ORDER BY external_id")
        assert {row["external_id"]: row["id"] for row in rows} == {
            "77": stay_id(AURORA.id, "cloudbeds", "77"),
            "77~77-1": stay_id(AURORA.id, "cloudbeds", "77-1"),
            "77~77-2": stay_id(AURORA.id, "cloudbeds", "77-2"),
        }
        assert [row["external_id"] for row in names] == ["77", "77~77-1", "77~77-2"]
        assert [row["external_id"] for row in wish] == ["77~77-1"]
        async with database.transaction() as connection:  # and it goes on with them
            said = [family("77~77-1", "101", updated_ms=NOW_MS + HOUR_MS), family("77~77-3", "103")]
            done = await upsert_reservations(connection, PLACE, said, now_ms=NOW_MS + HOUR_MS)
            rows = await fetch_all(connection, "SELECT id, edge_state FROM stays.stay WHERE external_id = '77~77-1'")
        assert (done.created, done.updated) == (1, 1)
        assert [(row["id"], row["edge_state"]) for row in rows] == [
            (stay_id(AURORA.id, "cloudbeds", "77-1"), "checked_in")
        ]
        older(own_dsn)
        newer(own_dsn)
    finally:
        await database.close()


async def test_of_two_mirrors_of_one_room_the_one_that_an_edge_knows_is_kept(own_dsn: str) -> None:
    older(own_dsn)
    database = Database(own_dsn, most=4, actor=system("test"))
    await database.open()
    try:
        await open_house(database)
        both = [(f"77-{number}", f"77~77-{number}") for number in (1, 2)]
        async with database.transaction() as connection:
            told = [family(each, f"10{number}") for number, pair in enumerate(both, 1) for each in pair]
            await upsert_reservations(connection, PLACE, told, now_ms=NOW_MS)
            await connection.execute(
                "UPDATE stays.stay SET edge_state = 'checked_in' WHERE external_id IN ('77~77-1', '77-2', '77~77-2')"
            )
        newer(own_dsn)
        async with database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT id, external_id, state FROM stays.stay ORDER BY external_id")
        known = {(row["external_id"], row["id"]): row["state"] for row in rows}
        assert ("77~77-1", stay_id(AURORA.id, "cloudbeds", "77~77-1")) in known
        assert ("77~77-2", stay_id(AURORA.id, "cloudbeds", "77~77-2")) in known
        assert known["77-2", stay_id(AURORA.id, "cloudbeds", "77-2")] == "void", "two guests were taken in: one is told"
        assert len(known) == 3
    finally:
        await database.close()
