"""The port of a payment provider: money in minor units, methods by the provider's token, every effect under a key.

An adapter answers with a `Charge` as the provider has it, or raises: LinkLostError, nothing happened;
ReplyTimeoutError, it may have; PaymentRefusedError, it was judged and refused. Asking again under the same key never
charges twice.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from protocols.errors import InvalidInputError, PlatformError

_METHOD: Final = re.compile(r"[A-Za-z]{2,8}_[A-Za-z0-9_]{1,80}")
_DIGITS: Final = re.compile(r"\d{12,19}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")


class PaymentState(StrEnum):
    """Where a payment stands."""

    ASKED = "asked"
    """The provider was asked and has not answered."""
    NEEDS_GUEST = "needs_guest"
    """The guest has the provider's page before him, or his bank wants to hear him (3-D Secure)."""
    PENDING = "pending"
    HELD = "held"
    CAPTURED = "captured"
    RELEASED = "released"
    FAILED = "failed"


class PaymentRefusedError(PlatformError):
    """The provider or we refused; `code` is the provider's own word for it, or ours."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Charge:
    """A payment as the provider has it now."""

    id: str
    state: PaymentState
    currency: str
    minor: int
    captured: int
    refunded: int
    client_secret: str | None
    """With it the guest's page lets the provider's own script finish what the bank wants; kept nowhere."""
    failure: str | None


class PageState(StrEnum):
    """Where a page of the provider stands."""

    OPEN = "open"
    COMPLETE = "complete"
    """The guest has paid there: `charge` says how."""
    EXPIRED = "expired"
    """Nobody can pay there any more."""


@dataclass(frozen=True, slots=True)
class PageAsked:
    """What a page is asked for with: a hold of `minor`, called `title`, in a language if the provider has it.

    `back` is where the browser goes when the guest has paid, `left` when he has not; `until_s` (Unix seconds, at least
    half an hour ahead) is when the page ends.
    """

    currency: str
    minor: int
    title: str
    language: str
    back: str
    left: str
    until_s: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the provider, where the guest types his card and his bank hears him; we never see either."""

    id: str
    state: PageState
    url: str | None
    charge: Charge | None


class PaymentProvider(Protocol):
    """What payments need of a provider."""

    async def hold(self, *, currency: str, minor: int, method: str, reference: str, key: str) -> Charge:
        """Hold money on the method of a token."""
        ...

    async def open_page(self, asked: PageAsked, *, reference: str, key: str) -> Page:
        """Make a page of the provider's on which a guest lets money be held."""
        ...

    async def read_page(self, page: str) -> Page:
        """Return a page as it is now."""
        ...

    async def close_page(self, page: str) -> Page:
        """Let nobody pay there any more; one that was paid, or has ended, is returned as it is."""
        ...

    async def capture(self, charge: str, *, minor: int, key: str) -> Charge:
        """Take at most what is held; the rest is released."""
        ...

    async def release(self, charge: str, *, key: str) -> Charge:
        """Let go what is held."""
        ...

    async def refund(self, charge: str, *, minor: int, key: str) -> Charge:
        """Give back of what was taken."""
        ...

    async def read(self, charge: str) -> Charge:
        """Return a payment as it is now."""
        ...


def parse_method(text: str) -> str:
    """Return a provider's token. Raises InvalidInputError: it is none, or holds what may be a card number."""
    if _METHOD.fullmatch(text) is None:
        raise InvalidInputError("payment_method", "is no token of a payment provider")
    if any(_luhn(found) for found in _DIGITS.findall(text)):
        raise InvalidInputError("payment_method", "looks like a card number; send the provider's token, never the card")
    return text


def parse_currency(text: str) -> str:
    """Return an ISO 4217 code. Raises InvalidInputError."""
    if _CURRENCY.fullmatch(text) is None:
        raise InvalidInputError("currency", "is not three capital letters")
    return text


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
