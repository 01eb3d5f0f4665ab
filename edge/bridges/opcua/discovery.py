"""Asks an OPC UA server who it is, without a session: what `protocols.opcua.probe` judges."""

from typing import Final

from asyncua import ua
from asyncua.client.client import Client

from edge.bridges.opcua.security import fingerprint
from protocols.opcua.probe import ENDPOINTS_MAX, Description, Endpoint

TEXT_CHARACTERS_MAX: Final = 200
_MODES: Final = {
    ua.MessageSecurityMode.None_: "none",
    ua.MessageSecurityMode.Sign: "sign",
    ua.MessageSecurityMode.SignAndEncrypt: "sign_and_encrypt",
}


async def describe(url: str, *, wait_s: float) -> Description:
    """Return what the server at `url` tells anybody who asks.

    Raises:
        asyncua.ua.UaError, OSError, TimeoutError, ValueError: nobody is there, or what answers is no OPC UA server.
    """
    endpoints = (await Client(url, timeout=wait_s).connect_and_get_server_endpoints())[:ENDPOINTS_MAX]
    server = endpoints[0].Server if endpoints else ua.ApplicationDescription()
    return Description(
        application_name=_cut(server.ApplicationName.Text),
        application_uri=_cut(server.ApplicationUri),
        product_uri=_cut(server.ProductUri),
        endpoints=tuple(_endpoint(each) for each in endpoints),
    )


def _endpoint(told: ua.EndpointDescription) -> Endpoint:
    users = dict.fromkeys(token.TokenType.name.lower() for token in told.UserIdentityTokens or ())
    return Endpoint(
        policy=_cut(told.SecurityPolicyUri).rpartition("#")[2],
        mode=_MODES.get(told.SecurityMode, "invalid"),
        users=tuple(users),
        certificate_sha256=fingerprint(told.ServerCertificate or b""),
    )


def _cut(text: str | None) -> str:
    return (text or "")[:TEXT_CHARACTERS_MAX]
