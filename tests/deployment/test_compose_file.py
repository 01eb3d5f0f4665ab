"""The compose files are valid without an engine, and keep the promises their comments make."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.shipped_database import shipped_settings
from cloud.app.main import _parser as cloud_parser
from edge.app.main import _parser as edge_parser

ROOT = Path(__file__).resolve().parents[2]
FILES = {kind: ROOT / f"docker-compose.{kind}.yml" for kind in ("edge", "cloud")}
SERVICES: dict[str, dict[str, Any]] = {
    kind: yaml.safe_load(file.read_text())["services"] for kind, file in FILES.items()
}
EACH = [(kind, name) for kind, services in SERVICES.items() for name in sorted(services)]
ENDS_BY_ITSELF = {("cloud", "migrate")}


def _compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    binary = Path(sys.executable).with_name("docker-compose")
    return subprocess.run([binary, *arguments], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)


@pytest.mark.parametrize("kind", FILES)
def test_compose_accepts_the_file(kind: str) -> None:
    outcome = _compose("-f", str(FILES[kind]), "config", "--quiet")
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize("kind", FILES)
def test_compose_would_refuse_a_misspelt_key(kind: str, tmp_path: Path) -> None:
    broken = tmp_path / "compose.yml"
    broken.write_text(FILES[kind].read_text().replace("mem_limit:", "mem_limitt:", 1))
    assert _compose("-f", str(broken), "config", "--quiet").returncode != 0


def test_they_build_and_start_what_a_node_and_a_small_cluster_need() -> None:
    assert set(SERVICES["edge"]) == {"broker", "edge", "doors"}
    assert set(SERVICES["cloud"]) == {"broker", "database", "migrate", "service", "ingest"}
    assert SERVICES["cloud"]["ingest"]["deploy"]["replicas"] == 2
    for kind, name in EACH:
        service = SERVICES[kind][name]
        assert (ROOT / service["build"]["dockerfile"]).is_file() if "build" in service else name == "database"


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_every_command_is_one_that_the_program_has(kind: str, name: str) -> None:
    parser = {"edge": edge_parser, "cloud": cloud_parser}[kind]()
    service = SERVICES[kind][name]
    asked = [service["command"]] if "command" in service and "build" in service else []
    check = service["healthcheck"].get("test", [])
    asked += [check[2:]] if check[1:2] in (["innkeeper-edge"], ["innkeeper-cloud"]) else []
    for arguments in asked:
        assert parser.parse_args(arguments).command


def test_what_is_measured_is_measured_over_a_database_as_it_is_shipped() -> None:
    settings = shipped_settings()
    assert settings["shared_buffers"] == "1GB"  # a quarter of mem_limit
    assert SERVICES["cloud"]["database"]["mem_limit"] == "4g"
    told = (ROOT / "docs/operating/cloud.md").read_text()
    for name, value in settings.items():
        assert f"| `{name}` | {value} |" in told


def test_the_database_and_the_workers_are_reached_from_inside_alone() -> None:
    for name in ("database", "ingest", "migrate"):
        assert SERVICES["cloud"][name]["networks"] == ["inside"]
        assert "ports" not in SERVICES["cloud"][name]


@pytest.mark.guarantee("G3")
def test_doors_waits_for_nobody_and_no_network_reaches_it() -> None:
    doors = SERVICES["edge"]["doors"]
    assert doors["network_mode"] == "none"
    assert "depends_on" not in doors
    assert "ports" not in doors


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize(("kind", "name"), EACH)
def test_every_service_is_hardened_bounded_watched_and_comes_back(kind: str, name: str) -> None:
    service = SERVICES[kind][name]
    assert service["restart"] == ("on-failure" if (kind, name) in ENDS_BY_ITSELF else "always")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert (kind, name) in ENDS_BY_ITSELF or service["healthcheck"]["test"]


def test_what_is_published_is_loopback_unless_the_installer_says_otherwise() -> None:
    for kind, name in EACH:
        for port in SERVICES[kind][name].get("ports", []):
            assert re.fullmatch(r"\$\{\w+:-127\.0\.0\.1\}:\d+:\d+", port), port


def test_images_copy_no_configuration_and_no_secret() -> None:
    for dockerfile in sorted((ROOT / "docker").glob("*.Dockerfile")):
        copied = re.findall(r"^COPY (?:--from=\S+ )?(.+) \S+$", dockerfile.read_text(), re.MULTILINE)
        allowed = {"requirements/edge.txt", "requirements/cloud.txt", "pyproject.toml README.md LICENSE"}
        allowed |= {"protocols", "kit", "firmware_bridges", "edge", "cloud", "web"}
        allowed |= {"/opt/innkeeper", "/src/cloud/web/dist", "/src/edge/web/dist"}
        assert set(copied) <= allowed
        assert "\nUSER " in dockerfile.read_text(), f"{dockerfile.name} runs as root"
