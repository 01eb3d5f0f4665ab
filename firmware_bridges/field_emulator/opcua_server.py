"""An OPC UA server with plant devices: node ids, units and status codes, by asyncua.

Nodes hold the truth scaled as the descriptor says; a client's write becomes the truth if the device takes it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from asyncua import ua
from asyncua.common.callback import CallbackType
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

from firmware_bridges.field_emulator.misbehaviour import Misbehaviour
from firmware_bridges.field_emulator.physics import Chiller, EmulatedDevice
from kit.clock import Clock
from protocols.descriptors.codec import judge, raw_of_value
from protocols.descriptors.descriptor import Point
from protocols.device_model.identity import DeviceId
from protocols.opcua.node_map import node_of, root_of

NAMESPACE: Final = "urn:innkeeper:emulator:plant"
BAD_FOR_S: Final = 20.0
STOP_WAIT_S: Final = 5.0
BAD_STATUSES: Final = (
    StatusCodes.BadSensorFailure,
    StatusCodes.BadCommunicationError,
    StatusCodes.UncertainLastUsableValue,
)


@dataclass(frozen=True, slots=True)
class ServerSecurity:
    """What the server shows and asks for. `users`: name to password; nobody else is let in, nor is anybody nameless."""

    cert_path: Path
    key_path: Path
    policies: Sequence[ua.SecurityPolicyType] = (
        ua.SecurityPolicyType.Basic256Sha256_Sign,
        ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
        ua.SecurityPolicyType.Aes128Sha256RsaOaep_Sign,
        ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    )
    users: Mapping[str, str] = field(default_factory=dict)

    def get_user(
        self, _server: object, username: str | None = None, password: str | None = None, certificate: object = None
    ) -> User | None:
        """See asyncua's UserManager."""
        del certificate
        let_in = not self.users or (username is not None and self.users.get(username) == password)
        return User(role=UserRole.User) if let_in else None


class OpcUaServer:
    """The server of one plant bus.

    Args:
        things: device and its object's node id from the site plan, None for the descriptor's own.
        misbehaviour: shared with the other buses.
        clock: for the times of effects.
    """

    def __init__(
        self, things: Iterable[tuple[EmulatedDevice, str | None]], misbehaviour: Misbehaviour, clock: Clock
    ) -> None:
        self._things, self._misbehaviour, self._clock = list(things), misbehaviour, clock
        self._server: Server | None = None
        self._nodes: dict[str, tuple[EmulatedDevice, Point, Node]] = {}
        self._versions: dict[DeviceId, Node] = {}
        self._bad: dict[str, tuple[int, float]] = {}
        self.counts: Counter[str] = Counter()

    async def start(self, url: str, security: ServerSecurity | None = None) -> None:
        """Serve at `url`, in plain text if no security is given. Raises OSError."""
        server = Server(user_manager=security)  # type: ignore[arg-type]  # a Protocol to all but its annotation
        await server.init()
        server.set_endpoint(url)
        server.set_server_name("Innkeeper plant emulator")
        if security is None:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        else:
            server.set_security_policy(list(security.policies))
            await server.load_certificate(security.cert_path, "pem")
            await server.load_private_key(security.key_path, format="pem")
        await server.register_namespace(NAMESPACE)
        for thing, address in self._things:
            await self._add(server, thing, address)
        server.subscribe_server_callback(CallbackType.PostWrite, self._post_write)
        await server.start()
        self._server = server
        await self.publish()

    async def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_WAIT_S):
                    await self._server.stop()
            self._server = None

    def step(self, seconds: float) -> None:
        """Let time pass: nodes go bad and heal."""
        for name in list(self._bad):
            status, left = self._bad[name]
            self._bad[name] = (status, left - seconds)
            if left <= seconds:
                del self._bad[name]
        if self._nodes and self._misbehaviour.happens(self._misbehaviour.knobs.bad_status * min(1.0, seconds)):
            index = int(self._misbehaviour.between(0, len(self._nodes) - 0.001))
            status = BAD_STATUSES[int(self._misbehaviour.between(0, len(BAD_STATUSES) - 0.001))]
            self._bad[list(self._nodes)[index]] = (status, BAD_FOR_S)

    async def publish(self) -> None:
        """Write the truth into the nodes."""
        for name, (thing, point, node) in self._nodes.items():
            status = self._bad.get(name, (0, 0.0))[0]
            if isinstance(thing, Chiller):
                status = thing.bad_nodes.get((point.capability, point.attribute), status)
            if not thing.powered:
                status = StatusCodes.BadNoCommunication
            raw = raw_of_value(point, thing.state[(point.capability, point.attribute)])
            value = ua.Variant(raw, ua.VariantType[point.type])
            if self._server is not None:
                await self._server.write_attribute_value(
                    node.nodeid, ua.DataValue(Value=value, StatusCode=ua.StatusCode(ua.UInt32(status)))
                )

    async def _add(self, server: Server, thing: EmulatedDevice, address: str | None) -> None:
        root = root_of(thing.descriptor, address)
        parent = await server.nodes.objects.add_object(ua.NodeId.from_string(root), ua.QualifiedName(thing.device, 2))
        for point in thing.descriptor.points:
            name = node_of(point.node or "", root)
            raw = raw_of_value(point, thing.state[(point.capability, point.attribute)])
            short = name.rpartition(".")[2]
            node = await parent.add_variable(
                ua.NodeId.from_string(name), ua.QualifiedName(short, 2), raw, varianttype=ua.VariantType[point.type]
            )
            if point.write is not None:
                await node.set_writable()
            self._nodes[name] = (thing, point, node)
        if (firmware := thing.model.firmware) is not None and firmware.node is not None:
            name = node_of(firmware.node, root)
            self._versions[thing.device] = await parent.add_variable(
                ua.NodeId.from_string(name), ua.QualifiedName(name.rpartition(".")[2], 2), thing.firmware
            )
        for each in thing.descriptor.identify:
            name = node_of(each.node or "", root)
            await parent.add_variable(
                ua.NodeId.from_string(name), ua.QualifiedName(name.rpartition(".")[2], 2), each.equals[0]
            )

    async def _post_write(self, event: Any, _service: object) -> None:  # noqa: ANN401 - asyncua has no type for it
        if not event.is_external:
            return
        for wanted, result in zip(event.request_params.NodesToWrite, event.response_params, strict=True):
            found = self._nodes.get(wanted.NodeId.to_string())
            if found is None or not result.is_good():
                continue
            thing, point, _ = found
            value = judge(point, wanted.Value.Value.Value).value
            self.counts["writes"] += 1
            if value is not None:
                thing.written(point, value, at_ms=self._clock.wall_ms())
