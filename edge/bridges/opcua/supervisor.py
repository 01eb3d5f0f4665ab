"""Drives one OPC UA server: subscribes to every node, reads all of them now and then, writes and reads back.

One node with a bad status is one bad reading: the subscription of the others goes on. After a loss everything is made
anew: session, subscription, monitored items. Knows no device: what a node means is the descriptor's.
"""

import asyncio
import struct
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.subscription import DataChangeEvent, StatusChangeEvent, Subscription
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaError

from edge.bridges.firmware import Running
from edge.bridges.opcua.bounds import bound
from edge.bridges.opcua.security import OpcUaSecurity, ServerNotTrustedError, now_of
from edge.bridges.ports import DeviceEvent, ReadingSink
from edge.bridges.supervision import SupervisedBus
from edge.bridges.write_desk import Job
from kit.cancellation import heed_cancellation
from kit.clock import Clock
from kit.dice import Dice
from kit.supervision import Backoff
from protocols.descriptors.codec import NodeWrite, Reason, bad, encode, reading, same
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.firmware import every
from protocols.descriptors.wires import OpcUaWire
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.site_plan import OpcUaBus
from protocols.errors import InvalidInputError, PeerProtocolError
from protocols.opcua.node_map import NODES_A_READ_MAX, MappedNode, judge_node, map_nodes, node_of, root_of

RECONNECT: Final = Backoff(first_ms=500, most_ms=30_000)
DOWN_MS: Final = 5_000
CLOSE_WAIT_S: Final = 2.0
EVENTS_MAX: Final = 2_000
READ_BACK_TRIES: Final = 4
READ_BACK_PAUSE_MS: Final = 150
IDLE_MS: Final = 60_000
_GARBLED: Final = (
    *(struct.error, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError),
    *(RecursionError, NotImplementedError),
)
"""What asyncua lets out when a server's bytes do not decode (measured: bytes flipped on the way)."""
_NO_SUCH_NODE: Final = frozenset({0x80340000, 0x80330000})
"""BadNodeIdUnknown and BadNodeIdInvalid (OPC 10000-6, A.2): it has not the node that its firmware would have."""
_LOST: Final = (UaError, OSError, TimeoutError, EOFError, PeerProtocolError)
"""How a server or a connection is not there; OSError covers ConnectionError."""

T = TypeVar("T")


class OpcUaSupervisor(SupervisedBus):
    """`edge.bridges.ports.BusSupervisor` for an OPC UA server.

    Args:
        bus: where the server is.
        devices: device, its object's node id (None: the descriptor's own) and descriptor.
        clock: both clocks.
        dice: for pauses.
        sink: where readings and events go.
        security: how the server is spoken to, and which one it is.

    Raises:
        InvalidInputError: two points claim one node.
    """

    def __init__(
        self,
        bus: OpcUaBus,
        devices: Sequence[tuple[DeviceId, str | None, Descriptor]],
        *,
        clock: Clock,
        dice: Dice,
        sink: ReadingSink,
        security: OpcUaSecurity,
    ) -> None:
        super().__init__(bus.id, clock=clock, dice=dice, sink=sink)
        self._bus, self._security = bus, security
        self._cause = "server"
        self._devices = {device: (address, Running(descriptor)) for device, address, descriptor in devices}
        for device, address, descriptor in devices:
            for _, each in every(descriptor):  # a firmware that it may get must map too: better said at the start
                map_nodes([(device, each, address)])
        self._map()
        models = [running.model for _, running in self._devices.values()]
        wires = [each.wire for each in models if isinstance(each.wire, OpcUaWire)]
        self._publishing_ms = min((wire.publishing_ms for wire in wires), default=500)
        self._wait_ms = max((wire.answer_wait_ms for wire in wires), default=4_000)
        self._every_ms = round(min((each.point.every_s for each in self._nodes.values()), default=30.0) * 1000)
        self._client: Client | None = None
        self._connected = asyncio.Event()
        self._online: dict[DeviceId, bool | None] = dict.fromkeys(self._devices)
        self._strangers: set[DeviceId] = set()
        self._told_strangers: set[DeviceId] = set()

    def _map(self) -> None:
        """Map the nodes that the devices have under the firmwares that they run."""
        self._nodes = map_nodes(
            (device, running.descriptor, address) for device, (address, running) in self._devices.items()
        )
        self._node_of = {
            (each.device, each.point.capability, each.point.attribute): each for each in self._nodes.values()
        }

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        now_ms = self._clock.now_ms()
        for device, (_, running) in self._devices.items():
            self._expect(device, running, _stale_ms, now_ms=now_ms)
        await self._attend(session=self._keep_connected(), stale=self._sweep())

    # --- the session ----------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            client = Client(self._bus.url, timeout=self._wait_ms / 1000)
            self._bound(client)
            try:
                await self._secure(client)
                await _asked(client.connect())
                self._counts["connections"] += 1
                failures, self._cause = 0, "server"
                await self._while_connected(client)
            except ServerNotTrustedError as error:
                self._cause = error.word
                self._complaints.refused(error.word, self._bus.url, error)
            except InvalidInputError as error:  # a file that was there at the start: whoever renews it is at it
                self._cause = "certificate_files"
                self._complaints.refused("certificate_files", error.place, error.problem)
            except PeerProtocolError as error:
                self._complaints.refused("garbled_answers", self._bus.url, error)
            except _LOST:
                self._counts["connections_lost"] += 1
            finally:
                self._client = None
                self._connected.clear()
                self._note_down()
                await self._hang_up(client)
            heed_cancellation()  # asyncua waits for tasks that it cancels, and takes our own cancellation for theirs
            failures += 1
            await asyncio.sleep(RECONNECT.pause_ms(failures, self._dice) / 1000)

    async def _secure(self, client: Client) -> None:
        for warning in self._security.warnings(now_of(self._clock.wall_ms())):
            self._complaints.refused("certificate_warnings", self._bus.url, warning)
        await _asked(self._security.secure(client, self._bus.url, wait_s=self._wait_ms / 1000, bounded=self._bound))

    def _bound(self, client: Client) -> None:
        bound(client, self._clock, lambda problem: self._complaints.refused("too_much", self._bus.url, problem))

    async def _hang_up(self, client: Client) -> None:
        """Leave politely, for so long as that takes no longer than `CLOSE_WAIT_S`.

        In a task of its own: asyncua takes a cancellation for that of tasks that it waits for, and would wait on.
        """
        leaving = asyncio.create_task(_asked(client.disconnect()), name=f"{self._name}: leaving")
        try:
            await asyncio.wait({leaving}, timeout=CLOSE_WAIT_S)
        finally:
            if not leaving.done():
                self._counts["leavings_unfinished"] += 1
                leaving.cancel()
                client.disconnect_socket()
            elif not leaving.cancelled() and isinstance(leaving.exception(), _LOST):
                client.disconnect_socket()

    async def _while_connected(self, client: Client) -> None:
        for device in self._devices:
            await self._identify(client, device)
        await self._read_versions(client)
        await self._read_all(client)
        self._client, self._down_since_ms = client, None
        self._connected.set()
        subscription = await _asked(client.create_subscription(self._publishing_ms, queue_maxsize=EVENTS_MAX))
        async with subscription:
            await self._watch(client, subscription)
            next_read_ms = self._clock.now_ms() + self._every_ms
            while True:
                heed_cancellation()  # a change that came in the very moment of the end hides it (asyncio.wait_for)
                wait_ms = next_read_ms - self._clock.now_ms()
                if wait_ms <= 0:
                    # Also the proof that the server is still there: a dead one sends no changes either.
                    for device in sorted(self._strangers):
                        await self._identify(client, device)  # a gateway is there before what stands behind it
                    if await self._read_versions(client):
                        return  # other nodes, or the same ones meaning something else: everything is made anew
                    await self._read_all(client)
                    next_read_ms = self._clock.now_ms() + self._every_ms
                    continue
                event = await _asked(subscription.next_event(wait_ms / 1000))
                if isinstance(event, DataChangeEvent):
                    self._changed(event)
                elif isinstance(event, StatusChangeEvent):
                    self._counts["subscriptions_lost"] += 1
                    return

    async def _watch(self, client: Client, subscription: Subscription) -> None:
        """Monitor every node; one that the server refuses is read now and then, and nothing else is lost by it."""
        mapped = list(self._nodes.values())
        nodes = [client.get_node(each.node) for each in mapped]
        results = _as_many(await _asked(subscription.subscribe_data_change(nodes)), len(nodes))
        for each, result in zip(mapped, results, strict=True):
            if isinstance(result, ua.StatusCode):
                self._counts["nodes_refused"] += 1
                self._take(each, None, int(result.value))

    async def _identify(self, client: Client, device: DeviceId) -> None:
        address, running = self._devices[device]
        descriptor = running.model
        root = root_of(descriptor, address)
        self._strangers.discard(device)
        for each in descriptor.identify:
            [found] = await _read(client, [node_of(each.node or "", root)])
            value, status = _value(found), _status(found)
            if value not in each.equals:
                self._strangers.add(device)
                # who does not say who it is now is not known to be another, and nothing of it is believed yet
                mute = value is None and status not in _NO_SUCH_NODE
                if not mute and device not in self._told_strangers:
                    self._told_strangers.add(device)
                    self._event(
                        device,
                        DeviceEvent.UNKNOWN_DEVICE,
                        {
                            "node": node_of(each.node or "", root),
                            "expected": descriptor.id,
                            "value": value,
                            "status": f"0x{status:08x}",
                        },
                    )
                verdict = bad(Reason.BAD_STATUS, f"0x{status:08x}") if mute else bad(Reason.NOT_THIS_MODEL)
                for point in descriptor.points:
                    self._reporter.take(reading(point, device, verdict), now_ms=self._clock.now_ms())
                return
        self._told_strangers.discard(device)

    async def _read_versions(self, client: Client) -> bool:
        """Read which firmware the devices run, where they tell; True if one runs another than was known."""
        changed = False
        for device, (address, running) in self._devices.items():
            firmware = running.model.firmware
            if firmware is None or firmware.node is None or device in self._strangers:
                continue
            [found] = await _read(client, [node_of(firmware.node, root_of(running.model, address))])
            status = _status(found)
            if status >> 30 and status not in _NO_SUCH_NODE:
                continue  # it may tell another time
            text = _value(found) if not status >> 30 else None
            if self._said_firmware(device, running, text, _stale_ms) or self._told_none(device, running, text):
                changed = True
        if changed:
            self._map()
        return changed

    async def _read_all(self, client: Client) -> None:
        mapped = list(self._nodes.values())
        for start in range(0, len(mapped), NODES_A_READ_MAX):
            part = mapped[start : start + NODES_A_READ_MAX]
            self._counts["requests"] += 1
            found = await _read(client, [each.node for each in part])
            for each, value in zip(part, found, strict=True):
                self._take(each, _value(value), _status(value))

    def _changed(self, event: DataChangeEvent) -> None:
        mapped = self._nodes.get(event.node.nodeid.to_string())
        if mapped is None:
            self._counts["unexpected_nodes"] += 1
            return
        self._counts["changes"] += 1
        value = event.data.monitored_item.Value
        self._take(mapped, _value(value), _status(value))

    def _take(self, mapped: MappedNode, value: object, status: int) -> None:
        device = mapped.device
        if device in self._strangers:
            return
        if self._online[device] is not True:
            self._online[device] = True
            self._event(device, DeviceEvent.ONLINE, {})
        judged = judge_node(mapped.point, value, status)
        self._reporter.take(reading(mapped.point, device, judged), now_ms=self._clock.now_ms())

    async def _sweep(self) -> None:
        while True:
            now_ms = self._clock.now_ms()
            self._reporter.sweep(now_ms=now_ms)
            self._sweep_firmwares(lambda device: self._online[device] is True, now_ms=now_ms)
            if self._down_since_ms is not None and now_ms - self._down_since_ms >= DOWN_MS:
                for device, online in self._online.items():
                    if online is not False:
                        self._online[device] = False
                        self._event(device, DeviceEvent.OFFLINE, {"cause": self._cause, "url": self._bus.url})
                        self._reporter.silent(device, now_ms=now_ms)
            wait_ms = min(self._reporter.sweep_in_ms(now_ms=now_ms) or IDLE_MS, DOWN_MS // 5)
            await asyncio.sleep(max(50, wait_ms) / 1000)

    # --- writes ---------------------------------------------------------------------------------------------

    def _point(self, device: DeviceId, capability: Capability, attribute: str) -> Point | None:
        mapped = self._node_of.get((device, capability, attribute))
        return None if mapped is None else mapped.point

    async def _perform(self, job: Job) -> Outcome:
        left_ms = min(job.command.deadline_ms - self._clock.wall_ms(), DOWN_MS)
        try:
            async with asyncio.timeout(max(1, left_ms) / 1000):
                await self._connected.wait()
        except TimeoutError:
            if not self._desk.expired(job.command):
                return Outcome(Phase.FAILED, None, f"server {self._bus.id} cannot be reached")
        if self._desk.expired(job.command):
            return Outcome(Phase.EXPIRED, None, "its deadline passed before the server could be reached")
        client = self._client
        if client is None:
            return Outcome(Phase.FAILED, None, f"server {self._bus.id} cannot be reached")
        mapped = self._node_of.get((job.command.device, job.command.capability, job.command.attribute))
        if mapped is None or mapped.point != job.point:
            return Outcome(Phase.FAILED, None, "it runs another firmware now, which takes that in another way")
        if job.command.device in self._strangers:
            return Outcome(Phase.FAILED, None, f"what stands at {mapped.node} has not shown that it is its model")
        write = encode(job.point, job.value)
        if not isinstance(write, NodeWrite):
            raise TypeError(f"{job.point.attribute} is on no node")
        # Value alone: many servers refuse a write that brings its own status or time.
        variant = ua.Variant(write.value, ua.VariantType[write.type])
        self._desk.sending(job)
        self._counts["writes"] += 1
        reason: str | None = None
        try:
            node = ua.NodeId.from_string(mapped.node)
            written = client.uaclient.write_attributes([node], [ua.DataValue(variant)], AttributeIds.Value)
            [status] = _as_many(await _asked(written), 1)
            if not status.is_good():
                return Outcome(Phase.FAILED, None, f"the server refused: {status.name}")
        except _LOST as error:
            reason = f"no answer to the write: {type(error).__name__}"
        return await self._verify(job, mapped, reason)

    async def _verify(self, job: Job, mapped: MappedNode, reason: str | None) -> Outcome:
        found: Value | None = None
        for attempt in range(READ_BACK_TRIES):
            if attempt:
                await asyncio.sleep(READ_BACK_PAUSE_MS / 1000)
            found = await self._read_point(mapped)
            if same(job.point, job.value, found):
                return Outcome(Phase.DONE, found, None)
        if found is None:
            return Outcome(Phase.UNKNOWN, None, reason or "written, and not read back")
        if reason is not None:
            return Outcome(Phase.UNKNOWN, found, reason)
        return Outcome(Phase.FAILED, found, f"the device took it and holds {found!r}")

    async def _read_point(self, mapped: MappedNode) -> Value | None:
        client = self._client
        if client is None:
            return None
        try:
            [found] = await _read(client, [mapped.node])
        except _LOST:
            return None
        self._take(mapped, _value(found), _status(found))
        return judge_node(mapped.point, _value(found), _status(found)).value


def _stale_ms(point: Point) -> int:
    return round(2 * point.every_s * 1000)


async def _asked(call: Awaitable[T]) -> T:
    """Await a call of asyncua's. Raises PeerProtocolError for an answer that does not decode, and `_LOST`."""
    try:
        return await call
    except _GARBLED as error:
        raise PeerProtocolError(f"the server's bytes do not decode: {type(error).__name__}: {error!s:.100}") from error


async def _read(client: Client, nodes: Sequence[str]) -> Sequence[ua.DataValue | None]:
    """Return the values of nodes, as many as were asked for. Raises as `_asked`."""
    found = await _asked(client.read_attributes([client.get_node(each) for each in nodes]))
    return _as_many(found, len(nodes))


def _as_many(found: Sequence[T], wanted: int) -> Sequence[T]:
    if len(found) != wanted:
        raise PeerProtocolError(f"the server answered {len(found)} of {wanted}")
    return found


def _value(found: ua.DataValue | None) -> object:
    return None if found is None or found.Value is None else found.Value.Value


def _status(found: ua.DataValue | None) -> int:
    return 0 if found is None or found.StatusCode is None else int(found.StatusCode.value)
