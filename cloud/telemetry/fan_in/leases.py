"""Who serves which shard: the rule by which workers share the 64 shards, and the port behind which leases are kept.

Pure. A lease is (shard, owner, token, expiry). Its **token** counts up with every change of owner and is the fence: a
transaction that stores a shard's batches proves, locked, right before it commits that its token is still the newest,
so a worker that was paused while another took over commits nothing. Expiry is judged by one clock alone, the store's.

A shard changes hands in three ways: its lease was given up or expired; its owner *offers* it, because it holds more
than its share or is about to stop, and another claims it while the owner still serves it (no moment without a
listener); or its owner came back under the same name (a restarted worker takes its own shards at once).
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from protocols.link.topics import SHARDS

ALL_SHARDS: Final = range(SHARDS)


@dataclass(frozen=True, slots=True)
class Worker:
    """One life of a worker: `name` may come back after a restart, `life` is new each time."""

    name: str
    life: str

    @property
    def id(self) -> str:
        """What stands as the owner of a lease."""
        return f"{self.name}/{self.life}"


@dataclass(frozen=True, slots=True)
class Lease:
    """One shard as the store has it. `free`: without an owner, or its owner's time has run out."""

    shard: int
    owner: str | None
    token: int
    free: bool
    offered: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What a worker learns at each tick: every lease, and which workers are alive and mean to stay."""

    leases: Sequence[Lease]
    staying: frozenset[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next: offer these of mine (no others), claim these."""

    offer: frozenset[int]
    claim: tuple[int, ...]


Held = Mapping[int, int]
"""Tokens by shard."""


class LeaseStore(Protocol):
    """Where leases are kept; each call is one transaction, or StoreFailedError when the store does not answer."""

    async def stand(self, me: Worker, held: Held, *, offered: Collection[int], staying: bool) -> Standing:
        """Say that `me` lives, renew what it still holds, mark what it offers; return how things stand."""
        ...

    async def claim(self, me: Worker, shards: Sequence[int]) -> dict[int, int]:
        """Take those of `shards` that are free, offered or held by an earlier life of `me`; return their tokens."""
        ...

    async def leave(self, me: Worker, held: Held) -> None:
        """Give everything up and be forgotten."""
        ...


def share_of(workers: int) -> int:
    """Return how many shards one of `workers` serves at most."""
    return -(-SHARDS // max(1, workers))


def plan(standing: Standing, me: Worker, *, staying: bool) -> Plan:
    """Decide what `me` offers and claims.

    Holding at most the share, rounded up, everybody has enough and nothing moves without need: with the workers
    unchanged, repeated plans come to rest.
    """
    mine = sorted(each.shard for each in standing.leases if each.owner == me.id and not each.free)
    if not staying:
        return Plan(frozenset(mine), ())
    share = share_of(len(standing.staying | {me.id}))
    # what is already offered stays the choice, so that a claim under way is not undone
    surplus = len(mine) - share
    offered = {each.shard for each in standing.leases if each.offered}
    order = sorted(mine, key=lambda shard: (shard not in offered, shard))
    former = f"{me.name}/"
    own = [each.shard for each in standing.leases if _is_former(each, me, former)]
    free = [each.shard for each in standing.leases if each.free and each.shard not in own]
    others = [each.shard for each in standing.leases if each.offered and not each.free and each.owner != me.id]
    wanted = [*_from_my_corner(own, me), *_from_my_corner(free, me), *_from_my_corner(others, me)]
    return Plan(frozenset(order[: max(0, surplus)]), tuple(wanted[: max(0, -surplus)]))


def _is_former(lease: Lease, me: Worker, former: str) -> bool:
    return lease.owner is not None and lease.owner != me.id and lease.owner.startswith(former)


def _from_my_corner(shards: Sequence[int], me: Worker) -> list[int]:
    """Begin where no other worker begins: claims collide less."""
    start = zlib.crc32(me.id.encode()) % SHARDS
    return sorted(shards, key=lambda shard: (shard - start) % SHARDS)
