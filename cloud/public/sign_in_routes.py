"""The routes of signing in and out, of one's own sign-ins and password, and of the people and programs of a tenant."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, Router, delete, get, post, put
from litestar.datastructures import Cookie
from litestar.params import FromPath, JSONBody, QueryParameter

from cloud.kit.acting import acting, system
from cloud.kit.database import Database
from cloud.kit.times import at, iso, unix_ms
from cloud.platform import accounts, audit
from cloud.platform.access_policy import ACTION
from cloud.platform.attempts import TooManyAttemptsError
from cloud.platform.passwords import CHARACTERS_MOST, Passwords, judged
from cloud.platform.principals import Principal, Role, StaffRole
from cloud.platform.sign_in import BROWSER_MS, SignIn, SignInRefusedError, TokenRefusedError, Tokens, Where
from cloud.public.gate import SESSION_COOKIE, absent
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from kit.dice import Dice
from kit.http import OPEN, ProblemError
from protocols.errors import InvalidInputError

BODY_BYTES_MOST: Final = 16 * 1024
_ADMIN: Final = system("accounts")
"""Passwords and digests are no caller's to touch: what changes them runs as the service and names the tenant."""

Call = Request[Principal, Any, Any]
_Email = Annotated[str, msgspec.Meta(min_length=3, max_length=accounts.EMAIL_CHARACTERS_MOST)]
_Password = Annotated[str, msgspec.Meta(min_length=1, max_length=CHARACTERS_MOST)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+(?![\s\S])")]
_Token = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Properties = Annotated[tuple[_Name, ...], msgspec.Meta(max_length=1_000)]


class SignInRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signs in. `browser`: the answer sets a cookie and holds no token."""

    email: _Email
    password: _Password
    browser: bool = False


class RefreshRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refresh token, good for one use."""

    refresh_token: _Token


class PasswordRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new password, and the one before to prove who asks."""

    old: _Password
    new: _Password


class AccountRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new account. Without `properties`: every property of the tenant."""

    email: _Email
    name: _Name
    role: StaffRole
    password: _Password
    properties: _Properties | None = None


class AccountChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an account may from now on."""

    role: StaffRole
    properties: _Properties | None
    disabled: bool


class ClientRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new client of the API. Without `expires_at`: until it is ended."""

    name: _Name
    role: StaffRole
    properties: _Properties | None = None
    expires_at: datetime | None = None


class TokenPair(msgspec.Struct, frozen=True):
    """What a program got; absent for a browser, which got a cookie."""

    access_token: str
    access_expires_at: str
    refresh_token: str
    refresh_expires_at: str


class Signed(msgspec.Struct, frozen=True):
    """Signed in."""

    tokens: TokenPair | None


class Me(msgspec.Struct, frozen=True):
    """Who the caller is."""

    name: str
    tenant: str
    role: str
    properties: list[str] | None


class SignInView(msgspec.Struct, frozen=True):
    """One sign-in of the caller's account."""

    id: str
    channel: str
    address: str
    agent: str
    began_at: str
    used_at: str
    expires_at: str
    means: str
    this: bool


class SignIns(msgspec.Struct, frozen=True):
    """The caller's sign-ins, newest first."""

    sign_ins: list[SignInView]


class AccountView(msgspec.Struct, frozen=True):
    """An account of the caller's tenant."""

    id: str
    email: str
    name: str
    role: str
    properties: list[str] | None
    created_at: str
    disabled_at: str | None


class Accounts(msgspec.Struct, frozen=True):
    """The accounts of the caller's tenant."""

    accounts: list[AccountView]


class ClientView(msgspec.Struct, frozen=True):
    """A client of the API. `token` is told once, when it is made."""

    id: str
    name: str
    role: str
    properties: list[str] | None
    created_at: str
    expires_at: str | None
    ended_at: str | None
    token: str | None = None


class AuditEntry(msgspec.Struct, frozen=True):
    """One entry of the audit trail; `hash` covers it and the entry before."""

    seq: int
    at: str
    actor: str
    action: str
    property: str | None
    subject: str
    outcome: str
    detail: str
    hash: str


class AuditTrail(msgspec.Struct, frozen=True):
    """A page of the trail; `next` is the `before` of the next one."""

    entries: list[AuditEntry]
    next: int | None


class Clients(msgspec.Struct, frozen=True):
    """The clients of the caller's tenant."""

    clients: list[ClientView]


@dataclass(frozen=True, slots=True)
class SignInServices:
    """What the routes stand on. `forwarded_hops`: how many proxies of ours put an address into X-Forwarded-For."""

    database: Database
    sign_in: SignIn
    passwords: Passwords
    clock: WallClock
    dice: Dice
    secure_cookie: bool
    forwarded_hops: int = 0


def sign_in_routes(services: SignInServices) -> Router:
    """Return the routes."""

    @post("/sign-in", status_code=200, summary="Sign in with a password", opt={OPEN: True})
    async def sign_in(request: Request[Any, Any, Any], data: JSONBody[SignInRequest]) -> Response[Signed]:
        where = where_of(request, services.forwarded_hops)
        try:
            if not data.browser:
                tokens = await services.sign_in.to_client(data.email, data.password, where)
                return Response(signed(tokens))
            cookie = await services.sign_in.to_browser(data.email, data.password, where)
        except SignInRefusedError as error:
            raise ProblemError(401, str(error), kind="sign-in") from error
        except TooManyAttemptsError as error:
            raise too_many(error) from error
        return Response(Signed(None), cookies=[session_cookie(cookie, secure=services.secure_cookie)])

    @post("/token", status_code=200, summary="A new pair of tokens for a refresh token", opt={OPEN: True})
    async def refresh(data: JSONBody[RefreshRequest]) -> TokenPair:
        try:
            return _pair(await services.sign_in.refreshed(data.refresh_token))
        except TokenRefusedError as error:
            raise ProblemError(401, str(error), kind="refresh-token") from error

    @get("/me", summary="Who the caller is", opt={ACTION: "self.read"})
    async def me(request: Call) -> Me:
        user = request.user
        return Me(user.name, user.tenant, user.role.value, None if user.properties is None else sorted(user.properties))

    @get("/me/sign-ins", summary="Where the caller is signed in", opt={ACTION: "self.read"})
    async def sign_ins(request: Call) -> SignIns:
        account = own_account(request.user)
        return SignIns(
            [
                SignInView(
                    each.id,
                    each.channel.value,
                    each.address,
                    each.agent,
                    iso(each.began_at),
                    iso(each.used_at),
                    iso(each.expires_at),
                    each.means,
                    each.id == request.user.sign_in,
                )
                for each in await services.sign_in.of_account(account)
            ]
        )

    @delete("/me/sign-ins/{sign_in_id:str}", summary="End one of the caller's sign-ins", opt={ACTION: "self.change"})
    async def end_sign_in(request: Call, sign_in_id: FromPath[str]) -> None:
        if not await services.sign_in.end(own_account(request.user), sign_in_id, why="ended by its owner"):
            raise absent()

    @put(
        "/me/password",
        status_code=204,
        summary="Change the caller's password; other sign-ins end",
        opt={ACTION: "self.change"},
    )
    async def change_password(request: Call, data: JSONBody[PasswordRequest]) -> None:
        try:
            await services.sign_in.change_password(
                own_account(request.user),
                old=data.old,
                new=data.new,
                keep=request.user.sign_in,
                where=where_of(request, services.forwarded_hops),
            )
        except SignInRefusedError as error:
            raise ProblemError(403, "the old password is wrong", kind="password") from error
        except TooManyAttemptsError as error:
            raise too_many(error) from error

    @get("/accounts", summary="The accounts of the tenant", opt={ACTION: "account.manage"})
    async def list_accounts(request: Call) -> Accounts:
        async with services.database.snapshot() as connection:
            found = await accounts.accounts_of(connection, tenant=request.user.tenant)
        return Accounts([_account_view(each) for each in found])

    @post("/accounts", summary="Make an account", opt={ACTION: "account.manage"})
    async def create_account(request: Call, data: JSONBody[AccountRequest]) -> AccountView:
        email = accounts.email_of(data.email)
        phc = await services.passwords.hashed(judged(data.password, of=email))
        with acting(_ADMIN):
            async with services.database.transaction() as connection:
                made = await accounts.create_account(
                    connection,
                    tenant=request.user.tenant,
                    email=email,
                    name=data.name,
                    role=Role(data.role),
                    properties=None if data.properties is None else frozenset(data.properties),
                    phc=phc,
                    by=request.user.name,
                    dice=services.dice,
                    now_ms=services.clock.wall_ms(),
                )
        return _account_view(made)

    @put(
        "/accounts/{account_id:str}", status_code=204, summary="Set what an account may", opt={ACTION: "account.manage"}
    )
    async def change_account(request: Call, account_id: FromPath[str], data: JSONBody[AccountChange]) -> None:
        async with services.database.transaction() as connection:
            there = await accounts.change_account(
                connection,
                tenant=request.user.tenant,
                account=account_id,
                role=Role(data.role),
                properties=None if data.properties is None else frozenset(data.properties),
                disabled=data.disabled,
                now_ms=services.clock.wall_ms(),
            )
        if not there:
            raise absent()

    @get("/api-clients", summary="The programs that ask in the tenant's name", opt={ACTION: "client.manage"})
    async def list_clients(request: Call) -> Clients:
        async with services.database.snapshot() as connection:
            found = await accounts.clients_of(connection, tenant=request.user.tenant)
        return Clients([_client_view(each) for each in found])

    @post("/api-clients", summary="Make a client; its token is told this once", opt={ACTION: "client.manage"})
    async def create_client(request: Call, data: JSONBody[ClientRequest]) -> ClientView:
        now_ms = services.clock.wall_ms()
        if data.expires_at is not None and (data.expires_at.tzinfo is None or data.expires_at <= at(now_ms)):
            raise InvalidInputError("expires_at", "must have a zone and lie ahead")
        async with services.database.transaction() as connection:
            made, token = await accounts.create_client(
                connection,
                tenant=request.user.tenant,
                name=data.name,
                role=Role(data.role),
                properties=None if data.properties is None else frozenset(data.properties),
                expires_at_ms=unix_ms(data.expires_at),
                by=request.user.name,
                dice=services.dice,
                now_ms=now_ms,
            )
        return _client_view(made, token)

    @delete("/api-clients/{client_id:str}", summary="End a client's token", opt={ACTION: "client.manage"})
    async def end_client(request: Call, client_id: FromPath[str]) -> None:
        async with services.database.transaction() as connection:
            there = await accounts.end_client(
                connection, tenant=request.user.tenant, client=client_id, now_ms=services.clock.wall_ms()
            )
        if not there:
            raise absent()

    @get("/audit", summary="Who did what and what was refused, newest first", opt={ACTION: "audit.read"})
    async def audit_trail(
        request: Call,
        limit: Annotated[int, QueryParameter(ge=1, le=audit.PAGE)] = 100,
        before: Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)] = None,
    ) -> AuditTrail:
        async with services.database.snapshot() as connection:
            found = await audit.page(connection, tenant=request.user.tenant, before=before, most=limit)
        return AuditTrail(
            [
                AuditEntry(
                    each.seq,
                    iso(each.at),
                    each.actor,
                    each.action,
                    each.property or None,
                    each.subject,
                    each.outcome,
                    each.detail,
                    each.hash.hex(),
                )
                for each in found
            ],
            found[-1].seq if len(found) == limit and found[-1].seq > 1 else None,
        )

    return Router(
        "/api/v1",
        route_handlers=[
            audit_trail,
            sign_in, refresh, me, sign_ins, end_sign_in, change_password, list_accounts, create_account,
            change_account, list_clients, create_client, end_client,
        ],
        request_max_body_size=BODY_BYTES_MOST,
        before_request=strict_body,
    )  # fmt: skip


def where_of(request: Request[Any, Any, Any], hops: int) -> Where:
    """Return where a request comes from: what our own outermost proxy saw, never what the caller claims."""
    address = request.client.host if request.client is not None else "unknown"
    said = [each.strip() for each in request.headers.get("x-forwarded-for", "").split(",") if each.strip()]
    if hops and len(said) >= hops:
        address = said[-hops]
    return Where(address[:64].replace("\x00", ""), request.headers.get("user-agent", ""))


def too_many(error: TooManyAttemptsError) -> ProblemError:
    """Return a 429 that says when to come again."""
    answer = ProblemError(429, str(error), kind="too-many-attempts", retryable=True)
    answer.headers = {"Retry-After": str(error.retry_after_s)}
    return answer


def session_cookie(value: str, *, secure: bool) -> Cookie:
    """Return the cookie of a browser's sign-in."""
    return Cookie(
        SESSION_COOKIE, value=value, max_age=BROWSER_MS // 1_000, httponly=True, samesite="strict", secure=secure
    )


def signed(tokens: Tokens | None) -> Signed:
    """Return the answer to who has signed in; None: its cookie goes beside."""
    return Signed(None if tokens is None else _pair(tokens))


def own_account(user: Principal) -> str:
    """Return the account that a caller has signed in to. Raises ProblemError: 409, it has none."""
    if user.account is None or user.sign_in is None:
        raise ProblemError(409, "a token of the settings or of a client has no sign-ins", kind="no-account")
    return user.account


async def fresh_account(user: Principal, sign_in: SignIn) -> str:
    """Return the account of a caller who has just signed in to it. Raises ProblemError: 409, 403."""
    account = own_account(user)
    if user.sign_in is None or not await sign_in.is_fresh(account, user.sign_in):
        raise ProblemError(
            403, "sign in again first: who adds a way in has signed in within ten minutes", kind="sign-in-again"
        )
    return account


def _pair(tokens: Tokens) -> TokenPair:
    return TokenPair(
        tokens.access, iso(at(tokens.access_expires_ms)), tokens.refresh, iso(at(tokens.refresh_expires_ms))
    )


def _account_view(each: accounts.Account) -> AccountView:
    return AccountView(
        each.id,
        each.email,
        each.name,
        each.role.value,
        None if each.properties is None else sorted(each.properties),
        iso(each.created_at),
        iso(each.disabled_at),
    )


def _client_view(each: accounts.ApiClient, token: str | None = None) -> ClientView:
    return ClientView(
        each.id,
        each.name,
        each.role.value,
        None if each.properties is None else sorted(each.properties),
        iso(each.created_at),
        iso(each.expires_at),
        iso(each.ended_at),
        token,
    )
