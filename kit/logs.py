"""Structured logs: one JSON object a line on standard error, UTC times, secrets blanked by the name of their key.

The libraries' own `logging` records pass through the same chain. structlog is imported without rich, which
it would load on sight and which costs an edge process 3 MB for tracebacks that nobody sees.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

from kit.lean_import import absent

with absent("rich"):
    import structlog

REDACTED: Final = "[redacted]"
SECRET_KEY: Final = re.compile(
    r"(?:^|_)(?:secret|token|key|password|passphrase|authorization|cookie)s?(?:$|_)", re.IGNORECASE
)
"""Whole words between underscores: `private_key` and `token`, not `keyboard` or `monkey`."""
PUBLIC_KEY: Final = re.compile(r"(?:^|_)(?:public_key|idempotency_key|key_(?:id|path))(?:$|_)", re.IGNORECASE)
"""What only sounds secret, and is needed to follow a command or to find a file."""
DEPTH_MAX: Final = 6
TALKATIVE: Final = ("httpx", "httpcore", "pymodbus", "asyncua", "bumble", "bleak", "asyncio")
"""Libraries that log every request or frame at info, with addresses and payloads in it."""
LEVELS: Final = ("debug", "info", "warning", "error")

Event = MutableMapping[str, Any]


def configure(service: str, level: str = "info", json: bool = True, stream: TextIO | None = None) -> None:
    """Set up logging for this process; call once, from main.

    Args:
        service: put on every line.
        level: one of debug, info, warning, error.
        json: False prints aligned text for a person at a terminal.
        stream: standard error by default.

    Raises:
        ValueError: `level` is none of the four.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r}: must be one of {', '.join(LEVELS)}")

    def with_service(_logger: object, _method: str, event: Event) -> Event:
        event.setdefault("service", service)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        with_service,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        redact,
    ]
    rendering: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if json:
        rendering += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        rendering.append(structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a test may configure again
    )
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=rendering))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel("DEBUG" if level == "debug" else "WARNING")
    logging.captureWarnings(capture=False)  # whoever replaced what shows warnings since: without this it stays replaced
    logging.captureWarnings(capture=True)


def logger(name: str) -> Any:  # noqa: ANN401 - structlog's own type for a lazily bound logger
    """Return a logger; `log.info("door_opened", door=door)`: an event name, then facts by key."""
    return structlog.stdlib.get_logger(name)


def redact(_logger: object, _method: str, event: Event) -> Event:
    """Blank the values whose keys say that they are secret, at any depth. A structlog processor."""
    for key, value in event.items():
        event[key] = REDACTED if is_secret(key) else _cleaned(value, DEPTH_MAX)
    return event


def _cleaned(value: object, depth: int) -> object:
    if isinstance(value, dict):
        if depth == 0:
            return REDACTED
        return {key: REDACTED if is_secret(str(key)) else _cleaned(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return REDACTED if depth == 0 else [_cleaned(each, depth - 1) for each in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"  # keys, grants and templates are bytes; say so in hex on purpose or not at all
    return value


def is_secret(key: str) -> bool:
    """Return whether a value under this key must not be shown."""
    return SECRET_KEY.search(key.replace("-", "_")) is not None and PUBLIC_KEY.search(key) is None
