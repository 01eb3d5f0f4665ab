"""Who gets in: a route is closed unless it says `open` or the policies permit its action; what is foreign is absent.

A bearer token or a session cookie makes a principal. Missing: 401. A token that is none of ours: 403 (PLT-06).
A cookie rides along with requests that other sites provoke, so with a cookie a changing request or a
websocket must come from our own origin.

From then on the request acts as the caller's tenant (cloud/kit/acting.py), and the database shows it no other's rows;
a request that was not let in acts as nobody.
"""

from typing import Any, Final
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from cloud.checkin import kiosks, links
from cloud.kit.acting import act_from_here, acting, system, tenant
from cloud.kit.database import Connection, Database
from cloud.platform import audit
from cloud.platform.access_policy import ACTION, may
from cloud.platform.accounts import CLIENT_PREFIX
from cloud.platform.audit_desk import AuditDesk
from cloud.platform.principals import Principal, Principals, Role
from cloud.platform.properties import Property, property_of
from cloud.platform.rates import Kind, RateExceededError, RateLimits
from cloud.platform.sign_in import ACCESS_PREFIX, COOKIE_PREFIX, SignIn
from cloud.public.reader import WallClock
from cloud.stays.listing import Stay, stay_and_place
from kit.http import OPEN, ProblemError
from protocols.errors import InvalidInputError

SIGNING_IN: Final = system("sign-in")
"""Who looks sessions up: nobody is known before."""
SESSION_COOKIE: Final = "innkeeper_session"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NUL: Final = "\x00"
Caller = ASGIConnection[Any, Any, Any, Any]


class Gate:
    """The guard of the whole application."""

    def __init__(
        self,
        principals: Principals,
        database: Database,
        *,
        clock: WallClock,
        origins: frozenset[str],
        sign_in: SignIn | None = None,
        rates: RateLimits | None = None,
    ) -> None:
        """`origins` are accepted besides the one the request was sent to; without `sign_in` only settings' tokens.

        Without `rates` callers may ask as often as they like.
        """
        self._principals, self._database, self._clock, self._origins = principals, database, clock, origins
        self._sign_in, self._rates, self._audit = sign_in, rates, AuditDesk(database)

    async def guard(self, caller: Caller, handler: BaseRouteHandler) -> None:
        """Let the caller pass as `caller.user`, or raise 401 or 403."""
        if handler.opt.get(OPEN):
            return
        principal = await self._principal(caller)
        await self._count(caller, principal)
        await self._judge(caller, principal, handler.opt.get(ACTION))
        caller.scope["user"] = principal
        act_from_here(tenant(principal.tenant, principal.properties, name=principal.name))
        _judge_names(caller)

    async def may_stay(self, caller: Caller) -> bool:
        """Tell whether a caller who was let in may still be: it is who it was, and nothing it had has ended."""
        try:
            return bool(await self._principal(caller) == caller.user)
        except ProblemError:
            return False

    async def _principal(self, caller: Caller) -> Principal:
        authorization = caller.headers.get("authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer" or not token:
                raise unauthenticated("Authorization: want `Bearer <token>`")
            known = await self._by_token(token.strip())
            if known is None and token.strip().startswith(ACCESS_PREFIX):
                raise unauthenticated("this access token has ended; POST /api/v1/token gives another one")
            if known is None:
                raise ProblemError(403, "this token is not known here", kind="token")
            return known
        secret = caller.cookies.get(SESSION_COOKIE)
        if secret is None:
            raise unauthenticated("sign in, or send `Authorization: Bearer <token>`")
        principal = await self._by_cookie(secret)
        if principal is None:
            raise unauthenticated("the session has ended; sign in again")
        if str(caller.scope.get("method", "")) not in _SAFE_METHODS and not self._ours(caller):  # a websocket has none
            raise ProblemError(403, "a session may only be used from its own site", kind="origin")
        return principal

    async def _by_token(self, token: str) -> Principal | None:
        found = self._principals.by_token(token)
        if found is not None:
            return found.principal
        if token.startswith(links.PREFIX):
            return await self._by_link(token)
        if token.startswith(kiosks.PREFIX):
            return await self._by_kiosk(token)
        if self._sign_in is None or not token.startswith((ACCESS_PREFIX, CLIENT_PREFIX)):
            return None
        return await self._sign_in.who(token)

    async def _by_link(self, token: str) -> Principal | None:
        with acting(SIGNING_IN):
            found = await links.who(self._database, token, now_ms=self._clock.wall_ms())
        if found is None:
            return None
        return Principal(
            f"guest:{found.stay}",
            found.tenant,
            Role.GUEST,
            frozenset({found.property}),
            account=found.id,
            stay=found.stay,
            kiosk=found.kiosk,
        )

    async def _by_kiosk(self, token: str) -> Principal | None:
        with acting(SIGNING_IN):
            found = await kiosks.who(self._database, token)
        if found is None:
            return None
        name = f"kiosk:{found.id}"
        return Principal(name, found.tenant, Role.KIOSK, frozenset({found.property}), kiosk=found.id)

    async def _by_cookie(self, secret: str) -> Principal | None:
        if self._sign_in is not None and secret.startswith(COOKIE_PREFIX):
            return await self._sign_in.who(secret)
        with acting(SIGNING_IN):
            async with self._database.transaction() as connection:
                return await self._principals.by_session(connection, secret, now_ms=self._clock.wall_ms())

    async def _count(self, caller: Caller, principal: Principal) -> None:
        if self._rates is None:
            return
        kind = Kind.READ if str(caller.scope.get("method", "GET")) in _SAFE_METHODS else Kind.WRITE
        try:
            await self._rates.count(principal.tenant, principal.name, kind)
        except RateExceededError as error:
            answer = ProblemError(429, str(error), kind="too-many-requests", retryable=True)
            answer.headers = {"Retry-After": str(error.retry_after_s)}
            raise answer from error

    async def _judge(self, caller: Caller, principal: Principal, action: str | None) -> None:
        """Let a caller pass whom the policies permit it; another's property is said not to exist, whatever was asked.

        A property of the tenant that the caller may not see and one of another tenant are told apart nowhere. What
        changes something, and what is denied, is in the audit trail before anything else happens.
        """
        property_id: str | None = caller.path_params.get("property_id")
        if action is not None:
            if may(principal, action, property_id, caller.path_params.get("stay_id")).allowed:
                if str(caller.scope.get("method", "GET")) not in _SAFE_METHODS:
                    await self._record(caller, principal, action, audit.Outcome.ALLOWED)
                return
            own = None if principal.properties is None else min(principal.properties, default=None)
            if property_id is not None and own is not None and may(principal, action, own, principal.stay).allowed:
                raise absent()
        await self._record(caller, principal, action or "", audit.Outcome.DENIED)
        raise ProblemError(403, f"the role {principal.role.value} may not do this", kind="role")

    async def _record(self, caller: Caller, principal: Principal, action: str, outcome: audit.Outcome) -> None:
        await self._audit.record(
            audit.Told(
                principal.tenant,
                principal.name,
                action,
                f"{caller.scope.get('method', 'WS')} {caller.url.path}",
                outcome,
                self._clock.wall_ms(),
                property_id=str(caller.path_params.get("property_id", "")),
                detail=f"role {principal.role.value}",
            )
        )

    def _ours(self, caller: Caller) -> bool:
        origin = caller.headers.get("origin")
        if origin is None:  # browsers send it with every websocket and every changing request
            return False
        try:
            host = urlsplit(origin).netloc
        except ValueError:  # no address at all, such as `http://[`
            return False
        return origin in self._origins or host == caller.headers.get("host")


def _judge_names(caller: Caller) -> None:
    """A NUL can stand in no text of the database: a path with one names nothing, a query parameter is refused."""
    if any(_NUL in value for value in caller.path_params.values() if isinstance(value, str)):
        raise absent()
    for name, value in caller.query_params.multi_items():
        if _NUL in name or _NUL in value:
            raise InvalidInputError(repr(name)[1:-1], f"{value!r} holds a NUL character")


def unauthenticated(detail: str) -> ProblemError:
    """Return a 401 that says how to authenticate."""
    error = ProblemError(401, detail, kind="unauthenticated")
    error.headers = {"WWW-Authenticate": 'Bearer realm="innkeeper"'}
    return error


def absent() -> ProblemError:
    """Return the 404 for what does not exist and, byte for byte, for what is another tenant's."""
    return ProblemError(404, "there is no such thing here")


async def property_for(connection: Connection, caller: Principal, property_id: str) -> Property:
    """Return the property, if the caller may know of it; 404 otherwise."""
    found = await property_of(connection, tenant=caller.tenant, property_id=property_id)
    if found is None or not caller.may_name(property_id):
        raise absent()
    return found


async def stay_for(connection: Connection, caller: Principal, property_id: str, stay_id: str) -> tuple[Property, Stay]:
    """Return the property and one of its stays, if the caller may know of them; 404 otherwise."""
    found = await stay_and_place(connection, tenant=caller.tenant, property_id=property_id, stay=stay_id)
    if found is None or not caller.may_name(property_id):
        raise absent()
    return found
