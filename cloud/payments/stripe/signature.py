"""Stripe's webhook signature, checked and made. Pure: bytes and time in, yes or a reason out.

Source: Stripe's documentation, "Verify webhook signatures": header `t=<unix s>,v1=<hex>[,v1=...]`, HMAC-SHA256 over
`<t>.<body>` with the endpoint's secret; several `v1` while a secret is being changed.
"""

import hashlib
import hmac
from typing import Final

from protocols.errors import PeerProtocolError

TOLERANCE_S: Final = 300
HEADER_CHARACTERS_MOST: Final = 1_000


def verify(body: bytes, header: str, secret: str, *, now_s: int) -> None:
    """Return if `body` was signed with `secret` within the last five minutes.

    Raises:
        PeerProtocolError: no signature of that form, too old or too far ahead, or another's.
    """
    at: str | None = None
    signatures: list[str] = []
    for part in header[:HEADER_CHARACTERS_MOST].split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            at = value
        elif name == "v1":
            signatures.append(value)
    if at is None or not (at.isascii() and at.isdigit()) or len(at) > 12 or not signatures:
        raise PeerProtocolError("Stripe-Signature: want t=<seconds>,v1=<hex>")
    if abs(now_s - int(at)) > TOLERANCE_S:
        raise PeerProtocolError(f"Stripe-Signature: signed at {at}, more than {TOLERANCE_S} s from now")
    wanted = _mac(body, at, secret)
    if not any(hmac.compare_digest(wanted, each.encode("utf-8", "surrogateescape")) for each in signatures):
        raise PeerProtocolError("Stripe-Signature: not signed with this endpoint's secret")


def sign(body: bytes, secret: str, *, at_s: int) -> str:
    """Return the header for `body`: what Stripe, and our emulator of it, sends."""
    return f"t={at_s},v1={_mac(body, str(at_s), secret).decode()}"


def _mac(body: bytes, at: str, secret: str) -> bytes:
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest().encode()
