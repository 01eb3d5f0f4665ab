"""Who may ask."""

import hashlib

import pytest

from cloud.kit.database import Database, fetch_all
from cloud.platform.principals import SESSION_LIFE_MS, AccessToken, Principal, Principals, Role
from kit.dice import SystemDice
from protocols.errors import InvalidInputError
from tests.cloud.houses import NOW_MS

TOKEN = "a-token-of-forty-characters-0123456789ab"


def entry(token: str = TOKEN, name: str = "ops", role: Role = Role.STAFF) -> AccessToken:
    return AccessToken(hashlib.sha256(token.encode()).digest(), Principal(name, "northlight", role, None))


@pytest.mark.requirement("PLT-06")
def test_only_a_configured_token_makes_somebody() -> None:
    known = Principals([entry(), entry("another-token-of-forty-characters-012345", "two")], dice=SystemDice())
    found = known.by_token(TOKEN)
    assert found is not None
    assert found.principal.name == "ops"
    for wrong in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "x" * 10_000, "é" * 40, "\udcff" * 40):
        assert known.by_token(wrong) is None


def test_two_entries_of_one_token_or_one_name_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"access_tokens\.sha256"):
        Principals([entry(), entry(name="two")], dice=SystemDice())
    with pytest.raises(InvalidInputError, match=r"access_tokens\.name"):
        Principals([entry(), entry("another-token-of-forty-characters-012345")], dice=SystemDice())


def test_a_role_includes_the_lesser_ones() -> None:
    assert entry(role=Role.ADMIN).principal.is_at_least(Role.STAFF)
    assert not entry(role=Role.VIEWER).principal.is_at_least(Role.STAFF)


@pytest.mark.tier("postgres")
@pytest.mark.requirement("PLT-03")
async def test_a_session_ends_with_its_time_its_token_or_on_request(database: Database) -> None:
    known, forgotten = Principals([entry()], dice=SystemDice()), Principals([], dice=SystemDice())
    async with database.transaction() as connection:
        secret = await known.open_session(connection, entry(), now_ms=NOW_MS)
        found = await known.by_session(connection, secret, now_ms=NOW_MS + SESSION_LIFE_MS - 1)
        assert found == Principal("ops", "northlight", Role.STAFF, None, by_session=True)
        assert await known.by_session(connection, secret, now_ms=NOW_MS + SESSION_LIFE_MS) is None
        assert await known.by_session(connection, "0" * 64, now_ms=NOW_MS) is None
        assert await forgotten.by_session(connection, secret, now_ms=NOW_MS) is None
        stored = await fetch_all(connection, "SELECT * FROM platform.session")
        assert secret not in repr(stored)
        await known.close_session(connection, secret)
        assert await known.by_session(connection, secret, now_ms=NOW_MS) is None
