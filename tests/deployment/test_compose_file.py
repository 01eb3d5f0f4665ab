"""The compose file is valid without an engine, and keeps the promises its comments make."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.edge.yml"
SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]


def _compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    binary = Path(sys.executable).with_name("docker-compose")
    return subprocess.run([binary, *arguments], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)


def test_compose_accepts_the_file() -> None:
    outcome = _compose("-f", str(COMPOSE), "config", "--quiet")
    assert outcome.returncode == 0, outcome.stderr


def test_compose_would_refuse_a_misspelt_key(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yml"
    broken.write_text(COMPOSE.read_text().replace("mem_limit:", "mem_limitt:", 1))
    assert _compose("-f", str(broken), "config", "--quiet").returncode != 0


def test_it_builds_and_starts_broker_edge_and_doors() -> None:
    assert set(SERVICES) == {"broker", "edge", "doors"}
    for service in SERVICES.values():
        assert (ROOT / service["build"]["dockerfile"]).is_file()


@pytest.mark.guarantee("G3")
def test_doors_waits_for_nobody_and_no_network_reaches_it() -> None:
    doors = SERVICES["doors"]
    assert doors["network_mode"] == "none"
    assert "depends_on" not in doors
    assert "ports" not in doors


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_hardened_bounded_watched_and_comes_back(name: str) -> None:
    service: dict[str, Any] = SERVICES[name]
    assert service["restart"] == "always"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["healthcheck"]["test"]


def test_what_is_published_is_loopback_unless_the_installer_says_otherwise() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert re.fullmatch(r"\$\{\w+:-127\.0\.0\.1\}:\d+:\d+", port), port


def test_images_copy_no_configuration_and_no_secret() -> None:
    for dockerfile in sorted((ROOT / "docker").glob("*.Dockerfile")):
        copied = re.findall(r"^COPY (?:--from=\S+ )?(.+) \S+$", dockerfile.read_text(), re.MULTILINE)
        allowed = {"requirements/edge.txt", "pyproject.toml README.md LICENSE", "/opt/innkeeper"}
        allowed |= {"protocols", "kit", "firmware_bridges", "edge"}
        assert set(copied) <= allowed
        assert "\nUSER " in dockerfile.read_text(), f"{dockerfile.name} runs as root"
