"""The routes by which a tenant says where it wants its events."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.params import FromPath, JSONBody

from cloud.kit.times import iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.privacy.sealing import NoKeysError
from cloud.public.gate import absent
from cloud.public.strict import strict_body
from cloud.webhooks.webhooks import KINDS, URL_CHARACTERS_MOST, Webhooks
from cloud.webhooks.webhooks import Endpoint as KeptEndpoint
from kit.http import ProblemError

_MANAGE = {ACTION: "webhook.manage"}
Call = Request[Principal, Any, Any]


class EndpointRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An https address, and the kinds of events it gets."""

    url: Annotated[str, msgspec.Meta(min_length=9, max_length=URL_CHARACTERS_MOST)]
    kinds: Annotated[list[str], msgspec.Meta(min_length=1, max_length=len(KINDS))]


class Endpoint(msgspec.Struct, frozen=True):
    """An endpoint; its secret is told once, when it is made."""

    id: str
    url: str
    kinds: list[str]
    made_at: str
    secret: str | None


class Endpoints(msgspec.Struct, frozen=True):
    """The endpoints of a tenant."""

    endpoints: list[Endpoint]


def webhook_routes(webhooks: Webhooks) -> Router:
    """Return the routes."""

    @get("/webhooks", summary="Where events go", opt=_MANAGE)
    async def listed(request: Call) -> Endpoints:
        return Endpoints([_view(each) for each in await webhooks.listed(tenant=request.user.tenant)])

    @post("/webhooks", summary="Have events pushed somewhere", opt=_MANAGE)
    async def added(request: Call, data: JSONBody[EndpointRequest]) -> Endpoint:
        try:
            made = await webhooks.add(tenant=request.user.tenant, url=data.url, kinds=data.kinds, by=request.user.name)
        except NoKeysError as error:
            raise ProblemError(409, "No secret can be kept here: configure [privacy].", kind="no_keys") from error
        return _view(made)

    @delete("/webhooks/{endpoint_id:str}", summary="Push nothing there any more", opt=_MANAGE)
    async def ended(request: Call, endpoint_id: FromPath[str]) -> None:
        if not await webhooks.end(tenant=request.user.tenant, endpoint=endpoint_id):
            raise absent()

    return Router("/api/v1", route_handlers=[listed, added, ended], before_request=strict_body)


def _view(endpoint: KeptEndpoint) -> Endpoint:
    return Endpoint(endpoint.id, endpoint.url, list(endpoint.kinds), iso(endpoint.made_at), endpoint.secret)
