"""A worker's share of the shards over time: renew, offer, claim, give up. The rule is `leases`, this is its rhythm.

A shard is listened to before it is claimed and until after it was lost, so that a shard that changes hands is heard
by somebody at every moment; who may store what was heard, the fence decides. A worker that could not renew for the
length of a lease, by its own monotonic clock, stops by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Final

from cloud.telemetry.fan_in.leases import ALL_SHARDS, LeaseStore, Worker, plan
from kit.clock import Clock
from kit.logs import logger
from protocols.errors import StoreFailedError

TICK: Final = timedelta(seconds=1)
HAND_OVER: Final = timedelta(seconds=5)
"""How long a worker that stops keeps serving until others have claimed its shards."""

Listen = Callable[[frozenset[int]], Awaitable[None]]
"""Hear exactly these shards from now on."""


class ShardKeeper:
    """Holds the shards of one life of one worker.

    Args:
        lease: how long the store lets a lease stand without renewal; as the store was made with.
        tick: how often to renew and to look.
    """

    def __init__(
        self, store: LeaseStore, me: Worker, *, clock: Clock, lease: timedelta, tick: timedelta = TICK
    ) -> None:
        if lease < 3 * tick:
            raise ValueError(f"a lease of {lease} does not outlive two missed ticks of {tick}")
        self.me = me
        self._store, self._clock = store, clock
        self._lease_ms, self._tick_s = lease // timedelta(milliseconds=1), tick.total_seconds()
        self._tokens: dict[int, int] = {}
        self._offered: frozenset[int] = frozenset()
        self._renewed_ms = clock.now_ms()
        self._staying, self._alone = True, False
        self._news = asyncio.Event()
        self._stands = asyncio.Event()
        self._log = logger("cloud.telemetry.fan_in")

    @property
    def tokens(self) -> dict[int, int]:
        """Tokens of the shards that this worker serves now; empty once the lease has run out unrenewed."""
        if self._clock.now_ms() - self._renewed_ms >= self._lease_ms:
            return {}
        return self._tokens

    def lost(self, shards: Iterable[int]) -> None:
        """The fence said that another serves these: forget them now, listen to them until the next tick."""
        for shard in shards:
            self._tokens.pop(shard, None)
        self._news.set()

    async def wait_standing(self) -> None:
        """Return once `run` has claimed for the first time."""
        await self._stands.wait()

    async def run(self, listen: Listen) -> None:
        """Tick until cancelled. What `listen` raises ends this."""
        heard = frozenset(ALL_SHARDS)
        while True:
            heard = await self._tick(listen, heard)
            self._news.clear()
            try:
                async with asyncio.timeout(self._tick_s):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def hand_over(self, *, most: timedelta = HAND_OVER) -> None:
        """Offer everything and return when others have claimed it, nobody is there to, or `most` has passed."""
        self._staying = False
        self._news.set()
        try:
            async with asyncio.timeout(most.total_seconds()):
                while self._tokens and not self._alone:  # noqa: ASYNC110 - others claim, in their processes
                    await asyncio.sleep(min(0.05, self._tick_s))
        except TimeoutError:
            self._log.info("shards_not_handed_over", shards=len(self._tokens))

    async def leave(self) -> None:
        """Give up what is left, so that nobody waits for the lease to run out; the store may be away."""
        held, self._tokens = self._tokens, {}
        self._stands.clear()
        try:
            await self._store.leave(self.me, held)
        except StoreFailedError as error:
            self._log.info("leases_not_given_up", error=str(error))  # they expire

    async def _tick(self, listen: Listen, heard: frozenset[int]) -> frozenset[int]:
        asked_ms = self._clock.now_ms()  # a lease is counted from before the store was asked: ours ends first
        try:
            offered = self._offered if self._staying else self._tokens.keys()
            standing = await self._store.stand(self.me, self._tokens, offered=offered, staying=self._staying)
            mine = {each.shard: each.token for each in standing.leases if each.owner == self.me.id and not each.free}
            if gone := self._tokens.keys() - mine.keys():
                self._log.info("shards_lost", shards=sorted(gone))
            self._tokens, self._renewed_ms = mine, asked_ms
            self._alone = not standing.staying - {self.me.id}
            decided = plan(standing, self.me, staying=self._staying)
            self._offered = decided.offer
            if decided.claim:
                heard |= frozenset(decided.claim)
                await listen(heard)
                taken = await self._store.claim(self.me, decided.claim)
                self._tokens = {**self._tokens, **taken}
                if taken:
                    self._log.info("shards_taken", shards=sorted(taken), held=len(self._tokens))
        except StoreFailedError as error:
            self._log.warning("leases_not_renewed", error=str(error))
            return heard
        self._stands.set()
        if heard != (held := frozenset(self._tokens)):
            await listen(held)
        return held
