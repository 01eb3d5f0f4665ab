"""What came in from the broker, read as far as it can be without the database. Pure."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from protocols.device_model.identity import EdgeId
from protocols.errors import PeerProtocolError, UnsupportedVersionError
from protocols.link.batch import BatchHead, parse_batch
from protocols.link.messages import Ack, AckStatus, Hello, Live, decode_answer, decode_hello, decode_live
from protocols.link.topics import Up, UpTopic


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message; `at_ms`: monotonic, when it came."""

    topic: UpTopic
    payload: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A batch whose head could be read."""

    arrived: Arrived
    head: BatchHead


@dataclass(frozen=True, slots=True)
class HelloItem:
    """A hello."""

    arrived: Arrived
    hello: Hello


@dataclass(frozen=True, slots=True)
class LiveItem:
    """A live state."""

    arrived: Arrived
    live: Live


@dataclass(frozen=True, slots=True)
class UnreadableItem:
    """What could not be read, and why."""

    arrived: Arrived
    error: PeerProtocolError


Item: TypeAlias = BatchItem | HelloItem | LiveItem | UnreadableItem


@dataclass(frozen=True, slots=True)
class Reply:
    """An ack to send; everything it says is committed."""

    edge: EdgeId
    ack: Ack


DETAIL_MAX: Final = 500


def read(arrived: Arrived) -> Item | None:
    """Read a message; None: there is nothing to do about it."""
    topic, payload = arrived.topic, arrived.payload
    try:
        match topic.what:
            case Up.HELLO:
                hello = decode_hello(payload)
                _must_be(topic, hello.edge, "hello")
                return HelloItem(arrived, hello)
            case Up.LIVE:
                live = decode_live(payload)
                _must_be(topic, live.edge, "live state")
                return LiveItem(arrived, live)
            case Up.ANSWER:
                decode_answer(payload)  # the downlink that sent the command listens for itself
                return None
            case _:
                head = parse_batch(payload)
                if head.edge != topic.edge or head.lane is not topic.lane:
                    raise PeerProtocolError(
                        f"batch of {head.edge}/{head.lane} on the topic of {topic.edge}/{topic.lane}"
                    )
                return BatchItem(arrived, head)
    except PeerProtocolError as error:
        return UnreadableItem(arrived, bare(error))


def refusal(item: UnreadableItem) -> Reply | None:
    """Return what to answer to an unreadable message: a version is refused by name, noise not at all."""
    if not isinstance(item.error, UnsupportedVersionError):
        return None
    topic = item.arrived.topic
    return Reply(topic.edge, Ack(AckStatus.REFUSED, (), error=said(item.error), lane=topic.lane))


def bare(error: PeerProtocolError) -> PeerProtocolError:
    """Return an error without the frames it came through: they hold what was decoded, many times the message."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def said(error: BaseException) -> str:
    """Return an error by name and in words, bounded."""
    return f"{type(error).__name__}: {error}"[:DETAIL_MAX]


def _must_be(topic: UpTopic, edge: EdgeId, what: str) -> None:
    if edge != topic.edge:
        raise PeerProtocolError(f"{what} of {edge} on the topic of {topic.edge}")
