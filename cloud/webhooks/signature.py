"""Signs what is pushed, as Standard Webhooks 1.0 says: HMAC-SHA256 over `id.timestamp.body`. Pure.

A secret is shown as `whsec_` and base64. While a secret is changed a message carries a signature for each.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

SHOWN_AS: Final = "whsec_"
SECRET_BYTES: Final = 32


def headers(message_id: str, body: bytes, secrets: Sequence[bytes], *, at_s: int) -> dict[str, str]:
    """Return the headers of a message sent at unix seconds `at_s`; a receiver refuses one that is minutes old."""
    signed = f"{message_id}.{at_s}.".encode() + body
    macs = (base64.b64encode(hmac.new(each, signed, hashlib.sha256).digest()).decode() for each in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{mac}" for mac in macs),
    }


def shown(secret: bytes) -> str:
    """Return a secret as a receiver configures it."""
    return SHOWN_AS + base64.b64encode(secret).decode()
