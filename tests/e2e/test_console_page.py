"""The operations console, built, in Chromium, against the mock cloud of the web workspace."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.console_page import DESK, PHONE, ConsolePage, Scheme, age_s, chromium

ROOT: Final = Path(__file__).parent.parent.parent
WEB: Final = ROOT / "web"
AXE: Final = WEB / "node_modules" / "axe-core" / "axe.min.js"
POLICY: Final = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
STREAM_SILENT_AFTER_MS: Final = 10_000  # packages/api/src/live.ts
ROOMS: Final = [f"{floor}0{n}" for floor in (1, 2, 3) for n in range(1, 9)]

pytestmark = [pytest.mark.tier("chromium"), pytest.mark.requirement("MPR-01"), pytest.mark.requirement("UI-02")]


class MockCloud:
    """web/mock/server.mjs in its own process, and the knobs that it has."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def turn(self, knob: str, **settings: object) -> None:
        """Turn a knob; raises if the mock knows none such."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        with urllib.request.urlopen(f"{self.address}/mock/{knob}?{query}", timeout=10) as answer:  # noqa: S310
            assert json.load(answer) == {"ok": True}


@contextmanager
def mock_cloud(*arguments: str) -> Iterator[MockCloud]:
    sys.path.insert(0, str(WEB))
    try:
        import build  # noqa: PLC0415 - the workspace's own choice of Node
    finally:
        sys.path.remove(str(WEB))
    import os

    folder, _ = build.find_npm(os.environ)
    command = [str(folder / "node"), str(WEB / "mock" / "server.mjs"), "--still", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield MockCloud(json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()
