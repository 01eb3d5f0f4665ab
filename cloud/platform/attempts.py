"""How often somebody may try to sign in: buckets that leak, so that no lock-out lasts.

Three buckets: one an address, one an account, one an account at an address. An address from which the account has
signed in before is held to the third alone: strangers who guess from elsewhere cannot keep the owner out. A refused
attempt adds nothing, so that trying on does not make it longer.
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cloud.kit.database import Connection, execute, fetch_one
from cloud.kit.times import at
from protocols.errors import PlatformError


@dataclass(frozen=True, slots=True)
class Bucket:
    """Holds `most` attempts and leaks one every `leak_s`."""

    most: int
    leak_s: float


ADDRESS: Final = Bucket(30, 10.0)
ACCOUNT: Final = Bucket(50, 20.0)
PAIR: Final = Bucket(8, 30.0)
ASKED: Final = Bucket(60, 2.0)
"""What a stranger may make us write down: challenges, and trips to a company's provider."""
KNOWN_FOR: Final = timedelta(days=90)
FORGET_AFTER: Final = timedelta(days=1)  # longer than any bucket takes to run dry


class TooManyAttemptsError(PlatformError):
    """Come again in `retry_after_s`."""

    retryable = True

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many attempts; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


async def count_attempt(connection: Connection, *, email: str, address: str, known: bool, now_ms: int) -> int:
    """Count an attempt; return 0 if it may be made, else after how many seconds one may. Commit it either way.

    Args:
        connection: of a transaction that is committed whatever the answer.
        email: of the account that is tried, whether there is one or not: an answer must not tell.
        address: where the attempt comes from.
        known: the account has signed in from there before.
        now_ms: unix milliseconds.
    """
    buckets = {_key("pair", email, address): PAIR}
    if not known:
        buckets |= {_key("address", address): ADDRESS, _key("account", email): ACCOUNT}
    await execute(connection, "DELETE FROM platform.attempt_bucket WHERE at < %s", [at(now_ms) - FORGET_AFTER])
    waits = [await _pour(connection, key, bucket, now_ms) for key, bucket in sorted(buckets.items(), key=_by_key)]
    return math.ceil(max(waits))


async def count_asked(connection: Connection, *, address: str, now_ms: int) -> int:
    """Count what a stranger asks that is no attempt yet; return 0 if it may be, else after how many seconds."""
    return math.ceil(await _pour(connection, _key("asked", address), ASKED, now_ms))


async def forgive(connection: Connection, *, email: str, address: str) -> None:
    """Empty the bucket of an account at an address: it was the owner."""
    await execute(connection, "DELETE FROM platform.attempt_bucket WHERE key = %s", [_key("pair", email, address)])


async def _pour(connection: Connection, key: bytes, bucket: Bucket, now_ms: int) -> float:
    """Add an attempt to a bucket; return 0 if it fits, else how long until one does."""
    row = await fetch_one(
        connection,
        """
        INSERT INTO platform.attempt_bucket AS b (key, level, at, refused) VALUES (%(key)s, 1, %(now)s, false)
        ON CONFLICT (key) DO UPDATE SET
            (level, refused, at) = (
                SELECT CASE WHEN left_over + 1 > %(most)s THEN left_over ELSE left_over + 1 END,
                       left_over + 1 > %(most)s, greatest(b.at, %(now)s)
                  FROM (SELECT greatest(0, b.level - greatest(0, extract(epoch FROM %(now)s - b.at)) / %(leak)s)
                               AS left_over) AS leaked)
        RETURNING level, refused
        """,
        {"key": key, "now": at(now_ms), "most": bucket.most, "leak": bucket.leak_s},
    )
    if row is None or not row["refused"]:
        return 0.0
    return max(0.001, (float(row["level"]) + 1 - bucket.most) * bucket.leak_s)


def _key(*words: str) -> bytes:
    return hashlib.sha256("\x00".join(words).encode("utf-8", "surrogatepass")).digest()


def _by_key(item: tuple[bytes, Bucket]) -> bytes:
    return item[0]
