"""What the browser's tests share: the page, built once, and the house that it stands in front of."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.guest_house import AXE, WEB, House, a_house
from tests.e2e.guest_page import WEB_BLUETOOTH

SLOW_S: Final = 400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first of these waits for the pages to be built, and a browser starts slowly on a busy machine."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_S))


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
