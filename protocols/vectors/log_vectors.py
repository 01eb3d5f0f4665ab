"""Vectors of what the record log says in its own name: summaries of thinned readings, signed heads of lane A."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from protocols.device_model.identity import EdgeId
from protocols.errors import PlatformError
from protocols.grant.keys import private_key, private_key_hex
from protocols.link import chain
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record
from protocols.link.signed_head import LogHead, open_head, sign_head
from protocols.link.summary import SUMMARY_KEY, joined, summary_of
from protocols.vectors.fixed import AT_S, stream

EDGE: Final = EdgeId("e-aurora0000000001")
INCARNATION: Final = bytes(range(16))
KID: Final = b"log-1"
AT_MS: Final = AT_S * 1_000
POINT: Final = {"room": "101", "device": "t-1", "capability": "temperature_measurement", "attribute": "measured_value"}


def reading(seq: int, value: object, summary: dict[str, Any] | None = None) -> Record:
    """Return a reading of one point as lane C holds it."""
    body: dict[str, Any] = {**POINT, "value": value, "unit": "°C", "quality": "good"}
    if summary is not None:
        body[SUMMARY_KEY] = summary
    return Record(Lane.C, seq, "reading", body, None, AT_MS + seq, seq, ClockQuality.SYNCHRONISED)


def summaries_document() -> dict[str, Any]:
    """Return readings and the summary that stands for them, and maps that are no summary."""
    rows: list[tuple[str, Sequence[object]]] = [
        ("numbers", [21.5, 22, 20.25]),
        ("numbers and a gap", [None, 21.5, None, 21.0]),
        ("words", ["heat", "off", "heat"]),
        ("yes and no are no numbers", [True, False]),
    ]
    good = {
        "count": 2,
        "first": 1,
        "last": 2,
        "min": 1.0,
        "max": 2.0,
        "mean": 1.5,
        "numbers": 2,
        "from_seq": 3,
        "from_ms": 5,
    }
    bad: dict[str, dict[str, Any]] = {
        "one reading is no summary": {**good, "count": 1, "numbers": 1},
        "more numbers than readings": {**good, "numbers": 3},
        "begins after itself": {**good, "from_seq": 10},
        "mean outside": {**good, "mean": 2.5},
        "numbers of nothing": {**good, "min": None, "max": None, "mean": None},
        "a key more": {**good, "median": 1},
        "a list for a value": {**good, "first": []},
    }
    return {
        "joined": [{"name": name, "values": list(values), "summary": _joined(values)} for name, values in rows],
        "refused": [
            {"name": name, "thinned": each, "error": _error(partial(summary_of, reading(9, 2, each)))}
            for name, each in bad.items()
        ],
    }


def heads_document() -> dict[str, Any]:
    """Return a signed head, and what refuses one."""
    key = private_key(stream("log key"))
    head = LogHead(EDGE, INCARNATION, 1_000, chain.genesis(INCARNATION), AT_MS)
    signed = sign_head(head, key, KID)
    refused: dict[str, Callable[[], object]] = {
        "a stranger's key id": lambda: open_head(signed, lambda _kid: None),
        "another key": lambda: open_head(signed, lambda _kid: private_key(stream("stranger")).public_key()),
        "a changed byte": lambda: open_head(signed.replace(b"aurora", b"aurorb"), lambda _kid: key.public_key()),
    }
    return {
        "key": private_key_hex(key),
        "kid": KID.hex(),
        "head": {"edge": EDGE, "incarnation": INCARNATION.hex(), "seq": 1_000, "link": head.link.hex(), "at_ms": AT_MS},
        "signed": signed.hex(),
        "refused": [{"name": name, "error": _error(action)} for name, action in refused.items()],
    }


def _joined(values: Sequence[object]) -> dict[str, Any]:
    summaries = [
        each for seq, value in enumerate(values, start=1) if (each := summary_of(reading(seq, value))) is not None
    ]
    whole = summaries[0]
    for each in summaries[1:]:
        whole = joined(whole, each)
    return whole.to_body()


def _error(action: Callable[[], object]) -> str:
    try:
        action()
    except PlatformError as error:
        return type(error).__name__
    return "none"
