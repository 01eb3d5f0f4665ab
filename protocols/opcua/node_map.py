"""Node maps: which nodes of a server belong to which points, and what a status code says of a value.

Source of truth: SPEC.md; OPC UA part 4, 7.39 (severity is in the top two bits of a status code) and part 8.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocols.descriptors.codec import Judged, Reason, bad, judge
from protocols.descriptors.descriptor import NODE_ID, ROOT, Descriptor, Point
from protocols.descriptors.wires import OpcUaWire
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality
from protocols.errors import InvalidInputError

NODES_A_READ_MAX: Final = 500
_SEVERITY_SHIFT: Final = 30


@dataclass(frozen=True, slots=True)
class MappedNode:
    """One node to watch: its id on the server, whose it is, and what it means."""

    node: str
    device: DeviceId
    point: Point


def node_of(template: str, root: str, place: str = "node") -> str:
    """Return the node id that a template spells on a device.

    Raises:
        InvalidInputError: it is no node id.
    """
    node = template.replace(ROOT, root)
    if NODE_ID.fullmatch(node) is None:
        raise InvalidInputError(place, f"{node!r:.120} is no OPC UA node id, such as ns=2;s=Chiller1.Setpoint")
    return node


def root_of(descriptor: Descriptor, address_node: str | None) -> str:
    """Return the node id of a device's object: the site plan's, or the descriptor's own."""
    if not isinstance(descriptor.wire, OpcUaWire):
        raise InvalidInputError(descriptor.id, "is no OPC UA model")
    return address_node or descriptor.wire.root


def map_nodes(devices: Iterable[tuple[DeviceId, Descriptor, str | None]]) -> dict[str, MappedNode]:
    """Return every node to watch, by node id.

    Raises:
        InvalidInputError: a template spells no node id, or two points claim one node.
    """
    nodes: dict[str, MappedNode] = {}
    for device, descriptor, address_node in devices:
        root = root_of(descriptor, address_node)
        for point in descriptor.points:
            node = node_of(point.node or "", root, f"{descriptor.id}: {point.capability}.{point.attribute}")
            if node in nodes:
                raise InvalidInputError(node, f"claimed by {nodes[node].device} and by {device}")
            nodes[node] = MappedNode(node, device, point)
    return nodes


def judge_node(point: Point, value: object, status: int) -> Judged:
    """Return what a node's value means under its status code.

    Good severity: as the descriptor says. Uncertain: the same, but uncertain. Bad: no value, whatever came with it.
    """
    severity = status >> _SEVERITY_SHIFT & 0b11
    if severity >= 2:
        return bad(Reason.BAD_STATUS, f"0x{status:08x}")
    if severity == 0:
        return judge(point, _plain(point, value))
    judged = judge(point, _plain(point, value))
    if judged.quality is Quality.GOOD:
        return Judged(judged.value, Quality.UNCERTAIN, f"status 0x{status:08x}")
    return judged


def _plain(point: Point, value: object) -> object:
    """A float32 node gives 7.199999809265137 for 7.2: seven digits are what it holds."""
    return float(f"{value:.7g}") if point.type == "Float" and isinstance(value, float) else value
