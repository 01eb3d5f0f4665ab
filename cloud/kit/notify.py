"""What changed, told to whoever listens in this process: LISTEN/NOTIFY fanned out with bounded coalescing.

A notification is a hint without content. A subscriber that is slow finds the union of all hints since it
last looked, never a queue: memory is bounded by the number of distinct kinds, and beyond KINDS_MOST the
hint degrades to "anything may have changed". Losing the listening connection marks everything as changed.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import psycopg

from cloud.kit.after_commit import NotingConnection
from protocols.errors import LinkLostError

LIVE_CHANNEL: Final = "innkeeper_live"
KINDS_MOST: Final = 64
ANYTHING: Final = "*"


class LiveHint(msgspec.Struct, frozen=True):
    """Payload of LIVE_CHANNEL: in this property, records of these kinds arrived; ANYTHING: too many to name.

    `devices`: whose newest values changed; None: too many to name, or nobody said.
    """

    property: str
    kinds: list[str]
    devices: list[str] | None = None


def values_of(property_id: str) -> str:
    """Return the subject of a property's newest values: hints are the ids of devices."""
    return f"values/{property_id}"


def anywhere(kind: str) -> str:
    """Return the subject of a kind of records in whichever property: hints are the ids of properties."""
    return f"anywhere/{kind}"


class Subscription:
    """One listener's coalesced hints."""

    def __init__(self) -> None:
        self._kinds: set[str] = {ANYTHING}
        self._woken = asyncio.Event()
        self._woken.set()

    def mark(self, kinds: Iterable[str]) -> None:
        """Add hints; more than KINDS_MOST distinct ones become ANYTHING."""
        self._kinds.update(kinds)
        if len(self._kinds) > KINDS_MOST:
            self._kinds = {ANYTHING}
        self._woken.set()

    async def wait(self, most_s: float) -> frozenset[str]:
        """Return the kinds marked since the last call, at once if there are any; empty after `most_s`."""
        try:
            async with asyncio.timeout(most_s):
                await self._woken.wait()
        except TimeoutError:
            return frozenset()
        kinds, self._kinds = frozenset(self._kinds), set()
        self._woken.clear()
        return kinds


class NotificationHub:
    """One LISTEN connection for the process; subscriptions by subject.

    A subject is a property's id, `values_of` one, `anywhere` of a kind, or a channel.
    """

    def __init__(self, dsn: str, *, channels: tuple[str, ...] = ()) -> None:
        """Listen on LIVE_CHANNEL and on `channels`, whose name is the subject of their subscriptions."""
        self._dsn = dsn
        self._channels = channels
        self._subscriptions: dict[str, set[Subscription]] = {}

    @contextmanager
    def subscribe(self, subject: str) -> Iterator[Subscription]:
        """Hear of `subject` while the block runs. The first wait returns at once: look before you wait."""
        subscription = Subscription()
        self._subscriptions.setdefault(subject, set()).add(subscription)
        try:
            yield subscription
        finally:
            listeners = self._subscriptions[subject]
            listeners.discard(subscription)
            if not listeners:
                del self._subscriptions[subject]

    def mark(self, subject: str, kinds: Iterable[str]) -> None:
        """Hint to every subscriber of `subject` in this process."""
        told = tuple(kinds)
        for subscription in self._subscriptions.get(subject, ()):
            subscription.mark(told)

    def mark_all(self) -> None:
        """Hint to everybody that anything may have changed."""
        for subject in tuple(self._subscriptions):
            self.mark(subject, (ANYTHING,))

    async def run(self) -> None:
        """Listen until cancelled; LinkLostError when the connection breaks (supervision restarts us)."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
            async with connection:
                for channel in (LIVE_CHANNEL, *self._channels):
                    await connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
                self.mark_all()  # what was said while nobody listened
                async for notification in connection.notifies():
                    self._hear(notification.channel, notification.payload)
        except psycopg.OperationalError as error:
            raise LinkLostError("the listening connection broke") from error
        raise LinkLostError("the listening connection ended")

    def _hear(self, channel: str, payload: str) -> None:
        if channel != LIVE_CHANNEL:
            self.mark(channel, (channel,))
            return
        try:
            hint = msgspec.json.decode(payload, type=LiveHint)
        except msgspec.MsgspecError:
            self.mark_all()  # a hint we cannot read still means that something changed
            return
        self.mark(hint.property, hint.kinds)
        if hint.devices != []:
            self.mark(values_of(hint.property), hint.devices or (ANYTHING,))
        for kind in hint.kinds:
            self.mark(anywhere(kind), (hint.property,))
        if ANYTHING in hint.kinds:
            for subject in [each for each in self._subscriptions if each.startswith(anywhere(""))]:
                self.mark(subject, (hint.property,))


async def notify(connection: psycopg.AsyncConnection[object], channel: str, payload: str = "") -> None:
    """Have something notified once the connection's transaction is committed, and never if it is not.

    A transaction of `cloud.kit.database` only notes it here: it leaves after the commit (`cloud.kit.after_commit`).
    """
    if isinstance(connection, NotingConnection):
        connection.noted[(channel, payload)] = None
        return
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT pg_notify(%s, %s)", [channel, payload])


async def notify_live(connection: psycopg.AsyncConnection[object], property_id: str, kinds: Iterable[str]) -> None:
    """Hint, after the commit, that records of `kinds` changed in a property, and no newest value."""
    hint = LiveHint(property=property_id, kinds=sorted(set(kinds))[:KINDS_MOST], devices=[])
    await notify(connection, LIVE_CHANNEL, msgspec.json.encode(hint).decode())
