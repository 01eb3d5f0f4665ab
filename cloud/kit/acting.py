"""On whose behalf the database is asked. PostgreSQL holds us to it: a second fence behind every query's own WHERE.

Whoever opens a transaction acts as somebody: a caller of one tenant, a named worker of the service, or the upkeep of
partitions. `acting` says so for a block of code and every task that is started inside it; `Database.transaction`
takes the role and the tenant that were said before the first statement runs. Where nothing was said there is no
transaction: forgetting is an error, not an open door. The policies are those of cloud/migrations/fence.py.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from psycopg import sql

from protocols.errors import LocalProtocolError

TENANT_ROLE: Final = "innkeeper_tenant"
SYSTEM_ROLE: Final = "innkeeper_system"
UPKEEP_ROLE: Final = "innkeeper_upkeep"
TENANT_SETTING: Final = "innkeeper.tenant"
PROPERTIES_SETTING: Final = "innkeeper.properties"
EVERY_PROPERTY: Final = "*"
_SEPARATOR: Final = ","


class NobodyActsError(LocalProtocolError):
    """A transaction was opened and nobody had said on whose behalf."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a role of the database and, for callers, the tenant and its properties that rows must be of."""

    role: str
    name: str
    tenant: str = ""
    properties: str = ""

    @property
    def statement(self) -> bytes:
        """What a transaction begins with; it ends with the transaction."""
        return _statement(self)


@lru_cache(maxsize=1_024)
def _statement(actor: Actor) -> bytes:
    settings = sql.SQL("; ").join(
        sql.SQL("SET LOCAL {} = {}").format(sql.SQL(name), sql.Literal(value))
        for name, value in (
            ("role", actor.role),
            (TENANT_SETTING, actor.tenant),
            (PROPERTIES_SETTING, actor.properties),
            ("application_name", f"innkeeper {actor.name}"[:60]),
        )
    )
    return settings.as_bytes()


def tenant(tenant_id: str, properties: frozenset[str] | None = None, *, name: str = "caller") -> Actor:
    """Return a caller of one tenant, who may touch rows of `properties` alone; None: of every property.

    Raises:
        LocalProtocolError: a name that could mean more than itself.
    """
    if not tenant_id:
        raise LocalProtocolError("a caller without a tenant would be nobody")
    if properties is None:
        return Actor(TENANT_ROLE, name, tenant_id, EVERY_PROPERTY)
    for each in properties:
        if not each or _SEPARATOR in each or each == EVERY_PROPERTY:
            raise LocalProtocolError(f"{each!r} is no name of a property")
    return Actor(TENANT_ROLE, name, tenant_id, _SEPARATOR.join(sorted(properties)))


def system(name: str) -> Actor:
    """Return a worker of the service that serves every tenant; `name` shows in pg_stat_activity."""
    return Actor(SYSTEM_ROLE, name)


UPKEEP: Final = Actor(UPKEEP_ROLE, "upkeep")
"""Makes and drops partitions of the time series: the one actor that may, and may nothing else with tables."""

UNSAID: Final = Actor("", "unsaid")
"""Nothing was said here: whoever opened the pool decides, and usually that is nobody."""
_actor: ContextVar[Actor | None] = ContextVar("innkeeper_actor", default=UNSAID)


@contextmanager
def acting(actor: Actor | None) -> Iterator[None]:
    """Act as `actor` inside the block, and in every task started inside it; None: nobody may act there."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def act_from_here(actor: Actor) -> None:
    """Act as `actor` until the surrounding `acting` block ends: for a guard, which its handler does not run inside."""
    _actor.set(actor)


def who_acts() -> Actor | None:
    """Return who acts here; None: nobody may; UNSAID: nothing was said."""
    return _actor.get()


def acting_as(actor: Actor, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Return `work` as something that acts as `actor` while it runs: for supervised tasks."""

    async def acted() -> None:
        with acting(actor):
            await work()

    return acted
