"""The routes of passkeys and of the way back in: see cloud/platform/passkeys.py and recovery.py."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.params import FromPath, JSONBody

from cloud.kit.times import at, iso
from cloud.platform.access_policy import ACTION
from cloud.platform.attempts import TooManyAttemptsError
from cloud.platform.passkeys import Passkey as KeptPasskey
from cloud.platform.passkeys import PasskeyRefusedError, Passkeys
from cloud.platform.passwords import CHARACTERS_MOST
from cloud.platform.principals import Principal
from cloud.platform.recovery import Recovery
from cloud.platform.sign_in import SignIn, SignInRefusedError, Where
from cloud.public.gate import absent
from cloud.public.sign_in_routes import Signed, fresh_account, own_account, session_cookie, signed, too_many, where_of
from cloud.public.strict import strict_body
from kit.http import OPEN, ProblemError

BODY_BYTES_MOST: Final = 32 * 1024
_SELF: Final = {ACTION: "self.change"}
Call = Request[Principal, Any, Any]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+(?![\s\S])")]
_Base64url = Annotated[str, msgspec.Meta(min_length=1, max_length=16_384, pattern=r"^[A-Za-z0-9_-]+={0,2}(?![\s\S])")]


class AuthenticatorAnswer(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The `response` of a PublicKeyCredential as its toJSON gives it; what else is in it is passed over."""

    client_data_json: _Base64url = msgspec.field(name="clientDataJSON")
    attestation_object: _Base64url | None = None
    authenticator_data: _Base64url | None = None
    signature: _Base64url | None = None
    user_handle: _Base64url | None = None


class Credential(msgspec.Struct, frozen=True, rename="camel"):
    """A PublicKeyCredential as its toJSON gives it; what else is in it is passed over."""

    id: _Base64url
    raw_id: _Base64url
    response: AuthenticatorAnswer
    type: Annotated[str, msgspec.Meta(pattern=r"^public-key(?![\s\S])")] = "public-key"


class PasskeySignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An authenticator's answer. `browser`: the answer sets a cookie and holds no token."""

    credential: Credential
    browser: bool = False


class PasskeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new passkey, and what its owner calls it."""

    name: _Text
    credential: Credential


class RecoveryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code from an admin, and a new password."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=CHARACTERS_MOST)]
    browser: bool = False


class Options(msgspec.Struct, frozen=True, rename="camel"):
    """`public_key` is what PublicKeyCredential.parse...OptionsFromJSON takes."""

    public_key: dict[str, Any]


class Passkey(msgspec.Struct, frozen=True):
    """One passkey. `suspended_at`: its key exists twice, it opens nothing any more; remove it."""

    id: str
    name: str
    synced: bool
    created_at: str
    used_at: str | None
    suspended_at: str | None


class PasskeyList(msgspec.Struct, frozen=True):
    """The caller's passkeys, oldest first."""

    passkeys: list[Passkey]


class Ways(msgspec.Struct, frozen=True):
    """What one can sign in with here besides a password."""

    passkeys: bool
    companies: bool


class RecoveryCode(msgspec.Struct, frozen=True):
    """A code, told this once."""

    code: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class PasskeyServices:
    """What the routes stand on; without `passkeys` ([passkeys] is not set) their routes say so."""

    passkeys: Passkeys | None
    recovery: Recovery
    sign_in: SignIn
    secure_cookie: bool
    forwarded_hops: int = 0
    companies: bool = False


def passkey_routes(services: PasskeyServices) -> Router:
    """Return the routes."""

    def ready() -> Passkeys:
        if services.passkeys is None:
            raise ProblemError(409, "passkeys are not set up here: configure [passkeys]", kind="no-passkeys")
        return services.passkeys

    def where(request: Request[Any, Any, Any]) -> Where:
        return where_of(request, services.forwarded_hops)

    async def answered(account: str, request: Request[Any, Any, Any], means: str, browser: bool) -> Response[Signed]:
        if browser:
            cookie = await services.sign_in.cookie(account, where(request), means=means)
            return Response(signed(None), cookies=[session_cookie(cookie, secure=services.secure_cookie)])
        return Response(signed(await services.sign_in.tokens(account, where(request), means=means)))

    async def fresh(user: Principal) -> str:
        return await fresh_account(user, services.sign_in)

    @get("/sign-in/ways", summary="What one can sign in with besides a password", opt={OPEN: True})
    async def ways() -> Ways:
        return Ways(services.passkeys is not None, services.companies)

    @post("/sign-in/passkey/options", status_code=200, summary="Begin to sign in with a passkey", opt={OPEN: True})
    async def options(request: Request[Any, Any, Any]) -> Options:
        try:
            return Options(await ready().options_to_sign_in(where(request)))
        except TooManyAttemptsError as error:
            raise too_many(error) from error

    @post("/sign-in/passkey", status_code=200, summary="Sign in with a passkey", opt={OPEN: True})
    async def sign_in(request: Request[Any, Any, Any], data: JSONBody[PasskeySignIn]) -> Response[Signed]:
        try:
            account, means = await ready().account_of(msgspec.to_builtins(data.credential))
            return await answered(account, request, means, data.browser)
        except (PasskeyRefusedError, SignInRefusedError) as error:
            raise ProblemError(401, str(error), kind="passkey") from error

    @post("/sign-in/recovery", status_code=200, summary="Back in with a code from an admin", opt={OPEN: True})
    async def recover(request: Request[Any, Any, Any], data: JSONBody[RecoveryRequest]) -> Response[Signed]:
        try:
            account = await services.recovery.use(data.code, password=data.password, where=where(request))
            return await answered(account, request, "recovery", data.browser)
        except SignInRefusedError as error:
            raise ProblemError(401, str(error), kind="recovery") from error
        except TooManyAttemptsError as error:
            raise too_many(error) from error

    @get("/me/passkeys", summary="The caller's passkeys", opt={ACTION: "self.read"})
    async def listed(request: Call) -> PasskeyList:
        return PasskeyList([_view(each) for each in await ready().of_account(own_account(request.user))])

    @post("/me/passkeys/options", status_code=200, summary="Begin to add a passkey", opt=_SELF)
    async def options_to_add(request: Call) -> Options:
        return Options(await ready().options_to_add(await fresh(request.user)))

    @post("/me/passkeys", summary="Add a passkey", opt=_SELF)
    async def added(request: Call, data: JSONBody[PasskeyRequest]) -> Passkey:
        try:
            return _view(
                await ready().add(
                    await fresh(request.user),
                    msgspec.to_builtins(data.credential),
                    name=data.name,
                    where=where(request),
                )
            )
        except PasskeyRefusedError as error:
            raise ProblemError(400, str(error), kind="passkey") from error

    @delete("/me/passkeys/{passkey_id:str}", summary="Remove a passkey; what it signed in to ends", opt=_SELF)
    async def removed(request: Call, passkey_id: FromPath[str]) -> None:
        user = request.user
        if not await ready().remove(own_account(user), passkey_id, keep=user.sign_in, where=where(request)):
            raise absent()

    @post("/accounts/{account_id:str}/recovery", summary="Make a code for who lost his way in",
          opt={ACTION: "account.manage"})  # fmt: skip
    async def code(request: Call, account_id: FromPath[str]) -> RecoveryCode:
        user = request.user
        made = await services.recovery.code_for(account_id, tenant=user.tenant, by=user.name, by_account=user.account)
        if made is None:
            raise absent()
        return RecoveryCode(made[0], iso(at(made[1])))

    return Router(
        "/api/v1",
        route_handlers=[ways, options, sign_in, recover, listed, options_to_add, added, removed, code],
        request_max_body_size=BODY_BYTES_MOST,
        before_request=strict_body,
    )


def _view(each: KeptPasskey) -> Passkey:
    return Passkey(each.id, each.name, each.synced, iso(each.created_at), iso(each.used_at), iso(each.suspended_at))
