"""Logs: one JSON object a line, times in UTC, secrets blanked, libraries through the same chain."""

import io
import json
import logging
import warnings
from typing import Any

import pytest

from kit.logs import REDACTED, configure, is_secret, logger


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_holds_event_facts_service_level_and_utc_time() -> None:
    stream = io.StringIO()
    configure("edge", stream=stream)
    logger("edge.doors").info("door_opened", door="door-101", took_ms=12)
    [line] = _lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "door_opened",
        "door": "door-101",
        "took_ms": 12,
        "service": "edge",
        "level": "info",
        "logger": "edge.doors",
    }


@pytest.mark.requirement("SEC-01")
@pytest.mark.parametrize(
    "key",
    ["secret", "api_token", "private_key", "Authorization", "X-Auth-Token", "password", "passwords", "session_cookie"],
)
def test_what_is_called_secret_is_blanked_at_any_depth(key: str) -> None:
    stream = io.StringIO()
    configure("edge", stream=stream)
    logger("x").warning("asked", **{key: "hush"}, headers={key: "hush", "a": [{key: "hush"}]})
    assert "hush" not in stream.getvalue()
    [line] = _lines(stream)
    assert line[key] == REDACTED
    assert line["headers"]["a"] == [{key: REDACTED}]


@pytest.mark.parametrize(
    "key", ["keyboard", "monkey", "idempotency_key", "phone_public_key", "key_id", "private_key_path", "keepalive"]
)
def test_what_only_sounds_secret_is_shown(key: str) -> None:
    assert not is_secret(key)


def test_bytes_and_bottomless_facts_are_not_shown() -> None:
    stream = io.StringIO()
    deep: dict[str, Any] = {"end": "hush"}
    for _ in range(20):
        deep = {"in": deep}
    configure("edge", stream=stream)
    logger("x").info("seen", grant=b"\x01\x02", deep=deep)
    assert _lines(stream)[0]["grant"] == "<2 bytes>"
    assert "hush" not in stream.getvalue()


def test_the_libraries_log_through_the_same_chain() -> None:
    stream = io.StringIO()
    configure("edge", stream=stream)
    logging.getLogger("some.library").warning("lost %s", "link")
    logging.getLogger("httpx").info("GET with a token in its query")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old habit", stacklevel=1)
    lines = _lines(stream)
    assert [line["logger"] for line in lines] == ["some.library", "py.warnings"]
    assert lines[0]["event"] == "lost link"
    assert lines[0]["service"] == "edge"


def test_warnings_are_captured_again_where_something_else_showed_them_since() -> None:
    configure("edge", stream=io.StringIO())
    with warnings.catch_warnings():
        warnings.showwarning = lambda *_args, **_words: None  # as pytest does around each test
        stream = io.StringIO()
        configure("edge", stream=stream)
        warnings.simplefilter("always")
        warnings.warn("old habit", stacklevel=1)
    assert [line["logger"] for line in _lines(stream)] == ["py.warnings"]


def test_an_exception_is_told_with_its_trace_and_without_its_locals() -> None:
    stream = io.StringIO()
    configure("edge", stream=stream)
    local = "hush"
    try:
        raise KeyError("missing")
    except KeyError as error:
        logger("x").error("failed", exc_info=error)
    [line] = _lines(stream)
    assert "KeyError: 'missing'" in line["exception"]
    assert local not in line["exception"]


def test_the_level_is_kept_and_a_wrong_one_refused() -> None:
    stream = io.StringIO()
    configure("edge", level="warning", stream=stream)
    logger("x").info("quiet")
    logger("x").warning("loud")
    assert [line["event"] for line in _lines(stream)] == ["loud"]
    with pytest.raises(ValueError, match="log level 'chatty': must be one of debug"):
        configure("edge", level="chatty")


def test_a_person_gets_text() -> None:
    stream = io.StringIO()
    configure("edge", json=False, stream=stream)
    logger("x").info("door_opened", door="door-101", token="hush")
    assert "door_opened" in stream.getvalue()
    assert "hush" not in stream.getvalue()
