"""Personal data at rest: what opens it, what does not, and that forgetting is for good."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit.database import Database, execute, fetch_all
from cloud.privacy.sealing import NoKeysError, Sealer, SubjectKey
from cloud.privacy.wrapping import FileKeys, UnreadableError
from kit.dice import SeededDice
from protocols.errors import InvalidInputError
from tests.cloud.houses import NOW_MS

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
DICE = SeededDice(7)
pytestmark = pytest.mark.requirement("SEC-01")


def sealer(**keys: bytes) -> Sealer:
    return Sealer(FileKeys(keys or {"old": OLD}, dice=DICE), dice=DICE)


@pytest.mark.tier("postgres")
async def test_a_subject_opens_with_its_own_key_and_no_other(database: Database) -> None:
    async with database.transaction() as connection:
        anna, kept = await sealer().new_subject(connection, tenant="northlight", place="s1", now_ms=NOW_MS)
        sealed = anna.seal(b"Berger", place="guest/1")
        again = await sealer().subject(connection, kept, tenant="northlight", place="s1")
        assert again.open(sealed, place="guest/1") == b"Berger"
        with pytest.raises(UnreadableError):
            again.open(sealed, place="guest/2")
        with pytest.raises(UnreadableError):
            await sealer().subject(connection, kept, tenant="northlight", place="s2")
        other, _ = await sealer().new_subject(connection, tenant="southwind", place="s1", now_ms=NOW_MS)
        with pytest.raises(UnreadableError):
            other.open(sealed, place="guest/1")
        with pytest.raises(UnreadableError):
            await sealer().subject(connection, kept, tenant="southwind", place="s1")


@pytest.mark.tier("postgres")
@pytest.mark.requirement("SEC-02")
async def test_rotation_keeps_everything_readable_and_ends_when_all_is_renewed(database: Database) -> None:
    async with database.transaction() as connection:
        anna, kept = await sealer().new_subject(connection, tenant="northlight", place="s1", now_ms=NOW_MS)
        sealed = anna.seal(b"Berger", place="guest/1")
        assert await sealer().rotate(connection, tenant="northlight", now_ms=NOW_MS) == 2
        assert await sealer().renewed(connection, kept, tenant="northlight", place="s1", now_ms=NOW_MS) is not None
        renewed = await sealer().renewed(connection, kept, tenant="northlight", place="s1", now_ms=NOW_MS)
        assert renewed is not None
        assert await sealer().renewed(connection, renewed, tenant="northlight", place="s1", now_ms=NOW_MS) is None
        await execute(connection, "DELETE FROM privacy.data_key WHERE number = 1")
        again = await sealer().subject(connection, renewed, tenant="northlight", place="s1")
        assert again.open(sealed, place="guest/1") == b"Berger"
        with pytest.raises(UnreadableError, match="gone"):
            await sealer().subject(connection, kept, tenant="northlight", place="s1")


@pytest.mark.tier("postgres")
async def test_the_outer_key_is_changed_without_touching_what_is_sealed(database: Database) -> None:
    async with database.transaction() as connection:
        _, kept = await sealer().new_subject(connection, tenant="northlight", place="s1", now_ms=NOW_MS)
        both = sealer(new=NEW, old=OLD)
        assert await both.rewrap(connection) == 1
        assert await both.rewrap(connection) == 0
        await sealer(new=NEW).subject(connection, kept, tenant="northlight", place="s1")
        with pytest.raises(UnreadableError, match="not configured"):
            await sealer().subject(connection, kept, tenant="northlight", place="s1")
        stored = repr(await fetch_all(connection, "SELECT * FROM privacy.data_key"))
        assert OLD.hex() not in stored


@pytest.mark.tier("postgres")
async def test_a_wrapped_key_moved_to_another_tenant_does_not_open(database: Database) -> None:
    async with database.transaction() as connection:
        _, kept = await sealer().new_subject(connection, tenant="northlight", place="s1", now_ms=NOW_MS)
        await execute(connection, "UPDATE privacy.data_key SET tenant = 'southwind'")
        with pytest.raises(UnreadableError):
            await sealer().subject(connection, kept, tenant="southwind", place="s1")


@pytest.mark.tier("postgres")
async def test_without_keys_nothing_personal_is_taken(database: Database) -> None:
    async with database.transaction() as connection:
        with pytest.raises(NoKeysError):
            await Sealer(None, dice=DICE).new_subject(connection, tenant="northlight", place="s", now_ms=NOW_MS)


@given(at=st.integers(0, 30), flip=st.integers(1, 255))
def test_no_changed_byte_opens(at: int, flip: int) -> None:
    key = SubjectKey(OLD, dice=SeededDice(1))
    sealed = key.seal(b"Berger", place="p")
    at %= len(sealed)
    with pytest.raises(UnreadableError):
        key.open(sealed[:at] + bytes([sealed[at] ^ flip]) + sealed[at + 1 :], place="p")


@given(st.binary(max_size=60))
def test_noise_does_not_open(noise: bytes) -> None:
    with pytest.raises(UnreadableError):
        SubjectKey(OLD, dice=SeededDice(1)).open(noise, place="p")


def test_keys_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        FileKeys({"k": b"short"}, dice=DICE)
    with pytest.raises(InvalidInputError):
        FileKeys({}, dice=DICE)
