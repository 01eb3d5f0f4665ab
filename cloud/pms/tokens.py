"""A bearer token that is asked for when it is needed, kept while it lives, and asked for anew when it is refused."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Annotated, Final, TypeVar

import httpx
import msgspec

from cloud.pms.exchange import Exchange
from cloud.pms.port import PmsRefusedError, before_writing
from kit.clock import Clock

SPARE_MS: Final = 60_000
"""A token this close to its end is not used any more."""
LIFE_DEFAULT_S: Final = 3_600
T = TypeVar("T")


class TokenAnswer(msgspec.Struct, frozen=True):
    """RFC 6749, 5.1."""

    access_token: Annotated[str, msgspec.Meta(min_length=1, max_length=8_192, pattern=r"^[\x21-\x7e]+$")]
    expires_in: Annotated[float, msgspec.Meta(ge=0, le=10**9)] = LIFE_DEFAULT_S


class Bearer:
    """Keeps one token.

    Args:
        url: of the token end point.
        headers, form: what the partner wants there.
    """

    def __init__(self, exchange: Exchange, *, url: str, headers: Mapping[str, str], form: bytes, clock: Clock) -> None:
        self._exchange, self._url, self._form, self._clock = exchange, url, form, clock
        self._headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        self._token, self._until_ms = "", 0

    async def token(self, *, life_least_ms: int = 0) -> tuple[str, int]:
        """Return a token and until when (monotonic ms) it is good, asking for one that lives at least so long."""
        if not self._token or self._clock.now_ms() + life_least_ms >= self._until_ms:
            await self._new(patient=True)
        return self._token, self._until_ms

    def forget(self) -> None:
        """The token is not taken any more: the next one is asked for anew."""
        self._token, self._until_ms = "", 0

    async def use(self, ask: Callable[[str], Awaitable[T]], *, patient: bool, writes: bool = False) -> T:
        """Ask with a token; one that the partner refuses (401) was taken back early: once more with a new one.

        `writes`: where no token is had, what was to be written never left (PmsUnreadError).
        """
        held = self._token if self._clock.now_ms() < self._until_ms else ""
        try:
            return await ask(held or await self._asked(patient=patient, writes=writes))
        except PmsRefusedError as error:
            if error.status != httpx.codes.UNAUTHORIZED or not held:
                raise
            self.forget()
        return await ask(await self._asked(patient=True, writes=writes))

    async def _asked(self, *, patient: bool, writes: bool) -> str:
        with before_writing() if writes else nullcontext():
            return await self._new(patient=patient)

    async def _new(self, *, patient: bool) -> str:
        answer, content = await self._exchange.send(
            "token", "POST", self._url, headers=self._headers, content=self._form, patient=patient
        )
        said = self._exchange.decoded("token", answer, content, TokenAnswer, strict=False)
        self._token = said.access_token
        self._until_ms = self._clock.now_ms() + max(0, round(said.expires_in * 1000) - SPARE_MS)
        return self._token
