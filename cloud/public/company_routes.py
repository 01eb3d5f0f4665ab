"""The routes of signing in with a company's own provider: see cloud/platform/companies.py."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath, JSONBody, QueryParameter

from cloud.kit.times import iso
from cloud.platform.access_policy import ACTION
from cloud.platform.attempts import TooManyAttemptsError
from cloud.platform.companies import HOME, Begun, Companies, CompanyRefusedError
from cloud.platform.companies import Company as KeptCompany
from cloud.platform.oidc.client import ProviderFailedError
from cloud.platform.principals import Principal
from cloud.platform.sign_in import SignIn, SignInRefusedError
from cloud.privacy.sealing import NoKeysError
from cloud.public.gate import absent
from cloud.public.sign_in_routes import fresh_account, own_account, session_cookie, too_many, where_of
from cloud.public.strict import strict_body
from kit.http import OPEN, ProblemError

CALLBACK: Final = "/api/v1/sign-in/company/callback"
COOKIE: Final = "innkeeper_company"
COOKIE_PATH: Final = "/api/v1/sign-in/company"
COOKIE_S: Final = 600
BODY_BYTES_MOST: Final = 16 * 1024
_MANAGE: Final = {ACTION: "company.manage"}
_SELF: Final = {ACTION: "self.change"}
Call = Request[Principal, Any, Any]
_Name = Annotated[str, msgspec.Meta(min_length=2, max_length=40, pattern=r"^[a-z0-9][a-z0-9-]{1,39}(?![\s\S])")]
_Line = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[\x21-\x7e]+(?![\s\S])")]
_Asked = Annotated[str | None, QueryParameter(max_length=4_096)]


class BeginRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The company's name here; `return_to` is a place of our own page, such as `#/p/aurora`."""

    company: _Name
    return_to: Annotated[str, msgspec.Meta(max_length=210)] = HOME


class BegunAnswer(msgspec.Struct, frozen=True):
    """Where the browser goes now."""

    location: str


class CompanyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider of OpenID Connect. Without `client_secret`: a public client, held by PKCE alone.

    `link_by_email`: an address that the provider calls verified, in one of `domains`, opens the account of that
    address. Switch it on only for domains whose every mailbox the provider speaks for.
    """

    name: _Name
    issuer: _Line
    client_id: _Line
    client_secret: _Line | None = None
    domains: Annotated[tuple[_Line, ...], msgspec.Meta(max_length=50)] = ()
    link_by_email: bool = False


class Company(msgspec.Struct, frozen=True):
    """A provider of the tenant; its secret is told to nobody."""

    name: str
    issuer: str
    client_id: str
    has_secret: bool
    domains: list[str]
    link_by_email: bool
    created_at: str


class CompanyList(msgspec.Struct, frozen=True):
    """The providers of the tenant."""

    companies: list[Company]


class Link(msgspec.Struct, frozen=True):
    """An identity of a company that opens the caller's account."""

    company: str
    linked_at: str
    used_at: str


class LinkList(msgspec.Struct, frozen=True):
    """The identities that open the caller's account."""

    links: list[Link]


@dataclass(frozen=True, slots=True)
class CompanyServices:
    """What the routes stand on; without `companies` ([companies] is not set) they say so."""

    companies: Companies | None
    sign_in: SignIn
    secure_cookie: bool
    forwarded_hops: int = 0


def company_routes(services: CompanyServices) -> Router:
    """Return the routes."""

    def ready() -> Companies:
        if services.companies is None:
            raise ProblemError(409, "no company signs in here: configure [companies]", kind="no-companies")
        return services.companies

    def kept(secret: str, *, age_s: int = COOKIE_S) -> Cookie:
        # lax: the provider's page leads back here, and a strict cookie would stay behind
        return Cookie(
            COOKIE, value=secret, max_age=age_s, path=COOKIE_PATH, httponly=True, samesite="lax",
            secure=services.secure_cookie,
        )  # fmt: skip

    async def begun(request: Request[Any, Any, Any], data: BeginRequest, account: str | None) -> Response[BegunAnswer]:
        where = where_of(request, services.forwarded_hops)
        try:
            made: Begun | None = await ready().begin(
                data.company, return_to=data.return_to, where=where, account=account
            )
        except TooManyAttemptsError as error:
            raise too_many(error) from error
        except ProviderFailedError as error:
            raise ProblemError(502, str(error), kind="provider", retryable=True) from error
        if made is None:
            raise ProblemError(404, "no company of this name signs in here")
        return Response(BegunAnswer(made.location), cookies=[kept(made.secret)])

    @post("/sign-in/company", status_code=200, summary="Begin to sign in with a company's provider", opt={OPEN: True})
    async def begin(request: Request[Any, Any, Any], data: JSONBody[BeginRequest]) -> Response[BegunAnswer]:
        return await begun(request, data, None)

    @get(
        "/sign-in/company/callback",
        status_code=303,
        summary="Where a provider leads the browser back to",
        opt={OPEN: True},
    )
    async def callback(
        request: Request[Any, Any, Any],
        returned: Annotated[str, QueryParameter(max_length=200, name="state")] = "",
        code: _Asked = None,
        error: _Asked = None,
        iss: _Asked = None,
    ) -> Response[None]:
        gone = kept("", age_s=0)
        try:
            ended = await ready().finish(
                state=returned, secret=request.cookies.get(COOKIE, ""), code=code, error=error, iss=iss
            )
            cookies = [gone]
            if ended.account is not None:
                where = where_of(request, services.forwarded_hops)
                secret = await services.sign_in.cookie(ended.account, where, means=ended.means)
                cookies.append(session_cookie(secret, secure=services.secure_cookie))
            place = ended.return_to
        except CompanyRefusedError as refused:
            cookies, place = [gone], f"#/sign-in/{refused.kind}"
        except SignInRefusedError:
            cookies, place = [gone], "#/sign-in/unknown"
        return Response(None, status_code=303, headers={"Location": f"/{place}"}, cookies=cookies)

    @get("/me/companies", summary="The companies whose sign-in opens the caller's account", opt={ACTION: "self.read"})
    async def links(request: Call) -> LinkList:
        found = await ready().links_of(own_account(request.user))
        return LinkList([Link(each.company, iso(each.linked_at), iso(each.used_at)) for each in found])

    @post("/me/companies", status_code=200, summary="Begin to link a company's sign-in", opt=_SELF)
    async def link(request: Call, data: JSONBody[BeginRequest]) -> Response[BegunAnswer]:
        return await begun(request, data, await fresh_account(request.user, services.sign_in))

    @delete("/me/companies/{company:str}", summary="Unlink a company's sign-in", opt=_SELF)
    async def unlink(request: Call, company: FromPath[str]) -> None:
        if not await ready().unlink(own_account(request.user), company, keep=request.user.sign_in):
            raise absent()

    @get("/companies", summary="The providers that the tenant's people sign in with", opt=_MANAGE)
    async def listed(request: Call) -> CompanyList:
        return CompanyList([_view(each) for each in await ready().of_tenant(request.user.tenant)])

    @post("/companies", summary="Let people sign in with a provider of OpenID Connect", opt=_MANAGE)
    async def added(request: Call, data: JSONBody[CompanyRequest]) -> Company:
        try:
            made = await ready().add(
                tenant=request.user.tenant,
                name=data.name,
                issuer=data.issuer,
                client_id=data.client_id,
                client_secret=data.client_secret,
                domains=data.domains,
                link_by_email=data.link_by_email,
                by=request.user.name,
            )
        except ProviderFailedError as error:
            raise ProblemError(400, f"issuer: {error}", kind="provider") from error
        except NoKeysError as error:
            raise ProblemError(409, "No secret can be kept here: configure [privacy].", kind="no_keys") from error
        return _view(made)

    @delete("/companies/{company:str}", summary="End a provider, and whatever it signed in to", opt=_MANAGE)
    async def ended(request: Call, company: FromPath[str]) -> None:
        if not await ready().end(tenant=request.user.tenant, name=company):
            raise absent()

    return Router(
        "/api/v1",
        route_handlers=[begin, callback, links, link, unlink, listed, added, ended],
        request_max_body_size=BODY_BYTES_MOST,
        before_request=strict_body,
    )


def _view(each: KeptCompany) -> Company:
    return Company(
        each.id, each.issuer, each.client_id, each.has_secret, list(each.domains), each.link_by_email,
        iso(each.created_at),
    )  # fmt: skip
