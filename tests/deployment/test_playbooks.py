"""The playbook parses, and its units keep doors apart from everything else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "ansible" / "roles" / "innkeeper_edge"
VALUES = {
    "ansible_managed": "managed",
    "innkeeper_edge_user": "innkeeper",
    "innkeeper_edge_home": "/opt/innkeeper",
    "innkeeper_edge_config": "/etc/innkeeper",
}


def rendered(template: str) -> str:
    """Return a template of the role with the values of an ordinary node."""
    text = (ROLE / "templates" / template).read_text()
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: VALUES[match[1]], text)


def _setting(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", rendered(unit), re.MULTILINE)


def test_the_playbook_passes_ansibles_own_syntax_check(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "playbooks/edge.yml", "--syntax-check"],
        cwd=ROOT / "ansible",
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_CONFIG": "ansible.cfg", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert outcome.returncode == 0, outcome.stderr


def test_only_builtin_modules_are_used() -> None:
    for file in [*ROLE.glob("tasks/*.yml"), *ROLE.glob("handlers/*.yml")]:
        for task in yaml.safe_load(file.read_text()):
            modules = [key for key in task if "." in key]
            assert modules, f"{task['name']}: no fully qualified module"
            assert all(module.startswith("ansible.builtin.") for module in modules)


@pytest.mark.guarantee("G3")
def test_the_doors_unit_needs_neither_edge_nor_broker_nor_network() -> None:
    unit = "innkeeper-doors.service.j2"
    pulled = " ".join(_setting(unit, "Wants") + _setting(unit, "Requires") + _setting(unit, "After"))
    assert not {"innkeeper-edge.service", "mosquitto.service", "network-online.target"} & set(pulled.split())
    assert _setting(unit, "RestrictAddressFamilies") == ["AF_UNIX"]
    assert _setting(unit, "IPAddressDeny") == ["any"]


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize("unit", ["innkeeper-edge.service.j2", "innkeeper-doors.service.j2"])
def test_units_come_back_for_ever_are_bounded_and_never_dump_core(unit: str) -> None:
    assert _setting(unit, "Restart") == ["always"]
    assert _setting(unit, "StartLimitIntervalSec") == ["0"]
    assert _setting(unit, "MemoryMax")
    assert _setting(unit, "LimitCORE") == ["0"]
    assert _setting(unit, "NoNewPrivileges") == ["yes"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("unit", ["innkeeper-edge.service", "innkeeper-doors.service"])
def test_systemd_understands_every_line_of_the_units(tmp_path: Path, unit: str) -> None:
    program = tmp_path / "innkeeper-edge"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / unit
    path.write_text(rendered(f"{unit}.j2").replace("/opt/innkeeper/venv/bin/innkeeper-edge", str(program)))
    outcome = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False, timeout=60
    )
    ours = [line for line in outcome.stderr.splitlines() if unit in line and "Failed to" not in line]
    assert not ours


@pytest.mark.guarantee("G8")
def test_the_broker_grants_each_identity_its_own_subtree_and_nothing_to_strangers() -> None:
    for folder, conf, acl in (
        (ROOT / "docker", "mosquitto.conf", "site-broker.acl"),
        (ROLE / "templates", "mosquitto.conf.j2", "site-broker.acl.j2"),
    ):
        settings = (folder / conf).read_text()
        for line in ("require_certificate true", "use_identity_as_username true", "allow_anonymous false"):
            assert line in settings
        grants = re.findall(r"^(user|topic|pattern) (.+)$", (folder / acl).read_text(), re.MULTILINE)
        assert grants[0][0] == "user", "a grant before the first user is a grant to everybody"
        assert all(word != "pattern" for word, _ in grants)
