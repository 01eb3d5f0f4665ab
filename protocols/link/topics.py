"""Topics of the link. Source of truth: SPEC.md section 1.

up/<shard>/<edge>/<a|b|c|live|hello|answer>     edge to cloud
down/<edge>/ack, down/<edge>/command            cloud to edge
down/<edge>/desired/<name>                      cloud to edge, retained: the newest document of each name
"""

import re
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocols.device_model.identity import EdgeId, parse_edge_id
from protocols.errors import InvalidInputError, LocalProtocolError, PeerProtocolError
from protocols.link.lanes import LANES, Lane

SHARDS: Final = 64
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Up(StrEnum):
    """What an edge publishes: the last segment of its topic."""

    LANE_A = "a"
    LANE_B = "b"
    LANE_C = "c"
    LIVE = "live"
    HELLO = "hello"
    ANSWER = "answer"


class Down(StrEnum):
    """What a cloud publishes to one edge."""

    ACK = "ack"
    DESIRED = "desired"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class UpTopic:
    """A parsed up-topic; the shard has been held against the edge."""

    shard: int
    edge: EdgeId
    what: Up

    @property
    def lane(self) -> Lane | None:
        """The lane whose batches the topic carries, if it carries batches."""
        return _LANE_OF.get(self.what)


_LANE_OF: Final = {Up(lane.topic_segment): lane for lane in LANES}


def shard_of(edge: EdgeId) -> int:
    """Return the shard, 0 to 63, whose worker owns all streams of `edge`: CRC-32 of its name modulo 64."""
    return zlib.crc32(edge.encode()) % SHARDS


def up_topic(edge: EdgeId, what: Up | Lane) -> str:
    """Return the topic on which `edge` publishes `what`."""
    segment = what.topic_segment if isinstance(what, Lane) else what.value
    return f"up/{shard_of(edge)}/{edge}/{segment}"


def up_filter(shard: int | None = None) -> str:
    """Return the filter of everything edges publish, in one shard or in all."""
    return "up/#" if shard is None else f"up/{shard}/#"


def answer_filter() -> str:
    """Return the filter of every edge's answers to commands."""
    return f"up/+/+/{Up.ANSWER}"


def down_filter(edge: EdgeId) -> str:
    """Return the filter of everything meant for `edge`."""
    return f"down/{edge}/#"


def ack_topic(edge: EdgeId) -> str:
    """Return the topic of acknowledgements to `edge`."""
    return f"down/{edge}/{Down.ACK}"


def command_topic(edge: EdgeId) -> str:
    """Return the topic of commands to `edge`."""
    return f"down/{edge}/{Down.COMMAND}"


def desired_topic(edge: EdgeId, name: str) -> str:
    """Return the topic that retains the desired document `name` of `edge`.

    Raises:
        LocalProtocolError: `name` is not a short lower-case name.
    """
    if _NAME.fullmatch(name) is None:
        raise LocalProtocolError(f"desired document name {name!r} is not a short lower-case name")
    return f"down/{edge}/{Down.DESIRED}/{name}"


def parse_up(topic: str) -> UpTopic:
    """Take an up-topic apart.

    Raises:
        PeerProtocolError: not an up-topic, or in a shard that is not the edge's.
    """
    match topic.split("/"):
        case ["up", shard, edge, what]:
            pass
        case _:
            raise PeerProtocolError(f"topic {topic!r} is not up/<shard>/<edge>/<what>")
    try:
        parsed = UpTopic(shard=shard_of(edge_id := parse_edge_id(edge)), edge=edge_id, what=Up(what))
    except (InvalidInputError, ValueError) as error:
        raise PeerProtocolError(f"topic {topic!r}: {error}") from error
    if shard != str(parsed.shard):
        raise PeerProtocolError(f"topic {topic!r}: the shard of {edge} is {parsed.shard}")
    return parsed


def parse_down(topic: str, edge: EdgeId) -> tuple[Down, str | None]:
    """Return what a down-topic of `edge` carries, and the document's name if it is a desired one.

    Raises:
        PeerProtocolError: not a down-topic of `edge`.
    """
    match topic.split("/"):
        case ["down", to, "ack"] if to == edge:
            return Down.ACK, None
        case ["down", to, "command"] if to == edge:
            return Down.COMMAND, None
        case ["down", to, "desired", name] if to == edge and _NAME.fullmatch(name):
            return Down.DESIRED, name
        case _:
            raise PeerProtocolError(f"topic {topic!r} is none that {edge} listens to")
