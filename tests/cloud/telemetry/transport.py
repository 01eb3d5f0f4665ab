"""A transport for workers that are fed by hand."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from kit.net import Connection, Message
from protocols.errors import LinkLostError


class NoTransport:
    """Never connects."""

    def connect(
        self, *, subscribe: Sequence[str] = (), will: Message | None = None
    ) -> AbstractAsyncContextManager[Connection]:
        """See `kit.net.Transport`."""
        raise LinkLostError("there is no broker in this test")
