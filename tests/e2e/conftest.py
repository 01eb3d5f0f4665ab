"""What the browser's tests share: the page, built once, and the house that it stands in front of."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.guest_house import AXE, WEB, House, a_house
from tests.e2e.guest_page import WEB_BLUETOOTH


@pytest.fixture(scope="session")
def built() -> None:
    """The pages as the cloud serves them, from the sources as they are."""
    again = [] if AXE.exists() else ["--force"]  # a build kept from elsewhere came without its tools
    command = [sys.executable, str(WEB / "build.py"), *again]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
async def house(built: None, tmp_path: Path) -> AsyncIterator[House]:
    """Two rooms and a lobby, and a browser with Bluetooth."""
    async with a_house(tmp_path, WEB_BLUETOOTH) as it:
        yield it
