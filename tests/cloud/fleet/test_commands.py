"""Commands: once a key, and never a better word than the edge's."""

from datetime import timedelta

import pytest

from cloud.fleet.commands import CommandResult, Commands, KeyReusedError, command_by_id, note_phase
from cloud.fleet.link_state import LinkState, Patience, link_state
from cloud.kit.database import Database, fetch_all
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.command import Phase
from protocols.link.documents import REFUSAL_HELD_MS
from tests.cloud.edges import FakeEdges, done
from tests.cloud.houses import AURORA, NOW_MS

ARGS = {"room": "101", "capability": "on_off", "attribute": "on_off", "value": True}


def commands(database: Database, edges: FakeEdges) -> Commands:
    return Commands(database, edges, clock=ManualClock(wall_ms=NOW_MS), dice=SeededDice(1))


async def run(service: Commands, *, key: str = "k", args: dict[str, object] | None = None, secret: bool = False):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return await service.run(
        AURORA,
        kind="room",
        args=dict(args or ARGS),
        idempotency_key=key,
        within_ms=5_000,
        asked_by="test",
        secret_result=secret,
    )


@pytest.mark.tier("postgres")
@pytest.mark.guarantee("G2")
async def test_the_same_key_again_is_the_same_command_and_one_effect(database: Database) -> None:
    edges = FakeEdges(obey=lambda _kind, _args: done({"read_back": True}))
    service = commands(database, edges)
    first, again = await run(service), await run(service)
    assert first.id == again.id
    assert again.result == {"read_back": True}
    assert len(edges.sent) == 1
    with pytest.raises(KeyReusedError):
        await run(service, args={**ARGS, "value": False})


@pytest.mark.tier("postgres")
@pytest.mark.guarantee("G17")
async def test_silence_is_unknown_and_a_later_word_of_the_edge_settles_it(database: Database) -> None:
    edges = FakeEdges(silent=True)
    service = commands(database, edges)
    command = await run(service)
    assert command.phase is Phase.UNKNOWN
    async with database.transaction() as connection:
        told = {"property_id": AURORA.id, "command_id": command.id, "result": None, "reason": None, "now_ms": NOW_MS}
        await note_phase(connection, phase=Phase.DONE, **told)
        await note_phase(connection, phase=Phase.EXECUTING, **told)
        await note_phase(connection, phase=Phase.FAILED, **told)
        stored = await command_by_id(connection, tenant=AURORA.tenant, property_id=AURORA.id, command_id=command.id)
        foreign = await command_by_id(connection, tenant="southwind", property_id=AURORA.id, command_id=command.id)
    assert stored is not None
    assert stored.phase is Phase.DONE
    assert foreign is None


@pytest.mark.tier("postgres")
async def test_after_silence_the_same_key_asks_the_edge_again_without_a_second_effect(database: Database) -> None:
    edges = FakeEdges(silent=True)
    service = commands(database, edges)
    await run(service)
    edges.silent = False
    assert (await run(service)).phase is Phase.DONE
    assert (len(edges.sent), len(edges.effects)) == (2, 1)


@pytest.mark.tier("postgres")
async def test_a_command_that_never_left_failed_for_certain(database: Database) -> None:
    command = await run(commands(database, FakeEdges(lost=True)))
    assert command.phase is Phase.FAILED
    assert command.link_lost


@pytest.mark.tier("postgres")
@pytest.mark.guarantee("G2")
async def test_what_never_left_is_sent_when_its_key_comes_again(database: Database) -> None:
    """A caller retries under its own key, as it must: a line that was down once may not close that key for ever."""
    edges = FakeEdges(lost=True, obey=lambda _kind, _args: done({"read_back": True}))
    service = commands(database, edges)
    lost = await run(service)
    edges.lost = False
    again = await run(service)
    assert (again.id, again.phase, again.link_lost) == (lost.id, Phase.DONE, False)
    assert len(edges.effects) == 1


@pytest.mark.tier("postgres")
@pytest.mark.guarantee("G17")
async def test_a_line_lost_at_the_second_try_says_nothing_of_the_first(database: Database) -> None:
    edges = FakeEdges(silent=True)
    service = commands(database, edges)
    assert (await run(service)).phase is Phase.UNKNOWN
    edges.silent, edges.lost = False, True
    again = await run(service)
    assert (again.phase, again.link_lost) == (Phase.UNKNOWN, False), "the first one may have been done"
    edges.lost = False
    assert (await run(service)).phase is Phase.DONE
    assert len(edges.effects) == 1


@pytest.mark.tier("postgres")
async def test_a_secret_result_is_handed_over_and_stored_nowhere(database: Database) -> None:
    edges = FakeEdges(obey=lambda _kind, _args: done({"bundle": {"grant": "very-secret"}}))
    service = commands(database, edges)
    assert (await run(service, secret=True)).result == {"bundle": {"grant": "very-secret"}}
    assert (await run(service, secret=True)).result == {"bundle": {"grant": "very-secret"}}
    assert len(edges.effects) == 1
    async with database.transaction() as connection:
        assert "very-secret" not in repr(await fetch_all(connection, "SELECT * FROM fleet.command"))


@pytest.mark.tier("postgres")
async def test_a_refused_question_asks_anew_after_a_minute_and_late_words_on_the_first_change_nothing(
    database: Database,
) -> None:
    edges = FakeEdges(obey=lambda _kind, _args: CommandResult(Phase.FAILED, None, "its clock is uncertain"))
    clock = ManualClock(wall_ms=NOW_MS)
    service = Commands(database, edges, clock=clock, dice=SeededDice(1))
    first = await run(service, secret=True)
    clock.advance(REFUSAL_HELD_MS - 1)
    assert (await run(service, secret=True)).phase is Phase.FAILED
    assert len(edges.sent) == 1
    edges.obey = lambda _kind, _args: done({"bundle": "b"})
    clock.advance(1)
    again = await run(service, secret=True)
    assert (again.phase, again.result, again.reason) == (Phase.DONE, {"bundle": "b"}, None)
    assert again.id != first.id
    async with database.transaction() as connection:
        await note_phase(
            connection,
            property_id=AURORA.id,
            command_id=first.id,
            phase=Phase.FAILED,
            result=None,
            reason=None,
            now_ms=NOW_MS,
        )
        rows = await fetch_all(connection, "SELECT phase FROM fleet.command")
    assert [row["phase"] for row in rows] == ["done"]


@pytest.mark.tier("postgres")
async def test_a_refused_write_stays_refused_under_its_key(database: Database) -> None:
    edges = FakeEdges(obey=lambda _kind, _args: CommandResult(Phase.FAILED, None, "no such device"))
    clock = ManualClock(wall_ms=NOW_MS)
    service = Commands(database, edges, clock=clock, dice=SeededDice(1))
    await run(service)
    clock.advance(2 * REFUSAL_HELD_MS)
    assert (await run(service)).phase is Phase.FAILED
    assert len(edges.sent) == 1


@pytest.mark.tier("postgres")
async def test_an_edge_that_refuses_is_quoted(database: Database) -> None:
    edges = FakeEdges(obey=lambda _kind, _args: CommandResult(Phase.FAILED, None, "Room 101 is locked out."))
    command = await run(commands(database, edges))
    assert (command.phase, command.reason) == (Phase.FAILED, "Room 101 is locked out.")


@pytest.mark.guarantee("G17")
def test_a_line_is_as_good_as_its_last_sign_of_life() -> None:
    patience = Patience(timedelta(seconds=30), timedelta(minutes=5))
    words = {
        None: LinkState.NEVER,
        NOW_MS + 5_000: LinkState.ONLINE,
        NOW_MS - 29_999: LinkState.ONLINE,
        NOW_MS - 30_000: LinkState.SILENT,
        NOW_MS - 300_000: LinkState.OFFLINE,
    }
    for heard_ms, word in words.items():
        assert link_state(heard_ms, now_ms=NOW_MS, patience=patience) is word
