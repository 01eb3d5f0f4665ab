"""Who answers at an OPC UA address: endpoints, what it says of itself, identification nodes of what we know.

Source of truth: SPEC.md; OPC UA part 4, 5.4 (discovery). Pure: asks through the functions that it is given; reads only.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from protocols.descriptors.descriptor import Descriptor
from protocols.descriptors.wires import OpcUaWire
from protocols.device_model.probe import Candidate, Found, by_name, likeliest, plain
from protocols.errors import InvalidInputError
from protocols.opcua.node_map import node_of

ENDPOINTS_MAX: Final = 32
NODES_MAX: Final = 200
MANUFACTURER, PRODUCT, VERSION = "i=2263", "i=2261", "i=2264"
"""Nodes of Server.ServerStatus.BuildInfo, OPC UA part 5."""

Read = Callable[[Sequence[str]], Awaitable[Sequence[object]]]
"""Reads nodes by id: one value each, None for one that is not there or not readable."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to a server. `policy` is the last part of its URI, `mode` none, sign or sign_and_encrypt."""

    policy: str
    mode: str
    users: tuple[str, ...]
    certificate_sha256: str


@dataclass(frozen=True, slots=True)
class Description:
    """What a server tells anybody who asks, without a session."""

    application_name: str
    application_uri: str
    product_uri: str
    endpoints: tuple[Endpoint, ...]


async def probe_server(description: Description, read: Read | None, descriptors: Iterable[Descriptor]) -> Found:
    """Say who a server is. Never raises for what it answers.

    Args:
        description: its own, from the discovery service.
        read: a session to read with; None where we are not let in.
        descriptors: what we know.

    Returns:
        Evidence: `name`, `application_uri`, `product_uri`, `security` (policy:mode, all of them), `users`,
        `certificate_sha256`, and of BuildInfo `vendor`, `model`, `firmware`; candidates by node or by name.
    """
    endpoints = description.endpoints[:ENDPOINTS_MAX]
    evidence: dict[str, str | int | float | bool | None] = {
        "name": plain(description.application_name),
        "application_uri": plain(description.application_uri),
        "product_uri": plain(description.product_uri),
        "security": " ".join(dict.fromkeys(f"{plain(each.policy)}:{each.mode}" for each in endpoints)),
        "users": " ".join(dict.fromkeys(user for each in endpoints for user in each.users)),
        "certificate_sha256": next((each.certificate_sha256 for each in endpoints if each.certificate_sha256), ""),
    }
    known = [each for each in descriptors if isinstance(each.wire, OpcUaWire)]
    candidates: list[Candidate] = []
    if read is not None:
        for name, value in zip(
            ("vendor", "model", "firmware"), await read((MANUFACTURER, PRODUCT, VERSION)), strict=True
        ):
            if isinstance(value, str) and (text := plain(value)):
                evidence[name] = text
        candidates += await _by_nodes(read, known)
    names = [(each.id, each.identity.vendor, each.identity.model) for each in known]
    candidates += by_name(names, str(evidence.get("vendor", "")), str(evidence.get("model", "")))
    return Found(evidence, likeliest(candidates))


async def _by_nodes(read: Read, known: Iterable[Descriptor]) -> list[Candidate]:
    wanted: dict[str, object] = {}
    of: list[tuple[Descriptor, list[tuple[str, tuple[object, ...]]]]] = []
    for descriptor in known:
        if not isinstance(descriptor.wire, OpcUaWire) or not descriptor.identify:
            continue
        try:
            nodes = [(node_of(each.node or "", descriptor.wire.root), each.equals) for each in descriptor.identify]
        except InvalidInputError:
            continue
        if len(wanted) + len(nodes) <= NODES_MAX:
            wanted |= dict.fromkeys(node for node, _ in nodes)
            of.append((descriptor, [(node, tuple(equals)) for node, equals in nodes]))
    if wanted:
        wanted = dict(zip(wanted, await read(tuple(wanted)), strict=True))
    return [
        Candidate(descriptor.id, 0.9, f"{nodes[0][0]} holds {plain(str(wanted[nodes[0][0]]))}")
        for descriptor, nodes in of
        if all(wanted[node] in equals for node, equals in nodes)
    ]
