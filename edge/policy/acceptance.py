"""Takes up signed policies, whole or not at all, and remembers the highest version seen of each kind.

Source of truth: protocols/policy/SPEC.md section 2. The order is: judge, store, then obey; a refusal or a failing
disk leaves what was in force. What is taken up stays in force after its `until`, and across restarts.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from kit.clock import Clock, ClockQuality
from protocols.documents import shown
from protocols.errors import InvalidInputError, PlatformError
from protocols.policy.envelope import Held, PolicyRefusedError, Resolve, judged

NAME_PREFIX: Final = "policy_"
"""A policy of a kind travels in the desired document of this name and the kind, as `{signed: bytes}`."""


class PolicyStore(Protocol):
    """Where policies survive a restart."""

    async def save_document(self, name: str, body: bytes) -> None:
        """Replace a document. Raises StoreFailedError."""
        ...


class PolicyRecords(Protocol):
    """The record log, as far as policies write to it."""

    async def desired(self, body: Mapping[str, Any]) -> None:
        """Append a `desired` record to lane A; returns once it is durable. Raises StoreFailedError."""
        ...


class _Kept(msgspec.Struct, frozen=True):
    version: int
    body: str


class SignedPolicies:
    """The policies in force, by kind.

    Args:
        ours: The property that this edge serves.
        kinds: By kind: reads a body, and raises a PlatformError if it is none.
        store: Where they survive.
        records: Where what was taken up or refused is reported.
        clock: Judges `until`, while it is sound.
    """

    def __init__(
        self,
        *,
        ours: str,
        kinds: Mapping[str, Callable[[str], object]],
        store: PolicyStore,
        records: PolicyRecords,
        clock: Clock,
    ) -> None:
        self._ours, self._kinds, self._store, self._records, self._clock = ours, kinds, store, records, clock
        self._resolve: Resolve = _nobody
        self._held: dict[str, Held] = {}
        self._read: dict[str, object] = {}
        self._taking = asyncio.Lock()

    def pin(self, resolve: Resolve) -> None:
        """Believe the keys that `resolve` knows; before this nothing is believed."""
        self._resolve = resolve

    def restore(self, documents: Mapping[str, bytes]) -> list[str]:
        """Take up again what was stored; return the kinds that this build cannot read."""
        unread = []
        for kind, read in self._kinds.items():
            stored = documents.get(NAME_PREFIX + kind)
            if stored is None:
                continue
            try:
                kept = msgspec.json.decode(stored, type=_Kept)
                self._held[kind] = Held(kept.version, kept.body)  # what was seen stays seen, readable or not
                self._read[kind] = read(kept.body)
            except (msgspec.MsgspecError, PlatformError):
                unread.append(kind)
        return unread

    def version(self, kind: str) -> int:
        """Return the version in force, 0 without one."""
        return self._held[kind].version if kind in self._held else 0

    def in_force(self, kind: str) -> object | None:
        """Return the policy in force as its kind reads it; None: there is none."""
        return self._read.get(kind)

    async def take(self, name: str, version: int, body: object) -> None:
        """Take up the policy in a desired document.

        Raises:
            PolicyRefusedError: says why; reported, and what was in force still is.
            InvalidInputError: the document carries no policy, or one of another name or version than it says.
            StoreFailedError: nothing happened.
        """
        kind = name.removeprefix(NAME_PREFIX)
        signed = body.get("signed") if isinstance(body, dict) and set(body) == {"signed"} else None
        if not isinstance(signed, bytes):
            raise InvalidInputError(f"desired document {shown(name)}", "want {signed: bytes}")
        async with self._taking:
            sound = self._clock.quality is not ClockQuality.UNCERTAIN
            try:
                policy = judged(
                    signed,
                    self._resolve,
                    ours=self._ours,
                    held=self._held,
                    kinds=self._kinds,
                    now_ms=self._clock.wall_ms() if sound else None,
                )
                if (policy.kind, policy.version) != (kind, version):
                    raise InvalidInputError(
                        f"desired document {name}",
                        f"version {version} carries policy {policy.kind} version {policy.version}",
                    )
            except PolicyRefusedError as error:
                refused = {"applied": False, "reason": error.refusal.value, "detail": str(error)[:300]}
                await self._records.desired({"name": name, "version": version, **refused})
                raise
            if self.version(kind) != version:
                await self._store.save_document(name, msgspec.json.encode(_Kept(version, policy.body)))
                self._held[kind] = Held(version, policy.body)
                self._read[kind] = self._kinds[kind](policy.body)
            await self._records.desired({"name": name, "version": version, "applied": True})


def kept_body(stored: bytes) -> str:
    """Return the body of a policy as `SignedPolicies` stored it. Raises InvalidInputError: it cannot be read."""
    try:
        return msgspec.json.decode(stored, type=_Kept).body
    except msgspec.MsgspecError as error:
        raise InvalidInputError("edge.db: signed policy", f"cannot be read: {error}") from error


def _nobody(_kid: bytes) -> None:
    return None
