"""A property's keys in memory: CA, issuers, locks, grants and bundles, for emulators that run without an edge.

For benchmarks, tests and trying things out. A hotel's keys are the doors process's business (edge/doors), which keeps
them sealed, rotates them and remembers what it issued; nothing here does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from protocols.door.bundle import Bundle, BundleDoor
from protocols.door.identity import LockIdentity, generate_lock_for
from protocols.door.phone import Carry
from protocols.grant.certificate import IssuerCertificate, certify
from protocols.grant.generation import day_of
from protocols.grant.grant import NO_FLAGS, Grant, GrantFlag, sign_grant
from protocols.grant.keys import IssuerClass, PropertyCa, Random, generate_property_ca, private_key
from protocols.grant.revocation import Body, sign_object

HOUR_S: Final = 3_600


@dataclass
class OneProperty:
    """Doors by name, and the right to open them.

    Args:
        random: Dice, n -> n bytes; fit for keys outside tests.
        at_s: Now, unix seconds: issuers sign from an hour earlier for a day.
    """

    random: Random
    at_s: int
    name: str = "one"
    locks: dict[str, LockIdentity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ca: PropertyCa = generate_property_ca(self.name, self.random)
        self._guest = private_key(self.random)
        self._revocation = private_key(self.random)
        begins_s = self.at_s - HOUR_S
        self.guest: IssuerCertificate = certify(self.ca, self._guest.public_key(), IssuerClass.GUEST, begins_s)
        self.revocation: IssuerCertificate = certify(
            self.ca, self._revocation.public_key(), IssuerClass.REVOCATION, begins_s
        )

    def lock(self, door: str, *, room: int = 0, zones: int = 0) -> LockIdentity:
        """Make the lock of a new door."""
        self.locks[door] = generate_lock_for(self.ca, self.random, room=room, zones=zones)
        return self.locks[door]

    def generation(self, count: int) -> int:
        """The `count`-th generation of today."""
        return day_of(self.at_s) << 8 | count

    def bundle(
        self,
        doors: Sequence[str],
        phone: str,
        *,
        generation: int = 1,
        stay: str = "stay-1",
        valid_s: tuple[int, int] = (-HOUR_S, 24 * HOUR_S),
        flags: GrantFlag = NO_FLAGS,
        uses_most: int | None = None,
        tell_of: Sequence[str] = (),
    ) -> Bundle:
        """Issue a grant for `doors` to the phone key `phone` (66 hex digits).

        Args:
            doors: Names of doors made by `lock`.
            phone: Compressed public key.
            generation: Of today, from 1.
            stay: Whose.
            valid_s: From and to, relative to `at_s`.
            flags: Of the grant.
            uses_most: Of a limited grant.
            tell_of: Further doors whose advert keys go into the bundle, with no right to open them.
        """
        locks = [self.locks[door] for door in doors]
        from_s, to_s = self.at_s + valid_s[0], self.at_s + valid_s[1]
        grant = Grant(
            grant_id=self.random(8),
            issued_at_s=self.at_s,
            not_before_s=from_s,
            not_after_s=to_s,
            phone=bytes.fromhex(phone),
            rooms=tuple(sorted(lock.room for lock in locks if lock.room)),
            zones=_mask([lock.zones for lock in locks]),
            generation=self.generation(generation),
            flags=flags,
            uses_most=uses_most,
        )
        return Bundle(
            stay=stay,
            grant=sign_grant(grant, self._guest),
            certificate=self.guest.encoded,
            not_before_ms=from_s * 1_000,
            not_after_ms=to_s * 1_000,
            doors=tuple(
                BundleDoor(door, door.replace("-", " "), self.locks[door].door_keys(from_s, to_s))
                for door in (*doors, *tell_of)
            ),
        )

    def carry(self, body: Body, at_s: int | None = None) -> Carry:
        """Sign what anybody may carry to a lock."""
        return Carry(sign_object(body, self._revocation, self.at_s if at_s is None else at_s), self.revocation.encoded)

    def lock_configs(self) -> list[dict[str, Any]]:
        """The `locks` of an emulator's configuration."""
        return [{"door": door, "identity": lock.to_document()} for door, lock in self.locks.items()]


def _mask(masks: Sequence[int]) -> int:
    together = 0
    for mask in masks:
        together |= mask
    return together
