"""Accounts of people and clients of the API: made, listed, changed, ended. Names tenants in every statement."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import psycopg

from cloud.kit.database import Connection, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.platform.principals import Principal, Role
from protocols.errors import InvalidInputError

CLIENT_PREFIX: Final = "ikc_"
SECRET_BYTES: Final = 32
ID_BYTES: Final = 8
EMAIL_CHARACTERS_MOST: Final = 254
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")


class RandomBytes(Protocol):
    """What accounts need of dice."""

    def bytes(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """A person. `properties` None means every property of the tenant."""

    id: str
    tenant: str
    email: str
    name: str
    role: Role
    properties: frozenset[str] | None
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApiClient:
    """A program that asks with a token of its own."""

    id: str
    tenant: str
    name: str
    role: Role
    properties: frozenset[str] | None
    created_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None


def email_of(told: str) -> str:
    """Return an e-mail address as accounts are known by. Raises InvalidInputError."""
    email = told.strip().lower()
    if len(email) > EMAIL_CHARACTERS_MOST or _EMAIL.fullmatch(email) is None:
        raise InvalidInputError("email", f"{told[:80]!r} is not an e-mail address")
    return email


def digest(secret: str) -> bytes:
    """Return what we keep of a random secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


async def create_account(
    connection: Connection,
    *,
    tenant: str,
    email: str,
    name: str,
    role: Role,
    properties: frozenset[str] | None,
    phc: str,
    by: str,
    dice: RandomBytes,
    now_ms: int,
) -> Account:
    """Create an account with a password.

    Raises:
        InvalidInputError: the address has an account already, or there is no such tenant or property.
    """
    await _properties_exist(connection, tenant, properties)
    account = f"u-{dice.bytes(ID_BYTES).hex()}"
    try:
        async with connection.transaction():
            await execute(
                connection,
                "INSERT INTO platform.account (id, tenant, email, name, role, properties, created_by, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [account, tenant, email, name, role.value, _listed(properties), by, at(now_ms)],
            )
    except psycopg.errors.UniqueViolation as error:
        raise InvalidInputError("email", "has an account already") from error
    except psycopg.errors.ForeignKeyViolation as error:
        raise InvalidInputError("tenant", f"{tenant!r} is not known: load a property of it first") from error
    await set_password(connection, account, phc, now_ms=now_ms)
    return Account(account, tenant, email, name, role, properties, at(now_ms), None)


async def set_password(connection: Connection, account: str, phc: str, *, now_ms: int) -> None:
    """Set or replace an account's password."""
    await execute(
        connection,
        "INSERT INTO platform.password (account, phc, set_at) VALUES (%s, %s, %s)"
        " ON CONFLICT (account) DO UPDATE SET phc = excluded.phc, set_at = excluded.set_at",
        [account, phc, at(now_ms)],
    )


async def accounts_of(connection: Connection, *, tenant: str) -> list[Account]:
    """Return the accounts of a tenant by address."""
    rows = await fetch_all(
        connection,
        "SELECT id, tenant, email, name, role, properties, created_at, disabled_at FROM platform.account"
        " WHERE tenant = %s ORDER BY email",
        [tenant],
    )
    return [Account(**{**row, "role": Role(row["role"]), "properties": _known(row["properties"])}) for row in rows]


async def change_account(
    connection: Connection,
    *,
    tenant: str,
    account: str,
    role: Role,
    properties: frozenset[str] | None,
    disabled: bool,
    now_ms: int,
) -> bool:
    """Set what an account may; return whether the tenant has it.

    Raises:
        InvalidInputError: no such property, or nobody who may administer the tenant would be left.
    """
    await _properties_exist(connection, tenant, properties)
    rows = await fetch_all(
        connection,
        "SELECT id FROM platform.account WHERE tenant = %s AND role = 'admin' AND disabled_at IS NULL"
        " AND properties IS NULL ORDER BY id FOR UPDATE",
        [tenant],
    )
    stays = role is Role.ADMIN and properties is None and not disabled
    if [row["id"] for row in rows] == [account] and not stays:
        raise InvalidInputError("role", "this is the last account that may administer: make another one first")
    if disabled:
        await execute(
            connection,
            "UPDATE platform.sign_in SET ended_at = %s, ended_why = 'the account was disabled'"
            " WHERE tenant = %s AND account = %s AND ended_at IS NULL",
            [at(now_ms), tenant, account],
        )
    return bool(
        await execute(
            connection,
            "UPDATE platform.account SET role = %s, properties = %s,"
            " disabled_at = CASE WHEN %s THEN coalesce(disabled_at, %s) END WHERE tenant = %s AND id = %s",
            [role.value, _listed(properties), disabled, at(now_ms), tenant, account],
        )
    )


async def create_client(
    connection: Connection,
    *,
    tenant: str,
    name: str,
    role: Role,
    properties: frozenset[str] | None,
    expires_at_ms: int | None,
    by: str,
    dice: RandomBytes,
    now_ms: int,
) -> tuple[ApiClient, str]:
    """Create a client of the API; return it and its token, which is told this once.

    Raises:
        InvalidInputError: the name is taken, or there is no such property.
    """
    await _properties_exist(connection, tenant, properties)
    client, token = f"c-{dice.bytes(ID_BYTES).hex()}", CLIENT_PREFIX + dice.bytes(SECRET_BYTES).hex()
    expires_at = None if expires_at_ms is None else at(expires_at_ms)
    try:
        async with connection.transaction():
            await execute(
                connection,
                "INSERT INTO platform.api_client (id, tenant, name, role, properties, sha256, created_by, created_at,"
                " expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    client, tenant, name, role.value, _listed(properties), digest(token), by, at(now_ms), expires_at,
                ],
            )  # fmt: skip
    except psycopg.errors.UniqueViolation as error:
        raise InvalidInputError("name", f"{name!r} is taken by another client") from error
    return ApiClient(client, tenant, name, role, properties, at(now_ms), expires_at, None), token


async def clients_of(connection: Connection, *, tenant: str) -> list[ApiClient]:
    """Return the clients of a tenant by name."""
    rows = await fetch_all(
        connection,
        "SELECT id, tenant, name, role, properties, created_at, expires_at, ended_at FROM platform.api_client"
        " WHERE tenant = %s ORDER BY name",
        [tenant],
    )
    return [ApiClient(**{**row, "role": Role(row["role"]), "properties": _known(row["properties"])}) for row in rows]


async def end_client(connection: Connection, *, tenant: str, client: str, now_ms: int) -> bool:
    """End a client's token; return whether the tenant has it."""
    return bool(
        await execute(
            connection,
            "UPDATE platform.api_client SET ended_at = coalesce(ended_at, %s) WHERE tenant = %s AND id = %s",
            [at(now_ms), tenant, client],
        )
    )


async def client_by_token(connection: Connection, token: str, *, now_ms: int) -> Principal | None:
    """Return whose token this is, while it lasts."""
    row = await fetch_one(
        connection,
        "SELECT id, tenant, name, role, properties FROM platform.api_client WHERE sha256 = %s AND ended_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > %s)",
        [digest(token), at(now_ms)],
    )
    if row is None:
        return None
    return Principal(row["name"], row["tenant"], Role(row["role"]), _known(row["properties"]), account=row["id"])


async def _properties_exist(connection: Connection, tenant: str, properties: frozenset[str] | None) -> None:
    rows = await fetch_all(connection, "SELECT id FROM platform.property WHERE tenant = %s", [tenant])
    if unknown := sorted((properties or frozenset()) - {row["id"] for row in rows}):
        raise InvalidInputError("properties", f"{unknown[0][:80]!r} is no property of yours")
    if properties is not None and not properties:
        raise InvalidInputError("properties", "is empty: leave it out for every property")


def _listed(properties: frozenset[str] | None) -> list[str] | None:
    return None if properties is None else sorted(properties)


def _known(properties: list[str] | None) -> frozenset[str] | None:
    return None if properties is None else frozenset(properties)
