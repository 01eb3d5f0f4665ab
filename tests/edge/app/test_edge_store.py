"""The small store: what was committed is found again; what is damaged is set aside and begun anew."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from edge.app.edge_store import ASIDE_MOST, COMMANDS_MOST, Cursor, EdgeStore, Progress
from edge.rooms.memory import RoomSnapshot
from edge.rooms.modes import Intent, Mode, RoomState
from edge.stays.document import DocumentStay, StaysDocument, StayState
from edge.stays.replica import Decision
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId, RoomId, StayId
from protocols.errors import StoreFailedError
from tests.edge.world import T0, a_document

STAY = DocumentStay("s-anna", "101", StayState.READY, "Anna", T0, T0 + 1, {"number": "7"}, 3)
DECISION = Decision(STAY, StayState.IN_HOUSE, RoomId("101"), T0, "desk")
ROOM = RoomSnapshot(
    RoomId("101"),
    RoomState(Mode.OCCUPIED_COMFORT, StayId("s-anna"), T0, "guest_entered"),
    (
        (Intent(Capability.ON_OFF, "on_off", True, T0 + 5), (DeviceId("light-101"),)),
        (Intent(Capability.THERMOSTAT, "occupied_heating_setpoint", 21.0, T0 + 9), ()),
    ),
)
PROGRESS = Progress(
    cursors={"log.A": Cursor(b"life", 9), "doors": Cursor(b"doors", 4)},
    decisions=[DECISION],
    rooms=[ROOM],
    commands=[{"idempotency_key": "k", "phase": "accepted"}],
)


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("threaded", [True, False])
async def test_what_was_committed_is_found_again_exactly(tmp_path: Path, threaded: bool) -> None:
    path = tmp_path / "edge.db"
    store, _ = EdgeStore.open(path, threaded=threaded)
    await store.commit(PROGRESS)
    document = msgspec.json.encode(a_document())
    await store.save_stays(7, document, settled=[])
    await store.save_policy(2, b"policy")
    await store.mark_ended(StayId("s-old"))
    await store.close()
    store, found = EdgeStore.open(path, threaded=threaded)
    assert found.cursors == PROGRESS.cursors
    assert (found.decisions, found.rooms, found.commands) == ([DECISION], [ROOM], list(PROGRESS.commands))
    assert (found.stays_version, found.stays_document, found.policy) == (7, document, b"policy")
    assert await store.ended() == {"s-old"}
    assert found.set_aside is None
    await store.close()


@pytest.mark.guarantee("G11")
async def test_what_the_build_before_does_not_know_stands_beside_what_it_reads(tmp_path: Path) -> None:
    """It refuses a stay with a field that it does not know, and would take the whole file for damaged."""
    path = tmp_path / "edge.db"
    store, _ = EdgeStore.open(path)
    heard = msgspec.structs.replace(STAY, until_n=3)
    whole = msgspec.json.encode(StaysDocument(3, "aurora", T0, [heard, msgspec.structs.replace(STAY, id="s-ben")]))
    await store.save_stays(7, whole, settled=[])
    await store.commit(Progress(cursors={}, decisions=[replace(DECISION, stay=heard)]))
    await store.close()
    with apsw.Connection(str(path)) as inside:
        bodies = [body for (body,) in inside.execute("SELECT body FROM document WHERE name = 'stays'")]
        bodies += [body for (body,) in inside.execute("SELECT body FROM decision")]
    inside.close()
    assert len(bodies) == 2
    assert not any(b"until_n" in body for body in bodies)
    store, found = EdgeStore.open(path)
    assert (found.stays_version, found.stays_document) == (7, whole)
    await store.save_stays(8, msgspec.json.encode(a_document()), settled=[])
    await store.close()
    with apsw.Connection(str(path)) as inside:  # as the build before does: it knows nothing of what was heard
        inside.execute("UPDATE document SET version = 9 WHERE name = 'stays'")
        inside.execute("UPDATE document SET body = ? WHERE name = 'stays_heard'", (b'{"s-anna":3}',))
    inside.close()
    store, found = EdgeStore.open(path)
    assert (found.stays_version, found.stays_document) == (9, msgspec.json.encode(a_document()))
    await store.close()


async def test_a_settled_decision_goes_with_the_document_that_settled_it(tmp_path: Path) -> None:
    store, _ = EdgeStore.open(tmp_path / "edge.db")
    await store.commit(PROGRESS)
    await store.save_stays(1, b"document", settled=[StayId("s-anna")])
    await store.close()
    store, found = EdgeStore.open(tmp_path / "edge.db")
    assert found.decisions == []
    await store.close()


@pytest.mark.guarantee("G9")
async def test_commands_are_remembered_up_to_a_bound_newest_first(tmp_path: Path) -> None:
    store, _ = EdgeStore.open(tmp_path / "edge.db", threaded=False)
    for first in range(0, COMMANDS_MOST + 200, 100):
        commands = [{"idempotency_key": f"k{first + n}", "phase": "done"} for n in range(100)]
        await store.commit(Progress(cursors={}, commands=commands))
    await store.close()
    store, found = EdgeStore.open(tmp_path / "edge.db")
    keys = [each["idempotency_key"] for each in found.commands]
    assert keys == [f"k{n}" for n in range(200, COMMANDS_MOST + 200)]
    await store.close()


@pytest.mark.guarantee("G11")
async def test_a_damaged_file_is_set_aside_and_begun_anew_as_often_as_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    for _ in range(ASIDE_MOST + 2):
        path.write_bytes(b"this is no database " * 500)
        store, found = EdgeStore.open(path)
        assert found.set_aside is not None
        assert found.set_aside.exists()
        assert found.cursors == {}
        await store.commit(PROGRESS)
        await store.close()
    assert len(list(tmp_path.glob("*.damaged-*"))) == ASIDE_MOST


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("room", ("101", b'{"room":"101","state"')),
        ("room", ("101", b"[" * 100_000)),
        ("decision", ("s-1", b"\xff")),
        ("command", (1, "k", b"5")),
        ("document", ("stays", 7, b'{"v":1}')),
    ],
    ids=str,
)
async def test_a_row_that_does_not_decode_is_damage_like_any_other(
    tmp_path: Path, table: str, row: tuple[Any, ...]
) -> None:
    path = tmp_path / "edge.db"
    store, _ = EdgeStore.open(path)
    await store.commit(PROGRESS)
    await store.close()
    connection = apsw.Connection(str(path))
    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - table names of the schema
    connection.close()
    store, found = EdgeStore.open(path)
    assert found.set_aside is not None
    assert (found.cursors, found.rooms, found.policy) == ({}, [], None)
    await store.commit(PROGRESS)
    await store.close()
    store, found = EdgeStore.open(path)
    assert found.set_aside is None
    assert found.cursors
    await store.close()


async def test_a_file_of_a_later_build_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    store, _ = EdgeStore.open(path)
    await store.close()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreFailedError, match="schema 99"):
        EdgeStore.open(path)
    assert not list(tmp_path.glob("*.damaged-*"))


async def test_a_full_store_refuses_and_what_was_committed_stays(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    store, _ = EdgeStore.open(path)
    await store.commit(PROGRESS)
    store._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreFailedError, match="full"):
        await store.save_stays(1, b"x" * 1_000_000, settled=[StayId("s-anna")])
    await store.close()
    store, found = EdgeStore.open(path)
    assert found.decisions == [DECISION]
    assert found.stays_document is None
    await store.close()
