"""A site broker of a test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from provisioning.rehearsal.nats import Nats


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    """Run a broker on loopback; give its host and port. Whoever takes it is of the tier `nats`."""
    async with Nats(tmp_path / "nats") as nats:
        yield nats.host, nats.port
